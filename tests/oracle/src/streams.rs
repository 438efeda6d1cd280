//! A folder of streams, queries and answers, put to a host one query after the other.
//!
//! The steps are public one by one, since a test wants to do something in between: kill the host, or send the events in pieces.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use serde_json::{Value, json};

use crate::api::{Api, get, lines, must, put, rows};
use crate::compare::{Column, compare};
use crate::event_file::EventFile;
use crate::folder;
use crate::pipeline::definition;
use crate::query::{Form, Query};

/// How long a pipeline may take over one query.
const PATIENCE: Duration = Duration::from_secs(300);

/// What became of one case.
#[derive(Debug)]
pub struct Verdict {
    /// The case.
    pub id: String,
    /// Why it failed, on one line.
    pub outcome: Result<(), String>,
}

/// A folder of the form of the streams' README.
#[derive(Debug)]
pub struct Streams {
    folder: PathBuf,
    /// Streams and tables, by name.
    pub files: BTreeMap<String, EventFile>,
    /// What is asked, in the order of `queries.json`; what cannot be read as a query fails alone.
    pub queries: Vec<(String, Result<Query, String>)>,
    /// The text of `queries.json`: whether it names a member by its path is searched for there.
    text: String,
    /// On how many partitions a stream is, and by which fields its rows are placed.
    placed: (u32, Vec<String>),
}

impl Streams {
    /// Reads a folder, but for its answers.
    pub fn open(folder: &Path) -> Result<Self> {
        let text = folder::read(folder, "queries.json")?;
        let parsed: Vec<Value> = serde_json::from_str(&text).context("`queries.json` is no list")?;
        let mut queries = Vec::new();
        for (index, query) in parsed.iter().enumerate() {
            let id = query["id"].as_str().map_or_else(|| format!("number-{index}"), str::to_owned);
            queries.push((id, Query::parse(query).map_err(|error| format!("{error:#}"))));
        }
        let mut files = BTreeMap::new();
        for name in folder::names(folder, ".ndjson")? {
            let file = EventFile::new(&name, &folder::read(folder, &format!("{name}.ndjson"))?);
            files.insert(name.clone(), file.with_context(|| format!("`{name}.ndjson`"))?);
        }
        Ok(Self { folder: folder.to_owned(), files, queries, text, placed: (1, Vec::new()) })
    }

    /// The same over streams of so many partitions with this key. Which rows are too late may then be others.
    #[must_use]
    pub fn placed(self, partitions: u32, key: &[String]) -> Self {
        Self { placed: (partitions, key.to_vec()), ..self }
    }

    /// Declares every stream.
    pub fn declare(&self, api: &impl Api) -> Result<()> {
        self.files.values().try_for_each(|file| self.declare_one(api, file))
    }

    /// Puts every table and sends every event, each file in one request.
    pub fn send(&self, api: &impl Api) -> Result<()> {
        self.files.values().try_for_each(|file| send_one(api, file))
    }

    fn declare_one(&self, api: &impl Api, file: &EventFile) -> Result<()> {
        if file.is_table() {
            return Ok(());
        }
        // An object is a field of JSON, unless a query names one of its members.
        let names_into = |path: &str| self.text.contains(&format!("{path}.")) || self.text.contains(&format!("{path}\\\".\\\""));
        let mut definition = file.definition(&names_into);
        let (partitions, key) = &self.placed;
        definition["partitions"] = json!(partitions);
        if !key.is_empty() {
            definition["key"] = json!(key);
        }
        put(api, &format!("/v1/streams/{}", file.name), &definition).map(drop)
    }

    /// Applies the query's pipeline.
    pub fn apply(&self, api: &impl Api, query: &Query) -> Result<()> {
        let name = self.pipeline(query);
        let disorder_ms = |stream: &str| self.files.get(stream).map_or(0, EventFile::disorder_ms);
        let document = definition(query, &name, &self.result(query), &disorder_ms)?;
        put(api, &format!("/v1/pipelines/{name}"), &document).map(drop)
    }

    /// The name of the query's pipeline.
    pub fn pipeline(&self, query: &Query) -> String {
        format!("query-{}", self.number(query))
    }

    /// The stream of the query's results.
    pub fn result(&self, query: &Query) -> String {
        format!("result-{}", self.number(query))
    }

    fn number(&self, query: &Query) -> usize {
        self.queries.iter().position(|(id, _)| *id == query.id).unwrap_or_default()
    }

    /// Waits until the query's pipeline is through; its status.
    pub fn wait(&self, api: &impl Api, query: &Query) -> Result<Value> {
        finished(api, &self.pipeline(query))
    }

    /// Whether what the query's pipeline wrote is what is expected. `status` is what it said in the end.
    pub fn judge(&self, api: &impl Api, query: &Query, status: &Value) -> Result<()> {
        let expected = lines(&folder::read(&self.folder.join("expected"), &format!("{}.ndjson", query.id))?)?;
        if let Some(rows) = query.rows
            && rows != expected.len() as u64
        {
            bail!("the query says {rows} rows, its file of answers has {}", expected.len());
        }
        let result = self.result(query);
        let found = rows(api, &result)?;
        let last_of = updated(query);
        let compared = compare(&expected, &found, &columns(api, &result)?, last_of.as_deref());
        compared.map_err(|why| match dead_letters(api, &self.pipeline(query)) {
            Some(letter) => anyhow!("{why}; there are dead letters: {letter}"),
            None => anyhow!(why),
        })?;
        if let Some(expected) = query.dropped_late {
            let found = status["dropped_late"].as_u64().context("the status has no `dropped_late`")?;
            if found != expected {
                bail!("{found} rows were dropped as late, {expected} expected");
            }
        }
        Ok(())
    }

    /// One query from its pipeline to its verdict.
    pub fn ask(&self, api: &impl Api, query: &Query) -> Result<()> {
        self.apply(api, query)?;
        let status = self.wait(api, query)?;
        self.judge(api, query, &status)
    }

    /// Declares, sends, and asks every query, telling each verdict as it falls. A file that the host does not take fails those who ask for it.
    pub fn run(&self, api: &impl Api, mut told: impl FnMut(&Verdict)) -> Vec<Verdict> {
        let mut refused = BTreeMap::new();
        for (name, file) in &self.files {
            if let Err(error) = self.declare_one(api, file).and_then(|()| send_one(api, file)) {
                refused.insert(name.as_str(), format!("`{name}` was not taken: {error:#}"));
            }
        }
        let ask = |query: &Query| {
            let lacking = refused.iter().find(|(name, _)| query.asks_for(name));
            lacking.map_or_else(|| self.ask(api, query).map_err(|error| format!("{error:#}")), |(_, why)| Err(why.clone()))
        };
        let mut verdicts = Vec::new();
        for (id, query) in &self.queries {
            let outcome = query.as_ref().map_err(String::clone).and_then(ask);
            let verdict = Verdict { id: id.clone(), outcome };
            told(&verdict);
            verdicts.push(verdict);
        }
        verdicts
    }
}

fn send_one(api: &impl Api, file: &EventFile) -> Result<()> {
    if file.is_table() {
        return must(api, "PUT", &format!("/v1/tables/{}", file.name), "application/x-ndjson", &file.body).map(drop);
    }
    let answer = must(api, "POST", &format!("/v1/streams/{}/events", file.name), "application/x-ndjson", &file.body)?;
    if answer["accepted"] != json!(file.rows) {
        bail!("it has {} rows, and the host took {}: {}", file.rows, answer["accepted"], answer["rejected"]);
    }
    Ok(())
}

/// Prints a verdict as one line: `ok ID`, or `FAILED ID: why`.
#[expect(clippy::print_stdout, reason = "the verdict is what the program is for")]
pub fn tell(verdict: &Verdict) {
    match &verdict.outcome {
        Ok(()) => println!("ok {}", verdict.id),
        Err(why) => println!("FAILED {}: {}", verdict.id, why.replace('\n', " ")),
    }
}

/// Waits until a pipeline has finished; its status. An error if it ended in any other way, or does not end.
pub(crate) fn finished(api: &impl Api, pipeline: &str) -> Result<Value> {
    let begin = Instant::now();
    loop {
        let status = get(api, &format!("/v1/pipelines/{pipeline}/status"))?;
        match status["state"].as_str() {
            Some("finished") => return Ok(status),
            Some("running") => {}
            _ => bail!("the pipeline is {}: {status}", status["state"]),
        }
        if begin.elapsed() > PATIENCE {
            bail!("the pipeline has not finished after {PATIENCE:?}: {status}");
        }
        sleep(Duration::from_millis(10));
    }
}

/// What the columns of a stream hold, by its definition.
pub(crate) fn columns(api: &impl Api, stream: &str) -> Result<BTreeMap<String, Column>> {
    let definition = get(api, &format!("/v1/streams/{stream}"))?;
    let fields = definition["fields"].as_array().with_context(|| format!("the stream has no fields: {definition}"))?;
    let column = |field: &Value| {
        let kind = match field["type"].as_str().unwrap_or_default() {
            "timestamp" => {
                let unit_micros = match field["unit"].as_str() {
                    Some("s") => 1_000_000,
                    Some("ms") => 1_000,
                    Some(_) | None => 1,
                };
                Column::Time { unit_micros }
            }
            "float64" => Column::Number,
            decimal if decimal.starts_with("decimal") => Column::Number,
            _ => Column::Plain,
        };
        Some((field["name"].as_str()?.to_owned(), kind))
    };
    Ok(fields.iter().filter_map(column).collect())
}

/// The columns of which only the last row counts: where windows take late rows, a result may be given again.
fn updated(query: &Query) -> Option<Vec<String>> {
    let window_start = || "window_start".to_owned();
    match &query.form {
        Form::Window(window) => {
            let lateness_ms = query.out_of_order?.allowed_lateness_ms;
            (lateness_ms > 0).then(|| window.key.iter().cloned().chain([window_start()]).collect())
        }
        Form::Pipeline(pipeline) => {
            let mut key: Option<Vec<String>> = None;
            for step in pipeline.get("steps")?.as_array()? {
                if let Some(window) = step.get("window").filter(|window| window.get("lateness").is_some()) {
                    let by = window.get("by").and_then(Value::as_array).cloned().unwrap_or_default();
                    let by = by.iter().filter_map(|column| column.as_str().map(str::to_owned));
                    key = Some(by.chain([window_start()]).collect());
                } else if let (Some(select), Some(columns)) = (step.get("select").and_then(Value::as_object), &mut key) {
                    // A column that goes on under another name is still what says which result a row is.
                    for column in columns.iter_mut() {
                        let quoted = crate::pipeline::quoted(column);
                        let names_it = |(_, sql): &(&String, &Value)| *sql == column.as_str() || *sql == quoted.as_str();
                        column.clone_from(select.iter().find(names_it)?.0);
                    }
                }
            }
            key
        }
    }
}

/// The first row a step could not handle, in short.
fn dead_letters(api: &impl Api, pipeline: &str) -> Option<String> {
    let letters = rows(api, &format!("{pipeline}.dead-letters")).ok()?;
    letters.first().map(|letter| format!("{} {} {}", letters.len(), letter["reason"], letter["error"]))
}

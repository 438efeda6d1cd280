//! The queries of Nexmark, as pipelines of `examples/nexmark`, over a finite stream whose answers other programs computed.
//!
//! Of some queries the answer is every bid: there a folder has counts and sums over the rows of the result, and those are compared.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use serde_json::{Map, Value, json};

use crate::api::{Api, lines, must, rows};
use crate::compare::compare;
use crate::folder;
use crate::streams::{Verdict, columns, finished};

/// What `kind` says of an event, and the stream it goes to.
const KINDS: [&str; 3] = ["person", "auction", "bid"];

/// A folder of events and answers, and the queries to ask.
#[derive(Debug)]
pub struct Nexmark {
    folder: PathBuf,
    /// Streams and pipelines.
    example: PathBuf,
    /// The events of each kind, in order, as NDJSON.
    bodies: BTreeMap<&'static str, (usize, Vec<u8>)>,
    /// Queries with an answer, in the order of their numbers.
    pub queries: Vec<String>,
}

impl Nexmark {
    /// Reads `events.ndjson`; `example` is the folder with `streams` and `queries`.
    pub fn open(folder: &Path, example: &Path) -> Result<Self> {
        let mut bodies = BTreeMap::<_, (usize, Vec<u8>)>::new();
        for line in folder::read(folder, "events.ndjson")?.lines().filter(|line| !line.trim().is_empty()) {
            let mut event: Map<String, Value> = serde_json::from_str(line).with_context(|| format!("`{line}` is no event"))?;
            let kind = event.remove("kind");
            let known = KINDS.into_iter().find(|known| kind.as_ref().is_some_and(|kind| kind == known));
            let (count, body) = bodies.entry(known.with_context(|| format!("`{line}` is of no kind"))?).or_default();
            *count += 1;
            body.extend_from_slice(format!("{}\n", Value::Object(event)).as_bytes());
        }
        let mut queries: Vec<String> = folder::names(&folder.join("expected"), ".ndjson")?.into_iter().collect();
        queries.sort_by_key(|id| (id.trim_start_matches('q').parse::<u32>().unwrap_or(u32::MAX), id.clone()));
        Ok(Self { folder: folder.to_owned(), example: example.to_owned(), bodies, queries })
    }

    /// Declares the three streams and sends every event.
    pub fn prepare(&self, api: &impl Api) -> Result<()> {
        for kind in KINDS {
            let path = self.example.join(format!("streams/{kind}.json"));
            let definition = fs::read(&path).with_context(|| format!("cannot read `{}`", path.display()))?;
            must(api, "PUT", &format!("/v1/streams/{kind}"), "application/json", &definition)?;
        }
        for (kind, (count, body)) in &self.bodies {
            let answer = must(api, "POST", &format!("/v1/streams/{kind}/events"), "application/x-ndjson", body)?;
            if answer["accepted"] != json!(count) {
                bail!("there are {count} of {kind}, and the host took {}: {}", answer["accepted"], answer["rejected"]);
            }
        }
        Ok(())
    }

    /// One query from its pipeline to its verdict.
    pub fn ask(&self, api: &impl Api, id: &str) -> Result<()> {
        let path = self.example.join(format!("queries/{id}.yaml"));
        let pipeline = fs::read(&path).map_err(|error| anyhow!("there is no pipeline for it: `{}`: {error}", path.display()))?;
        must(api, "PUT", &format!("/v1/pipelines/{id}"), "application/yaml", &pipeline)?;
        finished(api, id)?;
        let expected = lines(&folder::read(&self.folder.join("expected"), &format!("{id}.ndjson"))?)?;
        let (found, mut columns) = (rows(api, id)?, columns(api, id)?);
        let found = match summary(id, &found)? {
            Some(summed) => {
                columns.clear();
                summed
            }
            None => only(&expected, found),
        };
        compare(&expected, &found, &columns, None).map_err(|why| anyhow!(why))
    }

    /// Prepares and asks every query, telling each verdict as it falls.
    pub fn run(&self, api: &impl Api, mut told: impl FnMut(&Verdict)) -> Result<Vec<Verdict>> {
        self.prepare(api)?;
        let mut verdicts = Vec::new();
        for id in &self.queries {
            let outcome = self.ask(api, id).map_err(|error| format!("{error:#}"));
            let verdict = Verdict { id: id.clone(), outcome };
            told(&verdict);
            verdicts.push(verdict);
        }
        Ok(verdicts)
    }
}

/// The columns that the answer has: a pipeline may give more of a bid.
fn only(expected: &[Value], found: Vec<Value>) -> Vec<Value> {
    let Some(wanted) = expected.first().and_then(Value::as_object) else { return found };
    let keep = |mut row: Value| {
        if let Some(row) = row.as_object_mut() {
            row.retain(|name, _| wanted.contains_key(name));
        }
        row
    };
    found.into_iter().map(keep).collect()
}

/// Counts and sums over the result, of those queries whose answer has them.
fn summary(id: &str, rows: &[Value]) -> Result<Option<Vec<Value>>> {
    let sum = |of: &dyn Fn(&Value) -> Result<i128>| rows.iter().map(of).sum::<Result<i128>>().map(|sum| json!(sum as i64));
    let count = rows.len();
    Ok(Some(match id {
        "q0" => {
            let length = |row: &Value| Ok(row["extra"].as_str().map_or(0, |extra| extra.chars().count()) as i128);
            vec![json!({"rows": count, "sum_price": sum(&|row| integer(row, "price"))?, "sum_extra_length": sum(&length)?})]
        }
        "q1" => vec![json!({"rows": count, "sum_price_in_thousandths": sum(&|row| thousandths(row, "price"))?})],
        "q2" => {
            let (price, auction) = (sum(&|row| integer(row, "price"))?, sum(&|row| integer(row, "auction"))?);
            vec![json!({"rows": count, "sum_price": price, "sum_auction": auction})]
        }
        "q14" => {
            let mut by_time = BTreeMap::<&str, [i128; 3]>::new();
            for row in rows {
                let sums = by_time.entry(row["bidTimeType"].as_str().context("no `bidTimeType`")?).or_default();
                sums[0] += 1;
                // The answer has the price before it was taken times 0.908.
                sums[1] += thousandths(row, "price")? / 908;
                sums[2] += integer(row, "c_counts")?;
            }
            let told = |(time, [count, price, letters]): (&str, [i128; 3])| json!({"bidTimeType": time, "rows": count as i64, "sum_price": price as i64, "sum_c": letters as i64});
            by_time.into_iter().map(told).collect()
        }
        "q22" => {
            let mut by_word = BTreeMap::<&str, u64>::new();
            for row in rows {
                *by_word.entry(row["dir1"].as_str().context("no `dir1`")?).or_default() += 1;
            }
            // Words that are seldom are not in the answer.
            let often = by_word.into_iter().filter(|(_, count)| *count >= 100);
            often.map(|(word, count)| json!({"dir1": word, "rows": count})).collect()
        }
        _ => return Ok(None),
    }))
}

fn integer(row: &Value, column: &str) -> Result<i128> {
    row[column].as_i64().map(i128::from).with_context(|| format!("`{column}` is no integer in {row}"))
}

/// A decimal as so many thousandths; its text is exact.
fn thousandths(row: &Value, column: &str) -> Result<i128> {
    let text = row[column].as_str().map_or_else(|| row[column].to_string(), str::to_owned);
    let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
    let digits = format!("{whole}{fraction:0<3}");
    let is_exact = fraction.len() <= 3;
    digits.parse().ok().filter(|_| is_exact).with_context(|| format!("`{column}` is no number of thousandths: {text}"))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{only, summary};

    #[track_caller]
    fn check(id: &str, rows: Value, expected: Value) {
        let summed = summary(id, rows.as_array().expect("rows")).expect("sums");
        assert_eq!(summed.map(Value::from), Some(expected));
    }

    #[test]
    fn rows_are_summed_as_the_answers_are() {
        check(
            "q0",
            json!([{"price": 2, "extra": "ab"}, {"price": 3, "extra": ""}]),
            json!([{"rows": 2, "sum_price": 5, "sum_extra_length": 2}]),
        );
        check(
            "q1",
            json!([{"price": "94.432"}, {"price": "0.9"}, {"price": 7}]),
            json!([{"rows": 3, "sum_price_in_thousandths": 102_332}]),
        );
        check(
            "q14",
            json!([{"bidTimeType": "dayTime", "price": "1.816", "c_counts": 3}]),
            json!([{"bidTimeType": "dayTime", "rows": 1, "sum_price": 2, "sum_c": 3}]),
        );
        let often: Vec<Value> = (0..100).map(|_| json!({"dir1": "abc"})).chain([json!({"dir1": "x"})]).collect();
        check("q22", json!(often), json!([{"dir1": "abc", "rows": 100}]));
        assert!(summary("q1", &[json!({"price": "1.2345"})]).is_err());
    }

    #[test]
    fn other_queries_are_compared_by_the_columns_of_the_answer() {
        assert!(summary("q5", &[]).expect("no sums").is_none());
        assert_eq!(only(&[json!({"a": 1})], vec![json!({"a": 2, "b": 3})]), [json!({"a": 2})]);
    }
}

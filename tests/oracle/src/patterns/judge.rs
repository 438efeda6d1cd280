//! One vector from its stream to its verdict.

use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::translate::{Names, pipeline};
use super::vector::{Expected, Finding, Vector, said};
use crate::api::{Api, get, must, put, rows};
use crate::instant::micros;
use crate::streams::finished;

/// How long a pipeline may take over one vector.
const PATIENCE: Duration = Duration::from_secs(300);

/// Asks a host. `number` is the vector's own among all that the host is asked.
pub(super) fn ask(api: &impl Api, vector: &Vector, number: usize) -> Result<()> {
    let names = Names::of(vector);
    let (stream, result) = (format!("vector-{number}"), format!("matches-{number}"));
    let path = format!("/v1/pipelines/{stream}");
    put(api, &format!("/v1/streams/{stream}"), &names.definition())?;
    let document = pipeline(vector, &names, &stream, &result)?;
    let Some(expected) = &vector.expected else {
        let answer = api.ask("PUT", &path, "application/json", document.to_string().as_bytes())?;
        return match answer.status {
            422 => Ok(()),
            status => bail!("it is not refused: {status} {}", answer.body.trim()),
        };
    };
    let events = names.rows(vector);
    let body: String = events.iter().flat_map(|row| [row.to_string(), "\n".to_owned()]).collect();
    if !events.is_empty() {
        let answer = must(api, "POST", &format!("/v1/streams/{stream}/events"), "application/x-ndjson", body.as_bytes())?;
        if answer["accepted"] != json!(events.len()) {
            bail!("the host took {} of {} events: {}", answer["accepted"], events.len(), answer["rejected"]);
        }
    }
    put(api, &path, &document)?;
    let status = match vector.lag_ms {
        Some(_) => finished(api, &stream)?,
        None => paused(api, &path, events.len() as u64)?,
    };
    compare(&names, expected, &rows(api, &result)?, &status)?;
    must(api, "DELETE", &path, "", b"").map(drop)
}

/// Waits until a live pipeline has taken every event, and stops it: what it had to say stands then.
fn paused(api: &impl Api, path: &str, events: u64) -> Result<Value> {
    let begin = Instant::now();
    loop {
        let status = get(api, &format!("{path}/status"))?;
        if status["state"] != "running" {
            bail!("the pipeline is {}: {status}", status["state"]);
        }
        if status["rows_in"].as_u64() == Some(events) {
            break;
        }
        if begin.elapsed() > PATIENCE {
            bail!("the pipeline has not taken {events} events after {PATIENCE:?}: {status}");
        }
        sleep(Duration::from_millis(5));
    }
    must(api, "POST", &format!("{path}/pause"), "", b"")?;
    loop {
        let status = get(api, &format!("{path}/status"))?;
        if status["state"] == "paused" {
            return Ok(status);
        }
        if begin.elapsed() > PATIENCE {
            bail!("the pipeline has not paused after {PATIENCE:?}: {status}");
        }
        sleep(Duration::from_millis(5));
    }
}

fn compare(names: &Names, expected: &Expected, rows: &[Value], status: &Value) -> Result<()> {
    let (mut matches, mut timeouts): (Vec<Finding>, Vec<Finding>) = (Vec::new(), Vec::new());
    for row in rows.iter().filter(|row| names.is_of_events(row)) {
        let is_timeout = row["timed_out"] == Value::Bool(true);
        let time = || -> Result<i64> {
            let time = row["_time"].as_str().and_then(micros).with_context(|| format!("no time in {row}"))?;
            // A run is over one step behind the last instant at which it was not.
            Ok(i64::try_from((time + 1).div_euclid(1_000))?)
        };
        let events = names.columns().filter(|(_, column)| !row[column].is_null());
        let stages = events.map(|(name, column)| (name.to_owned(), row[&column].to_string())).collect();
        let at = if is_timeout { Some(time()?) } else { None };
        if is_timeout { &mut timeouts } else { &mut matches }.push(said(stages, at));
    }
    matches.sort();
    timeouts.sort();
    let mut faults = Vec::new();
    let mut differ = |what: &str, expected: &[Finding], found: &[Finding]| {
        if expected != found {
            faults.push(format!("{what}: {}", difference(expected, found)));
        }
    };
    differ("matches", &expected.matches, &matches);
    if let Some(expected) = &expected.timeouts {
        differ("timeouts", expected, &timeouts);
    }
    let steps = status["steps"].as_array().into_iter().flatten();
    let failed: u64 = steps.filter_map(|step| step["pattern"]["skip_failed"].as_u64()).sum();
    if expected.has_error != (failed > 0) {
        faults.push(format!(
            "{failed} matches had nothing to skip to, and {} should",
            if expected.has_error { "one" } else { "none" }
        ));
    }
    if faults.is_empty() { Ok(()) } else { bail!("{}", faults.join("; ")) }
}

/// The first of those that are missing, and of those that nobody expects.
fn difference(expected: &[Finding], found: &[Finding]) -> String {
    let mut left = found.to_vec();
    let mut missing = Vec::new();
    for finding in expected {
        match left.iter().position(|other| other == finding) {
            Some(at) => drop(left.remove(at)),
            None => missing.push(finding.clone()),
        }
    }
    let first = |all: &[Finding]| all.iter().take(3).cloned().collect::<Vec<_>>().join(", ");
    let (lacking, beyond) = (first(&missing), first(&left));
    format!(
        "{} expected, {} found; missing {}: {lacking}; not expected {}: {beyond}",
        expected.len(),
        found.len(),
        missing.len(),
        left.len()
    )
}

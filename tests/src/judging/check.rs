//! The comparison of what the host has with what it said, and of what its pipelines made of it.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fmt;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::ledger::{Remembered, remember};
use super::{COUNTED, EventId, KEPT, RECOUNTED, STREAM, files};
use crate::{Answer, request};

/// How long pipelines may take to have caught up.
const PATIENCE: Duration = Duration::from_secs(30);
/// How many faults are told.
const FAULTS_SHOWN: usize = 20;

/// What the judge found.
#[derive(Debug, Default)]
pub struct Verdict {
    /// Acknowledged events.
    pub acknowledged: usize,
    /// Events in the stream.
    pub present: usize,
    /// Acknowledged and not there.
    pub lost: usize,
    /// There twice or more.
    pub doubled: usize,
    /// Everything that is wrong, the first ones in words.
    pub faults: Vec<String>,
}

impl Verdict {
    /// Whether the host kept every promise.
    pub fn is_right(&self) -> bool {
        self.faults.is_empty()
    }

    fn fault(&mut self, text: impl FnOnce() -> String) {
        match self.faults.len() {
            0..FAULTS_SHOWN => self.faults.push(text()),
            FAULTS_SHOWN => self.faults.push("and more".to_owned()),
            _ => {}
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} acknowledged, {} present, {} lost, {} doubled", self.acknowledged, self.present, self.lost, self.doubled)?;
        self.faults.iter().try_for_each(|fault| write!(f, "\n  {fault}"))
    }
}

/// Declares the stream and applies the pipelines. `counter` is a rule that adds a column `count`, the number of the row among
/// those of its key; without one only the stateless pipeline is made, with one two more, the second behind the first.
pub fn prepare(url: &str, counter: Option<&[u8]>) -> Result<(), String> {
    let definition = json!({
        "fields": [
            {"name": "id", "type": "string", "nullable": false}, {"name": "producer", "type": "int64"},
            {"name": "run", "type": "int64"}, {"name": "n", "type": "int64"}, {"name": "key", "type": "string"}
        ],
        "key": ["key"], "partitions": 4
    });
    must(put(url, &format!("/v1/streams/{STREAM}"), "application/json", definition.to_string().as_bytes()))?;
    let kept = format!(
        "pipeline: {KEPT}\nfrom: {STREAM}\nsteps:\n  - where: n % 3 = 0\n  - select: {{id: id, key: key}}\nto:\n  - stream: {KEPT}\n"
    );
    must(put(url, &format!("/v1/pipelines/{KEPT}"), "application/yaml", kept.as_bytes()))?;
    if let Some(counter) = counter {
        must(put(url, "/v1/components/counter/versions/1.0.0", "application/wasm", counter))?;
        // Other partitions than its source has: rows of a key come together again by the stream's own key.
        let between = json!({
            "fields": [
                {"name": "id", "type": "string"}, {"name": "key", "type": "string"}, {"name": "count", "type": "int64"}
            ],
            "key": ["key"], "partitions": 3
        });
        must(put(url, &format!("/v1/streams/{COUNTED}"), "application/json", between.to_string().as_bytes()))?;
        let counted = format!(
            "pipeline: {COUNTED}\nfrom: {STREAM}\nsteps:\n  - rule: counter@1\n    by: [key]\n    keep: all\n  - select: {{id: id, key: key, count: count}}\nto:\n  - stream: {COUNTED}\n"
        );
        must(put(url, &format!("/v1/pipelines/{COUNTED}"), "application/yaml", counted.as_bytes()))?;
        let recounted = format!(
            "pipeline: {RECOUNTED}\nfrom: {COUNTED}\nsteps:\n  - where: count % 2 = 0\n  - select: {{id: id, key: key, nth: count}}\n  - rule: counter@1\n    by: [key]\n    keep: all\nto:\n  - stream: {RECOUNTED}\n  - file: {{path: {RECOUNTED}, roll: {{rows: 500, every: 50ms}}}}\n"
        );
        must(put(url, &format!("/v1/pipelines/{RECOUNTED}"), "application/yaml", recounted.as_bytes()))?;
    }
    Ok(())
}

/// Compares everything. An error is a judge that could not do its work; a broken promise is a [`Verdict`].
/// `written` is where the host writes its files.
pub fn check(url: &str, folder: &Path, written: &Path) -> Result<Verdict, String> {
    let remembered = remember(folder).map_err(|error| format!("the ledger: {error}"))?;
    let rows = rows(url, STREAM)?;
    let mut verdict = Verdict { acknowledged: remembered.acknowledged.len(), present: rows.len(), ..Verdict::default() };
    check_stream(&rows, &remembered, &mut verdict)?;
    let kept: BTreeMap<u64, Vec<String>> = by_partition(&rows, |row| {
        let n = row["n"].as_i64().unwrap_or(-1);
        (n % 3 == 0).then(|| text(row, "id"))
    });
    check_output(KEPT, &kept, || Ok(by_partition(&self::rows(url, KEPT)?, |row| Some(text(row, "id")))), &mut verdict)?;
    if get(url, &format!("/v1/pipelines/{COUNTED}"))?.status == 200 {
        let (counted, recounted) = counts(&rows);
        let told = |row: &Value| format!("{} is number {}", text(row, "id"), row["count"]);
        let of_keys = |rows: Vec<Value>| by_key(&rows, told);
        check_output(COUNTED, &counted, || Ok(of_keys(self::rows(url, COUNTED)?)), &mut verdict)?;
        check_output(RECOUNTED, &recounted, || Ok(of_keys(self::rows(url, RECOUNTED)?)), &mut verdict)?;
        let folder = written.join(RECOUNTED);
        let in_files = || files::rows(&folder).map_err(|error| error.to_string()).map(of_keys);
        check_output("the files of recounted", &recounted, in_files, &mut verdict)?;
        check_pipeline(url, COUNTED, &mut verdict)?;
        check_pipeline(url, RECOUNTED, &mut verdict)?;
    }
    check_pipeline(url, KEPT, &mut verdict)?;
    Ok(verdict)
}

/// What the two pipelines with state make of the events: per key, every event with its number, and every second of those with its own.
fn counts(rows: &[Value]) -> (BTreeMap<String, Vec<String>>, BTreeMap<String, Vec<String>>) {
    let (mut counted, mut recounted) = (BTreeMap::new(), BTreeMap::new());
    for (key, ids) in by_key(rows, |row| text(row, "id")) {
        let numbered = |ids: &mut dyn Iterator<Item = &String>| -> Vec<String> {
            ids.zip(1..).map(|(id, number)| format!("{id} is number {number}")).collect()
        };
        counted.insert(key.clone(), numbered(&mut ids.iter()));
        recounted.insert(key, numbered(&mut ids.iter().skip(1).step_by(2)));
    }
    (counted, recounted)
}

fn check_pipeline(url: &str, name: &str, verdict: &mut Verdict) -> Result<(), String> {
    let answer = get(url, &format!("/v1/pipelines/{name}/status"))?;
    let status: Value = serde_json::from_str(&answer.body).map_err(|error| format!("the status of {name}: {error}"))?;
    if status["state"] != "running" || status["divergences"].as_array().is_none_or(|divergences| !divergences.is_empty()) {
        verdict.fault(|| format!("{name} is {}: {} {}", status["state"], status["last_error"], status["divergences"]));
    }
    Ok(())
}

fn check_stream(rows: &[Value], remembered: &Remembered, verdict: &mut Verdict) -> Result<(), String> {
    let mut present = HashSet::with_capacity(rows.len());
    let mut next_offset: HashMap<u64, u64> = HashMap::new();
    let mut last_n: HashMap<(u64, u32, u32), u64> = HashMap::new();
    for row in rows {
        let number = |key: &str| row[key].as_u64().ok_or_else(|| format!("no `{key}` in {row}"));
        let (partition, offset) = (number("_partition")?, number("_offset")?);
        let id = EventId { producer: number("producer")? as u32, run: number("run")? as u32, n: number("n")? };
        let expected = next_offset.entry(partition).or_default();
        if offset != *expected {
            let expected = *expected;
            verdict.fault(|| format!("partition {partition} goes from offset {expected} to {offset}"));
        }
        next_offset.insert(partition, offset + 1);
        if !present.insert(id) {
            verdict.doubled += 1;
            verdict.fault(|| format!("{id} is there twice, the second time at {partition}:{offset}"));
        } else if let Some(before) = last_n.insert((partition, id.producer, id.run), id.n).filter(|before| *before > id.n) {
            verdict.fault(|| format!("{id} stands behind number {before} of its producer at {partition}:{offset}"));
        }
        if !remembered.sent.contains(&id) {
            verdict.fault(|| format!("{id} at {partition}:{offset} was never sent"));
        }
    }
    let mut lost: Vec<&EventId> = remembered.acknowledged.difference(&present).collect();
    lost.sort_unstable();
    verdict.lost = lost.len();
    lost.into_iter().for_each(|id| verdict.fault(|| format!("{id} was acknowledged and is lost")));
    Ok(())
}

/// Waits until there are as many rows as there should be, and compares them partition by partition, or key by key.
fn check_output<P: Ord + fmt::Display>(
    stream: &str,
    expected: &BTreeMap<P, Vec<String>>,
    read: impl Fn() -> Result<BTreeMap<P, Vec<String>>, String>,
    verdict: &mut Verdict,
) -> Result<(), String> {
    let count = |rows: &BTreeMap<P, Vec<String>>| -> usize { rows.values().map(Vec::len).sum() };
    let begin = Instant::now();
    let mut found = read()?;
    while count(&found) < count(expected) && begin.elapsed() < PATIENCE {
        std::thread::sleep(Duration::from_millis(20));
        found = read()?;
    }
    for partition in expected.keys().chain(found.keys()).collect::<BTreeSet<_>>() {
        let none = Vec::new();
        let (expected, found) = (expected.get(partition).unwrap_or(&none), found.get(partition).unwrap_or(&none));
        if let Some(at) = (0..expected.len().max(found.len())).find(|at| expected.get(*at) != found.get(*at)) {
            verdict.fault(|| {
                format!(
                    "{stream}, {partition}: row {at} of {} is {:?}, and should be {:?} of {}",
                    found.len(),
                    found.get(at),
                    expected.get(at),
                    expected.len()
                )
            });
        }
    }
    Ok(())
}

fn by_partition(rows: &[Value], mut told: impl FnMut(&Value) -> Option<String>) -> BTreeMap<u64, Vec<String>> {
    let mut partitions: BTreeMap<u64, Vec<String>> = BTreeMap::new();
    for row in rows {
        if let Some(text) = told(row) {
            partitions.entry(row["_partition"].as_u64().unwrap_or(u64::MAX)).or_default().push(text);
        }
    }
    partitions
}

fn by_key(rows: &[Value], told: impl Fn(&Value) -> String) -> BTreeMap<String, Vec<String>> {
    let mut keys: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for row in rows {
        keys.entry(text(row, "key")).or_default().push(told(row));
    }
    keys
}

fn text(row: &Value, key: &str) -> String {
    row[key].as_str().unwrap_or("?").to_owned()
}

fn rows(url: &str, stream: &str) -> Result<Vec<Value>, String> {
    let answer = get(url, &format!("/v1/streams/{stream}/events"))?;
    if answer.status != 200 {
        return Err(format!("reading {stream}: {} {}", answer.status, answer.body));
    }
    answer.body.lines().map(|line| serde_json::from_str(line).map_err(|error| format!("`{line}`: {error}"))).collect()
}

fn get(url: &str, path: &str) -> Result<Answer, String> {
    request("GET", &format!("{url}{path}"), None, b"").map_err(|error| format!("GET {path}: {error}"))
}

fn put(url: &str, path: &str, content_type: &str, body: &[u8]) -> Result<Answer, String> {
    request("PUT", &format!("{url}{path}"), Some(content_type), body).map_err(|error| format!("PUT {path}: {error}"))
}

fn must(answer: Result<Answer, String>) -> Result<(), String> {
    let answer = answer?;
    if (200..300).contains(&answer.status) { Ok(()) } else { Err(format!("{}: {}", answer.status, answer.body)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `present` and `acknowledged` as `producer-run-n` words; every event from 0 to 9 was sent. The first fault, or `right`.
    fn check(present: &str, acknowledged: &str, expected: &str) {
        let id = |word: &str| {
            let numbers: Vec<u64> = word.split('-').map(|number| number.parse().expect("a number")).collect();
            EventId { producer: numbers[0] as u32, run: numbers[1] as u32, n: numbers[2] }
        };
        let row = |(offset, word): (usize, &str)| {
            let id = id(word);
            json!({"producer": id.producer, "run": id.run, "n": id.n, "_partition": 0, "_offset": offset})
        };
        let rows: Vec<Value> = present.split_whitespace().enumerate().map(row).collect();
        let remembered = Remembered {
            sent: (0..10).map(|n| EventId { producer: 0, run: 0, n }).collect(),
            acknowledged: acknowledged.split_whitespace().map(id).collect(),
        };
        let mut verdict = Verdict::default();
        check_stream(&rows, &remembered, &mut verdict).expect("rows of the right form");
        assert_eq!(verdict.faults.first().map_or("right", String::as_str), expected);
    }

    #[test]
    fn every_broken_promise_is_found() {
        check("0-0-0 0-0-1", "0-0-0", "right");
        check("0-0-0", "0-0-0 0-0-1", "0-0-1 was acknowledged and is lost");
        check("0-0-0 0-0-1 0-0-0", "0-0-0", "0-0-0 is there twice, the second time at 0:2");
        check("0-0-1 0-0-0", "", "0-0-0 stands behind number 1 of its producer at 0:1");
        check("0-0-11", "", "0-0-11 at 0:0 was never sent");
    }
}

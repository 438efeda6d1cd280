//! Files of pipelines over kills, power cuts and changes of plan: every row in exactly one file, whatever happens when.

mod support;

use std::collections::BTreeMap;

use serde_json::{Value, json};
use support::{Host, Setup};
use tidemill_engine::PipelineState;

const ROWS: &str =
    r#"{"fields": [{"name": "k", "type": "string"}, {"name": "n", "type": "int64"}], "key": ["k"], "partitions": 2}"#;

fn rows(from: i64, count: i64) -> Vec<Value> {
    (from..from + count).map(|n| json!({"k": format!("k{}", n % 5), "n": n})).collect()
}

/// The `n` of every line of the finished files in a folder, and how often it is there.
fn in_files(host: &Host, folder: &str) -> BTreeMap<i64, u32> {
    let mut counted = BTreeMap::new();
    let files = std::fs::read_dir(host.path("files").join(folder)).expect("a folder").map(|file| file.expect("a file").path());
    for path in files.filter(|path| path.extension().is_some_and(|extension| extension == "ndjson")) {
        for line in std::fs::read_to_string(&path).expect("text").lines() {
            let row: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            *counted.entry(row["n"].as_i64().expect("a number")).or_default() += 1;
        }
    }
    counted
}

fn once(numbers: impl Iterator<Item = i64>) -> BTreeMap<i64, u32> {
    numbers.map(|n| (n, 1)).collect()
}

#[test]
fn crashes_and_power_cuts_lose_and_double_nothing_in_files() {
    let mut host = Host::new(Setup { batch_rows: 7, ..Setup::default() });
    host.make_stream("rows", ROWS);
    host.apply(
        "p",
        "from: rows\nto:\n- file: {path: few, roll: {rows: 5, every: 5ms}}\n- file: {path: many, roll: {every: 1h}}\n",
    );
    let mut sent = 0;
    for seed in 0..24_u64 {
        host.send("rows", &rows(sent, 20));
        sent += 20;
        // Some are caught in the middle of things, some when they wait.
        std::thread::sleep(std::time::Duration::from_millis(seed * 3 % 20));
        host = match seed % 4 {
            0 => host.crash(),
            3 => host.restart(),
            _ => host.power_cut(seed),
        };
    }
    host.settle("p");
    host.wait("p", "the files", |status| {
        status.sinks.iter().filter(|sink| sink.target == "file: few").all(|sink| sink.lag_records == 0)
    });
    assert!(in_files(&host, "few") == once(0..sent), "{:?}", in_files(&host, "few"));
    // The other one waits for an hour, or for the end.
    let host = host.restart();
    assert!(in_files(&host, "many") == once(0..sent), "{:?}", in_files(&host, "many"));
}

#[test]
fn rows_of_a_file_that_waits_for_more_are_counted_and_a_pause_closes_it() {
    let host = Host::new(Setup::default());
    host.make_stream("rows", ROWS);
    host.send("rows", &rows(0, 10));
    host.apply("p", "from: rows\nto: [{file: {path: out, roll: {every: 1h}}}]\n");
    let status = host.wait("p", "an open file", |status| status.sinks.iter().map(|sink| sink.waiting_records).sum::<u64>() == 10);
    assert_eq!(status.sinks.iter().map(|sink| sink.lag_records).sum::<u64>(), 10);
    assert_eq!(in_files(&host, "out"), BTreeMap::new());
    host.engine.pipelines().pause(&support::tenant(), &support::pipeline("p")).expect("pauses");
    assert_eq!(in_files(&host, "out"), once(0..10));
    host.engine.pipelines().resume(&support::tenant(), &support::pipeline("p")).expect("resumes");
    host.send("rows", &rows(10, 10));
    // A change of the bounds goes on where the files end.
    host.settle("p");
    host.apply("p", "from: rows\nto: [{file: {path: out, roll: {rows: 1}}}]\n");
    host.send("rows", &rows(20, 3));
    host.settle("p");
    host.wait("p", "the files", |status| status.lag_records == 0 && status.sinks.iter().all(|sink| sink.lag_records == 0));
    assert_eq!(in_files(&host, "out"), once(0..23));
}

#[test]
fn a_target_that_is_added_begins_with_the_rows_from_there_on() {
    let host = Host::new(Setup::default());
    host.make_stream("rows", ROWS);
    host.send("rows", &rows(0, 10));
    host.apply("p", "from: rows\nto: [{file: {path: old}}]\n");
    host.settle("p");
    host.apply("p", "from: rows\nto: [{file: {path: old}}, {file: {path: new}}, stdout]\n");
    host.send("rows", &rows(10, 5));
    host.settle("p");
    host.wait("p", "the files", |status| status.sinks.iter().all(|sink| sink.lag_records == 0));
    assert_eq!(in_files(&host, "old"), once(0..15));
    assert_eq!(in_files(&host, "new"), once(10..15));
    assert_eq!(host.printed.0.lock().expect("unpoisoned").iter().filter(|byte| **byte == b'\n').count(), 5);
    // A start is no change: nothing begins anew.
    let host = host.crash();
    host.send("rows", &rows(15, 5));
    host.settle("p");
    host.wait("p", "the files", |status| status.sinks.iter().all(|sink| sink.lag_records == 0));
    assert_eq!(in_files(&host, "new"), once(10..20));
}

#[test]
fn a_run_once_closes_its_files_at_its_end() {
    let host = Host::new(Setup::default());
    host.make_stream("rows", ROWS);
    host.send("rows", &rows(0, 100));
    host.apply("p", "run: once\nfrom: rows\nto: [{file: {path: out, roll: {every: 1h}}}, {file: {path: other, format: parquet, roll: {every: 1h}}}]\n");
    let status = host.wait("p", "the end", |status| status.state == PipelineState::Finished);
    assert_eq!(in_files(&host, "out"), once(0..100));
    assert!(status.sinks.iter().all(|sink| sink.batches == 1 && sink.bytes > 0), "{:#?}", status.sinks);
}

#[test]
fn files_of_another_life_of_the_stream_stop_the_sink_and_say_so() {
    let host = Host::new(Setup::default());
    host.make_stream("rows", ROWS);
    std::fs::create_dir_all(host.path("files/out")).expect("a folder");
    std::fs::write(host.path("files/out/00000-000000000000-000000000500.ndjson"), "{}\n").expect("writes");
    host.apply("p", "from: rows\nto: [{file: {path: out, roll: {every: 0s}}}]\n");
    let status = host.wait("p", "an error", |status| status.sinks[0].last_error.is_some());
    let error = status.sinks[0].last_error.clone().unwrap_or_default();
    assert!(error.contains("has rows up to 500, and the stream ends at 0"), "{error}");
}

//! Operating a host from the command line: several streams in one pipeline, the difference of a dry run, pause, replay, logs, status, delete;
//! tables and lookups, tables that follow a stream, metrics of rows.

#[path = "operating/kept_tables.rs"]
mod kept_tables;
#[path = "operating/tables.rs"]
mod tables;

use std::process::{Output, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use tidemill_tests::{Host, eventually, tidemill_command};

fn command(host: &Host, words: &[&str]) -> Output {
    tidemill_command().args(words).env("TIDEMILL_HOST", host.url()).stdin(Stdio::null()).output().expect("the binary")
}

#[track_caller]
fn run(host: &Host, words: &[&str]) -> String {
    let output = command(host, words);
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

/// Exit code and what was said on standard error.
fn refused(host: &Host, words: &[&str]) -> (Option<i32>, String) {
    let output = command(host, words);
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

const TEXT: &str = "\
pipeline: seen
from: [cards, wires]
steps:
  - rule: counter@1
    by: [key]
    keep: all
to:
  - stream: seen
";

struct Prepared {
    host: Host,
    folder: tempfile::TempDir,
}

impl Prepared {
    fn new() -> Self {
        let host = Host::start();
        for stream in ["cards", "wires"] {
            let fields = json!([{"name": "key", "type": "string"}, {"name": "amount", "type": "int64"}, {"name": stream, "type": "int64"}]);
            host.put(&format!("/v1/streams/{stream}"), &json!({"fields": fields, "key": ["key"], "partitions": 2})).expect(201);
        }
        host.push("counter", "1.0.0", &tidemill_tests::guest("test-count-per-key")).expect(201);
        Self { host, folder: tempfile::tempdir().expect("a folder") }
    }

    fn file(&self, name: &str, text: &str) -> String {
        let path = self.folder.path().join(name);
        std::fs::write(&path, text).expect("a file");
        path.display().to_string()
    }

    fn send(&self, stream: &str, range: std::ops::Range<i64>) {
        let rows: Vec<Value> = range.map(|n| json!({"key": format!("k{}", n % 5), "amount": n, stream: n})).collect();
        self.host.send(stream, &Value::Array(rows)).expect(200);
    }
}

fn numbers(rows: &[Value], field: &str) -> Vec<i64> {
    let mut numbers: Vec<i64> = rows.iter().filter_map(|row| row[field].as_i64()).collect();
    numbers.sort_unstable();
    numbers
}

#[test]
fn two_streams_through_kills_are_one_and_nothing_is_lost_or_doubled() {
    let mut prepared = Prepared::new();
    prepared.host.apply("seen", TEXT).expect(201);
    for round in 0..4 {
        prepared.send("cards", round * 50..(round + 1) * 50);
        prepared.send("wires", round * 30..(round + 1) * 30);
        prepared.host.kill();
        prepared.host.launch();
    }
    let rows = prepared.host.wait_rows("seen", 4 * 80);
    assert_eq!(numbers(&rows, "cards"), (0..200).collect::<Vec<_>>());
    assert_eq!(numbers(&rows, "wires"), (0..120).collect::<Vec<_>>());
    let status = prepared.host.get("/v1/pipelines/seen/status").expect(200).json();
    assert_eq!(status["divergences"], json!([]), "{status}");
}

#[test]
fn a_pipeline_is_operated_from_the_command_line() {
    let prepared = Prepared::new();
    let host = &prepared.host;
    let file = prepared.file("seen.yaml", TEXT);
    assert!(run(host, &["apply", &file]).contains("created seen"));
    prepared.send("cards", 0..40);
    prepared.send("wires", 0..40);
    host.wait_rows("seen", 80);

    // What would change, and nothing is changed; a program gets it as JSON; no colours where nobody looks.
    let other = prepared.file("other.yaml", &TEXT.replace("[cards, wires]", "cards").replace("    keep: all\n", ""));
    let dry = run(host, &["apply", &other, "--dry-run"]);
    for line in ["seen would change; nothing was changed", "- from.wires", "keep: all → (not said)", "state is kept"] {
        assert!(dry.contains(line), "`{line}` is not in\n{dry}");
    }
    assert!(!dry.contains('\x1b'), "{dry}");
    let dry: Value = serde_json::from_str(&run(host, &["apply", &other, "--dry-run", "--json"])).expect("JSON");
    assert_eq!((&dry["dry_run"], &dry["changes"][0]["change"]), (&json!(true), &json!("removed")), "{dry}");
    assert_eq!(run(host, &["apply", &file, "--dry-run"]).trim(), "seen is as it was");

    // Paused it takes nothing.
    assert!(run(host, &["pause", "seen"]).contains("paused"));
    prepared.send("cards", 40..50);
    assert!(run(host, &["status"]).contains("paused"));
    assert!(run(host, &["resume", "seen"]).contains("goes on"));
    host.wait_rows("seen", 90);
    let page = run(host, &["status", "seen"]);
    for word in ["running", "plan 1, run 1", "90 rows in", "steps[0].rule", "counter@1.0.0", "cards", "wires", "PARTITION"] {
        assert!(page.contains(word), "`{word}` is not in\n{page}");
    }
    let status: Value = serde_json::from_str(&run(host, &["status", "seen", "--json"])).expect("JSON");
    // Calls are counted since the host was started: a pause begins nothing anew.
    assert_eq!((&status["rows_in"], &status["steps"][0]["rows"]), (&json!(90), &json!(90)), "{status}");
    assert_eq!(run(host, &["logs", "seen"]), "", "this component has nothing to say");

    // A replay runs beside it, and takes over.
    assert!(run(host, &["replay", "seen", "--from", "earliest"]).contains("…@2"));
    host.wait_rows("seen@2", 90);
    assert!(run(host, &["replay", "seen"]).contains("run 2"));
    let promoted = run(host, &["replay", "seen", "promote"]);
    assert!(promoted.contains("run 2 is seen's now") && promoted.contains("seen@2"), "{promoted}");
    prepared.send("cards", 50..60);
    let rows = host.wait_rows("seen", 100);
    assert_eq!(numbers(&rows, "cards"), (0..60).collect::<Vec<_>>());
    assert_eq!(refused(host, &["replay", "seen", "discard"]).0, Some(4));

    // What is used stays; what nobody uses goes.
    let (code, said) = refused(host, &["streams", "delete", "cards", "--yes"]);
    assert!(code == Some(4) && said.contains("seen"), "{code:?} {said}");
    let (code, said) = refused(host, &["components", "delete", "counter", "1.0.0", "--yes"]);
    assert!(code == Some(4) && said.contains("seen"), "{code:?} {said}");
    let (code, said) = refused(host, &["delete", "seen"]);
    assert!(code == Some(2) && said.contains("--yes"), "nobody can be asked: {code:?} {said}");
    assert!(run(host, &["delete", "seen", "--yes"]).contains("deleted seen"));
    for words in [["streams", "delete", "seen@2", "--yes"], ["streams", "delete", "cards", "--yes"]] {
        run(host, &words);
    }
    run(host, &["components", "delete", "counter", "1.0.0", "--yes"]);
    assert!(!run(host, &["streams"]).contains("cards"));
    assert!(run(host, &["streams", "show", "seen"]).contains("name: seen"), "what was written stays");
}

#[test]
fn old_rows_go_but_never_what_a_pipeline_has_yet_to_take() {
    let prepared = Prepared::new();
    let host = &prepared.host;
    let definition = json!({"fields": [{"name": "n", "type": "int64"}], "retention": {"age": "1s"}});
    for stream in ["read", "unread"] {
        host.put(&format!("/v1/streams/{stream}"), &definition).expect(201);
    }
    let start = |stream: &str| host.get(&format!("/v1/streams/{stream}")).expect(200).json()["offsets"][0]["start"].as_u64();
    host.apply("reads", "from: read\nto: [{stream: copied}]\n").expect(201);
    for stream in ["read", "unread"] {
        host.send(stream, &json!([{"n": 1}, {"n": 2}])).expect(200);
    }
    host.wait_rows("copied", 2);
    eventually("old rows to go", Duration::from_secs(30), || start("unread") == Some(2));
    assert_eq!(start("read"), Some(0), "no checkpoint covers them: a crash now would ask for them again");
    // A pause is a checkpoint, and nobody needs them behind it.
    host.ask("POST", "/v1/pipelines/reads/pause", None, b"").expect(200);
    eventually("the others to go", Duration::from_secs(30), || start("read") == Some(2));
}

#[test]
fn a_checkpoint_is_kept_restored_and_carried_as_a_file() {
    let Prepared { mut host, folder } = Prepared::new();
    let text = TEXT.replace("[cards, wires]", "cards");
    std::fs::write(folder.path().join("seen.yaml"), &text).expect("written");
    run(&host, &["apply", folder.path().join("seen.yaml").to_str().expect("a path")]);
    let rows =
        |from: i64, until: i64| -> Value { (from..until).map(|n| json!({"key": format!("k{}", n % 7), "amount": n})).collect() };
    host.send("cards", &rows(0, 70)).expect(200);
    host.wait_rows("seen", 70);
    let to = folder.path().join("kept");
    let to = to.to_str().expect("a path");
    let said = run(&host, &["checkpoint", "create", "seen", "noon", "--to", to]);
    assert!(said.contains("noon.checkpoint") && said.contains("checkpoint restore seen noon"), "{said}");
    assert!(run(&host, &["checkpoint", "list", "seen"]).contains("noon"));
    host.send("cards", &rows(70, 90)).expect(200);
    let all = host.wait_rows("seen", 90);
    host.kill();
    host.launch();
    // Gone from the host, and back from the file.
    run(&host, &["checkpoint", "delete", "seen", "noon"]);
    let (code, why) = refused(&host, &["checkpoint", "restore", "seen", "noon"]);
    assert!(code == Some(4) && why.contains("no checkpoint `noon`"), "{why}");
    let said = run(&host, &["checkpoint", "restore", "seen", "noon", "--from", to]);
    assert!(said.contains("begins with checkpoint noon of seen"), "{said}");
    let status = host.get("/v1/pipelines/seen/replay").expect(200).json();
    let run_number = status["run"].as_u64().expect("a number");
    let again = host.wait_rows(&format!("seen@{run_number}"), 20);
    assert_eq!(numbers(&again, "amount"), (70..90).collect::<Vec<_>>(), "the rows behind it");
    let counts = |rows: &[Value]| {
        let mut counts: Vec<(i64, Value)> =
            rows.iter().filter_map(|row| Some((row["amount"].as_i64().filter(|n| *n >= 70)?, row["count"].clone()))).collect();
        counts.sort_by_key(|(n, _)| *n);
        counts
    };
    assert_eq!(counts(&again), counts(&all), "counted on from what there was");
    // A file of which a byte was turned is refused.
    let file = std::path::Path::new(to).join("noon.checkpoint");
    let mut bytes = std::fs::read(&file).expect("a file");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(std::path::Path::new(to).join("bad.checkpoint"), bytes).expect("written");
    let (code, why) = refused(&host, &["checkpoint", "restore", "seen", "bad", "--from", to]);
    assert!(code == Some(4) && why.contains("damaged at byte"), "{why}");
}

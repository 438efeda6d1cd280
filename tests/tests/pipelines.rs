//! Pipelines over HTTP: what they do to rows, how faults are told, and that a kill neither loses nor doubles a row of what they make.

use serde_json::{Value, json};
use tidemill_tests::{Host, eventually};

fn host() -> Host {
    let host = Host::start();
    let definition = json!({
        "fields": [
            {"name": "ts", "type": "timestamp", "unit": "ms"}, {"name": "user", "type": "string"},
            {"name": "amount", "type": "int64"}, {"name": "parts", "type": "int64"}
        ],
        "time": {"field": "ts"}, "key": ["user"]
    });
    host.put("/v1/streams/payments", &definition).expect(201);
    host
}

fn send(host: &Host, rows: &[(i64, i64)]) {
    let rows: Vec<Value> = rows
        .iter()
        .enumerate()
        .map(|(n, (amount, parts))| json!({"ts": 1_000 * n, "user": format!("u{}", n % 3), "amount": amount, "parts": parts}))
        .collect();
    host.send("payments", &Value::Array(rows)).expect(200);
}

#[test]
fn expressions_keep_change_and_extend_rows_and_their_times_stay() {
    let host = host();
    let text = "\
pipeline: shares
from: payments
steps:
  - where: amount > 10
  - extend: {share: amount / parts}
  - select: {user: user, share: share, big: amount > 100}
to:
  - stream: shares
";
    host.apply("shares", text).expect(201);
    assert_eq!(host.apply("shares", text).expect(200).json()["changed"], false);
    send(&host, &[(5, 1), (20, 2), (300, 3), (50, 0)]);
    let rows = host.wait_rows("shares", 2);
    assert_eq!((&rows[0]["share"], &rows[0]["big"], &rows[1]["big"]), (&json!(10), &json!(false), &json!(true)), "{rows:?}");
    assert_eq!(rows[0]["_time"], "1970-01-01T00:00:01.000000Z", "a row keeps its time whatever select drops");
    let dead = host.wait_rows("shares.dead-letters", 1);
    assert_eq!((&dead[0]["reason"], &dead[0]["pipeline"]), (&json!("expression"), &json!("shares")), "{dead:?}");
    assert_eq!(dead[0]["event"]["amount"], 50, "with the row: {dead:?}");
    let status = host.get("/v1/pipelines/shares/status").expect(200).json();
    assert_eq!(status["state"], "running", "{status}");
}

/// The lines of the faults in a refusal.
fn fault_lines(problem: &Value) -> Vec<u64> {
    problem["faults"]
        .as_array()
        .unwrap_or_else(|| panic!("{problem}"))
        .iter()
        .filter_map(|fault| fault["line"].as_u64())
        .collect()
}

#[test]
fn every_fault_is_told_at_once_with_its_line_and_what_to_do() {
    let host = host();
    // What the text cannot say, whatever streams and components there are.
    let form = "\
pipeline: wrong
from: payments
speed: high
steps:
  - colour: red
to:
  - stream: Out
";
    let problem = host.apply("wrong", form).expect(422).json();
    assert_eq!(fault_lines(&problem), [3, 5, 7], "{problem}");
    // What it says and cannot mean here.
    let meaning = "\
pipeline: wrong
from: payments
steps:
  - where: amont > 10
  - where: amount + 1
  - rule: nobody@1
to:
  - stream: payments
";
    let problem = host.apply("wrong", meaning).expect(422).json();
    let lines = fault_lines(&problem);
    assert!([4, 5, 6, 8].iter().all(|line| lines.contains(line)), "{problem}");
    let unknown =
        problem["faults"].as_array().and_then(|faults| faults.iter().find(|fault| fault["line"] == 4)).expect("the first");
    assert!(unknown["remedy"].as_str().is_some_and(|remedy| remedy.contains("amount")), "{unknown}");
    // Both in one text, and a stream that is not there.
    let both = "\
pipeline: wrong
from: paymentz
speed: high
steps:
  - where: amount > 10
  - colour: red
  - rule: nobody@1
to:
  - stream: Out
";
    let problem = host.apply("wrong", both).expect(422).json();
    assert_eq!(fault_lines(&problem), [2, 3, 6, 7, 9], "{problem}");
    host.get("/v1/pipelines/wrong").expect(404);
}

#[test]
fn a_dry_run_changes_nothing() {
    let host = host();
    let text = "pipeline: dry\nfrom: payments\nsteps:\n  - where: amount > 10\nto:\n  - stream: dry-out\n";
    host.ask("PUT", "/v1/pipelines/dry?dry_run=true", Some("application/yaml"), text.as_bytes()).expect(200);
    host.get("/v1/pipelines/dry").expect(404);
    host.get("/v1/streams/dry-out").expect(404);
}

#[test]
fn a_paused_pipeline_goes_on_where_it_was() {
    let host = host();
    host.apply("all", "pipeline: all\nfrom: payments\nsteps:\n  - where: amount > 0\nto:\n  - stream: all\n").expect(201);
    send(&host, &[(1, 1), (2, 1)]);
    host.wait_rows("all", 2);
    host.ask("POST", "/v1/pipelines/all/pause", None, b"").expect(200);
    send(&host, &[(3, 1)]);
    assert_eq!(host.get("/v1/pipelines/all/status").expect(200).json()["state"], "paused");
    assert_eq!(host.rows("all").len(), 2);
    host.ask("POST", "/v1/pipelines/all/resume", None, b"").expect(200);
    host.wait_rows("all", 3);
}

#[test]
fn a_run_once_ends_and_leaves_its_file_behind() {
    let host = host();
    send(&host, &[(1, 1), (20, 1), (30, 1)]);
    let text = "\
pipeline: export
run: once
from: payments
steps:
  - where: amount > 10
to:
  - file: {path: export}
  - stdout
";
    host.apply("export", text).expect(201);
    eventually("the run is finished", std::time::Duration::from_secs(20), || {
        host.get("/v1/pipelines/export/status").json()["state"] == "finished"
    });
    let folder = host.data().join("files/export");
    let mut amounts: Vec<i64> = Vec::new();
    for file in std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("`{}`: {error}", folder.display())) {
        let path = file.expect("an entry").path();
        if path.extension().is_some_and(|extension| extension == "ndjson") {
            let text = std::fs::read_to_string(path).expect("a file");
            amounts.extend(
                text.lines()
                    .map(|line| serde_json::from_str::<Value>(line).expect("a row")["amount"].as_i64().expect("a number")),
            );
        }
    }
    amounts.sort_unstable();
    assert_eq!(amounts, [20, 30]);
    eventually("rows on standard output", std::time::Duration::from_secs(5), || {
        host.printed().iter().filter(|line| line.contains("\"amount\"")).count() == 2
    });
}

#[test]
fn state_and_outputs_survive_kills_and_clean_stops() {
    let mut host = host();
    host.push_guest("test-count-per-key", "1.0.0").expect(201);
    let text = "\
pipeline: numbered
from: payments
steps:
  - rule: test-count-per-key@1
    by: [user]
    keep: all
to:
  - stream: numbered
";
    host.apply("numbered", text).expect(201);
    for round in 1..=4 {
        send(&host, &[(1, 1), (2, 1), (3, 1)]);
        let rows = host.wait_rows("numbered", 3 * round);
        for user in ["u0", "u1", "u2"] {
            let counts: Vec<u64> =
                rows.iter().filter(|row| row["user"] == user).filter_map(|row| row["count"].as_u64()).collect();
            assert_eq!(counts, (1..=round as u64).collect::<Vec<_>>(), "{user} after {round} rounds");
        }
        if round % 2 == 0 {
            host.kill();
        } else {
            assert!(host.terminate().success());
        }
        host.launch();
    }
    let status = host.get("/v1/pipelines/numbered/status").expect(200).json();
    assert_eq!(status["divergences"], json!([]), "{status}");
}

#[test]
fn a_component_in_use_cannot_be_deleted_and_a_version_never_changes() {
    let host = host();
    host.push_guest("test-count-per-key", "1.0.0").expect(201);
    host.push_guest("test-count-per-key", "1.0.0").expect(200);
    let other = tidemill_tests::guest("std-brute-force");
    host.push("test-count-per-key", "1.0.0", &other).expect(409);
    let text = "pipeline: p\nfrom: payments\nsteps:\n  - rule: test-count-per-key@1\n    by: [user]\nto:\n  - stream: p\n";
    host.apply("p", text).expect(201);
    let pinned = host.get("/v1/pipelines/p").expect(200).body;
    assert!(pinned.contains("sha256:"), "references are pinned: {pinned}");
    host.ask("DELETE", "/v1/components/test-count-per-key/versions/1.0.0", None, b"").expect(409);
    host.ask("DELETE", "/v1/pipelines/p", None, b"").expect_success();
    host.ask("DELETE", "/v1/components/test-count-per-key/versions/1.0.0", None, b"").expect_success();
}

#[test]
fn metrics_have_a_latency_histogram_per_component() {
    let host = host();
    host.push_guest("test-count-per-key", "1.0.0").expect(201);
    let text = "pipeline: p\nfrom: payments\nsteps:\n  - rule: test-count-per-key@1\n    by: [user]\nto:\n  - stream: p\n";
    host.apply("p", text).expect(201);
    send(&host, &[(1, 1)]);
    eventually("calls are counted", std::time::Duration::from_secs(10), || {
        let metrics = host.get("/metrics").expect(200).body;
        metrics.lines().any(|line| line.contains("_bucket{") && line.contains("test-count-per-key"))
    });
}

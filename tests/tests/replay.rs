//! Runs over rows that were taken before: after a kill, and on purpose, with another text.
//!
//! After a kill, committed rows are taken again and compared. A component that does not answer the same is named; what was committed
//! stands. The host under test grants a random import that no real host has, and its kill is a power cut.

use std::time::Duration;

use serde_json::json;
use tidemill_tests::{Host, HostOptions, eventually, tidemill_command, variant};

#[test]
fn a_rule_that_draws_random_numbers_is_named_after_a_restart() {
    let mut host = Host::with(HostOptions { binary: variant("planted"), ..HostOptions::default() });
    host.put("/v1/streams/rows", &json!({"fields": [{"name": "key", "type": "string"}], "key": ["key"]})).expect(201);
    host.push_guest("test-random", "1.0.0").expect(201);
    let text = "pipeline: dice\nfrom: rows\nsteps:\n  - rule: test-random@1\n    by: [key]\nto:\n  - stream: dice\n";
    host.apply("dice", text).expect(201);
    host.send("rows", &json!([{"key": "a"}, {"key": "b"}, {"key": "a"}])).expect(200);
    let before = host.wait_rows("dice", 3);
    host.kill();
    host.launch();
    let mut status = json!(null);
    eventually("the divergence is told", Duration::from_secs(20), || {
        status = host.get("/v1/pipelines/dice/status").expect(200).json();
        status["divergences"].as_array().is_some_and(|divergences| !divergences.is_empty())
    });
    let divergence = &status["divergences"][0];
    assert_eq!(divergence["step"], "steps[0].rule", "{status}");
    assert!(divergence["component"].as_str().is_some_and(|component| component.starts_with("test-random@1.0.0")), "{status}");
    assert_eq!(host.rows("dice"), before, "what was committed stands");
    assert_eq!(status["state"], "running", "on_divergence is continue unless said: {status}");
    host.send("rows", &json!({"key": "c"})).expect(200);
    host.wait_rows("dice", 4);
}

/// What the command says of a host, and whether it succeeded.
fn tidemill(host: &Host, words: &[&str]) -> (bool, String) {
    let output = tidemill_command().args(words).args(["--host", &host.url()]).output().expect("the command runs");
    (output.status.success(), String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
}

#[test]
fn a_changed_pattern_is_tried_on_history_and_then_takes_over() {
    let mut host = Host::start();
    let stream = json!({
        "fields": [{"name": "user", "type": "string"}, {"name": "ok", "type": "bool"}, {"name": "ts", "type": "int64"}],
        "time": {"field": "ts", "unit": "s"}, "key": ["user"], "partitions": 2
    });
    host.put("/v1/streams/logins", &stream).expect(201);
    let text = |failures: u32| {
        let stages = "stages: [{begin: miss, where: not ok, times: FAILURES, inner: consecutive}]"
            .replace("FAILURES", &failures.to_string());
        format!(
            "pipeline: break-ins\nfrom: logins\nsteps:\n  - pattern: {{by: [user], {stages}, within: 1m, skip: past_last, select: {{n: count(*)}}}}\nto:\n  - stream: matches\n"
        )
    };
    host.apply("break-ins", &text(3)).expect(201);
    // Every user fails five times and then gets in.
    let rows: Vec<_> = (0..120).map(|n| json!({"user": format!("u{}", n / 6), "ok": n % 6 == 5, "ts": 1_000 + n})).collect();
    host.send("logins", &json!(rows)).expect(200);
    host.wait_rows("matches", 20);
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("new.yaml");
    std::fs::write(&file, text(4)).expect("written");
    let file = file.to_str().expect("a path");
    let (done, said) =
        tidemill(&host, &["backtest", file, "--json", "--since", "1970-01-01T00:00:00Z", "--until", "2000-01-01T00:00:00Z"]);
    let told: serde_json::Value = serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said}"));
    assert!(done && told["rows_out"] == 20 && told["streams"][0]["only_replay"] == 20, "{said}");
    assert_eq!(told["streams"][0]["only_live"], 20, "{said}");
    assert_eq!(host.get("/v1/pipelines/break-ins/replay").status, 404, "it is forgotten");
    // A shadow of the same, which outlives a kill, and takes over.
    let (done, said) = tidemill(&host, &["replay", "break-ins", "--with", file, "--from", "earliest"]);
    assert!(done && said.contains("difference"), "{said}");
    host.kill();
    host.launch();
    eventually("the shadow has taken every row", Duration::from_secs(20), || {
        let status = host.get("/v1/pipelines/break-ins/replay").expect(200).json();
        status["lag_records"] == 0 && status["rows_in"] == 120
    });
    let (done, said) = tidemill(&host, &["replay", "break-ins", "promote"]);
    assert!(done && said.contains("matches@"), "{said}");
    let more: Vec<_> = (0..6).map(|n| json!({"user": "new", "ok": n == 5, "ts": 2_000 + n})).collect();
    host.send("logins", &json!(more)).expect(200);
    let rows = host.wait_rows("matches", 21);
    assert_eq!(rows.last().map(|row| row["n"].clone()), Some(json!(4)), "{rows:?}");
    // What is wrong with a text is told as for `apply`.
    std::fs::write(file, "pipeline: break-ins\nfrom: nowhere\nto: [{stream: x}]\n").expect("written");
    let (done, said) = tidemill(&host, &["backtest", file]);
    assert!(!done && said.contains("there is no stream `nowhere`"), "{said}");
}

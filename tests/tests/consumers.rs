//! Named consumers on a whole host: committed offsets last over a kill, and the command line reads on where it stopped.

use std::process::Stdio;

use serde_json::{Value, json};
use tidemill_tests::{Host, tidemill_command};

fn host() -> Host {
    let host = Host::start();
    host.put("/v1/streams/ticks", &json!({"fields": [{"name": "n", "type": "int64"}], "key": ["n"], "partitions": 2}))
        .expect(201);
    let rows: Vec<Value> = (0..100).map(|n| json!({"n": n})).collect();
    host.send("ticks", &Value::Array(rows)).expect(200);
    host
}

fn run(host: &Host, words: &[&str]) -> (Option<i32>, String) {
    let output =
        tidemill_command().args(words).env("TIDEMILL_HOST", host.url()).stdin(Stdio::null()).output().expect("the binary");
    let said = if output.status.success() { output.stdout } else { output.stderr };
    (output.status.code(), String::from_utf8_lossy(&said).into_owned())
}

#[test]
fn what_was_committed_is_there_after_a_kill() {
    let mut host = host();
    let commit = |host: &Host, body: &str| {
        host.ask("POST", "/v1/streams/ticks/consumers/billing/commit", Some("application/json"), body.as_bytes()).expect(200);
    };
    for offset in 1..=20 {
        commit(&host, &json!({"0": offset}).to_string());
    }
    let before = host.get("/v1/streams/ticks/consumers/billing").expect(200).json();
    assert_eq!(before["offsets"], json!({"0": 20}));
    host.kill();
    host.launch();
    assert_eq!(host.get("/v1/streams/ticks/consumers/billing").expect(200).json(), before);
    assert_eq!(host.get("/v1/streams/ticks/events?consumer=billing").expect(200).rows().len(), 80);
    assert!(host.terminate().success());
    host.launch();
    assert_eq!(host.get("/v1/streams/ticks/consumers/billing").expect(200).json(), before);
}

#[test]
fn tail_takes_each_row_once() {
    let host = host();
    let mut seen: Vec<i64> = Vec::new();
    for limit in ["30", "50", "50"] {
        let (code, lines) = run(&host, &["tail", "ticks", "--consumer", "cli", "--commit", "--limit", limit]);
        assert_eq!(code, Some(0), "{lines}");
        let number = |line: &str| serde_json::from_str::<Value>(line).expect("a row")["n"].as_i64().expect("n");
        seen.extend(lines.lines().map(number));
    }
    seen.sort_unstable();
    assert_eq!(seen, (0..100).collect::<Vec<_>>(), "thirty, fifty, and what was left");

    let (_, list) = run(&host, &["consumers", "list", "ticks"]);
    assert!(list.starts_with("cli ") && list.contains("lag 0 "), "{list}");
    let (code, said) = run(&host, &["consumers", "commit", "ticks", "cli", "0:3,1:5"]);
    assert_eq!(code, Some(4), "{said}");
    assert!(said.contains("409") && said.contains("force"), "{said}");
    let (code, said) = run(&host, &["consumers", "commit", "ticks", "cli", "0:3,1:5", "--force"]);
    assert_eq!((code, said.contains("0:3,1:5")), (Some(0), true), "{said}");
    let (_, shown) = run(&host, &["consumers", "show", "ticks", "cli", "--json"]);
    let shown: Value = serde_json::from_str(&shown).expect("a document");
    assert_eq!((&shown["offsets"], &shown["lag"]), (&json!({"0": 3, "1": 5}), &json!(92)), "{shown}");
    assert_eq!(run(&host, &["consumers", "delete", "ticks", "cli"]).0, Some(0));
    assert_eq!(run(&host, &["consumers", "show", "ticks", "cli"]).0, Some(4));
}

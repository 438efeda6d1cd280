//! The host as a process: its data directory, its stop, what it says of itself, and the command line as its client.

use std::process::{Output, Stdio};

use serde_json::{Value, json};
use tidemill_tests::{Host, tidemill_command};

fn command(host: &Host, words: &[&str]) -> Output {
    tidemill_command().args(words).env("TIDEMILL_HOST", host.url()).stdin(Stdio::null()).output().expect("the binary")
}

#[track_caller]
fn run(host: &Host, words: &[&str]) -> String {
    let output = command(host, words);
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

#[test]
fn one_data_directory_has_one_host() {
    let host = Host::start();
    let second = tidemill_command()
        .args(["serve", "--dev", "--listen", "127.0.0.1:0", "--data"])
        .arg(host.data())
        .stdin(Stdio::null())
        .output()
        .expect("the binary");
    assert_eq!(second.status.code(), Some(1));
    let said = String::from_utf8_lossy(&second.stderr);
    assert!(said.contains("in use") && said.contains(&host.process_id().to_string()), "{said}");
    host.get("/health/live").expect(200);
}

#[test]
fn a_stop_is_clean_and_ends_with_0() {
    let mut host = Host::start();
    host.put("/v1/streams/s", &json!({"fields": []})).expect(201);
    assert_eq!(host.terminate().code(), Some(0), "{}", host.log());
    let log = host.log();
    for line in log.lines() {
        let line: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("`{line}` is no JSON: {error}"));
        assert!(line["level"].is_string() && line["timestamp"].is_string(), "{line}");
        assert_ne!(line["level"], "ERROR", "{line}");
    }
}

#[test]
fn the_tour_of_the_readme_on_the_command_line() {
    let host = Host::start();
    let folder = tempfile::tempdir().expect("a folder");
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).expect("a file");
        path.display().to_string()
    };
    host.put(
        "/v1/streams/payments",
        &json!({"fields": [{"name": "key", "type": "string"}, {"name": "amount", "type": "int64"}]}),
    )
    .expect(201);
    let component = tidemill_tests::target_dir().join("guests/test-count-per-key.wasm").display().to_string();
    let events = file(
        "events.ndjson",
        "{\"key\":\"a\",\"amount\":1}\n{\"key\":\"b\",\"amount\":2}\n{\"key\":\"a\",\"amount\":\"x\"}\n{\"key\":\"a\",\"amount\":3}\n",
    );
    let pipeline = file(
        "p.yaml",
        "pipeline: counted\nfrom: payments\nsteps:\n  - rule: counter@1\n    by: [key]\n    keep: all\nto:\n  - stream: counted\n",
    );

    let tested = run(&host, &["test", &component, &events, "--by", "key", "--json"]);
    let tested: Value = serde_json::from_str(&tested).expect("a report");
    assert_eq!(
        (&tested["kind"], &tested["events"], &tested["difference"]),
        (&json!("rule"), &json!(4), &Value::Null),
        "{tested}"
    );
    assert!(run(&host, &["push", &component, "--name", "counter", "--version", "1.0.0"]).contains("published counter@1.0.0"));
    assert!(run(&host, &["components"]).contains("counter"));
    assert!(run(&host, &["apply", &pipeline, "--dry-run"]).contains("counted"));
    assert!(run(&host, &["apply", &pipeline]).contains("created counted"));
    assert!(run(&host, &["apply", &pipeline]).contains("as it was"));
    let sent: Value = serde_json::from_str(&run(&host, &["send", "payments", &events, "--json"])).expect("a report");
    assert_eq!(
        (&sent["accepted"], &sent["rejected_total"], &sent["rejected"][0]["line"]),
        (&json!(3), &json!(1), &json!(3)),
        "{sent}"
    );
    host.wait_rows("counted", 3);
    let rows = run(&host, &["tail", "counted", "--limit", "2"]);
    assert_eq!(rows.lines().count(), 2, "{rows}");
    assert!(run(&host, &["status"]).contains("running"));
    assert!(run(&host, &["status", "counted"]).contains("counted  running"));
    assert!(run(&host, &["streams"]).lines().any(|line| line == "counted"));

    let refused = command(&host, &["apply", &file("wrong.yaml", "pipeline: wrong\nfrom: nobody\nto:\n  - stream: x\n")]);
    assert_eq!(refused.status.code(), Some(4));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("line 2"), "{}", String::from_utf8_lossy(&refused.stderr));
    assert_eq!(command(&host, &["tail", "nobody"]).status.code(), Some(4));
    assert_eq!(command(&host, &["test", &pipeline, &events]).status.code(), Some(1), "YAML is no component");
}

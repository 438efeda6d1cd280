//! The exit codes that scripts rely on, from the real binary: 2 wrong use, 3 host not reached. (4, the host refused, needs a host:
//! `tests/` has it.)

use std::process::{Command, Output, Stdio};

fn tidemill(words: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidemill"));
    for name in ["TIDEMILL_HOST", "TIDEMILL_DATA", "TIDEMILL_DEV", "TIDEMILL_LISTEN", "TIDEMILL_BIN"] {
        command.env_remove(name);
    }
    command.args(words).stdin(Stdio::null()).output().expect("the binary runs")
}

#[track_caller]
fn check(words: &[&str], code: i32, said: &str) {
    let output = tidemill(words);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{words:?}: {stderr}");
    assert!(stderr.contains(said), "{words:?}: {stderr}");
}

#[test]
fn what_cannot_be_meant_is_2() {
    check(&["frobnicate"], 2, "frobnicate");
    check(&["push", "a.wasm", "--name", "a", "--version", "one"], 2, "one");
    check(&["apply", "no-such-file.yaml"], 2, "no-such-file.yaml");
    check(&["streams", "--host", "ftp://x"], 2, "http://127.0.0.1:8642");
}

#[test]
fn a_host_that_is_not_there_is_3() {
    // Port 9 of loopback: discard, which nobody runs.
    check(&["streams", "--host", "http://127.0.0.1:9"], 3, "tidemill serve");
    let output = tidemill(&["status", "--json", "--host", "http://127.0.0.1:9"]);
    let document: serde_json::Value = serde_json::from_slice(&output.stderr).expect("one JSON document");
    assert_eq!(document["code"], 3);
}

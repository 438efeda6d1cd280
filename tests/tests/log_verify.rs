//! A stopped host's log is verified from the command line; damage is named with its place and rows; a cut is shown before it is made.

use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

use serde_json::{Value, json};
use tidemill_tests::{Host, tidemill_command};

fn command(words: &[&str], data: &Path) -> Output {
    tidemill_command().args(words).arg("--data").arg(data).arg("--json").stdin(Stdio::null()).output().expect("the binary")
}

fn said(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)))
}

/// Ten requests, each durable before the next is sent: ten groups of the journal.
fn stopped_host() -> Host {
    let mut host = Host::start();
    host.put("/v1/streams/clicks", &json!({"fields": [{"name": "n", "type": "int64"}]})).expect(201);
    for n in 0..10 {
        host.send("clicks", &json!({"n": n})).expect(200);
    }
    host.terminate();
    host
}

fn journal(host: &Host) -> PathBuf {
    host.data().join("log/journal/000001.journal")
}

/// Where groups begin.
fn groups(bytes: &[u8]) -> Vec<usize> {
    (0..bytes.len()).step_by(512).filter(|at| bytes[*at..].starts_with(b"TMGROUP1")).collect()
}

#[test]
fn a_sound_log_is_said_to_be_sound_and_nothing_of_a_running_host_is_touched() {
    let mut host = stopped_host();
    let output = command(&["log", "verify"], &host.data());
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let found = said(&output);
    assert_eq!(found["faults"], json!([]));
    assert!(found["journal_groups"].as_u64() >= Some(10) && found["streams"].as_u64() >= Some(1), "{found}");
    assert_eq!(said(&command(&["repair"], &host.data()))["damage"], Value::Null);
    host.launch();
    for words in [&["log", "verify"][..], &["repair"]] {
        let refused = command(words, &host.data());
        assert_eq!(refused.status.code(), Some(1), "{words:?} beside a host that runs");
    }
    assert_eq!(host.rows("clicks").len(), 10);
}

#[test]
fn damage_is_named_and_cut_only_where_it_was_shown() {
    let mut host = stopped_host();
    let path = journal(&host);
    let mut bytes = std::fs::read(&path).expect("the journal");
    let places = groups(&bytes);
    // The sixth group from the end; those behind it say that it was on disk.
    let at = places[places.len() - 6];
    bytes[at + 30] ^= 0x01;
    std::fs::write(&path, &bytes).expect("written");

    let output = command(&["log", "verify"], &host.data());
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(said(&output)["faults"][0]["at_byte"], json!(at));
    let shown = said(&command(&["repair"], &host.data()));
    assert_eq!((&shown["cut"], &shown["damage"]["at_byte"], &shown["groups_behind"]), (&json!(false), &json!(at), &json!(5)));
    let elsewhere = format!("000001.journal:{}", at + 512);
    assert_eq!(command(&["repair", "--cut-at", &elsewhere], &host.data()).status.code(), Some(1));
    assert_eq!(std::fs::read(&path).expect("the journal"), bytes, "nothing was changed");

    let cut = said(&command(&["repair", "--cut-at", &format!("000001.journal:{at}")], &host.data()));
    assert_eq!((&cut["cut"], &cut["rows"]), (&json!(true), &shown["rows"]));
    assert_eq!(command(&["log", "verify"], &host.data()).status.code(), Some(0));
    host.launch();
    let left = host.rows("clicks");
    let lost = shown["rows"].as_array().expect("rows").iter().find(|rows| rows["stream"] == "clicks").expect("of clicks");
    assert_eq!(json!(left.len()), lost["start"], "{lost}");
    assert!(left.len() < 10);
    host.send("clicks", &json!({"n": 77})).expect(200);
    assert_eq!(host.rows("clicks").last().expect("a row")["n"], 77);
}

#[test]
fn a_damaged_manifest_is_beyond_repair_and_says_what_to_do() {
    let host = stopped_host();
    let path = host.data().join("log/manifest");
    let mut bytes = std::fs::read(&path).expect("the manifest");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x10;
    std::fs::write(&path, &bytes).expect("written");
    for words in [&["repair"][..], &["repair", "--cut-at", "000001.journal:0"], &["log", "verify"]] {
        let output = command(words, &host.data());
        assert_eq!(output.status.code(), Some(1), "{words:?}");
        let told = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
        assert!(told.contains("manifest") && told.contains("backup"), "{words:?}: {told}");
    }
    assert_eq!(std::fs::read(&path).expect("the manifest"), bytes, "nothing was changed");
}

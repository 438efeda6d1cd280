//! A host is backed up under load, killed, and restored into another folder: every event acknowledged before is there once, state and
//! files go on exactly, retries are recognised, the log verifies. Half a backup is none, and a client that goes away leaves nothing.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tidemill_tests::judging::{COUNTED, PRODUCERS, RECOUNTED, load, prepare};
use tidemill_tests::{Host, HostOptions, Receiver, eventually, guest, judged, tidemill_command};

const PATIENCE: Duration = Duration::from_secs(30);

fn run(words: &[&str], path: &Path, host: Option<&Host>) -> Output {
    let mut command = tidemill_command();
    command.args(words).arg(path).arg("--json").stdin(Stdio::null());
    if let Some(host) = host {
        command.args(["--host", &host.url()]);
    }
    command.output().expect("the binary")
}

fn said(output: &Output) -> Value {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("a document")
}

fn backup(host: &Host, file: &Path) -> Value {
    said(&run(&["backup"], file, Some(host)))
}

fn restore(file: &Path, data: &Path) -> Output {
    run(&["restore", file.to_str().expect("UTF-8"), "--data"], data, None)
}

fn send_keyed(host: &Host, key: &str) -> Value {
    let headers = [("content-type", "application/json"), ("idempotency-key", key)];
    host.send_with("events", &headers, br#"{"id":"x","producer":-1,"run":0,"n":0,"key":"k0"}"#).expect(200).json()
}

/// What a ledger says of the time when the backup began: everything that was sent, and what was acknowledged by then.
fn as_of(before: &[String], after: &Path, to: &Path) {
    for (producer, before) in before.iter().enumerate() {
        let name = format!("producer-{producer}.ledger");
        let all = std::fs::read_to_string(after.join(&name)).expect("a ledger");
        let known: std::collections::HashSet<&str> = before.lines().collect();
        let lines = all.lines().filter(|line| line.starts_with('S') || known.contains(line));
        std::fs::write(to.join(&name), lines.map(|line| format!("{line}\n")).collect::<String>()).expect("written");
    }
}

fn ledger(folder: &Path) -> Vec<String> {
    let read = |producer| std::fs::read_to_string(folder.join(format!("producer-{producer}.ledger"))).unwrap_or_default();
    (0..PRODUCERS).map(read).collect()
}

/// The files of sinks are not in a backup. Whoever wants them beside it copies those that end at or below its cut.
fn bring_files(from: &Path, to: &Path, cut: &Value) {
    let ends = cut.as_array().expect("streams").iter().find(|of| of["stream"] == format!("{RECOUNTED}.output"));
    let ends = ends.expect("what the sink reads")["ends"].as_array().expect("ends").clone();
    let (from, to) = (from.join("files").join(RECOUNTED), to.join("files").join(RECOUNTED));
    std::fs::create_dir_all(&to).expect("a folder");
    for entry in std::fs::read_dir(from).expect("a folder") {
        let path = entry.expect("an entry").path();
        let Some(stem) = path.file_name().and_then(|name| name.to_str()?.strip_suffix(".ndjson")) else { continue };
        let numbers: Vec<u64> = stem.split('-').map(|digits| digits.parse().expect("a number")).collect();
        if Some(numbers[2]) <= ends[numbers[0] as usize].as_u64() {
            std::fs::copy(&path, to.join(path.file_name().expect("a name"))).expect("copied");
        }
    }
}

/// Sends from all producers for a while, or until `meanwhile` is done.
fn under_load<T>(url: &str, ledger: &Path, life: u32, meanwhile: impl FnOnce() -> T) -> T {
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let loading = scope.spawn(|| load(url, ledger, life, &stop));
        let done = meanwhile();
        stop.store(true, Ordering::Relaxed);
        loading.join().expect("it ends").expect("right answers");
        done
    })
}

#[test]
fn a_host_comes_back_from_a_backup_taken_under_load() {
    let mut first = Host::start();
    prepare(&first.url(), Some(&guest("test-count-per-key"))).expect("stream and pipelines");
    let folder = tempfile::tempdir().expect("a folder");
    let (all, tar) = (folder.path().join("all"), folder.path().join("a.tar"));
    std::fs::create_dir(&all).expect("a folder");

    under_load(&first.url(), &all, 0, || std::thread::sleep(Duration::from_millis(700)));
    for name in [COUNTED, RECOUNTED] {
        // A pause ends with a checkpoint: there is state to export, and commits behind it to replay.
        for verb in ["pause", "resume"] {
            first.ask("POST", &format!("/v1/pipelines/{name}/{verb}"), None, b"").expect_success();
        }
    }
    let (before, made) = under_load(&first.url(), &all, 1, || {
        std::thread::sleep(Duration::from_millis(700));
        let before = ledger(&all);
        let made = backup(&first, &tar);
        std::thread::sleep(Duration::from_millis(300));
        (before, made)
    });
    first.kill();
    assert!(made["state_records"].as_u64() > Some(0) && made["rows_below_cut"].as_u64() > Some(100), "{made}");
    assert!(run(&["backup"], &tar, Some(&first)).status.code() == Some(2), "a backup is not replaced unasked");

    let second = Host::prepared(HostOptions::default(), |data| {
        let told = said(&restore(&tar, data));
        assert_eq!(told["faults"], json!([]));
        let verified = said(&run(&["log", "verify", "--data"], data, None));
        assert_eq!(verified["faults"], json!([]));
        assert_eq!(restore(&tar, data).status.code(), Some(1), "a folder that is not empty stays as it is");
        bring_files(&first.data(), data, &told["cut"]);
    });
    let kept = folder.path().join("kept");
    std::fs::create_dir(&kept).expect("a folder");
    as_of(&before, &all, &kept);
    let verdict = judged(&second, &kept);
    assert!(verdict.is_right, "{}", verdict.text);

    // State goes on: the counts per key of what comes now follow those of what came before the backup.
    under_load(&second.url(), &kept, 2, || std::thread::sleep(Duration::from_millis(700)));
    let verdict = judged(&second, &kept);
    assert!(verdict.is_right, "{}", verdict.text);
    println!("{}", verdict.text);
}

#[test]
fn retries_of_before_are_recognised_after() {
    let first = Host::start();
    prepare(&first.url(), None).expect("stream and pipeline");
    send_keyed(&first, "before");
    let folder = tempfile::tempdir().expect("a folder");
    let tar = folder.path().join("a.tar");
    backup(&first, &tar);
    send_keyed(&first, "behind");
    let second = Host::prepared(HostOptions::default(), |data| drop(said(&restore(&tar, data))));
    assert_eq!(send_keyed(&second, "before")["duplicate"], json!(true));
    assert_eq!(send_keyed(&second, "behind")["duplicate"], Value::Null, "it came behind the backup, so it is gone");
    assert_eq!(second.rows("events").len(), 2);
}

/// Offsets behind the backup are given again. A receiver that remembers what the old host sent must not take other rows for those.
#[test]
fn webhooks_of_the_restored_host_are_not_taken_for_the_old_ones() {
    let mut first = Host::start();
    let receiver = Receiver::start();
    first.put("/v1/streams/clicks", &json!({"fields": [{"name": "n", "type": "int64"}]})).expect(201);
    let hooked = format!("from: clicks\nto:\n- webhook: {{url: '{}', batch: {{rows: 1}}}}\n", receiver.url());
    first.apply("hooked", &hooked).expect(201);
    let got = |count: usize| eventually(&format!("{count} rows"), PATIENCE, || receiver.lines().len() >= count);
    for n in 0..5 {
        first.send("clicks", &json!({"n": n})).expect(200);
    }
    got(5);
    let folder = tempfile::tempdir().expect("a folder");
    let tar = folder.path().join("a.tar");
    backup(&first, &tar);
    for n in 5..10 {
        first.send("clicks", &json!({"n": n})).expect(200);
    }
    got(10);
    first.kill();
    let second = Host::prepared(HostOptions::default(), |data| drop(said(&restore(&tar, data))));
    for n in 100..105 {
        second.send("clicks", &json!({"n": n})).expect(200);
    }
    let numbers =
        || receiver.lines().iter().map(|line| serde_json::from_str::<Value>(line).expect("a row")["n"].clone()).collect();
    eventually("the new rows", PATIENCE, || {
        let numbers: Vec<Value> = numbers();
        (100..105).all(|n| numbers.contains(&json!(n)))
    });
}

#[test]
fn half_a_backup_is_refused_and_leaves_nothing() {
    let host = Host::start();
    prepare(&host.url(), None).expect("stream and pipeline");
    for _ in 0..50 {
        host.send("events", &json!({"id": "x", "producer": 0, "run": 0, "n": 0, "key": "k"})).expect(200);
    }
    std::fs::create_dir_all(host.data().join("secrets/default")).expect("a folder");
    std::fs::write(host.data().join("secrets/default/ops"), "hush-hush-hush").expect("a secret");
    let folder = tempfile::tempdir().expect("a folder");
    let (tar, half, data) = (folder.path().join("a.tar"), folder.path().join("half.tar"), folder.path().join("data"));
    let made = backup(&host, &tar);
    assert_eq!(made["secrets"], json!(["default/ops"]));
    let bytes = std::fs::read(&tar).expect("the backup");
    assert!(!bytes.windows(9).any(|window| window == b"hush-hush"), "secrets stay where they are");
    let middle = bytes.windows(8).rposition(|window| window == b"TMGROUP1").expect("a group in the journal");
    let mut flipped = bytes.clone();
    flipped[middle + 40] ^= 1;
    for (damaged, word) in [(&bytes[..bytes.len() / 2], "not whole"), (&flipped[..], "damaged"), (b"{}", "no backup")] {
        std::fs::write(&half, damaged).expect("written");
        let refused = restore(&half, &data);
        let why = String::from_utf8_lossy(&refused.stderr);
        assert_eq!(refused.status.code(), Some(1), "{why}");
        assert!(why.contains(word), "{word}: {why}");
        assert!(!data.exists(), "nothing is left");
    }
    let told = said(&restore(&tar, &data));
    assert_eq!(told["secrets"], json!(["default/ops"]));
}

#[test]
fn a_client_that_goes_away_keeps_nothing() {
    let host = Host::start();
    host.put("/v1/streams/blobs", &json!({"fields": [{"name": "text", "type": "string"}]})).expect(201);
    let mut state = 88_172_645_463_325_252_u64;
    for _ in 0..24 {
        // Nothing that would pack well.
        let line = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            format!("{{\"text\":\"{}\"}}\n", format!("{state:016x}").repeat(60))
        };
        let lines: String = std::iter::repeat_with(line).take(1_000).collect();
        host.send_as("blobs", "application/x-ndjson", lines.as_bytes()).expect(200);
    }
    let metric = |name: &str| {
        let text = host.get("/metrics").expect(200).body;
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<f64>().ok());
        value.unwrap_or(0.0)
    };
    let mut client = TcpStream::connect(host.url().trim_start_matches("http://")).expect("a connection");
    client.write_all(b"GET /v1/backup HTTP/1.1\r\nhost: localhost\r\n\r\n").expect("sent");
    let mut begun = [0; 4096];
    client.read_exact(&mut begun).expect("an answer");
    assert!(begun.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&begun));
    // It reads no further: the backup waits, holds its space, and is the only one.
    eventually("it is seen", PATIENCE, || metric("tidemill_backups_running ") == 1.0);
    let refused = host.get("/v1/backup").expect(429);
    assert!(refused.json()["detail"].as_str().is_some_and(|detail| detail.contains("another backup")), "{}", refused.body);
    assert!(metric("tidemill_log_snapshot_bytes ") > 0.0);
    drop(client);
    eventually("its space is free again", PATIENCE, || metric("tidemill_backups_running ") == 0.0);
    assert_eq!(metric("tidemill_log_snapshot_bytes "), 0.0);
    assert_eq!(metric("tidemill_backups_total{end=\"broken_off\"} "), 1.0);
    let folder = tempfile::tempdir().expect("a folder");
    backup(&host, &folder.path().join("a.tar"));
    assert_eq!(metric("tidemill_backups_total{end=\"finished\"} "), 1.0);
}

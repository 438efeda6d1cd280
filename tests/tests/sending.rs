//! `tidemill send` with everything that comes in between: kills, packed bodies, a file that grows, a name that is used twice.

use std::io::Write;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use tidemill_tests::{Host, eventually, tidemill_command};

fn host() -> Host {
    let host = Host::start();
    host.put("/v1/streams/pay", &json!({"fields": [{"name": "n", "type": "int64"}], "partitions": 3})).expect(201);
    host
}

fn command(host: &Host, flags: &[&str]) -> Command {
    let mut command = tidemill_command();
    command.env("TIDEMILL_HOST", host.url()).args(["send", "pay"]).args(flags).arg("--json");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// What it printed about a file that it sent.
#[track_caller]
fn send(host: &Host, flags: &[&str]) -> Value {
    told(&command(host, flags).output().expect("it runs"))
}

#[track_caller]
fn told(output: &Output) -> Value {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("a report")
}

fn numbers(host: &Host) -> Vec<u64> {
    let mut numbers: Vec<u64> = host.rows("pay").iter().filter_map(|row| row["n"].as_u64()).collect();
    numbers.sort_unstable();
    numbers
}

fn lines(numbers: std::ops::Range<u64>) -> String {
    numbers.map(|n| format!("{{\"n\":{n}, \"padding\": \"so that a batch has fewer rows\"}}\n")).collect()
}

#[test]
fn kills_in_mid_send_lose_and_double_nothing() {
    let mut host = host();
    let mut sending =
        command(&host, &["-", "--retry-for", "60s", "--compress", "zstd"]).stdin(Stdio::piped()).spawn().expect("it runs");
    let mut input = sending.stdin.take().expect("a pipe");
    let (part, parts) = (30_000, 4);
    for number in 0..parts {
        let (text, seen) = (lines(number * part..(number + 1) * part), numbers(&host).len());
        std::thread::scope(|scope| {
            let writing = scope.spawn(|| input.write_all(text.as_bytes()).expect("it reads on"));
            eventually("rows of this part", Duration::from_secs(30), || numbers(&host).len() > seen);
            host.kill();
            // Away for longer than one attempt takes, and with the rest of the part on its way.
            std::thread::sleep(Duration::from_millis(150));
            host.launch();
            writing.join().expect("written");
        });
    }
    drop(input);
    let told = told(&sending.wait_with_output().expect("its end"));
    assert_eq!((&told["accepted"], &told["rejected_total"], &told["taken_before"]), (&json!(part * parts), &json!(0), &json!(0)));
    assert!(numbers(&host).into_iter().eq(0..part * parts), "each once");
}

#[test]
fn a_name_goes_on_where_the_file_ended() {
    let host = host();
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("events.ndjson");
    let file = path.to_str().expect("UTF-8");
    let write = |text: &str| std::fs::write(&path, text).expect("written");
    let check = |flags: &[&str], accepted: u64, taken_before: u64| {
        let told = send(&host, &[&[file], flags].concat());
        assert_eq!((&told["accepted"], &told["taken_before"]), (&json!(accepted), &json!(taken_before)), "{told}");
    };
    const NAMED: &[&str] = &["--producer", "nightly"];
    write(&lines(0..9_000));
    check(NAMED, 9_000, 0);
    check(NAMED, 0, 9_000);
    write(&lines(0..25_000));
    check(NAMED, 16_000, 9_000);
    check(NAMED, 0, 25_000);
    assert!(numbers(&host).into_iter().eq(0..25_000), "each once");
    // Another file is another producer, whatever its name; and without a name a file is sent as often as it is sent.
    write(&lines(30_000..30_003));
    check(NAMED, 3, 0);
    check(&[], 3, 0);
    assert_eq!(numbers(&host).len(), 25_006);
    // A table keeps its header.
    let table = folder.path().join("events.csv");
    let send_table = |text: &str| {
        std::fs::write(&table, text).expect("written");
        send(&host, &[table.to_str().expect("UTF-8"), "--producer", "nightly"])
    };
    assert_eq!(send_table("n\n40001\n40002\n")["accepted"], 2);
    let more = send_table("n\n40001\n40002\n\n40003\nx\n");
    assert_eq!(
        (&more["accepted"], &more["taken_before"], &more["rejected"][0]["line"]),
        (&json!(1), &json!(2), &json!(6)),
        "{more}"
    );
}

#[test]
fn bodies_are_packed_unless_they_pack_too_well() {
    let host = host();
    let folder = tempfile::tempdir().expect("a folder");
    let sent = |name: &str, text: &str, flags: &[&str]| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).expect("written");
        send(&host, &[&[path.to_str().expect("UTF-8")], flags].concat())["accepted"].clone()
    };
    let unpacked = |host: &Host| -> f64 {
        let text = host.get("/metrics").expect(200).body;
        let line = text.lines().find(|line| line.starts_with("tidemill_events_accepted_total")).expect("a counter");
        line.rsplit(' ').next().and_then(|value| value.parse().ok()).expect("a number")
    };
    let before = unpacked(&host);
    assert_eq!(sent("a.ndjson", &lines(0..20_000), &["--compress", "zstd"]), 20_000);
    assert_eq!(sent("b.ndjson", &lines(20_000..40_000), &["--compress", "gzip"]), 20_000);
    // Rows that are all alike look like a bomb, and go as they are.
    assert_eq!(sent("c.ndjson", &"{\"n\":7}\n".repeat(200_000), &["--compress", "zstd"]), 200_000);
    assert_eq!(unpacked(&host) - before, 240_000.0, "no row was counted twice");
    assert_eq!(numbers(&host).len(), 240_000);
}

#[test]
fn who_is_not_there_is_told_at_once_and_who_goes_away_is_waited_for() {
    let mut host = host();
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("events.ndjson");
    std::fs::write(&path, lines(0..10)).expect("written");
    let file = path.to_str().expect("UTF-8");
    host.kill();
    let output = command(&host, &[file]).output().expect("it runs");
    assert_eq!(output.status.code(), Some(3), "{}", String::from_utf8_lossy(&output.stderr));
    host.launch();
    let mut sending = command(&host, &["-", "--retry-for", "300ms"]).stdin(Stdio::piped()).spawn().expect("it runs");
    let mut input = sending.stdin.take().expect("a pipe");
    input.write_all(lines(0..20_000).as_bytes()).expect("it reads");
    eventually("the first rows", Duration::from_secs(30), || !numbers(&host).is_empty());
    host.kill();
    drop(input);
    let output = sending.wait_with_output().expect("its end");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(3), "{said}");
    let name = said.split("--producer ").nth(1).and_then(|rest| rest.split_whitespace().next()).expect("how to go on");
    host.launch();
    std::fs::write(&path, lines(0..20_000)).expect("written");
    send(&host, &[file, "--producer", name]);
    assert!(numbers(&host).into_iter().eq(0..20_000), "each once");
}

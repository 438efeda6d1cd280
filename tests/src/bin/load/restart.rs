//! How long a host with much in it takes to come back after `kill -9`: until it acknowledges an event, until a pipeline with state gives a result.

use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::json;
use tidemill_tests::{Connection, Host, eventually};

use crate::events::{BATCH_ROWS, door, post};
use crate::measured::Measured;

/// GiB in the log, unless said.
const GIB: f64 = 10.0;
/// Keys of the pipeline's state.
const KEYS: u64 = 1_000_000;
const KEYS_IN_A_BODY: u64 = 10_000;
/// Text in each row of the large stream, different in each: equal ones would be stored once.
const TEXT_BYTES: usize = 1_000;
/// A host that needs longer than this is not measured but broken.
const PATIENCE: Duration = Duration::from_secs(300);

/// Starts hosts of its own, since it kills them.
pub(crate) fn restart(gib: Option<&str>, guests: &Path) -> io::Result<()> {
    let gib: f64 = gib.map_or(Ok(GIB), str::parse).map_err(io::Error::other)?;
    let mut host = Host::start();
    let counter = std::fs::read(guests.join("test-count-per-key.wasm"))?;
    count_keys(&host, &counter)?;
    fill(&host, (gib * f64::from(1 << 30)) as u64)?;
    let stored = bytes_in(&host.data())?;

    host.kill();
    let begin = Instant::now();
    host.launch();
    let ready = begin.elapsed();
    let url = host.url();
    let mut connection = Connection::open(&url)?;
    post(&mut connection, &door("keyed"), "application/json", keyed_row(7).as_bytes())?;
    let acknowledged = begin.elapsed();
    let result = format!("/v1/streams/counted/events?from={KEYS}");
    let mut row = String::new();
    eventually("the result of the new event", PATIENCE, || {
        row = host.get(&result).expect(200).body;
        !row.is_empty()
    });
    let answered = begin.elapsed();
    let oldest = host.get("/v1/streams/large/events?limit=1").expect(200).body.len();
    let read = begin.elapsed() - answered;

    let process = host.process_id().to_string();
    let memory = Measured { url: &url, process: &process }.memory_bytes()? >> 20;
    println!("{:.1} GiB on disk, {KEYS} keys of state, killed and started again", stored as f64 / f64::from(1 << 30));
    println!(
        "| ready ms | first event acknowledged ms | its result ms | oldest row read in ms | resident MiB |\n|---|---|---|---|---|"
    );
    let ms = |time: Duration| time.as_millis();
    println!("| {} | {} | {} | {} ({oldest} bytes) | {memory} |", ms(ready), ms(acknowledged), ms(answered), ms(read));
    println!("its result: {}", row.trim_end());
    Ok(())
}

/// A pipeline that counts per key, and an event for each of its keys; all of them counted before anything else is done.
fn count_keys(host: &Host, counter: &[u8]) -> io::Result<()> {
    host.put("/v1/streams/keyed", &json!({"fields": [{"name": "key", "type": "string"}], "key": ["key"]})).expect(201);
    host.push("counter", "1.0.0", counter).expect(201);
    let pipeline =
        "pipeline: counted\nfrom: keyed\nsteps:\n  - rule: counter@1\n    by: [key]\n    keep: all\nto:\n  - stream: counted\n";
    host.apply("counted", pipeline).expect(201);
    let url = host.url();
    let mut connection = Connection::open(&url)?;
    for first in (0..KEYS).step_by(KEYS_IN_A_BODY as usize) {
        let body: String = (first..first + KEYS_IN_A_BODY).map(keyed_row).collect();
        post(&mut connection, &door("keyed"), "application/x-ndjson", body.as_bytes())?;
    }
    let last = format!("/v1/streams/counted/events?from={}", KEYS - 1);
    eventually("every key is counted", PATIENCE, || !host.get(&last).body.is_empty());
    Ok(())
}

fn keyed_row(key: u64) -> String {
    format!("{{\"key\":\"user-{key:07}\"}}\n")
}

fn fill(host: &Host, bytes: u64) -> io::Result<()> {
    let fields = json!([{"name": "n", "type": "int64"}, {"name": "text", "type": "string"}]);
    host.put("/v1/streams/large", &json!({"fields": fields, "partitions": 4})).expect(201);
    let url = host.url();
    let mut connection = Connection::open(&url)?;
    let (filler, begin) = ("x".repeat(TEXT_BYTES - 12), Instant::now());
    for first in (0..bytes / TEXT_BYTES as u64).step_by(BATCH_ROWS as usize) {
        let row = |n: u64| format!("{{\"n\":{n},\"text\":\"{n:012}{filler}\"}}\n");
        let body: String = (first..first + BATCH_ROWS).map(row).collect();
        post(&mut connection, &door("large"), "application/x-ndjson", body.as_bytes())?;
    }
    println!("filled in {:.0} s", begin.elapsed().as_secs_f64());
    Ok(())
}

fn bytes_in(folder: &Path) -> io::Result<u64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let about = entry.metadata()?;
        bytes += if about.is_dir() { bytes_in(&entry.path())? } else { about.len() };
    }
    Ok(bytes)
}

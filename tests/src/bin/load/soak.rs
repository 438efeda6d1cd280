//! A day's events at full speed: whether memory, handles and latency stay where they are.

use std::io;
use std::path::Path;
use std::time::Instant;

use tidemill_tests::Connection;

use crate::drive::Latencies;
use crate::events::{BATCH_ROWS, declare, door, post, row_at};
use crate::measured::Measured;

const DAY_S: u64 = 86_400;
/// Events per second of the day, unless said.
const RATE: u64 = 100;
const SLICES: u64 = 12;
const START_MS: u64 = 1_764_000_000_000;

/// `rate`: events per second of event time.
pub(crate) fn soak(host: &Measured<'_>, guests: &Path, rate: Option<&str>) -> io::Result<()> {
    let rate: u64 = rate.map_or(Ok(RATE), str::parse).map_err(io::Error::other)?;
    declare(host, "load", 4)?;
    let counter = std::fs::read(guests.join("test-count-per-key.wasm"))?;
    host.must("PUT", "/v1/components/counter/versions/1.0.0", "application/wasm", &counter)?;
    let pipeline =
        "pipeline: counted\nfrom: load\nsteps:\n  - rule: counter@1\n    by: [key]\n    keep: all\nto:\n  - stream: counted\n";
    host.must("PUT", "/v1/pipelines/counted", "application/yaml", pipeline.as_bytes())?;
    let bodies = DAY_S * rate / BATCH_ROWS;
    println!(
        "{} events, a day at {rate} per second, through a rule with state per key, as fast as one connection goes",
        DAY_S * rate
    );
    println!("| hour | events/s | p50 ms | p99 ms | p99.9 ms | resident MiB | handles |\n|---|---|---|---|---|---|---|");
    let mut connection = Connection::open(host.url)?;
    let door = door("load");
    for slice in 0..SLICES {
        let (begin, mut taken) = (Instant::now(), Vec::new());
        let numbers = bodies * slice / SLICES..bodies * (slice + 1) / SLICES;
        let count = numbers.end - numbers.start;
        for number in numbers {
            let rows = number * BATCH_ROWS..(number + 1) * BATCH_ROWS;
            let body: Vec<u8> = rows.flat_map(|n| row_at(n, START_MS + n * 1_000 / rate).into_bytes()).collect();
            let sent = Instant::now();
            post(&mut connection, &door, "application/x-ndjson", &body)?;
            taken.push(sent.elapsed().as_secs_f64() * 1e3);
        }
        println!(
            "| {} | {:.0} | {} | {} | {} |",
            (slice + 1) * 24 / SLICES,
            (count * BATCH_ROWS) as f64 / begin.elapsed().as_secs_f64(),
            Latencies::new(taken).cells(),
            host.memory_bytes()? >> 20,
            host.handles()?
        );
    }
    Ok(())
}

//! What a component rule in the path costs: the same pipeline with and without it, under full load, until it has caught up.

use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use tidemill_tests::Connection;

use crate::events::{BATCH_ROWS, batches, declare, door, post};
use crate::measured::Measured;

/// Bodies that go through each pipeline.
const BODIES: u64 = 2_000;
const PATIENCE: Duration = Duration::from_secs(120);

pub(crate) fn path(host: &Measured<'_>, guests: &Path) -> io::Result<()> {
    let rule = std::fs::read(guests.join("bench-rule.wasm"))?;
    host.must("PUT", "/v1/components/abroad/versions/1.0.0", "application/wasm", &rule)?;
    let without = through(host, "without", "")?;
    let with = through(host, "with", "  - rule: abroad@1\n")?;
    println!("{} events into a stream and through `where amount > 1` into another", BODIES * BATCH_ROWS);
    println!("| steps | CPU of the host, ns per event | ratio |\n|---|---|---|");
    println!("| where | {without:.0} | 1 |\n| where, component rule | {with:.0} | {:.2} |", with / without);
    Ok(())
}

/// CPU ns per event, ingestion included, until the last row has come out.
fn through(host: &Measured<'_>, name: &str, rule: &str) -> io::Result<f64> {
    declare(host, name, 1)?;
    let pipeline = format!("pipeline: {name}\nfrom: {name}\nsteps:\n  - where: amount > 1\n{rule}to:\n  - stream: {name}-out\n");
    host.must("PUT", &format!("/v1/pipelines/{name}"), "application/yaml", pipeline.as_bytes())?;
    let (bodies, door) = (batches(32), door(name));
    let cpu_before = host.cpu_s()?;
    let mut connection = Connection::open(host.url)?;
    for n in 0..BODIES {
        post(&mut connection, &door, "application/x-ndjson", &bodies[n as usize % bodies.len()])?;
    }
    let begin = Instant::now();
    while lag(host, name)? > 0 {
        if begin.elapsed() > PATIENCE {
            return Err(io::Error::other(format!("`{name}` does not catch up")));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok((host.cpu_s()? - cpu_before) * 1e9 / (BODIES * BATCH_ROWS) as f64)
}

/// Rows that all tasks together have not taken.
fn lag(host: &Measured<'_>, pipeline: &str) -> io::Result<u64> {
    let status = host.must("GET", &format!("/v1/pipelines/{pipeline}/status"), "", b"")?;
    let status: serde_json::Value = serde_json::from_str(&status)?;
    let tasks = status["tasks"].as_array().ok_or_else(|| io::Error::other("a status without tasks"))?;
    Ok(tasks.iter().filter_map(|task| task["lag_records"].as_u64()).sum())
}

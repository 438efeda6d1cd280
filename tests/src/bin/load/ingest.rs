//! Durable NDJSON: events per CPU-second at full load, acknowledgements at half of it, and the same lines in DuckDB.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::process::Command;

use tidemill_tests::Connection;

use crate::disk::{Groups, bare};
use crate::drive::{drive, warm_up};
use crate::events::{BATCH_ROWS, batches, declare, door, post, row};
use crate::measured::Measured;

const CONNECTIONS: u64 = 4;
const PARTITIONS: u32 = 4;
/// Lines that DuckDB parses and filters.
const FILE_ROWS: u64 = 1_000_000;

/// `folder`: on the disk that the host writes to. `duckdb`: a script that takes a file and prints CPU seconds and rows found; without it the comparison is left out.
pub(crate) fn ingest(host: &Measured<'_>, folder: &Path, duckdb: Option<&Path>) -> io::Result<()> {
    declare(host, "load", PARTITIONS)?;
    let (bodies, door) = (batches(32), door("load"));
    let bytes = bodies.iter().map(Vec::len).sum::<usize>() as f64 / (bodies.len() as u64 * BATCH_ROWS) as f64;
    let send =
        |connection: &mut Connection, n: u64| post(connection, &door, "application/x-ndjson", &bodies[n as usize % bodies.len()]);
    warm_up(host, CONNECTIONS, &send)?;
    let full = drive(host, CONNECTIONS, None, &send)?;
    let before = Groups::of(host)?;
    let half = drive(host, CONNECTIONS, Some(full.pace(CONNECTIONS, 0.5)), &send)?;
    let grouped = Groups::of(host)?.since(before, half.wall_s);
    let disk = bare(folder, grouped, true)?;
    println!(
        "durable NDJSON, bodies of {BATCH_ROWS} events of {bytes:.0} bytes, {CONNECTIONS} connections, {PARTITIONS} partitions"
    );
    println!("| load | events/s | events per CPU-second of the host | of the generator | p50 ms | p99 ms | p99.9 ms |");
    println!("|---|---|---|---|---|---|---|");
    for (name, run) in [("full", &full), ("half", &half)] {
        let generator = (run.requests * BATCH_ROWS) as f64 / run.generator_cpu_s;
        println!(
            "| {name} | {:.0} | {:.0} | {generator:.0} | {} |",
            run.per_s(BATCH_ROWS),
            run.per_cpu_s(BATCH_ROWS),
            run.latencies.cells()
        );
    }
    println!(
        "\nat half load {:.0} groups/s of {} KiB, their syncs {:.2} ms on average; the disk alone, as often and as much, p50 | p99 | p99.9: {} ms",
        grouped.per_s,
        grouped.bytes >> 10,
        grouped.sync_ms,
        disk.latencies.cells()
    );
    match duckdb {
        Some(script) => compare(script, 1e9 / full.per_cpu_s(BATCH_ROWS)),
        None => Ok(()),
    }
}

/// One thread of DuckDB parses and filters lines of the same kind from a file in the page cache.
fn compare(script: &Path, ours_ns: f64) -> io::Result<()> {
    let path = std::env::temp_dir().join(format!("tidemill-load-{}.ndjson", std::process::id()));
    let mut file = BufWriter::new(File::create(&path)?);
    for n in 0..FILE_ROWS {
        file.write_all(row(n).as_bytes())?;
    }
    file.flush()?;
    let output = Command::new(script).arg(&path).output();
    std::fs::remove_file(&path)?;
    let output = output?;
    if !output.status.success() {
        return Err(io::Error::other(format!("DuckDB: {}", String::from_utf8_lossy(&output.stderr))));
    }
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let cpu_s = said.split_whitespace().next().and_then(|text| text.parse::<f64>().ok());
    let cpu_s = cpu_s.ok_or_else(|| io::Error::other(format!("DuckDB's script printed `{said}`")))?;
    let theirs_ns = cpu_s * 1e9 / FILE_ROWS as f64;
    println!("\n| CPU per event | ns | ratio |\n|---|---|---|");
    println!("| host: parsed, checked, on disk | {ours_ns:.0} | {:.2} |", ours_ns / theirs_ns);
    println!("| DuckDB, one thread: parsed, filtered | {theirs_ns:.0} | 1 |");
    Ok(())
}

//! A plain job from HTTP to its result: transactions, up to five seconds out of order, counted and summed per user and minute.
//!
//! The pipeline is live while events come in; all of it is durable and exactly once. The clock stops when the last window's last row can
//! be read. DuckDB does the same over the finished file.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tidemill_oracle::random::Chance;
use tidemill_tests::Connection;

use crate::events::{door, post};
use crate::measured::Measured;

/// Millions of transactions, unless said.
const MILLIONS: f64 = 5.0;
const USERS: u64 = 10_000;
/// Rows in a request.
const BODY_ROWS: u64 = 10_000;
const OUT_OF_ORDER_MS: u64 = 5_000;
/// Of event time: 5 million are 500 seconds.
const EVENTS_PER_S: u64 = 10_000;
const BASE_MS: u64 = 1_764_000_000_000;
const WINDOW_MS: u64 = 60_000;
const PATIENCE: Duration = Duration::from_secs(300);

/// `folder`: on the disk that the host writes to. `duckdb`: a script that takes a file and prints CPU seconds and rows; without it the
/// comparison is left out.
pub(crate) fn transactions(host: &Measured<'_>, folder: &Path, duckdb: Option<&Path>) -> io::Result<()> {
    let events = (MILLIONS * 1e6) as u64;
    let path = folder.join("transactions.ndjson");
    let results = write_file(&path, events)?;
    let measured = through(host, &path, results);
    let compared = measured.and_then(|(cpu_s, wall_s)| {
        println!("{events} transactions of {USERS} users, up to {OUT_OF_ORDER_MS} ms out of order; count, sum and average per user and minute: {results} results");
        println!("| | events per CPU-second | events/s | CPU of ours to theirs |\n|---|---|---|---|");
        println!(
            "| host, HTTP to result, durable, exactly once (goal 1.55 M) | {:.2} M | {:.2} M | 1 |",
            events as f64 / cpu_s / 1e6,
            events as f64 / wall_s / 1e6
        );
        duckdb.map_or(Ok(()), |script| compare(script, &path, events, results, cpu_s))
    });
    std::fs::remove_file(&path)?;
    compared
}

/// Writes the file; how many (user, minute) there are.
fn write_file(path: &Path, events: u64) -> io::Result<usize> {
    let (mut file, mut chance, mut results) = (BufWriter::new(File::create(path)?), Chance::new(1), BTreeSet::new());
    for number in 0..events {
        let time_ms = BASE_MS + number * 1_000 / EVENTS_PER_S - chance.below(OUT_OF_ORDER_MS + 1);
        let (user, cents) = (chance.below(USERS), 1 + chance.below(100_000));
        results.insert((time_ms / WINDOW_MS, user));
        let (whole, rest) = (cents / 100, cents % 100);
        writeln!(file, "{{\"ts_ms\":{time_ms},\"user\":\"user-{user:05}\",\"amount\":{whole}.{rest:02}}}")?;
    }
    file.flush()?;
    Ok(results.len())
}

/// CPU of the host and wall time from the first event to the last result.
fn through(host: &Measured<'_>, path: &Path, results: usize) -> io::Result<(f64, f64)> {
    let fields = json!([{"name": "ts_ms", "type": "int64", "nullable": false}, {"name": "user", "type": "string", "nullable": false},
        {"name": "amount", "type": "float64", "nullable": false}]);
    let definition = json!({"fields": fields, "time": {"field": "ts_ms", "unit": "ms"}, "key": ["user"]});
    host.must("PUT", "/v1/streams/transactions", "application/json", definition.to_string().as_bytes())?;
    let pipeline = "pipeline: per-minute\nfrom: {stream: transactions, out_of_orderness: 5s}\nsteps:\n  - window: {tumbling: 1m, by: [user], \
                    select: {count: count(*), sum: sum(amount), avg: avg(amount)}}\nto:\n  - stream: per-minute\n";
    host.must("PUT", "/v1/pipelines/per-minute", "application/yaml", pipeline.as_bytes())?;
    let (mut file, mut connection) = (BufReader::new(File::open(path)?), Connection::open(host.url)?);
    let (begin, before_s) = (Instant::now(), host.cpu_s()?);
    let (mut body, door) = (Vec::new(), door("transactions"));
    loop {
        body.clear();
        for _ in 0..BODY_ROWS {
            file.read_until(b'\n', &mut body)?;
        }
        if body.is_empty() {
            break;
        }
        post(&mut connection, &door, "application/x-ndjson", &body)?;
    }
    // A row from after the end closes every window there is.
    let after = format!("{{\"ts_ms\":{},\"user\":\"nobody\",\"amount\":0.0}}\n", BASE_MS + (1 << 32));
    post(&mut connection, &door, "application/x-ndjson", after.as_bytes())?;
    while rows(host, "per-minute")? < results as u64 {
        if begin.elapsed() > PATIENCE {
            return Err(io::Error::other(format!("{} results, {results} expected", rows(host, "per-minute")?)));
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok((host.cpu_s()? - before_s, begin.elapsed().as_secs_f64()))
}

/// How many rows a stream has.
fn rows(host: &Measured<'_>, stream: &str) -> io::Result<u64> {
    let answer: Value = serde_json::from_str(&host.must("GET", &format!("/v1/streams/{stream}"), "", b"")?)?;
    let partitions = answer["offsets"].as_array().ok_or_else(|| io::Error::other("a stream without offsets"))?;
    Ok(partitions.iter().filter_map(|partition| partition["end"].as_u64()).sum())
}

/// The same over the finished file, in the page cache, on one thread.
fn compare(script: &Path, path: &Path, events: u64, results: usize, ours_s: f64) -> io::Result<()> {
    let output = Command::new(script).arg(path).output()?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut words = said.split_whitespace();
    let (cpu_s, rows) =
        (words.next().and_then(|word| word.parse::<f64>().ok()), words.next().and_then(|word| word.parse::<usize>().ok()));
    let (Some(cpu_s), Some(rows)) = (cpu_s, rows) else {
        return Err(io::Error::other(format!("DuckDB: `{said}` {}", String::from_utf8_lossy(&output.stderr))));
    };
    if results != rows {
        return Err(io::Error::other(format!("DuckDB has {rows} results, the host {results}")));
    }
    println!("| DuckDB, one thread, from the finished file | {:.2} M | | {:.2} |", events as f64 / cpu_s / 1e6, ours_s / cpu_s);
    Ok(())
}

//! Measures a whole host from outside: what it takes per event, and how long answers and results take.
//!
//! ```text
//! tidemill-load ingest|single|latency|idle URL PROCESS GUESTS
//! ```
//! Speaks HTTP on kept connections of loopback, from a fixed number of threads, for a fixed time, and prints a table. CPU time is
//! the host's own, from `/proc`, in steps of a clock tick; so figures mean something on a busy machine too, latencies less so.

use std::io;
use std::path::Path;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tidemill_tests::{Connection, request};

const DURATION: Duration = Duration::from_secs(5);
const BATCH_ROWS: u64 = 1_000;
const BATCH_CONNECTIONS: u64 = 4;
const SINGLE_CONNECTIONS: u64 = 16;
const LATENCY_EVENTS: u64 = 1_000;
const LATENCY_PAUSE: Duration = Duration::from_millis(4);
const IDLE_PIPELINES: u64 = 100;
/// `sysconf(_SC_CLK_TCK)`: 100 on every Linux that people run.
const TICKS_PER_SECOND: f64 = 100.0;

fn main() -> ExitCode {
    let typed: Vec<String> = std::env::args().skip(1).collect();
    let [name, url, process, guests] = typed.as_slice() else {
        eprintln!("error: use tidemill-load ingest|single|latency|idle URL PROCESS GUESTS");
        return ExitCode::from(2);
    };
    let host = Measured { url, process };
    let done = match name.as_str() {
        "ingest" => ingest(&host),
        "single" => single(&host),
        "latency" => latency(&host, Path::new(guests)),
        "idle" => idle(&host),
        other => Err(io::Error::other(format!("there is no bench `{other}`"))),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

struct Measured<'a> {
    url: &'a str,
    process: &'a str,
}

/// Durable NDJSON: events per CPU-second at full load, acknowledgements at half of it.
fn ingest(host: &Measured<'_>) -> io::Result<()> {
    declare(host, "load", 4)?;
    // Made before: the client's work must not stand in the way of the host's on the same processors.
    let bodies: Vec<Vec<u8>> = (0..32).map(batch).collect();
    let send = |connection: &mut Connection, n: u64| post(connection, "application/x-ndjson", &bodies[n as usize % bodies.len()]);
    let full = drive(host, BATCH_CONNECTIONS, None, &send)?;
    let pace = Duration::from_secs_f64(2.0 * BATCH_CONNECTIONS as f64 * full.wall_s / full.requests as f64);
    let half = drive(host, BATCH_CONNECTIONS, Some(pace), &send)?;
    println!("durable NDJSON, bodies of {BATCH_ROWS} events, {BATCH_CONNECTIONS} connections");
    println!("| load | events/s | events per CPU-second | p50 ms | p99 ms |\n|---|---|---|---|---|");
    for (name, run) in [("full", &full), ("half", &half)] {
        let events = (run.requests * BATCH_ROWS) as f64;
        println!(
            "| {name} | {:.0} | {:.0} | {:.2} | {:.2} |",
            events / run.wall_s,
            events / run.cpu_s,
            run.p50_ms(),
            run.p99_ms()
        );
    }
    Ok(())
}

/// One event a request.
fn single(host: &Measured<'_>) -> io::Result<()> {
    declare(host, "load", 4)?;
    let run = drive(host, SINGLE_CONNECTIONS, None, &|connection, n| post(connection, "application/json", row(n).as_bytes()))?;
    println!("one durable event a request, {SINGLE_CONNECTIONS} connections");
    println!("| requests/s | requests per CPU-second | p50 ms | p99 ms |\n|---|---|---|---|");
    let requests = run.requests as f64;
    println!("| {:.0} | {:.0} | {:.2} | {:.2} |", requests / run.wall_s, requests / run.cpu_s, run.p50_ms(), run.p99_ms());
    Ok(())
}

/// From the moment before an event is sent until its result reaches a subscriber.
fn latency(host: &Measured<'_>, guests: &Path) -> io::Result<()> {
    declare(host, "load", 1)?;
    let counter = std::fs::read(guests.join("test-count-per-key.wasm"))?;
    must(host, "PUT", "/v1/components/counter/versions/1.0.0", "application/wasm", &counter)?;
    let pipeline =
        "pipeline: counted\nfrom: load\nsteps:\n  - rule: counter@1\n    by: [key]\n    keep: all\nto:\n  - stream: counted\n";
    must(host, "PUT", "/v1/pipelines/counted", "application/yaml", pipeline.as_bytes())?;
    let begin = Instant::now();
    // Sent and seen, in µs since `begin`; the row's number is the place.
    let sent: Vec<AtomicU64> = (0..LATENCY_EVENTS).map(|_| AtomicU64::new(0)).collect();
    let mut taken = Vec::new();
    std::thread::scope(|scope| -> io::Result<()> {
        let subscriber = scope.spawn(|| -> io::Result<Vec<f64>> {
            let mut taken = Vec::new();
            Connection::open(host.url)?.follow("/v1/streams/counted/events?follow=true", |line| {
                let now_us = begin.elapsed().as_micros() as u64;
                let n = serde_json::from_slice::<serde_json::Value>(line).ok().and_then(|row| row["n"].as_u64());
                if let Some(sent_us) = n.and_then(|n| sent.get(n as usize)) {
                    taken.push(now_us.saturating_sub(sent_us.load(Ordering::Acquire)) as f64 / 1e3);
                }
                taken.len() < LATENCY_EVENTS as usize
            })?;
            Ok(taken)
        });
        let mut connection = Connection::open(host.url)?;
        for n in 0..LATENCY_EVENTS {
            sent[n as usize].store(begin.elapsed().as_micros() as u64, Ordering::Release);
            post(&mut connection, "application/json", row(n).as_bytes())?;
            std::thread::sleep(LATENCY_PAUSE);
        }
        taken = subscriber.join().map_err(|_| io::Error::other("the subscriber panicked"))??;
        Ok(())
    })?;
    taken.sort_unstable_by(f64::total_cmp);
    println!("HTTP in → rule with state → subscriber, one event every {LATENCY_PAUSE:?}, durable at both ends");
    println!("| events | p50 ms | p99 ms | most ms |\n|---|---|---|---|");
    println!("| {} | {:.2} | {:.2} | {:.2} |", taken.len(), quantile(&taken, 0.5), quantile(&taken, 0.99), quantile(&taken, 1.0));
    Ok(())
}

/// What a pipeline costs that has nothing to do.
fn idle(host: &Measured<'_>) -> io::Result<()> {
    declare(host, "load", 1)?;
    let apply = |number: u64| {
        let pipeline = format!("pipeline: idle-{number}\nfrom: load\nsteps:\n  - where: n > 5\nto:\n  - stream: idle-{number}\n");
        must(host, "PUT", &format!("/v1/pipelines/idle-{number}"), "application/yaml", pipeline.as_bytes())
    };
    // The first ones pay for what all share.
    (0..10).try_for_each(apply)?;
    std::thread::sleep(Duration::from_secs(1));
    let before = host.memory_bytes()?;
    (10..10 + IDLE_PIPELINES).try_for_each(apply)?;
    std::thread::sleep(Duration::from_secs(1));
    let grown = host.memory_bytes()?.saturating_sub(before);
    println!("memory of {IDLE_PIPELINES} idle pipelines (where, one partition, target stream included)");
    println!("| resident KiB before | grown KiB | KiB per pipeline |\n|---|---|---|");
    println!("| {} | {} | {:.1} |", before / 1024, grown / 1024, grown as f64 / 1024.0 / IDLE_PIPELINES as f64);
    Ok(())
}

/// What one run came to.
struct Run {
    requests: u64,
    wall_s: f64,
    cpu_s: f64,
    /// Ascending.
    latencies_ms: Vec<f64>,
}

impl Run {
    fn p50_ms(&self) -> f64 {
        quantile(&self.latencies_ms, 0.5)
    }

    fn p99_ms(&self) -> f64 {
        quantile(&self.latencies_ms, 0.99)
    }
}

/// Calls `each` from every connection for the whole time; with `pace`, so often per connection and no oftener, and a latency then
/// counts from the moment the request was due.
fn drive(
    host: &Measured<'_>,
    connections: u64,
    pace: Option<Duration>,
    each: &(dyn Fn(&mut Connection, u64) -> io::Result<()> + Sync),
) -> io::Result<Run> {
    let stop = AtomicBool::new(false);
    let next = AtomicU64::new(0);
    let (begin, cpu_before) = (Instant::now(), host.cpu_s()?);
    let mut latencies_ms = Vec::new();
    std::thread::scope(|scope| -> io::Result<()> {
        let worker = || -> io::Result<Vec<f64>> {
            let mut connection = Connection::open(host.url)?;
            let mut taken = Vec::new();
            let mut due = Instant::now();
            while !stop.load(Ordering::Relaxed) {
                if let Some(pace) = pace {
                    std::thread::sleep(due.saturating_duration_since(Instant::now()));
                    each(&mut connection, next.fetch_add(1, Ordering::Relaxed))?;
                    taken.push(due.elapsed().as_secs_f64() * 1e3);
                    due += pace;
                } else {
                    let begin = Instant::now();
                    each(&mut connection, next.fetch_add(1, Ordering::Relaxed))?;
                    taken.push(begin.elapsed().as_secs_f64() * 1e3);
                }
            }
            Ok(taken)
        };
        let workers: Vec<_> = (0..connections).map(|_| scope.spawn(worker)).collect();
        std::thread::sleep(DURATION);
        stop.store(true, Ordering::Relaxed);
        for worker in workers {
            latencies_ms.extend(worker.join().map_err(|_| io::Error::other("a worker panicked"))??);
        }
        Ok(())
    })?;
    let (wall_s, cpu_s) = (begin.elapsed().as_secs_f64(), host.cpu_s()? - cpu_before);
    latencies_ms.sort_unstable_by(f64::total_cmp);
    Ok(Run { requests: latencies_ms.len() as u64, wall_s, cpu_s, latencies_ms })
}

impl Measured<'_> {
    /// User and system time of the process.
    fn cpu_s(&self) -> io::Result<f64> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.process))?;
        // The second field is the program's name in parentheses and may hold anything; utime and stime are the 14th and 15th.
        let fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
        let ticks: Vec<f64> = fields.split_whitespace().skip(11).take(2).filter_map(|ticks| ticks.parse().ok()).collect();
        Ok(ticks.iter().sum::<f64>() / TICKS_PER_SECOND)
    }

    /// Resident memory of the process.
    fn memory_bytes(&self) -> io::Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
        kib.map(|kib| kib * 1024).ok_or_else(|| io::Error::other("no VmRSS in /proc"))
    }
}

fn declare(host: &Measured<'_>, stream: &str, partitions: u32) -> io::Result<()> {
    let definition = serde_json::json!({
        "fields": [
            {"name": "ts", "type": "timestamp", "unit": "ms"}, {"name": "key", "type": "string"}, {"name": "n", "type": "int64"},
            {"name": "amount", "type": "float64"}, {"name": "country", "type": "string"}
        ],
        "time": {"field": "ts"}, "key": ["key"], "partitions": partitions
    });
    must(host, "PUT", &format!("/v1/streams/{stream}"), "application/json", definition.to_string().as_bytes())
}

fn row(n: u64) -> String {
    let country = ["de", "fr", "us", "jp", "br"][(n % 5) as usize];
    format!(
        "{{\"ts\":{},\"key\":\"user-{}\",\"n\":{n},\"amount\":{}.25,\"country\":\"{country}\"}}\n",
        1_764_000_000_000 + n,
        n % 997,
        n % 5_000
    )
}

fn batch(number: u64) -> Vec<u8> {
    (number * BATCH_ROWS..(number + 1) * BATCH_ROWS).flat_map(|n| row(n).into_bytes()).collect()
}

fn post(connection: &mut Connection, content_type: &str, body: &[u8]) -> io::Result<()> {
    match connection.post("/v1/streams/load/events", content_type, body)? {
        (200, _) => Ok(()),
        (status, answer) => Err(io::Error::other(format!("{status}: {}", String::from_utf8_lossy(answer)))),
    }
}

fn must(host: &Measured<'_>, method: &str, path: &str, content_type: &str, body: &[u8]) -> io::Result<()> {
    let answer = request(method, &format!("{}{path}", host.url), Some(content_type), body).map_err(io::Error::other)?;
    if (200..300).contains(&answer.status) {
        return Ok(());
    }
    Err(io::Error::other(format!("{method} {path}: {} {}", answer.status, answer.body)))
}

/// Of ascending values; 0 where there are none.
fn quantile(values: &[f64], quantile: f64) -> f64 {
    let at = ((values.len().saturating_sub(1)) as f64 * quantile).round() as usize;
    values.get(at).copied().unwrap_or(0.0)
}

//! Backups of a host that takes in events all the while: what they cost the events, and what they need.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tidemill_tests::Connection;

use crate::drive::{Run, drive_for};
use crate::events::{BATCH_ROWS, batches, declare, door, post};
use crate::measured::Measured;

const CONNECTIONS: u64 = 4;
const DURATION: Duration = Duration::from_secs(10);
/// GiB of log before the first backup, unless said.
const GIB: f64 = 1.0;
/// How often memory is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// What backups came to that were taken one after the other.
struct Backups {
    count: u64,
    bytes: u64,
    took: Duration,
}

/// `gib`: how much log there is before the first one.
pub(crate) fn backup(host: &Measured<'_>, gib: Option<&str>) -> io::Result<()> {
    let gib: f64 = gib.map_or(Ok(GIB), str::parse).map_err(io::Error::other)?;
    declare(host, "load", 4)?;
    let (bodies, door) = (batches(32), door("load"));
    let send =
        |connection: &mut Connection, n: u64| post(connection, &door, "application/x-ndjson", &bodies[n as usize % bodies.len()]);
    while log_bytes(host)? < gib * 1024.0 * 1024.0 * 1024.0 {
        drive_for(Duration::from_secs(2), host, CONNECTIONS, None, &send)?;
    }
    println!(
        "backups of {:.2} GiB of log, one after the other, while {CONNECTIONS} connections send",
        log_bytes(host)? / (1 << 30) as f64
    );
    println!("| load | events/s | p50 ms | p99 ms | p99.9 ms | backups | MiB/s of backup | peak resident MiB |");
    println!("|---|---|---|---|---|---|---|---|");
    let (full, peak) = watched(host, || drive_for(DURATION, host, CONNECTIONS, None, &send))?;
    line("full", &full, None, peak);
    let (during, backups, peak) = beside(host, || drive_for(DURATION, host, CONNECTIONS, None, &send))?;
    line("full, backed up", &during, Some(&backups), peak);
    let pace = Some(full.pace(CONNECTIONS, 0.3));
    let (calm, peak) = watched(host, || drive_for(DURATION, host, CONNECTIONS, pace, &send))?;
    line("30 %", &calm, None, peak);
    let (paced, backups, peak) = beside(host, || drive_for(DURATION, host, CONNECTIONS, pace, &send))?;
    line("30 %, backed up", &paced, Some(&backups), peak);
    println!("full load beside a backup: {:.2} of what it is alone", during.per_s(1) / full.per_s(1));
    Ok(())
}

fn line(name: &str, run: &Run, backups: Option<&Backups>, peak: u64) {
    let (count, speed) = backups.map_or(("–".to_owned(), "–".to_owned()), |backups| {
        let speed = backups.bytes as f64 / (1 << 20) as f64 / backups.took.as_secs_f64();
        (backups.count.to_string(), format!("{speed:.0}"))
    });
    println!("| {name} | {:.0} | {} | {count} | {speed} | {} |", run.per_s(BATCH_ROWS), run.latencies.cells(), peak >> 20);
}

/// Does something, and takes the greatest memory of the host meanwhile.
fn watched<T>(host: &Measured<'_>, work: impl FnOnce() -> io::Result<T>) -> io::Result<(T, u64)> {
    let (over, peak) = (AtomicBool::new(false), AtomicU64::new(0));
    let done = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                peak.fetch_max(host.memory_bytes().unwrap_or(0), Ordering::Relaxed);
                std::thread::sleep(LOOK_EVERY);
            }
        });
        let done = work();
        over.store(true, Ordering::Relaxed);
        done
    })?;
    Ok((done, peak.into_inner()))
}

/// Does something beside backups that follow each other. The last one is waited for.
fn beside(host: &Measured<'_>, work: impl FnOnce() -> io::Result<Run>) -> io::Result<(Run, Backups, u64)> {
    let over = AtomicBool::new(false);
    let ((run, backups), peak) = watched(host, || {
        std::thread::scope(|scope| {
            let backing = scope.spawn(|| -> io::Result<Backups> {
                let mut backups = Backups { count: 0, bytes: 0, took: Duration::ZERO };
                while !over.load(Ordering::Relaxed) {
                    let begin = Instant::now();
                    backups.bytes += fetch(host)?;
                    backups.took += begin.elapsed();
                    backups.count += 1;
                }
                Ok(backups)
            });
            let run = work();
            over.store(true, Ordering::Relaxed);
            let backups = backing.join().map_err(|_| io::Error::other("a backup panicked"))??;
            Ok((run?, backups))
        })
    })?;
    Ok((run, backups, peak))
}

/// Reads a backup and keeps nothing of it. How many bytes came.
fn fetch(host: &Measured<'_>) -> io::Result<u64> {
    let mut connection = TcpStream::connect(host.url.trim_start_matches("http://"))?;
    connection.write_all(b"GET /v1/backup HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")?;
    let mut piece = vec![0; 256 << 10];
    let (mut total, mut end) = (0, Vec::new());
    loop {
        let count = connection.read(&mut piece)?;
        if count == 0 {
            break;
        }
        if total == 0 && !piece.starts_with(b"HTTP/1.1 200") {
            return Err(io::Error::other(String::from_utf8_lossy(&piece[..count.min(400)]).into_owned()));
        }
        total += count as u64;
        end.extend_from_slice(&piece[..count]);
        end.drain(..end.len().saturating_sub(5));
    }
    // The last chunk: else the host broke it off.
    if end == b"0\r\n\r\n" { Ok(total) } else { Err(io::Error::other("a backup was broken off")) }
}

/// Size of the segments.
fn log_bytes(host: &Measured<'_>) -> io::Result<f64> {
    let text = host.must("GET", "/metrics", "text/plain", b"")?;
    let value = text.lines().find_map(|line| line.strip_prefix("tidemill_log_segment_bytes ")?.parse().ok());
    value.ok_or_else(|| io::Error::other("no tidemill_log_segment_bytes"))
}

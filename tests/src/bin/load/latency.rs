//! From the moment an event is due at the client until its result reaches a subscriber, at parts of what the host can take.

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tidemill_tests::Connection;

use crate::drive::{DURATION, Latencies, drive};
use crate::events::{declare, door, post, row};
use crate::measured::Measured;

const CONNECTIONS: u64 = 16;
const SHARES: [f64; 3] = [0.1, 0.5, 0.9];
/// Events that one load may send at most.
const EVENTS_MAX: usize = 1 << 20;
/// A result later than this after the load is none.
const PATIENCE: Duration = Duration::from_secs(10);

pub(crate) fn latency(host: &Measured<'_>, guests: &Path) -> io::Result<()> {
    let counter = std::fs::read(guests.join("test-count-per-key.wasm"))?;
    host.must("PUT", "/v1/components/counter/versions/1.0.0", "application/wasm", &counter)?;
    println!("one event a request, {CONNECTIONS} connections → rule with state per key → subscriber, in parts of the full load");
    println!("| acknowledged | load | events/s | results | p50 ms | p99 ms | p99.9 ms |\n|---|---|---|---|---|---|---|");
    for (name, query) in [("on disk", ""), ("in memory", "?ack=memory")] {
        let stream = format!("load-{}", name.replace(' ', "-"));
        pipeline(host, &stream)?;
        let door = door(&stream) + query;
        let full =
            drive(host, CONNECTIONS, None, &|connection, n| post(connection, &door, "application/json", row(n).as_bytes()))?;
        println!("| {name} | full | {:.0} | | | | |", full.per_s(1));
        for share in SHARES {
            let (events_s, latencies) = at_pace(host, &stream, &door, full.pace(CONNECTIONS, share))?;
            println!("| {name} | {:.0} % | {events_s:.0} | {} | {} |", share * 100.0, latencies.count(), latencies.cells());
        }
    }
    Ok(())
}

fn pipeline(host: &Measured<'_>, stream: &str) -> io::Result<()> {
    declare(host, stream, 1)?;
    let text = format!(
        "pipeline: {stream}\nfrom: {stream}\nsteps:\n  - rule: counter@1\n    by: [key]\n    keep: all\nto:\n  - stream: {stream}-out\n"
    );
    host.must("PUT", &format!("/v1/pipelines/{stream}"), "application/yaml", text.as_bytes()).map(drop)
}

/// Events per second that were sent, and how long their results took.
fn at_pace(host: &Measured<'_>, stream: &str, door: &str, pace: Duration) -> io::Result<(f64, Latencies)> {
    let begin = Instant::now();
    // When each was due, in µs since `begin`; the row's number is the place.
    let due_us: Vec<AtomicU64> = (0..EVENTS_MAX).map(|_| AtomicU64::new(0)).collect();
    let (next, stop) = (AtomicU64::new(0), AtomicBool::new(false));
    let mut taken = Vec::new();
    std::thread::scope(|scope| -> io::Result<()> {
        let subscriber = scope.spawn(|| -> io::Result<Vec<f64>> {
            let (mut taken, mut last) = (Vec::new(), Instant::now());
            let path = format!("/v1/streams/{stream}-out/events?from=latest&follow=true");
            Connection::open(host.url)?.follow(&path, |line| {
                let now_us = begin.elapsed().as_micros() as u64;
                let n = serde_json::from_slice::<serde_json::Value>(line).ok().and_then(|row| row["n"].as_u64());
                if let Some(due) = n.and_then(|n| due_us.get(n as usize)) {
                    taken.push(now_us.saturating_sub(due.load(Ordering::Acquire)) as f64 / 1e3);
                    last = Instant::now();
                }
                let all = stop.load(Ordering::Acquire) && taken.len() as u64 >= next.load(Ordering::Acquire);
                !all && last.elapsed() < PATIENCE
            })?;
            Ok(taken)
        });
        // It must be there before the first row is.
        std::thread::sleep(Duration::from_millis(200));
        let sender = |index: u64| {
            let (due_us, next, stop) = (&due_us, &next, &stop);
            move || -> io::Result<()> {
                let mut connection = Connection::open(host.url)?;
                let mut due = Instant::now() + pace * index as u32 / CONNECTIONS as u32;
                while !stop.load(Ordering::Acquire) {
                    std::thread::sleep(due.saturating_duration_since(Instant::now()));
                    let n = next.fetch_add(1, Ordering::AcqRel);
                    let Some(place) = due_us.get(n as usize) else { return Ok(()) };
                    place.store(due.duration_since(begin).as_micros() as u64, Ordering::Release);
                    post(&mut connection, door, "application/json", row(n).as_bytes())?;
                    due += pace;
                }
                Ok(())
            }
        };
        let senders: Vec<_> = (0..CONNECTIONS - 1).map(|index| scope.spawn(sender(index))).collect();
        std::thread::sleep(DURATION);
        stop.store(true, Ordering::Release);
        for sender in senders {
            sender.join().map_err(|_| io::Error::other("a sender panicked"))??;
        }
        // The subscriber looks whether it is done when a row comes: the last one is sent when all others are.
        let n = next.fetch_add(1, Ordering::AcqRel);
        due_us[n as usize % EVENTS_MAX].store(begin.elapsed().as_micros() as u64, Ordering::Release);
        post(&mut Connection::open(host.url)?, door, "application/json", row(n).as_bytes())?;
        taken = subscriber.join().map_err(|_| io::Error::other("the subscriber panicked"))??;
        Ok(())
    })?;
    Ok((next.load(Ordering::Acquire) as f64 / DURATION.as_secs_f64(), Latencies::new(taken)))
}

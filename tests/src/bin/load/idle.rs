//! What streams and pipelines cost that have nothing to do.

use std::io;
use std::time::Duration;

use crate::events::{declare, door, row};
use crate::measured::Measured;

const STREAMS: u64 = 500;
const PIPELINES: u64 = 100;
/// What all of a kind share is paid for before anything is measured.
const BEFORE: u64 = 10;

pub(crate) fn idle(host: &Measured<'_>) -> io::Result<()> {
    declare(host, "load", 1)?;
    println!("| what is idle | how many | grown KiB | KiB each | handles |\n|---|---|---|---|---|");
    let stream = |number: u64| declare(host, &format!("idle-{number}"), 1);
    grown(host, "stream, nothing sent", STREAMS, stream)?;
    let used = |number: u64| {
        let name = format!("used-{number}");
        declare(host, &name, 1)?;
        host.must("POST", &door(&name), "application/json", row(number).as_bytes()).map(drop)
    };
    grown(host, "stream, one event sent", STREAMS, used)?;
    let pipeline = |number: u64| {
        let text = format!("pipeline: idle-{number}\nfrom: load\nsteps:\n  - where: n > 5\nto:\n  - stream: result-{number}\n");
        host.must("PUT", &format!("/v1/pipelines/idle-{number}"), "application/yaml", text.as_bytes()).map(drop)
    };
    grown(host, "pipeline (where, one partition, its target stream)", PIPELINES, pipeline)
}

fn grown(host: &Measured<'_>, what: &str, count: u64, make: impl Fn(u64) -> io::Result<()>) -> io::Result<()> {
    (0..BEFORE).try_for_each(&make)?;
    std::thread::sleep(Duration::from_secs(1));
    let (before, handles) = (host.memory_bytes()?, host.handles()?);
    (BEFORE..BEFORE + count).try_for_each(&make)?;
    std::thread::sleep(Duration::from_secs(2));
    let grown = host.memory_bytes()?.saturating_sub(before) / 1024;
    let handles = host.handles()? as i64 - handles as i64;
    println!("| {what} | {count} | {grown} | {:.1} | {handles:+} |", grown as f64 / count as f64);
    Ok(())
}

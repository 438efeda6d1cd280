//! One event a request, durable, against a bare hyper server that reads a body and answers, and against the disk's bare syncs.
//!
//! What the host must do beyond the bare server is at least to write and to sync: the bound of the ratio is that of a server which does
//! both for nothing else.

use std::io::{self, BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use crate::disk::{Groups, bare};
use crate::drive::drive;
use crate::events::{declare, door, post, row};
use crate::measured::Measured;

const CONNECTIONS: [u64; 3] = [1, 16, 64];

/// `folder`: on the disk that the host writes to. `echo`: the bare server's program.
pub(crate) fn single(host: &Measured<'_>, folder: &Path, echo: Option<&Path>) -> io::Result<()> {
    declare(host, "load", 4)?;
    let echo = echo.ok_or_else(|| io::Error::other("say where tidemill-echo is"))?;
    // It ends when its input closes, that is with this program.
    let mut child = Command::new(echo).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let mut url = String::new();
    BufReader::new(child.stdout.take().ok_or_else(|| io::Error::other("no output"))?).read_line(&mut url)?;
    let process = child.id().to_string();
    let echo = Measured { url: url.trim(), process: &process };
    let (rows, door): (Vec<String>, String) = ((0..10_000).map(row).collect(), door("load"));
    println!("one durable event a request");
    println!(
        "| connections | requests/s | per CPU-second | bare hyper, per CPU-second | ratio | bound | p50 ms | p99 ms | p99.9 ms | requests a sync | switches a request | bare sync: CPU µs |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|---|---|");
    for connections in CONNECTIONS {
        let send = |connection: &mut tidemill_tests::Connection, n: u64| {
            post(connection, &door, "application/json", rows[n as usize % rows.len()].as_bytes())
        };
        let theirs = drive(&echo, connections, None, &send)?;
        let (before, switches) = (Groups::of(host)?, host.switches()?);
        let ours = drive(host, connections, None, &send)?;
        let grouped = Groups::of(host)?.since(before, ours.wall_s);
        let switches = (host.switches()? - switches) as f64 / ours.requests as f64;
        let disk = bare(folder, grouped, false)?;
        let ratio = ours.per_cpu_s(1) / theirs.per_cpu_s(1);
        let requests_a_sync = ours.per_s(1) / grouped.per_s;
        let (theirs_us, sync_us) = (1e6 / theirs.per_cpu_s(1), disk.cpu_us / requests_a_sync);
        println!(
            "| {connections} | {:.0} | {:.0} | {:.0} | {ratio:.2} | {:.2} | {} | {requests_a_sync:.1} | {switches:.1} | {:.0} |",
            ours.per_s(1),
            ours.per_cpu_s(1),
            theirs.per_cpu_s(1),
            theirs_us / (theirs_us + sync_us),
            ours.latencies.cells(),
            disk.cpu_us,
        );
    }
    drop(child.stdin.take());
    child.wait()?;
    Ok(())
}

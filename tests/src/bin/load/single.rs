//! One event a request, durable, against a bare hyper server that reads a body and answers.

use std::io::{self, BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use crate::drive::drive;
use crate::events::{declare, door, post, row};
use crate::measured::Measured;

const CONNECTIONS: [u64; 3] = [1, 16, 64];

/// `echo`: the bare server's program.
pub(crate) fn single(host: &Measured<'_>, echo: Option<&Path>) -> io::Result<()> {
    declare(host, "load", 4)?;
    let echo = echo.ok_or_else(|| io::Error::other("say where tidemill-echo is"))?;
    // It ends when its input closes, that is with this program.
    let mut child = Command::new(echo).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let mut url = String::new();
    BufReader::new(child.stdout.take().ok_or_else(|| io::Error::other("no output"))?).read_line(&mut url)?;
    let process = child.id().to_string();
    let bare = Measured { url: url.trim(), process: &process };
    let (rows, door): (Vec<String>, String) = ((0..10_000).map(row).collect(), door("load"));
    println!("one durable event a request");
    println!("| connections | requests/s | per CPU-second | bare hyper, per CPU-second | ratio | p50 ms | p99 ms | p99.9 ms |");
    println!("|---|---|---|---|---|---|---|---|");
    for connections in CONNECTIONS {
        let send = |connection: &mut tidemill_tests::Connection, n: u64| {
            post(connection, &door, "application/json", rows[n as usize % rows.len()].as_bytes())
        };
        let (theirs, ours) = (drive(&bare, connections, None, &send)?, drive(host, connections, None, &send)?);
        let ratio = ours.per_cpu_s(1) / theirs.per_cpu_s(1);
        println!(
            "| {connections} | {:.0} | {:.0} | {:.0} | {ratio:.2} | {} |",
            ours.per_s(1),
            ours.per_cpu_s(1),
            theirs.per_cpu_s(1),
            ours.latencies.cells()
        );
    }
    drop(child.stdin.take());
    child.wait()?;
    Ok(())
}

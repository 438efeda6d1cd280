//! `cargo xtask demo`: real events through real components, on a host that stays until Ctrl-C.
//!
//! Knows nothing of any example: a folder of `examples/` says it all.
//!
//! ```text
//! examples/NAME/streams/STREAM.json       declared first
//!               pipelines/PIPELINE.yaml   applied next, with the components of `guests/` uploaded before
//!               events/STREAM.ndjson      sent then; STREAM.log as lines of text
//!               expected/STREAM.ndjson    what must have come out, as a set of rows without the host's fields
//! ```

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::host::Host;
use crate::run::{root, step};

/// How long results may take once everything is sent.
const PATIENCE: Duration = Duration::from_secs(60);
/// How many rows of each result stream are printed while the examples' own events go through; the rest is counted.
const ROWS_SHOWN: usize = 12;
/// Where `tidemill` looks for a host unless told.
const DEFAULT_PORT: u16 = 8642;
/// The version that bundled components are uploaded as; the examples' pipelines ask for `@1`.
const VERSION: &str = "1.0.0";

/// Runs every example; stays, unless `once`.
pub(crate) fn demo(once: bool, data: Option<PathBuf>) -> Result<()> {
    let guests = crate::guests::guests()?;
    let binary = crate::build::host()?;
    let folder = match data {
        Some(folder) => folder,
        None => {
            let folder = crate::run::target_dir()?.join("demo/data");
            // Left by the last demo; a fresh one has nothing in it.
            let _ = fs::remove_dir_all(&folder);
            folder
        }
    };
    step("starting the host");
    let mut host = Host::start_on(free_port(), &binary, &folder)?;
    println!("   {} keeps its data in {}", host.url(), folder.display());
    push(&host, &guests)?;
    let settled = Arc::new(AtomicBool::new(false));
    let mut results = Vec::new();
    for example in examples()? {
        results.extend(play(&host, &example, &settled)?);
    }
    let differing: Vec<String> = results.iter().filter_map(|result| result.difference.clone()).collect();
    if !differing.is_empty() {
        bail!("results are not the checked-in ones:\n{}", differing.join("\n"));
    }
    println!(
        "\nEvery result is as it should be: {} rows in {} streams.",
        results.iter().map(|r| r.rows).sum::<usize>(),
        results.len()
    );
    if once {
        return Ok(());
    }
    next_steps(&host, &binary, &results);
    settled.store(true, Ordering::Relaxed);
    while host.runs() {
        std::thread::sleep(Duration::from_millis(200));
    }
    bail!("the host ended; its log is {}", folder.with_extension("log").display())
}

/// The port that commands look at by themselves, unless somebody has it.
fn free_port() -> u16 {
    if TcpListener::bind((Ipv4Addr::LOCALHOST, DEFAULT_PORT)).is_ok() { DEFAULT_PORT } else { 0 }
}

/// Every folder of `examples/` that has pipelines, in the order of their names.
fn examples() -> Result<Vec<PathBuf>> {
    let folder = root().join("examples");
    let mut examples = files(&folder)?;
    examples.retain(|example| example.join("pipelines").is_dir());
    if examples.is_empty() {
        bail!("`{}` has no example with pipelines", folder.display());
    }
    Ok(examples)
}

fn push(host: &Host, guests: &Path) -> Result<()> {
    for guest in files(guests)? {
        let (name, bytes) = (stem(&guest)?, fs::read(&guest).with_context(|| format!("cannot read `{}`", guest.display()))?);
        // Those of tests and benches are built too; a demo has no need of them.
        if !name.starts_with("std-") {
            continue;
        }
        let begin = Instant::now();
        host.must("PUT", &format!("/v1/components/{name}/versions/{VERSION}"), "application/wasm", &bytes)?;
        println!(
            "   component {name}@{VERSION}: {} KiB, {:.0} ms to upload and compile",
            bytes.len() / 1024,
            begin.elapsed().as_secs_f64() * 1e3
        );
    }
    Ok(())
}

/// What came out of one stream.
struct Results {
    stream: String,
    rows: usize,
    /// How it differs from what is checked in.
    difference: Option<String>,
}

fn play(host: &Host, example: &Path, settled: &Arc<AtomicBool>) -> Result<Vec<Results>> {
    step(&format!("example {}", stem(example)?));
    for stream in files(&example.join("streams"))? {
        let name = stem(&stream)?;
        host.must("PUT", &format!("/v1/streams/{name}"), "application/json", &fs::read(&stream)?)?;
        println!("   stream {name}");
    }
    for pipeline in files(&example.join("pipelines"))? {
        let name = stem(&pipeline)?;
        host.must("PUT", &format!("/v1/pipelines/{name}"), "application/yaml", &fs::read(&pipeline)?)
            .with_context(|| format!("`{}`", pipeline.display()))?;
        println!("   pipeline {name}");
    }
    let expected = files(&example.join("expected"))?;
    for stream in &expected {
        watch(host, stem(stream)?, settled.clone());
    }
    for events in files(&example.join("events"))? {
        let (name, body) = (stem(&events)?, fs::read(&events)?);
        let content_type =
            if events.extension().is_some_and(|extension| extension == "log") { "text/plain" } else { "application/x-ndjson" };
        let begin = Instant::now();
        let answer = host.must("POST", &format!("/v1/streams/{name}/events"), content_type, &body)?;
        let (accepted, took) = (answer["accepted"].as_u64().unwrap_or(0), begin.elapsed());
        println!("   {accepted} events into {name}, on disk after {:.0} ms", took.as_secs_f64() * 1e3);
        if answer["rejected_total"].as_u64().unwrap_or(0) > 0 {
            bail!("`{}`: {}", events.display(), answer["rejected"]);
        }
    }
    let results = expected.iter().map(|expected| gather(host, expected)).collect();
    // Rows that are there are also being printed; a moment keeps them above the next headline.
    std::thread::sleep(Duration::from_millis(150));
    results
}

/// Waits until the stream has what it should, and compares.
fn gather(host: &Host, expected: &Path) -> Result<Results> {
    let stream = stem(expected)?;
    let text = fs::read_to_string(expected).with_context(|| format!("cannot read `{}`", expected.display()))?;
    let mut wanted: Vec<String> = text.lines().map(canonical).collect::<Result<_>>()?;
    wanted.sort_unstable();
    let begin = Instant::now();
    loop {
        let answer = host.get(&format!("/v1/streams/{stream}/events"))?;
        let read = if answer.status == 200 { answer.body } else { String::new() };
        let mut found: Vec<String> = read.lines().map(canonical).collect::<Result<_>>()?;
        found.sort_unstable();
        let complete = found == wanted;
        // More rows than expected never become fewer; less than expected may still come.
        if complete || found.len() > wanted.len() || begin.elapsed() > PATIENCE {
            let difference = (!complete).then(|| differences(&stream, &wanted, &found));
            let rows = found.len();
            println!("   {rows} rows in {stream}");
            return Ok(Results { stream, rows, difference });
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A row without the host's fields, its members in one order.
fn canonical(line: &str) -> Result<String> {
    let mut row: Value = serde_json::from_str(line).with_context(|| format!("`{line}` is no JSON"))?;
    let members = row.as_object_mut().with_context(|| format!("`{line}` is no object"))?;
    members.retain(|name, _| !matches!(name.as_str(), "_partition" | "_offset" | "_time"));
    Ok(row.to_string())
}

fn differences(stream: &str, wanted: &[String], found: &[String]) -> String {
    let mut text = format!("  {stream}: {} rows, {} expected", found.len(), wanted.len());
    let lacking = |of: &[String], all: &[String]| of.iter().find(|row| all.binary_search(row).is_err()).cloned();
    if let Some(row) = lacking(wanted, found) {
        text.push_str(&format!("\n    missing, among others: {row}"));
    }
    if let Some(row) = lacking(found, wanted) {
        text.push_str(&format!("\n    not expected, among others: {row}"));
    }
    text
}

/// Prints the rows of a stream as they come: the first few of the examples, and everything once those are through.
fn watch(host: &Host, stream: String, settled: Arc<AtomicBool>) {
    let path = format!("/v1/streams/{stream}/events?follow=true");
    let reader = host.follow(&path);
    // Ends with the connection, that is with the host.
    std::thread::spawn(move || {
        let Ok(reader) = reader else { return };
        for (row, line) in BufReader::new(reader).lines().map_while(Result::ok).enumerate() {
            if row < ROWS_SHOWN || settled.load(Ordering::Relaxed) {
                println!("   {stream}: {line}");
            } else if row == ROWS_SHOWN {
                println!("   {stream}: … and so on");
            }
        }
    });
}

fn next_steps(host: &Host, binary: &Path, results: &[Results]) {
    let stream = results.first().map_or("results", |result| result.stream.as_str());
    println!(
        "
The host runs until Ctrl-C. In another terminal:

  export TIDEMILL_HOST={url}
  export PATH=\"{bin}:$PATH\"

  tidemill status                        # the pipelines
  tidemill tail {stream} --follow        # results as they come
  tidemill components                    # what judges them
  tidemill new big-ones                  # a rule of your own: the README goes on from here",
        url = host.url(),
        bin = binary.parent().unwrap_or(binary).display(),
    );
}

/// What a folder holds, sorted; nothing where there is no folder.
fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let Ok(entries) = fs::read_dir(folder) else { return Ok(Vec::new()) };
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.map(|entry| entry.path())).collect::<std::io::Result<_>>()?;
    files.sort();
    Ok(files)
}

fn stem(path: &Path) -> Result<String> {
    let stem = path.file_stem().and_then(|stem| stem.to_str());
    stem.map(str::to_owned).with_context(|| format!("`{}` has no name", path.display()))
}

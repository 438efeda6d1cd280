//! The queries of Nexmark over one finite stream, from the log to durable results: events per CPU-second of the host.
//!
//! Events of all three kinds count, as everywhere with Nexmark, also where a query reads one kind. They are sent over HTTP first, which is
//! measured apart; then every query runs once over what is there. Hosts: data on the disk and data in memory, one partition; and on the
//! disk with as many partitions as there are processors, each stream keyed as the query's first step needs it.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tidemill_oracle::{Generator, Kind};
use tidemill_tests::{Connection, Host, HostOptions};

use crate::events::{BATCH_ROWS, door, post};
use crate::measured::Measured;

/// Millions of events, unless said.
const MILLIONS: f64 = 2.0;
/// They are kept in memory, as they are sent.
const MILLIONS_MAX: f64 = 50.0;
/// Of event time; the published runs have 10 million a second, so their windows hold more.
const EVENTS_PER_S: u64 = 10_000;
const BASE_MS: i64 = 1_700_035_175_000;
const SEED: u64 = 1;
/// Where a data folder is in memory.
const IN_MEMORY: &str = "/dev/shm";
const PATIENCE: Duration = Duration::from_secs(300);
/// A host that takes less than two clock ticks in so long has nothing to do.
const QUIET: Duration = Duration::from_millis(250);
const QUIET_CPU_S: f64 = 0.02;

/// Streams, each with its key.
type Keys = &'static [(&'static str, &'static str)];

/// Each query with its goal in thousand events per CPU-second, and the key that each stream must be placed by for several tasks.
const QUERIES: [(&str, u32, Keys); 14] = [
    ("q0", 900, &[("bid", "auction")]),
    ("q1", 850, &[("bid", "auction")]),
    ("q2", 850, &[("bid", "auction")]),
    ("q3", 830, &[("person", "id"), ("auction", "seller")]),
    ("q4", 530, &[("auction", "id"), ("bid", "auction")]),
    ("q5", 820, &[("bid", "auction")]),
    ("q7", 390, &[("bid", "auction")]),
    ("q8", 830, &[("person", "id"), ("auction", "seller")]),
    ("q11", 230, &[("bid", "bidder")]),
    ("q14", 860, &[("bid", "auction")]),
    ("q17", 480, &[("bid", "auction")]),
    ("q18", 170, &[("bid", "bidder")]),
    ("q19", 150, &[("bid", "auction")]),
    ("q22", 790, &[("bid", "auction")]),
];

/// What one query came to.
struct Took {
    cpu_s: f64,
    wall_s: f64,
}

/// One host and what it was asked.
struct Round {
    ingest_cpu_s: f64,
    queries: BTreeMap<&'static str, Result<Took, String>>,
}

/// `example`: the folder with streams and queries. `millions` of events; `only`: the queries that are run, all of them if it is empty.
pub(crate) fn nexmark(example: &Path, millions: Option<&str>, only: &[&str]) -> io::Result<()> {
    let wrong = |what: String| io::Error::new(io::ErrorKind::InvalidInput, what);
    let millions: f64 = match millions.unwrap_or("").parse() {
        _ if millions.is_none() => MILLIONS,
        Ok(number) if number > 0.0 && number <= MILLIONS_MAX => number,
        _ => return Err(wrong(format!("MILLIONS is in millions of events, such as 0.5 or 2; at most {MILLIONS_MAX}"))),
    };
    if let Some(unknown) = only.iter().find(|name| !QUERIES.iter().any(|(query, ..)| query == *name)) {
        return Err(wrong(format!("there is no query `{unknown}`: choose {}", QUERIES.map(|(query, ..)| query).join(", "))));
    }
    let events = (millions * 1e6) as u64;
    let bodies = bodies(events);
    let cores = std::thread::available_parallelism()?.get() as u32;
    let memory = PathBuf::from(IN_MEMORY);
    let in_memory = memory.is_dir().then(|| round(example, &bodies, only, Some(memory), 1)).transpose()?;
    let on_disk = round(example, &bodies, only, None, 1)?;
    let on_all = round(example, &bodies, only, None, cores)?;

    let per_cpu_s = |cpu_s: f64| format!("{:.0}", events as f64 / cpu_s / 1e3);
    println!(
        "{events} events; thousands of events per CPU-second of the host, from the log to durable results, and of event time a second {EVENTS_PER_S}"
    );
    println!(
        "| query | goal | data in memory | on disk | on disk, HTTP and JSON included | {cores} partitions, on disk | thousand events/s, {cores} partitions |"
    );
    println!("|---|---|---|---|---|---|---|");
    let mut refused = BTreeMap::new();
    for (query, goal, _) in QUERIES.into_iter().filter(|(query, ..)| is_asked(only, query)) {
        let mut cell = |round: Option<&Round>, of: &dyn Fn(&Round, &Took) -> String| {
            let Some(round) = round else { return "–".to_owned() };
            match round.queries.get(query) {
                Some(Ok(took)) => of(round, took),
                Some(Err(why)) => {
                    refused.entry(query).or_insert_with(|| why.clone());
                    "–".to_owned()
                }
                None => "–".to_owned(),
            }
        };
        println!(
            "| {query} | {goal} | {} | {} | {} | {} | {} |",
            cell(in_memory.as_ref(), &|_, took| per_cpu_s(took.cpu_s)),
            cell(Some(&on_disk), &|_, took| per_cpu_s(took.cpu_s)),
            cell(Some(&on_disk), &|round, took| per_cpu_s(took.cpu_s + round.ingest_cpu_s)),
            cell(Some(&on_all), &|_, took| per_cpu_s(took.cpu_s)),
            cell(Some(&on_all), &|_, took| per_cpu_s(took.wall_s)),
        );
    }
    println!("\ningestion alone, three streams: {} thousand events per CPU-second", per_cpu_s(on_disk.ingest_cpu_s));
    refused.iter().for_each(|(query, why)| println!("{query} did not run: {why}"));
    Ok(())
}

fn is_asked(only: &[&str], query: &str) -> bool {
    only.is_empty() || only.contains(&query)
}

/// Bodies of one kind each, in the order in which their first events came.
fn bodies(events: u64) -> Vec<(&'static str, Vec<u8>)> {
    let mut generator = Generator::new(SEED, EVENTS_PER_S, BASE_MS);
    let mut open: BTreeMap<&'static str, (u64, Vec<u8>)> = BTreeMap::new();
    let (mut done, mut line) = (Vec::new(), Vec::new());
    for _ in 0..events {
        line.clear();
        let stream = match generator.next_into(&mut line) {
            Kind::Person => "person",
            Kind::Auction => "auction",
            Kind::Bid => "bid",
        };
        let (rows, body) = open.entry(stream).or_default();
        *rows += 1;
        body.extend_from_slice(&line);
        if *rows == BATCH_ROWS {
            done.push((stream, std::mem::take(body)));
            *rows = 0;
        }
    }
    done.extend(open.into_iter().filter(|(_, (rows, _))| *rows > 0).map(|(stream, (_, body))| (stream, body)));
    done
}

/// A host of its own: all events in, then one query after the other.
fn round(
    example: &Path,
    bodies: &[(&'static str, Vec<u8>)],
    only: &[&str],
    folder: Option<PathBuf>,
    partitions: u32,
) -> io::Result<Round> {
    let host = Host::with(HostOptions { folder, ..HostOptions::default() });
    let (url, process) = (host.url(), host.process_id().to_string());
    let measured = Measured { url: &url, process: &process };
    let placed = placed_streams(partitions);
    for (stream, source, key) in &placed {
        let definition = fs::read_to_string(example.join(format!("streams/{source}.json")))?;
        let mut definition: Value = serde_json::from_str(&definition)?;
        definition["partitions"] = json!(partitions);
        if let Some(key) = key {
            definition["key"] = json!([key]);
        }
        measured.must("PUT", &format!("/v1/streams/{stream}"), "application/json", definition.to_string().as_bytes())?;
    }
    let before_s = measured.cpu_s()?;
    let mut connection = Connection::open(&url)?;
    for (source, body) in bodies {
        for (stream, ..) in placed.iter().filter(|(_, of, _)| of == source) {
            post(&mut connection, &door(stream), "application/x-ndjson", body)?;
        }
    }
    let ingest_cpu_s = measured.cpu_s()? - before_s;
    let mut queries = BTreeMap::new();
    for (query, _, keys) in QUERIES.into_iter().filter(|(query, ..)| is_asked(only, query)) {
        let mut pipeline = fs::read_to_string(example.join(format!("queries/{query}.yaml")))?;
        if partitions > 1 {
            for (source, key) in keys {
                pipeline = pipeline.replace(&format!("stream: {source},"), &format!("stream: {},", placed_name(source, key)));
            }
        }
        if queries.is_empty() {
            // What a host pays once, for its first rows, is no query's.
            run(&measured, "warm-up", &pipeline.replace(&format!("pipeline: {query}"), "pipeline: warm-up"))?;
        }
        queries.insert(query, run(&measured, query, &pipeline).map_err(|error| error.to_string()));
    }
    Ok(Round { ingest_cpu_s, queries })
}

/// Name, source and key of each stream: with one partition the sources themselves, else one for every key that a query needs.
fn placed_streams(partitions: u32) -> Vec<(String, &'static str, Option<&'static str>)> {
    if partitions == 1 {
        return ["person", "auction", "bid"].map(|source| (source.to_owned(), source, None)).to_vec();
    }
    let mut placed: Vec<_> = QUERIES
        .iter()
        .flat_map(|(.., keys)| keys.iter().map(|(source, key)| (placed_name(source, key), *source, Some(*key))))
        .collect();
    placed.sort();
    placed.dedup();
    placed
}

fn placed_name(source: &str, key: &str) -> String {
    format!("{source}-by-{key}")
}

/// One query from its pipeline to its end.
fn run(host: &Measured<'_>, query: &str, pipeline: &str) -> io::Result<Took> {
    let (begin, before_s) = (Instant::now(), host.cpu_s()?);
    host.must("PUT", &format!("/v1/pipelines/{query}"), "application/yaml", pipeline.as_bytes())?;
    loop {
        let status = host.must("GET", &format!("/v1/pipelines/{query}/status"), "", b"")?;
        let status: Value = serde_json::from_str(&status)?;
        match status["state"].as_str() {
            Some("finished") => break,
            Some("running") if begin.elapsed() < PATIENCE => std::thread::sleep(Duration::from_millis(20)),
            _ => return Err(io::Error::other(format!("`{query}` has not finished: {status}"))),
        }
    }
    let wall_s = begin.elapsed().as_secs_f64();
    // What the host still does in the background for this query is not the next one's.
    let mut cpu_s = host.cpu_s()?;
    while begin.elapsed() < PATIENCE {
        std::thread::sleep(QUIET);
        let after_s = host.cpu_s()?;
        if after_s - cpu_s < QUIET_CPU_S {
            break;
        }
        cpu_s = after_s;
    }
    Ok(Took { cpu_s: cpu_s - before_s, wall_s })
}

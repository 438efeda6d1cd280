//! Ten million keys in windows that are all open, in less memory than they need: what their state takes, how long checkpoints hold rows back
//! and what they write, how long a host that is killed then takes until a window closes, and what is left when all have closed.

use std::collections::BTreeMap;
use std::io;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tidemill_tests::{Connection, Host, HostOptions, eventually};

use crate::events::{door, post};
use crate::measured::Measured;

/// Windows of a minute, all open at once, and keys in each.
const WINDOWS: u64 = 100;
const KEYS_IN_A_WINDOW: u64 = 100_000;
/// Memory for state, unless said: without it ten million keys take some two GiB.
const MEMORY: &str = "512MiB";
const ROWS_IN_A_BODY: u64 = 20_000;
const BASE_MS: u64 = 1_700_000_040_000;
const MINUTE_MS: u64 = 60_000;
/// Rows may be so late: no window closes before the end.
const OPEN_MS: u64 = 3 * 60 * MINUTE_MS;
const PATIENCE: Duration = Duration::from_secs(600);
/// Memory that is given back is given back by then.
const QUIET: Duration = Duration::from_secs(5);
const PIPELINE: &str = "pipeline: open\nfrom: {stream: seen, out_of_orderness: 3h}\ntime: {bound: off}\nsteps:\n  - window: {tumbling: 1m, \
     by: [user], select: {n: count(*), total: sum(amount)}}\nto:\n  - stream: closed\n";

/// Starts a host of its own, since it kills it. `keys`: in all, unless ten million; `memory`: for state.
pub(crate) fn state(keys: Option<&str>, memory: Option<&str>) -> io::Result<()> {
    let keys: u64 = keys.map_or(Ok(WINDOWS * KEYS_IN_A_WINDOW), str::parse).map_err(io::Error::other)?;
    let memory = memory.unwrap_or(MEMORY);
    let in_a_window = (keys / WINDOWS).max(1);
    let flags = vec!["--state-memory".to_owned(), memory.to_owned()];
    let mut host = Host::with(HostOptions { flags, ..HostOptions::default() });
    let fields =
        json!([{"name": "ts_ms", "type": "int64"}, {"name": "user", "type": "string"}, {"name": "amount", "type": "int64"}]);
    let seen = json!({"fields": fields, "time": {"field": "ts_ms", "unit": "ms"}, "key": ["user"], "partitions": 2});
    host.put("/v1/streams/seen", &seen).expect(201);
    host.apply("open", PIPELINE).expect(201);
    let url = host.url();
    let mut connection = Connection::open(&url)?;
    let begin = Instant::now();
    let row = |n: u64| {
        let (window, key) = (n / in_a_window, n % in_a_window);
        format!("{{\"ts_ms\":{},\"user\":\"user-{key:08}\",\"amount\":{}}}\n", BASE_MS + window * MINUTE_MS + n % 60_000, n % 997)
    };
    let total = in_a_window * WINDOWS;
    let mut pauses = Pauses::default();
    for first in (0..total).step_by(ROWS_IN_A_BODY as usize) {
        let body: String = (first..total.min(first + ROWS_IN_A_BODY)).map(row).collect();
        post(&mut connection, &door("seen"), "application/x-ndjson", body.as_bytes())?;
        pauses.look(&host);
    }
    eventually("every row is taken", PATIENCE, || {
        pauses.look(&host);
        sum(&host, "rows_in") == total
    });
    let taken = begin.elapsed();
    let process = host.process_id().to_string();
    let resident = Measured { url: &url, process: &process }.memory_bytes()?;
    let (accounted, on_disk) = (sum(&host, "state_bytes"), sum(&host, "state_entries_on_disk"));
    let written = metric(&host, "tidemill_task_checkpoint_bytes_total");
    let mib = |bytes: u64| bytes >> 20;
    println!("{total} keys in {WINDOWS} open windows, {memory} for state, taken in {:.0} s", taken.as_secs_f64());
    println!(
        "| entries on disk alone | state in memory MiB | resident MiB | checkpoint pause ms, longest | p99 | bytes a changed key |"
    );
    println!("|---|---|---|---|---|---|");
    println!(
        "| {on_disk} | {} | {} | {:.1} | {:.1} | {:.0} |",
        mib(accounted),
        mib(resident),
        pauses.at(1.0),
        pauses.at(0.99),
        written as f64 / total as f64
    );

    host.kill();
    let begin = Instant::now();
    host.launch();
    let url = host.url();
    let mut connection = Connection::open(&url)?;
    // Rows that close a window, in each partition.
    let mut close = |window: u64| {
        let time = BASE_MS + OPEN_MS + (window + 1) * MINUTE_MS;
        let rows: String = (0..64).map(|key| format!("{{\"ts_ms\":{time},\"user\":\"user-{key:08}\",\"amount\":0}}\n")).collect();
        post(&mut connection, &door("seen"), "application/x-ndjson", rows.as_bytes())
    };
    close(0)?;
    eventually("a window closes", PATIENCE, || !host.get("/v1/streams/closed/events?limit=1").body.is_empty());
    let answered = begin.elapsed();
    println!("\n| killed to first window s | GiB of state | s a GiB |\n|---|---|---|");
    let gib = written as f64 / f64::from(1 << 30);
    println!("| {:.2} | {gib:.2} | {:.2} |", answered.as_secs_f64(), answered.as_secs_f64() / gib);

    let begin = Instant::now();
    for window in 1..WINDOWS {
        close(window)?;
    }
    eventually("every window closes", PATIENCE, || sum(&host, "rows_out") >= total);
    let closed = begin.elapsed();
    std::thread::sleep(QUIET);
    let process = host.process_id().to_string();
    let resident = Measured { url: &url, process: &process }.memory_bytes()?;
    println!("\n| closing all s | entries then | state in memory MiB | resident MiB |\n|---|---|---|---|");
    println!("| {:.0} | {} | {} | {} |", closed.as_secs_f64(), entries(&host), mib(sum(&host, "state_bytes")), mib(resident));
    Ok(())
}

/// How long each checkpoint held rows back, as far as it was seen.
#[derive(Default)]
struct Pauses {
    /// By task and checkpoint, µs.
    seen: BTreeMap<(u64, u64), u64>,
}

impl Pauses {
    fn look(&mut self, host: &Host) {
        for task in tasks(host) {
            let number = |name: &str| task.get(name).and_then(Value::as_u64).unwrap_or(0);
            self.seen.insert((number("partition"), number("checkpoint")), number("checkpoint_pause_us"));
        }
    }

    /// The longest of this share of them, ms.
    fn at(&self, share: f64) -> f64 {
        let mut pauses: Vec<u64> = self.seen.values().copied().collect();
        pauses.sort_unstable();
        let place = ((pauses.len() as f64 * share).ceil() as usize).saturating_sub(1);
        pauses.get(place).copied().unwrap_or(0) as f64 / 1e3
    }
}

fn tasks(host: &Host) -> Vec<Value> {
    let status: Value = serde_json::from_str(&host.get("/v1/pipelines/open/status").expect(200).body).unwrap_or_default();
    status.get("tasks").and_then(Value::as_array).cloned().unwrap_or_default()
}

/// A number of each task of the pipeline, in all.
fn sum(host: &Host, member: &str) -> u64 {
    tasks(host).iter().filter_map(|task| task.get(member)?.as_u64()).sum()
}

/// Entries of state.
fn entries(host: &Host) -> u64 {
    let steps = |task: &Value| task.get("steps").and_then(Value::as_array).cloned().unwrap_or_default();
    tasks(host).iter().flat_map(steps).filter_map(|step| step.get("keys")?.as_u64()).sum()
}

fn metric(host: &Host, name: &str) -> u64 {
    let metrics = host.get("/metrics").expect(200).body;
    let values = metrics.lines().filter_map(|line| line.strip_prefix(name)?.trim().parse::<f64>().ok());
    values.sum::<f64>() as u64
}

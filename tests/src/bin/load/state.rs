//! Ten million keys in windows that are all open, in less memory than they need: what their state takes, how long checkpoints hold rows back,
//! what one writes when few of the keys changed, how long a host that is killed then takes until a window closes, and what is left when all have
//! closed.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};
use std::{fs, io};

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
/// One key in so many changes once more.
const CHANGED_PART: u64 = 1_000;
const WRITTEN: &str = "tidemill_task_checkpoint_bytes_total";
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
    let total = in_a_window * WINDOWS;
    let mut pauses = Pauses::default();
    let mut send = |rows: &mut dyn Iterator<Item = u64>| {
        let body: String = rows.map(|n| row(n, in_a_window)).collect();
        post(&mut connection, &door("seen"), "application/x-ndjson", body.as_bytes())
    };
    for first in (0..total).step_by(ROWS_IN_A_BODY as usize) {
        send(&mut (first..total.min(first + ROWS_IN_A_BODY)))?;
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
    let mib = |bytes: u64| bytes >> 20;
    println!("{total} keys in {WINDOWS} open windows, {memory} for state, taken in {:.0} s", taken.as_secs_f64());
    println!("| entries on disk alone | state in memory MiB | resident MiB | checkpoints | pause ms, longest | p99 |");
    println!("|---|---|---|---|---|---|");
    println!(
        "| {on_disk} | {} | {} | {} | {:.1} | {:.1} |",
        mib(accounted),
        mib(resident),
        pauses.seen.len(),
        pauses.at(1.0),
        pauses.at(0.99),
    );

    // Each task stops behind a checkpoint of all it has: what a second one writes is what changed since.
    pause(&host);
    let written = metric(&host, WRITTEN);
    host.ask("POST", "/v1/pipelines/open/resume", None, b"").expect(200);
    let few = total / CHANGED_PART;
    send(&mut (0..few).map(|n| n * CHANGED_PART))?;
    eventually("the changed keys are taken", PATIENCE, || sum(&host, "rows_in") == total + few);
    pause(&host);
    let rewritten = metric(&host, WRITTEN) - written;
    host.ask("POST", "/v1/pipelines/open/resume", None, b"").expect(200);
    println!("\n| keys | bytes written a key | keys that changed then | bytes written a changed key |\n|---|---|---|---|");
    println!("| {total} | {:.0} | {few} | {:.0} |", written as f64 / total as f64, rewritten as f64 / few as f64);

    host.kill();
    let begin = Instant::now();
    host.launch();
    let serves = begin.elapsed();
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
    println!(
        "\n| killed to serving s | to the first window s | GiB of entries | of the store's folder | s a GiB of the folder |"
    );
    println!("|---|---|---|---|---|");
    let gib = |bytes: u64| bytes as f64 / f64::from(1 << 30);
    let folder = gib(bytes_in(&host.data().join("state"))?);
    let (serves, answered) = (serves.as_secs_f64(), answered.as_secs_f64());
    println!("| {serves:.2} | {answered:.2} | {:.2} | {folder:.2} | {:.2} |", gib(written), answered / folder);

    let begin = Instant::now();
    for window in 1..WINDOWS {
        close(window)?;
    }
    // Each window of the first rows, and all but the last of those that closed them.
    eventually("every window closes", PATIENCE, || sum(&host, "rows_out") >= total);
    let closed = begin.elapsed();
    std::thread::sleep(QUIET);
    let process = host.process_id().to_string();
    let resident = Measured { url: &url, process: &process }.memory_bytes()?;
    println!("\n| closing all s | entries then | state in memory MiB | resident MiB |\n|---|---|---|---|");
    println!("| {:.0} | {} | {} | {} |", closed.as_secs_f64(), entries(&host), mib(sum(&host, "state_bytes")), mib(resident));
    Ok(())
}

/// The n-th row: a key of a window.
fn row(n: u64, in_a_window: u64) -> String {
    let (window, key) = (n / in_a_window, n % in_a_window);
    format!("{{\"ts_ms\":{},\"user\":\"user-{key:08}\",\"amount\":{}}}\n", BASE_MS + window * MINUTE_MS + n % 60_000, n % 997)
}

fn pause(host: &Host) {
    host.ask("POST", "/v1/pipelines/open/pause", None, b"").expect(200);
    eventually("its tasks have stopped", PATIENCE, || status(host)["state"] == "paused");
}

/// What the files of a folder hold.
fn bytes_in(folder: &Path) -> io::Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let about = entry.metadata()?;
        bytes += if about.is_dir() { bytes_in(&entry.path())? } else { about.len() };
    }
    Ok(bytes)
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

fn status(host: &Host) -> Value {
    serde_json::from_str(&host.get("/v1/pipelines/open/status").expect(200).body).unwrap_or_default()
}

fn tasks(host: &Host) -> Vec<Value> {
    status(host).get("tasks").and_then(Value::as_array).cloned().unwrap_or_default()
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

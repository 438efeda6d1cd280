//! Ten million keys in windows that are all open: what their state takes, how long a checkpoint holds rows back, and how long a host that is
//! killed then takes until a window closes.

use std::io;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tidemill_tests::{Connection, Host, eventually};

use crate::events::{door, post};
use crate::measured::Measured;

/// Windows of a minute, all open at once, and keys in each.
const WINDOWS: u64 = 100;
const KEYS_IN_A_WINDOW: u64 = 100_000;
const ROWS_IN_A_BODY: u64 = 20_000;
const BASE_MS: u64 = 1_700_000_040_000;
const MINUTE_MS: u64 = 60_000;
/// Rows may be so late: no window closes before the end.
const OPEN_MS: u64 = 3 * 60 * MINUTE_MS;
const PATIENCE: Duration = Duration::from_secs(600);
const PIPELINE: &str = "pipeline: open\nfrom: {stream: seen, out_of_orderness: 3h}\ntime: {bound: off}\nsteps:\n  - window: {tumbling: 1m, \
     by: [user], select: {n: count(*), total: sum(amount)}}\nto:\n  - stream: closed\n";

/// Starts a host of its own, since it kills it. `keys`: in all, unless ten million.
pub(crate) fn state(keys: Option<&str>) -> io::Result<()> {
    let keys: u64 = keys.map_or(Ok(WINDOWS * KEYS_IN_A_WINDOW), str::parse).map_err(io::Error::other)?;
    let in_a_window = (keys / WINDOWS).max(1);
    let mut host = Host::start();
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
    let (total, mut pause_us) = (in_a_window * WINDOWS, 0);
    for first in (0..total).step_by(ROWS_IN_A_BODY as usize) {
        let body: String = (first..total.min(first + ROWS_IN_A_BODY)).map(row).collect();
        post(&mut connection, &door("seen"), "application/x-ndjson", body.as_bytes())?;
        pause_us = pause_us.max(of_tasks(&host, "checkpoint_pause_us").into_iter().max().unwrap_or(0));
    }
    eventually("every row is taken", PATIENCE, || of_tasks(&host, "rows_in").iter().sum::<u64>() == total);
    let taken = begin.elapsed();
    pause_us = pause_us.max(of_tasks(&host, "checkpoint_pause_us").into_iter().max().unwrap_or(0));
    let process = host.process_id().to_string();
    let resident = Measured { url: &url, process: &process }.memory_bytes()?;
    let accounted: u64 = of_tasks(&host, "state_bytes").iter().sum();
    let mib = |bytes: u64| bytes >> 20;

    host.kill();
    let begin = Instant::now();
    host.launch();
    let url = host.url();
    let mut connection = Connection::open(&url)?;
    // One row that closes the first window, in each partition.
    let closing: String = (0..64)
        .map(|key| format!("{{\"ts_ms\":{},\"user\":\"user-{key:08}\",\"amount\":0}}\n", BASE_MS + OPEN_MS + MINUTE_MS))
        .collect();
    post(&mut connection, &door("seen"), "application/x-ndjson", closing.as_bytes())?;
    eventually("a window closes", PATIENCE, || !host.get("/v1/streams/closed/events?limit=1").body.is_empty());
    let answered = begin.elapsed();
    println!("{total} keys in {WINDOWS} open windows, taken in {:.0} s", taken.as_secs_f64());
    println!(
        "| state accounted MiB | resident MiB | longest checkpoint pause ms | killed to first window s | s per GiB of state |\n|---|---|---|---|---|"
    );
    println!(
        "| {} | {} | {:.1} | {:.2} | {:.2} |",
        mib(accounted),
        mib(resident),
        pause_us as f64 / 1e3,
        answered.as_secs_f64(),
        answered.as_secs_f64() / (accounted as f64 / f64::from(1 << 30))
    );
    Ok(())
}

/// A number of each task of the pipeline.
fn of_tasks(host: &Host, member: &str) -> Vec<u64> {
    let status: Value = serde_json::from_str(&host.get("/v1/pipelines/open/status").expect(200).body).unwrap_or_default();
    let tasks = status.get("tasks").and_then(Value::as_array).cloned().unwrap_or_default();
    tasks.iter().filter_map(|task| task.get(member)?.as_u64()).collect()
}

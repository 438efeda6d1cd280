//! Components that are cheap to send and dear to compile, uploaded while events come in: the host's memory stays where it was, events
//! are acknowledged all the while, the uploader is told why, and no compiler is left behind.

use std::fs;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::json;
use tidemill_runtime::testing::{bombs, threshold_rule};
use tidemill_tests::{Answer, Connection, Host, eventually, request_within};

/// What the host may take for itself while bombs are uploaded: bodies, what checking them needs, and the load's own rows.
const GROWTH_BYTES_MAX: u64 = 64 << 20;
/// A busy machine gives a compiler its seconds of CPU time slowly.
const PATIENCE: Duration = Duration::from_secs(600);
/// Fewer would mean that somebody waited for the compiler.
const ACKNOWLEDGED_MIN: u64 = 100;

fn push(url: &str, name: &str, wasm: &[u8]) -> Result<Answer, String> {
    let url = format!("{url}/v1/components/{name}/versions/1.0.0");
    request_within(PATIENCE, "PUT", &url, Some("application/wasm"), wasm).map_err(|error| error.to_string())
}

/// A number of `/proc/PID/status`, in bytes.
fn memory(process: u32, line: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).expect("a process");
    let value = status.lines().find_map(|found| found.strip_prefix(line)?.split_whitespace().next()?.parse::<u64>().ok());
    value.unwrap_or_else(|| panic!("no {line} in {status}")) << 10
}

/// Processes that the host started.
fn children(process: u32) -> Vec<u32> {
    let tasks = fs::read_dir(format!("/proc/{process}/task")).into_iter().flatten().flatten();
    let children = tasks.filter_map(|task| fs::read_to_string(task.path().join("children")).ok());
    children.flat_map(|line| line.split_whitespace().filter_map(|id| id.parse().ok()).collect::<Vec<_>>()).collect()
}

fn alive(process: u32) -> bool {
    // One that has ended and was not waited for yet has no memory left.
    fs::read_to_string(format!("/proc/{process}/status")).is_ok_and(|status| status.contains("VmSize"))
}

/// Says stop, also when a test fails: a thread that goes on would keep it from ending.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Single events, each waited for, until `stop`.
fn send(url: &str, acknowledged: &AtomicU64, stop: &AtomicBool) {
    let mut connection = Connection::open(url).expect("a connection");
    while !stop.load(Ordering::Relaxed) {
        let event = json!({"amount": acknowledged.load(Ordering::Relaxed)}).to_string();
        let (status, answer) =
            connection.post("/v1/streams/payments/events", "application/json", event.as_bytes()).expect("an answer");
        assert_eq!(status, 200, "{}", String::from_utf8_lossy(answer));
        acknowledged.fetch_add(1, Ordering::Relaxed);
        thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn bombs_are_refused_with_a_reason_and_neither_memory_nor_acknowledgements_move() {
    let host = Host::start();
    host.put("/v1/streams/payments", &json!({"fields": [{"name": "amount", "type": "float64"}]})).expect(201);
    // What the bomb is, whether it passes the shape check, and what the uploader reads.
    let bombs = [
        ("nested-loops", bombs::nested_loops(10_000), false, "loops inside loops of one function"),
        ("flat-blocks", bombs::flat_blocks(1, 30_000), false, "blocks of one function"),
        ("many-functions", bombs::many_functions(100_000), false, "functions: it has"),
        ("straight-line", bombs::straight_line(1, 60_000), false, "bytes of one function"),
        ("all-alive", bombs::all_alive(2, 20_000), true, "s of CPU time"),
        ("many-locals", bombs::many_locals(40, 3_900, 2_000), true, "MiB of memory"),
    ];
    assert!(bombs[0].1.len() < 80 << 10, "{} bytes", bombs[0].1.len());
    let (acknowledged, stop) = (AtomicU64::new(0), AtomicBool::new(false));
    let process = host.process_id();
    thread::scope(|scope| {
        let (host, url) = (&host, host.url());
        let stopping = Stop(&stop);
        let sending = scope.spawn({
            let url = url.clone();
            let (acknowledged, stop) = (&acknowledged, &stop);
            move || send(&url, acknowledged, stop)
        });
        push(&url, "warm", &threshold_rule()).expect("an answer").expect(201);
        eventually("events are acknowledged", PATIENCE, || acknowledged.load(Ordering::Relaxed) > ACKNOWLEDGED_MIN);
        // From here on the peak counts anew.
        fs::write(format!("/proc/{process}/clear_refs"), "5").expect("the peak is forgotten");
        let before = memory(process, "VmRSS:");
        for (name, wasm, compiled, reason) in &bombs {
            let acknowledged_before = acknowledged.load(Ordering::Relaxed);
            let refused = push(&url, name, wasm).expect("an answer").expect(422);
            assert!(refused.body.contains(reason), "{name}: {}", refused.body);
            let meanwhile = acknowledged.load(Ordering::Relaxed) - acknowledged_before;
            if *compiled {
                assert!(meanwhile > ACKNOWLEDGED_MIN, "{name}: {meanwhile} events were acknowledged while it was compiled");
                assert!(refused.body.contains("make its largest functions smaller"), "{name}: {}", refused.body);
            }
            let peak = memory(process, "VmHWM:");
            let grown = peak.saturating_sub(before);
            assert!(grown < GROWTH_BYTES_MAX, "{name}: the host grew by {grown} bytes, from {before}");
            println!("{name}: {} bytes, {meanwhile} acknowledged meanwhile, the host's peak is {grown} bytes up", wasm.len());
        }
        assert_eq!(children(process), Vec::<u32>::new(), "no compiler is left");
        drop(stopping);
        sending.join().expect("the load");
        // It still compiles, and what was acknowledged is there.
        let other = tidemill_runtime::testing::counter_rule();
        push(&url, "after", &other).expect("an answer").expect(201);
        assert_eq!(host.rows("payments").len() as u64, acknowledged.load(Ordering::Relaxed));
    });
}

#[test]
fn a_tenants_uploads_wait_in_a_short_line_and_a_compiler_dies_with_its_host() {
    let mut host = Host::start();
    let bomb = bombs::all_alive(2, 20_000);
    let (url, process) = (host.url(), host.process_id());
    let refused = AtomicU64::new(0);
    thread::scope(|scope| {
        // One is compiled, two wait, one is told to come again; the others hear nothing, because the host dies.
        for name in ["a", "b", "c", "d"] {
            let (url, bomb, refused) = (&url, &bomb, &refused);
            scope.spawn(move || {
                if let Ok(answer) = push(url, name, bomb) {
                    assert_eq!(answer.expect(429).json()["type"], "urn:tidemill:problem:too-many");
                    refused.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        eventually("one is refused, one is compiled", PATIENCE, || {
            refused.load(Ordering::Relaxed) == 1 && children(process).len() == 1
        });
        let compilers = children(process);
        host.kill();
        eventually("the compiler is gone", PATIENCE, || !compilers.iter().any(|compiler| alive(*compiler)));
    });
    assert_eq!(refused.load(Ordering::Relaxed), 1);
}

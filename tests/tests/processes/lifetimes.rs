//! What lives for a time in the tables of a process, by event time and by the host's clock: what rows see over kills, and that it is really gone
//! afterwards, from memory and from the store.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};
use tidemill_tests::{Host, eventually};

const VISITS: &str = r#"{"fields": [{"name": "at", "type": "timestamp", "nullable": false}, {"name": "who", "type": "string", "nullable": false},
    {"name": "page", "type": "string", "nullable": false}], "time": {"field": "at"}, "key": ["who"], "partitions": 1}"#;
const PIPELINE: &str = "from: {stream: visits, out_of_orderness: 0s, idle: off}\ntime: {bound: off}\nsteps:\n- process: test-visits@1\n  by: [who]\n  ttl: 20s\nto: [{stream: seen}]\n";
// Lives of the entries of a table, and of the state row.
const TABLE_S: i64 = 10;
const STATE_S: i64 = 20;

fn visit(second: i64, who: &str, page: &str) -> Value {
    let time = format!("2026-01-01T{:02}:{:02}:{:02}Z", second / 3600, second / 60 % 60, second % 60);
    json!({"at": time, "who": who, "page": page})
}

fn host() -> Host {
    let host = Host::start();
    host.push_guest("test-visits", "1.0.0").expect(201);
    host.put("/v1/streams/visits", &serde_json::from_str(VISITS).expect("a definition")).expect(201);
    host.apply("visits", PIPELINE).expect(201);
    host
}

/// Keys that the step keeps, and bytes that its state takes.
fn kept(host: &Host) -> (u64, u64) {
    let status = host.get("/v1/pipelines/visits/status").expect(200).json();
    let sum = |name: &str, of: &Value| of.as_array().map_or(0, |all| all.iter().filter_map(|one| one[name].as_u64()).sum());
    (sum("keys", &status["steps"]), sum("state_bytes", &status["tasks"]))
}

/// Keys and bytes that all checkpoints of the store hold for the pipeline, after one was made.
fn stored(host: &Host, name: &str) -> (u64, u64) {
    let made = host.ask(
        "POST",
        "/v1/pipelines/visits/checkpoints",
        Some("application/json"),
        json!({"name": name}).to_string().as_bytes(),
    );
    let made = made.expect_success().json();
    (made["keys"].as_u64().expect("a number"), made["bytes"].as_u64().expect("a number"))
}

#[test]
fn what_rows_see_is_over_when_its_time_is_whatever_is_killed_between() {
    let mut host = host();
    let mut dice = 5u64;
    let mut next = |sides: i64| {
        dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (dice >> 33) as i64 % sides
    };
    let (mut second, mut rows) = (0, Vec::new());
    for _ in 0..600 {
        second += next(5);
        rows.push((second, format!("w{}", next(4)), format!("p{}", next(3))));
    }
    // One row after the other: a row at t sees what was written before t - ttl has passed.
    let (mut entries, mut states) = (BTreeMap::new(), BTreeMap::new());
    let mut expected = Vec::new();
    for (second, who, page) in &rows {
        let alive = |last: &mut (i64, i64), ttl: i64| {
            *last = (if *second >= last.1 { 1 } else { last.0 + 1 }, last.1.max(second + ttl));
            last.0
        };
        let recent = alive(entries.entry((who, page)).or_insert((0, i64::MIN)), TABLE_S);
        let all = alive(states.entry(who).or_insert((0, i64::MIN)), STATE_S);
        expected.push(format!("{who} {page} {recent} {all}"));
    }
    for (round, part) in rows.chunks(67).enumerate() {
        host.send("visits", &part.iter().map(|(second, who, page)| visit(*second, who, page)).collect()).expect(200);
        if round % 3 == 2 {
            eventually("some of it", Duration::from_secs(60), || host.rows("seen").len() > round * 67);
        }
        host.kill();
        host.launch();
    }
    let seen: Vec<String> = host
        .wait_rows("seen", expected.len())
        .iter()
        .map(|row| format!("{} {} {} {}", row["who"], row["page"], row["recent"], row["all"]).replace('"', ""))
        .collect();
    assert_eq!(seen, expected);
    let status = host.get("/v1/pipelines/visits/status").expect(200).json();
    assert_eq!((&status["state"], &status["divergences"]), (&json!("running"), &json!([])), "{status}");
}

#[test]
fn what_is_over_is_gone_from_memory_and_from_the_store() {
    const MANY: i64 = 20_000;
    let mut host = host();
    let of_many = |n: i64| visit(0, &format!("w{}", n % 100), &format!("p{n}"));
    for part in (0..MANY).collect::<Vec<_>>().chunks(5_000) {
        host.send("visits", &part.iter().map(|n| of_many(*n)).collect()).expect(200);
    }
    host.wait_rows("seen", MANY as usize);
    let (keys, bytes) = kept(&host);
    let (all_keys, all_bytes) = stored(&host, "full");
    assert!(keys >= MANY as u64 && all_keys >= MANY as u64, "{keys} kept, {all_keys} stored");
    host.kill();
    host.launch();
    // An hour later: all of it is over. What lives by the host's clock is over a second after it was written.
    std::thread::sleep(Duration::from_millis(1_100));
    host.send("visits", &json!([visit(3_600, "new", "p")])).expect(200);
    let row = host.wait_rows("seen", MANY as usize + 1).remove(MANY as usize);
    assert_eq!((&row["recent"], &row["just_now"], &row["all"]), (&json!(1), &json!(1), &json!(1)), "{row}");
    // A state row and two entries of the last visit.
    eventually("memory to be free", Duration::from_secs(60), || kept(&host).0 <= 3);
    let (left_keys, left_bytes) = stored(&host, "empty");
    assert!(left_keys <= 10 && left_bytes < all_bytes / 100, "{left_keys} keys, {left_bytes} of {all_bytes} bytes");
    assert!(kept(&host).1 < bytes / 100, "{} of {bytes} bytes", kept(&host).1);
    host.kill();
    host.launch();
    host.send("visits", &json!([visit(3_601, "new", "p"), visit(3_601, "w1", "p1")])).expect(200);
    let rows = host.wait_rows("seen", MANY as usize + 3);
    let told = |row: &Value| (row["recent"].clone(), row["all"].clone());
    assert_eq!(told(&rows[MANY as usize + 1]), (json!(2), json!(2)), "what lives is there");
    assert_eq!(told(&rows[MANY as usize + 2]), (json!(1), json!(1)), "what is over is not");
}

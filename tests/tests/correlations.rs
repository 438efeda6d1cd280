//! Correlation asked of a real host: three streams, a key that none of them is placed by, kills, and every match once with its evidence.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};
use tidemill_oracle::random::Chance;
use tidemill_tests::{Cycles, Host, eventually};

/// How often the host is killed, unless `TIDEMILL_CRASH_CYCLES` says.
const KILLS: u32 = 5;
const PATIENCE: Duration = Duration::from_secs(120);
const STREAMS: [&str; 3] = ["logins", "resets", "exports"];
const WITHIN_MS: i64 = 60_000;

const TOGETHER: &str = "
from: [logins, resets, exports]
time: {bound: off}
steps:
  - origin: {stream: source, partition: partition, offset: offset}
  - correlate:
      by: [user]
      within: 60s
      streams: [logins, resets, exports]
      distinct: {of: ip, at_least: 2}
      evidence: [no, source, partition, offset]
to: [{stream: suspicions}]
";

fn host() -> Host {
    let host = Host::start();
    for stream in STREAMS {
        let fields = json!([
            {"name": "no", "type": "int64"}, {"name": "user", "type": "string"}, {"name": "ip", "type": "int64"},
            {"name": "ts_ms", "type": "int64", "nullable": false},
        ]);
        let stream_of = json!({"fields": fields, "time": {"field": "ts_ms", "unit": "ms"}, "key": ["no"], "partitions": 2});
        host.put(&format!("/v1/streams/{stream}"), &stream_of).expect(201);
    }
    host
}

/// Stream, user, address, time.
type Event = (usize, u64, u64, i64);

/// Numbers of the events of each match, by user.
fn expected(events: &[Event]) -> BTreeMap<String, Vec<Vec<usize>>> {
    let mut found: BTreeMap<String, Vec<Vec<usize>>> = BTreeMap::new();
    let mut of: BTreeMap<u64, (Vec<usize>, i64)> = BTreeMap::new();
    for (no, (_, user, _, time)) in events.iter().enumerate() {
        let (held, quiet_until) = of.entry(*user).or_insert((Vec::new(), i64::MIN));
        if time < quiet_until {
            continue;
        }
        held.retain(|before| time - events[*before].3 < WITHIN_MS);
        held.push(no);
        let streams = (0..STREAMS.len()).all(|stream| held.iter().any(|no| events[*no].0 == stream));
        let is_distinct = held.iter().any(|no| events[*no].2 != events[held[0]].2);
        if streams && is_distinct {
            *quiet_until = events[held[0]].3 + WITHIN_MS;
            found.entry(format!("user-{user}")).or_default().push(std::mem::take(held));
        }
    }
    found
}

#[test]
fn events_of_three_streams_are_told_once_with_their_places_through_kills() {
    let mut host = host();
    host.apply("together", TOGETHER).expect(201);
    let mut chance = Chance::new(31);
    let kills = Cycles::wanted(KILLS) as usize;
    let (mut events, mut time): (Vec<Event>, i64) = (Vec::new(), 1_700_000_000_000);
    for kill in 0..=kills {
        let mut lines = [const { String::new() }; 3];
        for _ in 0..300 {
            // No two at one time: their order would be the host's to choose.
            time += 1 + chance.below(1_500) as i64;
            let event = (chance.below(3) as usize, chance.below(25), chance.below(3), time);
            let row = json!({"no": events.len(), "user": format!("user-{}", event.1), "ip": event.2, "ts_ms": time});
            lines[event.0].push_str(&format!("{row}\n"));
            events.push(event);
        }
        for (stream, lines) in STREAMS.iter().zip(&lines) {
            host.send_as(stream, "application/x-ndjson", lines.as_bytes()).expect(200);
        }
        if kill < kills {
            std::thread::sleep(Duration::from_millis(chance.below(120)));
            host.kill();
            host.launch();
        }
    }
    let expected = expected(&events);
    let matches: usize = expected.values().map(Vec::len).sum();
    assert!(matches > 20, "{matches} matches are too few to tell");
    // In every partition of every stream time goes on, so that nobody waits for it.
    for stream in STREAMS {
        let far = |no: usize| json!({"no": 1_000_000 + no, "user": "nobody", "ip": 1, "ts_ms": time + 3_600_000});
        host.send(stream, &Value::Array((0..40).map(far).collect())).expect(200);
    }
    let status = || host.get("/v1/pipelines/together/status").expect(200).json();
    eventually("every row is taken", PATIENCE, || status()["rows_in"] == json!(events.len() + 120));
    // Those far away are together as well, in the end.
    host.wait_rows("suspicions", matches);
    host.ask("POST", "/v1/pipelines/together/pause", None, b"").expect_success();
    eventually("it is paused", PATIENCE, || status()["state"] == "paused");
    let mut found: BTreeMap<String, Vec<Vec<usize>>> = BTreeMap::new();
    let mut ids = Vec::new();
    for row in host.rows("suspicions").iter().filter(|row| row["user"] != "nobody") {
        ids.push(row["match_id"].as_str().expect("an id").to_owned());
        let evidence = row["evidence"].as_array().expect("evidence");
        let mut numbers = Vec::new();
        for event in evidence {
            let no = event["no"].as_u64().expect("a number");
            numbers.push(no as usize);
            assert_eq!(event["source"], STREAMS[events[no as usize].0], "{row}");
            // Where it says that the event is, it is.
            let place = format!(
                "/v1/streams/{}/events?partition={}&from={}&limit=1",
                event["source"].as_str().expect("a stream"),
                event["partition"],
                event["offset"]
            );
            if ids.len() <= 5 {
                assert_eq!(host.get(&place).expect(200).json()["no"], no, "{row}");
            }
        }
        found.entry(row["user"].as_str().expect("a user").to_owned()).or_default().push(numbers);
    }
    let count = ids.len();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), count, "an id for each");
    assert_eq!(found, expected);
}

//! Patterns asked of a real host: every vector and the queries over a real sshd log, kills under a pattern, what is refused, and what is told of
//! one while it runs.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};
use tidemill_oracle::random::Chance;
use tidemill_oracle::{Patterns, Verdict};
use tidemill_tests::{Cycles, Host, eventually, shared_data};

/// How often the host is killed, unless `TIDEMILL_CRASH_CYCLES` says.
const KILLS: u32 = 5;
const PATIENCE: Duration = Duration::from_secs(120);

fn passed(files: &[PathBuf], count: usize) {
    let patterns = Patterns::open(files).expect("the data");
    assert_eq!(patterns.count(), count);
    let verdicts = patterns.run(&Host::start(), |_| ());
    let why = |verdict: &Verdict| verdict.outcome.as_ref().err().map(|why| format!("FAILED {}: {why}", verdict.id));
    let failed: Vec<String> = verdicts.iter().filter_map(why).collect();
    assert!(failed.is_empty(), "{} of {count} failed\n{}", failed.len(), failed.join("\n"));
}

#[test]
fn every_vector_gives_its_matches_and_every_refused_one_is_refused() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/cep");
    let files = ["vectors_dev.jsonl", "vectors_random_dev.jsonl", "invalid_patterns_dev.jsonl"];
    passed(&files.map(|file| folder.join(file)), 241);
}

#[test]
fn five_queries_over_a_real_sshd_log_give_their_matches_and_timeouts() {
    let Some(folder) = shared_data("openssh", "five_queries_over_a_real_sshd_log_give_their_matches_and_timeouts") else {
        return;
    };
    passed(&[folder.join("cep_queries.json")], 5);
}

fn payments(host: &Host) {
    let fields = json!([
        {"name": "no", "type": "int64"},
        {"name": "user", "type": "string"},
        {"name": "declined", "type": "bool"},
        {"name": "ts_ms", "type": "int64", "nullable": false},
    ]);
    let stream = json!({"fields": fields, "time": {"field": "ts_ms", "unit": "ms"}, "key": ["user"], "partitions": 2});
    host.put("/v1/streams/payments", &stream).expect(201);
}

const THREE_DECLINED: &str = "
from: payments
time: {bound: off}
steps:
  - pattern:
      by: [user]
      stages: [{begin: refusal, where: declined, times: 3}]
      within: 60s
      skip: past_last
      select: {first: first(refusal.no), last: last(refusal.no), n: count(*)}
to: [{stream: alerts}]
";

/// Three declined payments that follow each other within a minute; the next ones begin behind the third.
fn three_declined(rows: &[(usize, usize, bool, i64)]) -> Vec<(String, usize, usize)> {
    let mut found = Vec::new();
    for user in 0..20 {
        let declined: Vec<_> = rows.iter().filter(|(_, of, declined, _)| *of == user && *declined).collect();
        let mut at = 0;
        while let Some([first, _, last]) = declined.get(at..at + 3) {
            let is_match = last.3 - first.3 < 60_000;
            if is_match {
                found.push((format!("user-{user}"), first.0, last.0));
            }
            at += if is_match { 3 } else { 1 };
        }
    }
    found.sort();
    found
}

#[test]
fn matches_survive_kills_and_are_told_once() {
    let mut host = Host::start();
    payments(&host);
    host.apply("three", THREE_DECLINED).expect(201);
    let mut chance = Chance::new(11);
    let kills = Cycles::wanted(KILLS) as usize;
    let (mut rows, mut time) = (Vec::new(), 1_700_000_000_000_i64);
    for kill in 0..=kills {
        let mut lines = String::new();
        for _ in 0..600 {
            time += chance.below(2_000) as i64;
            let row = (rows.len(), chance.below(20) as usize, chance.below(4) == 0, time);
            lines.push_str(&format!(
                "{}\n",
                json!({"no": row.0, "user": format!("user-{}", row.1), "declined": row.2, "ts_ms": row.3})
            ));
            rows.push(row);
        }
        host.send_as("payments", "application/x-ndjson", lines.as_bytes()).expect(200);
        if kill < kills {
            std::thread::sleep(Duration::from_millis(chance.below(120)));
            host.kill();
            host.launch();
        }
    }
    let expected = three_declined(&rows);
    assert!(expected.len() > 20, "{} matches are too few to tell", expected.len());
    let status = || host.get("/v1/pipelines/three/status").expect(200).json();
    eventually("every row is taken", PATIENCE, || status()["rows_in"] == json!(rows.len()));
    host.wait_rows("alerts", expected.len());
    host.ask("POST", "/v1/pipelines/three/pause", None, b"").expect_success();
    eventually("it is paused", PATIENCE, || status()["state"] == "paused");
    let number = |row: &Value, name: &str| row[name].as_u64().expect("a number") as usize;
    let of = |row: &Value| (row["user"].as_str().expect("a user").to_owned(), number(row, "first"), number(row, "last"));
    let mut found: Vec<_> = host.rows("alerts").iter().map(of).collect();
    found.sort();
    assert_eq!(found, expected);
}

const MANY: &str = "
from: payments
time: {bound: off}
steps:
  - patterns:
      - {name: three, stages: [{begin: refusal, where: declined, times: 3}], within: 60s, skip: past_last, select: {first: first(refusal.no), last: last(refusal.no)}}
      - {name: OTHER, stages: [{begin: a, where: declined}, {next: b, where: not declined}], within: 60s, select: {b: b.no}}
    by: [user]
to: [{stream: alerts}]
";

/// Two patterns as one step: each finds what it finds alone; a kill and another pattern in the other's place leave the first one's partial matches.
#[test]
fn patterns_of_a_list_keep_what_they_hold_when_others_come_and_go() {
    let mut host = Host::start();
    payments(&host);
    host.apply("many", &MANY.replace("OTHER", "mended")).expect(201);
    let row = |no: usize, declined: bool, at: i64| {
        format!(
            "{{\"no\": {no}, \"user\": \"user-1\", \"declined\": {declined}, \"ts_ms\": {}}}\n",
            1_700_000_000_000 + at * 1000
        )
    };
    let found = |host: &Host, pattern: &str| -> Vec<Value> {
        host.rows("alerts").into_iter().filter(|row| row["pattern"] == pattern).collect()
    };
    host.send_as("payments", "application/x-ndjson", (row(0, true, 0) + &row(1, false, 1) + &row(2, true, 2)).as_bytes())
        .expect(200);
    eventually("the second pattern matches", PATIENCE, || found(&host, "mended").len() == 1);
    assert_eq!(found(&host, "mended")[0]["b"], 1);
    assert_eq!(found(&host, "mended")[0]["first"], Value::Null);
    let status = host.get("/v1/pipelines/many/status").json();
    assert_eq!(status["steps"][0]["pattern"]["matches"], 1, "{status}");
    let held = host.get("/v1/pipelines/many/steps/0/state?key=user-1").json();
    assert!(held.to_string().contains("\"pattern\":\"three\""), "{held}");

    host.kill();
    host.launch();
    host.apply("many", &MANY.replace("OTHER", "renamed")).expect(200);
    host.send_as("payments", "application/x-ndjson", (row(3, true, 3) + &row(4, false, 4)).as_bytes()).expect(200);
    eventually("the first pattern matches, over the kill and the change", PATIENCE, || !found(&host, "three").is_empty());
    assert_eq!((&found(&host, "three")[0]["first"], &found(&host, "three")[0]["last"]), (&json!(0), &json!(3)));
    eventually("the new one matches what began behind it", PATIENCE, || !found(&host, "renamed").is_empty());
    assert_eq!(found(&host, "renamed")[0]["b"], 4);
    assert_eq!(found(&host, "mended").len(), 1, "the one that is gone matches no more");

    let twice = MANY.replace("OTHER", "three");
    let refused = host.apply("twice", &twice).expect(422).json();
    assert!(refused.to_string().contains("`three` is another pattern of the list"), "{refused}");
}

#[test]
fn a_match_leaves_at_once_and_status_and_metrics_tell_what_is_open() {
    let host = Host::start();
    payments(&host);
    host.apply("three", THREE_DECLINED).expect(201);
    let declined = |no: u64, user: &str, ts_ms: u64| json!({"no": no, "user": user, "declined": true, "ts_ms": ts_ms});
    let rows = [declined(0, "ann", 1_000), declined(1, "ann", 2_000), declined(2, "bob", 2_500), declined(3, "ann", 3_000)];
    host.send("payments", &json!(rows)).expect(200);
    // Nothing comes after the third: the match does not wait for it.
    let alerts = host.wait_rows("alerts", 1);
    let told = ["user", "first", "last", "n", "match_start", "match_end"].map(|name| alerts[0][name].clone());
    let (start, end) = ("1970-01-01T00:00:01.000000Z", "1970-01-01T00:00:03.000000Z");
    assert_eq!(told, [json!("ann"), json!(0), json!(3), json!(3), json!(start), json!(end)], "{alerts:?}");
    let pattern = || host.get("/v1/pipelines/three/status").expect(200).json()["steps"][0]["pattern"].clone();
    eventually("bob's run is open", PATIENCE, || {
        (pattern()["runs"].clone(), pattern()["matches"].clone()) == (json!(1), json!(1))
    });
    let metrics = host.get("/metrics").expect(200).body;
    let runs = metrics.lines().find(|line| line.starts_with("tidemill_pattern_runs{")).expect("a gauge of open runs");
    assert!(runs.ends_with(" 1") && runs.contains("steps[0].pattern"), "{runs}");
}

#[test]
fn a_plan_tells_the_pattern_and_warns_of_what_grows() {
    let host = Host::start();
    payments(&host);
    let text = "from: payments\nsteps:\n- pattern:\n    by: [user]\n    stages:\n    - {begin: a, where: declined}\n    - {followed_by: b, where: no > 2 * a.no and count(b) < 3, times: 1.., inner: combinations}\n    - {next: [{begin: c, where: not declined}, {next: d}], times: 2, optional: true}\n    skip: {last: b}\nto: [stdout]\n";
    let dry = host.ask("PUT", "/v1/pipelines/p?dry_run=true", Some("application/yaml"), text.as_bytes()).expect(200).json();
    let step = &dry["plan"]["steps"][0];
    assert_eq!(
        step["pattern"],
        "begin a where declined, followed_by b {1..} combinations where no > 2 * a.no and count(b) < 3, next [begin c where not declined, next d] {2} optional, skip to last b",
        "{dry}"
    );
    let warnings: Vec<&str> = step["warnings"].as_array().expect("warnings").iter().filter_map(Value::as_str).collect();
    assert!(warnings.iter().any(|warning| warning.contains("`b` follows every combination")), "{warnings:?}");
    assert!(warnings.iter().any(|warning| warning.contains("without `within`")), "{warnings:?}");
}

#[test]
fn what_means_nothing_is_refused_where_it_stands() {
    let host = Host::start();
    payments(&host);
    let check = |pattern: &str, place: &str, error: &str| {
        let text = format!("from: payments\nsteps:\n- pattern: {pattern}\nto: [stdout]\n");
        let answer = host.apply("refused", &text).expect(422).json();
        let faults = answer["faults"].as_array().expect("faults");
        let is_it = |fault: &&Value| {
            let says = |member: &str, part: &str| fault[member].as_str().is_some_and(|text| text.contains(part));
            says("path", place)
                && says("error", error)
                && fault["line"] == 3
                && !fault["remedy"].as_str().unwrap_or("").is_empty()
        };
        assert!(faults.iter().any(|fault| is_it(&fault)), "{pattern}: {answer}");
    };
    check("{stages: [{begin: a, where: declined}, {next: a}]}", "stages[1]", "two stages are called `a`");
    check("{stages: [{begin: a}, {not_followed_by: b}]}", "stages[1]", "needs `within`");
    check("{stages: [{begin: a}, {not_next: b, times: 2}, {next: c}]}", "stages[1]", "a negation and takes no quantifier");
    check("{stages: [{not_next: b}, {next: c}]}", "stages[0]", "comes first");
    check("{stages: [{begin: a, optional: true}, {not_next: b}, {next: c}]}", "stages[1]", "may not follow an optional stage");
    check("{stages: [{begin: a, until: declined}]}", "stages[0]", "`until` of `a` needs a loop");
    check("{stages: [{begin: a, greedy: true}, {next: b}]}", "stages[0]", "greedy and reluctant are for loops");
    check("{stages: [{begin: a, times: 1.., greedy: true, inner: combinations}, {next: b}]}", "stages[0]", "cannot be greedy");
    check("{stages: [{begin: a, times: 3..2}]}", "stages[0]", "at least 3 times and at most 2");
    check("{stages: [{begin: a}], skip: {first: z}}", "pattern", "no stage `z`");
    check("{stages: [{begin: a}, {next: b}], within: 1s, within_last: 2s}", "pattern", "larger than that for the whole match");
    check("{stages: [{begin: user}]}", "stages[0]", "called as a column");
    check("{stages: [{begin: a, where: no + 1}]}", "stages[0].where", "not true or false");
    check("{stages: [{begin: a}, {next: b, where: a > 1}]}", "stages[1].where", "`a` is a stage");
    check("{stages: [{begin: a}, {next: b, where: median(a.no) > 1}]}", "stages[1].where", "is not kept for conditions");
    check("{stages: [{begin: a}], select: {x: no}}", "select.x", "outside of an aggregate");
    check("{stages: [{next: a}]}", "stages[0]", "follows nothing");
    check("{stages: []}", "stages", "there is no stage");
    check("{stages: [{begin: a, tims: 2}]}", "stages[0].tims", "there is no `tims`");
}

#[test]
fn a_row_that_begins_one_match_too_many_is_a_dead_letter_and_can_be_sent_again() {
    let host = Host::start();
    payments(&host);
    let text = "
from: payments
steps:
  - pattern:
      by: [user]
      stages: [{begin: refusal, where: declined}, {followed_by: paid, where: not declined}]
      order: arrival
      runs_max: 2
      too_many: dead_letter
      select: {no: first(refusal.no)}
to: [{stream: alerts}]
";
    host.apply("two", text).expect(201);
    let payment = |no: u64, declined: bool| json!({"no": no, "user": "ann", "declined": declined, "ts_ms": 1_000 * no});
    host.send("payments", &json!([payment(0, true), payment(1, true), payment(2, true), payment(3, false)])).expect(200);
    let numbers = |rows: &[Value]| rows.iter().filter_map(|row| row["no"].as_u64()).collect::<Vec<_>>();
    assert_eq!(numbers(&host.wait_rows("alerts", 2)), [0, 1]);
    let letters = host.wait_rows("two.dead-letters", 1);
    assert_eq!(
        (&letters[0]["reason"], &letters[0]["event"]["no"]),
        (&json!("too_many_partial_matches"), &json!(2)),
        "{letters:?}"
    );
    assert_eq!(letters[0]["step"], "steps[0].pattern");
    let status = || host.get("/v1/pipelines/two/status").expect(200).json()["steps"][0]["pattern"].clone();
    eventually("it is counted", PATIENCE, || status()["buried"] == 1);
    let metrics = host.get("/metrics").expect(200).body;
    let counted = metrics.lines().find(|line| line.starts_with("tidemill_pattern_dead_letters_total{")).expect("a counter");
    assert!(counted.ends_with(" 1"), "{counted}");
    // There is room again.
    let replay = json!({"query": {"reason": "too_many_partial_matches"}});
    host.ask("POST", "/v1/pipelines/two/dead-letters/replay", Some("application/json"), replay.to_string().as_bytes())
        .expect(200);
    eventually("the row has begun a match", PATIENCE, || status()["runs"] == 1);
    host.send("payments", &json!([payment(4, false)])).expect(200);
    assert_eq!(numbers(&host.wait_rows("alerts", 3)), [0, 1, 2]);
}

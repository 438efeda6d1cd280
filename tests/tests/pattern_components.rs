//! Patterns as components, asked of a real host: the same as YAML, as a component and as `MATCH_RECOGNIZE` over a real sshd log, poison in every
//! call, and what is told of one that is refused.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use serde_json::{Value, json};
use tidemill_oracle::random::Chance;
use tidemill_tests::{Host, eventually, guest, shared_data, tidemill_command};

const PATIENCE: Duration = Duration::from_secs(120);

/// The log's events that have an address, in a stream of one partition; the answers that the data's README counts.
fn logins(test: &str) -> Option<(Host, Value)> {
    let folder = shared_data("openssh", test)?;
    let host = Host::start();
    let fields = json!([
        {"name": "seq", "type": "int64"}, {"name": "ts_ms", "type": "int64", "nullable": false}, {"name": "type", "type": "string"},
        {"name": "user", "type": "string"}, {"name": "src_ip", "type": "string", "nullable": false},
    ]);
    let time = json!({"field": "ts_ms", "unit": "ms"});
    host.put("/v1/streams/logins", &json!({"fields": fields, "time": time, "unknown": "drop", "partitions": 1})).expect(201);
    let events = fs::read_to_string(folder.join("openssh.ndjson")).expect("the events");
    let keyed: String = events.lines().filter(|line| line.contains("\"src_ip\"")).map(|line| format!("{line}\n")).collect();
    host.send_as("logins", "application/x-ndjson", keyed.as_bytes()).expect(200);
    let expected = fs::read_to_string(folder.join("expected.json")).expect("the answers");
    Some((host, serde_json::from_str(&expected).expect("JSON")))
}

/// Applies a pipeline that ends, and waits for it. Its rows.
fn once(host: &Host, name: &str, steps: &str) -> Vec<Value> {
    let text =
        format!("from: {{stream: logins, out_of_orderness: 0s}}\nrun: once\nsteps:\n{steps}\nto: [{{stream: {name}-out}}]\n");
    host.apply(name, &text).expect(201);
    eventually("the pipeline ends", PATIENCE, || host.get(&format!("/v1/pipelines/{name}/status")).json()["state"] == "finished");
    assert!(host.get(&format!("/v1/streams/{name}.dead-letters/events")).rows_if_there().is_empty(), "{name}");
    host.rows(&format!("{name}-out"))
}

/// What matches have in common in all three forms: the address, when it began and ended.
fn spans(rows: &[Value]) -> Vec<String> {
    let span = |row: &Value| format!("{} {} {}", row["src_ip"], row["match_start"], row["match_end"]);
    let mut spans: Vec<String> = rows.iter().map(span).collect();
    spans.sort();
    spans
}

fn seqs(rows: &[Value], expected: &Value) {
    let triple = |row: &Value| [&row["a"], &row["b"], &row["c"]].map(|seq| seq.as_i64().expect("a number"));
    let mut found: Vec<[i64; 3]> = rows.iter().map(triple).collect();
    let triple = |seqs: &Value| std::array::from_fn(|at| seqs[at].as_i64().expect("a number"));
    let mut wanted: Vec<[i64; 3]> = expected.as_array().expect("triples").iter().map(triple).collect();
    found.sort_unstable();
    wanted.sort_unstable();
    assert_eq!(found, wanted);
}

const IN_YAML: &str = "
- pattern:
    by: [src_ip]
    stages:
      - {begin: a, where: type = 'auth_failed'}
      - {followed_by: b, where: type = 'auth_failed'}
      - {followed_by: c, where: type = 'auth_failed'}
    within: 60s
    skip: SKIP
    select: {a: a.seq, b: b.seq, c: c.seq}";

const IN_SQL: &str = "
- where: type = 'auth_failed'
- match_recognize: |
    partition by src_ip order by ts_ms
    measures A.seq as a, B.seq as b, C.seq as c, A.ts_ms as match_start, C.ts_ms as match_end
    after match skip SKIP
    pattern (A B C) within interval '60' second
    define A as true";

#[test]
fn brute_force_is_the_same_in_yaml_in_sql_and_as_a_component() {
    let Some((host, expected)) = logins("brute_force_is_the_same_in_yaml_in_sql_and_as_a_component") else { return };
    host.push_guest("std-failed-logins", "1.0.0").expect(201);
    let in_yaml = once(&host, "in-yaml", &IN_YAML.replace("SKIP", "past_last"));
    seqs(&in_yaml, &expected["brute_force"]["seqs"]);
    seqs(&once(&host, "in-sql", &IN_SQL.replace("SKIP", "past last row")), &expected["brute_force"]["seqs"]);

    let component = once(&host, "component", "- pattern: std-failed-logins@1\n  by: [src_ip]");
    assert_eq!(component.len(), 165);
    assert_eq!(spans(&component), spans(&in_yaml));
    assert!(component.iter().all(|row| row["label"] == "brute_force" && row["failures"] == 3), "{:?}", component[0]);

    let every = expected["brute_force_every_start"]
        .as_array()
        .map_or_else(|| expected["brute_force_every_start"]["matches"].clone(), |all| json!(all.len()));
    assert_eq!(every, 480);
    assert_eq!(once(&host, "every-yaml", &IN_YAML.replace("SKIP", "none")).len(), 480);
    assert_eq!(once(&host, "every-sql", &IN_SQL.replace("SKIP", "to next row")).len(), 480);
}

#[test]
fn a_condition_over_the_run_is_the_same_in_yaml_and_as_a_component() {
    let Some((host, _)) = logins("a_condition_over_the_run_is_the_same_in_yaml_and_as_a_component") else { return };
    host.push_guest("std-failed-logins", "1.0.0").expect(201);
    let in_yaml = once(
        &host,
        "in-yaml",
        "- pattern:\n    by: [src_ip]\n    stages: [{begin: failed, times: 3, where: type = 'auth_failed' and (last(failed.user) is null or user <> last(failed.user))}]\n    within: 60s\n    skip: past_last\n    select: {last_user: last(failed.user), failures: count(failed)}",
    );
    let component = once(&host, "component", "- pattern: std-failed-logins@1\n  by: [src_ip]\n  config: {users: true}");
    let told = |rows: &[Value]| {
        let mut told: Vec<String> = rows
            .iter()
            .map(|row| format!("{} {} {}", spans(std::slice::from_ref(row))[0], row["last_user"], row["failures"]))
            .collect();
        told.sort();
        told
    };
    assert!(in_yaml.len() > 20, "{}", in_yaml.len());
    assert_eq!(told(&component), told(&in_yaml));
    let status = host.get("/v1/pipelines/component/status").json();
    assert!(status.to_string().contains("\"matches\""), "{status}");
}

fn orders(host: &Host) {
    let fields = json!([
        {"name": "no", "type": "int64"}, {"name": "key", "type": "string"}, {"name": "do", "type": "string"}, {"name": "n", "type": "int64"},
    ]);
    host.put("/v1/streams/orders", &json!({"fields": fields, "partitions": 1})).expect(201);
}

/// Whatever ends a call, in each of the three, ends the row or the match at fault; all others are as if it had not come.
#[test]
fn poison_ends_the_row_or_the_match_at_fault_and_nothing_else() {
    let host = Host::start();
    orders(&host);
    host.push_guest("hostile-pattern", "1.0.0").expect(201);
    host.apply(
        "pairs",
        "from: orders\nsteps:\n- pattern: hostile-pattern@1\n  by: [key]\n  order: arrival\nto: [{stream: found}]\n",
    )
    .expect(201);
    let row = |no: i64, key: &str, what: &str, n: i64| json!({"no": no, "key": key, "do": what, "n": n});
    let rows = json!([
        row(1, "x", "a", 1),
        row(2, "x", "panic", 0),
        row(3, "x", "loop", 0),
        row(4, "x", "b", 21),
        row(5, "x", "b", 22),
        row(6, "x", "b", 0),
        row(7, "y", "a", 31),
        row(8, "y", "b", 0),
        row(9, "z", "a", 32),
        row(10, "z", "b", 0),
        row(11, "w", "a", 33),
        row(12, "w", "b", 0),
        row(13, "w", "a", 5),
        row(14, "w", "b", 0),
    ]);
    host.send("orders", &rows).expect(200);
    let found = host.wait_rows("found", 2);
    let told: BTreeMap<&str, i64> =
        found.iter().map(|row| (row["key"].as_str().expect("a text"), row["first"].as_i64().expect("a number"))).collect();
    assert_eq!(told, BTreeMap::from([("x", 1), ("w", 5)]));
    let letters = host.wait_rows("pairs.dead-letters", 5);
    let mut why: Vec<String> = letters
        .iter()
        .map(|letter| {
            assert!(!letter["event"].to_string().contains("predicate"), "no hidden column shows: {letter}");
            format!("{} {}", letter["reason"].as_str().expect("a text"), letter["event"]["no"])
        })
        .collect();
    why.sort();
    // The last event of a match stands for it.
    assert_eq!(why, ["out_of_fuel 3", "rejected_by_component 10", "trap 2", "trap 4", "trap 8"], "{letters:?}");
}

#[test]
fn what_a_component_describes_is_refused_as_if_it_stood_in_the_pipeline() {
    let host = Host::start();
    orders(&host);
    host.push_guest("hostile-pattern", "1.0.0").expect(201);
    let apply = |step: &str| {
        let refused = host.apply("pairs", &format!("from: orders\nsteps:\n{step}\nto: [{{stream: found}}]\n"));
        refused.expect(422).json()["faults"][0].clone()
    };
    let fault = apply("- pattern: hostile-pattern@1\n  by: [key]\n  config: {nonsense: true}");
    assert_eq!(fault["path"], "steps[0].pattern");
    let error = fault["error"].as_str().expect("a text");
    assert!(error.starts_with("the pattern that `hostile-pattern@1` describes: ") && error.contains("`b`"), "{fault}");
    assert_eq!(apply("- pattern: hostile-pattern@1")["path"], "steps[0].by");
    let fault = apply("- pattern: hostile-pattern@1\n  by: [key]\n  on_failing: pass");
    assert_eq!(fault["path"], "steps[0].on_failing");
    let fault = apply("- rule: hostile-pattern@1");
    assert_eq!(fault["remedy"], "write `- pattern: …`");
}

/// `tidemill test` finds the matches that a host would, and says what a host would refuse.
#[test]
fn a_component_is_tried_on_a_file_without_a_host() {
    let folder = tempfile::tempdir().expect("a folder");
    let (wasm, events) = (folder.path().join("p.wasm"), folder.path().join("events.ndjson"));
    fs::write(&wasm, guest("std-failed-logins")).expect("written");
    let line = |second: u32, ip: &str, kind: &str| {
        format!(
            "{{\"_time\": \"2026-11-21T10:00:{second:02}Z\", \"type\": \"{kind}\", \"user\": \"u{second}\", \"src_ip\": \"{ip}\"}}\n"
        )
    };
    let lines: String = (0..30)
        .map(|second| {
            line(second, if second % 2 == 0 { "a" } else { "b" }, if second % 5 == 0 { "other" } else { "auth_failed" })
        })
        .collect();
    fs::write(&events, lines).expect("written");
    let output =
        tidemill_command().arg("test").arg(&wasm).arg(&events).args(["--by", "src_ip", "--print"]).output().expect("it runs");
    let (out, told) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{out}{told}");
    assert_eq!(out.lines().count(), 8, "{out}");
    let first: Value = serde_json::from_str(out.lines().next().expect("a row")).expect("JSON");
    assert_eq!((&first["src_ip"], &first["failures"], &first["severity"]), (&json!("a"), &json!(3), &json!("warning")));
}

/// The host is killed under the same pattern in three forms: they say the same, each match once, and the one in YAML is held against a model elsewhere
/// (`patterns.rs`).
#[test]
fn kills_do_not_show_in_a_component_nor_in_sql() {
    let mut host = Host::start();
    host.push_guest("std-failed-logins", "1.0.0").expect(201);
    let fields = json!([
        {"name": "ts_ms", "type": "int64", "nullable": false}, {"name": "type", "type": "string"}, {"name": "user", "type": "string"},
        {"name": "src_ip", "type": "string", "nullable": false},
    ]);
    let time = json!({"field": "ts_ms", "unit": "ms"});
    host.put("/v1/streams/logins", &json!({"fields": fields, "time": time, "key": ["src_ip"], "partitions": 2})).expect(201);
    let users = "type = 'auth_failed' and (last(failed.user) is null or user <> last(failed.user))";
    let forms = [
        ("yaml", format!("- pattern: {{by: [src_ip], stages: [{{begin: failed, times: 3, where: \"{users}\"}}], within: 60s, skip: past_last}}")),
        ("component", "- pattern: std-failed-logins@1\n  by: [src_ip]\n  config: {users: true}".to_owned()),
        ("plain-yaml", "- pattern: {by: [src_ip], stages: [{begin: failed, times: 3, where: \"type = 'auth_failed'\"}], within: 60s, skip: past_last}".to_owned()),
        ("plain-component", "- pattern: std-failed-logins@1\n  by: [src_ip]".to_owned()),
        (
            "plain-sql",
            "- where: type = 'auth_failed'\n- match_recognize: |\n    partition by src_ip order by _time measures A._time as match_start, C._time as match_end\n    after match skip past last row pattern (A B C) within interval '60' second define A as true".to_owned(),
        ),
    ];
    for (name, steps) in &forms {
        let text = format!(
            "from: {{stream: logins, out_of_orderness: 0s}}\ntime: {{bound: off}}\nsteps:\n{steps}\nto: [{{stream: {name}-out}}]\n"
        );
        host.apply(name, &text).expect(201);
    }
    let mut chance = Chance::new(23);
    let (mut sent, mut time) = (0, 1_700_000_000_000_i64);
    for kill in 0..5 {
        let mut lines = String::new();
        for _ in 0..400 {
            time += chance.below(2_000) as i64;
            let kind = if chance.below(3) == 0 { "auth_failed" } else { "disconnect" };
            let row = json!({"ts_ms": time, "type": kind, "user": format!("u{}", chance.below(4)), "src_ip": format!("192.0.2.{}", chance.below(15))});
            lines.push_str(&format!("{row}\n"));
            sent += 1;
        }
        host.send_as("logins", "application/x-ndjson", lines.as_bytes()).expect(200);
        if kill < 4 {
            std::thread::sleep(Duration::from_millis(chance.below(150)));
            host.kill();
            host.launch();
        }
    }
    let told: Vec<Vec<String>> = forms
        .iter()
        .map(|(name, _)| {
            let status = || host.get(&format!("/v1/pipelines/{name}/status")).expect(200).json();
            eventually("every row is taken", PATIENCE, || status()["rows_in"] == json!(sent));
            host.ask("POST", &format!("/v1/pipelines/{name}/pause"), None, b"").expect_success();
            eventually("it is paused", PATIENCE, || status()["state"] == "paused");
            assert!(status()["divergences"].as_array().is_none_or(Vec::is_empty), "{name}: {}", status());
            spans(&host.rows(&format!("{name}-out")))
        })
        .collect();
    let [by_users, component, plain, plain_component, plain_sql] = told.as_slice() else { panic!("five forms") };
    assert!(by_users.len() > 20 && plain.len() > by_users.len(), "{} and {}", by_users.len(), plain.len());
    assert_eq!(component, by_users);
    assert_eq!(plain_component, plain);
    assert_eq!(plain_sql, plain);
}

/// Of the queries that the stages answer (`patterns.rs`), those that SQL can say: an absence and a timeout it cannot.
#[test]
fn what_sql_can_say_of_the_five_queries_it_says_alike() {
    let test = "what_sql_can_say_of_the_five_queries_it_says_alike";
    let Some((host, _)) = logins(test) else { return };
    let folder = shared_data("openssh", test).expect("it was just there");
    let queries = fs::read_to_string(folder.join("cep_queries.json")).expect("the queries");
    let queries: Vec<Value> = serde_json::from_str(&queries).expect("JSON");
    let in_sql = [
        (
            "ssh-3-in-60",
            "type = 'auth_failed'",
            "past last row",
            "(A B C) within interval '60' second define A as true",
            "A.seq, B.seq, C.seq",
        ),
        (
            "ssh-burst-until-closed",
            "type in ('auth_failed', 'connection_closed')",
            "past last row",
            "(F G* F+ E) within interval '120' second define F as type = 'auth_failed', G as type = 'connection_closed', E as type = 'connection_closed'",
            "first(F.seq), last(F.seq), E.seq",
        ),
        (
            "ssh-invalid-then-fail-strict",
            "true",
            "to next row",
            "(I F D) define I as type = 'invalid_user', F as type = 'auth_failed', D as type = 'disconnect'",
            "I.seq, F.seq, D.seq",
        ),
        (
            "ssh-root-then-other",
            "type = 'auth_failed'",
            "to next row",
            "(R S* O) within interval '30' second define R as user = 'root', S as user = 'root', O as user <> 'root'",
            "R.seq, R.seq, O.seq",
        ),
    ];
    for (id, condition, skip, pattern, said) in in_sql {
        let columns: Vec<&str> = said.split(", ").collect();
        let steps = format!(
            "- where: {condition}\n- match_recognize: |\n    partition by src_ip order by ts_ms measures {} as a, {} as b, {} as c\n    after match skip {skip} pattern {pattern}",
            columns[0], columns[1], columns[2]
        );
        let query = queries.iter().find(|query| query["id"] == id).expect("a query of that name");
        // The first event of the first stage, the last of the one before the last, and the last of all; with two stages the first one's only event twice.
        let ends = |found: &Value| -> Value {
            let stages = query["pattern"]["stages"].as_array().expect("stages");
            let all: Vec<&Value> =
                stages.iter().filter_map(|stage| found["stages"][stage["name"].as_str()?].as_array()).flatten().collect();
            json!([all[0], all[all.len() - 2], all[all.len() - 1]])
        };
        let expected: Vec<Value> = query["expected"].as_array().expect("matches").iter().map(ends).collect();
        seqs(&once(&host, id, &steps), &json!(expected));
    }
}

/// What a key may hold is the pipeline's to say, whoever says the pattern: the oldest partial matches end, or new ones are not followed, and both are
/// counted.
#[test]
fn bounds_of_a_key_hold_and_are_counted() {
    let host = Host::start();
    orders(&host);
    host.push_guest("hostile-pattern", "1.0.0").expect(201);
    let stages = |a: &str| {
        format!(
            "stages: [{{begin: a, where: \"do = 'a'\"{a}}}, {{followed_by: b, where: \"do = 'b'\"}}], select: {{first: first(a.no), n: count(a)}}"
        )
    };
    let yaml = |a: &str, bound: &str| format!("- pattern: {{by: [key], order: arrival, {}, {bound}}}", stages(a));
    let forms = [
        ("oldest", yaml("", "runs_max: 3"), vec![3, 4, 5], ("ended", 2)),
        ("newest", yaml("", "runs_max: 3, too_many: refuse_new"), vec![1, 2, 3], ("refused", 2)),
        ("events", yaml(", times: 1..", "events_max: 2"), vec![1, 2, 3, 4, 5], ("ended", 4)),
        // It skips past its matches, so that one is left of those that the last row completes.
        (
            "component",
            "- pattern: hostile-pattern@1\n  by: [key]\n  order: arrival\n  runs_max: 3".to_owned(),
            vec![3],
            ("ended", 2),
        ),
        (
            "component-newest",
            "- pattern: hostile-pattern@1\n  by: [key]\n  order: arrival\n  runs_max: 3\n  too_many: refuse_new".to_owned(),
            vec![1],
            ("refused", 2),
        ),
    ];
    for (name, step, ..) in &forms {
        host.apply(name, &format!("from: orders\nsteps:\n{step}\nto: [{{stream: {name}-out}}]\n")).expect(201);
    }
    let rows: Vec<Value> = (1..=5)
        .map(|no| json!({"no": no, "key": "k", "do": "a", "n": no}))
        .chain([json!({"no": 6, "key": "k", "do": "b", "n": 0})])
        .collect();
    host.send("orders", &json!(rows)).expect(200);
    for (name, _, first, (count, counted)) in &forms {
        let found = host.wait_rows(&format!("{name}-out"), first.len());
        let mut of: Vec<i64> = found.iter().map(|row| row["first"].as_i64().expect("a number")).collect();
        of.sort_unstable();
        assert_eq!(of, *first, "{name}: {found:?}");
        let pattern = || host.get(&format!("/v1/pipelines/{name}/status")).json()["steps"][0]["pattern"].clone();
        eventually("what the bound did is counted", PATIENCE, || pattern()[*count] == json!(*counted));
    }
}

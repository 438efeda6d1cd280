//! Why a match was told, asked of a real host: brute force over a real sshd log, in three forms and through kills; what is open of a key; and
//! what is said when the events are gone.

use std::collections::BTreeSet;
use std::fs;
use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};
use tidemill_tests::{Host, eventually, shared_data, tidemill_command};

const PATIENCE: Duration = Duration::from_secs(120);
const KILLS: usize = 3;

const HEAD: &str = "
from: [logins]
time: {bound: off}
steps:
  - where: type = 'auth_failed'
  - origin: {stream: source, partition: partition, offset: offset}
";

const IN_YAML: &str = "
  - pattern:
      by: [src_ip]
      stages: [{begin: fails, where: type = 'auth_failed', times: 3}]
      within: 60s
      skip: past_last
      explain: true
      select: {a: first(fails.seq), c: last(fails.seq)}
";

const IN_A_LIST: &str = "
  - patterns:
      - {name: never, stages: [{begin: a, where: type = 'nothing'}], within: 1s, select: {a: a.seq}}
      - {name: brute, stages: [{begin: fails, where: type = 'auth_failed', times: 3}], within: 60s, skip: past_last, explain: true, select: {a: first(fails.seq), c: last(fails.seq)}}
    by: [src_ip]
";

/// The row of a match has what the component makes of it, and the id.
const AS_COMPONENT: &str = "
  - pattern: std-failed-logins@1
    by: [src_ip]
    explain: true
";

const IN_SQL: &str = "
  - match_recognize: |
      PARTITION BY src_ip ORDER BY _time
      MEASURES A.seq AS a, C.seq AS c
      AFTER MATCH SKIP PAST LAST ROW
      PATTERN (A B C) WITHIN INTERVAL '60' SECOND
      DEFINE A AS true
    explain: true
";

// By another key than that of the stream: rows change their task, and still know where they stand.
const TOGETHER: &str = "
  - correlate:
      by: [user]
      within: 10m
      distinct: {of: src_ip, at_least: 3}
      evidence: [seq]
      explain: true
";

fn stream(host: &Host) {
    let fields = json!([
        {"name": "seq", "type": "int64"}, {"name": "ts_ms", "type": "int64", "nullable": false}, {"name": "type", "type": "string"},
        {"name": "user", "type": "string"}, {"name": "src_ip", "type": "string"},
    ]);
    let time = json!({"field": "ts_ms", "unit": "ms"});
    let logins = json!({"fields": fields, "time": time, "unknown": "drop", "key": ["src_ip"], "partitions": 2});
    host.put("/v1/streams/logins", &logins).expect(201);
}

fn explained(host: &Host, pipeline: &str, row: &Value) -> Value {
    let id = row["match_id"].as_str().expect("an id");
    host.get(&format!("/v1/pipelines/{pipeline}/matches/{id}")).expect(200).json()
}

fn seqs(found: &Value, of: &str) -> Vec<i64> {
    found["events"].as_array().expect("events").iter().map(|event| event[of]["seq"].as_i64().expect("a number")).collect()
}

fn cli(host: &Host, words: &[&str]) -> String {
    let told = tidemill_command().args(words).env("TIDEMILL_HOST", host.url()).stdin(Stdio::null()).output().expect("the binary");
    assert!(told.status.success(), "{words:?}: {}", String::from_utf8_lossy(&told.stderr));
    String::from_utf8(told.stdout).expect("text")
}

#[test]
fn brute_force_is_explained_by_its_id_behind_kills() {
    let Some(folder) = shared_data("openssh", "brute_force_is_explained_by_its_id_behind_kills") else { return };
    let events = fs::read_to_string(folder.join("openssh.ndjson")).expect("the events");
    let expected: Value =
        serde_json::from_str(&fs::read_to_string(folder.join("expected.json")).expect("the answers")).expect("JSON");
    let triple = |seqs: &Value| -> Vec<i64> { seqs.as_array().expect("a triple").iter().filter_map(Value::as_i64).collect() };
    let expected: BTreeSet<Vec<i64>> = expected["brute_force"]["seqs"].as_array().expect("triples").iter().map(triple).collect();

    let mut host = Host::start();
    stream(&host);
    host.push_guest("std-failed-logins", "1.0.0").expect(201);
    let all = [("yaml", IN_YAML), ("sql", IN_SQL), ("list", IN_A_LIST), ("component", AS_COMPONENT), ("together", TOGETHER)];
    for (name, steps) in all {
        host.apply(name, &format!("{HEAD}{steps}to: [{{stream: {name}-out}}]\n")).expect(201);
    }
    let lines: Vec<&str> = events.lines().filter(|line| line.contains("\"src_ip\"")).collect();
    for part in lines.chunks(lines.len() / KILLS) {
        host.send_as("logins", "application/x-ndjson", part.join("\n").as_bytes()).expect(200);
        host.kill();
        host.launch();
    }
    // Time goes on in both partitions, so that nobody waits for it.
    let far = |no: i64| json!({"seq": -no, "ts_ms": 1_600_000_000_000_i64 + no, "type": "auth_failed", "user": format!("u{no}"), "src_ip": format!("10.0.0.{no}")});
    host.send("logins", &Value::Array((0..40).map(far).collect())).expect(200);
    for name in ["yaml", "sql", "list", "component"] {
        let rows = host.wait_rows(&format!("{name}-out"), expected.len());
        assert_eq!(rows.len(), expected.len());
    }
    let status = || host.get("/v1/pipelines/together/status").expect(200).json();
    eventually("every row is taken", PATIENCE, || status()["rows_in"] == json!(lines.len() + 40));
    // What is asked for now was told by hosts that are no more.
    host.kill();
    host.launch();
    for (name, step) in [
        ("yaml", "steps[2].pattern"),
        ("sql", "steps[2].match_recognize"),
        ("list", "steps[2].patterns[brute]"),
        ("component", "steps[2].pattern"),
    ] {
        let rows = host.rows(&format!("{name}-out"));
        let mut found = BTreeSet::new();
        for row in &rows {
            let why = explained(&host, name, row);
            assert_eq!((seqs(&why, "row"), &why["key"]["src_ip"]), (seqs(&why, "event"), &row["src_ip"]), "{why}");
            assert!(why["took_ms"].as_i64().expect("a length") < 60_000 && why["within_ms"] == 60_000, "{why}");
            assert_eq!((why["told_by"].as_str(), why["count"].as_i64()), (Some("event"), Some(3)), "{why}");
            if name != "component" {
                assert_eq!((&why["events"][0]["row"]["seq"], &why["events"][2]["row"]["seq"]), (&row["a"], &row["c"]));
            }
            assert_eq!(why["step"], step, "{why}");
            found.insert(seqs(&why, "row"));
        }
        assert_eq!(found, expected, "{name}");
        // One row for each match, through kills.
        let kept: BTreeSet<String> =
            host.rows(&format!("{name}.matches")).iter().map(|row| row["match_id"].to_string()).collect();
        let told: BTreeSet<String> = rows.iter().map(|row| row["match_id"].to_string()).collect();
        assert_eq!((kept.len(), host.rows(&format!("{name}.matches")).len()), (rows.len(), rows.len()));
        assert_eq!(kept, told, "{name}");
    }
    let gathered = host.rows("together-out");
    assert!(!gathered.is_empty(), "somebody tried a name from three addresses");
    for row in &gathered {
        let why = explained(&host, "together", row);
        assert_eq!(seqs(&why, "row"), seqs(&why, "event"), "{why}");
        let evidence: Vec<i64> =
            row["evidence"].as_array().expect("evidence").iter().filter_map(|event| event["seq"].as_i64()).collect();
        assert_eq!(seqs(&why, "row"), evidence, "{why}");
    }
    for (name, of) in [("list", "steps[2].patterns[brute]"), ("component", "steps[2].pattern")] {
        let id = host.rows(&format!("{name}-out"))[0]["match_id"].as_str().expect("an id").to_owned();
        let shown = cli(&host, &["explain", "match", name, &id]);
        assert!(shown.contains(of) && shown.contains("of 60 s") && shown.contains("\"seq\":"), "{shown}");
    }
    let (row, asked) = (&host.rows("yaml-out")[0], "/v1/pipelines/yaml/matches");
    let id = row["match_id"].as_str().expect("an id");
    let shown = cli(&host, &["explain", "match", "yaml", id]);
    for wanted in
        ["begin fails {3} where type = 'auth_failed', within 1m, skip past_last", "an event let it out", "logins 1:", "of 60 s"]
    {
        assert!(shown.contains(wanted) || wanted == "logins 1:" && shown.contains("logins 0:"), "no `{wanted}` in\n{shown}");
    }
    assert_eq!(host.get(&format!("{asked}/tuesday")).expect(400).json()["type"], "urn:tidemill:problem:bad-parameter");
    let other = format!("{}0", &id[..id.len() - 1]);
    if other != id {
        assert_eq!(host.get(&format!("{asked}/{other}")).expect(404).json()["type"], "urn:tidemill:problem:unknown-match");
    }
    // The evidence is the pipeline's; the events were the stream's.
    for (name, _) in all {
        host.ask("DELETE", &format!("/v1/pipelines/{name}"), None, b"").expect_success();
    }
    host.ask("DELETE", "/v1/streams/logins", None, b"").expect_success();
    let why = host.get(&format!("{asked}/{id}")).expect(200).json();
    assert_eq!(why["events"][0]["gone"], "the stream `logins` was deleted", "{why}");
    assert_eq!(why["events"][0]["row"]["seq"], row["a"], "what the step saw is still known");
}

#[test]
fn what_is_open_of_a_key_says_what_it_waits_for() {
    let host = Host::start();
    stream(&host);
    let steps = "
  - pattern:
      by: [src_ip]
      stages: [{begin: fails, where: type = 'auth_failed', times: 2.., greedy: true}, {followed_by: ok, where: type = 'auth_ok'}, {not_followed_by: out, where: type = 'out'}]
      within: 60s
      timeouts: true
      explain: true
";
    let text = format!("{}{steps}to: [{{stream: out}}]\n", HEAD.replace("type = 'auth_failed'", "seq >= 0"));
    host.apply("open", &text).expect(201);
    let event = |seq: i64, of: &str, at: i64| json!({"seq": seq, "ts_ms": at, "type": of, "user": "ann", "src_ip": "10.0.0.7"});
    let sent = [event(0, "auth_failed", 1_000), event(1, "auth_failed", 3_000), event(2, "auth_ok", 7_500)];
    host.send("logins", &json!(sent)).expect(200);
    let state = || host.get("/v1/pipelines/open/state?key=10.0.0.7").expect(200).json();
    eventually("all three are taken", PATIENCE, || {
        state()["steps"][0]["state"].as_array().is_some_and(|runs| runs.iter().any(|run| run["count"] == 3))
    });
    let held = state();
    let runs = held["steps"][0]["state"].as_array().expect("runs");
    let absent = runs.iter().find(|run| run["count"] == 3).expect("the match that only time makes");
    assert_eq!(
        (&absent["at_end"], &absent["waits_for"], &absent["until"]),
        (&json!("match"), &json!([]), &json!("1970-01-01T00:01:01.000000Z")),
        "{held}"
    );
    let open = runs.iter().find(|run| run["at_end"] == "timeout").expect("one that waits for more");
    assert!(open["waits_for"].as_array().expect("stages").contains(&json!("fails")), "{held}");
    assert_eq!(open["events"][0]["row"]["seq"], 0);
    let shown = cli(&host, &["explain", "key", "open", "10.0.0.7"]);
    for wanted in [
        "waits for nothing but time since 1970-01-01T00:00:07.500000Z until 1970-01-01T00:01:01.000000Z",
        "then it is a match",
        "6.5 s",
    ] {
        assert!(shown.contains(wanted), "no `{wanted}` in\n{shown}");
    }
    let nobody = host.get("/v1/pipelines/open/state?key=nobody").expect(200).json();
    let nothing = "holds nothing of it (rows that wait for their time are not shown)";
    assert_eq!((&nobody["steps"], &nobody["others"][0]["why"]), (&json!([]), &json!(nothing)), "{nobody}");

    // A minute later the clock tells the match, and partial ones of which nothing came.
    let later =
        |no: i64| json!({"seq": 10 + no, "ts_ms": 70_000, "type": "other", "user": "bob", "src_ip": format!("10.0.1.{no}")});
    host.send("logins", &Value::Array((0..20).map(later).collect())).expect(200);
    let rows = host.wait_rows("out", 3);
    let told = rows.iter().find(|row| row["timed_out"] == false).expect("a match");
    let why = explained(&host, "open", told);
    assert_eq!((&why["told_by"], &why["timed_out"], seqs(&why, "row")), (&json!("time"), &json!(false), vec![0, 1, 2]), "{why}");
    assert_eq!(
        (&why["events"][2]["since_first_ms"], &why["events"][2]["since_previous_ms"], &why["events"][2]["stage"]),
        (&json!(6_500), &json!(4_500), &json!("ok"))
    );
    for row in rows.iter().filter(|row| row["timed_out"] == true) {
        assert_eq!(explained(&host, "open", row)["timed_out"], true);
    }
}

#[test]
fn events_without_a_place_cannot_be_explained() {
    let host = Host::start();
    stream(&host);
    let text = "from: logins\nsteps:\n  - pattern: {by: [src_ip], stages: [{begin: a}], explain: true}\nto: [stdout]\n";
    let refused = host.apply("p", text).expect(422).body;
    assert!(refused.contains("no columns say where the events of a match stand"), "{refused}");
    // Rows of a window are no events: what the step saw of them is all there is.
    let text = "from: logins\nsteps:\n  - window: {tumbling: 1m, by: [src_ip], select: {n: count(*)}}\n  - pattern: {by: [src_ip], stages: [{begin: a, where: n > 3}], explain: true}\nto: [{stream: busy}]\n";
    host.apply("p", text).expect(201);
}

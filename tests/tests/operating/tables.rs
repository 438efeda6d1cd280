//! Tables: put, looked up, replaced while rows flow, kept over kills and backups.

use std::process::{Output, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use tidemill_tests::{Host, HostOptions, eventually, tidemill_command};

const PATIENCE: Duration = Duration::from_secs(30);

const PLACES: &str = "key,place,zip\na,Aachen,052062\nb,Berlin,010115\n";

const PIPELINE: &str = "\
from: visits
steps:
  - lookup: {table: places, on: key = key, take: [place as town], missing: null}
to:
  - stream: placed
";

/// The same, with state behind the lookup: what was counted where shows which version was looked up.
const COUNTING: &str = "\
from: visits
steps:
  - lookup: {table: places, on: key = key, take: [place as town], missing: drop}
  - rule: counter@1
    by: [town]
    keep: all
to:
  - stream: counted
";

fn command(host: &Host, words: &[&str]) -> Output {
    tidemill_command().args(words).env("TIDEMILL_HOST", host.url()).stdin(Stdio::null()).output().expect("the binary")
}

#[track_caller]
fn run(host: &Host, words: &[&str]) -> String {
    let output = command(host, words);
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

fn put(host: &Host, table: &str, content_type: &str, body: &str) -> tidemill_tests::Answer {
    host.ask("PUT", &format!("/v1/tables/{table}"), Some(content_type), body.as_bytes())
}

fn prepared() -> Host {
    let host = Host::start();
    let fields = json!([{"name": "key", "type": "string"}, {"name": "amount", "type": "int64"}]);
    host.put("/v1/streams/visits", &json!({"fields": fields})).expect(201);
    put(&host, "places", "text/csv", PLACES).expect(201);
    host
}

fn send(host: &Host, keys: &[&str]) {
    let rows: Vec<Value> = keys.iter().map(|key| json!({"key": key, "amount": 1})).collect();
    host.send("visits", &Value::Array(rows)).expect(200);
}

fn towns(rows: &[Value]) -> Vec<&str> {
    rows.iter().map(|row| row["town"].as_str().unwrap_or("-")).collect()
}

#[test]
fn rows_are_looked_up_and_a_replaced_table_counts_from_the_next_batch() {
    let host = prepared();
    let shown = host.get("/v1/tables/places").expect(200).json();
    assert_eq!((&shown["version"], &shown["rows"]), (&json!(1), &json!(2)), "{shown}");
    let types: Vec<&str> =
        shown["fields"].as_array().expect("fields").iter().filter_map(|field| field["type"].as_str()).collect();
    assert_eq!(types, ["string", "string", "string"], "a number with a zero in front is a text");

    let planned = host.ask("PUT", "/v1/pipelines/placing?dry_run=true", Some("application/yaml"), PIPELINE.as_bytes());
    let step = &planned.expect(200).json()["plan"]["steps"][0];
    assert_eq!((&step["table"], &step["version"]), (&json!("places"), &json!(1)), "{step}");

    host.apply("placing", PIPELINE).expect(201);
    send(&host, &["a", "b", "c"]);
    assert_eq!(towns(&host.wait_rows("placed", 3)), ["Aachen", "Berlin", "-"]);

    // The same rows again are no new version; others are.
    assert_eq!(put(&host, "places", "text/csv", PLACES).expect(200).json()["changed"], json!(false));
    let body = "{\"key\":\"a\",\"place\":\"Augsburg\"}\n{\"key\":\"c\",\"place\":\"Celle\"}\n";
    let replaced = put(&host, "places", "application/x-ndjson", body).expect(200).json();
    assert_eq!((&replaced["changed"], &replaced["version"]), (&json!(true), &json!(2)), "{replaced}");
    send(&host, &["a", "b", "c"]);
    assert_eq!(towns(&host.wait_rows("placed", 6))[3..], ["Augsburg", "-", "Celle"]);

    let status = host.get("/v1/pipelines/placing/status").expect(200).json();
    let lookup = &status["steps"][0]["lookup"];
    assert_eq!(*lookup, json!({"table": "places", "version": 2, "rows": 6, "missed": 2}), "{status}");
}

#[test]
fn what_a_pipeline_looks_up_stays() {
    let host = prepared();
    host.apply("placing", PIPELINE).expect(201);
    let refused = host.ask("DELETE", "/v1/tables/places", None, b"").expect(409).json();
    assert_eq!(refused["pipelines"], json!(["placing"]));
    for body in ["key,plaice\na,b\n", "key,place\na,1\n", "place\nBonn\n"] {
        let refused = put(&host, "places", "text/csv", body).expect(409).json();
        assert_eq!(refused["pipelines"], json!(["placing"]), "{refused}");
    }
    assert_eq!(host.get("/v1/tables/places").expect(200).json()["version"], json!(1));
    host.ask("DELETE", "/v1/pipelines/placing", None, b"").expect_success();
    host.ask("DELETE", "/v1/tables/places", None, b"").expect(204);
    host.get("/v1/tables/places").expect(404);
    // A number of a version is never another table's.
    assert_eq!(put(&host, "places", "text/csv", PLACES).expect(201).json()["version"], json!(2));

    let refused = host.apply("placing", &PIPELINE.replace("table: places", "table: palces")).expect(422).json();
    assert!(refused.to_string().contains("did you mean `places`?"), "{refused}");
    let refused = host.apply("placing", &PIPELINE.replace("key = key", "amount = key")).expect(422).json();
    assert!(refused.to_string().contains("`amount` is int64 and the table's `key` is string"), "{refused}");
    let refused = host.apply("placing", &PIPELINE.replace("place as", "plaice as")).expect(422).json();
    assert!(refused.to_string().contains("did you mean `place`?"), "{refused}");
}

#[test]
fn rows_that_cannot_be_taken_refuse_the_table_by_line() {
    let host = prepared();
    let bad = host
        .ask("PUT", "/v1/tables/places?key=key", Some("text/csv"), b"key,place\na,x\n\"b\nb\",y\n,z\na,w\n")
        .expect(422)
        .json();
    let lines: Vec<i64> = bad["faults"].as_array().expect("faults").iter().filter_map(|fault| fault["line"].as_i64()).collect();
    assert_eq!(lines, [5, 6], "{bad}");
    host.ask("PUT", "/v1/tables/places", Some("text/plain"), b"a").expect(415);
    host.ask("PUT", "/v1/tables/Places", Some("text/csv"), b"a\n1\n").expect(400);
    host.ask("PUT", "/v1/tables/places?keys=a", Some("text/csv"), b"a\n1\n").expect(400);
    put(&host, "places", "application/vnd.apache.parquet", "PAR1 and nothing else").expect(422);
    assert_eq!(host.get("/v1/tables/places").expect(200).json()["version"], json!(1), "nothing was taken");
}

#[test]
fn networks_and_domains_are_table_keys() {
    let host = Host::start();
    let fields = json!([{"name": "ip", "type": "string"}, {"name": "host", "type": "string"}]);
    host.put("/v1/streams/requests", &json!({"fields": fields})).expect(201);
    put(&host, "networks", "text/csv", "network,owner\n10.0.0.0/8,us\n10.1.0.0/16,lab\n2001:db8::/32,docs\n").expect(201);
    put(&host, "domains", "text/csv", "domain,list\nexample.com,known\nevil.example.com,bad\n").expect(201);
    let text = "\
from: requests
steps:
  - lookup: {table: networks, on: ip in network, take: [owner]}
  - lookup: {table: domains, on: host under domain, take: [list]}
to:
  - stream: enriched
";
    host.apply("enriching", text).expect(201);
    let row = |ip: &str, name: &str| json!({"ip": ip, "host": name});
    let rows = [
        row("10.1.2.3", "www.example.com"),
        row("10.2.2.3", "A.EVIL.example.com."),
        row("2001:db8::1", "example.org"),
        row("none", "com"),
    ];
    host.send("requests", &json!(rows)).expect(200);
    let found: Vec<(Value, Value)> =
        host.wait_rows("enriched", 4).iter().map(|row| (row["owner"].clone(), row["list"].clone())).collect();
    let expected = [("lab", "known"), ("us", "bad"), ("docs", "-"), ("-", "-")];
    let value = |text: &str| if text == "-" { Value::Null } else { json!(text) };
    assert_eq!(found, expected.map(|(owner, list)| (value(owner), value(list))));
    // What is no network would find nothing, silently.
    let refused = put(&host, "networks", "text/csv", "network,owner\n10.0.0.0/8,us\n10.0.0.300,lab\n").expect(409).json();
    assert!(refused["detail"].as_str().is_some_and(|text| text.contains("row 2") && text.contains("10.0.0.300")), "{refused}");
}

#[test]
fn after_a_kill_a_batch_looks_up_what_it_looked_up_before() {
    let mut host = prepared();
    host.push("counter", "1.0.0", &tidemill_tests::guest("test-count-per-key")).expect(201);
    host.apply("counting", COUNTING).expect(201);
    let mut sent = 0;
    for round in 0..6 {
        let town = format!("key,place\na,Town {}\nb,Berlin\n", round % 4);
        put(&host, "places", "text/csv", &town).expect(200);
        send(&host, &["a", "b", "c", "a"]);
        sent += 3;
        host.wait_rows("counted", sent);
        if round % 2 == 1 {
            let before = host.rows("counted");
            host.kill();
            host.launch();
            let status = || host.get("/v1/pipelines/counting/status").expect(200).json();
            eventually("it replays", PATIENCE, || status()["tasks"][0]["replayed_rows"].as_u64().is_some_and(|rows| rows > 0));
            assert_eq!(status()["divergences"], json!([]), "{}", status());
            assert_eq!(host.rows("counted"), before);
        }
    }
    let rows = host.rows("counted");
    let of = |town: &str| rows.iter().filter(|row| row["town"] == json!(town)).count();
    assert_eq!((of("Town 0"), of("Town 1"), of("Town 2"), of("Town 3"), of("Berlin")), (4, 4, 2, 2, 6), "{rows:?}");
}

#[test]
fn a_backup_has_the_tables() {
    let host = prepared();
    host.apply("placing", PIPELINE).expect(201);
    send(&host, &["a"]);
    host.wait_rows("placed", 1);
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("host.tar");
    run(&host, &["backup", file.to_str().expect("UTF-8")]);
    let restored = Host::prepared(HostOptions::default(), |data| {
        let restored = tidemill_command().args(["restore"]).arg(&file).arg("--data").arg(data).stdin(Stdio::null()).output();
        let restored = restored.expect("the binary");
        assert!(restored.status.success(), "{}", String::from_utf8_lossy(&restored.stderr));
    });
    assert_eq!(restored.get("/v1/tables/places/rows").expect(200).rows(), host.get("/v1/tables/places/rows").expect(200).rows());
    send(&restored, &["b"]);
    assert_eq!(towns(&restored.wait_rows("placed", 2)), ["Aachen", "Berlin"]);
}

#[test]
fn the_command_line_puts_and_shows_tables() {
    let host = Host::start();
    let folder = tempfile::tempdir().expect("a folder");
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).expect("a file");
        path.display().to_string()
    };
    assert!(run(&host, &["table", "list"]).contains("no tables"));
    let csv = write("places.csv", "key,zip\na,1\n");
    let schema =
        write("places.json", r#"[{"name": "key", "type": "string", "nullable": false}, {"name": "zip", "type": "string"}]"#);
    let told = run(&host, &["table", "put", "places", &csv, "--key", "key", "--schema", &schema]);
    assert!(told.contains("put places") && told.contains("zip string"), "{told}");
    assert!(run(&host, &["table", "list"]).contains("1 rows"));
    assert_eq!(run(&host, &["table", "rows", "places"]), "{\"key\":\"a\",\"zip\":\"1\"}\n");
    let shown: Value = serde_json::from_str(&run(&host, &["table", "show", "places", "--json"])).expect("JSON");
    assert_eq!(shown["key"], json!(["key"]));
    let wrong = command(&host, &["table", "put", "places", &write("places.txt", "x")]);
    assert_eq!(wrong.status.code(), Some(2));
    let bad = command(&host, &["table", "put", "places", &write("bad.csv", "key\na\na\n"), "--key", "key"]);
    assert_eq!(bad.status.code(), Some(4));
    assert!(String::from_utf8_lossy(&bad.stderr).contains("line 3, "), "{}", String::from_utf8_lossy(&bad.stderr));
    run(&host, &["table", "delete", "places", "--yes"]);
    assert!(run(&host, &["table", "list"]).contains("no tables"));
}

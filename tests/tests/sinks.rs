//! Files, webhooks and the standard output of a whole host: what they promise over kills, and that a slow one holds up nobody else.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::Field;
use serde_json::{Value, json};
use tidemill_tests::judging::{STREAM, prepare};
use tidemill_tests::{Cycles, Host, Receiver, Reply, eventually};

const PATIENCE: Duration = Duration::from_secs(60);

/// Kills under load. The crash tests make many more; here every file and request is looked at.
const KILLS: u32 = 8;

/// `producer-run-n` of each row, and how often it is there.
type Counted = BTreeMap<String, u32>;

fn count(ids: impl Iterator<Item = String>) -> Counted {
    let mut counted = Counted::new();
    for id in ids {
        *counted.entry(id).or_default() += 1;
    }
    counted
}

fn id(row: &Value) -> String {
    format!("{}-{}-{}", row["producer"], row["run"], row["n"])
}

/// Finished files of a folder, by name.
fn files(host: &Host, folder: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(host.data().join("files").join(folder)).expect("a folder");
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension != "part"));
    files.sort();
    files
}

fn ndjson_ids(path: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(path).expect("a file");
    text.lines().map(|line| id(&serde_json::from_str(line).expect("a row"))).collect()
}

fn parquet_ids(path: &Path) -> Vec<String> {
    let reader = SerializedFileReader::try_from(path).expect("is Parquet");
    let ids = reader.get_row_iter(None).expect("rows").map(|row| {
        let row = row.expect("a row");
        let value = |name: &str| match row.get_column_iter().find(|(column, _)| *column == name).expect("a column").1 {
            Field::Long(number) => *number,
            other => panic!("{name}: {other}"),
        };
        format!("{}-{}-{}", value("producer"), value("run"), value("n"))
    });
    ids.collect()
}

/// No two files of a partition overlap, and none is missing.
#[track_caller]
fn check_names(files: &[PathBuf]) {
    let mut ends: BTreeMap<String, u64> = BTreeMap::new();
    for path in files {
        let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
        let numbers: Vec<&str> = name.split('-').collect();
        let number = |at: usize| numbers[at].parse::<u64>().expect("a number");
        let end = ends.insert(numbers[0].to_owned(), number(2)).unwrap_or(0);
        assert_eq!(end, number(1), "{name} follows the file before it");
    }
}

/// Whether every sink has brought so many rows to its target, all partitions together. Offsets of the output count from 0.
fn sinks_have(host: &Host, pipeline: &str, rows: u64) -> bool {
    let status = host.get(&format!("/v1/pipelines/{pipeline}/status")).expect(200).json();
    let mut brought: BTreeMap<String, u64> = BTreeMap::new();
    for sink in status["sinks"].as_array().expect("sinks") {
        *brought.entry(sink["target"].to_string()).or_default() += sink["offset"].as_u64().expect("a number");
    }
    brought.len() == 4 && brought.values().all(|brought| *brought == rows)
}

#[test]
fn kills_lose_and_double_nothing_in_files_and_at_a_receiver_that_remembers_ids() {
    let receiver = Receiver::start();
    let mut host = Host::start();
    prepare(&host.url(), None).expect("a stream");
    let text = format!(
        "from: {STREAM}
to:
- file: {{path: lines, roll: {{rows: 200, every: 300ms}}}}
- file: {{path: tables, format: parquet, roll: {{rows: 300, every: 300ms}}}}
- webhook: {{url: '{}', batch: {{rows: 100, linger: 20ms}}}}
- stdout
",
        receiver.url()
    );
    host.apply("carried", &text).expect(201);
    let mut cycles = Cycles::new(8_160_708);
    while cycles.kills() < KILLS {
        cycles.kill_under_load(&mut host);
        // Some batches fail besides: taken or not, the sender does not hear of it.
        receiver.script([Reply::TakeAndHangUp, Reply::Refuse(503, None), Reply::Take, Reply::TakeAndHangUp]);
    }
    let rows = host.rows(STREAM).len() as u64;
    eventually("the sinks have everything", PATIENCE, || sinks_have(&host, "carried", rows));
    let wanted = count(host.rows(STREAM).iter().map(id));
    assert!(wanted.len() > 100 && wanted.values().all(|times| *times == 1), "{} rows", wanted.len());

    let lines = files(&host, "lines");
    assert!(count(lines.iter().flat_map(|path| ndjson_ids(path))) == wanted, "lines: lost or doubled");
    check_names(&lines);
    let tables = files(&host, "tables");
    assert!(count(tables.iter().flat_map(|path| parquet_ids(path))) == wanted, "tables: lost or doubled");
    check_names(&tables);
    let received = receiver.lines();
    let received = received.iter().map(|line| id(&serde_json::from_str(line).expect("a row")));
    assert!(count(received) == wanted, "requests: lost or doubled");
    let printed = host.printed();
    let printed = count(
        printed
            .iter()
            .filter_map(|line| serde_json::from_str(line).ok())
            .filter(|row: &Value| row["n"].is_u64())
            .map(|row| id(&row)),
    );
    let missing = wanted.keys().filter(|id| !printed.contains_key(*id)).count();
    assert_eq!(missing, 0, "standard output shows every row at least once");
}

#[test]
fn a_slow_receiver_holds_up_neither_files_nor_acknowledgements() {
    let receiver = Receiver::start();
    receiver.script(std::iter::repeat_n(Reply::TakeSlowly(Duration::from_secs(3)), 100));
    let host = Host::start();
    host.put("/v1/streams/clicks", &json!({"fields": [{"name": "n", "type": "int64"}]})).expect(201);
    let text = format!(
        "from: clicks\nto:\n- webhook: {{url: '{}', batch: {{rows: 1}}}}\n- file: {{path: clicks, roll: {{every: 100ms}}}}\n",
        receiver.url()
    );
    host.apply("both", &text).expect(201);
    let rows: Vec<Value> = (0..50).map(|n| json!({"n": n})).collect();
    host.send("clicks", &json!(rows)).expect(200);
    let sink = |at: usize| host.get("/v1/pipelines/both/status").expect(200).json()["sinks"][at].clone();
    eventually("the file has everything", Duration::from_secs(20), || sink(1)["records"] == 50);
    assert!(sink(0)["lag_records"].as_u64().expect("a number") > 30, "{}", sink(0));
    assert_eq!((&sink(0)["promise"], &sink(1)["promise"]), (&json!("once_per_key"), &json!("exactly_once")));
    let line = "tidemill_sink_records_total{tenant=\"default\",pipeline=\"both\",target=\"file: clicks\",partition=\"0\"} 50";
    eventually("the rows are counted", Duration::from_secs(5), || host.get("/metrics").expect(200).body.contains(line));
}

#[test]
fn what_a_receiver_does_is_in_status_and_no_secret_is_anywhere() {
    let receiver = Receiver::start();
    let host = Host::start();
    host.put("/v1/streams/clicks", &json!({"fields": [{"name": "n", "type": "int64"}]})).expect(201);
    let text = format!(
        "from: clicks\nto:\n- webhook:\n    url: '{}'\n    secret: ops\n    headers: {{authorization: {{secret: token}}}}\n    batch: {{linger: 10ms}}\n",
        receiver.url()
    );
    let refused = host.apply("told", &text).expect(422).body;
    assert!(refused.contains("the secret `ops` cannot be read") && refused.contains("secrets/default/ops"), "{refused}");
    let secrets = host.data().join("secrets/default");
    std::fs::create_dir_all(&secrets).expect("a folder");
    let key = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
    std::fs::write(secrets.join("ops"), key).expect("writes");
    std::fs::write(secrets.join("token"), "Bearer hush").expect("writes");
    receiver.script(std::iter::repeat_n(Reply::Refuse(500, None), 3));
    host.apply("told", &text).expect(201);
    host.send("clicks", &json!({"n": 1})).expect(200);
    let status = || host.get("/v1/pipelines/told/status").expect(200).json()["sinks"][0].clone();
    eventually("a failure is told", PATIENCE, || {
        status()["last_error"].as_str().is_some_and(|error| error.contains("answered 500: sorry"))
    });
    eventually("it arrives", PATIENCE, || status()["lag_records"] == 0);
    let status = status();
    assert_eq!((&status["last_error"], &status["retries"], &status["breaker"]), (&Value::Null, &json!(0), &json!("closed")));
    let attempts = receiver.attempts();
    assert_eq!(attempts.len(), 4);
    assert!(attempts.iter().all(|attempt| attempt.id() == attempts[0].id() && attempt.headers["authorization"] == "Bearer hush"));
    let said = [host.get("/v1/pipelines/told").body, status.to_string(), host.log(), host.get("/metrics").body];
    for text in said {
        assert!(!text.contains("hush") && !text.contains("whsec_"), "{text}");
    }
}

#[test]
fn rows_that_a_receiver_refuses_are_dead_letters_where_the_pipeline_says_so() {
    let receiver = Receiver::start();
    receiver.script([Reply::Take, Reply::Refuse(422, None), Reply::Take]);
    let host = Host::start();
    host.put("/v1/streams/clicks", &json!({"fields": [{"name": "n", "type": "int64"}]})).expect(201);
    let text =
        format!("from: clicks\nto:\n- webhook: {{url: '{}', batch: {{rows: 1}}, on_refused: dead_letters}}\n", receiver.url());
    host.apply("picky", &text).expect(201);
    host.send("clicks", &json!([{"n": 1}, {"n": 2, "more": [3]}, {"n": 4}])).expect(200);
    let dead = host.wait_rows("picky.dead-letters", 1).remove(0);
    eventually("the others arrive", PATIENCE, || receiver.lines() == ["{\"n\":1}", "{\"n\":4}"]);
    assert_eq!(
        (&dead["reason"], &dead["stream"], &dead["offset"]),
        (&json!("refused_by_target"), &json!("picky.output"), &json!(1))
    );
    assert_eq!(dead["event"], json!({"n": 2, "more": [3]}));
    let (error, step) = (dead["error"].as_str().expect("text"), dead["step"].as_str().expect("text"));
    assert!(error.ends_with("answered 422: sorry") && step.starts_with("webhook: http://127.0.0.1:"), "{dead}");
    let counted = json!({"refused_records": 1, "records": 2, "lag_records": 0});
    eventually("status counts them", PATIENCE, || {
        let sink = host.get("/v1/pipelines/picky/status").expect(200).json()["sinks"][0].clone();
        counted.as_object().expect("members").iter().all(|(name, value)| sink[name] == *value)
    });
    // The receiver is mended: the row goes to it again, once.
    let replay = || {
        let path = "/v1/pipelines/picky/dead-letters/replay";
        host.ask("POST", path, Some("application/json"), b"{\"query\": {}}").expect(200).json()
    };
    assert_eq!(replay(), json!({"replayed": 1, "refused": []}));
    eventually("it arrives", PATIENCE, || receiver.lines().last().is_some_and(|line| line.contains("\"n\":2")));
    assert_eq!(replay(), json!({"replayed": 0, "refused": []}));
    let letters = host.get("/v1/pipelines/picky/dead-letters").expect(200).json();
    assert_eq!(letters["dead_letters"][0]["replayed"], json!(true), "{letters}");
    assert_eq!(receiver.lines().len(), 3);
}

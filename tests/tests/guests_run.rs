//! The guests of this repository in the host's own sandbox: what the SDK's generated code and the runtime say to each other. Events
//! come through the host's JSON decoder, so text columns have the form they have in a running host.

use std::sync::{Arc, Mutex};

use arrow_array::{Array, RecordBatch};
use serde_json::{Value, json};
use tidemill_event::json::{DecodeLimits, RowDecoder, RowEncoder};
use tidemill_event::{
    Ending, EventTime, Field, KeyedState, NoteKind, Offset, RuleCall, StreamSchema, UnknownFields, definition_json,
};
use tidemill_runtime::{
    Compiler, Grant, Grants, GuestLog, Instance, InstanceSettings, Kind, Limits, LogLevel, Runtime, RuntimeSettings, SilentLog,
    SilentMetrics,
};
use tidemill_tests::guest;

fn runtime() -> Runtime {
    let grants: Grants = [Grant::TestRandom].into_iter().collect();
    Runtime::new(RuntimeSettings { instances_max: 16, grants, ..RuntimeSettings::new(Compiler::InProcess) }).expect("a runtime")
}

fn settings(config: &str, log: Arc<dyn GuestLog>) -> InstanceSettings {
    let grants = [Grant::TestRandom].into_iter().collect();
    InstanceSettings { config: config.to_owned(), limits: Limits::default(), log, metrics: Arc::new(SilentMetrics), grants }
}

fn instance(name: &str, config: &str) -> Instance {
    let runtime = runtime();
    let component = runtime.prepare(&guest(name)).unwrap_or_else(|refused| panic!("{name}: {refused}"));
    runtime.instantiate(&component, settings(config, Arc::new(SilentLog))).unwrap_or_else(|failure| panic!("{name}: {failure}"))
}

/// Rows of a stream with these fields, as a running host would have them.
fn rows(fields: &Value, events: &[Value]) -> RecordBatch {
    let definition = definition_json::parse(json!({ "fields": fields }).to_string().as_bytes()).expect("a definition");
    let mut decoder = RowDecoder::new(Arc::new(definition), DecodeLimits::default());
    for event in events {
        decoder.row(event.to_string().as_bytes(), EventTime(0)).expect("a row");
    }
    decoder.finish()
}

/// The columns a component asked for.
fn asked(instance: &Instance, rows: &RecordBatch) -> RecordBatch {
    let columns = &instance.component().description().columns;
    let place = |field: &Field| rows.schema().index_of(&field.name).expect("a column");
    rows.project(&columns.iter().map(place).collect::<Vec<_>>()).expect("a batch")
}

fn call(instance: &Instance, rows: &RecordBatch) -> RuleCall {
    RuleCall { columns: asked(instance, rows), state: None }
}

/// State rows for keys never seen before.
fn fresh(instance: &Instance, row_to_key: &[u32]) -> KeyedState {
    let description = instance.component().description();
    let keys = row_to_key.iter().max().map_or(0, |key| *key as usize + 1);
    let first = vec![description.first_row().clone(); keys];
    let rows = arrow_select::concat::concat_batches(description.state_schema(), &first).expect("state rows");
    KeyedState { row_to_key: row_to_key.into(), rows }
}

/// Columns as JSON rows, by the host's own encoder.
fn json_rows(fields: &[Field], columns: Vec<arrow_array::ArrayRef>) -> Vec<Value> {
    let schema = StreamSchema { fields: fields.to_vec(), unknown: UnknownFields::Drop, infer: false };
    let count = columns.first().map_or(0, |column| column.len());
    let time: arrow_array::ArrayRef = Arc::new(arrow_array::TimestampMicrosecondArray::from(vec![0; count]).with_timezone("UTC"));
    let columns = columns.into_iter().chain([time]).collect();
    let batch = RecordBatch::try_new(Arc::new(schema.arrow()), columns).expect("columns of the declared types");
    let mut text = Vec::new();
    RowEncoder::new(&schema, None).encode(&batch, 0..count, Offset(0), &mut text);
    String::from_utf8(text).expect("text").lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

#[test]
fn every_guest_is_accepted_and_says_what_it_is() {
    let runtime = runtime();
    for (name, kind, config) in [
        ("bench-rule", Kind::Rule, "{}"),
        ("hostile-rule", Kind::Rule, "{}"),
        ("std-brute-force", Kind::Rule, r#"{"failures": 5}"#),
        ("std-quake-alert", Kind::Rule, r#"{"magnitude": 5}"#),
        ("std-quake-place", Kind::Transform, "{}"),
        ("std-sshd", Kind::Transform, r#"{"year": 2026}"#),
        ("test-call-count", Kind::Rule, "{}"),
        ("test-count-per-key", Kind::Rule, "{}"),
        ("test-random", Kind::Rule, "{}"),
    ] {
        let component = runtime.prepare(&guest(name)).unwrap_or_else(|refused| panic!("{name}: {refused}"));
        assert_eq!(component.kind(), kind, "{name}");
        assert!(!component.description().doc.is_empty(), "{name} says what it does");
        runtime
            .instantiate(&component, settings(config, Arc::new(SilentLog)))
            .unwrap_or_else(|failure| panic!("{name}: {failure}"));
        let wrong = runtime.instantiate(&component, settings(r#"{"no such key": 1}"#, Arc::new(SilentLog)));
        let failure = wrong.err().unwrap_or_else(|| panic!("{name} takes any configuration"));
        assert!(failure.ending == Ending::GuestError && failure.message.contains("no such key"), "{name}: {failure}");
    }
}

#[test]
fn a_rule_judges_as_the_same_function_would_natively() {
    let fields = json!([
        {"name": "status", "type": "string", "nullable": false},
        {"name": "amount", "type": "float64", "nullable": false},
        {"name": "country", "type": "string", "nullable": false}
    ]);
    let mut instance = instance("bench-rule", r#"{"home": "AT"}"#);
    // Few countries make a dictionary column, many make a plain one.
    for countries in [3, 1_000_000] {
        for size in [1usize, 7, 8, 63, 64, 65, 4_096] {
            let event = |row: usize| {
                let country = if row.is_multiple_of(3) { "AT".to_owned() } else { format!("C{}", row % countries) };
                let status = if row.is_multiple_of(4) { "declined" } else { "ok" };
                json!({"amount": (row * 7919 % 2003) as f64, "country": country, "status": status})
            };
            let events: Vec<Value> = (0..size).map(event).collect();
            let batch = rows(&fields, &events);
            let answer = instance.judge(&call(&instance, &batch)).expect("an answer");
            let expected: Vec<bool> = events
                .iter()
                .map(|event| event["amount"].as_f64() > Some(1000.0) && event["country"] != "AT" && event["status"] == "ok")
                .collect();
            assert_eq!(answer.verdicts.values().iter().collect::<Vec<_>>(), expected, "{size} rows, {countries} countries");
            assert!(answer.columns.is_empty() && answer.state.is_none() && answer.notes.is_empty());
        }
    }
}

#[test]
fn a_transform_makes_typed_rows_of_text() {
    let fields = json!([{"name": "line", "type": "string"}]);
    let lines = [
        json!({"line": "Nov 21 06:55:46 gate sshd[7]: message repeated 2 times: [ Failed password for root from 192.0.2.1 port 3 ssh2]"}),
        json!({"line": "nonsense"}),
        json!({}),
        json!({"line": "Nov 21 06:55:48 gate sshd[7]: Connection closed by 192.0.2.1 [preauth]"}),
    ];
    let mut instance = instance("std-sshd", r#"{"year": 2026}"#);
    let description = instance.component().description().clone();
    assert_eq!(description.time.as_deref(), Some("ts"));
    let answer = instance.transform(&call(&instance, &rows(&fields, &lines))).expect("an answer");
    assert_eq!(answer.source_rows, [0, 0, 3]);
    assert_eq!(answer.notes.iter().map(|note| (note.row, note.kind)).collect::<Vec<_>>(), [(1, NoteKind::Reject)]);
    let events = json_rows(&description.outputs, answer.columns);
    assert_eq!((&events[1]["repeat"], &events[1]["src_port"], &events[1]["user_exists"]), (&json!(2), &json!(3), &json!(true)));
    assert_eq!((&events[2]["type"], &events[2]["ts"]), (&json!("connection_closed"), &json!("2026-11-21T06:55:48.000000Z")));
    assert_eq!(events[2]["user"], Value::Null);
}

#[test]
fn state_goes_in_and_comes_back_changed() {
    let fields =
        json!([{"name": "ts", "type": "timestamp"}, {"name": "type", "type": "string"}, {"name": "user", "type": "string"}]);
    let failure = |second: u32| json!({"ts": format!("2026-11-21T10:00:{second:02}Z"), "type": "auth_failed", "user": "root"});
    let mut instance = instance("std-brute-force", r#"{"failures": 3, "within": "30s"}"#);
    let first = rows(&fields, &[failure(0), failure(1), failure(10)]);
    let state = fresh(&instance, &[0, 1, 0]);
    let answer = instance.judge(&RuleCall { columns: asked(&instance, &first), state: Some(state) }).expect("an answer");
    assert_eq!(answer.verdicts.values().count_set_bits(), 0);
    // The same two keys again, with the state that came back.
    let state = KeyedState { row_to_key: [0, 1].into(), rows: answer.state.expect("state") };
    let second = rows(&fields, &[failure(20), failure(20)]);
    let answer = instance.judge(&RuleCall { columns: asked(&instance, &second), state: Some(state) }).expect("an answer");
    assert_eq!(answer.verdicts.values().iter().collect::<Vec<_>>(), [true, false]);
    let alerts = json_rows(&instance.component().description().outputs, answer.columns);
    assert_eq!((&alerts[0]["first_failure"], &alerts[0]["failures"]), (&json!("2026-11-21T10:00:00.000000Z"), &json!(3)));
    assert_eq!(alerts[1]["label"], Value::Null);
}

#[test]
fn rules_that_need_no_column_still_see_every_row() {
    let batch = rows(&json!([{"name": "key", "type": "string"}]), &vec![json!({"key": "a"}); 5]);
    let mut count = instance("test-count-per-key", "{}");
    let state = fresh(&count, &[0, 1, 0, 0, 1]);
    let answer = count.judge(&RuleCall { columns: asked(&count, &batch), state: Some(state) }).expect("an answer");
    let counts = json_rows(&count.component().description().outputs, answer.columns);
    assert_eq!(counts.iter().map(|row| row["count"].as_i64().unwrap_or(0)).collect::<Vec<_>>(), [1, 1, 2, 3, 2]);

    let mut random = instance("test-random", "{}");
    let mut draw = || {
        let call = RuleCall { columns: asked(&random, &batch), state: Some(fresh(&random, &[0; 5])) };
        let answer = random.judge(&call).expect("an answer");
        json_rows(&random.component().description().outputs, answer.columns)
    };
    assert_ne!(draw(), draw(), "random is random");
}

/// Keeps lines.
#[derive(Default)]
struct Kept(Mutex<Vec<(LogLevel, String)>>);

impl GuestLog for Kept {
    fn line(&self, level: LogLevel, message: &str) {
        self.0.lock().expect("no panic in here").push((level, message.to_owned()));
    }
}

#[test]
fn a_guest_that_misbehaves_ends_as_it_should_and_a_panic_keeps_its_words() {
    let runtime = runtime();
    let component = runtime.prepare(&guest("hostile-rule")).expect("a component");
    let fields = json!([{"name": "do", "type": "string"}]);
    for (what, ending) in [
        ("loop", Ending::OutOfFuel),
        ("recurse", Ending::Trap),
        ("memory", Ending::OutOfMemory),
        ("panic", Ending::Trap),
        ("log", Ending::TooManyHostCalls),
    ] {
        let log = Arc::new(Kept::default());
        let mut instance = runtime.instantiate(&component, settings("{}", log.clone())).expect("an instance");
        let batch = rows(&fields, &[json!({}), json!({"do": what})]);
        let failure = instance.judge(&call(&instance, &batch)).expect_err(what);
        assert_eq!(failure.ending, ending, "{what}: {failure}");
        assert!(!instance.alive(), "{what}");
        if what == "panic" {
            let said = log.0.lock().expect("no panic in here").clone();
            assert!(said.iter().any(|(level, line)| *level == LogLevel::Error && line.contains("asked to panic")), "{said:?}");
            assert!(failure.backtrace.contains("hostile"), "functions have names: {}", failure.backtrace);
        }
    }
    let mut instance = runtime.instantiate(&component, settings("{}", Arc::new(SilentLog))).expect("an instance");
    let batch = rows(&fields, &[json!({"do": "reject"}), json!({})]);
    let answer = instance.judge(&call(&instance, &batch)).expect("an answer");
    assert_eq!(answer.verdicts.values().iter().collect::<Vec<_>>(), [false, true]);
    assert_eq!((answer.notes[0].row, answer.notes[0].text.as_str()), (0, "asked to reject"));
}

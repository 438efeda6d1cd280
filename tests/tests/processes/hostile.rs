//! Processes that hoard, set timers without end, use what they did not ask for, panic and spin: each is contained with its reason, every other
//! row counts exactly once, and neither another pipeline nor the host notices, kills included.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};
use tidemill_tests::{Host, HostOptions, eventually};

const ASKS: &str = r#"{"fields": [{"name": "at", "type": "timestamp", "nullable": false}, {"name": "who", "type": "string", "nullable": false},
    {"name": "ask", "type": "string", "nullable": false}, {"name": "n", "type": "int64", "nullable": false}],
    "time": {"field": "at"}, "key": ["who"], "partitions": 1}"#;
const PIPELINE: &str = "from: {stream: asks, out_of_orderness: 0s, idle: off}\ntime: {bound: off}\nsteps:\n- process: hostile-process@1\n  by: [who]\nto: [{stream: answers}]\n";

/// What a row asks for, how often, and what becomes of it; an empty reason: it goes on.
type Way = (&'static str, i64, &'static str);

const WAYS: [Way; 12] = [
    ("panic", 0, "trap"),
    ("spin", 0, "out_of_fuel"),
    ("spin-early", 0, "out_of_fuel"),
    ("unasked", 0, "trap"),
    // An entry of two megabytes, and one of half of one.
    ("giant", 2_000_000, "too_much_output"),
    ("giant", 500_000, ""),
    ("hoard", 200, ""),
    ("greedy", 200_000, "too_much_output"),
    ("flood", 60_000, "too_much_output"),
    ("timers", 1_000, ""),
    // As many as a call may set, and more than a key may have.
    ("timers", 1_040, "too_much_output"),
    ("timers", 2_000, "too_much_output"),
];

fn host(flags: &[&str]) -> Host {
    let flags = flags.iter().map(|flag| (*flag).to_owned()).collect();
    let host = Host::with(HostOptions { flags, ..HostOptions::default() });
    host.push_guest("hostile-process", "1.0.0").expect(201);
    host.put("/v1/streams/asks", &serde_json::from_str(ASKS).expect("a definition")).expect(201);
    host.apply("hostile", PIPELINE).expect(201);
    host.apply("honest", "from: asks\nsteps:\n- where: ask = 'nothing'\nto: [{stream: honest}]\n").expect(201);
    host
}

fn asks(second: usize, who: &str, ask: &str, n: i64) -> Value {
    json!({"at": format!("2026-01-01T{:02}:{:02}:{:02}Z", second / 3600, second / 60 % 60, second % 60), "who": who, "ask": ask, "n": n})
}

fn text<'a>(row: &'a Value, name: &str) -> &'a str {
    row[name].as_str().unwrap_or_else(|| panic!("no `{name}` in {row}"))
}

#[test]
fn what_a_process_does_to_its_memory_and_timers_is_its_own_trouble() {
    let mut host = host(&[]);
    // Nineteen harmless rows of three keys around each of the others, which have keys of their own.
    let rows: Vec<Value> = (0..WAYS.len() * 20)
        .map(|row| match (row % 20, WAYS[row / 20]) {
            (10, (ask, n, _)) => asks(row, &format!("{ask}-{n}"), ask, n),
            _ => asks(row, &format!("good-{}", row % 3), "nothing", 0),
        })
        .collect();
    let harmless = WAYS.len() * 19;
    let (dead, alive): (Vec<Way>, Vec<Way>) = WAYS.into_iter().partition(|(.., reason)| !reason.is_empty());
    for (round, part) in rows.chunks(70).enumerate() {
        host.send("asks", &Value::Array(part.to_vec())).expect(200);
        if round % 2 == 1 {
            host.kill();
            host.launch();
        }
    }
    let answers = host.wait_rows("answers", harmless + alive.len());
    let mut counts = BTreeMap::<&str, Vec<i64>>::new();
    for row in &answers {
        counts.entry(text(row, "who")).or_default().push(row["count"].as_i64().expect("a count"));
    }
    for (who, counts) in &counts {
        assert_eq!(*counts, (1..=counts.len() as i64).collect::<Vec<_>>(), "{who}: every row once, and in order");
    }
    assert_eq!(counts.values().map(Vec::len).sum::<usize>(), harmless + alive.len());
    let letters = host.wait_rows("hostile.dead-letters", dead.len());
    for (letter, (ask, n, reason)) in letters.iter().zip(dead) {
        assert_eq!((text(&letter["event"], "ask"), letter["event"]["n"].as_i64()), (ask, Some(n)), "{letter}");
        let is_reason = letter["reason"] == reason || reason == "too_much_output" && letter["reason"] == "out_of_fuel";
        assert!(is_reason, "{ask} {n}: {letter}");
    }
    let of_timers = letters.iter().find(|letter| letter["event"]["n"] == 1_040).expect("one of them");
    assert!(text(of_timers, "error").contains("more than 1000 timers"), "{of_timers}");
    assert_eq!(host.wait_rows("honest", harmless).len(), harmless);
    let status = host.get("/v1/pipelines/hostile/status").expect(200).json();
    assert_eq!((&status["state"], &status["divergences"]), (&json!("running"), &json!([])), "{status}");
}

#[test]
fn a_timer_that_always_sets_the_next_is_cut_off() {
    let mut host = host(&[]);
    let rows = [
        asks(3_600, "ann", "nothing", 0),
        // Long ago, so it fires with the next row; and each of its timers sets one for a microsecond later.
        asks(7_200, "eve", "past", 0),
        asks(7_201, "bob", "later", 0),
        asks(7_300, "ann", "nothing", 0),
        asks(7_301, "eve", "nothing", 0),
    ];
    host.send("asks", &json!(rows)).expect(200);
    let letters = host.wait_rows("hostile.dead-letters", 2);
    let of =
        |who: &str| letters.iter().find(|letter| letter["row"]["who"] == who).unwrap_or_else(|| panic!("{who}: {letters:?}"));
    assert_eq!(
        (&of("eve")["reason"], &of("eve")["row"]["timer"]["name"]),
        (&json!("out_of_fuel"), &json!("past")),
        "{}",
        of("eve")
    );
    assert!(text(of("eve"), "error").contains("have set each other"), "{}", of("eve"));
    assert_eq!((&of("bob")["reason"], &of("bob")["row"]["timer"]["name"]), (&json!("trap"), &json!("panics")), "{}", of("bob"));
    let told = |host: &Host| -> Vec<String> {
        host.wait_rows("answers", 5).iter().map(|row| format!("{} {}", text(row, "who"), row["count"])).collect()
    };
    assert_eq!(told(&host), ["ann 1", "eve 1", "bob 1", "ann 2", "eve 2"]);
    host.kill();
    host.launch();
    host.send("asks", &json!([asks(7_400, "ann", "nothing", 0), asks(7_401, "eve", "nothing", 0)])).expect(200);
    assert_eq!(host.wait_rows("answers", 7)[5]["count"], 3);
    assert_eq!(host.rows("hostile.dead-letters").len(), 2, "neither fires again");
    let status = host.get("/v1/pipelines/hostile/status").expect(200).json();
    assert_eq!((&status["state"], &status["divergences"]), (&json!("running"), &json!([])), "{status}");
}

/// Many small entries, or few large ones.
fn outgrows(ask: &str, n: i64, rows: usize) {
    let mut host = host(&["--state-memory", "48MiB"]);
    host.put("/v1/streams/clicks", &json!({"fields": [{"name": "user", "type": "string"}], "partitions": 1})).expect(201);
    let window = "from: clicks\nsteps:\n- window: {count: 2, by: [user], select: {n: count(*)}}\nto: [{stream: pairs}]\n";
    host.apply("pairs", window).expect(201);
    for part in (0..rows).collect::<Vec<_>>().chunks(50) {
        host.send("asks", &part.iter().map(|row| asks(*row, &format!("w{row}"), ask, n)).collect()).expect(200);
    }
    let status = |host: &Host| host.get("/v1/pipelines/hostile/status").expect(200).json();
    eventually("it to be held", Duration::from_secs(120), || status(&host)["state"] == "held");
    let why = status(&host)["last_error"].to_string();
    assert!(why.contains("`state_memory`") && why.contains("steps[0].process"), "{why}");
    let taken = host.rows("answers").len();
    assert!(taken < rows, "all of {rows} rows were taken");
    // Whoever has state still may have it.
    host.send("clicks", &(0..2_000).map(|n| json!({"user": format!("u{}", n % 1_000)})).collect()).expect(200);
    host.wait_rows("pairs", 1_000);
    // With more memory it goes on where it stood.
    host.kill();
    host.set_flags(&["--state-memory", "4GiB"]);
    host.launch();
    let who: std::collections::BTreeSet<String> =
        host.wait_rows("answers", rows).iter().map(|row| text(row, "who").to_owned()).collect();
    assert_eq!(who.len(), rows, "every row once");
}

#[test]
fn keys_without_end_are_held_at_the_bound_of_memory() {
    outgrows("hoard", 200, 600);
}

#[test]
fn large_values_are_held_at_the_bound_of_memory() {
    outgrows("giant", 50_000, 1_400);
}

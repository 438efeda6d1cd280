//! Rows that a component cannot handle, through the real binary: alone in the dead letters with their story, and replayed from there
//! when a version that works was pushed.

#[path = "poison/functions_and_aggregates.rs"]
mod functions_and_aggregates;

use serde_json::{Value, json};
use tidemill_event::{Field, FieldType};
use tidemill_runtime::testing::TextGuest;
use tidemill_tests::{Host, tidemill_command};

/// What `hostile-rule` is asked to do, and the reason in the dead letters.
const WAYS: [(&str, &str); 6] = [
    ("loop", "out_of_fuel"),
    ("recurse", "trap"),
    ("memory", "out_of_memory"),
    ("panic", "trap"),
    ("log", "too_many_host_calls"),
    ("reject", "rejected_by_component"),
];

#[test]
fn every_hostile_row_of_a_batch_is_alone_with_its_story() {
    let host = Host::start();
    host.push_guest("hostile-rule", "1.0.0").expect(201);
    let fields = json!({"fields": [{"name": "do", "type": "string"}, {"name": "n", "type": "int64"}]});
    host.put("/v1/streams/orders", &fields).expect(201);
    host.apply(
        "p",
        "pipeline: p\nfrom: orders\nsteps:\n  - extend: {m: n + 1}\n  - rule: hostile-rule@1\nto:\n  - stream: fine\n",
    )
    .expect(201);
    let way = |n: i64| (n % 37 == 5).then(|| WAYS[(n / 37) as usize % WAYS.len()]);
    let rows: Vec<Value> = (0..222).map(|n| json!({"do": way(n).map_or("nothing", |(what, _)| what), "n": n})).collect();
    host.send("orders", &Value::Array(rows)).expect(200);

    let fine = host.wait_rows("fine", 216);
    let numbers: Vec<i64> = fine.iter().map(|row| row["n"].as_i64().expect("a number")).collect();
    assert_eq!(numbers, (0..222).filter(|n| way(*n).is_none()).collect::<Vec<_>>(), "every good row, once, in order");
    let dead = host.wait_rows("p.dead-letters", 6);
    for (letter, (what, reason)) in dead.iter().zip(WAYS) {
        assert_eq!((&letter["reason"], &letter["event"]["do"]), (&json!(reason), &json!(what)), "{letter}");
        assert_eq!((&letter["stream"], &letter["offset"]), (&json!("orders"), &letter["event"]["n"]), "{letter}");
        assert_eq!(letter["row"]["m"], json!(letter["event"]["n"].as_i64().expect("a number") + 1), "{letter}");
        assert_eq!((&letter["component"], &letter["version"]), (&json!("hostile-rule"), &json!("1.0.0")), "{letter}");
        assert!(letter["event"].get("m").is_none(), "the event as it was sent: {letter}");
    }
    let backtrace = |what: &str| {
        let letter = dead.iter().find(|letter| letter["event"]["do"] == what).expect("one of them");
        letter["backtrace"].as_str().unwrap_or_default().to_owned()
    };
    assert!(backtrace("recurse").contains("hostile_rule::recurse"), "functions have their names: {}", backtrace("recurse"));
    assert!(backtrace("panic").contains("panic"), "{}", backtrace("panic"));
    let panicked = dead.iter().find(|letter| letter["event"]["do"] == "panic").expect("one of them");
    assert!(panicked["error"].as_str().is_some_and(|error| error.contains("asked to panic")), "{panicked}");
}

/// Traps on amounts of 666 as long as it is broken.
fn picky(broken: bool) -> Vec<u8> {
    let poison = if broken { "666" } else { "-1" };
    let body = "
        (local $row i32) (local $length i32)
        (loop $next
          (if (f64.eq (f64.load (i32.add (i32.add (local.get $data) (i32.load offset=8 (local.get $columns))) (i32.shl (local.get $row) (i32.const 3)))) (f64.const POISON))
            (then unreachable))
          (local.set $row (i32.add (local.get $row) (i32.const 1)))
          (br_if $next (i32.lt_u (local.get $row) (local.get $rows))))
        (local.set $length (i32.shr_u (i32.add (local.get $rows) (i32.const 7)) (i32.const 3)))
        (local.set $row (call $take (local.get $length)))
        (memory.fill (local.get $row) (i32.const 255) (local.get $length))
        (call $answer (local.get $row) (local.get $length))";
    TextGuest::rule(vec![Field::new("amount", FieldType::Float64, false)]).call(&body.replace("POISON", poison)).build()
}

fn tidemill(host: &Host, words: &[&str]) -> (i32, Value) {
    let output = tidemill_command().args(["--host", &host.url(), "--json"]).args(words).output().expect("the binary");
    let text = if output.status.success() { &output.stdout } else { &output.stderr };
    (
        output.status.code().unwrap_or(-1),
        serde_json::from_slice(text).unwrap_or_else(|_| Value::String(String::from_utf8_lossy(text).into())),
    )
}

#[test]
fn dead_letters_are_listed_shown_and_replayed_once() {
    let mut host = Host::start();
    let fields = json!({"fields": [{"name": "amount", "type": "float64", "nullable": false}, {"name": "at", "type": "timestamp"}, {"name": "n", "type": "int64"}], "time": {"field": "at"}});
    host.put("/v1/streams/payments", &fields).expect(201);
    host.push("picky", "1.0.0", &picky(true)).expect(201);
    let text = |version: &str| {
        format!(
            "pipeline: p\nfrom: payments\nsteps:\n  - extend: {{m: n * 2, q: 10 / (n - 7)}}\n  - rule: picky@{version}\nto:\n  - stream: fine\n"
        )
    };
    host.apply("p", &text("1.0.0")).expect(201);
    let row = |n: i64| json!({"amount": if n % 10 == 3 { 666.0 } else { 0.1 }, "at": format!("2026-01-01T00:00:{n:02}Z"), "n": n, "more": {"x": [n]}});
    host.send("payments", &Value::Array((0..40).map(row).collect())).expect(200);
    host.wait_rows("fine", 35);
    host.wait_rows("p.dead-letters", 5);

    let (code, list) = tidemill(&host, &["dead-letters", "list", "p", "--reason", "trap"]);
    let letters = list["dead_letters"].as_array().expect("a list").clone();
    assert_eq!((code, letters.len()), (0, 4), "{list}");
    let ids: Vec<&str> = letters.iter().map(|letter| letter["id"].as_str().expect("an id")).collect();
    let (_, since) = tidemill(&host, &["dead-letters", "list", "p", "--since", "2026-01-01T00:00:23Z"]);
    assert_eq!(since["dead_letters"].as_array().map(Vec::len), Some(2), "{since}");
    let (_, last) = tidemill(&host, &["dead-letters", "list", "p", "-n", "1"]);
    assert_eq!(last["dead_letters"][0]["event"]["n"], 33, "{last}");
    let (_, shown) = tidemill(&host, &["dead-letters", "show", "p", ids[0]]);
    assert_eq!((&shown["event"]["more"], &shown["step"]), (&json!({"x": [3]}), &json!("steps[1].rule")), "{shown}");
    assert_eq!(tidemill(&host, &["dead-letters", "show", "p", "0:99"]).0, 4);
    assert_eq!(tidemill(&host, &["dead-letters", "replay", "p"]).0, 2, "which?");

    // Still broken: it comes back as a new dead letter.
    let (_, answer) = tidemill(&host, &["dead-letters", "replay", "p", ids[0]]);
    assert_eq!(answer, json!({"replayed": 1, "refused": []}));
    let again = &host.wait_rows("p.dead-letters", 6)[5];
    assert_eq!((&again["event"], &again["row"], &again["offset"]), (&shown["event"], &shown["row"], &shown["offset"]));
    // Fixed: all of them, except the one that was replayed.
    host.push("picky", "1.0.1", &picky(false)).expect(201);
    host.apply("p", &text("1.0.1")).expect(200);
    let (_, answer) = tidemill(&host, &["dead-letters", "replay", "p", "--reason", "trap"]);
    assert_eq!(answer, json!({"replayed": 4, "refused": []}), "three, and the new one");
    let fine = host.wait_rows("fine", 39);
    let came: Vec<&Value> = fine[35..].iter().map(|row| &row["n"]).collect();
    assert_eq!(came, [13, 23, 33, 3]);
    assert_eq!((&fine[35]["m"], &fine[35]["_time"]), (&json!(26), &json!("2026-01-01T00:00:13.000000Z")), "{}", fine[35]);
    assert_eq!(fine[35]["more"], json!({"x": [13]}));

    // Never by accident a second time, also after a crash.
    host.kill();
    host.launch();
    let (_, answer) = tidemill(&host, &["dead-letters", "replay", "p", ids[1]]);
    assert_eq!(answer["replayed"], 0, "{answer}");
    assert!(answer["refused"][0]["why"].as_str().is_some_and(|why| why.contains("replayed before")), "{answer}");
    let (_, open) = tidemill(&host, &["dead-letters", "list", "p", "--open"]);
    assert_eq!(open["dead_letters"].as_array().map(Vec::len), Some(1), "the expression's: {open}");
    let (_, answer) = tidemill(&host, &["dead-letters", "replay", "p", ids[1], "--force"]);
    assert_eq!(answer["replayed"], 1, "{answer}");
    assert_eq!(host.wait_rows("fine", 40)[39]["n"], 13);
    let status = host.get("/v1/pipelines/p/status").expect(200).json();
    assert_eq!(status["divergences"], json!([]), "{status}");
}

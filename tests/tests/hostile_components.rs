//! Components that loop, recurse, eat memory, trap or lie: each call ends with its reason in the dead letters, the pipeline goes on, its
//! neighbour does not notice, and the host lives.

use serde_json::{Value, json};
use tidemill_event::{Field, FieldType};
use tidemill_runtime::testing::{TextGuest, threshold_rule};
use tidemill_tests::{Host, tidemill_command};

fn rule() -> TextGuest {
    TextGuest::rule(vec![Field::new("amount", FieldType::Float64, true)])
}

/// What it does, the component, and the reason in the dead letters.
fn hostile() -> Vec<(&'static str, TextGuest, &'static str)> {
    let deep = "(func $deep (param i32) (result i32) (i32.add (call $deep (local.get 0)) (i32.const 1)))";
    let flood = "(loop $more (call $say (i32.const 1) (i32.const 1024) (i32.const 1)) (br $more)) unreachable";
    vec![
        ("loops", rule().call("(loop $forever (br $forever)) unreachable"), "out_of_fuel"),
        ("recurses", rule().fields(deep).call("(call $deep (i32.const 0))"), "trap"),
        (
            "eats-memory",
            rule().call("(loop $more (drop (call $take (i32.const 1048576))) (br $more)) unreachable"),
            "out_of_memory",
        ),
        ("traps", rule().call("unreachable"), "trap"),
        (
            "answers-too-much",
            rule().call("(call $answer (call $take (i32.const 8000000)) (i32.const 8000000))"),
            "too_much_output",
        ),
        ("wrong-length", rule().call("(call $answer (call $take (i32.const 64)) (i32.const 64))"), "invalid_output"),
        ("wrong-place", rule().call("(call $answer (i32.const -16) (i32.const 1))"), "invalid_output"),
        ("calls-without-end", rule().logging().call(flood), "too_many_host_calls"),
        ("complains", rule().call("(call $fail (i32.const 1024) (i32.const 4))"), "guest_error"),
    ]
}

fn host() -> Host {
    let host = Host::start();
    let definition = json!({"fields": [{"name": "amount", "type": "float64"}, {"name": "n", "type": "int64"}]});
    host.put("/v1/streams/payments", &definition).expect(201);
    host
}

#[test]
fn every_way_a_call_can_end_is_told_apart_and_nobody_else_notices() {
    let host = host();
    host.push("honest", "1.0.0", &threshold_rule()).expect(201);
    host.apply("honest", "pipeline: honest\nfrom: payments\nsteps:\n  - rule: honest@1\nto:\n  - stream: honest\n").expect(201);
    let hostile = hostile();
    for (name, guest, _) in &hostile {
        host.push(name, "1.0.0", &guest.build()).expect(201);
        let text = format!("pipeline: {name}\nfrom: payments\nsteps:\n  - rule: {name}@1\nto:\n  - stream: {name}\n");
        host.apply(name, &text).expect(201);
    }
    for round in 0..3 {
        let rows: Vec<Value> = (0..5).map(|n| json!({"amount": 999.0 + f64::from(n), "n": round * 5 + n})).collect();
        host.send("payments", &Value::Array(rows)).expect(200);
        for (name, _, reason) in &hostile {
            let dead = host.wait_rows(&format!("{name}.dead-letters"), 5 * (round as usize + 1));
            for row in &dead {
                assert_eq!(row["reason"], **reason, "{name}: {row}");
                assert_eq!((&row["pipeline"], &row["component"]), (&json!(name), &json!(name)), "{row}");
                assert!(
                    row["event"]["n"].is_number() && row["digest"].as_str().is_some_and(|digest| digest.starts_with("sha256:")),
                    "{row}"
                );
            }
            let status = host.get(&format!("/v1/pipelines/{name}/status")).expect(200).json();
            assert_eq!(status["state"], "running", "{status}");
            assert!(status["endings"][*reason].as_u64().is_some_and(|count| count > 0), "{status}");
        }
        // 1000 is not over 1000: three of five.
        host.wait_rows("honest", 3 * (round as usize + 1));
    }
    assert!(host.rows("loops").is_empty());
    host.get("/health/ready").expect(200);
}

#[test]
fn what_cannot_be_described_is_refused_at_upload() {
    let host = host();
    let endless = rule().describe("(loop $forever (br $forever)) unreachable").build();
    let refused = host.push("endless", "1.0.0", &endless).expect(422);
    assert!(refused.body.contains("describe"), "{}", refused.body);
    let trapping = rule().fields("(func $start unreachable) (start $start)").build();
    host.push("trapping", "1.0.0", &trapping).expect(422);
    let ungranted = rule().random().build();
    let refused = host.push("ungranted", "1.0.0", &ungranted).expect(422);
    assert!(refused.body.contains("tidemill:testing/random"), "the import is named: {}", refused.body);
    host.push("std-mine", "1.0.0", b"").expect_client_error();
    host.get("/health/ready").expect(200);
}

#[test]
fn an_error_of_open_is_shown_to_whoever_applies() {
    let host = host();
    let picky = rule().open("(call $fail (i32.const 1024) (i32.const 4))").build();
    host.push("picky", "1.0.0", &picky).expect(201);
    let text = "pipeline: picky\nfrom: payments\nsteps:\n  - rule: picky@1\nto:\n  - stream: picky\n";
    let problem = host.apply("picky", text).expect(422);
    assert!(problem.body.contains("steps[0]") && problem.body.contains("\"line\":4"), "{}", problem.body);
}

#[test]
fn a_component_that_answers_by_the_number_of_a_call_is_named_by_tidemill_test() {
    let folder = tempfile::tempdir().expect("a folder");
    let (component, events) = (folder.path().join("moody.wasm"), folder.path().join("events.ndjson"));
    let moody = rule().fields("(global $calls (mut i32) (i32.const 0))").call(
        "(local $bits i32)
         (global.set $calls (i32.add (global.get $calls) (i32.const 1)))
         (local.set $bits (call $take (i32.const 4096)))
         (memory.fill (local.get $bits) (select (i32.const 255) (i32.const 0) (i32.eq (global.get $calls) (i32.const 1))) (i32.const 4096))
         (call $answer (local.get $bits) (i32.shr_u (i32.add (local.get $rows) (i32.const 7)) (i32.const 3)))",
    );
    std::fs::write(&component, moody.build()).expect("a file");
    let rows: String = (0..100).map(|n| format!("{{\"amount\":{n}}}\n")).collect();
    std::fs::write(&events, rows).expect("a file");
    let test = |rows: &str| {
        tidemill_command().arg("test").arg(&component).arg(&events).args(["--rows", rows]).output().expect("the binary")
    };
    let output = test("40");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("line 41") && said.contains("cut into calls"), "{said}");
}

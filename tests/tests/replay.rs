//! After a kill, committed rows are taken again and compared. A component that does not answer the same is named; what was committed
//! stands. The host under test grants a random import that no real host has, and its kill is a power cut.

use std::time::Duration;

use serde_json::json;
use tidemill_tests::{Host, HostOptions, eventually, variant};

#[test]
fn a_rule_that_draws_random_numbers_is_named_after_a_restart() {
    let mut host = Host::with(HostOptions { binary: variant("planted"), ..HostOptions::default() });
    host.put("/v1/streams/rows", &json!({"fields": [{"name": "key", "type": "string"}], "key": ["key"]})).expect(201);
    host.push_guest("test-random", "1.0.0").expect(201);
    let text = "pipeline: dice\nfrom: rows\nsteps:\n  - rule: test-random@1\n    by: [key]\nto:\n  - stream: dice\n";
    host.apply("dice", text).expect(201);
    host.send("rows", &json!([{"key": "a"}, {"key": "b"}, {"key": "a"}])).expect(200);
    let before = host.wait_rows("dice", 3);
    host.kill();
    host.launch();
    let mut status = json!(null);
    eventually("the divergence is told", Duration::from_secs(20), || {
        status = host.get("/v1/pipelines/dice/status").expect(200).json();
        status["divergences"].as_array().is_some_and(|divergences| !divergences.is_empty())
    });
    let divergence = &status["divergences"][0];
    assert_eq!(divergence["step"], "steps[0].rule", "{status}");
    assert!(divergence["component"].as_str().is_some_and(|component| component.starts_with("test-random@1.0.0")), "{status}");
    assert_eq!(host.rows("dice"), before, "what was committed stands");
    assert_eq!(status["state"], "running", "on_divergence is continue unless said: {status}");
    host.send("rows", &json!({"key": "c"})).expect(200);
    host.wait_rows("dice", 4);
}

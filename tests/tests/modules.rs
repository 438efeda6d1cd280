//! Broken and sound WebAssembly modules at the door for components: each is refused with a reason, and the host lives.

use std::path::Path;

use base64::Engine as _;
use serde_json::Value;
use tidemill_tests::Host;

#[test]
fn every_module_is_refused_with_a_reason_and_the_host_lives() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/wasm_modules/modules.ndjson");
    let cases = std::fs::read_to_string(path).expect("the module set");
    let host = Host::start();
    let mut count = 0;
    for case in cases.lines() {
        let case: Value = serde_json::from_str(case).expect("a case");
        let name = case["name"].as_str().expect("a name");
        let bytes = base64::prelude::BASE64_STANDARD.decode(case["base64"].as_str().expect("bytes")).expect("base64");
        let answer = host.push("broken", "1.0.0", &bytes);
        assert_eq!(answer.status, 422, "{name}: {}", answer.body);
        let detail = answer.json()["detail"].as_str().unwrap_or_default().to_owned();
        assert!(detail.len() > 10, "{name} was refused without a reason: {}", answer.body);
        // A sound module is no component: whoever sent it has to learn how to make one.
        if case["expect"] == "valid" && case["needs"].is_null() {
            assert!(answer.body.contains("tidemill build"), "{name}: {}", answer.body);
        }
        count += 1;
    }
    assert_eq!(count, 395);
    host.get("/health/ready").expect(200);
    host.get("/v1/components/broken/versions/1.0.0").expect(404);
}

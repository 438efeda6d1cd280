//! Components: published once, refused with a reason, never an error of the host.

use base64::Engine as _;
use serde_json::{Value, json};
use tidemill_runtime::testing::{counter_rule, threshold_rule};

use crate::server::{Server, settings};

fn put(server: &Server, path: &str, bytes: &[u8]) -> crate::client::Answer {
    server.request("PUT", &format!("/v1/components/{path}"), &[("content-type", "application/wasm")], bytes)
}

#[test]
fn a_version_is_published_once() {
    let server = Server::start();
    let made = put(&server, "large/versions/1.0.0", &threshold_rule());
    assert_eq!(made.status, 201, "{made:?}");
    let view = made.json();
    assert_eq!((&view["name"], &view["version"], &view["kind"]), (&json!("large"), &json!("1.0.0"), &json!("rule")));
    assert!(view["digest"].as_str().is_some_and(|digest| digest.starts_with("sha256:") && digest.len() == 71), "{view}");
    assert_eq!(view["describe"]["columns"], json!([{"name": "amount", "type": "float64", "nullable": true}]));

    assert_eq!(put(&server, "large/versions/1.0.0", &threshold_rule()).status, 200);
    let other = put(&server, "large/versions/1.0.0", &counter_rule());
    assert_eq!(other.status, 409, "{other:?}");
    assert_eq!(put(&server, "large/versions/1.1.0", &counter_rule()).status, 201);

    let one = server.get("/v1/components/large/versions/1.0.0");
    assert_eq!((one.status, &one.json()["digest"]), (200, &view["digest"]));
    let list = server.get("/v1/components").json();
    let versions: Vec<&Value> = list["components"].as_array().expect("a list").iter().map(|entry| &entry["version"]).collect();
    assert_eq!(versions, ["1.0.0", "1.1.0"]);

    assert_eq!(server.request("DELETE", "/v1/components/large/versions/1.1.0", &[], b"").status, 204);
    assert_eq!(server.request("DELETE", "/v1/components/large/versions/1.1.0", &[], b"").status, 404);
    assert_eq!(server.get("/v1/components/large/versions/1.1.0").status, 404);
}

#[test]
fn what_is_no_component_is_refused_and_never_an_error_of_the_host() {
    let server = Server::start();
    let check = |path: &str, bytes: &[u8], status: u16| {
        let answer = put(&server, path, bytes);
        assert_eq!(answer.status, status, "{path} {:?}: {answer:?}", String::from_utf8_lossy(&bytes[..bytes.len().min(20)]));
        assert!(answer.json()["detail"].as_str().is_some_and(|text| !text.is_empty()), "{answer:?}");
    };
    let mut cut = threshold_rule();
    cut.truncate(cut.len() - 100);
    for bytes in [&b""[..], b"x", b"(component)", b"\0asm", b"\0asm\x01\0\0\0", b"\0asm\x0d\0\x01\0", b"\x7fELF", &cut] {
        check("broken/versions/1.0.0", bytes, 422);
    }
    check("large/versions/1", &threshold_rule(), 400);
    check("Large/versions/1.0.0", &threshold_rule(), 400);
    check("std-large/versions/1.0.0", &threshold_rule(), 422);
    let json = server.request("PUT", "/v1/components/a/versions/1.0.0", &[("content-type", "application/json")], b"{}");
    assert_eq!(json.status, 415);
    assert_eq!(server.get("/v1/components").json()["components"], json!([]));

    let dev = Server::with(tidemill_server::Settings { std_components: true, ..settings() });
    assert_eq!(put(&dev, "std-large/versions/1.0.0", &threshold_rule()).status, 201);
}

#[test]
fn every_core_module_of_the_suite_is_refused() {
    let server = Server::start();
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/data/wasm_modules/modules.ndjson");
    let modules = std::fs::read_to_string(path).expect("the suite");
    let mut client = server.client();
    let mut count = 0;
    for line in modules.lines() {
        let module: Value = serde_json::from_str(line).expect("JSON");
        let bytes = base64::prelude::BASE64_STANDARD.decode(module["base64"].as_str().expect("base64")).expect("base64");
        client.send("PUT", "/v1/components/suite/versions/1.0.0", &[("content-type", "application/wasm")], &bytes);
        let answer = client.answer().expect("an answer");
        assert_eq!(answer.status, 422, "{}: {answer:?}", module["name"]);
        count += 1;
    }
    assert!(count > 300, "{count} modules");
}

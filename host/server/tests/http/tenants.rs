//! Tenants: what one has no other sees, finds or changes, over every route of the OpenAPI document.

use std::thread;
use std::time::Duration;

use serde_json::json;
use tidemill_runtime::testing::threshold_rule;
use tidemill_server::Settings;

use crate::access::Route;
use crate::client::Answer;
use crate::server::{Server, settings};

/// What the names of one tenant have in common, and nothing else has.
const MARK: &str = "shops-";
const STREAM: &str = r#"{"fields": [{"name": "n", "type": "int64"}]}"#;
const PIPELINE: &str = "from: shops-payments\nsteps:\n- where: 10 / n > 1\nto:\n- stream: shops-large\n";

/// A tenant with one of everything.
struct Shop {
    server: Server,
    /// `Authorization`.
    bearer: String,
    token: String,
}

impl Shop {
    fn open() -> Self {
        let server = Server::with(Settings { open: false, ..settings() });
        let (token, bearer) = server.token(&json!({"role": "admin", "tenant": "shop", "label": "shops-own"}));
        let shop = Self { server, bearer, token };
        let make = |method: &str, path: &str, status: u16| {
            let answer = shop.ask(&shop.bearer, method, path);
            assert_eq!(answer.status, status, "{method} {path}: {answer:?}");
        };
        make("PUT", "/v1/streams/shops-payments", 201);
        make("PUT", "/v1/components/shops-rule/versions/1.0.0", 201);
        make("PUT", "/v1/tables/shops-prices", 201);
        make("PUT", "/v1/pipelines/shops-big", 201);
        make("POST", "/v1/streams/shops-payments/events", 200);
        make("POST", "/v1/streams/shops-payments/consumers/shops-billing/commit", 200);
        make("POST", "/v1/pipelines/shops-big/replay", 202);
        // Its one row is a division by zero.
        let letter = "/v1/pipelines/shops-big/dead-letters/0:0";
        let is_there = || shop.ask(&shop.bearer, "GET", letter).status == 200;
        assert!(
            (0..1_000).any(|_| is_there() || {
                thread::sleep(Duration::from_millis(10));
                false
            }),
            "no dead letter"
        );
        make("POST", "/v1/pipelines/shops-big/checkpoints", 201);
        shop
    }

    /// A request with the body that a path needs to be more than a fault.
    fn ask(&self, bearer: &str, method: &str, path: &str) -> Answer {
        let (content, body) = match (method, path) {
            ("PUT", path) if path.starts_with("/v1/components/") => ("application/wasm", threshold_rule()),
            ("PUT", path) if path.starts_with("/v1/tables/") => ("text/csv", "shops-column\n1\n".into()),
            ("PUT", path) if path.ends_with("/snapshot") => ("application/octet-stream", Vec::new()),
            ("PUT", path) if path.starts_with("/v1/pipelines/") => ("application/yaml", PIPELINE.into()),
            ("PUT", _) => ("application/json", STREAM.into()),
            ("POST", path) if path.ends_with("/events") => ("application/json", r#"{"n":0}"#.into()),
            ("POST", path) if path.ends_with("/commit") => ("application/json", r#"{"0":1}"#.into()),
            ("POST", path) if path.ends_with("/dead-letters/replay") => ("application/json", r#"{"query":{}}"#.into()),
            ("POST", path) if path.ends_with("/replay") => ("application/json", r#"{"from":"earliest"}"#.into()),
            ("POST", path) if path.ends_with("/checkpoints") => ("application/json", r#"{"name":"shops-first"}"#.into()),
            ("POST", "/v1/tokens") => ("application/json", r#"{"role":"reader","tenant":"shop"}"#.into()),
            (_, _) => ("application/json", Vec::new()),
        };
        self.server.request(method, path, &[("authorization", bearer), ("content-type", content)], &body)
    }

    /// The path of a route to something of this tenant.
    fn path(&self, route: &Route) -> String {
        route.path(|before, part| match (before, part) {
            ("streams", "{stream}") => "shops-payments".to_owned(),
            ("consumers", "{consumer}") => "shops-billing".to_owned(),
            ("components", "{name}") => "shops-rule".to_owned(),
            ("versions", "{version}") => "1.0.0".to_owned(),
            ("pipelines", "{name}") => "shops-big".to_owned(),
            ("steps", "{step}") => "0".to_owned(),
            ("dead-letters", "{id}") => "0:0".to_owned(),
            ("matches", "{id}") => "0193d2f6b5a0-4f0e9d2c77a1b3e8".to_owned(),
            ("checkpoints", "{checkpoint}") => "shops-first".to_owned(),
            ("tables", "{table}") => "shops-prices".to_owned(),
            ("tokens", "{id}") => self.token.clone(),
            (_, part) => panic!("say here which {part} a tenant has: {}", route.template),
        })
    }

    /// Everything that can be looked at and does not change by itself. (Its one step has no state to be asked for, and no matches.)
    fn seen(&self, routes: &[Route]) -> Vec<(String, String)> {
        let still = |route: &&Route| {
            let moves = ["/status", "/replay", "/difference", "/state", "/matches/{id}", "/backup"];
            route.method == "GET" && !moves.iter().any(|end| route.template.ends_with(end))
        };
        let look = |route: &Route| {
            let path = self.path(route);
            let answer = self.ask(&self.bearer, "GET", &path);
            assert_eq!(answer.status, 200, "{path}: {answer:?}");
            (path, answer.body)
        };
        routes.iter().filter(still).map(look).collect()
    }
}

#[test]
fn a_tenant_sees_finds_and_changes_nothing_of_another() {
    let shop = Shop::open();
    let (_, other) = shop.server.token(&json!({"role": "admin", "tenant": "other"}));
    let mut routes = Route::all(&shop.server);
    routes.retain(|route| !route.open && !route.template.starts_with("/v1/backup"));
    // What the other makes under the same names comes last: until then everything asked for is the shop's.
    routes.sort_by_key(|route| route.method == "PUT");
    let before = shop.seen(&routes);
    assert!(before.iter().any(|(_, body)| body.contains(MARK)));
    for route in &routes {
        let path = shop.path(route);
        let answer = shop.ask(&other, &route.method, &path);
        let what = format!("{} {path}: {answer:?}", route.method);
        match (&*route.method, route.template.contains('{')) {
            ("PUT", _) if path.ends_with("/snapshot") => {
                assert!(matches!(answer.status, 400 | 404), "of no pipeline, or no file: {what}")
            }
            ("PUT", _) => assert!(matches!(answer.status, 201 | 422), "one of its own, or nothing: {what}"),
            (_, true) => assert_eq!(answer.status, 404, "{what}"),
            ("GET", false) => {
                assert_eq!(answer.status, 200, "{what}");
                assert!(!answer.body.contains(MARK) && !answer.body.contains(&shop.token), "{what}");
            }
            (_, false) => assert_eq!(answer.status, 403, "another tenant is named in the body: {what}"),
        }
    }
    assert_eq!(shop.seen(&routes), before, "nothing was changed");

    // Both have a stream of that name now, and each its own rows.
    let rows = |bearer: &str| shop.ask(bearer, "GET", "/v1/streams/shops-payments/events").body.lines().count();
    assert_eq!((rows(&shop.bearer), rows(&other)), (1, 0));
    assert_eq!(shop.ask(&other, "POST", "/v1/streams/shops-payments/events").status, 200);
    assert_eq!(shop.ask(&other, "POST", "/v1/streams/shops-payments/events").status, 200);
    assert_eq!((rows(&shop.bearer), rows(&other)), (1, 2));
    assert_eq!(shop.ask(&other, "DELETE", "/v1/streams/shops-payments").status, 204);
    assert_eq!(rows(&shop.bearer), 1);
}

#[test]
fn only_the_default_tenant_operates_the_host() {
    let shop = Shop::open();
    let ask = |bearer: &str, body: &str| {
        let headers = [("authorization", bearer), ("content-type", "application/json")];
        shop.server.request("POST", "/v1/tokens", &headers, body.as_bytes()).status
    };
    assert_eq!(ask(&shop.bearer, r#"{"role":"reader"}"#), 201, "its own tenant's");
    assert_eq!(ask(&shop.bearer, r#"{"role":"reader","tenant":"default"}"#), 403);
    assert_eq!(shop.ask(&shop.bearer, "GET", "/v1/tokens?tenant=default").status, 403);
    let operator = shop.server.bearer(tidemill_server::Role::Admin);
    assert!(shop.ask(&operator, "GET", "/v1/tokens").body.contains(&shop.token), "the host's sees all of them");
    let tokens = shop.ask(&operator, "GET", "/v1/tokens?tenant=shop").json();
    assert_eq!(tokens["tokens"].as_array().map(Vec::len), Some(2), "{tokens}");
    assert_eq!(shop.ask(&operator, "GET", "/v1/streams/shops-payments").status, 404, "its streams are the tenant's all the same");
}

//! Credentials: every route of the OpenAPI document asks for one but those that say they do not, and for a role that may. What other
//! tenants see is in `tenants.rs`.

use serde_json::Value;
use tidemill_server::{Role, Settings};

use crate::server::{Server, settings};

fn server() -> Server {
    Server::with(Settings { open: false, ..settings() })
}

/// A route of the OpenAPI document.
pub(crate) struct Route {
    pub(crate) method: String,
    /// With names in braces.
    pub(crate) template: String,
    /// Whether it is for everybody.
    pub(crate) open: bool,
}

impl Route {
    /// Every one there is.
    pub(crate) fn all(server: &Server) -> Vec<Self> {
        let document = server.get("/v1/openapi.json");
        assert_eq!(document.status, 200, "{document:?}");
        let mut routes = Vec::new();
        for (template, methods) in document.json()["paths"].as_object().expect("paths") {
            let is_open =
                |operation: &Value| operation["tags"] == serde_json::json!(["host"]) && !template.starts_with("/v1/backup");
            routes.extend(methods.as_object().expect("methods").iter().map(|(method, operation)| Self {
                method: method.to_uppercase(),
                template: template.clone(),
                open: is_open(operation),
            }));
        }
        assert!(routes.len() > 30, "{}", routes.len());
        routes
    }

    /// The path, with a name for each in braces: the one before tells which kind is meant.
    pub(crate) fn path(&self, name: impl Fn(&str, &str) -> String) -> String {
        let mut before = "";
        let filled = self.template.split('/').map(|part| {
            let filled = if part.starts_with('{') { name(before, part) } else { part.to_owned() };
            before = part;
            filled
        });
        filled.collect::<Vec<_>>().join("/")
    }

    /// The same, with names of nothing.
    fn nowhere(&self) -> String {
        self.path(|_, part| if part == "{version}" { "1.0.0" } else { "x" }.to_owned())
    }

    /// Which roles may take it. Said here once more, in other words than the service's own.
    fn roles(&self) -> &'static [Role] {
        const { assert!(Role::ALL.len() == 4) };
        let Self { method, template, .. } = self;
        match (&**method, &**template) {
            (_, path) if path.starts_with("/v1/tokens") || path.starts_with("/v1/backup") => &[Role::Admin],
            ("POST", "/v1/streams/{stream}/events") => &[Role::Admin, Role::Developer, Role::Ingest],
            ("GET", _) | ("POST", "/v1/streams/{stream}/consumers/{consumer}/commit") => {
                &[Role::Admin, Role::Developer, Role::Reader]
            }
            _ => &[Role::Admin, Role::Developer],
        }
    }
}

#[test]
fn every_route_asks_for_a_credential() {
    let server = server();
    let token = server.bearer(Role::Admin);
    let wrong = format!("{}A", &token[..token.len() - 1]);
    let basic = token.replace("Bearer", "Basic");
    for route in Route::all(&server) {
        let (method, path) = (route.method.clone(), route.nowhere());
        let answer = server.request(&method, &path, &[], b"");
        if route.open {
            assert_eq!(answer.status, 200, "{method} {path}: {answer:?}");
            continue;
        }
        assert_eq!(answer.status, 401, "{method} {path}: {answer:?}");
        assert_eq!(answer.header("www-authenticate"), Some("Bearer realm=\"tidemill\""), "{answer:?}");
        assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{answer:?}");
        assert_eq!(answer.json()["type"], "urn:tidemill:problem:unauthorized");
        for credential in ["Bearer", "Bearer x", "", &wrong, &basic] {
            let answer = server.request(&method, &path, &[("authorization", credential)], b"");
            assert_eq!(answer.status, 401, "{method} {path} with `{credential}`: {answer:?}");
        }
        let admitted = server.request(&method, &path, &[("authorization", &token)], b"");
        assert!(!matches!(admitted.status, 401 | 403), "{method} {path}: {admitted:?}");
    }
    // What is not there is not told either.
    assert_eq!(server.get("/v1/secrets").status, 401);
    assert_eq!(server.request("PATCH", "/metrics/", &[], b"").status, 401);
}

#[test]
fn every_route_asks_for_a_role_that_may() {
    let server = server();
    for route in Route::all(&server).into_iter().filter(|route| !route.open) {
        let path = route.nowhere();
        for role in Role::ALL {
            let answer = server.request(&route.method, &path, &[("authorization", &server.bearer(role))], b"");
            let may = route.roles().contains(&role);
            assert_ne!(answer.status, 401, "{} {path} as {role}", route.method);
            assert_eq!(answer.status != 403, may, "{} {path} as {role}: {answer:?}", route.method);
        }
    }
}

#[test]
fn roles_may_what_they_may() {
    let server = server();
    let ask = |role: Role, method: &str, path: &str, body: &str| {
        let headers = [("authorization", server.bearer(role)), ("content-type", "application/json".to_owned())];
        let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        server.request(method, path, &headers, body.as_bytes()).status
    };
    let stream = r#"{"fields": [{"name": "n", "type": "int64"}]}"#;
    let check = |method: &str, path: &str, body: &str, expected: [u16; 4]| {
        let said = [Role::Reader, Role::Ingest, Role::Developer, Role::Admin].map(|role| ask(role, method, path, body));
        assert_eq!(said, expected, "{method} {path}");
    };
    check("PUT", "/v1/streams/s", stream, [403, 403, 201, 200]);
    check("POST", "/v1/streams/s/events", r#"{"n":1}"#, [403, 200, 200, 200]);
    check("GET", "/v1/streams/s/events", "", [200, 403, 200, 200]);
    check("GET", "/v1/streams", "", [200, 403, 200, 200]);
    check("POST", "/v1/streams/s/consumers/c/commit", r#"{"0":1}"#, [200, 403, 200, 200]);
    check("DELETE", "/v1/streams/s/consumers/c", "", [403, 403, 204, 404]);
    check("DELETE", "/v1/pipelines/p", "", [403, 403, 404, 404]);
    check("GET", "/health/ready", "", [200, 200, 200, 200]);
}

#[test]
fn a_refusal_names_neither_the_token_nor_what_is_behind_it() {
    let server = server();
    let token = server.bearer(Role::Reader);
    let wrong = token.replace("Bearer tidemill_", "Bearer tidemill_x");
    let body = server.request("GET", "/v1/streams", &[("authorization", &wrong)], b"").body;
    assert!(!body.contains(&wrong["Bearer ".len()..]), "{body}");
    let refused = server.request("DELETE", "/v1/pipelines/p", &[("authorization", &token)], b"");
    let problem: Value = refused.json();
    assert_eq!(problem["type"], "urn:tidemill:problem:forbidden", "{problem}");
    assert!(problem["detail"].as_str().is_some_and(|text| text.contains("reader")), "{problem}");
}

//! `serve` without `--dev`: a token is printed once, asked for everywhere, lasts over restarts, and can be made anew when it is lost.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;
use tidemill_tests::{Host, tidemill_command};

/// A host that asks for tokens; stopped with its standard input.
struct Guarded {
    child: Child,
    url: String,
    /// What it printed before its address.
    greeting: Vec<Value>,
}

impl Guarded {
    #[expect(clippy::zombie_processes, reason = "where it panics, the process ends with its input, and this one soon after")]
    fn start(data: &Path) -> Self {
        let mut command: Command = tidemill_command();
        command.args(["serve", "--json", "--listen", "127.0.0.1:0", "--stop-with-stdin", "--data"]).arg(data);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("the binary");
        let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        let mut greeting = Vec::new();
        loop {
            let line = lines.next().expect("an address").expect("text");
            let line: Value = serde_json::from_str(&line).expect("a document");
            if let Some(url) = line["listening"].as_str() {
                return Self { child, url: url.to_owned(), greeting };
            }
            greeting.push(line);
        }
    }

    fn run(&self, words: &[&str], token: Option<&str>) -> Output {
        let mut command = tidemill_command();
        command.args(words).env("TIDEMILL_HOST", &self.url).env_remove("TIDEMILL_TOKEN").stdin(Stdio::null());
        if let Some(token) = token {
            command.env("TIDEMILL_TOKEN", token);
        }
        command.output().expect("the binary")
    }

    fn stop(mut self) {
        drop(self.child.stdin.take());
        assert!(self.child.wait().expect("its end").success());
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn offline(words: &[&str], data: &Path) -> Output {
    tidemill_command().args(words).arg("--data").arg(data).stdin(Stdio::null()).output().expect("the binary")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn a_token_is_made_once_and_asked_for() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    let host = Guarded::start(&data);
    assert_eq!(host.greeting.len(), 1, "{:?}", host.greeting);
    let token = host.greeting[0]["token"].as_str().expect("a token").to_owned();
    assert_eq!(host.greeting[0]["role"], "admin");
    let refused = host.run(&["streams"], None);
    assert_eq!(refused.status.code(), Some(4), "{}", text(&refused.stderr));
    assert!(text(&refused.stderr).contains("401"), "{}", text(&refused.stderr));
    assert!(host.run(&["streams"], Some(&token)).status.success());
    let file = folder.path().join("token");
    std::fs::write(&file, format!("{token}\n")).expect("a file");
    assert!(host.run(&["streams", "--token-file", &file.display().to_string()], None).status.success());
    assert_eq!(offline(&["token", "list"], &data).status.code(), Some(1), "a running host has its data for itself");
    host.stop();

    let again = Guarded::start(&data);
    assert_eq!(again.greeting, Vec::<Value>::new(), "shown once");
    assert!(again.run(&["streams"], Some(&token)).status.success(), "it lasts");
    again.stop();
}

#[test]
fn a_host_that_runs_makes_and_revokes_tokens() {
    let folder = tempfile::tempdir().expect("a folder");
    let host = Guarded::start(&folder.path().join("data"));
    let admin = host.greeting[0]["token"].as_str().expect("a token").to_owned();
    let words = ["token", "create", "--role", "ingest", "--tenant", "shop", "--label", "edge 7", "--expires", "90d", "--json"];
    let made = host.run(&words, Some(&admin));
    assert!(made.status.success(), "{}", text(&made.stderr));
    let made: Value = serde_json::from_slice(&made.stdout).expect("a document");
    let (token, id) = (made["token"].as_str().expect("a token"), made["id"].as_str().expect("an id"));
    assert_eq!((&made["tenant"], &made["expired"]), (&"shop".into(), &false.into()), "{made}");
    let list = text(&host.run(&["token", "list", "--tenant", "shop"], Some(&admin)).stdout);
    assert!(list.contains(id) && list.contains("edge 7") && !list.contains(token), "{list}");
    assert_eq!(host.run(&["token", "list"], Some(token)).status.code(), Some(4), "it may only send");
    assert_eq!(host.run(&["token", "create", "--expires", "soon"], Some(&admin)).status.code(), Some(2));
    assert!(host.run(&["token", "revoke", id], Some(&admin)).status.success());
    assert_eq!(host.run(&["token", "revoke", id], Some(&admin)).status.code(), Some(4));
    let own = host.greeting[0]["id"].as_str().expect("an id");
    let refused = host.run(&["token", "revoke", own], Some(&admin));
    assert_eq!(refused.status.code(), Some(4));
    assert!(text(&refused.stderr).contains("the last token"), "{}", text(&refused.stderr));
    host.stop();
}

#[test]
fn a_lost_token_is_replaced_on_the_data_directory() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    assert_eq!(offline(&["token", "new"], &data).status.code(), Some(2), "no data directory is made by mistake");
    let host = Guarded::start(&data);
    let (lost, id) = (host.greeting[0]["token"].as_str().expect("a token").to_owned(), host.greeting[0]["id"].clone());
    host.stop();

    let made = offline(&["token", "new", "--role", "reader", "--json"], &data);
    assert!(made.status.success(), "{}", text(&made.stderr));
    let made: Value = serde_json::from_slice(&made.stdout).expect("a document");
    let revoked = offline(&["token", "revoke", id.as_str().expect("an id")], &data);
    assert!(revoked.status.success(), "{}", text(&revoked.stderr));
    let listed: Value = serde_json::from_slice(&offline(&["token", "list", "--json"], &data).stdout).expect("a document");
    assert_eq!(listed["tokens"].as_array().map(Vec::len), Some(1), "{listed}");
    assert!(!listed.to_string().contains(made["token"].as_str().expect("a token")), "a list shows no token");

    let host = Guarded::start(&data);
    assert_eq!(host.greeting, Vec::<Value>::new(), "there is one, so none is made");
    assert_eq!(host.run(&["streams"], Some(&lost)).status.code(), Some(4));
    assert!(host.run(&["streams"], made["token"].as_str()).status.success());
    host.stop();
}

#[test]
fn dev_listens_on_this_machine_only() {
    let folder = tempfile::tempdir().expect("a folder");
    let refused = offline(&["serve", "--dev", "--listen", "0.0.0.0:0"], &folder.path().join("data"));
    assert_eq!(refused.status.code(), Some(2));
    let said = text(&refused.stderr);
    assert!(said.contains("--listen") && said.contains("127.0.0.1") && said.contains("leave dev out"), "{said}");
    Host::start().get("/v1/streams").expect(200);
}

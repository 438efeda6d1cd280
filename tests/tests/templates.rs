//! What `tidemill new` makes of each kind: its own tests pass, it builds, `tidemill test` is content with it, and a host runs its pipeline as its
//! README says.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use tidemill_tests::{Host, target_dir, tidemill_command};

/// A kind, words for `tidemill test` behind component and events, the stream of its README, and what comes of its events where.
type Kind = (&'static str, &'static [&'static str], &'static str, &'static [(&'static str, usize)]);

const KINDS: [Kind; 5] = [
    ("rule", &["--by", "user"], "logins", &[("alerts", 1)]),
    ("transform", &[], "lines", &[("readings", 2)]),
    ("process", &["--by", "customer", "--time", "at"], "orders", &[("paid", 2), ("overdue", 1)]),
    ("function", &[], "names", &[("results", 1)]),
    ("aggregate", &["--by", "room"], "readings", &[]),
];

fn sdk() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../sdk/rust")
}

/// Runs a program to its good end.
fn run(what: &str, command: &mut Command) {
    let output = command.output().unwrap_or_else(|error| panic!("{what}: {error}"));
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{what}:\n{said}");
}

/// One target folder for all of them, and no network: what their crates need is there, since the host needs it too.
fn as_built(command: &mut Command, folder: &Path) {
    command.current_dir(folder).env("CARGO_TARGET_DIR", target_dir().join("templates")).env("CARGO_NET_OFFLINE", "true");
}

#[test]
fn a_project_of_each_kind_builds_tests_and_runs() {
    let host = Host::start();
    for (kind, words, stream, expected) in KINDS {
        let folder = tempfile::tempdir().expect("a folder");
        let name = format!("my-{kind}");
        let mut new = tidemill_command();
        new.current_dir(folder.path()).args(["new", &name, "--kind", kind, "--sdk"]).arg(sdk());
        run(&format!("new {kind}"), &mut new);
        let project = folder.path().join(&name);
        // The versions that the guests were locked to, so that nothing has to be looked up.
        std::fs::copy(sdk().join("../../guests/Cargo.lock"), project.join("Cargo.lock")).expect("a lock file");
        let mut test = Command::new("cargo");
        as_built(test.arg("test"), &project);
        run(&format!("cargo test of a {kind}"), &mut test);
        let mut build = tidemill_command();
        as_built(build.arg("build"), &project);
        run(&format!("building a {kind}"), &mut build);
        let component = project.join(format!("{name}.wasm"));
        let mut trial = tidemill_command();
        trial.current_dir(&project).arg("test").arg(&component).arg("events.ndjson").args(words);
        run(&format!("trying a {kind}"), &mut trial);

        // As the README goes on.
        let read = |file: &str| std::fs::read(project.join(file)).expect("a file of the project");
        let stream_definition: Value = serde_json::from_slice(&read("stream.json")).expect("JSON");
        host.put(&format!("/v1/streams/{stream}"), &stream_definition).expect(201);
        host.push(&name, "0.1.0", &std::fs::read(&component).expect("the component")).expect(201);
        host.apply(&name, &String::from_utf8(read("pipeline.yaml")).expect("text")).expect(201);
        host.send_as(stream, "application/x-ndjson", &read("events.ndjson")).expect(200);
        for (output, rows) in expected {
            host.wait_rows(&format!("{name}-{output}"), *rows);
        }
    }
}

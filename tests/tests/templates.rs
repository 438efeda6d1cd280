//! What `tidemill new` makes: its own tests pass, whatever its kind, and it builds, is tried and runs as its README says.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use tidemill_tests::{Host, target_dir, tidemill_command};

const KINDS: [&str; 5] = ["rule", "transform", "process", "function", "aggregate"];

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

/// A new project of a kind.
fn made(folder: &Path, kind: &str) -> PathBuf {
    let name = format!("my-{kind}");
    let mut new = tidemill_command();
    new.current_dir(folder).args(["new", &name, "--kind", kind, "--sdk"]).arg(sdk());
    run(&format!("new {kind}"), &mut new);
    let project = folder.join(&name);
    // The versions that the guests were locked to, so that nothing has to be looked up.
    std::fs::copy(sdk().join("../../guests/Cargo.lock"), project.join("Cargo.lock")).expect("a lock file");
    project
}

#[test]
fn the_tests_of_a_new_project_of_each_kind_pass() {
    let folder = tempfile::tempdir().expect("a folder");
    for kind in KINDS {
        let mut test = Command::new("cargo");
        as_built(test.arg("test"), &made(folder.path(), kind));
        run(&format!("cargo test of a {kind}"), &mut test);
    }
}

/// The kind that has most in it; how each kind is built and called is tested with the guests.
#[test]
fn a_new_process_does_what_its_readme_says() {
    let folder = tempfile::tempdir().expect("a folder");
    let project = made(folder.path(), "process");
    let mut build = tidemill_command();
    as_built(build.arg("build"), &project);
    run("building it", &mut build);
    let component = project.join("my-process.wasm");
    let mut trial = tidemill_command();
    trial.current_dir(&project).arg("test").arg(&component).args(["events.ndjson", "--by", "customer", "--time", "at"]);
    run("trying it", &mut trial);

    let host = Host::start();
    let read = |file: &str| std::fs::read(project.join(file)).expect("a file of the project");
    let stream: Value = serde_json::from_slice(&read("stream.json")).expect("JSON");
    host.put("/v1/streams/orders", &stream).expect(201);
    host.push("my-process", "0.1.0", &read("my-process.wasm")).expect(201);
    host.apply("my-process", &String::from_utf8(read("pipeline.yaml")).expect("text")).expect(201);
    host.send_as("orders", "application/x-ndjson", &read("events.ndjson")).expect(200);
    host.wait_rows("my-process-paid", 2);
    host.wait_rows("my-process-overdue", 1);
}

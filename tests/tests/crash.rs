//! `kill -9` under load, over and over, on one data directory: nothing acknowledged is lost, nothing is doubled, in the stream, in
//! what chained pipelines make of it, and in files; every replay agrees. The judge is another program (`src/judging`).

use std::process::{Command, Stdio};

use tidemill_tests::judging::prepare;
use tidemill_tests::{Cycles, Host, guest, judge};

/// As many as CI can wait for; `cargo xtask test --long` sets more.
const CYCLES_DEFAULT: u32 = 50;

#[test]
fn nothing_acknowledged_is_lost_and_nothing_doubled_over_many_kills() {
    let mut host = Host::start();
    prepare(&host.url(), Some(&guest("test-count-per-key"))).expect("stream and pipelines");
    let mut cycles = Cycles::new(20_261_121);
    for _ in 0..Cycles::wanted(CYCLES_DEFAULT) {
        cycles.kill_under_load(&mut host);
        let judged = cycles.judge(&host);
        assert!(judged.is_right, "after {} kills:\n{}", cycles.kills(), judged.text);
    }
    assert!(host.terminate().success(), "a clean stop after all of that; the log:\n{}", host.log());
    host.launch();
    let judged = cycles.judge(&host);
    assert!(judged.is_right, "after a clean stop:\n{}", judged.text);
    println!("{} kills: {}", cycles.kills(), judged.text);
}

#[test]
fn the_judge_says_no_to_an_acknowledgement_that_nobody_kept() {
    let host = Host::start();
    prepare(&host.url(), None).expect("stream and pipeline");
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("producer-0.ledger"), "S 0 0 4\nA 0 0 4\n").expect("a ledger");
    let mut check = Command::new(judge());
    check.arg("check").arg(host.url()).arg(folder.path()).arg(host.data().join("files"));
    let output = check.stdin(Stdio::null()).output().expect("the judge");
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("5 lost") && said.contains("0-0-4 was acknowledged and is lost"), "{said}");
}

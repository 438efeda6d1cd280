//! A power cut: unlike `kill -9`, it takes what was written and not synced. These hosts keep such bytes in their own memory, so
//! that killing them is a power cut. A right host loses nothing that it acknowledged and doubles nothing, and each host with a
//! planted bug is found out.

use tidemill_tests::judging::prepare;
use tidemill_tests::{Cycles, Host, HostOptions, guest, variant};

const CYCLES_RIGHT: u32 = 10;
/// A planted bug shows in a few more: what a retry mends does not tell.
const CYCLES_PLANTED: u32 = 60;

fn host(flags: &[&str]) -> Host {
    let flags = flags.iter().map(|flag| (*flag).to_owned()).collect();
    let host = Host::with(HostOptions { binary: variant("planted"), flags, ..HostOptions::default() });
    prepare(&host.url(), Some(&guest("test-count-per-key"))).expect("stream and pipelines");
    host
}

#[test]
fn a_power_cut_takes_nothing_that_was_acknowledged() {
    let mut host = host(&[]);
    let mut cycles = Cycles::new(1);
    for _ in 0..Cycles::wanted(CYCLES_RIGHT) {
        cycles.kill_under_load(&mut host);
        let judged = cycles.judge(&host);
        assert!(judged.is_right, "after {} cuts:\n{}", cycles.kills(), judged.text);
    }
}

/// Whether the judge finds the bug, and says so in these words.
fn is_found(bug: &str, words: &str) {
    let mut host = host(&["--planted", bug]);
    let mut cycles = Cycles::new(2);
    for _ in 0..CYCLES_PLANTED {
        cycles.kill_under_load(&mut host);
        let judged = cycles.judge(&host);
        if !judged.is_right {
            assert!(judged.text.contains(words), "{bug} was found, but for another reason:\n{}", judged.text);
            println!("{bug} was found after {} cuts: {}", cycles.kills(), judged.text);
            return;
        }
    }
    panic!("{CYCLES_PLANTED} cuts, and {bug} was not found");
}

#[test]
fn an_acknowledgement_before_the_sync_is_found_out() {
    is_found("early-acknowledgement", "was acknowledged and is lost");
}

#[test]
fn a_retry_that_nobody_remembers_is_found_out() {
    is_found("requests-forgotten", "is there twice");
}

#[test]
fn outputs_that_a_replay_repeats_are_found_out() {
    is_found("replayed-outputs", "is number");
}

#[test]
fn a_commit_in_two_entries_is_found_out() {
    is_found("commit-without-range", "and should be");
}

//! Every planted bug is caught: by the same stories that a right log passes in `crash_states.rs` and `damage.rs`.

mod support;

use std::panic::{AssertUnwindSafe, catch_unwind};

use support::hunts::{any_fault, closed, kill_then_cut, one_fault, one_flip, three_lives};
use support::overlap::an_old_group_behind_a_new_one;
use tidemill_log::Planted;
use tidemill_log::simulated::{Call, Fault};

/// Seeds until a hunt gives up.
const PATIENCE: u64 = 600;

type Story = fn(Planted, u64) -> Result<(), String>;

fn power_cuts(bug: Planted, seed: u64) -> Result<(), String> {
    three_lives(Some(bug), seed, 40 + (seed * 7919) % 400)
}

/// Its syncs take a while, and others work meanwhile.
fn cuts_of_a_slow_disk(bug: Planted, seed: u64) -> Result<(), String> {
    power_cuts(bug, seed * 4)
}

fn old_groups(bug: Planted, _: u64) -> Result<(), String> {
    an_old_group_behind_a_new_one(Some(bug))
}

fn failing_syncs(bug: Planted, seed: u64) -> Result<(), String> {
    let fault = Fault { call: Call::Sync, ..any_fault(seed) };
    one_fault(Some(bug), seed, fault, true).map(|_| ())
}

fn flips(bug: Planted, seed: u64) -> Result<(), String> {
    let machine = closed(Some(bug), seed / 50)?;
    one_flip(&machine, seed).map(|_| ())
}

fn kills(bug: Planted, seed: u64) -> Result<(), String> {
    kill_then_cut(Some(bug), seed % 120 + 1).map(|_| ())
}

/// The story that finds it, and a word of what is found.
fn story(bug: Planted) -> (Story, &'static str) {
    match bug {
        Planted::EarlyAcknowledgement | Planted::JournalNotSynced | Planted::JournalNameNotSynced => (power_cuts, "acknowledged"),
        Planted::SyncErrorIgnored => (failing_syncs, "acknowledged"),
        Planted::RunNotSynced | Planted::ManifestNotSynced | Planted::ManifestNameNotSynced | Planted::RollFreesEarly => {
            (power_cuts, "recovery failed")
        }
        Planted::SegmentNotSynced | Planted::SegmentNameNotSynced => (power_cuts, "cannot be read"),
        Planted::StaleGroupAccepted | Planted::HalfEntryAccepted => (power_cuts, ""),
        Planted::RequestsForgotten => (power_cuts, "its rows are There"),
        Planted::ManifestAhead => (cuts_of_a_slow_disk, ""),
        Planted::ChainUnchecked => (old_groups, "another life joins"),
        Planted::RecoveredNotSynced => (kills, "damaged"),
        Planted::FrameUnchecked => (flips, "that nobody wrote"),
        Planted::DamageCutOff => (flips, "without a word"),
    }
}

/// Seeds tried, and what was found.
fn hunt(bug: Planted) -> Option<(u64, String)> {
    let (story, word) = story(bug);
    (1..=PATIENCE).find_map(|seed| {
        let told = match catch_unwind(AssertUnwindSafe(|| story(bug, seed))) {
            Ok(Ok(())) => return None,
            Ok(Err(broken)) => broken,
            Err(panic) => format!("a panic: {:?}", panic.downcast_ref::<String>()),
        };
        told.contains(word).then_some((seed, told))
    })
}

#[test]
fn every_planted_bug_is_caught() {
    let mut holes = Vec::new();
    for bug in Planted::ALL {
        match hunt(*bug) {
            Some((seed, told)) => println!("{}: seed {seed}: {}", bug.name(), told.lines().next().unwrap_or_default()),
            None => holes.push(bug.name()),
        }
    }
    assert!(holes.is_empty(), "not caught in {PATIENCE} tries: {}", holes.join(", "));
}

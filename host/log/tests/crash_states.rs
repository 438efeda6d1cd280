//! Power cuts at every I/O operation, torn at 512-byte sectors in random subsets: nothing acknowledged is lost, nothing is
//! invented, nothing is doubled, and recovery never fails.
//!
//! A kill keeps the page cache and never finds a missing sync; this does. `planted.rs` shows it. Some 3,000 crash states, or what
//! `TIDEMILL_CRASH_STATES` says. The seed fixes the work, the cut and what survives it; which rows share a group is
//! up to the threads of the log.

mod support;

use std::io::ErrorKind;

use support::hunts::{five_deep, kill_before_a_name_is_synced, kill_then_cut, one_fault, three_lives};
use support::life::{End, Machine};
use support::overlap::an_old_group_behind_a_new_one;
use support::seeds::{each, is_long, seeds};
use tidemill_log::simulated::{Call, Fault};

/// A cut during each of the first calls that change the disk: opening, group by group, every step of a roll. Each has two more
/// behind it.
#[test]
fn cut_during_every_call() {
    each(400, |seed| three_lives(None, seed * 8 + seed % 8, seed % 400 + 1));
}

#[test]
fn cut_at_random_moments() {
    each(100, |seed| three_lives(None, 1_000_003 + seed, 200 + (seed * 7919) % 1500));
}

#[test]
fn cut_during_recovery_five_deep() {
    each(120, |seed| five_deep(None, seed));
}

#[test]
fn a_group_of_a_life_that_was_cut_joins_no_other() {
    an_old_group_behind_a_new_one(None).expect("it is dead");
}

#[test]
fn what_a_kill_left_unsynced_is_synced_before_it_is_shown() {
    let mut shown_more = 0;
    for calls in seeds(120) {
        shown_more += kill_then_cut(None, calls).unwrap_or_else(|broken| panic!("{broken}\nrepeat it with SEED={calls}"));
    }
    assert!(
        shown_more > 10 || seeds(120).len() < 100,
        "the test shows rows that the life that wrote them never synced: {shown_more}"
    );
}

#[test]
fn the_name_of_a_file_that_a_kill_left_is_synced_before_it_is_used() {
    // Enough that some cut keeps no name.
    for seed in 0..16 {
        kill_before_a_name_is_synced(seed).unwrap_or_else(|broken| panic!("{broken}\nwith seed {seed}"));
    }
}

/// EIO, once or from then on, and ENOSPC, once, of the first, second, third … call of each kind, in a life (`work`) or while the log
/// recovers, until there is no such call; then a power cut. A short run takes larger steps the longer it gets.
fn every_call_fails(work: bool) {
    let mut met = 0;
    for call in Call::ALL {
        for (error, stays) in [(ErrorKind::StorageFull, false), (ErrorKind::Other, false), (ErrorKind::Other, true)] {
            let mut nth = 1;
            while one_fault(None, nth, Fault { call, nth, error, stays }, work)
                .unwrap_or_else(|broken| panic!("{call:?} {nth} fails with {error}, stays: {stays}: {broken}"))
            {
                met += 1;
                nth += if is_long() { 1 } else { 1 + nth / 4 };
            }
        }
    }
    println!("{met} calls failed");
    assert!(met > 50, "only {met} calls failed");
}

#[test]
fn every_call_fails_in_a_life() {
    every_call_fails(true);
}

#[test]
fn every_call_fails_during_recovery() {
    every_call_fails(false);
}

/// The judge is not blind: rows that were acknowledged and are in no log are missed.
#[test]
fn lives_acknowledge_much() {
    let mut machine = Machine::prepared(None);
    machine.live(7, End::Power(1_500)).expect("kept");
    assert!(machine.model.acknowledged() > 100, "{} entries were acknowledged before the cut", machine.model.acknowledged());
    let mut other = Machine::prepared(None);
    std::mem::swap(&mut other.model, &mut machine.model);
    other.judge().expect_err("an empty log has lost them all");
}

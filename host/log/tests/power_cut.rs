//! Power cuts at every kind of moment, torn at 512-byte sectors in random subsets: nothing acknowledged is lost, nothing is invented.
//!
//! A kill keeps the page cache and never finds a missing sync; this does. `planted.rs` shows it.
#![cfg(not(feature = "planted-early-ack"))]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use support::hooked_disk::HookedDisk;
use support::life::{Ledger, judge, live, prepared_disk, settings};
use support::memory_disk::MemoryDisk;
use support::{append, events, read_all};
use tidemill_log::{Disk, Log, PowerCutDisk};

/// Three lives in a row on one disk, each cut somewhere else, then a judgement: groups of a life that was cut must not join later ones.
fn three_lives(seed: u64, first_cut: u64) {
    let below = if seed.is_multiple_of(8) { Arc::new(MemoryDisk::default()) } else { prepared_disk() };
    let mut ledger = Ledger::default();
    let mut random = seed;
    for life in 0..3 {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(life + 1);
        let calls = if life == 0 { first_cut } else { (random >> 33) % 160 + 1 };
        live(&below, &mut ledger, random, calls).unwrap_or_else(|error| panic!("seed {seed}, life {life}: {error}"));
    }
    judge(&below, &ledger).unwrap_or_else(|error| panic!("seed {seed}, at the end: {error}"));
}

/// A cut after each of the first calls that change the disk: opening, group by group, every step of a roll.
#[test]
fn cut_after_every_call() {
    for calls in 1..400 {
        three_lives(calls * 8 + calls % 8, calls);
    }
}

#[test]
fn cut_at_random_moments() {
    for seed in 0..150u64 {
        let calls = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 55;
        three_lives(1_000_003 + seed, 200 + calls * 3);
    }
}

/// A kill leaves in the page cache what was written and not synced. The next life reads it and shows it as durable: a power cut after
/// that must not take it back.
#[test]
fn what_a_kill_left_unsynced_is_synced_before_it_is_shown() {
    let mut shown_more = 0;
    for calls in 1..120u64 {
        let below = prepared_disk();
        let cache = PowerCutDisk::new(Arc::clone(&below) as Arc<dyn Disk>);
        let made = Arc::new(AtomicU64::new(0));
        let counting = Arc::clone(&made);
        let killed = HookedDisk::over(Arc::new(cache.clone()), move |_, _| {
            if counting.fetch_add(1, Ordering::SeqCst) > calls { Err(std::io::Error::other("killed")) } else { Ok(()) }
        });
        let mut acknowledged = 0;
        if let Ok(log) = Log::open(settings(), killed) {
            let stream = events(&log, 3);
            while log.append(append(&stream, 0, acknowledged..acknowledged + 1)).is_ok_and(|pending| pending.wait().is_ok()) {
                acknowledged += 1;
            }
        }
        let shown = match Log::open(settings(), Arc::new(cache.clone())) {
            Ok(log) => read_all(&events(&log, 3).partitions()[0]),
            Err(error) => panic!("call {calls}: {error}"),
        };
        assert!(shown.len() as i64 >= acknowledged, "call {calls}: {shown:?} of {acknowledged}");
        shown_more += usize::from(shown.len() as i64 > acknowledged);
        cache.cut(calls).expect("memory does not fail");
        let log = Log::open(settings(), below as Arc<dyn Disk>).unwrap_or_else(|error| panic!("call {calls}: {error}"));
        assert_eq!(read_all(&events(&log, 3).partitions()[0]), shown, "call {calls}");
    }
    assert!(shown_more > 10, "the test shows rows that were never synced by the life that wrote them: {shown_more}");
}

/// The judge is not blind: a row that was never appended, in the producer's list, is missed.
#[test]
fn lives_acknowledge_much() {
    let below = prepared_disk();
    let mut ledger = Ledger::default();
    live(&below, &mut ledger, 7, 1_500).expect("kept");
    assert!(ledger.acknowledged() > 100, "{} frames were acknowledged before the cut", ledger.acknowledged());
    judge(&prepared_disk(), &ledger).expect_err("an empty log has lost them all");
}

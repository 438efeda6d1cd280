//! One behaviour for every sink: rows arrive in order and without a gap; after a crash between any two steps, after an error of
//! any call, after a mark that was not stored, they are there as the sink promises.

mod support;

use std::time::Duration;

use support::{Fault, Folder, Hook, Rig, Target, Terminal, check_seen};
use tidemill_connect::{BatchBounds, FileFormat, Promise, Step};
use tidemill_event::Offset;

/// Batches of four rows; fewer wait for ten seconds.
const BOUNDS: BatchBounds = BatchBounds { rows: 4, bytes: 1 << 20, every: Duration::from_secs(10) };

fn behaviour(make: &dyn Fn() -> Box<dyn Target>) {
    rows_arrive_in_order_and_partitions_are_apart(&*make());
    rows_wait_for_company_and_no_longer_than_said(&*make());
    for steps in 0..16 {
        a_crash_between_two_steps(&*make(), steps);
    }
    for calls in 0..24 {
        for fault in [Fault::Before, Fault::After] {
            a_call_fails(&*make(), calls, fault);
        }
    }
    for stores in 0..4 {
        a_mark_is_not_stored(&*make(), stores);
    }
}

fn rows_arrive_in_order_and_partitions_are_apart(target: &dyn Target) {
    let rig = Rig::new();
    let promise = target.open(0).promise();
    rig.append(0, 0..10);
    let mut drive = rig.reader(target, 0, BOUNDS);
    assert_eq!(drive.finish(), Vec::<String>::new());
    assert_eq!(target.seen(0), (0..10).collect::<Vec<_>>());
    assert_eq!(drive.reader.offset(), Offset(10));
    rig.append(0, 10..13);
    assert_eq!(drive.finish(), Vec::<String>::new());
    check_seen(target, promise, 0, 13, "more rows");
    drop(drive);
    // A start finds nothing to do.
    let mut drive = rig.reader(target, 0, BOUNDS);
    assert!(matches!(drive.step(true), Ok(Step::AtEnd)));
    assert_eq!(drive.reader.offset(), Offset(13));
    check_seen(target, promise, 0, 13, "a start");
}

fn rows_wait_for_company_and_no_longer_than_said(target: &dyn Target) {
    let rig = Rig::new();
    let mut drive = rig.reader(target, 0, BOUNDS);
    assert!(matches!(drive.step(false), Ok(Step::AtEnd)));
    rig.append(0, 0..3);
    assert_eq!(drive.step(false).expect("adds"), Step::Added);
    let began = drive.now;
    assert_eq!(drive.step(false).expect("waits"), Step::Waiting(began + BOUNDS.every));
    assert_eq!((target.seen(0), drive.reader.offset(), drive.reader.waiting_rows()), (Vec::new(), Offset(0), 3));
    // The driver's clock stands where it was asked to wait until.
    assert!(matches!(drive.step(false), Ok(Step::Committed { rows: 3, .. })));
    rig.append(0, 3..9);
    // Four fill a batch, and go at once.
    assert_eq!(drive.step(false).expect("adds"), Step::Added);
    assert!(matches!(drive.step(false), Ok(Step::Committed { rows: 4, .. })));
    assert_eq!((target.seen(0), drive.reader.offset()), ((0..7).collect(), Offset(7)));
}

fn a_crash_between_two_steps(target: &dyn Target, steps: u32) {
    let rig = Rig::new();
    let promise = target.open(0).promise();
    rig.append(0, 0..10);
    let mut drive = rig.reader(target, 0, BOUNDS);
    for _ in 0..steps {
        drive.step(true).expect("nothing fails");
    }
    drop(drive);
    rig.append(0, 10..13);
    // Other bounds: what was sent under the old ones may not be cut anew where that shows.
    let mut drive = rig.reader(target, 0, BatchBounds { rows: 3, ..BOUNDS });
    assert_eq!(drive.finish(), Vec::<String>::new());
    check_seen(target, promise, 0, 13, &format!("a crash behind step {steps}"));
}

fn a_call_fails(target: &dyn Target, calls: u64, fault: Fault) {
    let rig = Rig::new();
    let promise = target.open(0).promise();
    let mut drive = rig.reader(target, 0, BOUNDS);
    target.fail(calls, fault);
    rig.append(0, 0..10);
    let mut errors = Vec::new();
    // When it fails more rows are there at once: what comes again is cut otherwise, unless somebody has to see to that.
    while errors.is_empty() {
        match drive.step(true) {
            Ok(Step::AtEnd) => break,
            Ok(_) => {}
            Err(error) => errors.push(error.to_string()),
        }
    }
    rig.append(0, 10..13);
    errors.extend(drive.finish());
    let story = format!("call {calls} fails ({fault:?}): {errors:?}");
    assert!(errors.len() <= 1, "{story}");
    check_seen(target, promise, 0, 13, &story);
    drop(drive);
    target.fail(u64::MAX, fault);
    let mut drive = rig.reader(target, 0, BOUNDS);
    assert_eq!(drive.finish(), Vec::<String>::new());
    check_seen(target, promise, 0, 13, &format!("and a start: {story}"));
}

fn a_mark_is_not_stored(target: &dyn Target, stores: u64) {
    let rig = Rig::new();
    let promise = target.open(0).promise();
    rig.append(0, 0..10);
    target.marks(0).0.lock().expect("unpoisoned").fail_after = Some(stores);
    let mut drive = rig.reader(target, 0, BOUNDS);
    let errors = drive.finish();
    assert!(errors.len() <= 1 && errors.iter().all(|error| error.contains("planted")), "{errors:?}");
    check_seen(target, promise, 0, 10, &format!("store {stores} fails"));
    drop(drive);
    rig.append(0, 10..12);
    rig.reader(target, 0, BOUNDS).finish();
    check_seen(target, promise, 0, 12, &format!("store {stores} failed, and a start"));
}

#[test]
fn lines_in_files() {
    behaviour(&|| Box::new(Folder::new(FileFormat::Ndjson)));
}

#[test]
fn parquet_files() {
    behaviour(&|| Box::new(Folder::new(FileFormat::Parquet)));
}

#[test]
fn webhooks() {
    behaviour(&|| Box::new(Hook::new()));
}

#[test]
fn standard_output() {
    behaviour(&|| Box::new(Terminal::default()));
}

#[test]
fn a_power_cut_at_any_call_loses_and_doubles_nothing_in_files() {
    for format in [FileFormat::Ndjson, FileFormat::Parquet] {
        for calls in 0..24 {
            let target = Folder::new(format);
            let rig = Rig::new();
            rig.append(0, 0..10);
            let mut drive = rig.reader(&target, 0, BOUNDS);
            target.fail_power_after(calls);
            // The disk is gone from some step on: the others fail like it.
            for _ in 0..16 {
                drop(drive.step(true));
            }
            drop(drive);
            target.cut_power(calls * 7919 + 1);
            rig.append(0, 10..13);
            let mut drive = rig.reader(&target, 0, BOUNDS);
            assert_eq!(drive.finish(), Vec::<String>::new());
            check_seen(&target, Promise::ExactlyOnce, 0, 13, &format!("the power goes at call {calls}"));
        }
    }
}

//! Every way a call can end that did not return, each from a component made for it, and what is left afterwards.

mod host;

use std::sync::Arc;
use std::time::{Duration, Instant};

use expect_test::{Expect, expect};
use host::{Lines, amount, call, instance, instance_with, limits, settings};
use tidemill_event::{CallFailure, Ending};
use tidemill_runtime::testing::{TextGuest, threshold_rule};
use tidemill_runtime::{Grant, InstanceSettings, Limits};

const LOOP: &str = "(loop $for_ever (br $for_ever)) unreachable";
const RECURSE: &str = "(func $recurse (result i32) (i32.add (call $recurse) (i32.const 1)))";

fn rule() -> TextGuest {
    TextGuest::rule(vec![amount()])
}

/// Calls a component once and shows how that ended; it must have ended, and the instance be dead unless the error is the guest's.
fn ending(guest: &TextGuest) -> CallFailure {
    let mut instance = instance(&guest.build()).expect("an instance");
    let failure = instance.judge(&call(9)).expect_err("a failing call");
    assert_eq!(instance.alive(), failure.ending == Ending::GuestError, "{failure}");
    if !instance.alive() {
        let again = instance.judge(&call(9)).expect_err("a dead instance");
        assert_eq!(again.ending, Ending::Trap);
        assert!(again.message.contains("make a new one"), "{again}");
    }
    failure
}

fn check(guest: &TextGuest, expect: Expect) {
    expect.assert_eq(&ending(guest).to_string());
}

#[test]
fn an_endless_loop_runs_out_of_fuel() {
    let started = Instant::now();
    check(&rule().call(LOOP), expect!["out_of_fuel: more than its 1457200 units of fuel"]);
    assert!(started.elapsed() < Duration::from_secs(5));
}

#[test]
fn fuel_grows_with_rows_and_bytes() {
    let mut instance = instance(&rule().call(LOOP).build()).expect("an instance");
    let few = instance.judge(&call(1)).expect_err("a failing call").usage.fuel;
    let mut instance = host::instance(&rule().call(LOOP).build()).expect("an instance");
    let many = instance.judge(&call(100)).expect_err("a failing call").usage.fuel;
    assert_eq!(few, 1_000_000 + 50_000 + 8 * 100);
    assert_eq!(many, 1_000_000 + 100 * 50_000 + 800 * 100);
}

#[test]
fn bulk_operations_burn_fuel_by_the_byte() {
    let fill = "(loop $again (memory.fill (i32.const 65536) (i32.const 0) (i32.const 60000)) (br $again)) unreachable";
    check(&rule().call(fill), expect!["out_of_fuel: more than its 1457200 units of fuel"]);
}

#[test]
fn the_deadline_interrupts_what_has_too_much_fuel() {
    let limits = Limits { fuel_base: u64::MAX / 2, deadline: Duration::from_millis(50), ..limits() };
    let mut instance = instance_with(&rule().call(LOOP).build(), settings(limits)).expect("an instance");
    let started = Instant::now();
    let failure = instance.judge(&call(1)).expect_err("a failing call");
    assert_eq!(failure.ending, Ending::Deadline, "{failure}");
    assert!(failure.message.contains("50ms"), "{failure}");
    // Far more than it takes on a quiet machine.
    assert!(started.elapsed() < Duration::from_secs(20));
}

#[test]
fn endless_recursion_is_a_trap_with_its_frames() {
    let failure = ending(&rule().fields(RECURSE).call("(call $recurse)"));
    assert_eq!(failure.ending, Ending::Trap);
    assert!(failure.message.contains("stack"), "{failure}");
    assert!(failure.backtrace.contains("recurse"), "{}", failure.backtrace);
    assert!(failure.backtrace.lines().count() <= 32);
}

#[test]
fn a_memory_eater_is_stopped_at_its_own_bound() {
    let eater = "(loop $more (br_if $more (i32.ne (i32.const -1) (memory.grow (i32.const 1))))) unreachable";
    check(&rule().call(eater), expect!["out_of_memory: 1114112 bytes of memory asked for, 1048576 allowed"]);
    let at_once = "(if (i32.eq (i32.const -1) (memory.grow (i32.const 10000))) (then unreachable)) (call $answer (i32.const 0) (i32.const 2))";
    check(&rule().call(at_once), expect!["out_of_memory: 655491072 bytes of memory asked for, 1048576 allowed"]);
}

#[test]
fn a_table_eater_is_stopped_too() {
    let guest = rule()
        .fields("(table $t 1 1000000 funcref)")
        .call("(if (i32.eq (i32.const -1) (table.grow $t (ref.null func) (i32.const 100000))) (then unreachable)) (i32.const 0)");
    check(&guest, expect!["out_of_memory: 100001 table elements asked for, 60000 allowed"]);
}

#[test]
fn who_handles_a_refused_growth_may_go_on() {
    let polite = "(drop (memory.grow (i32.const 10000))) (call $fail (i32.const 1024) (i32.const 4))";
    check(&rule().call(polite), expect!["guest_error:     "]);
}

#[test]
fn more_memory_than_allowed_from_the_start_is_out_of_memory() {
    let wasm = rule().call("unreachable").build();
    let limits = Limits { memory_bytes: 65_536, ..limits() };
    let failure = instance_with(&wasm, settings(limits)).expect_err("no instance");
    assert_eq!(failure.to_string(), "out_of_memory: 131072 bytes of memory asked for, 65536 allowed");
}

#[test]
fn traps_carry_names_and_what_was_said_before() {
    let failure = ending(&rule().fields("(func $deep (unreachable))").call("(call $deep) unreachable"));
    assert_eq!(failure.ending, Ending::Trap);
    assert!(failure.message.contains("unreachable"), "{failure}");
    let names: Vec<&str> = failure.backtrace.lines().filter_map(|line| line.split(' ').next()).collect();
    assert_eq!(names, ["deep", "evaluate", "entry_evaluate"], "{}", failure.backtrace);

    let panics = rule()
        .logging()
        .fields(r#"(data (i32.const 4096) "panicked at src/lib.rs:7:9: boom 13")"#)
        .call("(call $say (i32.const 3) (i32.const 4096) (i32.const 35)) unreachable");
    let failure = ending(&panics);
    assert_eq!(failure.ending, Ending::Trap);
    assert!(failure.message.starts_with("panicked at src/lib.rs:7:9: boom 13 (wasm"), "{failure}");
}

#[test]
fn other_traps() {
    let traps = |body: &str| {
        let failure = ending(&rule().call(body));
        assert_eq!(failure.ending, Ending::Trap, "{failure}");
        failure.message
    };
    assert!(traps("(i32.load (i32.const -8))").contains("out of bounds"));
    assert!(traps("(i32.div_s (i32.const 1) (i32.const 0))").contains("divide by zero"));
}

#[test]
fn an_error_of_its_own_leaves_the_instance_open() {
    let guest =
        rule().fields(r#"(data (i32.const 4096) "no such\0acountry")"#).call("(call $fail (i32.const 4096) (i32.const 15))");
    let mut instance = instance(&guest.build()).expect("an instance");
    for _ in 0..3 {
        let failure = instance.judge(&call(3)).expect_err("an error");
        assert_eq!(failure.to_string(), "guest_error: no such country");
        assert!(instance.alive());
    }
}

#[test]
fn too_much_output_is_not_copied() {
    // 60,000 bytes of verdicts: inside its memory, beyond 4096 + 9 × 64.
    check(
        &rule().call("(call $answer (i32.const 0) (i32.const 60000))"),
        expect!["too_much_output: the answer has a list of 60000 bytes, more than is left of its output limit"],
    );
    let error = ending(&rule().call("(call $fail (i32.const 0) (i32.const 60000))"));
    assert_eq!(error.ending, Ending::TooMuchOutput, "{error}");
    let notes = ending(&rule().call("(drop (call $answer (i32.const 0) (i32.const 2))) (i32.store offset=40 (global.get $ret) (i32.const 6000)) (global.get $ret)"));
    assert_eq!(notes.ending, Ending::TooMuchOutput, "{notes}");
}

#[test]
fn a_storm_of_host_calls_ends_the_call() {
    let storm =
        rule().logging().call("(loop $again (call $say (i32.const 0) (i32.const 1024) (i32.const 1)) (br $again)) unreachable");
    check(&storm, expect!["too_many_host_calls: more than 50 calls of host functions in one call"]);
}

#[test]
fn what_the_host_reads_is_paid_in_fuel() {
    // Some 280 of these lines are a million bytes; by instructions alone there would be thousands.
    let storm = "(loop $again (call $say (i32.const 3) (i32.const 4096) (i32.const 4096)) (br $again)) unreachable";
    let limits = Limits { host_calls: 1_000, ..limits() };
    let mut instance = instance_with(&rule().logging().call(storm).build(), settings(limits)).expect("an instance");
    let failure = instance.judge(&call(3)).expect_err("it never ends");
    assert_eq!(failure.ending, Ending::OutOfFuel, "{failure}");
    assert!(!instance.alive());
}

#[test]
fn endless_loops_outside_of_calls_are_cut_too() {
    let failure = instance(&rule().open(LOOP).build()).expect_err("no instance");
    assert_eq!(failure.to_string(), "out_of_fuel: more than its 1000000 units of fuel");
    let error = rule().fields(r#"(data (i32.const 4096) "give me a year")"#).open("(call $fail (i32.const 4096) (i32.const 14))");
    let failure = instance(&error.build()).expect_err("no instance");
    assert_eq!(failure.to_string(), "guest_error: give me a year");

    let start = rule().fields("(func $spin (loop $for_ever (br $for_ever))) (start $spin)");
    expect!["it could not be instantiated: out_of_fuel: more than its 1000000 units of fuel"]
        .assert_eq(&host::refused(&start.build()).to_string());
    expect!["`describe` failed: out_of_fuel: more than its 1000000 units of fuel"]
        .assert_eq(&host::refused(&rule().describe(LOOP).build()).to_string());
}

#[test]
fn an_instance_that_failed_is_replaced_by_one_that_works() {
    // Traps on the first call of each instance, unless the batch has one row.
    let guest = rule()
        .call("(if (i32.ne (local.get $rows) (i32.const 1)) (then unreachable)) (call $answer (i32.const 0) (i32.const 1))");
    let wasm = guest.build();
    for _ in 0..100 {
        let mut broken = instance(&wasm).expect("an instance");
        assert_eq!(broken.judge(&call(2)).expect_err("a trap").ending, Ending::Trap);
        drop(broken);
        assert!(instance(&wasm).expect("an instance").judge(&call(1)).is_ok());
    }
}

#[test]
fn the_pool_says_when_it_is_full_and_takes_up_again() {
    let component = host::RUNTIME.prepare(&threshold_rule()).expect("a component");
    let mut held = Vec::new();
    // Other tests of this file hold some too.
    let failure = loop {
        assert!(held.len() <= 16);
        match host::RUNTIME.instantiate(&component, settings(limits())) {
            Ok(instance) => held.push(instance),
            Err(failure) => break failure,
        }
    };
    assert_eq!(failure.ending, Ending::OutOfMemory);
    assert!(failure.message.contains("no room for another instance"), "{failure}");
    let mut last = held.pop().expect("one of them");
    drop(held);
    assert!(last.judge(&call(5)).is_ok());
}

#[test]
fn lines_are_cleaned_capped_and_counted() {
    let guest = rule().logging().fields(r#"(data (i32.const 4096) "red \1b[31m line\0a")"#).call(
        "(local $n i32)
             (loop $again
               (call $say (i32.rem_u (local.get $n) (i32.const 4)) (i32.const 4096) (i32.const 15))
               (local.set $n (i32.add (local.get $n) (i32.const 1)))
               (br_if $again (i32.lt_u (local.get $n) (i32.const 40))))
             (call $say (i32.const 1) (i32.const 4096) (i32.const 3000))
             (call $answer (i32.const 0) (i32.const 2))",
    );
    let lines = Arc::new(Lines::default());
    let log = Arc::clone(&lines);
    let mut instance = instance_with(&guest.build(), InstanceSettings { log, ..settings(limits()) }).expect("an instance");
    instance.judge(&call(9)).expect("an answer");
    let found = lines.all();
    assert_eq!(
        found[..5],
        [
            "debug red  [31m line ",
            "info red  [31m line ",
            "warn red  [31m line ",
            "error red  [31m line ",
            "debug red  [31m line "
        ]
    );
    // Ten at once, and what the time of the test let through.
    assert!((10..=20).contains(&found.len()), "{found:?}");
    assert!(found.iter().all(|line| line.len() <= 1030));
}

#[test]
fn the_planted_import_is_given_only_to_who_is_granted_it() {
    let wasm = rule().random().call("(drop (call $random)) (call $answer (i32.const 0) (i32.const 2))").build();
    let failure = instance(&wasm).expect_err("not granted");
    assert_eq!(
        failure.to_string(),
        "guest_error: the component imports `tidemill:testing/random@1.0.0`, which this pipeline does not grant"
    );
    let grants = [Grant::TestRandom].into_iter().collect();
    let mut granted = instance_with(&wasm, InstanceSettings { grants, ..settings(limits()) }).expect("an instance");
    assert!(granted.judge(&call(9)).is_ok());
}

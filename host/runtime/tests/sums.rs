//! Functions and aggregates: whole calls against what they should say, and answers that do not hold.

mod host;

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{ArrayRef, Int64Array, RecordBatch, RecordBatchOptions};
use arrow_schema::Schema;
use expect_test::{Expect, expect};
use tidemill_event::{CallFailure, Field, FieldType, KeyedState, RuleCall};
use tidemill_runtime::testing::TextGuest;
use tidemill_runtime::{Instance, Kind};

use host::{batch, instance, refused};

fn number(name: &str) -> Field {
    Field::new(name, FieldType::Int64, true)
}

/// The value of a row is ROW, of what `$at` points to; the column is COUNT values long.
const VALUES: &str = r#"
    (local $out i32) (local $row i32) (local $at i32) (local $bytes i32)
    (local.set $bytes (i32.shl COUNT (i32.const 3)))
    (local.set $out (call $take (local.get $bytes)))
    (loop $next
      (local.set $at (i32.add (i32.add (local.get $data) (i32.load offset=8 (local.get $columns))) (i32.shl (local.get $row) (i32.const 3))))
      (i64.store (i32.add (local.get $out) (i32.shl (local.get $row) (i32.const 3))) ROW)
      (local.set $row (i32.add (local.get $row) (i32.const 1)))
      (br_if $next (i32.lt_u (local.get $row) COUNT)))
    (memory.fill (global.get $ret) (i32.const 0) (i32.const 64))
    (i32.store offset=4 (global.get $ret) (i32.const 1))
    (i32.store offset=8 (global.get $ret) (i32.const -1))
    (i32.store offset=32 (global.get $ret) (local.get $out))
    (i32.store offset=36 (global.get $ret) (local.get $bytes))
    (i32.store offset=40 (global.get $ret) (i32.const 4))
    (global.get $ret)"#;

fn values(row: &str, count: &str) -> String {
    VALUES.replace("ROW", row).replace("COUNT", count)
}

/// Adds, or takes away, what a row has to the accumulator of its key; answers with COUNT accumulators.
const COMBINED: &str = r#"
    (local $sums i32) (local $row i32) (local $at i32) (local $bytes i32)
    (local.set $bytes (i32.shl COUNT (i32.const 3)))
    (local.set $sums (call $take (i32.add (i32.shl (local.get $keys) (i32.const 3)) (i32.const 32))))
    (memory.copy (local.get $sums) (i32.add (local.get $data) (i32.load offset=8 (local.get $state))) (i32.shl (local.get $keys) (i32.const 3)))
    (loop $next
      (local.set $at (i32.add (local.get $sums) (i32.shl
        (i32.load (i32.add (i32.add (local.get $data) (local.get $row_keys)) (i32.shl (local.get $row) (i32.const 2)))) (i32.const 3))))
      (i64.store (local.get $at) (OPERATION (i64.load (local.get $at))
        (i64.load (i32.add (i32.add (local.get $data) (i32.load offset=8 (local.get $columns))) (i32.shl (local.get $row) (i32.const 3))))))
      (local.set $row (i32.add (local.get $row) (i32.const 1)))
      (br_if $next (i32.lt_u (local.get $row) (local.get $rows))))
    ;; One state column of words behind the sums: encoding, validity, values.
    (local.set $at (i32.add (local.get $sums) (i32.shl (local.get $keys) (i32.const 3))))
    (memory.fill (local.get $at) (i32.const 0) (i32.const 28))
    (i32.store (local.get $at) (i32.const 1))
    (i32.store offset=4 (local.get $at) (i32.const -1))
    (memory.fill (global.get $ret) (i32.const 0) (i32.const 64))
    (i32.store offset=4 (global.get $ret) (local.get $at))
    (i32.store offset=8 (global.get $ret) (i32.const 1))
    (i32.store offset=12 (global.get $ret) (local.get $sums))
    (i32.store offset=16 (global.get $ret) (local.get $bytes))
    (i32.store offset=20 (global.get $ret) (i32.const 4))
    (global.get $ret)"#;

fn combined(operation: &str, count: &str) -> String {
    COMBINED.replace("OPERATION", operation).replace("COUNT", count)
}

fn doubling() -> TextGuest {
    let double = values("(i64.shl (i64.load (local.get $at)) (i64.const 1))", "(local.get $rows)");
    TextGuest::function(vec![number("of")], number("value")).call(&double)
}

fn summing() -> TextGuest {
    let keys = "(local.get $keys)";
    let mut sum = TextGuest::aggregate(vec![number("of")], number("sum"))
        .state(vec![(Field::new("sum", FieldType::Int64, false), Some("0"))])
        .call(&combined("i64.add", keys))
        .further(
            &combined("i64.add", keys),
            &combined("i64.sub", keys),
            &values("(i64.load (local.get $at))", "(local.get $rows)"),
        );
    sum.retracts = true;
    sum
}

/// Rows of one column, each with the number of its key; and the accumulators of the keys.
fn call(column: &[i64], keys: &[u32], accumulators: &[i64]) -> RuleCall {
    let ints = |values: &[i64]| -> ArrayRef { Arc::new(Int64Array::from(values.to_vec())) };
    let state =
        (!accumulators.is_empty()).then(|| KeyedState { row_to_key: keys.into(), rows: batch("sum", ints(accumulators)) });
    RuleCall { columns: batch("of", ints(column)), state }
}

fn ints(column: &ArrayRef) -> Vec<i64> {
    column.as_primitive::<Int64Type>().values().to_vec()
}

#[test]
fn a_function_gives_a_value_a_row() {
    let mut instance = instance(&doubling().build()).expect("an instance");
    assert_eq!(instance.component().kind(), Kind::Function);
    for rows in [1, 2, 255, 4_096] {
        let column: Vec<i64> = (0..rows).collect();
        let answer = instance.compute(&call(&column, &[], &[])).expect("values");
        assert_eq!(ints(&answer.values), column.iter().map(|value| value * 2).collect::<Vec<_>>());
        assert!(answer.usage.fuel > 0 && answer.notes.is_empty());
    }
}

#[test]
fn a_function_of_nothing_is_asked_for_each_row() {
    let seven = values("(i64.const 7)", "(local.get $rows)").replace("(i32.load offset=8 (local.get $columns))", "(i32.const 0)");
    let mut instance = instance(&TextGuest::function(vec![], number("value")).call(&seven).build()).expect("an instance");
    let options = RecordBatchOptions::new().with_row_count(Some(3));
    let columns = RecordBatch::try_new_with_options(Arc::new(Schema::empty()), Vec::new(), &options).expect("rows of nothing");
    let answer = instance.compute(&RuleCall { columns, state: None }).expect("values");
    assert_eq!(ints(&answer.values), [7, 7, 7]);
}

#[test]
fn an_aggregate_updates_merges_retracts_and_finishes() {
    let component = summing().build();
    let mut instance = instance(&component).expect("an instance");
    let description = instance.component().description();
    assert_eq!((instance.component().kind(), description.retracts, description.state.len()), (Kind::Aggregate, true, 1));
    let sums = |answer: tidemill_event::Accumulated| ints(answer.state.column(0));
    let updated = instance.update(&call(&[1, 2, 3, 4], &[0, 1, 0, 1], &[10, 20])).expect("accumulators");
    assert_eq!(sums(updated), [14, 26]);
    let merged = instance.merge(&call(&[5, 7, 100], &[1, 1, 0], &[1, 2])).expect("accumulators");
    assert_eq!(sums(merged), [101, 14]);
    let retracted = instance.retract(&call(&[5, 7, 100], &[1, 1, 0], &[101, 14])).expect("accumulators");
    assert_eq!(sums(retracted), [1, 2]);
    let finished = instance.finish(&call(&[3, 9], &[], &[])).expect("values");
    assert_eq!(ints(&finished.values), [3, 9]);
}

/// What is said of an answer that does not hold, and that the instance is not asked again.
fn check<A: std::fmt::Debug>(guest: &TextGuest, ask: impl Fn(&mut Instance) -> Result<A, CallFailure>, expected: Expect) {
    let mut instance = instance(&guest.build()).expect("an instance");
    let failure = ask(&mut instance).expect_err("it does not hold");
    expected.assert_eq(&format!("{:?}: {}", failure.ending, failure.message));
    assert!(!instance.alive());
}

#[test]
fn answers_that_do_not_hold_are_told() {
    let one = |row: &str| values(row, "(i32.const 1)");
    let function = |body: &str| TextGuest::function(vec![number("of")], number("value")).call(body);
    let compute = |instance: &mut Instance| instance.compute(&call(&[1, 2], &[], &[]));
    check(
        &function(&one("(i64.const 1)")),
        compute,
        expect!["InvalidOutput: output column `value`: values take 16 bytes from byte 0, and the buffer has 8"],
    );
    check(&function("unreachable"), compute, expect!["Trap: wasm trap: wasm `unreachable` instruction executed"]);
    check(&function("(loop $again (br $again)) unreachable"), compute, expect!["OutOfFuel: more than its 1101600 units of fuel"]);
    let never_null = Field::new("value", FieldType::Int64, false);
    let nulls = values("(i64.const 0)", "(local.get $rows)").replace("(i32.const -1))", "(i32.const 0))");
    check(
        &TextGuest::function(vec![number("of")], never_null).call(&nulls),
        compute,
        expect!["InvalidOutput: output column `value`: row 0 is null, and the column is declared never null"],
    );

    let short = combined("i64.add", "(i32.const 1)");
    let update = |instance: &mut Instance| instance.update(&call(&[1, 2], &[0, 1], &[0, 0]));
    check(
        &summing().call(&short),
        update,
        expect!["InvalidOutput: state column `sum`: values take 16 bytes from byte 0, and the buffer has 8"],
    );
    let keys = combined("i64.add", "(local.get $keys)");
    let none = keys.replace("(i32.store offset=8 (global.get $ret) (i32.const 1))", "");
    check(&summing().call(&none), update, expect!["InvalidOutput: 0 state columns where `describe` names 1"]);
    let finish = |instance: &mut Instance| instance.finish(&call(&[1, 2], &[], &[]));
    check(
        &summing().further(&keys, &keys, &one("(i64.const 1)")),
        finish,
        expect!["InvalidOutput: output column `sum`: values take 16 bytes from byte 0, and the buffer has 8"],
    );
}

#[test]
fn what_is_no_aggregate_is_refused() {
    let stateless = TextGuest::aggregate(vec![number("of")], number("sum")).build();
    expect!["`describe` is not usable: it remembers nothing of a group: an aggregate's state has at least one field"]
        .assert_eq(&refused(&stateless).to_string());
    let twice = TextGuest::function(vec![number("of"), number("of")], number("value")).build();
    expect!["`describe` is not usable: two columns have the name `of`"].assert_eq(&refused(&twice).to_string());
}

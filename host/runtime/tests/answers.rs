//! Whole calls against a slow, obviously right native twin: every size, with nulls, in slices, plain and dictionary.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Int64Type, UInt32Type};
use arrow_array::{Array, ArrayRef, DictionaryArray, Float64Array, Int64Array, RecordBatch, StringArray};
use arrow_schema::{DataType, Field as ArrowField, Schema};
use tidemill_event::{Field, FieldType, KeyedState, RuleCall};
use tidemill_runtime::testing::{TextGuest, counter_rule, threshold_rule, twice_transform};
use tidemill_runtime::{
    Compiler, Grants, Instance, InstanceSettings, Kind, Limits, Runtime, RuntimeSettings, SilentLog, SilentMetrics,
};

const SIZES: [usize; 8] = [1, 2, 7, 8, 9, 255, 256, 4_096];

fn instance(wasm: &[u8]) -> Instance {
    let runtime =
        Runtime::new(RuntimeSettings { instances_max: 8, ..RuntimeSettings::new(Compiler::InProcess) }).expect("a runtime");
    let component = runtime.prepare(wasm).expect("a component");
    let settings = InstanceSettings {
        config: "{}".to_owned(),
        limits: Limits::default(),
        log: Arc::new(SilentLog),
        metrics: Arc::new(SilentMetrics),
        grants: Grants::none(),
    };
    runtime.instantiate(&component, settings).expect("an instance")
}

fn rows(name: &str, column: ArrayRef) -> RecordBatch {
    let field = ArrowField::new(name, column.data_type().clone(), true);
    RecordBatch::try_new(Arc::new(Schema::new(vec![field])), vec![column]).expect("a batch")
}

/// Amounts around the threshold; with nulls, every fifth, whose value would match.
fn amounts(rows: usize, nulls: bool) -> Float64Array {
    let amount = |row: usize| if nulls && row % 5 == 3 { None } else { Some((row * 7919 % 2_003) as f64) };
    (0..rows).map(amount).collect()
}

#[test]
fn a_rule_answers_as_its_native_twin_for_every_size_with_nulls_and_slices() {
    let mut instance = instance(&threshold_rule());
    assert_eq!(instance.component().kind(), Kind::Rule);
    for nulls in [false, true] {
        for size in SIZES {
            for skip in [0, 1, 3, 8, 13] {
                let column = amounts(size + skip, nulls).slice(skip, size);
                let expected: Vec<bool> = column.iter().map(|amount| amount.is_some_and(|amount| amount > 1000.0)).collect();
                let call = RuleCall { columns: rows("amount", Arc::new(column)), state: None };
                let answer = instance.judge(&call).expect("an answer");
                let found: Vec<bool> = answer.verdicts.values().iter().collect();
                assert_eq!(found, expected, "{size} rows, {skip} skipped, nulls {nulls}");
                assert!(answer.usage.fuel > 0 && answer.usage.output_bytes == size.div_ceil(8) as u64);
            }
        }
    }
}

#[test]
fn an_answer_is_taken_before_the_guest_frees_it() {
    // Its post-return writes over all that the answer points to.
    let freed = r#"(func (export "cabi_post_evaluate") (param i32)
        (memory.fill (global.get $ret) (i32.const 255) (i32.const 48))
        (memory.fill (i32.const 65536) (i32.const 170) (i32.const 4096)))"#;
    let text = "(local $bits i32) (local.set $bits (call $take (i32.const 1))) (i32.store8 (local.get $bits) (i32.const 5))
                (call $answer (local.get $bits) (i32.const 1))";
    let mut instance = instance(&TextGuest::rule(vec![]).call(text).fields(freed).build());
    for _ in 0..3 {
        let call =
            RuleCall { columns: rows("amount", Arc::new(amounts(3, false))).project(&[]).expect("no columns"), state: None };
        let answer = instance.judge(&call).expect("an answer");
        assert_eq!(answer.verdicts.values().iter().collect::<Vec<_>>(), [true, false, true]);
    }
}

#[test]
fn arguments_that_may_stay_are_asked_for_once_for_all_calls_they_fit() {
    // Row 0: was memory asked for in this call? The last row: is its amount more than 1000?
    let body = "(local $bits i32) (local $last i32)
        (local.set $bits (i32.const 32768))
        (memory.fill (local.get $bits) (i32.const 0) (i32.const 1024))
        (i32.store8 (local.get $bits) (i32.ne (global.get $heap) (i32.const 65536)))
        (local.set $last (i32.sub (local.get $rows) (i32.const 1)))
        (if (f64.gt (f64.load (i32.add (i32.add (local.get $data) (i32.load offset=8 (local.get $columns)))
                                       (i32.shl (local.get $last) (i32.const 3)))) (f64.const 1000))
          (then (i32.store8 (i32.add (local.get $bits) (i32.shr_u (local.get $last) (i32.const 3)))
            (i32.or (i32.load8_u (i32.add (local.get $bits) (i32.shr_u (local.get $last) (i32.const 3))))
              (i32.shl (i32.const 1) (i32.and (local.get $last) (i32.const 7)))))))
        (call $answer (local.get $bits) (i32.shr_u (i32.add (local.get $rows) (i32.const 7)) (i32.const 3)))";
    let asked = |says: &str| {
        let guest = TextGuest::rule(vec![Field::new("amount", FieldType::Float64, false)]).call(body).fields(says);
        let mut instance = instance(&guest.build());
        let mut asked = Vec::new();
        for (size, above) in [(2, true), (500, false), (3, true), (4_000, true), (2_000, false), (2, true)] {
            let amount = |row| if above && row == size - 1 { 1001.0 } else { 7.0 };
            let column = Arc::new(Float64Array::from_iter_values((0..size).map(amount)));
            let answer = instance.judge(&RuleCall { columns: rows("amount", column), state: None }).expect("an answer");
            assert_eq!(answer.verdicts.value(size - 1), above, "{size} rows");
            asked.push(answer.verdicts.value(0));
        }
        asked
    };
    // 500 rows fit the 4 KiB that are asked for at least, 2,000 what 4,000 took.
    let stay = r#"(@custom "tidemill:arguments" "\01")"#;
    assert_eq!(asked(stay), [true, false, false, true, false, false]);
    assert_eq!(asked(""), [true; 6]);
    assert_eq!(asked(r#"(@custom "tidemill:arguments" "\02")"#), [true; 6], "a promise of another version is none");
}

#[test]
fn nothing_is_judged_without_a_call() {
    let mut instance = instance(&threshold_rule());
    let answer = instance.judge(&RuleCall { columns: rows("amount", Arc::new(amounts(0, false))), state: None });
    assert_eq!(answer.expect("an answer").verdicts.len(), 0);
}

#[test]
fn a_counter_gets_its_state_back_row_by_row_and_key_by_key() {
    let mut instance = instance(&counter_rule());
    let mut expected = std::collections::HashMap::<u32, i64>::new();
    let first = instance.component().description().first_row().clone();
    let mut kept = std::collections::HashMap::<u32, RecordBatch>::new();
    for size in SIZES {
        // Keys of the pipeline, numbered by first appearance in the call.
        let keys: Vec<u32> = (0..size).map(|row| (row * row % 17) as u32).collect();
        let mut distinct: Vec<u32> = Vec::new();
        let row_to_key: Vec<u32> = keys
            .iter()
            .map(|key| {
                *expected.entry(*key).or_default() += 1;
                distinct.iter().position(|seen| seen == key).unwrap_or_else(|| {
                    distinct.push(*key);
                    distinct.len() - 1
                }) as u32
            })
            .collect();
        let parts: Vec<&RecordBatch> = distinct.iter().map(|key| kept.get(key).unwrap_or(&first)).collect();
        let state = arrow_select::concat::concat_batches(first.schema_ref(), parts).expect("state rows");
        let call = RuleCall {
            columns: rows("amount", Arc::new(amounts(size, false))),
            state: Some(KeyedState { row_to_key: row_to_key.into(), rows: state }),
        };
        let answer = instance.judge(&call).expect("an answer");
        let new = answer.state.expect("new state");
        assert_eq!(new.schema(), first.schema());
        for (at, key) in distinct.iter().enumerate() {
            kept.insert(*key, new.slice(at, 1));
        }
        for (key, count) in &expected {
            assert_eq!(kept[key].column(0).as_primitive::<Int64Type>().value(0), *count, "key {key}");
        }
    }
}

#[test]
fn a_transform_sees_the_same_texts_plain_and_as_a_dictionary() {
    let mut instance = instance(&twice_transform());
    let texts = ["", "a", "é", "four", "a somewhat longer text"];
    for size in SIZES {
        for skip in [0, 1, 9] {
            let values: Vec<&str> = (0..size + skip).map(|row| texts[row * row % texts.len()]).collect();
            let plain = StringArray::from(values.clone());
            let dictionary: DictionaryArray<UInt32Type> = values.iter().copied().collect();
            // Entries far beyond the rows: crosses as plain text.
            let oversized: StringArray = (0..10_000).map(|entry| Some(format!("{entry}"))).collect();
            let keys: arrow_array::UInt32Array = (0..size + skip).map(|row| Some((row * 31 % 10_000) as u32)).collect();
            let oversized_column = DictionaryArray::new(keys, Arc::new(oversized.clone()));
            let columns: [(ArrayRef, Vec<i64>); 3] = [
                (Arc::new(plain), values.iter().map(|value| value.len() as i64).collect()),
                (Arc::new(dictionary), values.iter().map(|value| value.len() as i64).collect()),
                (
                    Arc::new(oversized_column),
                    (0..size + skip).map(|row| oversized.value(row * 31 % 10_000).len() as i64).collect(),
                ),
            ];
            for (column, lengths) in columns {
                let call = RuleCall { columns: rows("line", column.slice(skip, size)), state: None };
                let answer = instance.transform(&call).expect("an answer");
                let sources: Vec<u32> = (0..size as u32).flat_map(|row| [row, row]).collect();
                assert_eq!(answer.source_rows, sources);
                let expected: Int64Array = lengths[skip..].iter().flat_map(|length| [Some(*length), Some(*length)]).collect();
                assert_eq!(answer.columns[0].as_primitive::<Int64Type>(), &expected);
            }
        }
    }
    assert_eq!(instance.component().description().outputs[0].ty.arrow(), DataType::Int64);
}

#[test]
fn an_instance_can_move_between_threads() {
    fn send<T: Send>() {}
    fn share<T: Send + Sync>() {}
    send::<Instance>();
    share::<Runtime>();
    share::<tidemill_runtime::Component>();
}

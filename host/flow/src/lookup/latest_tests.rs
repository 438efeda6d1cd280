//! The last row of each key against a plain map that takes one row after the other.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{Array, ArrayRef, Int64Array, RecordBatch, StringArray};
use arrow_buffer::BooleanBuffer;
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use proptest::prelude::*;

use super::latest::GONE_KEPT_MICROS;
use super::*;

const DAY: i64 = GONE_KEPT_MICROS / 7;

/// Key, day, whether it goes, value.
type Row = (Option<u8>, i64, bool, i64);

fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![Field::new("v", DataType::Int64, true), Field::new("k", DataType::Utf8, true)]))
}

fn texts(keys: impl Iterator<Item = Option<u8>>) -> ArrayRef {
    Arc::new(StringArray::from_iter(keys.map(|key| key.map(|key| format!("k{key}")))))
}

fn take_in(latest: &LatestRows, rows: &[Row], newest: &mut i64) -> (LatestRows, Passed) {
    let values: ArrayRef = Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.3)));
    let batch = RecordBatch::try_new(schema(), vec![values, texts(rows.iter().map(|row| row.0))]).expect("two columns");
    let times: Vec<i64> = rows.iter().map(|row| row.1 * DAY).collect();
    let gone: BooleanBuffer = rows.iter().map(|row| row.2).collect();
    latest.take_in(&NewRows { rows: &batch, times: &times, gone: &gone }, newest)
}

/// Per key its last row's time, whether it went, and the value; then what passed.
fn model(rows: &[Row]) -> (BTreeMap<u8, (i64, bool, i64)>, Passed) {
    let (mut lasts, mut passed, mut newest) = (BTreeMap::<u8, (i64, bool, i64)>::new(), Passed::default(), i64::MIN);
    for (key, day, gone, value) in rows {
        match key {
            None => passed.without_key += 1,
            Some(key) => match lasts.get(key) {
                Some((last, went, _)) if day < last && !(*went && newest - last > 7) => passed.older += 1,
                _ => {
                    lasts.insert(*key, (*day, *gone, *value));
                }
            },
        }
        newest = newest.max(*day);
    }
    (lasts, passed)
}

fn told(latest: &LatestRows, forgotten_before: i64) -> BTreeMap<u8, (i64, bool, i64)> {
    let (rows, times, gone) = latest.in_order(forgotten_before);
    let (values, keys) = (rows.column(0).as_primitive::<Int64Type>(), rows.column(1).as_string::<i32>());
    let key = |row: usize| keys.value(row)[1..].parse().expect("a number");
    let ordered: Vec<u8> = (0..rows.num_rows()).map(key).collect();
    assert!(ordered.is_sorted(), "{ordered:?}");
    (0..rows.num_rows()).map(|row| (key(row), (times[row] / DAY, gone.value(row), values.value(row)))).collect()
}

fn rows() -> impl Strategy<Value = Vec<Row>> {
    let row = (proptest::option::weighted(0.9, 0u8..6), 0i64..20, proptest::bool::weighted(0.3), 0i64..100);
    proptest::collection::vec(row, 0..60)
}

proptest! {
    #[test]
    fn however_rows_are_cut_and_layers_settle(rows in rows(), cuts in proptest::collection::vec((1usize..9, 0usize..40), 1..20)) {
        let (mut latest, mut newest, mut passed) = (LatestRows::new(schema(), [1].into()), i64::MIN, Passed::default());
        let (mut left, mut cuts) = (rows.as_slice(), cuts.iter().cycle());
        while !left.is_empty() {
            let (cut, settle) = cuts.next().expect("goes on for ever");
            let (now, later) = left.split_at(left.len().min(*cut));
            let before = latest.clone();
            let (next, more) = take_in(&latest, now, &mut newest);
            let mut settled = before.clone();
            settled.settle(*settle);
            latest = next;
            // What was settled beside it takes the place of what it was made of.
            prop_assert!(latest.take_over_settled(&before, &settled));
            passed = Passed { older: passed.older + more.older, without_key: passed.without_key + more.without_key };
            left = later;
        }
        let (lasts, expected) = model(&rows);
        prop_assert_eq!(passed, expected);
        prop_assert_eq!(told(&latest, i64::MIN), lasts.clone());
        let live: BTreeMap<u8, i64> = lasts.iter().filter(|(_, last)| !last.1).map(|(key, last)| (*key, last.2)).collect();
        prop_assert_eq!(latest.len(), live.len());

        // What is written and read back is the same value, and the same to look up.
        let forgotten_before = newest.saturating_sub(GONE_KEPT_MICROS);
        let kept: BTreeMap<u8, (i64, bool, i64)> =
            lasts.into_iter().filter(|(_, last)| !last.1 || last.0 * DAY >= forgotten_before).collect();
        let (written, times, gone) = latest.in_order(forgotten_before);
        let again = LatestRows::of(written, times, gone, [1].into());
        prop_assert_eq!(told(&again, i64::MIN), kept);
        prop_assert_eq!(again.len(), live.len());
        for latest in [latest, again] {
            let found = LatestLookup::new(latest, vec![1], vec![0]).look_up(&[texts(std::iter::empty()), texts((0..7).map(Some).chain([None]))]);
            let values = found.columns[0].as_primitive::<Int64Type>();
            for key in 0..8u8 {
                let expected = live.get(&key).copied();
                let at = usize::from(key);
                prop_assert_eq!(values.is_valid(at).then(|| values.value(at)), expected);
                prop_assert_eq!(found.hits.value(at), expected.is_some());
            }
        }
    }
}

#[test]
fn layers_stay_few() {
    let (mut latest, mut newest) = (LatestRows::new(schema(), [1].into()), i64::MIN);
    for at in 0..1000u32 {
        let row = (Some((at % 200) as u8), 1, false, i64::from(at));
        latest = take_in(&latest, &[row], &mut newest).0;
        latest.settle(usize::MAX);
        assert!(!latest.is_unsettled());
    }
    assert_eq!(latest.len(), 200);
    assert!(latest.held() < 2 * 200, "{} rows of 200 keys", latest.held());
}

//! The step against a slow model: for every row, the last row of the table whose key columns are all there and all the same.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{Array, ArrayRef, Int64Array, StringArray};
use arrow_cast::cast;
use arrow_schema::DataType;
use proptest::prelude::*;
use tidemill_event::{EventTime, Field, FieldType};

use super::*;
use crate::example::{dictionary_batch, rows_of};
use crate::{FlowBatch, Operator, Outcome, StepId};

type Key = (Option<String>, Option<i64>);

fn keys(most: usize) -> impl Strategy<Value = Vec<Key>> {
    proptest::collection::vec((proptest::option::of("[ab]{0,2}"), proptest::option::of(-2i64..2)), 0..most)
}

fn texts(keys: &[Key]) -> Vec<Option<String>> {
    keys.iter().map(|(text, _)| text.clone()).collect()
}

fn step(names: &[&str], missing: Missing) -> Lookup {
    Lookup::new(LookupSettings {
        step: StepId(1),
        keys: names.iter().map(|name| (*name).into()).collect(),
        take: vec![Field::new("place", FieldType::Int64, true), Field::new("said", FieldType::String, true)],
        missing,
    })
}

/// Origin, the table's row, its text.
type Told = (u32, Option<i64>, Option<String>);

/// What came out.
fn apply(step: &mut Lookup, table: &Arc<dyn LookupTable>, rows: FlowBatch) -> (Vec<Told>, LookupReport) {
    let mut outcome = Outcome::new(EventTime(0)).with_tables(Arc::new([(StepId(1), table.clone())]));
    let is_empty = rows.is_empty();
    let out = step.apply(rows, &mut outcome);
    let places = out.rows.column_by_name("place").expect("taken").as_primitive::<Int64Type>().clone();
    let said = cast(out.rows.column_by_name("said").expect("taken"), &DataType::Utf8).expect("text");
    let said = said.as_string::<i32>();
    let told = (0..out.len()).map(|row| {
        let text = said.is_valid(row).then(|| said.value(row).to_owned());
        (out.origin[row], places.is_valid(row).then(|| places.value(row)), text)
    });
    let report = outcome.lookups.first().copied();
    assert_eq!(report.is_none(), is_empty);
    (told.collect(), report.unwrap_or(LookupReport { step: StepId(1), rows: 0, missed: 0 }))
}

proptest! {
    #[test]
    fn rows_find_the_last_row_with_their_key(table in keys(40), rows in keys(20), by in 0..3usize, drops: bool, dictionary: bool, cut in 0..20usize) {
        let names: &[&str] = [&["k"][..], &["v"], &["k", "v"]][by];
        let text: ArrayRef = Arc::new(StringArray::from(texts(&table)));
        let number: ArrayRef = Arc::new(table.iter().map(|(_, number)| *number).collect::<Int64Array>());
        let columns: Vec<ArrayRef> = names.iter().map(|name| if *name == "k" { text.clone() } else { number.clone() }).collect();
        let index = Arc::new(TableIndex::equal(&columns));
        let place: ArrayRef = Arc::new((0..table.len() as i64).map(Some).collect::<Int64Array>());
        let lookup: Arc<dyn LookupTable> = Arc::new(IndexedTable::new(index, &[place, text]));
        let (by_text, by_number) = (names.contains(&"k"), names.contains(&"v"));
        let matches = |row: &Key, entry: &Key| {
            (!by_text || row.0.is_some() && row.0 == entry.0) && (!by_number || row.1.is_some() && row.1 == entry.1)
        };
        let found = |row: &Key| table.iter().rposition(|entry| matches(row, entry));
        let batch = if dictionary && !by_number { dictionary_batch(&texts(&rows)) } else {
            rows_of(Arc::new(StringArray::from(texts(&rows))), rows.iter().map(|(_, number)| *number).collect())
        };
        let expected: Vec<_> = rows.iter().enumerate().filter(|(_, row)| !drops || found(row).is_some()).map(|(origin, row)| {
            let place = found(row);
            (origin as u32, place.map(|place| place as i64), place.and_then(|place| table[place].0.clone()))
        }).collect();
        let mut step = step(names, if drops { Missing::Drop } else { Missing::Null });
        // Wherever the batch is cut, every row finds the same.
        let cut = cut.min(rows.len());
        let whole = FlowBatch::new(batch);
        let (mut told, first) = apply(&mut step, &lookup, whole.slice(&(0..cut)));
        let (rest, second) = apply(&mut step, &lookup, whole.slice(&(cut..rows.len())));
        told.extend(rest);
        prop_assert_eq!(told, expected);
        prop_assert_eq!(first.rows + second.rows, rows.len());
        prop_assert_eq!(first.missed + second.missed, rows.iter().filter(|row| found(row).is_none()).count());
    }
}

#[test]
fn texts_of_few_values_go_out_as_a_dictionary_and_say_the_same() {
    let texts: ArrayRef =
        Arc::new((0..64).map(|row| (row % 3 > 0).then(|| format!("state {}", row % 3))).collect::<StringArray>());
    let numbers: ArrayRef = Arc::new((0..64).map(Some).collect::<Int64Array>());
    let table = IndexedTable::new(Arc::new(TableIndex::equal(std::slice::from_ref(&numbers))), std::slice::from_ref(&texts));
    let keys: ArrayRef = Arc::new(Int64Array::from(vec![Some(5), Some(64), None, Some(0)]));
    let Found { hits, columns } = table.look_up(&[keys]);
    assert!(matches!(columns[0].data_type(), DataType::Dictionary(..)));
    assert_eq!(hits.iter().collect::<Vec<_>>(), [true, false, false, true]);
    let plain = cast(&columns[0], &DataType::Utf8).expect("text");
    assert_eq!(plain.as_string::<i32>().iter().collect::<Vec<_>>(), [Some("state 2"), None, None, None]);
}

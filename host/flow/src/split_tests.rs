//! Where a stream is cut into batches must not show: rows, dead rows and state of a whole chain are the same for every cut, for
//! dictionary and plain columns, and equal to a model that takes rows one by one.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_array::StringArray;
use arrow_select::concat::concat_batches;
use proptest::prelude::*;
use tidemill_event::{EventTime, Field, FieldType};

use crate::example::{Conditions, Counting, Double, Repeating, counting_table, dictionary_batch, rows_of, show};
use crate::{
    Chain, Extend, FlowBatch, Isolation, Keep, Keyed, NamedProjection, OnFailing, Outcome, RuleSettings, RuleStep, StepId,
    TransformSettings, TransformStep, Where,
};

fn int(name: &str, nullable: bool) -> Field {
    Field::new(name, FieldType::Int64, nullable)
}

/// where v < 5, extend w = 2v, count per key and keep from the second row on, repeat each v times.
fn chain() -> Chain {
    let rule = RuleSettings {
        step: StepId(2),
        columns: vec![int("v", true)],
        outputs: vec![int("n", false)],
        keep: Keep::Matching,
        flag: None,
        keyed: Some(Keyed { by: vec!["k".into()], table: counting_table() }),
        isolation: Isolation::new(OnFailing::Hold),
    };
    let transform = TransformSettings {
        step: StepId(3),
        columns: vec![int("v", true)],
        outputs: vec![Field::new("at", FieldType::Timestamp(None), true), int("i", false)],
        time: None,
        keep_input: true,
        keyed: None,
        isolation: Isolation::new(OnFailing::Hold),
    };
    Chain::new(vec![
        Box::new(Where::new(StepId(0), Box::new(Conditions))),
        Box::new(Extend::new(StepId(1), vec![NamedProjection { field: int("w", true), projection: Box::new(Double) }])),
        Box::new(RuleStep::new(rule, Box::new(Counting))),
        Box::new(TransformStep::new(transform, Box::new(Repeating))),
    ])
}

/// `(row, count, i)` of each output row, dead rows, counts.
type Model = (Vec<(usize, i64, i64)>, Vec<usize>, BTreeMap<u8, i64>);

/// What the chain makes of rows, one by one, without batches.
fn model(rows: &[(u8, Option<i64>)]) -> Model {
    let (mut out, mut dead, mut counts) = (Vec::new(), Vec::new(), BTreeMap::new());
    for (row, (key, value)) in rows.iter().enumerate() {
        match value {
            Some(13) => dead.push(row),
            Some(value) if *value < 5 => {
                let count = counts.entry(*key).or_insert(0);
                *count += 1;
                if *count > 1 {
                    out.extend((0..*value).map(|i| (row, *count, i)));
                }
            }
            Some(_) | None => {}
        }
    }
    (out, dead, counts)
}

fn rows() -> impl Strategy<Value = Vec<(u8, Option<i64>)>> {
    let value = prop_oneof![4 => (0i64..7).prop_map(Some), 1 => Just(Some(13)), 1 => Just(None)];
    proptest::collection::vec((0u8..4, value), 0..40)
}

proptest! {
    #[test]
    fn no_cut_shows(rows in rows(), cuts in proptest::collection::vec((1usize..9, any::<bool>()), 1..8)) {
        let (expected, expected_dead, expected_counts) = model(&rows);
        let (mut chain, mut out, mut dead) = (chain(), Vec::new(), Vec::new());
        let (mut from, mut batches) = (0, Vec::new());
        for (length, dictionary) in cuts.iter().cycle() {
            if from >= rows.len() {
                break;
            }
            let cut = &rows[from..rows.len().min(from + length)];
            let keys: Vec<Option<String>> = cut.iter().map(|(key, _)| Some(format!("k{key}"))).collect();
            let values: Vec<Option<i64>> = cut.iter().map(|(_, value)| *value).collect();
            let column = if *dictionary {
                dictionary_batch(&keys).column(0).clone()
            } else {
                Arc::new(StringArray::from(keys)) as _
            };
            let mut output = Outcome::new(EventTime(0));
            let made = chain.run(FlowBatch::new(rows_of(column, values)), &mut output);
            prop_assert!(output.endings.is_empty());
            dead.extend(output.dead.iter().map(|row| from + row.origin as usize));
            out.extend(made.origin.iter().map(|row| from + *row as usize));
            batches.push(made);
            from += cut.len();
        }
        prop_assert_eq!(&out, &expected.iter().map(|(row, ..)| *row).collect::<Vec<_>>());
        prop_assert_eq!(dead, expected_dead);
        let text: String = batches.iter().map(|made| show(made, &Outcome::new(EventTime(0)))).collect();
        for (_, count, i) in &expected {
            let part = format!("n={count},");
            prop_assert!(text.contains(&part), "{} misses {} i={}", text, part, i);
        }
        let tables: Vec<_> = chain.tables().collect();
        prop_assert_eq!(tables.len(), 1);
        prop_assert_eq!(tables[0].1.len(), expected_counts.len());
        let checksum = chain.state_checksum();
        // All rows at once, plain.
        let mut whole = self::chain();
        let keys: Vec<Option<String>> = rows.iter().map(|(key, _)| Some(format!("k{key}"))).collect();
        let values = rows.iter().map(|(_, value)| *value).collect();
        let made = whole.run(FlowBatch::new(rows_of(Arc::new(StringArray::from(keys)), values)), &mut Outcome::new(EventTime(0)));
        prop_assert_eq!(whole.state_checksum(), checksum);
        prop_assert_eq!(made.len(), expected.len());
        if !batches.is_empty() {
            let plain = |batch: &FlowBatch| {
                let column = arrow_cast::cast(batch.rows.column(0), &arrow_schema::DataType::Utf8).expect("text");
                let mut columns = batch.rows.columns().to_vec();
                columns[0] = column;
                // `_time` counts within a batch here.
                columns.pop();
                let fields: Vec<_> = made.rows.schema().fields()[..columns.len()].to_vec();
                arrow_array::RecordBatch::try_new(Arc::new(arrow_schema::Schema::new(fields)), columns).expect("the same columns")
            };
            let parts: Vec<_> = batches.iter().map(plain).collect();
            let joined = concat_batches(&parts[0].schema(), &parts).expect("the same schema");
            prop_assert_eq!(joined, plain(&made));
        }
    }
}

//! `sample`: a share of the keys with all their rows, or a share of the rows.
//!
//! The lot falls by a hash that is the same in every process: a key is in or out for good, also in another pipeline, and what is in a
//! small sample is in every larger one of the same key. Without a key the whole row decides, its time included.

use arrow_array::{ArrayRef, BooleanArray};
use arrow_buffer::BooleanBuffer;
use tidemill_event::{Breaker, Field};

use crate::batch::columns_named;
use crate::keys::KeyColumn;
use crate::sketch::stable_hash;
use crate::{FlowBatch, OnFailing, Operator, Outcome, StepId, StepState, Watermark};

/// A share that is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a sample's rate is above 0 and at most 1")]
pub struct SampleRefused;

/// The step.
pub struct Sample {
    step: StepId,
    by: Vec<Field>,
    /// Hashes up to this one are in.
    greatest: u64,
}

impl Sample {
    /// `rate`: above 0, at most 1.
    pub fn new(step: StepId, by: Vec<Field>, rate: f64) -> Result<Self, SampleRefused> {
        if !(rate > 0.0 && rate <= 1.0) {
            return Err(SampleRefused);
        }
        // The product is 2^64 for a rate of 1, which becomes the greatest number there is.
        Ok(Self { step, by, greatest: (rate * 2f64.powi(64)) as u64 })
    }
}

impl Operator for Sample {
    fn step(&self) -> StepId {
        self.step
    }

    fn apply(&mut self, input: FlowBatch, output: &mut Outcome) -> FlowBatch {
        if input.is_empty() {
            return input;
        }
        let columns: Vec<ArrayRef> = match &self.by[..] {
            [] => input.rows.columns().to_vec(),
            by => columns_named(&input.rows, by.iter().map(|field| field.name.clone())).columns().to_vec(),
        };
        let writers: Vec<KeyColumn<'_>> = columns.iter().map(|column| KeyColumn::new(column.as_ref())).collect();
        let mut key = Vec::new();
        let is_in = |row: usize| {
            key.clear();
            writers.iter().for_each(|writer| writer.put_ordered(row, &mut key));
            stable_hash(&key) <= self.greatest
        };
        let is_in: BooleanBuffer = (0..input.len()).map(is_in).collect();
        output.drop_rows(self.step, is_in.len() - is_in.count_set_bits());
        input.filtered(&BooleanArray::new(is_in, None))
    }

    fn state(&mut self) -> Option<&mut dyn StepState> {
        None
    }

    fn breaker(&mut self) -> Option<(&mut Breaker, OnFailing)> {
        None
    }

    fn due(&self) -> Option<Watermark> {
        None
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::StringArray;
    use arrow_array::cast::AsArray;
    use proptest::prelude::*;
    use tidemill_event::{EventTime, FieldType};

    use super::*;
    use crate::example::{dictionary_batch, plain_batch, rows_of};

    fn keys(count: usize) -> Vec<Option<String>> {
        (0..count).map(|number| Some(format!("user {number}"))).collect()
    }

    fn sampled(rate: f64, by: &[&str], rows: FlowBatch) -> (Vec<u32>, u64) {
        let by = by.iter().map(|name| Field::new(name, FieldType::String, true)).collect();
        let mut output = Outcome::new(EventTime(0));
        let made = Sample::new(StepId(0), by, rate).expect("a rate").apply(rows, &mut output);
        (made.origin, output.dropped.iter().map(|(_, rows)| rows).sum())
    }

    #[test]
    fn a_sample_has_its_share_and_larger_ones_have_it_too() {
        let rows = || FlowBatch::new(plain_batch(&keys(20_000)));
        let (small, dropped) = sampled(0.1, &["k"], rows());
        assert_eq!(small.len() as u64 + dropped, 20_000);
        // Four standard deviations of a binomial distribution.
        assert!((small.len() as i64 - 2_000).abs() < 170, "{}", small.len());
        let (large, _) = sampled(0.3, &["k"], rows());
        assert!(small.iter().all(|row| large.binary_search(row).is_ok()));
        assert_eq!(sampled(1.0, &["k"], rows()).1, 0);
        assert_eq!(sampled(0.1, &["k"], FlowBatch::new(dictionary_batch(&keys(20_000)))).0, small);
    }

    #[test]
    fn without_a_key_the_whole_row_decides() {
        let values: Vec<Option<i64>> = (0..5_000).map(|value| Some(value % 1_000)).collect();
        let rows = FlowBatch::new(rows_of(Arc::new(StringArray::from(vec!["same"; 5_000])), values));
        assert!([0, 5_000].contains(&sampled(0.5, &["k"], rows.clone()).0.len()));
        let (kept, _) = sampled(0.5, &[], rows);
        assert!((2_000..3_000).contains(&kept.len()), "{}", kept.len());
    }

    #[test]
    fn what_is_no_share_is_refused() {
        for rate in [0.0, -0.1, 1.1, f64::NAN] {
            assert_eq!(Sample::new(StepId(0), Vec::new(), rate).err(), Some(SampleRefused));
        }
    }

    proptest! {
        /// All rows of a key share its lot, wherever batches are cut.
        #[test]
        fn a_key_is_in_or_out(keys in proptest::collection::vec(proptest::option::of("[a-f]{0,2}"), 1..60), cut in 0usize..60) {
            let whole = FlowBatch::new(plain_batch(&keys));
            let (kept, _) = sampled(0.5, &["k"], whole.clone());
            let text = |row: usize| whole.rows.column(0).as_string::<i32>().iter().nth(row).flatten().map(str::to_owned);
            for row in 0..keys.len() {
                for other in 0..keys.len() {
                    if text(row) == text(other) {
                        prop_assert_eq!(kept.contains(&(row as u32)), kept.contains(&(other as u32)));
                    }
                }
            }
            let cut = cut.min(keys.len());
            let mut parts = sampled(0.5, &["k"], whole.slice(&(0..cut))).0;
            parts.extend(sampled(0.5, &["k"], whole.slice(&(cut..keys.len()))).0);
            prop_assert_eq!(parts, kept);
        }
    }
}

//! `count(*)` and `count(x)`.

use std::sync::Arc;

use arrow_array::{Array, ArrayRef, Int64Array};

use crate::aggregate::accumulators::{Accumulators, Finished, Reversible};
use crate::aggregate::bytes::take_i64;

/// Rows, or rows whose argument is not null.
#[derive(Debug, Default)]
pub(crate) struct Counts(Vec<i64>);

impl Accumulators for Counts {
    fn grow(&mut self, groups: usize) {
        self.0.resize(groups, 0);
    }

    fn clear(&mut self, group: u32) {
        self.0[group as usize] = 0;
    }

    fn update(&mut self, groups: &[u32], _: &[i64], argument: Option<&ArrayRef>) {
        match argument.and_then(|argument| argument.logical_nulls()) {
            Some(valid) => valid.valid_indices().for_each(|row| self.0[groups[row] as usize] += 1),
            None => groups.iter().for_each(|group| self.0[*group as usize] += 1),
        }
    }

    fn merge(&mut self, pairs: &[(u32, u32)]) {
        pairs.iter().for_each(|(into, from)| self.0[*into as usize] += self.0[*from as usize]);
    }

    fn as_reversible(&mut self) -> Option<&mut dyn Reversible> {
        Some(self)
    }

    fn finish(&self, groups: &[u32]) -> Finished {
        let values = groups.iter().map(|group| self.0[*group as usize]);
        Finished { values: Arc::new(Int64Array::from_iter_values(values)), failed: Vec::new() }
    }

    fn encode(&self, group: u32, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.0[group as usize].to_le_bytes());
    }

    fn decode(&mut self, group: u32, bytes: &mut &[u8]) -> Option<()> {
        self.0[group as usize] = take_i64(bytes)?;
        Some(())
    }
}

impl Reversible for Counts {
    fn subtract(&mut self, pairs: &[(u32, u32)]) {
        pairs.iter().for_each(|(of, from)| self.0[*of as usize] -= self.0[*from as usize]);
    }
}

//! `bool_and`, `bool_or`, `ratio`: of a condition, by how many rows say yes and how many no. Null says neither.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, BooleanArray, Float64Array};

use crate::aggregate::accumulators::{Accumulators, Finished, Reversible};
use crate::aggregate::bytes::take_u64;

/// What is said of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Truth {
    /// Whether none says no.
    All,
    /// Whether one says yes.
    Any,
    /// The share that says yes, from 0 to 1.
    Ratio,
}

/// The accumulators.
#[derive(Debug)]
pub(crate) struct Truths {
    truth: Truth,
    /// (yes, no)
    counts: Vec<(u64, u64)>,
}

impl Truths {
    pub(crate) fn new(truth: Truth) -> Self {
        Self { truth, counts: Vec::new() }
    }
}

impl Accumulators for Truths {
    fn grow(&mut self, groups: usize) {
        self.counts.resize(groups, (0, 0));
    }

    fn clear(&mut self, group: u32) {
        self.counts[group as usize] = (0, 0);
    }

    fn update(&mut self, groups: &[u32], _: &[i64], argument: Option<&ArrayRef>) {
        let column = argument.expect("a condition").as_boolean();
        for (row, group) in groups.iter().enumerate().filter(|(row, _)| column.is_valid(*row)) {
            let (yes, no) = &mut self.counts[*group as usize];
            *(if column.value(row) { yes } else { no }) += 1;
        }
    }

    fn merge(&mut self, pairs: &[(u32, u32)]) {
        for (into, from) in pairs {
            let (yes, no) = self.counts[*from as usize];
            let into = &mut self.counts[*into as usize];
            *into = (into.0 + yes, into.1 + no);
        }
    }

    fn as_reversible(&mut self) -> Option<&mut dyn Reversible> {
        Some(self)
    }

    fn finish(&self, groups: &[u32]) -> Finished {
        let counts = groups.iter().map(|group| self.counts[*group as usize]);
        let said = |of: fn(u64, u64) -> bool| -> ArrayRef {
            let values = counts.clone().map(|(yes, no)| (yes + no > 0).then(|| of(yes, no)));
            Arc::new(values.collect::<BooleanArray>())
        };
        let values = match self.truth {
            Truth::All => said(|_, no| no == 0),
            Truth::Any => said(|yes, _| yes > 0),
            Truth::Ratio => {
                let values = counts.map(|(yes, no)| (yes + no > 0).then(|| yes as f64 / (yes + no) as f64));
                Arc::new(values.collect::<Float64Array>())
            }
        };
        Finished { values, failed: Vec::new() }
    }

    fn encode(&self, group: u32, out: &mut Vec<u8>) {
        let (yes, no) = self.counts[group as usize];
        out.extend_from_slice(&yes.to_le_bytes());
        out.extend_from_slice(&no.to_le_bytes());
    }

    fn decode(&mut self, group: u32, bytes: &mut &[u8]) -> Option<()> {
        self.counts[group as usize] = (take_u64(bytes)?, take_u64(bytes)?);
        Some(())
    }
}

impl Reversible for Truths {
    fn subtract(&mut self, pairs: &[(u32, u32)]) {
        for (of, from) in pairs {
            let (yes, no) = self.counts[*from as usize];
            let of = &mut self.counts[*of as usize];
            *of = (of.0 - yes, of.1 - no);
        }
    }
}

//! `approx_distinct`, `approx_quantile`, `top_k`: the aggregates whose accumulators are sketches.

use std::fmt::Write;
use std::sync::Arc;

use arrow_array::{Array, ArrayRef, Float64Array, Int64Array, StringArray};

use crate::aggregate::accumulators::{Accumulators, Finished, Reversible};
use crate::aggregate::extreme::each_text;
use crate::aggregate::numbers::each_double;
use crate::keys::KeyColumn;
use crate::sketch::{Frequent, HyperLogLog, Quantiles, stable_hash};

/// Counters for each value that is asked for.
const COUNTERS_FACTOR: usize = 10;

/// How many distinct values, within 0.81 % (one standard error).
#[derive(Debug, Default)]
pub(crate) struct ApproximateDistinct(Vec<HyperLogLog>);

impl Accumulators for ApproximateDistinct {
    fn grow(&mut self, groups: usize) {
        self.0.resize(groups, HyperLogLog::default());
    }

    fn clear(&mut self, group: u32) {
        self.0[group as usize] = HyperLogLog::default();
    }

    fn update(&mut self, groups: &[u32], _: &[i64], argument: Option<&ArrayRef>) {
        let column = argument.expect("approx_distinct has an argument");
        let nulls = column.logical_nulls();
        let writer = KeyColumn::new(column.as_ref());
        let mut bytes = Vec::new();
        for (row, group) in groups.iter().enumerate().filter(|(row, _)| nulls.as_ref().is_none_or(|nulls| nulls.is_valid(*row))) {
            bytes.clear();
            writer.put_ordered(row, &mut bytes);
            self.0[*group as usize].add(stable_hash(&bytes));
        }
    }

    fn merge(&mut self, pairs: &[(u32, u32)]) {
        for (into, from) in pairs {
            let other = self.0[*from as usize].clone();
            self.0[*into as usize].merge(&other);
        }
    }

    fn as_reversible(&mut self) -> Option<&mut dyn Reversible> {
        None
    }

    fn finish(&self, groups: &[u32]) -> Finished {
        let counts = groups.iter().map(|group| self.0[*group as usize].estimate() as i64);
        Finished { values: Arc::new(Int64Array::from_iter_values(counts)), failed: Vec::new() }
    }

    fn encode(&self, group: u32, out: &mut Vec<u8>) {
        self.0[group as usize].encode(out);
    }

    fn decode(&mut self, group: u32, bytes: &mut &[u8]) -> Option<()> {
        self.0[group as usize] = HyperLogLog::decode(bytes)?;
        Some(())
    }
}

/// A quantile, within 1 % of the value.
#[derive(Debug)]
pub(crate) struct ApproximateQuantile {
    q: f64,
    sketches: Vec<Quantiles>,
}

impl ApproximateQuantile {
    pub(crate) fn new(q: f64) -> Self {
        Self { q, sketches: Vec::new() }
    }
}

impl Accumulators for ApproximateQuantile {
    fn grow(&mut self, groups: usize) {
        self.sketches.resize(groups, Quantiles::default());
    }

    fn clear(&mut self, group: u32) {
        self.sketches[group as usize] = Quantiles::default();
    }

    fn update(&mut self, groups: &[u32], _: &[i64], argument: Option<&ArrayRef>) {
        let sketches = &mut self.sketches;
        each_double(groups, argument.expect("approx_quantile has an argument"), |group, value| {
            if !value.is_nan() {
                sketches[group as usize].add(value);
            }
        });
    }

    fn merge(&mut self, pairs: &[(u32, u32)]) {
        for (into, from) in pairs {
            let other = self.sketches[*from as usize].clone();
            self.sketches[*into as usize].merge(&other);
        }
    }

    fn as_reversible(&mut self) -> Option<&mut dyn Reversible> {
        None
    }

    fn finish(&self, groups: &[u32]) -> Finished {
        let values = groups.iter().map(|group| self.sketches[*group as usize].quantile(self.q));
        Finished { values: Arc::new(values.collect::<Float64Array>()), failed: Vec::new() }
    }

    fn encode(&self, group: u32, out: &mut Vec<u8>) {
        self.sketches[group as usize].encode(out);
    }

    fn decode(&mut self, group: u32, bytes: &mut &[u8]) -> Option<()> {
        self.sketches[group as usize] = Quantiles::decode(bytes)?;
        Some(())
    }
}

/// The k most frequent texts as a JSON array: `[{"value":"a","count":7,"error":0}]`.
#[derive(Debug)]
pub(crate) struct TopK {
    k: usize,
    sketches: Vec<Frequent>,
}

impl TopK {
    pub(crate) fn new(k: usize) -> Self {
        Self { k, sketches: Vec::new() }
    }

    fn shown(&self, group: u32) -> String {
        let mut text = String::from("[");
        for (at, counter) in self.sketches[group as usize].top(self.k).into_iter().enumerate() {
            let value = str::from_utf8(&counter.value).expect("it came from a string");
            text.push_str(if at > 0 { ",{\"value\":" } else { "{\"value\":" });
            push_json_text(value, &mut text);
            write!(text, ",\"count\":{},\"error\":{}}}", counter.count, counter.error).expect("a string takes all");
        }
        text.push(']');
        text
    }
}

fn push_json_text(value: &str, out: &mut String) {
    out.push('"');
    for letter in value.chars() {
        match letter {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\0'..='\u{1f}' => write!(out, "\\u{:04x}", u32::from(letter)).expect("a string takes all"),
            _ => out.push(letter),
        }
    }
    out.push('"');
}

impl Accumulators for TopK {
    fn grow(&mut self, groups: usize) {
        self.sketches.resize(groups, Frequent::default());
    }

    fn clear(&mut self, group: u32) {
        self.sketches[group as usize] = Frequent::default();
    }

    fn update(&mut self, groups: &[u32], _: &[i64], argument: Option<&ArrayRef>) {
        let (sketches, counters) = (&mut self.sketches, self.k * COUNTERS_FACTOR);
        let column = argument.expect("top_k has an argument");
        each_text(groups, column.as_ref(), |group, value| sketches[group as usize].add(value, counters));
    }

    fn merge(&mut self, pairs: &[(u32, u32)]) {
        for (into, from) in pairs {
            let other = self.sketches[*from as usize].clone();
            self.sketches[*into as usize].merge(&other, self.k * COUNTERS_FACTOR);
        }
    }

    fn as_reversible(&mut self) -> Option<&mut dyn Reversible> {
        None
    }

    fn finish(&self, groups: &[u32]) -> Finished {
        let values: StringArray = groups.iter().map(|group| Some(self.shown(*group))).collect();
        Finished { values: Arc::new(values), failed: Vec::new() }
    }

    fn encode(&self, group: u32, out: &mut Vec<u8>) {
        self.sketches[group as usize].encode(out);
    }

    fn decode(&mut self, group: u32, bytes: &mut &[u8]) -> Option<()> {
        self.sketches[group as usize] = Frequent::decode(bytes)?;
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_frequent_are_json() {
        let mut top = TopK::new(2);
        top.grow(1);
        let column: ArrayRef = Arc::new(StringArray::from(vec![Some("b"), Some("a\"\n"), None, Some("b"), Some("c")]));
        top.update(&[0; 5], &[0; 5], Some(&column));
        let shown = r#"[{"value":"b","count":2,"error":0},{"value":"a\"\u000a","count":1,"error":0}]"#;
        assert_eq!(top.shown(0), shown);
    }

    #[test]
    fn distinct_values_do_not_count_twice_whatever_form_they_have() {
        let mut distinct = ApproximateDistinct::default();
        distinct.grow(2);
        let keys: Vec<Option<String>> = (0..900).map(|number| Some(format!("k{}", number % 300))).collect();
        let plain = crate::example::plain_batch(&keys).column(0).clone();
        let dictionary = crate::example::dictionary_batch(&keys).column(0).clone();
        distinct.update(&[0; 900], &[0; 900], Some(&plain));
        distinct.update(&[1; 900], &[0; 900], Some(&dictionary));
        distinct.merge(&[(0, 1)]);
        assert_eq!((distinct.0[0].estimate(), distinct.0[0] == distinct.0[1]), (300, true));
    }
}

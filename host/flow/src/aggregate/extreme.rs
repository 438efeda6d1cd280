//! `min` and `max`. Doubles are ordered as sorting orders them: -0.0 is 0.0, NaN is the greatest. Text is ordered by its bytes.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Decimal128Type, Float64Type, Int64Type, TimestampMicrosecondType, UInt32Type};
use arrow_array::{
    Array, ArrayRef, BinaryArray, Decimal128Array, Float64Array, Int64Array, StringArray, TimestampMicrosecondArray,
};
use arrow_schema::DataType;

use crate::aggregate::accumulators::{Accumulators, Finished, Reversible};
use crate::aggregate::bytes::{take, take_i128, take_u8, take_u32, take_u64};
use crate::aggregate::numbers::each;
use crate::group::ordered::{ordered_float, plain_float};

/// Which end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Least,
    Greatest,
}

/// What the numbers are.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Number {
    Int64,
    Timestamp,
    /// Kept as bits whose order is that of the numbers.
    Float64,
    Decimal(u8, i8),
}

/// `min` or `max` of numbers, all of them as i128 or, where that is enough, as i64: one comparison a row.
#[derive(Debug)]
pub(crate) struct NumberExtremes<T> {
    end: End,
    of: Number,
    values: Vec<T>,
    is_there: Vec<bool>,
}

impl<T: Copy + Ord + Default> NumberExtremes<T> {
    pub(crate) fn new(end: End, of: Number) -> Self {
        Self { end, of, values: Vec::new(), is_there: Vec::new() }
    }

    #[inline]
    fn take(values: &mut [T], is_there: &mut [bool], end: End, group: u32, value: T) {
        let (old, is_there) = (&mut values[group as usize], &mut is_there[group as usize]);
        let wins = match end {
            End::Least => value < *old,
            End::Greatest => value > *old,
        };
        if wins || !*is_there {
            *old = value;
            *is_there = true;
        }
    }

    fn grow_to(&mut self, groups: usize) {
        self.values.resize(groups, T::default());
        self.is_there.resize(groups, false);
    }

    fn merge_pairs(&mut self, pairs: &[(u32, u32)]) {
        for (into, from) in pairs {
            if self.is_there[*from as usize] {
                let value = self.values[*from as usize];
                Self::take(&mut self.values, &mut self.is_there, self.end, *into, value);
            }
        }
    }

    fn get(&self, group: u32) -> Option<T> {
        self.is_there[group as usize].then(|| self.values[group as usize])
    }
}

impl Accumulators for NumberExtremes<i64> {
    fn grow(&mut self, groups: usize) {
        self.grow_to(groups);
    }

    fn clear(&mut self, group: u32) {
        self.is_there[group as usize] = false;
    }

    fn update(&mut self, groups: &[u32], _: &[i64], argument: Option<&ArrayRef>) {
        let column = argument.expect("min and max have an argument").as_ref();
        let Self { end, of, values, is_there } = self;
        let mut take = |group, value| Self::take(values, is_there, *end, group, value);
        match of {
            Number::Timestamp => each::<TimestampMicrosecondType>(groups, column, take),
            Number::Float64 => {
                each::<Float64Type>(groups, column, |group, value| take(group, signed(ordered_float(value))));
            }
            Number::Int64 | Number::Decimal(..) => each::<Int64Type>(groups, column, take),
        }
    }

    fn merge(&mut self, pairs: &[(u32, u32)]) {
        self.merge_pairs(pairs);
    }

    fn as_reversible(&mut self) -> Option<&mut dyn Reversible> {
        None
    }

    fn finish(&self, groups: &[u32]) -> Finished {
        let values = groups.iter().map(|group| self.get(*group));
        let values: ArrayRef = match self.of {
            Number::Timestamp => Arc::new(values.collect::<TimestampMicrosecondArray>().with_timezone("UTC")),
            Number::Float64 => {
                Arc::new(values.map(|value| value.map(|bits| plain_float(unsigned(bits)))).collect::<Float64Array>())
            }
            Number::Int64 | Number::Decimal(..) => Arc::new(values.collect::<Int64Array>()),
        };
        Finished { values, failed: Vec::new() }
    }

    fn encode(&self, group: u32, out: &mut Vec<u8>) {
        let value = self.get(group);
        out.push(u8::from(value.is_some()));
        value.iter().for_each(|value| out.extend_from_slice(&value.to_le_bytes()));
    }

    fn decode(&mut self, group: u32, bytes: &mut &[u8]) -> Option<()> {
        self.is_there[group as usize] = match take_u8(bytes)? {
            0 => false,
            1 => {
                self.values[group as usize] = take_u64(bytes)? as i64;
                true
            }
            _ => return None,
        };
        Some(())
    }
}

/// Unsigned order as signed order, and back.
fn signed(ordered: u64) -> i64 {
    (ordered ^ 1 << 63) as i64
}

fn unsigned(signed: i64) -> u64 {
    signed as u64 ^ 1 << 63
}

impl Accumulators for NumberExtremes<i128> {
    fn grow(&mut self, groups: usize) {
        self.grow_to(groups);
    }

    fn clear(&mut self, group: u32) {
        self.is_there[group as usize] = false;
    }

    fn update(&mut self, groups: &[u32], _: &[i64], argument: Option<&ArrayRef>) {
        let column = argument.expect("min and max have an argument").as_ref();
        let Self { end, values, is_there, .. } = self;
        each::<Decimal128Type>(groups, column, |group, value| Self::take(values, is_there, *end, group, value));
    }

    fn merge(&mut self, pairs: &[(u32, u32)]) {
        self.merge_pairs(pairs);
    }

    fn as_reversible(&mut self) -> Option<&mut dyn Reversible> {
        None
    }

    fn finish(&self, groups: &[u32]) -> Finished {
        let Number::Decimal(precision, scale) = self.of else { panic!("only decimals are kept in 128 bits") };
        let values = groups.iter().map(|group| self.get(*group)).collect::<Decimal128Array>();
        Finished { values: Arc::new(values.with_data_type(DataType::Decimal128(precision, scale))), failed: Vec::new() }
    }

    fn encode(&self, group: u32, out: &mut Vec<u8>) {
        let value = self.get(group);
        out.push(u8::from(value.is_some()));
        value.iter().for_each(|value| out.extend_from_slice(&value.to_le_bytes()));
    }

    fn decode(&mut self, group: u32, bytes: &mut &[u8]) -> Option<()> {
        self.is_there[group as usize] = match take_u8(bytes)? {
            0 => false,
            1 => {
                self.values[group as usize] = take_i128(bytes)?;
                true
            }
            _ => return None,
        };
        Some(())
    }
}

/// `min` or `max` of text or bytes.
#[derive(Debug)]
pub(crate) struct TextExtremes {
    end: End,
    is_text: bool,
    values: Vec<Option<Box<[u8]>>>,
}

impl TextExtremes {
    pub(crate) fn new(end: End, is_text: bool) -> Self {
        Self { end, is_text, values: Vec::new() }
    }

    fn take(&mut self, group: u32, value: &[u8]) {
        let old = &mut self.values[group as usize];
        let wins = old.as_deref().is_none_or(|old| match self.end {
            End::Least => value < old,
            End::Greatest => value > old,
        });
        if wins {
            *old = Some(value.into());
        }
    }
}

/// Calls `take` with the group and the bytes of every row that has a value.
pub(crate) fn each_text(groups: &[u32], column: &dyn Array, mut take: impl FnMut(u32, &[u8])) {
    match column.data_type() {
        DataType::Dictionary(..) => {
            let column = column.as_dictionary::<UInt32Type>();
            let values = column.values().as_string::<i32>();
            for (row, group) in groups.iter().enumerate() {
                if let Some(entry) = column.key(row).filter(|entry| values.is_valid(*entry)) {
                    take(*group, values.value(entry).as_bytes());
                }
            }
        }
        DataType::Binary => {
            let column = column.as_binary::<i32>();
            groups.iter().zip(column.iter()).for_each(|(group, value)| value.iter().for_each(|value| take(*group, value)));
        }
        _ => {
            let column = column.as_string::<i32>();
            groups
                .iter()
                .zip(column.iter())
                .for_each(|(group, value)| value.iter().for_each(|value| take(*group, value.as_bytes())));
        }
    }
}

impl Accumulators for TextExtremes {
    fn grow(&mut self, groups: usize) {
        self.values.resize(groups, None);
    }

    fn clear(&mut self, group: u32) {
        self.values[group as usize] = None;
    }

    fn update(&mut self, groups: &[u32], _: &[i64], argument: Option<&ArrayRef>) {
        let column = argument.expect("min and max have an argument");
        each_text(groups, column.as_ref(), |group, value| self.take(group, value));
    }

    fn merge(&mut self, pairs: &[(u32, u32)]) {
        for (into, from) in pairs {
            if let Some(value) = self.values[*from as usize].clone() {
                self.take(*into, &value);
            }
        }
    }

    fn as_reversible(&mut self) -> Option<&mut dyn Reversible> {
        None
    }

    fn finish(&self, groups: &[u32]) -> Finished {
        let values = groups.iter().map(|group| self.values[*group as usize].as_deref());
        let values: ArrayRef = if self.is_text {
            let text = |bytes| str::from_utf8(bytes).expect("it came from a string");
            Arc::new(values.map(|value| value.map(text)).collect::<StringArray>())
        } else {
            Arc::new(values.collect::<BinaryArray>())
        };
        Finished { values, failed: Vec::new() }
    }

    fn encode(&self, group: u32, out: &mut Vec<u8>) {
        match &self.values[group as usize] {
            None => out.push(0),
            Some(value) => {
                out.push(1);
                out.extend_from_slice(&(value.len() as u32).to_le_bytes());
                out.extend_from_slice(value);
            }
        }
    }

    fn decode(&mut self, group: u32, bytes: &mut &[u8]) -> Option<()> {
        self.values[group as usize] = match take_u8(bytes)? {
            0 => None,
            1 => {
                let length = take_u32(bytes)? as usize;
                let value = take(bytes, length)?;
                if self.is_text {
                    str::from_utf8(value).ok()?;
                }
                Some(value.into())
            }
            _ => return None,
        };
        Some(())
    }
}

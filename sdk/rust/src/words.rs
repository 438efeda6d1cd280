//! A rule as questions to columns: 64 rows at a time, one column after another, text once per dictionary entry.
//!
//! `#[rule]` finds out whether a function is one expression of comparisons; then rows need not be asked one by one, and the answers are
//! the same:
//!
//! ```text
//! amount > 1000.0  &&  country != config.home  &&  status == "ok"
//! word ─narrow──────►  word ─narrow, table───►  word ─narrow, table──►  64 verdicts
//! ```
//! A word that has become 0 is done. What is left of one that is nearly 0 is asked row by row.

use crate::abi::trusted::{self, Row};
use crate::call::{Call, RuleAnswer};
use crate::column::Column;

/// Fewer rows than this of a word are asked one by one.
const FEW: u32 = 12;

/// Up to 64 rows that stand side by side.
#[derive(Debug, Clone, Copy)]
pub struct Rows {
    start: usize,
    end: usize,
}

/// What one question answers for each entry of a column's dictionary.
#[derive(Debug)]
pub struct Table<'a> {
    entries: &'a [[u8; 4]],
    yes: Vec<bool>,
}

impl<'a> Table<'a> {
    /// `entries` names one of `yes` for each row.
    pub(crate) fn new(entries: &'a [[u8; 4]], yes: Vec<bool>) -> Self {
        Self { entries, yes }
    }

    #[inline(always)]
    fn at(&self, row: Row) -> bool {
        let entry = u32::from_le_bytes(trusted::value(self.entries, row.number()));
        trusted::value(&self.yes, entry as usize)
    }
}

/// Answers word by word: `ask` is given the rows and a word of ones, and clears those whose answer is no.
#[inline]
pub fn judge(call: &Call<'_>, answer: &mut RuleAnswer, ask: impl FnMut(Rows, u64) -> u64) {
    each_word(call.rows, ask, &mut answer.verdicts);
}

/// An answer for each row, behind what is there already; every row is asked, in no order.
#[inline(always)]
pub(crate) fn every_row(rows: usize, ask: impl Fn(Row) -> bool, to: &mut Vec<u8>) {
    each_word(rows, |rows, _| every(rows, &ask), to);
}

#[inline(always)]
fn each_word(rows: usize, mut ask: impl FnMut(Rows, u64) -> u64, to: &mut Vec<u8>) {
    let behind = to.len() + rows.div_ceil(8);
    to.reserve(rows.div_ceil(64) * 8);
    let mut start = 0;
    while start < rows {
        let word = Rows { start, end: rows.min(start + 64) };
        let all = u64::MAX >> (64 - (word.end - word.start));
        to.extend_from_slice(&ask(word, all).to_le_bytes());
        start = word.end;
    }
    to.truncate(behind);
}

/// The rows of `word` whose value passes. `ask` must not care how often and for which rows it is asked.
#[inline(always)]
pub fn narrow<C: Column>(column: &C, table: &Option<Table<'_>>, rows: Rows, word: u64, ask: impl Fn(C::Value) -> bool) -> u64 {
    match table {
        Some(table) if word.count_ones() > FEW => word & every(rows, |row| table.at(row)),
        Some(table) => some(rows, word, |row| table.at(row)),
        None if C::CHEAP && word.count_ones() > FEW => word & every(rows, |row| ask(column.at(row))),
        None => some(rows, word, |row| ask(column.at(row))),
    }
}

/// The rows of `word` that pass; no others are asked.
#[inline(always)]
pub fn some(rows: Rows, word: u64, ask: impl Fn(Row) -> bool) -> u64 {
    let (mut left, mut yes) = (word, 0);
    while left != 0 {
        let bit = left.trailing_zeros();
        left &= left - 1;
        yes |= u64::from(ask(Row::of(rows.start + bit as usize, rows.end))) << bit;
    }
    yes
}

/// All rows that pass.
#[inline(always)]
fn every(rows: Rows, ask: impl Fn(Row) -> bool) -> u64 {
    let mut word = 0;
    if rows.end - rows.start == 64 {
        // Eight bits at a time in a register of 32 bits, without a branch.
        for byte in 0..8 {
            let mut bits = 0u32;
            for bit in 0..8 {
                bits |= u32::from(ask(Row::of(rows.start + byte * 8 + bit, rows.end))) << bit;
            }
            word |= u64::from(bits) << (byte * 8);
        }
    } else {
        for bit in 0..rows.end - rows.start {
            word |= u64::from(ask(Row::of(rows.start + bit, rows.end))) << bit;
        }
    }
    word
}

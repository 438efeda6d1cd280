//! The rule that is measured: `amount > 1000 && country != home && status == "ok"`, natively over Arrow arrays. `guests/bench-rule` is the
//! same function as a component; its loop is the SDK's.

use arrow_array::types::UInt32Type;
use arrow_array::{Array, DictionaryArray, Float64Array, StringArray};

/// The function, a row at a time.
#[inline]
pub(crate) fn abroad(amount: f64, country: &str, status: &str, home: &str) -> bool {
    amount > 1000.0 && country != home && status == "ok"
}

/// A loop over rows of plain text.
pub(crate) fn rows_plain(amount: &Float64Array, country: &StringArray, status: &StringArray, home: &str, bits: &mut Vec<u8>) {
    pack(amount.len(), bits, |row| abroad(amount.value(row), country.value(row), status.value(row), home));
}

/// A loop over rows of dictionaries, each text looked up by its key.
pub(crate) fn rows_dictionary(amount: &Float64Array, country: Texts<'_>, status: Texts<'_>, home: &str, bits: &mut Vec<u8>) {
    pack(amount.len(), bits, |row| abroad(amount.value(row), country.value(row), status.value(row), home));
}

/// Each text judged once per dictionary entry, rows by their keys: as fast as it gets without vector instructions by hand.
pub(crate) fn columns_dictionary(amount: &Float64Array, country: Texts<'_>, status: Texts<'_>, home: &str, bits: &mut Vec<u8>) {
    let countries: Vec<bool> = country.entries.iter().map(|country| country != Some(home)).collect();
    let statuses: Vec<bool> = status.entries.iter().map(|status| status == Some("ok")).collect();
    pack(amount.len(), bits, |row| {
        amount.value(row) > 1000.0 && countries[country.keys[row] as usize] && statuses[status.keys[row] as usize]
    });
}

/// A dictionary column taken apart.
#[derive(Clone, Copy)]
pub(crate) struct Texts<'a> {
    keys: &'a [u32],
    entries: &'a StringArray,
}

impl<'a> Texts<'a> {
    /// Of a column.
    pub(crate) fn of(column: &'a DictionaryArray<UInt32Type>) -> Self {
        let entries = column.values().as_any().downcast_ref().expect("texts");
        Self { keys: column.keys().values(), entries }
    }

    #[inline]
    fn value(&self, row: usize) -> &'a str {
        self.entries.value(self.keys[row] as usize)
    }
}

#[inline]
fn pack(rows: usize, bits: &mut Vec<u8>, verdict: impl Fn(usize) -> bool) {
    bits.clear();
    bits.extend((0..rows.div_ceil(8)).map(|byte| {
        let start = byte * 8;
        (start..rows.min(start + 8)).fold(0, |bits, row| bits | u8::from(verdict(row)) << (row - start))
    }));
}

/// The function of `guests/bench-heavy`.
pub(crate) fn rows_heavy(amount: &Float64Array, bits: &mut Vec<u8>) {
    pack(amount.len(), bits, |row| mixed(amount.value(row).to_bits()).is_multiple_of(16));
}

fn mixed(mut bits: u64) -> u64 {
    for _ in 0..8 {
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^= bits >> 31;
    }
    bits
}

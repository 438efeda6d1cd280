//! A checksum over what a batch says, not over how it lies in memory: a dictionary and plain texts of the same values agree.
//!
//! ```text
//! batch = fold(rows, columns, column 0, column 1, …)      column = fold(type, value 0, value 1, …)
//! ```
//! The function is ours and fixed for good: checksums are stored with commits and compared by later versions. It finds mistakes,
//! it does not withstand someone who wants two batches to agree.

use arrow_array::cast::AsArray;
use arrow_array::types::{Decimal128Type, Float64Type, Int64Type, TimestampMicrosecondType, UInt32Type};
use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_schema::DataType;

const SEED: u64 = 0x7469_6465_6d69_6c6c;
const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;
const NULL: u64 = 0xd1b5_4a32_d192_ed03;

/// The checksum of a batch: over row and column counts, each column's kind, and every value in order. Names are not part of it.
pub fn checksum(batch: &RecordBatch) -> u64 {
    let mut sum = fold(fold(SEED, batch.num_rows() as u64), batch.num_columns() as u64);
    for array in batch.columns() {
        sum = fold(sum, column(array));
    }
    sum
}

/// Mixes a value into a sum: the two halves of a 128-bit product, so that every bit moves every other.
#[inline]
fn fold(sum: u64, value: u64) -> u64 {
    let product = u128::from(sum ^ value.rotate_left(32)) * u128::from(FACTOR);
    (product as u64 ^ (product >> 64) as u64).wrapping_add(value)
}

fn bytes(value: &[u8]) -> u64 {
    let mut sum = fold(SEED, value.len() as u64);
    let mut chunks = value.chunks_exact(8);
    for chunk in &mut chunks {
        sum = fold(sum, u64::from_le_bytes([chunk[0], chunk[1], chunk[2], chunk[3], chunk[4], chunk[5], chunk[6], chunk[7]]));
    }
    let rest = chunks.remainder();
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    fold(sum, u64::from_le_bytes(last))
}

fn rows(kind: u64, array: &dyn Array, value: impl Fn(usize) -> u64) -> u64 {
    let start = fold(SEED, kind);
    match array.nulls() {
        None => (0..array.len()).fold(start, |sum, row| fold(sum, value(row))),
        Some(nulls) => (0..array.len()).fold(start, |sum, row| fold(sum, if nulls.is_valid(row) { value(row) } else { NULL })),
    }
}

fn column(array: &ArrayRef) -> u64 {
    match array.data_type() {
        DataType::Boolean => {
            let values = array.as_boolean();
            rows(1, array, |row| u64::from(values.value(row)))
        }
        DataType::Int64 => {
            let values = array.as_primitive::<Int64Type>().values();
            rows(2, array, |row| values[row] as u64)
        }
        DataType::Float64 => {
            let values = array.as_primitive::<Float64Type>().values();
            rows(3, array, |row| values[row].to_bits())
        }
        DataType::Decimal128(_, _) => {
            let values = array.as_primitive::<Decimal128Type>().values();
            rows(4, array, |row| fold(values[row] as u64, (values[row] >> 64) as u64))
        }
        DataType::Utf8 => {
            let values = array.as_string::<i32>();
            rows(5, array, |row| bytes(values.value(row).as_bytes()))
        }
        DataType::Dictionary(_, _) => {
            let dictionary = array.as_dictionary::<UInt32Type>();
            let values = dictionary.values().as_string::<i32>();
            let sums: Vec<u64> = (0..values.len()).map(|place| bytes(values.value(place).as_bytes())).collect();
            let keys = dictionary.keys().values();
            rows(5, array, |row| sums[keys[row] as usize])
        }
        DataType::Binary => {
            let values = array.as_binary::<i32>();
            rows(6, array, |row| bytes(values.value(row)))
        }
        DataType::Timestamp(_, _) => {
            let values = array.as_primitive::<TimestampMicrosecondType>().values();
            rows(7, array, |row| values[row] as u64)
        }
        other => unreachable!("no event batch has a column of type {other}"),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::{DictionaryArray, Int64Array, StringArray};
    use arrow_schema::{Field, Schema};

    use super::*;

    fn batch(array: ArrayRef) -> RecordBatch {
        let field = Field::new("x", array.data_type().clone(), true);
        RecordBatch::try_new(Arc::new(Schema::new(vec![field])), vec![array]).expect("one column")
    }

    #[test]
    fn forms_agree_and_values_differ() {
        let values = [Some("a"), None, Some("bb"), Some("a"), Some("")];
        let plain: StringArray = values.into_iter().collect();
        let dictionary: DictionaryArray<UInt32Type> = values.into_iter().collect();
        let sum = checksum(&batch(Arc::new(plain)));
        assert_eq!(sum, checksum(&batch(Arc::new(dictionary))));
        for other in
            [vec![Some("a"), None, Some("bb"), Some(""), Some("a")], vec![Some("a"), Some(""), Some("bb"), Some("a"), Some("")]]
        {
            assert_ne!(sum, checksum(&batch(Arc::new(other.into_iter().collect::<StringArray>()))));
        }
    }

    #[test]
    fn the_function_does_not_change() {
        let numbers = checksum(&batch(Arc::new(Int64Array::from(vec![Some(1), None, Some(-3)]))));
        let texts = checksum(&batch(Arc::new(StringArray::from(vec!["tidemill", "longer than eight"]))));
        expect_test::expect!["ad6a2ff90f11b642 98d060022d517b44"].assert_eq(&format!("{numbers:x} {texts:x}"));
    }
}

//! Columns a component makes: output rows and new state, written column by column into one buffer in the host's layout.

use crate::abi::bindings::Column as Place;
use crate::column::{ENCODING_BITS, ENCODING_OFFSETS, ENCODING_WIDE, ENCODING_WORDS, NO_VALIDITY, Word};
use crate::field::{Field, FieldType};
use crate::{Decimal, Json, Timestamp};

/// A row of output columns. Made by `#[derive(Output)]`.
pub trait Output {
    /// The columns it makes, in order.
    const FIELDS: &'static [Field];
    /// The field marked `#[output(time)]`, the rows' event time.
    const TIME: Option<&'static str>;
    /// The columns under way.
    type Builders: Builders;
    /// The same row with other borrows.
    type At<'a>: Output<Builders = Self::Builders>;

    /// Adds this row.
    fn append(&self, builders: &mut Self::Builders);
}

/// All columns of an output under way.
pub trait Builders: Default {
    /// Adds a row of nulls.
    fn append_null(&mut self);
    /// Adds a row of whatever is shortest: for a row that has a note, whose values nobody reads.
    fn append_nothing(&mut self);
    /// Drops the rows from `rows` on.
    fn truncate(&mut self, rows: usize);
    /// Writes the columns.
    fn finish(self, buffer: &mut Buffer, places: &mut Vec<Place>);
}

/// No output columns.
#[derive(Debug, Default)]
pub struct NoBuilders;

impl Builders for NoBuilders {
    fn append_null(&mut self) {}
    fn append_nothing(&mut self) {}
    fn truncate(&mut self, _rows: usize) {}
    fn finish(self, _buffer: &mut Buffer, _places: &mut Vec<Place>) {}
}

/// No output at all.
impl Output for () {
    const FIELDS: &'static [Field] = &[];
    const TIME: Option<&'static str> = None;
    type Builders = NoBuilders;
    type At<'a> = ();

    fn append(&self, _builders: &mut NoBuilders) {}
}

/// The one buffer of an answer; every part starts at a multiple of 8.
#[derive(Debug, Default)]
pub struct Buffer {
    pub(crate) bytes: Vec<u8>,
}

impl Buffer {
    pub(crate) const fn new() -> Self {
        Self { bytes: Vec::new() }
    }

    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
    }

    /// Where the next part starts.
    fn start(&mut self) -> u32 {
        self.bytes.resize(self.bytes.len().next_multiple_of(8), 0);
        u32::try_from(self.bytes.len()).expect("an answer is smaller than 4 GiB")
    }

    pub(crate) fn put(&mut self, part: &[u8]) -> u32 {
        let start = self.start();
        self.bytes.extend_from_slice(part);
        start
    }

    pub(crate) fn put_words<const N: usize>(&mut self, words: impl Iterator<Item = [u8; N]>) -> u32 {
        let start = self.start();
        for word in words {
            self.bytes.extend_from_slice(&word);
        }
        start
    }
}

/// Bits under way, lowest first.
#[derive(Debug, Default)]
struct BitRow {
    bytes: Vec<u8>,
    rows: usize,
}

impl BitRow {
    #[inline]
    fn push(&mut self, bit: bool) {
        if self.rows.is_multiple_of(8) {
            self.bytes.push(0);
        }
        if let (true, Some(last)) = (bit, self.bytes.last_mut()) {
            *last |= 1 << (self.rows % 8);
        }
        self.rows += 1;
    }

    fn truncate(&mut self, rows: usize) {
        if rows < self.rows {
            self.bytes.truncate(rows.div_ceil(8));
            if let (Some(last), behind @ 1..) = (self.bytes.last_mut(), rows % 8) {
                *last &= (1 << behind) - 1;
            }
            self.rows = rows;
        }
    }
}

/// The values of one column under way. A null stands as whatever is shortest; validity says so.
pub trait Values: Default {
    /// Adds the value that stands where a null is.
    fn append_nothing(&mut self);
    /// How many rows it has.
    fn rows(&self) -> usize;
    /// Drops the rows from `rows` on.
    fn truncate(&mut self, rows: usize);
    /// Writes them.
    fn finish(self, buffer: &mut Buffer) -> Place;
}

/// Booleans under way.
#[derive(Debug, Default)]
pub struct BitValues(BitRow);

impl Values for BitValues {
    fn append_nothing(&mut self) {
        self.0.push(false);
    }
    fn rows(&self) -> usize {
        self.0.rows
    }
    fn truncate(&mut self, rows: usize) {
        self.0.truncate(rows);
    }
    fn finish(self, buffer: &mut Buffer) -> Place {
        Place { values: buffer.put(&self.0.bytes), ..place(ENCODING_BITS) }
    }
}

/// Eight-byte values under way.
#[derive(Debug, Default)]
pub struct WordValues(Vec<u64>);

impl Values for WordValues {
    fn append_nothing(&mut self) {
        self.0.push(0);
    }
    fn rows(&self) -> usize {
        self.0.len()
    }
    fn truncate(&mut self, rows: usize) {
        self.0.truncate(rows);
    }
    fn finish(self, buffer: &mut Buffer) -> Place {
        Place { values: buffer.put_words(self.0.iter().map(|word| word.to_le_bytes())), ..place(ENCODING_WORDS) }
    }
}

/// Sixteen-byte values under way.
#[derive(Debug, Default)]
pub struct WideValues(Vec<i128>);

impl Values for WideValues {
    fn append_nothing(&mut self) {
        self.0.push(0);
    }
    fn rows(&self) -> usize {
        self.0.len()
    }
    fn truncate(&mut self, rows: usize) {
        self.0.truncate(rows);
    }
    fn finish(self, buffer: &mut Buffer) -> Place {
        Place { values: buffer.put_words(self.0.iter().map(|wide| wide.to_le_bytes())), ..place(ENCODING_WIDE) }
    }
}

/// Text and bytes under way: where each ends, and all of them.
#[derive(Debug, Default)]
pub struct ByteValues {
    ends: Vec<u32>,
    bytes: Vec<u8>,
}

impl ByteValues {
    #[inline]
    fn push(&mut self, value: &[u8]) {
        self.bytes.extend_from_slice(value);
        self.close();
    }

    /// Ends the value whose bytes were just added.
    #[inline]
    fn close(&mut self) {
        self.ends.push(u32::try_from(self.bytes.len()).expect("a column is smaller than 4 GiB"));
    }
}

impl Values for ByteValues {
    fn append_nothing(&mut self) {
        self.close();
    }
    fn rows(&self) -> usize {
        self.ends.len()
    }
    fn truncate(&mut self, rows: usize) {
        self.ends.truncate(rows);
        self.bytes.truncate(self.ends.last().map_or(0, |end| *end as usize));
    }
    fn finish(self, buffer: &mut Buffer) -> Place {
        let offsets = std::iter::once(0).chain(self.ends.iter().copied());
        let values = buffer.put_words(offsets.map(u32::to_le_bytes));
        let bytes = buffer.put(&self.bytes);
        let bytes_length = u32::try_from(self.bytes.len()).expect("a column is smaller than 4 GiB");
        Place { values, bytes, bytes_length, ..place(ENCODING_OFFSETS) }
    }
}

fn place(encoding: u8) -> Place {
    Place { encoding, validity: NO_VALIDITY, values: 0, entry_offsets: 0, entries: 0, bytes: 0, bytes_length: 0 }
}

/// One column under way; validity is kept from the first null on.
#[derive(Debug, Default)]
pub struct ColumnBuilder<V> {
    values: V,
    validity: Option<BitRow>,
}

impl<V: Values> ColumnBuilder<V> {
    #[inline]
    fn append(&mut self, add: impl FnOnce(&mut V)) {
        add(&mut self.values);
        if let Some(validity) = &mut self.validity {
            validity.push(true);
        }
    }

    /// Adds the shortest value.
    pub fn append_nothing(&mut self) {
        self.append(Values::append_nothing);
    }

    /// Adds a null.
    pub fn append_null(&mut self) {
        let rows = self.values.rows();
        self.validity.get_or_insert_with(|| BitRow { bytes: all_set(rows), rows }).push(false);
        self.values.append_nothing();
    }

    /// Drops the rows from `rows` on.
    pub fn truncate(&mut self, rows: usize) {
        self.values.truncate(rows);
        if let Some(validity) = &mut self.validity {
            validity.truncate(rows);
        }
    }

    /// Writes the column.
    pub fn finish(self, buffer: &mut Buffer) -> Place {
        let place = self.values.finish(buffer);
        match self.validity {
            Some(validity) => Place { validity: buffer.put(&validity.bytes), ..place },
            None => place,
        }
    }
}

/// That many set bits and no more.
fn all_set(rows: usize) -> Vec<u8> {
    let mut bytes = vec![u8::MAX; rows.div_ceil(8)];
    if let (Some(last), behind @ 1..) = (bytes.last_mut(), rows % 8) {
        *last = (1 << behind) - 1;
    }
    bytes
}

/// A type an output field or a state field may have.
pub trait OutputValue: FieldType {
    /// Its column's values.
    type Values: Values;

    /// Adds this value.
    fn append(&self, column: &mut ColumnBuilder<Self::Values>);
}

macro_rules! output_values {
    ($([$($generics:tt)*] $ty:ty => $values:ty, |$value:ident, $to:ident| $push:expr;)*) => {
        $(impl<$($generics)*> OutputValue for $ty {
            type Values = $values;

            #[inline]
            fn append(&self, column: &mut ColumnBuilder<$values>) {
                let $value = self;
                column.append(|$to| $push);
            }
        })*
    };
}

output_values! {
    [] bool => BitValues, |value, to| to.0.push(*value);
    [] i64 => WordValues, |value, to| to.0.push(value.to_word());
    [] f64 => WordValues, |value, to| to.0.push(value.to_word());
    [] Timestamp => WordValues, |value, to| to.0.push(value.to_word());
    [const PRECISION: u8, const SCALE: u8] Decimal<PRECISION, SCALE> => WideValues, |value, to| to.0.push(value.units());
    [] &str => ByteValues, |value, to| to.push(value.as_bytes());
    [] String => ByteValues, |value, to| to.push(value.as_bytes());
    [] &[u8] => ByteValues, |value, to| to.push(value);
    [] Vec<u8> => ByteValues, |value, to| to.push(value);
    [] Json<'_> => ByteValues, |value, to| to.push(value.0.as_bytes());
    [] Vec<i64> => ByteValues, |value, to| push_words(value, to);
    [] Vec<f64> => ByteValues, |value, to| push_words(value, to);
    [] Vec<Timestamp> => ByteValues, |value, to| push_words(value, to);
}

/// A list kept in a `bytes` field: eight little-endian bytes each.
fn push_words<T: Word>(list: &[T], to: &mut ByteValues) {
    for value in list {
        to.bytes.extend_from_slice(&value.to_word().to_le_bytes());
    }
    to.close();
}

impl<T: OutputValue> OutputValue for Option<T> {
    type Values = T::Values;

    #[inline]
    fn append(&self, column: &mut ColumnBuilder<T::Values>) {
        match self {
            Some(value) => value.append(column),
            None => column.append_null(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What rows and validity a column has after nulls, values and a cut.
    #[test]
    fn validity_starts_with_the_first_null_and_is_cut_with_the_rows() {
        let mut column = ColumnBuilder::<WordValues>::default();
        for row in 0..9i64 {
            row.append(&mut column);
        }
        assert!(column.validity.is_none());
        None::<i64>.append(&mut column);
        Some(10i64).append(&mut column);
        assert_eq!(column.validity.as_ref().map(|bits| bits.bytes.clone()), Some(vec![0xff, 0b101]));
        column.truncate(10);
        assert_eq!(column.validity.as_ref().map(|bits| (bits.bytes.clone(), bits.rows)), Some((vec![0xff, 0b01], 10)));
        let mut buffer = Buffer::default();
        buffer.put(&[1]);
        let place = column.finish(&mut buffer);
        assert_eq!((place.encoding, place.values, place.validity), (ENCODING_WORDS, 8, 88));
        assert_eq!(buffer.bytes.len(), 90);
    }

    #[test]
    fn texts_are_cut_with_their_bytes() {
        let mut column = ColumnBuilder::<ByteValues>::default();
        for text in ["ab", "", "cde"] {
            text.append(&mut column);
        }
        column.truncate(2);
        "x".append(&mut column);
        assert_eq!((column.values.bytes.as_slice(), column.values.ends.as_slice()), (&b"abx"[..], &[2, 2, 3][..]));
    }
}

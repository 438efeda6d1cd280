//! Typed views of one column in a call's buffer. Nothing is copied: a value is read where the host put it, and because every
//! read goes through little-endian byte arrays, the buffer's alignment does not matter.

use crate::Mask;
use crate::abi::bindings::Column as Place;
use crate::abi::trusted::{self, Row};
use crate::call::Call;
use crate::words::Table;

/// No row is null.
pub(crate) const NO_VALIDITY: u32 = u32::MAX;
/// WIT enum `encoding`.
pub(crate) const ENCODING_BITS: u8 = 0;
pub(crate) const ENCODING_WORDS: u8 = 1;
pub(crate) const ENCODING_WIDE: u8 = 2;
pub(crate) const ENCODING_OFFSETS: u8 = 3;
pub(crate) const ENCODING_DICTIONARY: u8 = 4;

/// A column that can be read by row.
pub trait Column: Copy {
    /// What a row holds.
    type Value;

    /// The value of a row below the batch's number of rows; panics above it.
    fn get(&self, row: usize) -> Self::Value;

    /// The value of a row of the call the column was bound in: [`Column::get`] without its checks, for the SDK's loops.
    #[doc(hidden)]
    fn at(&self, row: Row) -> Self::Value;

    /// Whether asking every row costs less than finding out which rows to ask.
    #[doc(hidden)]
    const CHEAP: bool;

    /// The answers for each entry of a dictionary with no more entries than rows, if the column has one and no row is null.
    #[doc(hidden)]
    fn table(&self, rows: usize, ask: impl FnMut(Self::Value) -> bool) -> Option<Table<'_>>;

    /// The rows whose value passes.
    #[inline]
    fn test(&self, rows: usize, mut passes: impl FnMut(Self::Value) -> bool) -> Mask {
        Mask::of(rows, |row| passes(self.get(row)))
    }
}

/// One bit a row.
#[derive(Debug, Clone, Copy)]
pub struct Bits<'a>(&'a [u8]);

impl<'a> Bits<'a> {
    #[inline]
    fn at(call: &Call<'a>, start: u32, rows: usize) -> Self {
        Self(&call.data[start as usize..][..rows.div_ceil(8)])
    }

    #[inline]
    pub(crate) fn bind(call: &Call<'a>, place: &Place, rows: usize) -> Self {
        Self::at(call, place.values, rows)
    }
}

impl Column for Bits<'_> {
    type Value = bool;

    const CHEAP: bool = true;

    fn table(&self, _rows: usize, _ask: impl FnMut(Self::Value) -> bool) -> Option<Table<'_>> {
        None
    }

    #[inline(always)]
    fn get(&self, row: usize) -> bool {
        self.0[row / 8] >> (row % 8) & 1 == 1
    }

    #[inline(always)]
    fn at(&self, row: Row) -> bool {
        trusted::value(self.0, row.number() / 8) >> (row.number() % 8) & 1 == 1
    }
}

/// Eight bytes a row.
#[derive(Debug, Clone, Copy)]
pub struct Words<'a, T> {
    words: &'a [[u8; 8]],
    kind: core::marker::PhantomData<T>,
}

/// What eight bytes can stand for.
pub trait Word: Copy {
    /// The value of these bits.
    fn from_word(word: u64) -> Self;
    /// The bits of this value.
    fn to_word(self) -> u64;
}

impl Word for i64 {
    #[inline(always)]
    fn from_word(word: u64) -> Self {
        word as i64
    }
    #[inline(always)]
    fn to_word(self) -> u64 {
        self as u64
    }
}

impl Word for f64 {
    #[inline(always)]
    fn from_word(word: u64) -> Self {
        Self::from_bits(word)
    }
    #[inline(always)]
    fn to_word(self) -> u64 {
        self.to_bits()
    }
}

impl Word for crate::Timestamp {
    #[inline(always)]
    fn from_word(word: u64) -> Self {
        Self(word as i64)
    }
    #[inline(always)]
    fn to_word(self) -> u64 {
        self.0 as u64
    }
}

impl<'a, T: Word> Words<'a, T> {
    #[inline]
    pub(crate) fn bind(call: &Call<'a>, place: &Place, rows: usize) -> Self {
        let (words, _) = call.data[place.values as usize..][..rows * 8].as_chunks();
        Self { words, kind: core::marker::PhantomData }
    }

    /// All values, in row order.
    pub fn iter(&self) -> impl Iterator<Item = T> + 'a {
        self.words.iter().map(|word| T::from_word(u64::from_le_bytes(*word)))
    }
}

impl<T: Word> Column for Words<'_, T> {
    type Value = T;

    const CHEAP: bool = true;

    fn table(&self, _rows: usize, _ask: impl FnMut(Self::Value) -> bool) -> Option<Table<'_>> {
        None
    }

    #[inline(always)]
    fn get(&self, row: usize) -> T {
        T::from_word(u64::from_le_bytes(self.words[row]))
    }

    #[inline(always)]
    fn at(&self, row: Row) -> T {
        T::from_word(u64::from_le_bytes(trusted::value(self.words, row.number())))
    }

    #[inline]
    fn test(&self, _rows: usize, mut passes: impl FnMut(T) -> bool) -> Mask {
        // Whole chunks of 64 rows have no bounds checks inside, which lets the compiler vectorise.
        Mask::of_chunks(self.words, |word| passes(T::from_word(u64::from_le_bytes(*word))))
    }
}

/// Sixteen bytes a row.
#[derive(Debug, Clone, Copy)]
pub struct Wide<'a, const PRECISION: u8, const SCALE: u8>(&'a [[u8; 16]]);

impl<'a, const PRECISION: u8, const SCALE: u8> Wide<'a, PRECISION, SCALE> {
    #[inline]
    pub(crate) fn bind(call: &Call<'a>, place: &Place, rows: usize) -> Self {
        Self(call.data[place.values as usize..][..rows * 16].as_chunks().0)
    }
}

impl<const PRECISION: u8, const SCALE: u8> Column for Wide<'_, PRECISION, SCALE> {
    type Value = crate::Decimal<PRECISION, SCALE>;

    const CHEAP: bool = false;

    fn table(&self, _rows: usize, _ask: impl FnMut(Self::Value) -> bool) -> Option<Table<'_>> {
        None
    }

    #[inline(always)]
    fn get(&self, row: usize) -> Self::Value {
        crate::Decimal::from_units(i128::from_le_bytes(self.0[row]))
    }

    #[inline(always)]
    fn at(&self, row: Row) -> Self::Value {
        crate::Decimal::from_units(i128::from_le_bytes(trusted::value(self.0, row.number())))
    }
}

/// Bytes of any length a row: offsets and bytes.
#[derive(Debug, Clone, Copy)]
pub struct Bytes<'a> {
    /// One more than there are values.
    offsets: &'a [[u8; 4]],
    bytes: &'a [u8],
}

impl<'a> Bytes<'a> {
    #[inline]
    fn at(call: &Call<'a>, place: &Place, offsets: u32, values: usize) -> Self {
        let (offsets, _) = call.data[offsets as usize..][..(values + 1) * 4].as_chunks();
        Self { offsets, bytes: &call.data[place.bytes as usize..][..place.bytes_length as usize] }
    }

    #[inline]
    pub(crate) fn bind(call: &Call<'a>, place: &Place, rows: usize) -> Self {
        Self::at(call, place, place.values, rows)
    }

    #[inline(always)]
    fn slice(&self, value: usize) -> &'a [u8] {
        let start = u32::from_le_bytes(self.offsets[value]) as usize;
        let end = u32::from_le_bytes(self.offsets[value + 1]) as usize;
        &self.bytes[start..end]
    }

    #[inline(always)]
    fn trusted(&self, value: usize) -> &'a [u8] {
        let start = u32::from_le_bytes(trusted::value(self.offsets, value)) as usize;
        let end = u32::from_le_bytes(trusted::value(self.offsets, value + 1)) as usize;
        trusted::bytes(self.bytes, start, end)
    }
}

impl<'a> Column for Bytes<'a> {
    type Value = &'a [u8];

    const CHEAP: bool = false;

    fn table(&self, _rows: usize, _ask: impl FnMut(Self::Value) -> bool) -> Option<Table<'_>> {
        None
    }

    #[inline(always)]
    fn get(&self, row: usize) -> &'a [u8] {
        self.slice(row)
    }

    #[inline(always)]
    fn at(&self, row: Row) -> &'a [u8] {
        self.trusted(row.number())
    }
}

/// Text, in either of its two forms.
#[derive(Debug, Clone, Copy)]
pub struct Texts<'a> {
    values: Bytes<'a>,
    /// The dictionary entry of each row; `None`: values stand row by row.
    entries: Option<&'a [[u8; 4]]>,
}

impl<'a> Texts<'a> {
    #[inline]
    pub(crate) fn bind(call: &Call<'a>, place: &Place, rows: usize) -> Self {
        if place.encoding == ENCODING_DICTIONARY {
            let (entries, _) = call.data[place.values as usize..][..rows * 4].as_chunks();
            let values = Bytes::at(call, place, place.entry_offsets, place.entries as usize);
            return Self { values, entries: Some(entries) };
        }
        Self { values: Bytes::bind(call, place, rows), entries: None }
    }

    #[inline(always)]
    fn value(&self, value: usize) -> &'a str {
        trusted::text(self.values.slice(value))
    }

    /// How many entries the dictionary has, if there is one.
    fn entry_count(&self) -> usize {
        self.values.offsets.len() - 1
    }
}

impl<'a> Column for Texts<'a> {
    type Value = &'a str;

    const CHEAP: bool = false;

    fn table(&self, rows: usize, ask: impl FnMut(&'a str) -> bool) -> Option<Table<'_>> {
        let entries = self.entries.filter(|_| self.entry_count() <= rows)?;
        Some(Table::new(entries, (0..self.entry_count()).map(|entry| self.value(entry)).map(ask).collect()))
    }

    #[inline(always)]
    fn get(&self, row: usize) -> &'a str {
        match self.entries {
            Some(entries) => self.value(u32::from_le_bytes(entries[row]) as usize),
            None => self.value(row),
        }
    }

    #[inline(always)]
    fn at(&self, row: Row) -> &'a str {
        let value = match self.entries {
            Some(entries) => u32::from_le_bytes(trusted::value(entries, row.number())) as usize,
            None => row.number(),
        };
        trusted::text(self.values.trusted(value))
    }

    /// Asks once per dictionary entry, or once per row if there are more entries than rows.
    fn test(&self, rows: usize, mut passes: impl FnMut(&'a str) -> bool) -> Mask {
        let Some(entries) = self.entries.filter(|_| self.entry_count() <= rows) else {
            let there = self.entries.map_or(self.entry_count(), <[_]>::len);
            assert!(rows <= there, "{rows} rows of a column of {there}");
            return Mask::of(rows, |row| passes(self.at(Row::of(row, rows))));
        };
        let verdicts: Vec<bool> = (0..self.entry_count()).map(|entry| passes(self.value(entry))).collect();
        Mask::of_chunks(entries, |entry| trusted::value(&verdicts, u32::from_le_bytes(*entry) as usize))
    }
}

/// JSON text.
#[derive(Debug, Clone, Copy)]
pub struct Jsons<'a>(Texts<'a>);

impl<'a> Jsons<'a> {
    #[inline]
    pub(crate) fn bind(call: &Call<'a>, place: &Place, rows: usize) -> Self {
        Self(Texts::bind(call, place, rows))
    }
}

impl<'a> Column for Jsons<'a> {
    type Value = crate::Json<'a>;

    const CHEAP: bool = false;

    fn table(&self, _rows: usize, _ask: impl FnMut(Self::Value) -> bool) -> Option<Table<'_>> {
        None
    }

    #[inline(always)]
    fn get(&self, row: usize) -> crate::Json<'a> {
        crate::Json(std::borrow::Cow::Borrowed(self.0.get(row)))
    }

    #[inline(always)]
    fn at(&self, row: Row) -> crate::Json<'a> {
        crate::Json(std::borrow::Cow::Borrowed(self.0.at(row)))
    }
}

/// A column that may hold nulls.
#[derive(Debug, Clone, Copy)]
pub struct Nullable<'a, C> {
    validity: Option<Bits<'a>>,
    values: C,
}

impl<'a, C: Column> Nullable<'a, C> {
    pub(crate) fn bind(call: &Call<'a>, place: &Place, rows: usize, values: C) -> Self {
        let validity = (place.validity != NO_VALIDITY).then(|| Bits::at(call, place.validity, rows));
        Self { validity, values }
    }

    /// The rows that hold something and whose value passes; a null passes nothing.
    pub fn test_some(&self, rows: usize, passes: impl FnMut(C::Value) -> bool) -> Mask {
        match &self.validity {
            None => self.values.test(rows, passes),
            // A null row of a dictionary column may name an entry that does not exist, so values are read only where valid.
            Some(validity) => {
                let mut passes = passes;
                Mask::of(rows, |row| validity.get(row) && passes(self.values.get(row)))
            }
        }
    }
}

impl<C: Column> Column for Nullable<'_, C> {
    type Value = Option<C::Value>;

    const CHEAP: bool = C::CHEAP;

    fn table(&self, rows: usize, mut ask: impl FnMut(Option<C::Value>) -> bool) -> Option<Table<'_>> {
        // A null row may name an entry that does not exist.
        if self.validity.is_some() {
            return None;
        }
        self.values.table(rows, |value| ask(Some(value)))
    }

    #[inline(always)]
    fn get(&self, row: usize) -> Option<C::Value> {
        match &self.validity {
            Some(validity) if !validity.get(row) => None,
            Some(_) | None => Some(self.values.get(row)),
        }
    }

    #[inline(always)]
    fn at(&self, row: Row) -> Option<C::Value> {
        match &self.validity {
            Some(validity) if !validity.at(row) => None,
            Some(_) | None => Some(self.values.at(row)),
        }
    }
}

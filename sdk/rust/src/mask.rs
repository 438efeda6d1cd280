//! One bit a row: what a vectorised rule makes and combines.

use std::ops::{BitAnd, BitOr, Not};

/// Yes or no for each row of a batch. Masks of one batch combine with `&`, `|` and `!`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mask {
    words: Vec<u64>,
    rows: usize,
}

impl Mask {
    /// The same answer for every row.
    pub fn all(rows: usize, yes: bool) -> Self {
        let mut mask = Self { words: vec![if yes { u64::MAX } else { 0 }; rows.div_ceil(64)], rows };
        mask.clear_behind();
        mask
    }

    /// Asks for each row in turn, and keeps the answers a word at a time.
    #[inline]
    pub fn of(rows: usize, mut yes: impl FnMut(usize) -> bool) -> Self {
        let mut words = Vec::with_capacity(rows.div_ceil(64));
        let mut start = 0;
        while start < rows {
            let end = rows.min(start + 64);
            let mut word = 0u64;
            for row in start..end {
                word |= u64::from(yes(row)) << (row - start);
            }
            words.push(word);
            start = end;
        }
        Self { words, rows }
    }

    /// The same over values that lie side by side.
    #[inline]
    pub(crate) fn of_chunks<T>(values: &[T], mut yes: impl FnMut(&T) -> bool) -> Self {
        let words = values
            .chunks(64)
            .map(|chunk| chunk.iter().enumerate().fold(0u64, |word, (bit, value)| word | u64::from(yes(value)) << bit))
            .collect();
        Self { words, rows: values.len() }
    }

    /// How many rows it answers for.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// The answer for a row.
    pub fn get(&self, row: usize) -> bool {
        assert!(row < self.rows, "row {row} of a mask of {} rows", self.rows);
        self.words[row / 64] >> (row % 64) & 1 == 1
    }

    /// Answers for a row.
    pub fn set(&mut self, row: usize, yes: bool) {
        assert!(row < self.rows, "row {row} of a mask of {} rows", self.rows);
        let bit = 1u64 << (row % 64);
        if yes {
            self.words[row / 64] |= bit;
        } else {
            self.words[row / 64] &= !bit;
        }
    }

    /// How many rows are yes.
    pub fn count(&self) -> usize {
        self.words.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// The bits as they cross: lowest bit of the first byte is row 0.
    pub(crate) fn write(&self, bytes: &mut Vec<u8>) {
        for word in &self.words {
            bytes.extend_from_slice(&word.to_le_bytes());
        }
        bytes.truncate(self.rows.div_ceil(8));
    }

    fn combine(mut self, other: &Self, combine: impl Fn(u64, u64) -> u64) -> Self {
        assert!(self.rows == other.rows, "masks of {} and {} rows do not combine", self.rows, other.rows);
        for (word, other) in self.words.iter_mut().zip(&other.words) {
            *word = combine(*word, *other);
        }
        self
    }

    fn clear_behind(&mut self) {
        if let (Some(last), behind @ 1..) = (self.words.last_mut(), self.rows % 64) {
            *last &= (1 << behind) - 1;
        }
    }
}

impl BitAnd for Mask {
    type Output = Self;
    fn bitand(self, other: Self) -> Self {
        self.combine(&other, |a, b| a & b)
    }
}

impl BitOr for Mask {
    type Output = Self;
    fn bitor(self, other: Self) -> Self {
        self.combine(&other, |a, b| a | b)
    }
}

impl Not for Mask {
    type Output = Self;
    fn not(mut self) -> Self {
        for word in &mut self.words {
            *word = !*word;
        }
        self.clear_behind();
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_single_rows_agree() {
        for rows in [0, 1, 7, 8, 9, 63, 64, 65, 200] {
            let third = Mask::of(rows, |row| row % 3 == 0);
            let values: Vec<usize> = (0..rows).collect();
            assert_eq!(third, Mask::of_chunks(&values, |row| row % 3 == 0));
            assert_eq!(third.count(), rows.div_ceil(3));
            assert_eq!((!third.clone()).count(), rows - third.count());
            assert_eq!((third.clone() | !third.clone()), Mask::all(rows, true));
            assert_eq!((third.clone() & !third.clone()), Mask::all(rows, false));
            let mut bytes = Vec::new();
            third.write(&mut bytes);
            assert_eq!(bytes.len(), rows.div_ceil(8));
            assert!((0..rows).all(|row| (bytes[row / 8] >> (row % 8) & 1 == 1) == third.get(row)));
        }
    }
}

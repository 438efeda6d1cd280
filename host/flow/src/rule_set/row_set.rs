//! Some rows of a batch, as bits.

use arrow_buffer::BooleanBuffer;

/// A set of rows. Bits behind the last row are never set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RowSet {
    words: Vec<u64>,
}

impl RowSet {
    /// All of so many rows.
    pub(crate) fn all(rows: usize) -> Self {
        let mut words = vec![u64::MAX; rows.div_ceil(64)];
        if let Some(last) = words.last_mut()
            && !rows.is_multiple_of(64)
        {
            *last = (1 << (rows % 64)) - 1;
        }
        Self { words }
    }

    pub(crate) fn of(bits: &BooleanBuffer) -> Self {
        let mut words: Vec<u64> = bits.bit_chunks().iter_padded().collect();
        words.truncate(bits.len().div_ceil(64));
        Self { words }
    }

    pub(crate) fn contains(&self, row: u32) -> bool {
        self.words[row as usize / 64] >> (row % 64) & 1 == 1
    }

    pub(crate) fn remove(&mut self, row: u32) {
        self.words[row as usize / 64] &= !(1 << (row % 64));
    }

    /// Removes a row and all behind it.
    pub(crate) fn cut(&mut self, from: u32) {
        let word = from as usize / 64;
        if let Some(first) = self.words.get_mut(word) {
            *first &= (1 << (from % 64)) - 1;
            self.words[word + 1..].fill(0);
        }
    }

    pub(crate) fn keep(&mut self, other: &Self) {
        self.words.iter_mut().zip(&other.words).for_each(|(mine, other)| *mine &= other);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.words.iter().all(|word| *word == 0)
    }

    /// Ascending.
    pub(crate) fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        (0u32..).zip(&self.words).flat_map(|(at, word)| {
            let mut left = *word;
            std::iter::from_fn(move || {
                let bit = (left != 0).then(|| left.trailing_zeros())?;
                left &= left - 1;
                Some(at * 64 + bit)
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_a_set_of_rows() {
        for rows in [0, 1, 63, 64, 65, 130] {
            let mut set = RowSet::all(rows);
            assert_eq!(set.iter().collect::<Vec<_>>(), (0..rows as u32).collect::<Vec<_>>());
            let even: BooleanBuffer = (0..rows).map(|row| row % 2 == 0).collect();
            set.keep(&RowSet::of(&even));
            if rows > 2 {
                assert!(set.contains(2) && !set.contains(1));
                set.remove(2);
            }
            let left: Vec<u32> = (0..rows as u32).filter(|row| row % 2 == 0 && *row != 2).collect();
            assert_eq!(set.iter().collect::<Vec<_>>(), left);
            assert_eq!(set.is_empty(), left.is_empty());
            for from in [0, 1, 64, 65, 200] {
                let mut cut = set.clone();
                cut.cut(from);
                assert!(cut.iter().eq(set.iter().filter(|row| *row < from)), "{from} of {rows}");
            }
            // Bits of a buffer need not begin at a byte.
            assert_eq!(
                RowSet::of(&even.slice(rows / 3, rows - rows / 3)).iter().count(),
                even.slice(rows / 3, rows - rows / 3).count_set_bits()
            );
        }
    }
}

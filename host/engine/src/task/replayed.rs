//! Which dead letters of a task were replayed, so that none is by accident a second time. Part of the task's state.

use std::collections::BTreeMap;

use tidemill_event::Offset;

/// Ranges that are kept; a replay that would need more is refused. Letters that stand together are one range.
pub(crate) const RANGES_MAX: usize = 10_000;

/// Offsets, as ranges `[start, end)` that do not touch.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Replayed {
    ranges: BTreeMap<u64, u64>,
}

impl Replayed {
    pub(crate) fn contains(&self, offset: Offset) -> bool {
        self.ranges.range(..=offset.0).next_back().is_some_and(|(_, end)| offset.0 < *end)
    }

    pub(crate) fn is_full(&self) -> bool {
        self.ranges.len() >= RANGES_MAX
    }

    pub(crate) fn insert(&mut self, Offset(offset): Offset) {
        if self.contains(Offset(offset)) {
            return;
        }
        let end = self.ranges.remove(&(offset + 1)).unwrap_or(offset + 1);
        match self.ranges.range_mut(..offset).next_back() {
            Some((_, before)) if *before == offset => *before = end,
            _ => {
                self.ranges.insert(offset, end);
            }
        }
    }

    /// The ranges, ascending.
    pub(crate) fn ranges(&self) -> impl Iterator<Item = (u64, u64)> {
        self.ranges.iter().map(|(start, end)| (*start, *end))
    }

    /// As `docs/formats/engine.md` has it.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        self.ranges.iter().flat_map(|(start, end)| [start.to_be_bytes(), end.to_be_bytes()]).flatten().collect()
    }

    /// `None` if they are something else.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (ranges, rest) = bytes.as_chunks::<16>();
        let number = |bytes: &[u8]| bytes.try_into().ok().map(u64::from_be_bytes);
        let ranges = ranges.iter().map(|range| Some((number(&range[..8])?, number(&range[8..])?))).collect::<Option<_>>()?;
        rest.is_empty().then_some(Self { ranges })
    }
}

impl FromIterator<(u64, u64)> for Replayed {
    fn from_iter<I: IntoIterator<Item = (u64, u64)>>(ranges: I) -> Self {
        Self { ranges: ranges.into_iter().collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_join_to_ranges_and_read_back() {
        let mut replayed = Replayed::default();
        for offset in [5, 3, 4, 9, 5, 0, u64::MAX - 1] {
            replayed.insert(Offset(offset));
        }
        assert_eq!(replayed.ranges, BTreeMap::from([(0, 1), (3, 6), (9, 10), (u64::MAX - 1, u64::MAX)]));
        let there: Vec<u64> = (0..12).filter(|offset| replayed.contains(Offset(*offset))).collect();
        assert_eq!(there, [0, 3, 4, 5, 9]);
        let bytes = replayed.to_bytes();
        assert_eq!(Replayed::from_bytes(&bytes), Some(replayed));
        assert_eq!(Replayed::from_bytes(&bytes[1..]), None);
    }
}

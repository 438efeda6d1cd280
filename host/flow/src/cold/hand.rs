//! Where a step looks next for entries that may leave memory: round and round, so that each gets its turn.

/// Slots that one call looks at, at most, for each that may leave.
pub(crate) const LOOKS: usize = 4;

/// The slot that was looked at last.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Hand(usize);

impl Hand {
    /// Offers slots to `leave`, which says how many entries left with one, until about `most` have; or until it is not worth looking further.
    /// How many left.
    pub(crate) fn go(&mut self, slots: usize, most: usize, mut leave: impl FnMut(u32) -> usize) -> usize {
        let mut left = 0;
        for _ in 0..most.saturating_mul(LOOKS).min(slots) {
            if left >= most {
                break;
            }
            self.0 = (self.0 + 1) % slots;
            left += leave(self.0 as u32);
        }
        left
    }
}

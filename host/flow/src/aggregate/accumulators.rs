//! The contract of an aggregate.

use arrow_array::ArrayRef;

/// One value per group that was asked for.
#[derive(Debug, Clone)]
pub struct Finished {
    /// In the order asked for.
    pub values: ArrayRef,
    /// Places whose value cannot be said, ascending, with the reason in words; their values mean nothing.
    pub failed: Vec<(usize, String)>,
}

/// The accumulators of one aggregate, numbered by group.
///
/// Whoever drives it promises that groups are below what `grow` was told last, that a group is cleared before it is used anew, and that the
/// argument is of the type the aggregate was made for (a string column may be a dictionary). The implementor promises that an accumulator does not depend on how
/// rows were cut into calls, and that merging two is what one would be that had seen the rows of both, those of `from` after those of `into`.
pub trait Accumulators: Send {
    /// There are so many groups now; new ones are empty. Never fewer than before.
    fn grow(&mut self, groups: usize);

    /// The group has seen nothing.
    fn clear(&mut self, group: u32);

    /// Row i, at `times[i]`, belongs to `groups[i]`. Without an argument the rows themselves are meant.
    fn update(&mut self, groups: &[u32], times: &[i64], argument: Option<&ArrayRef>);

    /// For each pair (into, from): what `from` has seen counts for `into` too, after what that has seen itself. `from` stays as it is.
    fn merge(&mut self, pairs: &[(u32, u32)]);

    /// Itself, if it can forget what it has seen; `None`: it cannot.
    fn as_reversible(&mut self) -> Option<&mut dyn Reversible>;

    /// The values of these groups.
    fn finish(&self, groups: &[u32]) -> Finished;

    /// Appends the bytes of an accumulator: the same for the same accumulator.
    fn encode(&self, group: u32, out: &mut Vec<u8>);

    /// Reads an accumulator into a group and moves `bytes` behind it. `None`: these bytes are none; the group is to be cleared.
    fn decode(&mut self, group: u32, bytes: &mut &[u8]) -> Option<()>;
}

/// Accumulators that can forget: afterwards a group is what it would be if it had never seen those rows, to the last bit.
pub trait Reversible {
    /// For each pair (of, from): what `from` has seen, `of` has not. It had.
    fn subtract(&mut self, pairs: &[(u32, u32)]);
}

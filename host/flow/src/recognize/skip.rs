//! Where the next match may begin, seen from the start of this one.

use crate::recognize::attempt::Taken;
use crate::recognize::shape::AfterMatch;

/// A match that its own pattern does not allow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NothingToSkipTo;

/// How many rows further on; at least one.
pub(crate) fn rows_to_next(skip: AfterMatch, taken: &[Taken]) -> Result<usize, NothingToSkipTo> {
    if taken.is_empty() {
        return Ok(1);
    }
    let place = match skip {
        AfterMatch::PastLast => Some(taken.len()),
        AfterMatch::ToNext => Some(1),
        AfterMatch::ToFirst(to) => taken.iter().position(|taken| to.has(taken.variable)),
        AfterMatch::ToLast(to) => taken.iter().rposition(|taken| to.has(taken.variable)),
    };
    // To its own first row: the same match would be found for ever.
    place.filter(|place| *place > 0).ok_or(NothingToSkipTo)
}

//! Members one behind the other that come as guessed, or at least under short known names, and fill columns, each with a value of the
//! usual form: nearly all there are. The loop over them stands apart so that all it needs stays in registers.
//!
//! ```text
//! rest ─► glue as guessed? ─ yes ─► value as most are? ─ yes ─► rest ─► …
//!              │ no                       │ no
//!              ▼                          ▼
//!     short name looked up           Stop::Odd: the walk decides
//! ```

use super::column::Column;
use super::fields::{Before, Found, Node, Target};

/// What was taken, and how.
pub(super) struct Run<'a> {
    /// What is behind the last value, or behind the brace.
    pub(super) rest: &'a [u8],
    pub(super) before: Before,
    pub(super) filled: usize,
    pub(super) looked_up: u64,
}

/// Why a run stopped. Of the member at fault nothing was taken.
pub(super) enum Stop<'a> {
    /// No member of the kind follows.
    Stranger,
    /// A column was filled in this row already.
    Repeated,
    /// A known member, but not for a column, or its value has a rarer form.
    Odd(Found<'a>),
}

impl<'a> Run<'a> {
    /// Nothing taken yet of the object whose opening brace is before `at`.
    #[inline(always)]
    pub(super) fn behind_brace(json: &'a [u8], at: usize) -> Self {
        Self { rest: json.get(at..).unwrap_or_default(), before: Before::BRACE, filled: 0, looked_up: 0 }
    }

    /// Whether the object ends here, which it may behind a member.
    pub(super) fn is_at_end(&self) -> bool {
        self.before != Before::BRACE && self.rest.first() == Some(&b'}')
    }

    /// Goes on; with names looked up where the guess is wrong, or not.
    #[inline(never)]
    pub(super) fn go<const LOOK_UP: bool>(&mut self, object: &mut Node, columns: &mut [Column], attempts: u64) -> Stop<'a> {
        let (mut rest, mut before, mut filled) = (self.rest, self.before, 0);
        let stop = loop {
            let glue = object.guess(before);
            let (index, next, value) = match glue.behind(rest) {
                Some(value) => (glue.column, glue.before, value),
                None if LOOK_UP => {
                    let Some(found) = object.short_member(before, rest) else { break Stop::Stranger };
                    self.looked_up += 1;
                    let (Target::Column(index) | Target::Text(index)) = found.target else { break Stop::Odd(found) };
                    let value = match columns.get_mut(index) {
                        Some(column) if column.seen != attempts => column.take(found.value),
                        _ => break Stop::Repeated,
                    };
                    let Some(behind) = value else { break Stop::Odd(found) };
                    columns[index].seen = attempts;
                    (filled, before, rest) = (filled + 1, Before::child(found.child), behind);
                    continue;
                }
                None => break Stop::Stranger,
            };
            let odd = || Stop::Odd(Found { child: glue.child, target: glue.target, name: glue.name(), value });
            let Some(column) = columns.get_mut(index) else { break odd() };
            if column.seen == attempts {
                break Stop::Repeated;
            }
            let Some(behind) = column.take(value) else {
                // White space in front of the value belongs to the glue: that is learned by looking the name up.
                break if matches!(value, [b' ' | b'\t' | b'\r', ..]) { Stop::Stranger } else { odd() };
            };
            column.seen = attempts;
            (filled, before, rest) = (filled + 1, next, behind);
        };
        (self.rest, self.before) = (rest, before);
        self.filled += filled;
        stop
    }
}

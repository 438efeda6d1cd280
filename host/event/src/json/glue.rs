//! What stands between two values, as it stood there last time: the comma, the name, the colon and all white space.
//!
//! ```text
//! {"user" : "u1", "amount" : 3}
//! └───┬───┘     └─────┬────┘
//!   glue            glue          (of a text column its opening quote belongs to it)
//! ```
//! Writers keep to one form, so nearly all of a row's structure is checked by comparing these bytes, two numbers at a time.

use super::fields::{Before, Target};
use crate::text::{CHUNK_BYTES, Chunk};

/// The longest that is remembered.
const GLUE_BYTES_MAX: usize = 2 * CHUNK_BYTES;

/// See the module. One is always good as a guess only: what it does not match is read the long way.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Glue {
    /// The bytes, zeros behind them, and which bits count.
    words: [[u64; 2]; 2],
    masks: [[u64; 2]; 2],
    length: usize,
    /// The column that takes the value; no column has so high a number if there is none.
    pub(crate) column: usize,
    /// The member as what comes before the next one.
    pub(crate) before: Before,
    pub(crate) target: Target,
    /// The member's place among its object's.
    pub(crate) child: usize,
    /// The name in quotes lies here.
    name: (u8, u8),
}

impl Glue {
    /// What no text begins with.
    pub(crate) const NONE: Self = Self {
        words: [[1; 2]; 2],
        masks: [[0; 2]; 2],
        length: 0,
        column: usize::MAX,
        before: Before::STRANGER,
        target: Target::Unknown,
        child: 0,
        name: (0, 0),
    };

    /// These bytes, of which `name` is the name in its quotes; `None` if they are too many.
    pub(crate) fn new(bytes: &[u8], name: (usize, usize), child: usize, target: Target) -> Option<Self> {
        // A line's end is no part of one: within a body of lines it would lead from one line into the next.
        if bytes.is_empty() || bytes.len() > GLUE_BYTES_MAX || bytes.contains(&b'\n') {
            return None;
        }
        let second = bytes.len().saturating_sub(CHUNK_BYTES);
        let halves = [Chunk::padded(bytes), Chunk::padded(&bytes[bytes.len() - second..])];
        let all = Chunk::padded(&[0xff; CHUNK_BYTES]);
        let masks = [all.first(bytes.len().min(CHUNK_BYTES)), all.first(second)];
        let words = [halves[0].words(), halves[1].first(second)];
        let column = match target {
            Target::Column(column) | Target::Text(column) => column,
            Target::Object(_) | Target::Host | Target::Unknown => usize::MAX,
        };
        let (length, before, name) = (bytes.len(), Before::child(child), (name.0 as u8, name.1 as u8));
        Some(Self { words, masks, length, column, before, target, child, name })
    }

    /// What stands behind these bytes, if the text begins with them and goes on for a while: what is near its end is not looked at.
    #[inline(always)]
    pub(crate) fn behind<'a>(&self, text: &'a [u8]) -> Option<&'a [u8]> {
        let found = Chunk::first_of(text)?.words();
        if differs(found, &self.words[0], &self.masks[0]) {
            return None;
        }
        if self.length > CHUNK_BYTES {
            let found = Chunk::first_of(text.get(CHUNK_BYTES..)?)?.words();
            if differs(found, &self.words[1], &self.masks[1]) {
                return None;
            }
        }
        text.get(self.length..)
    }

    /// Where the quoted name is among the bytes.
    #[inline(always)]
    pub(crate) fn name(&self) -> (usize, usize) {
        (usize::from(self.name.0), usize::from(self.name.1))
    }
}

#[inline(always)]
fn differs(found: [u64; 2], words: &[u64; 2], masks: &[u64; 2]) -> bool {
    (found[0] & masks[0]) ^ words[0] | (found[1] & masks[1]) ^ words[1] != 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_matches_up_to_its_last_byte_only() {
        let text = b", \"a-name-of-a-field\"  :  \"0123456789";
        for length in 1..=GLUE_BYTES_MAX {
            let glue = Glue::new(&text[..length], (0, 0), 0, Target::Host).expect("short enough");
            assert_eq!(glue.behind(text), Some(&text[length..]));
            let enough = length.next_multiple_of(CHUNK_BYTES);
            assert_eq!(glue.behind(&text[..enough]), Some(&text[length..enough]));
            assert_eq!(glue.behind(&text[..enough - 1]), None);
            for place in 0..length {
                let mut other = *text;
                other[place] ^= 1;
                assert_eq!(glue.behind(&other), None, "{length} {place}");
            }
        }
        assert!(Glue::new(b",\n\"a\":", (2, 4), 0, Target::Host).is_none());
        assert!(Glue::new(&[b' '; GLUE_BYTES_MAX + 1], (0, 0), 0, Target::Host).is_none());
        assert!(Glue::NONE.behind(text).is_none());
        assert!(Glue::NONE.behind(b"").is_none());
    }
}

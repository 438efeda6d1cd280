//! Timers that set the next one: how far they may get before anything else has its turn.
//!
//! ```text
//! row ──sets──► timer ──sets──► timer ──sets──► …        all of them in the batch whose watermark has passed them
//! ```
//! A timer may set another, always a microsecond later, and the watermark may jump by a year: what fires in one batch has no end by itself, and
//! until it has one nothing else of the task goes on. So timers that were set by timers of the same batch are counted, and beyond these bounds
//! their call ends out of fuel without being made. That is recorded as every ending is. A replay counts nothing: what it has to leave out, it is told.

use hashbrown::HashMap;
use tidemill_event::{CallFailure, Ending, Usage};

/// So many timers of a key may follow each other in one batch: a week of minutes.
pub(crate) const FIRINGS_MAX: u32 = 10_080;
/// What all that follow each other in one batch may burn together: about ten seconds.
const FUEL_MAX: u64 = 10_000_000_000;
/// A byte that is answered stays until the batch is through, and so has its price: 160 MiB at most.
const FUEL_PER_BYTE: u64 = 64;

/// What was set by timers of the batch under way, and has fired in it.
#[derive(Debug, Default)]
pub(crate) struct Chains {
    lengths: HashMap<Box<[u8]>, u32, ahash::RandomState>,
    burnt: u64,
}

impl Chains {
    /// A batch begins.
    pub(crate) fn begin(&mut self) {
        self.lengths.clear();
        self.burnt = 0;
    }

    /// Why timers of these keys may not fire, if so: they were set by timers that have fired in this batch.
    pub(crate) fn check(&self, keys: &[Box<[u8]>]) -> Result<(), CallFailure> {
        let is_long = |key: &[u8]| self.lengths.get(key).is_some_and(|length| *length >= FIRINGS_MAX);
        let message = if self.burnt >= FUEL_MAX {
            "timers that are set by timers have burnt what they may in one batch; set them further apart".to_owned()
        } else if keys.iter().any(|key| is_long(key)) {
            format!("{FIRINGS_MAX} timers of this key have set each other in one batch; set them further apart, or by rows")
        } else {
            return Ok(());
        };
        Err(CallFailure { ending: Ending::OutOfFuel, message, backtrace: String::new(), usage: Usage::default() })
    }

    /// They have fired.
    pub(crate) fn fired(&mut self, keys: &[Box<[u8]>], usage: &Usage) {
        let bytes = FUEL_PER_BYTE.saturating_mul(usage.output_bytes);
        self.burnt = self.burnt.saturating_add(usage.fuel).saturating_add(bytes);
        for key in keys {
            match self.lengths.get_mut(key) {
                Some(length) => *length += 1,
                None => drop(self.lengths.insert(key.clone(), 1)),
            }
        }
    }
}

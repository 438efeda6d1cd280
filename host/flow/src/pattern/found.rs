//! What a batch finds, each with its place among the others: by the input row that let it out, the instant, the clock before events, the event. So
//! neither the cut of batches nor the order of keys in memory shows.

use tidemill_event::Reason;

use crate::Marks;
use crate::pattern::buffer::Moment;
use crate::pattern::output::Emitted;
use crate::pattern::run::{Found, Trigger};

/// Where something that was found goes among the others: what let it out, the instant, time before events, the event.
pub(super) type Rank = (u32, i64, bool, u64);

/// What a batch finds.
#[derive(Default)]
pub(crate) struct Batch {
    pub(super) emitted: Vec<(Rank, Emitted)>,
    /// Keys whose runs may have changed; each is held until the end of the batch.
    pub(crate) touched: Vec<u32>,
    /// Keys that were touched, as bytes, and whether they have runs now: for whoever wants to hear it.
    pub(super) keys: Option<Vec<(Box<[u8]>, bool)>>,
    pub(crate) found: Vec<Found>,
    /// Rows that completed a match without anything to skip to, and those that would have begun one too many.
    pub(crate) failed: Vec<(usize, Reason, String)>,
}

impl Batch {
    /// What the clock let out. It comes out with the input row whose watermark did it, but not before the key's own last event; what the key's next event
    /// pushed out without the watermark, with that one.
    pub(crate) fn by_time(&mut self, slot: u32, last: u32, marks: &Marks, next: Option<u32>) {
        for found in self.found.drain(..) {
            let by_watermark = marks.lets_out(found.at.saturating_sub(1));
            let by_watermark = by_watermark.filter(|out| next.is_none_or(|next| *out <= next));
            let origin = by_watermark.or(next).unwrap_or(0).max(last);
            let time = found.at.saturating_sub(1);
            self.emitted.push(((origin, found.at, false, found.begun.number), Emitted { found, slot, origin, time }));
        }
    }

    pub(crate) fn by_event(&mut self, slot: u32, origin: u32, moment: Moment) {
        for found in self.found.drain(..) {
            debug_assert!(found.trigger == Trigger::Event && found.is_match, "an event lets out matches only");
            let emitted = Emitted { found, slot, origin, time: moment.time };
            self.emitted.push(((origin, moment.time, true, moment.number), emitted));
        }
    }
}

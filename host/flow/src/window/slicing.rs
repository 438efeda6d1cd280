//! How time is cut: windows that overlap share slices, and a row touches one of them.
//!
//! ```text
//! hopping, size 10, every 4      windows   [0 ──────── 10)
//!                                              [4 ──────── 14)
//!                                                  [8 ──────── 18)
//!                                slices    0 · 2 · 4 · 6 · 8 · 10 · 12 ·       at k·4 and at k·4 + 10 mod 4
//! cumulating, size 6, step 2     windows   [0 ─ 2) [0 ─── 4) [0 ───── 6)       slices at k·2
//! ```
//! A window is told by its end: no two have the same. Any size and slide go together; where the slide is the greater, some instants are in no window.

use std::time::Duration;

use tidemill_event::EventTime;

use crate::window::Calendar;

/// Windows of the same length at regular places, or as a calendar has them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slicing {
    kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Hopping { size: i64, every: i64, offset: i64 },
    Cumulating { size: i64, step: i64, offset: i64 },
    Calendar(Calendar),
    Global,
}

/// Durations of which no windows can be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SlicingRefused {
    /// No time at all, or more than ten thousand years.
    #[error("a window's size and slide are between 1 µs and 3,650,000 days")]
    Size,
    /// The last step would not end with the window.
    #[error("the size of a cumulating window is a multiple of its step")]
    Step,
}

/// A stretch of time, and the windows that have it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stretch {
    pub(crate) start: i64,
    pub(crate) end: i64,
    /// The ends of the first and the last window that have it. The last one before the first: none has.
    pub(crate) first: i64,
    pub(crate) last: i64,
}

const LONGEST_MICROS: i64 = 3_650_000 * 86_400 * 1_000_000;

fn micros(duration: Duration) -> Result<i64, SlicingRefused> {
    let micros = i64::try_from(duration.as_micros()).map_err(|_| SlicingRefused::Size)?;
    if (1..=LONGEST_MICROS).contains(&micros) { Ok(micros) } else { Err(SlicingRefused::Size) }
}

fn offset_in(offset: Duration, period: i64) -> i64 {
    (offset.as_micros() % period as u128) as i64
}

/// The greatest `offset + k · period` that is not above `time`. Times stay far from where i64 ends: [`Slicing::stretch`] sees to it.
fn floor(time: i64, period: i64, offset: i64) -> i64 {
    time - (time - offset).rem_euclid(period)
}

impl Slicing {
    /// `[offset + k · size, offset + (k + 1) · size)`.
    pub fn tumbling(size: Duration, offset: Duration) -> Result<Self, SlicingRefused> {
        Self::hopping(size, size, offset)
    }

    /// `[offset + k · every, offset + k · every + size)`.
    pub fn hopping(size: Duration, every: Duration, offset: Duration) -> Result<Self, SlicingRefused> {
        let (size, every) = (micros(size)?, micros(every)?);
        Ok(Self { kind: Kind::Hopping { size, every, offset: offset_in(offset, every) } })
    }

    /// `[offset + k · size, offset + k · size + i · step)` for each i up to the whole size.
    pub fn cumulating(size: Duration, step: Duration, offset: Duration) -> Result<Self, SlicingRefused> {
        let (size, step) = (micros(size)?, micros(step)?);
        if size % step != 0 {
            return Err(SlicingRefused::Step);
        }
        Ok(Self { kind: Kind::Cumulating { size, step, offset: offset_in(offset, size) } })
    }

    /// The days, weeks, … of a time zone, one behind the other.
    pub fn calendar(calendar: Calendar) -> Self {
        Self { kind: Kind::Calendar(calendar) }
    }

    /// One window over all time; it ends when time does.
    pub fn global() -> Self {
        Self { kind: Kind::Global }
    }

    /// Whether windows begin and end.
    pub(crate) fn has_bounds(&self) -> bool {
        self.kind != Kind::Global
    }

    /// The stretch around an instant; an instant beyond the calendar (the year 262,000) counts as its edge.
    pub(crate) fn stretch(&self, time: i64) -> Stretch {
        let time = time.clamp(-(1 << 62), 1 << 62);
        match self.kind {
            Kind::Hopping { size, every, offset } => {
                let start = floor(time, every, offset);
                let cut = start + size % every;
                let (start_of_slice, end) = if time < cut { (start, cut) } else { (cut, start + every) };
                let last = start + size;
                // The first window end at or behind the slice's.
                let first = end + (last - end).rem_euclid(every);
                Stretch { start: start_of_slice, end, first, last }
            }
            Kind::Cumulating { size, step, offset } => {
                let start = floor(time, step, offset);
                let last = floor(time, size, offset) + size;
                Stretch { start, end: start + step, first: start + step, last }
            }
            Kind::Calendar(calendar) => {
                let (start, end) = calendar.around(time);
                Stretch { start, end, first: end, last: end }
            }
            Kind::Global => Stretch { start: i64::MIN, end: i64::MAX, first: i64::MAX, last: i64::MAX },
        }
    }

    /// Where the window that ends there begins.
    pub(crate) fn start_of(&self, end: i64) -> i64 {
        match self.kind {
            Kind::Hopping { size, .. } => end - size,
            Kind::Cumulating { size, offset, .. } => floor(end - 1, size, offset),
            Kind::Calendar(calendar) => calendar.around(end - 1).0,
            Kind::Global => i64::MIN,
        }
    }

    /// The first window end behind `time`.
    pub(crate) fn next_end(&self, time: i64) -> i64 {
        let time = time.clamp(-(1 << 62), 1 << 62);
        match self.kind {
            Kind::Hopping { size, every, offset } => floor(time, every, offset + size) + every,
            Kind::Cumulating { step, offset, .. } => floor(time, step, offset) + step,
            Kind::Calendar(calendar) => calendar.around(time).1,
            Kind::Global => i64::MAX,
        }
    }

    /// Of windows that overlap: how many of their slides they have, and blocks of them, at least as long as a window, by length and offset.
    pub(crate) fn blocks(&self) -> Option<(i64, i64, i64)> {
        match self.kind {
            Kind::Hopping { size, every, offset } => {
                (size > every).then(|| (size / every, (size + every - 1) / every * every, offset))
            }
            Kind::Cumulating { size, step, offset } => (size > step).then_some((size / step, size, offset)),
            Kind::Calendar(_) | Kind::Global => None,
        }
    }

    /// How many of the windows with ends from `first` to `last` have ended at `time`.
    pub(crate) fn ended(&self, first: i64, last: i64, time: i64) -> u64 {
        let time = time.min(last);
        if time < first {
            return 0;
        }
        match self.kind {
            Kind::Hopping { every: period, .. } | Kind::Cumulating { step: period, .. } => ((time - first) / period + 1) as u64,
            Kind::Calendar(_) | Kind::Global => 1,
        }
    }

    /// The last instant of the window that ends there; of a window without an end the newest event.
    pub(crate) fn last_instant(&self, end: i64, newest: i64) -> EventTime {
        EventTime(if self.has_bounds() { end - 1 } else { newest })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn us(micros: u64) -> Duration {
        Duration::from_micros(micros)
    }

    /// All windows around an instant, found by trying.
    fn windows(size: i64, every: i64, offset: i64, time: i64) -> Vec<(i64, i64)> {
        (-200..200)
            .map(|k| k * every + offset)
            .filter(|start| (*start..start + size).contains(&time))
            .map(|start| (start, start + size))
            .collect()
    }

    proptest! {
        #[test]
        fn a_stretch_has_the_windows_of_its_instants(size in 1u64..20, every in 1u64..20, offset in 0u64..20, time in -50i64..50) {
            let slicing = Slicing::hopping(us(size), us(every), us(offset)).expect("durations");
            let stretch = slicing.stretch(time);
            prop_assert!((stretch.start..stretch.end).contains(&time));
            let ends: Vec<i64> = windows(size as i64, every as i64, offset as i64, time).into_iter().map(|(_, end)| end).collect();
            let told: Vec<i64> = (stretch.first..=stretch.last).step_by(every as usize).collect();
            prop_assert_eq!(&told, &ends);
            for other in stretch.start..stretch.end {
                prop_assert_eq!(slicing.stretch(other), stretch);
            }
            for (start, end) in windows(size as i64, every as i64, offset as i64, time) {
                prop_assert_eq!(slicing.start_of(end), start);
                prop_assert_eq!(slicing.next_end(end - 1), end);
                prop_assert_eq!(slicing.ended(stretch.first, stretch.last, end), ends.iter().filter(|other| **other <= end).count() as u64);
            }
        }

        #[test]
        fn cumulating_windows_grow_by_steps(steps in 1u64..6, step in 1u64..6, offset in 0u64..20, time in -50i64..50) {
            let size = steps * step;
            let slicing = Slicing::cumulating(us(size), us(step), us(offset)).expect("durations");
            let stretch = slicing.stretch(time);
            prop_assert!((stretch.start..stretch.end).contains(&time));
            let start = slicing.start_of(stretch.last);
            prop_assert_eq!((stretch.last - start, (start - offset as i64).rem_euclid(size as i64)), (size as i64, 0));
            for end in (stretch.first..=stretch.last).step_by(step as usize) {
                prop_assert_eq!(slicing.start_of(end), start);
                prop_assert_eq!(slicing.next_end(end - 1), end);
                prop_assert!((start..end).contains(&time));
            }
        }
    }

    #[test]
    fn what_makes_no_windows_is_refused() {
        assert_eq!(Slicing::tumbling(us(0), us(0)), Err(SlicingRefused::Size));
        assert_eq!(Slicing::tumbling(Duration::MAX, us(0)), Err(SlicingRefused::Size));
        assert_eq!(Slicing::cumulating(us(10), us(4), us(0)), Err(SlicingRefused::Step));
        assert_eq!(Slicing::tumbling(us(10), us(0)).map(|slicing| slicing.stretch(-3).start), Ok(-10));
    }
}

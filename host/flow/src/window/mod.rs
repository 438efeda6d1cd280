//! Windows: rows of a key and a stretch of time, and what is said of them once the watermark has passed.

pub(crate) mod asked;
mod blocks;
mod by_clock;
mod calendar;
mod count;
mod gap;
mod key_list;
mod late;
mod pane;
mod paned;
mod running;
mod session;
mod sliced;
mod slices;
mod slicing;
mod top;

#[cfg(test)]
pub(crate) mod example;
#[cfg(test)]
mod list_tests;
#[cfg(test)]
mod sliced_tests;
#[cfg(test)]
mod stored_tests;

pub use by_clock::ByClock;
pub use calendar::{Calendar, CalendarUnit, UnknownZone, ZONES_VERSION};
pub use count::CountWindow;
pub use gap::Gap;
pub(crate) use late::LateList;
pub use late::{LateRows, Missed};
pub use paned::{Early, Late, PANE, PANE_NO, PaneSettings, PanedWindow, PanedWindows, RETRACTED, Said};
pub use session::{SessionRefused, SessionWindow};
pub use sliced::SlicedWindow;
pub(crate) use slicing::Stretch;
pub use slicing::{Slicing, SlicingRefused};
pub use top::{Order, Ties, Top};

use std::sync::Arc;
use std::time::Duration;

use tidemill_event::Field;

use crate::{AggregateCall, ComponentAggregate, StepId};

/// The first instant of a window.
pub const WINDOW_START: &str = "window_start";
/// The first instant behind it.
pub const WINDOW_END: &str = "window_end";
/// The number of a window that counts rows, from 0.
pub const WINDOW_NO: &str = "window_no";

/// What decides that a row is late.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Judged {
    /// The watermark of its own lane: the rows are the task's input.
    ByLane,
    /// The task's: a step before made the rows, or gave them another time.
    ByTask,
}

/// What all kinds of windows have.
pub struct WindowSettings {
    /// Which step it is.
    pub step: StepId,
    /// The key's columns; none: one key for all.
    pub by: Vec<Field>,
    /// What is said of each window.
    pub aggregates: Vec<AggregateCall>,
    /// Those of them that are components.
    pub components: Vec<ComponentAggregate>,
    /// How long after its end a window still takes rows.
    pub lateness: Duration,
    /// What decides that a row is late.
    pub judged: Judged,
    /// Of each window only the first keys in an order.
    pub top: Option<Top>,
}

/// The columns a window makes beside its key and its aggregates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bounds {
    /// `window_start` and `window_end`.
    Times,
    /// `window_no`.
    Number,
    /// None.
    None,
}

impl Bounds {
    /// A stretch of time, where windows are that.
    fn of(self, start: i64, end: i64) -> Option<(i64, i64)> {
        (self == Self::Times).then_some((start, end))
    }

    fn names(self) -> &'static [&'static str] {
        match self {
            Self::Times => &[WINDOW_START, WINDOW_END],
            Self::Number => &[WINDOW_NO],
            Self::None => &[],
        }
    }
}

/// The columns that come out of a window: those of the key, of the window, of the aggregates, the rank.
pub(crate) fn output_fields<'a>(
    by: &[Field],
    bounds: Bounds,
    aggregates: impl Iterator<Item = &'a Field>,
    rank: Option<&Arc<str>>,
) -> Vec<Field> {
    use tidemill_event::FieldType;
    let bound = |name: &&str| {
        let ty = if *name == WINDOW_NO { FieldType::Int64 } else { FieldType::Timestamp(None) };
        Field::new(name, ty, false)
    };
    let mut fields: Vec<Field> = by.to_vec();
    fields.extend(bounds.names().iter().map(bound));
    fields.extend(aggregates.cloned());
    fields.extend(rank.map(|name| Field::new(name, FieldType::Int64, false)));
    fields
}

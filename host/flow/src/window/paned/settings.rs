//! When a window says something before and after its end, and how what it says then goes with what it said before.
//!
//! ```text
//! rows      1    2         3      │ end        4
//! early: each        1    1+2     1+2+3        1+2+3          1+2+3+4            accumulating
//!                    1    2       3            -              4                  discarding
//!                    1   -1 1+2  -(1+2) 1+2+3  -(1+2+3) …     …                  retracting
//! pane            early  early   early         on_time        late
//! ```

use std::time::Duration;

use tidemill_event::{Field, FieldType};

/// Which pane of its window a row is: `early`, `on_time` or `late`.
pub const PANE: &str = "pane";
/// Its number among the panes of its key and window, from 0.
pub const PANE_NO: &str = "pane_no";
/// Whether it takes back what was said.
pub const RETRACTED: &str = "retracted";

/// When a key of a window gives a result though the window has not ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Early {
    /// With so many rows of it that no result has told.
    Rows(u64),
    /// When the watermark reaches the next multiple of a length, counted from the window's start, if there are rows that no result has told.
    /// Sessions and windows without bounds count from 1970.
    EventTime(Duration),
    /// When a row that no result has told is so old by the clock. All keys that have such rows speak then.
    Clock(Duration),
}

/// When it gives another one after its end, while late rows are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Late {
    /// With so many late rows of it.
    Rows(u64),
    /// When a late row that no result has told is so old by the clock.
    Clock(Duration),
}

/// How a result goes with those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Said {
    /// It tells all rows so far: the last one counts.
    #[default]
    Accumulating,
    /// It tells those that no result has told: all of them together count.
    Discarding,
    /// It tells all rows so far, and takes the one before back.
    Retracting,
}

/// All of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PaneSettings {
    /// `None`: nothing is said early.
    pub early: Option<Early>,
    /// Matters where late rows are taken.
    pub late: Late,
    /// How results go together.
    pub said: Said,
    /// Rows say which pane they are.
    pub shows: bool,
}

impl Default for PaneSettings {
    fn default() -> Self {
        Self { early: None, late: Late::Rows(1), said: Said::default(), shows: false }
    }
}

impl PaneSettings {
    /// The columns that say which pane a row is.
    pub fn fields(&self) -> Vec<Field> {
        if !self.shows {
            return Vec::new();
        }
        let mut fields = vec![Field::new(PANE, FieldType::String, false), Field::new(PANE_NO, FieldType::Int64, false)];
        if self.said == Said::Retracting {
            fields.push(Field::new(RETRACTED, FieldType::Bool, false));
        }
        fields
    }
}

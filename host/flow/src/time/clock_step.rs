//! What a clock decided about time: recorded with the commit that takes it, so that a replay reads the record and no clock.

use crate::time::{LaneId, Watermark};

/// A step that no row made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClockStep {
    /// Lanes that are idle from now on: they hold nothing back until they have a row again.
    pub idle: Vec<LaneId>,
    /// All lanes have been silent for long: time goes on to there. `None`: it does not.
    pub watermark: Option<Watermark>,
}

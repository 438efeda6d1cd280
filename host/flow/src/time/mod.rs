//! Event time: watermarks, how they run along a batch, and where they come from.

mod clock_step;
mod lanes;
mod marks;
mod watermark;

#[cfg(test)]
mod lane_tests;

pub use clock_step::ClockStep;
pub use lanes::{LANE_BYTES, LaneId, LaneView, Lanes, TimeSettings};
pub use marks::Marks;
pub use watermark::Watermark;

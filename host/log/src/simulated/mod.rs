//! Disks that are not there: what a real one may do to the log, repeatable from a seed. For tests only.
//!
//! ```text
//!  the log ─► HookedDisk ─► PowerCutDisk ─► MemoryDisk (or RealDisk)
//!             refuses the    what is not     what is on the platter: copied,
//!             k-th call      synced may go   and flipped, behind everybody's back
//! ```
//! Nothing of the log may depend on them: they stand behind [`Disk`](crate::Disk) like the real one.

mod call;
mod content;
mod hooked;
mod memory;
mod power_cut;
mod random;

pub use call::{Call, Fault};
pub use hooked::{Gate, HookedDisk};
pub use memory::MemoryDisk;
pub use power_cut::PowerCutDisk;
pub use random::Random;

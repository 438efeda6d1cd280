//! `machine`: a state machine for each key, moved by rows and by time.
//!
//! ```text
//! rows ──► order (by time) ──► triggers, a bit per row ──► rounds: the first row of each key, the second, … ──► transitions ──► rows that tell
//!                                                          timers ──┘ W ≥ entered + after
//! ```
//! A row moves a key's machine by the first transition, in the order of the text, that leaves the key's state, whose trigger the row pulls, and
//! whose guard says yes. A row that pulls a trigger which no transition of the state has is *illegal*: counted, and told if wanted. A row that pulls
//! none is nobody's business. A machine begins with the first transition out of the initial state and is gone when it reaches a final one.
//!
//! Triggers see the row alone and are asked once for a batch. Guards and what is set and told see the key's variables too: rows of different keys go
//! through them together, rows of one key one after the other (`rounds.rs`).

mod definition;
mod instances;
mod oldest;
mod output;
mod rounds;
mod step;
mod taking;

#[cfg(test)]
pub(crate) mod model_tests;
#[cfg(test)]
mod step_tests;

pub use definition::{Assigned, FROM, KIND, MachineReport, MachineSettings, MachineState, MachineTimeout, TO, Transition};
pub use step::MachineStep;

//! Judges a host by what it answers: real streams, queries, and result rows that other programs computed.
//!
//! ```text
//! DIR/NAME.ndjson ──event_file──► types, disorder ──► PUT /v1/streams/NAME, POST …/events
//! DIR/queries.json ──query──► pipeline ──translate──► PUT /v1/pipelines/ID (run: once) ──► finished
//! DIR/expected/ID.ndjson ───────────────────────────► compare ◄── GET /v1/streams/RESULT/events
//! ```
//! Links nothing of the host and starts none: whoever uses this hands in an [`Api`], so that `cargo xtask oracle` and the tests of the
//! whole host ask the same questions, the one of a host it started, the others of one that is killed meanwhile.

mod api;
mod compare;
mod event_file;
mod folder;
mod generator;
mod instant;
mod model;
mod nexmark;
mod patterns;
mod pipeline;
mod query;
pub mod random;
mod row;
mod shape;
mod streams;

pub use api::{Answer, Api};
pub use compare::{Column, compare};
pub use event_file::EventFile;
pub use generator::{Generator, Kind};
pub use model::{Answered, answer};
pub use nexmark::Nexmark;
pub use patterns::Patterns;
pub use pipeline::definition;
pub use query::{Form, OutOfOrder, Query, Window, WindowQuery};
pub use streams::{Streams, Verdict, tell};

//! Sinks: readers of a stream that carry its durable rows to a target outside the log.
//!
//! ```text
//! {pipeline}.output ── durable blocks ──► SinkReader ── batches of rows ──► Sink (files, standard output, …)
//!                                          │  ▲                               │
//!                                     mark ▼  └────── where did you stop? ────┘
//! ```
//! A sink stores its offsets *with* its data wherever the target allows it, and is asked at every start where it stopped. Each
//! sink's docs say which promise it keeps. Nothing here knows pipelines; sources other than the log's own door come later.

mod file;
mod mark;
mod ndjson;
mod output;
mod random;
mod reader;
mod secrets;
mod sink;
mod webhook;

pub use file::{FileFormat, FileSink};
pub use mark::{Mark, MarkStore};
pub use output::{OutputSink, SharedOutput};
pub use random::system_random;
pub use reader::{BatchBounds, RETRY_FIRST, RETRY_LONGEST, ReaderError, ReaderParts, SinkReader, Step};
pub use secrets::{Secret, SecretError, Secrets};
pub use sink::{Added, BatchKey, Promise, RefusedRows, Sink, SinkError};
pub use webhook::{BodyFormat, Given, WebhookSettings, WebhookSink, WebhookTarget, WebhookUrl};

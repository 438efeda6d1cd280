//! Sinks: readers of a stream that carry its durable rows to a target outside the log.
//!
//! ```text
//! {pipeline}.output ── durable blocks ──► SinkReader ── range, rows ──► Sink (files, standard output, …)
//!                                             ▲                            │
//!                                             └──── where did you stop? ───┘
//! ```
//! A sink stores its offsets *with* its data wherever the target allows it, and is asked at every start where it stopped. Each
//! sink's docs say which promise it keeps. Nothing here knows pipelines; sources other than the log's own door come later.

mod file;
mod output;
mod reader;
mod sink;

pub use file::FileSink;
pub use output::{OutputSink, SharedOutput};
pub use reader::{ReadBounds, ReaderError, SinkReader, Step};
pub use sink::{Promise, Sink, SinkError, SinkRows};

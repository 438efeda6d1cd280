//! A task: one partition of each stream of a pipeline, from rows to commits.
//!
//! ```text
//! Recovering ─ every committed range taken again, compared ─► Running ─ block ─► chain ─► one entry ─► …
//!      │                                                        │   │
//!      └─ differs and `on_divergence: stop`, rows removed ─► Held   └─ `once`, at its end ─► Finished
//! ```
//! Rows that a component put back, or that wait for one that is taken out, are the task's own state and come before new ones
//! (`returning.rs`).
//!
//! A task belongs to one worker thread; others see its [`TaskShared`]. It takes rows that are in the journal's order but maybe not yet
//! on disk, because all it does is feed the journal again: an entry behind them cannot survive a crash that loses them. Whatever
//! leaves the log (checkpoints, sinks, replies) waits for the durable mark.

mod appending;
mod asking;
mod between;
mod budget;
mod checkpointer;
mod committing;
mod dead_letters;
mod drawing;
mod frames;
mod input;
mod keeping;
mod late_rows;
mod letters;
mod listing;
mod loading;
mod lookups;
mod machine;
mod matches;
mod neighbours;
mod placing;
mod reading;
mod record;
mod recovery;
mod replay;
mod replayed;
mod replaying;
mod restore;
mod returning;
mod saving;
mod shared;
mod sides;
mod spilling;
mod time;
mod totals;
mod waiting_record;
mod worker;

pub(crate) use asking::Asker;
pub(crate) use between::inner_definition;
pub(crate) use budget::StateBudget;
pub(crate) use checkpointer::Checkpointer;
pub(crate) use dead_letters::dead_letter_definition;
pub(crate) use input::InputSeed;
pub(crate) use keeping::{KEPT_FROM, REPLAYED};
pub(crate) use late_rows::late_definition;
pub(crate) use listing::Suspects;
pub(crate) use machine::{TaskParts, TaskSeed};
pub(crate) use matches::matches_definition;
pub(crate) use neighbours::Neighbours;
pub(crate) use record::{Checkpoint, Commit, begin_progress, progress_definition};
pub(crate) use recovery::last_checkpoint;
pub(crate) use replayed::Replayed;
pub(crate) use shared::{TaskShared, TaskState};
pub(crate) use time::{SeenTime, shown};

pub(crate) use worker::Workers;

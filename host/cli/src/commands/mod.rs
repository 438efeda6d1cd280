//! One file per command. Each takes what was typed, talks to the host or the disk, and prints; none keeps anything.

pub(crate) mod apply;
pub(crate) mod backtest;
pub(crate) mod backup;
pub(crate) mod build;
pub(crate) mod checkpoint;
pub(crate) mod consumers;
pub(crate) mod control;
pub(crate) mod dead_letters;
pub(crate) mod explain;
pub(crate) mod list;
pub(crate) mod logs;
pub(crate) mod new;
pub(crate) mod push;
pub(crate) mod repair;
pub(crate) mod replay;
pub(crate) mod restore;
pub(crate) mod schema;
pub(crate) mod send;
pub(crate) mod serve;
pub(crate) mod state;
pub(crate) mod status;
pub(crate) mod tables;
pub(crate) mod tail;
pub(crate) mod test;
pub(crate) mod token;
pub(crate) mod verify;

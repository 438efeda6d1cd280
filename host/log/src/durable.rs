//! What is on disk, as a type: only this crate makes a [`Durable`], and the rim (acknowledgements, sinks, subscribers, queries,
//! checkpoints) takes nothing else.

use std::collections::BTreeMap;
use std::ops::Deref;

use tidemill_event::{Offset, PartitionKey};

/// A value that is on disk: no crash takes it back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Durable<T>(T);

impl<T> Durable<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(value)
    }

    /// The value.
    pub fn into_inner(self) -> T {
        self.0
    }
}

impl<T> Deref for Durable<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

/// An end offset per partition, all of one moment: what was on disk then, of every stream at once.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Cut {
    ends: BTreeMap<PartitionKey, Offset>,
}

impl Cut {
    pub(crate) fn new(ends: BTreeMap<PartitionKey, Offset>) -> Self {
        Self { ends }
    }

    /// Where a partition ends in it; zero for one that did not exist.
    pub fn end(&self, partition: &PartitionKey) -> Offset {
        self.ends.get(partition).copied().unwrap_or(Offset::ZERO)
    }

    /// Every partition with its end, ascending by key.
    pub fn iter(&self) -> impl Iterator<Item = (&PartitionKey, Offset)> {
        self.ends.iter().map(|(key, end)| (key, *end))
    }
}

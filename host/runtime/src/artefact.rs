//! Machine code of a component, and how it may come to be trusted: it was just compiled for this engine, or a file proved that this
//! host wrote it. Nothing else makes one, because what is in it will be run.

/// Compiled code of which this host knows where it comes from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Artefact<'a>(&'a [u8]);

impl<'a> Artefact<'a> {
    /// What the compiler answered, in this process or in the one this host started for it.
    pub(crate) fn compiled(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// What the cache found to be its own, by a code under a key that only this host has.
    pub(crate) fn authenticated(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(crate) fn bytes(&self) -> &'a [u8] {
        self.0
    }
}

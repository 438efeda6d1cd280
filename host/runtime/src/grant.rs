//! Capabilities beyond logging. A component that imports one is refused unless the host grants it, and an instance gets it only
//! if its pipeline does too.

/// A capability.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Grant {
    /// `tidemill:testing/random`: planted nondeterminism, for tests of replay only. No pipeline can name it.
    TestRandom,
}

impl Grant {
    /// The interface that carries it.
    pub fn interface(self) -> &'static str {
        match self {
            Self::TestRandom => "tidemill:testing/random@1.0.0",
        }
    }
}

/// A set of capabilities; empty unless said.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Grants(Vec<Grant>);

impl Grants {
    /// Nothing but logging.
    pub fn none() -> Self {
        Self::default()
    }

    /// Whether it is in the set.
    pub fn contains(&self, grant: Grant) -> bool {
        self.0.contains(&grant)
    }

    /// All of them, ascending.
    pub fn iter(&self) -> impl Iterator<Item = Grant> + '_ {
        self.0.iter().copied()
    }
}

impl FromIterator<Grant> for Grants {
    fn from_iter<I: IntoIterator<Item = Grant>>(grants: I) -> Self {
        let mut grants: Vec<Grant> = grants.into_iter().collect();
        grants.sort_unstable();
        grants.dedup();
        Self(grants)
    }
}

//! Names: `[a-z][a-z0-9_-]{0,62}`, checked once at the rim; inside, the type is the proof.
//!
//! A stream name may end in a suffix of the host (`clicks.rejected`) and in the run it belongs to (`matches@7`): only
//! [`StreamName::derived`], [`StreamName::of_run`] and stored names make those, a name that a client sends must go through
//! [`StreamName::from_client`].

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// The longest name, in bytes.
pub const NAME_BYTES_MAX: usize = 63;

/// Why a text is no name. The message says what to change.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// No characters at all.
    #[error("a name cannot be empty: use a letter a-z, then letters, digits, `_` or `-`")]
    Empty,
    /// Longer than [`NAME_BYTES_MAX`].
    #[error("`{name}` has {bytes} bytes, at most 63 are allowed")]
    TooLong {
        /// The text, shortened.
        name: String,
        /// Its length.
        bytes: usize,
    },
    /// A character that no name has at that place.
    #[error(
        "`{name}` has {character:?} at position {at}: a name is a letter a-z, then letters a-z, digits, `_` or `-` (at most 63)"
    )]
    Character {
        /// The text.
        name: String,
        /// The first wrong character.
        character: char,
        /// Its place, counted in characters from 0.
        at: usize,
    },
    /// A dotted name from a client where only the host may make one.
    #[error("`{name}` has a dot, and dotted names are the host's: choose a name without one")]
    HostOnly {
        /// The text.
        name: String,
    },
}

fn check(name: &str) -> Result<(), NameError> {
    if name.is_empty() {
        return Err(NameError::Empty);
    }
    for (at, character) in name.chars().enumerate() {
        let fits = match character {
            'a'..='z' => true,
            '0'..='9' | '_' | '-' => at > 0,
            _ => false,
        };
        if !fits {
            let name = name.chars().take(80).collect();
            return Err(NameError::Character { name, character, at });
        }
    }
    if name.len() > NAME_BYTES_MAX {
        return Err(NameError::TooLong { name: name.chars().take(80).collect(), bytes: name.len() });
    }
    Ok(())
}

macro_rules! name {
    ($(#[$doc:meta])* $type:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $type(Arc<str>);

        impl $type {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl AsRef<str> for $type {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }
    };
}

macro_rules! plain_name {
    ($(#[$doc:meta])* $type:ident) => {
        name!($(#[$doc])* $type);

        impl FromStr for $type {
            type Err = NameError;

            fn from_str(name: &str) -> Result<Self, NameError> {
                check(name)?;
                Ok(Self(name.into()))
            }
        }
    };
}

plain_name!(
    /// Who owns names, data, components and quotas.
    TenantName
);
plain_name!(
    /// A pipeline of a tenant.
    PipelineName
);
plain_name!(
    /// A component of a tenant, without its version.
    ComponentName
);
plain_name!(
    /// A table of a tenant.
    TableName
);
plain_name!(
    /// A reader of a stream whose committed offsets the host keeps.
    ConsumerName
);
name!(
    /// A stream of a tenant; with at most one dot, behind which stands what the host keeps in it, and at most one `@`, behind which
    /// stands the run of a pipeline that writes it.
    StreamName
);

impl TenantName {
    /// The tenant of a host that has only one.
    pub fn default_tenant() -> Self {
        Self("default".into())
    }
}

impl StreamName {
    /// A name a client chose for a stream of its own: no dots.
    pub fn from_client(name: &str) -> Result<Self, NameError> {
        if name.contains('.') {
            return Err(NameError::HostOnly { name: name.chars().take(80).collect() });
        }
        check(name)?;
        Ok(Self(name.into()))
    }

    /// `{base}.{suffix}`, a stream the host keeps: `clicks.rejected`, `fraud.dead-letters`.
    ///
    /// # Panics
    /// If `suffix` is no plain name: suffixes are constants of the host.
    pub fn derived(base: &str, suffix: &str) -> Self {
        assert!(check(suffix).is_ok(), "`{suffix}` is no suffix");
        Self(format!("{base}.{suffix}").into())
    }

    /// `{self}@{run}`, the same stream as one run of a pipeline writes it: `matches@7`.
    ///
    /// # Panics
    /// If it is one of a run already.
    pub fn of_run(&self, run: u64) -> Self {
        assert!(self.run().is_none(), "`{self}` is of a run already");
        Self(format!("{self}@{run}").into())
    }

    /// The run that writes it, if it is of one.
    pub fn run(&self) -> Option<u64> {
        self.0.split_once('@').and_then(|(_, run)| run.parse().ok())
    }

    /// The host's suffix, if there is one.
    pub fn suffix(&self) -> Option<&str> {
        let (_, suffix) = self.0.split_once('.')?;
        Some(suffix.split_once('@').map_or(suffix, |(suffix, _)| suffix))
    }
}

/// Any stream name, dotted or not: for reading, where the host's streams are as good as a client's.
impl FromStr for StreamName {
    type Err = NameError;

    fn from_str(name: &str) -> Result<Self, NameError> {
        // What stands behind an `@` that is no run's number is left where it is, and refused as the character it is.
        let is_run = |run: &str| run.parse::<u64>().is_ok_and(|number| number.to_string() == run);
        let of_all = name.split_once('@').filter(|(_, run)| is_run(run)).map_or(name, |(of_all, _)| of_all);
        match of_all.split_once('.') {
            Some((base, suffix)) => {
                check(base)?;
                check(suffix)?;
            }
            None => check(of_all)?,
        }
        Ok(Self(name.into()))
    }
}

/// A stream of the whole host: every name inside it belongs to a tenant.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StreamId {
    /// Who owns it.
    pub tenant: TenantName,
    /// Its name there.
    pub stream: StreamName,
}

impl StreamId {
    /// The stream `stream` of `tenant`.
    pub fn new(tenant: TenantName, stream: StreamName) -> Self {
        Self { tenant, stream }
    }
}

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.tenant, self.stream)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_clients_have_no_dots() {
        assert_eq!(StreamName::from_client("clicks").expect("plain").as_str(), "clicks");
        assert!(matches!(StreamName::from_client("clicks.rejected"), Err(NameError::HostOnly { .. })));
        assert_eq!(StreamName::derived("clicks", "rejected").suffix(), Some("rejected"));
    }

    #[test]
    fn streams_of_a_run_say_so() {
        let of_run = StreamName::from_client("matches").expect("plain").of_run(7);
        assert_eq!((of_run.as_str(), of_run.run(), of_run.suffix()), ("matches@7", Some(7), None));
        let dead = StreamName::derived("fraud", "dead-letters").of_run(12);
        assert_eq!((dead.as_str().parse(), dead.suffix()), (Ok(dead.clone()), Some("dead-letters")));
        for wrong in ["matches@", "matches@x", "matches@7@8", "matches@07", "@7", "matches@7.rejected"] {
            assert!(wrong.parse::<StreamName>().is_err(), "{wrong}");
        }
        assert!(StreamName::from_client("matches@7").is_err(), "clients write to no run");
    }

    #[test]
    fn errors_name_the_character_and_its_place() {
        for (text, place) in [("Clicks", 0), ("a b", 1), ("1a", 0), ("aé", 1), ("-a", 0)] {
            match text.parse::<PipelineName>() {
                Err(NameError::Character { at, .. }) => assert_eq!(at, place, "{text}"),
                other => panic!("{text}: {other:?}"),
            }
        }
        assert!("a".repeat(63).parse::<TenantName>().is_ok());
        assert!(matches!("a".repeat(64).parse::<TenantName>(), Err(NameError::TooLong { bytes: 64, .. })));
        assert_eq!("".parse::<ComponentName>(), Err(NameError::Empty));
    }
}

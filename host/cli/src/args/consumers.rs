//! `tidemill consumers`: what was committed, by partition.

use clap::Subcommand;

/// `tidemill consumers`.
#[derive(Debug, Subcommand)]
pub(crate) enum ConsumersCommand {
    /// List the consumers of a stream, with their lag.
    List {
        /// The stream.
        stream: String,
    },
    /// Show one consumer, partition by partition.
    Show {
        /// The stream.
        stream: String,
        /// Its name.
        consumer: String,
    },
    /// Move a consumer; the first commit makes it.
    Commit {
        /// The stream.
        stream: String,
        /// Its name.
        consumer: String,
        /// By partition, the first offset that is not done, such as 0:123,1:99.
        offsets: Offsets,
        /// Go back too, to take rows again.
        #[arg(long)]
        force: bool,
    },
    /// Forget a consumer.
    Delete {
        /// The stream.
        stream: String,
        /// Its name.
        consumer: String,
    },
}

/// Places in a stream: partition and offset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Offsets(pub Vec<(u32, u64)>);

impl std::str::FromStr for Offsets {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let place = |part: &str| {
            let (partition, offset) = part.trim().split_once(':')?;
            Some((partition.parse().ok()?, offset.parse().ok()?))
        };
        let parse = |part| place(part).ok_or_else(|| format!("`{part}` is no partition:offset: write them like 0:123,1:99"));
        text.split(',').map(parse).collect::<Result<_, _>>().map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_are_partition_and_offset() {
        assert_eq!("0:123, 1:99".parse(), Ok(Offsets(vec![(0, 123), (1, 99)])));
        for text in ["", "7", "0:x", "0:1,,"] {
            assert!(text.parse::<Offsets>().is_err(), "{text}");
        }
    }
}

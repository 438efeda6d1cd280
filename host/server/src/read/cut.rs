//! A cut as clients write it: for each partition the first offset not yet taken, `0:123,1:99`, ascending by partition.

use std::collections::BTreeMap;
use std::fmt;

use tidemill_event::{Offset, PartitionId};

/// Places in the partitions of one stream, each the first offset that was not taken.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Places(pub(crate) BTreeMap<PartitionId, Offset>);

impl Places {
    /// The text of a cut, as an event's id has it. The message says what is wrong with it.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut places = BTreeMap::new();
        for part in text.split(',').map(str::trim) {
            let place = part.split_once(':').and_then(|(partition, offset)| {
                let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
                let place = (digits(partition) && digits(offset)).then_some((partition, offset))?;
                Some((PartitionId(place.0.parse().ok()?), Offset(place.1.parse().ok()?)))
            });
            let Some((partition, offset)) = place else {
                return Err(format!("`{part}` is no `partition:offset`"));
            };
            if places.insert(partition, offset).is_some() {
                return Err(format!("partition {} comes twice", partition.0));
            }
        }
        Ok(Self(places))
    }

    /// Where it stands in a partition.
    pub(crate) fn get(&self, partition: PartitionId) -> Option<Offset> {
        self.0.get(&partition).copied()
    }

    /// Moves to another place of a partition.
    pub(crate) fn set(&mut self, partition: PartitionId, offset: Offset) {
        self.0.insert(partition, offset);
    }
}

impl fmt::Display for Places {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (partition, offset)) in self.0.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            write!(f, "{comma}{}:{}", partition.0, offset.0)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_reads_back() {
        for text in ["0:0", "0:123,1:99", "3:18446744073709551615"] {
            assert_eq!(Places::parse(text).map(|places| places.to_string()).as_deref(), Ok(text));
        }
        assert_eq!(Places::parse("1:9, 0:12").map(|places| places.to_string()).as_deref(), Ok("0:12,1:9"));
    }

    #[test]
    fn what_is_no_cut_is_named() {
        for (text, part) in
            [("", "``"), ("7", "`7`"), ("0:1,,", "``"), ("0:-1", "`0:-1`"), ("0:1,0:2", "twice"), ("+0:1", "`+0:1`")]
        {
            let error = Places::parse(text).expect_err(text);
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}

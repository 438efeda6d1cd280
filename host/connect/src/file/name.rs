//! Names of finished files: `{partition:5}-{start:12}-{end:12}.{format}`. Longer numbers are written out.

use tidemill_event::{Offset, OffsetRange, PartitionId};

use super::FileFormat;

/// The name of a file with these rows.
pub(super) fn file_name(partition: PartitionId, range: OffsetRange, format: FileFormat) -> String {
    format!("{:05}-{:012}-{:012}.{}", partition.0, range.start.0, range.end.0, format.as_str())
}

/// The end offset in the name of a finished file of `partition`, whatever its format.
pub(super) fn end_in(name: &str, partition: PartitionId) -> Option<Offset> {
    let (of, range) = parse(name)?;
    (of == partition).then_some(range.end)
}

/// Whether it is the name of a finished file.
pub(super) fn is_named(name: &str) -> bool {
    parse(name).is_some()
}

fn parse(name: &str) -> Option<(PartitionId, OffsetRange)> {
    let (numbers, format) = name.rsplit_once('.')?;
    if ![FileFormat::Ndjson, FileFormat::Parquet].iter().any(|known| known.as_str() == format) {
        return None;
    }
    let mut numbers = numbers.split('-').map(|digits| digits.parse::<u64>().ok());
    let (partition, start, end) = (numbers.next()??, numbers.next()??, numbers.next()??);
    let partition = PartitionId(u32::try_from(partition).ok()?);
    numbers.next().is_none().then_some((partition, OffsetRange { start: Offset(start), end: Offset(end) }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_says_what_a_file_holds_and_nothing_else_is_a_name() {
        let range = OffsetRange { start: Offset(4_096), end: Offset(9_999_999_999_999) };
        let name = file_name(PartitionId(7), range, FileFormat::Parquet);
        assert_eq!(name, "00007-000000004096-9999999999999.parquet");
        assert_eq!(end_in(&name, PartitionId(7)), Some(range.end));
        assert_eq!(end_in(&name, PartitionId(8)), None);
        for other in ["00007.part", "7-1.ndjson", "7-1-2-3.ndjson", "7-1-2.csv", "7-a-2.ndjson", "notes.txt", ".ndjson"] {
            assert!(!is_named(other), "{other}");
        }
    }
}

//! Changes to the manifest, as journal entries and as the lines of a snapshot: one encoding for both.

use std::path::PathBuf;
use std::str::FromStr;

use tidemill_event::{StreamDefinition, StreamId, StreamName, TenantName};

use crate::definition;
use crate::error::Damage;
use crate::wire::{Malformed, Put, Take};

/// One change. An entry holds several, all or none.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Change {
    StreamCreated {
        stream: u32,
        id: StreamId,
        definition: StreamDefinition,
    },
    /// The next version of a stream.
    StreamEvolved {
        stream: u32,
        definition: StreamDefinition,
    },
    /// The newest version's definition, changed in what is no schema: retention and the like.
    StreamUpdated {
        stream: u32,
        definition: StreamDefinition,
    },
    /// Its rows and segments may vanish; its number is never given again.
    StreamDeleted {
        stream: u32,
    },
    /// `None` removes it.
    Document {
        key: String,
        value: Option<Vec<u8>>,
    },
    Trimmed {
        stream: u32,
        partition: u32,
        before: u64,
    },
    SegmentAdded(SegmentMeta),
    SegmentRemoved {
        segment: u64,
    },
    /// A frame that was found damaged below the durable mark: the partition stops before `start`.
    Damaged {
        stream: u32,
        partition: u32,
        start: u64,
        damage: Damage,
    },
}

impl Change {
    /// Whether there may be something to clean up after it.
    pub(crate) fn leaves_room(&self) -> bool {
        match self {
            Self::Trimmed { .. } | Self::StreamDeleted { .. } | Self::SegmentAdded(_) => true,
            Self::StreamCreated { .. }
            | Self::StreamEvolved { .. }
            | Self::StreamUpdated { .. }
            | Self::Document { .. }
            | Self::SegmentRemoved { .. }
            | Self::Damaged { .. } => false,
        }
    }
}

/// A segment file: what it holds of whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SegmentMeta {
    pub(crate) number: u64,
    pub(crate) bytes: u64,
    pub(crate) parts: Vec<PartMeta>,
}

/// The rows of one partition in a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PartMeta {
    pub(crate) stream: u32,
    pub(crate) partition: u32,
    pub(crate) start: u64,
    pub(crate) end: u64,
    pub(crate) time_min: i64,
    pub(crate) time_max: i64,
    /// When retention takes its rows to have come.
    pub(crate) age_time: i64,
    /// Bytes of its blocks in the file.
    pub(crate) bytes: u64,
}

pub(crate) fn encode(change: &Change, out: &mut Vec<u8>) {
    match change {
        Change::StreamCreated { stream, id, definition } => {
            out.put_u8(1);
            out.put_u32(*stream);
            out.put_str(id.tenant.as_str());
            out.put_str(id.stream.as_str());
            definition::encode(definition, out);
        }
        Change::StreamEvolved { stream, definition } => {
            out.put_u8(2);
            out.put_u32(*stream);
            definition::encode(definition, out);
        }
        Change::Document { key, value } => {
            out.put_u8(3);
            out.put_str(key);
            out.put_u8(u8::from(value.is_some()));
            if let Some(value) = value {
                out.put_bytes(value);
            }
        }
        Change::Trimmed { stream, partition, before } => {
            out.put_u8(4);
            out.put_u32(*stream);
            out.put_u32(*partition);
            out.put_u64(*before);
        }
        Change::SegmentAdded(segment) => {
            out.put_u8(5);
            out.put_u64(segment.number);
            out.put_u64(segment.bytes);
            out.put_u32(segment.parts.len() as u32);
            for part in &segment.parts {
                out.put_u32(part.stream);
                out.put_u32(part.partition);
                out.put_u64(part.start);
                out.put_u64(part.end);
                out.put_i64(part.time_min);
                out.put_i64(part.time_max);
                out.put_i64(part.age_time);
                out.put_u64(part.bytes);
            }
        }
        Change::SegmentRemoved { segment } => {
            out.put_u8(6);
            out.put_u64(*segment);
        }
        Change::Damaged { stream, partition, start, damage } => {
            out.put_u8(7);
            out.put_u32(*stream);
            out.put_u32(*partition);
            out.put_u64(*start);
            out.put_str(&damage.path.to_string_lossy());
            out.put_u64(damage.at_byte);
            out.put_str(&damage.what);
        }
        Change::StreamUpdated { stream, definition } => {
            out.put_u8(8);
            out.put_u32(*stream);
            definition::encode(definition, out);
        }
        Change::StreamDeleted { stream } => {
            out.put_u8(9);
            out.put_u32(*stream);
        }
    }
}

pub(crate) fn encode_all(changes: &[Change]) -> Vec<u8> {
    let mut out = Vec::new();
    for change in changes {
        encode(change, &mut out);
    }
    out
}

pub(crate) fn decode_all(bytes: &[u8]) -> Result<Vec<Change>, Malformed> {
    let mut take = Take(bytes);
    let mut changes = Vec::new();
    while !take.is_empty() {
        changes.push(decode(&mut take)?);
    }
    Ok(changes)
}

fn decode(take: &mut Take<'_>) -> Result<Change, Malformed> {
    Ok(match take.u8()? {
        1 => {
            let stream = take.u32()?;
            let tenant = TenantName::from_str(take.str()?).map_err(|_| Malformed)?;
            let name = StreamName::from_str(take.str()?).map_err(|_| Malformed)?;
            Change::StreamCreated { stream, id: StreamId::new(tenant, name), definition: definition::decode(take)? }
        }
        2 => Change::StreamEvolved { stream: take.u32()?, definition: definition::decode(take)? },
        3 => {
            let key = take.str()?.to_owned();
            let value = if take.flag()? { Some(take.bytes()?.to_owned()) } else { None };
            Change::Document { key, value }
        }
        4 => Change::Trimmed { stream: take.u32()?, partition: take.u32()?, before: take.u64()? },
        5 => {
            let (number, bytes) = (take.u64()?, take.u64()?);
            let mut parts = Vec::new();
            for _ in 0..take.u32()? {
                parts.push(PartMeta {
                    stream: take.u32()?,
                    partition: take.u32()?,
                    start: take.u64()?,
                    end: take.u64()?,
                    time_min: take.i64()?,
                    time_max: take.i64()?,
                    age_time: take.i64()?,
                    bytes: take.u64()?,
                });
            }
            Change::SegmentAdded(SegmentMeta { number, bytes, parts })
        }
        6 => Change::SegmentRemoved { segment: take.u64()? },
        7 => {
            let (stream, partition, start) = (take.u32()?, take.u32()?, take.u64()?);
            let path = PathBuf::from(take.str()?);
            let damage = Damage { path, at_byte: take.u64()?, what: take.str()?.to_owned() };
            Change::Damaged { stream, partition, start, damage }
        }
        8 => Change::StreamUpdated { stream: take.u32()?, definition: definition::decode(take)? },
        9 => Change::StreamDeleted { stream: take.u32()? },
        _ => return Err(Malformed),
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tidemill_event::{
        CompatibilityMode, Field, FieldType, MissingTime, Retention, StreamSchema, TimeField, TimeUnit, UnknownFields,
    };

    use super::*;

    fn all() -> Vec<Change> {
        let types = [
            FieldType::Bool,
            FieldType::Int64,
            FieldType::Float64,
            FieldType::Decimal { precision: 12, scale: 2 },
            FieldType::String,
            FieldType::Bytes,
            FieldType::Timestamp(None),
            FieldType::Timestamp(Some(TimeUnit::Seconds)),
            FieldType::Timestamp(Some(TimeUnit::Millis)),
            FieldType::Timestamp(Some(TimeUnit::Micros)),
            FieldType::Json,
        ];
        let mut fields: Vec<_> =
            types.iter().enumerate().map(|(index, ty)| Field::new(&format!("f.{index}"), *ty, index % 2 == 0)).collect();
        fields[3].inferred = true;
        let schema = StreamSchema { fields, unknown: UnknownFields::Reject, infer: true };
        let definition = StreamDefinition {
            schema,
            time: Some(TimeField { field: "f.1".into(), unit: Some(TimeUnit::Millis), missing: MissingTime::Arrival }),
            key: vec!["f.4".into(), "f.1".into()],
            partitions: 12,
            retention: Retention { age: Some(Duration::from_secs(7 * 86_400)), bytes: Some(10 << 30) },
            compatibility: CompatibilityMode::Forward,
        };
        let plain = StreamDefinition { time: None, key: Vec::new(), retention: Retention::default(), ..definition.clone() };
        let id = StreamId::new(TenantName::default_tenant(), StreamName::derived("clicks", "rejected"));
        let part = PartMeta { stream: 3, partition: 2, start: 5, end: 9, time_min: -4, time_max: 8, age_time: 7, bytes: 300 };
        let damage = Damage { path: "journal/000001.journal".into(), at_byte: 77, what: "a frame".to_owned() };
        vec![
            Change::StreamCreated { stream: 3, id, definition },
            Change::StreamEvolved { stream: 3, definition: plain.clone() },
            Change::StreamUpdated { stream: 3, definition: plain },
            Change::StreamDeleted { stream: 3 },
            Change::Document { key: "pipelines/a".to_owned(), value: Some(b"text".to_vec()) },
            Change::Document { key: "pipelines/a".to_owned(), value: None },
            Change::Trimmed { stream: 3, partition: 2, before: 6 },
            Change::SegmentAdded(SegmentMeta { number: 9, bytes: 4096, parts: vec![part, PartMeta { partition: 3, ..part }] }),
            Change::SegmentRemoved { segment: 9 },
            Change::Damaged { stream: 3, partition: 2, start: 6, damage },
        ]
    }

    #[test]
    fn changes_come_back_as_they_were() {
        let bytes = encode_all(&all());
        assert_eq!(decode_all(&bytes), Ok(all()));
    }

    #[test]
    fn cut_bytes_are_refused_or_end_between_changes() {
        let changes = all();
        let bytes = encode_all(&changes);
        for end in 0..bytes.len() {
            if let Ok(some) = decode_all(&bytes[..end]) {
                assert_eq!(some, changes[..some.len()]);
            }
        }
    }
}

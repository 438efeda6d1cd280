//! Rows that wait, as the state store keeps them.
//!
//! ```text
//! key    number i64, big-endian
//! value  01 | length u32 | header, JSON | length u32 | rows, Arrow IPC stream | events they were made of, Arrow IPC stream
//! header {"due": 170…, "step": 2, "component": "geo", "attempts": 1, "origin": [0, 0, 1], "places": [["clicks", 0, 4711], …]}
//! ```
//! `due` is absent where they stand in line. Lengths are little-endian.

use std::io::Cursor;

use arrow_array::RecordBatch;
use arrow_ipc::reader::StreamReader;
use arrow_ipc::writer::StreamWriter;
use serde::{Deserialize, Serialize};
use tidemill_event::batch::concat;
use tidemill_event::{EventTime, Offset, PartitionId};
use tidemill_flow::{FlowBatch, Group, Place, Sources, StepId};

const LAYOUT: u8 = 1;

#[derive(Serialize, Deserialize)]
struct Header {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    due: Option<i64>,
    step: u32,
    component: String,
    attempts: u32,
    origin: Vec<u32>,
    places: Vec<(String, u32, u64)>,
}

/// The value of a group. `component` is the name of the one it waits for.
pub(crate) fn encode(group: &Group, component: &str) -> Vec<u8> {
    let events = group.sources.rows.num_rows() as u32;
    let place = |origin| {
        let Place { stream, partition, offset } = group.sources.place(origin);
        (stream.to_string(), partition.0, offset.0)
    };
    let header = Header {
        due: group.due.map(|due| due.0),
        step: group.step.0,
        component: component.to_owned(),
        attempts: group.attempts,
        origin: group.rows.origin.clone(),
        places: (0..events).map(place).collect(),
    };
    let header = serde_json::to_vec(&header).expect("a header has only keys that are texts");
    let rows = stream(&group.rows.rows);
    let mut value = vec![LAYOUT];
    value.extend((header.len() as u32).to_le_bytes());
    value.extend(header);
    value.extend((rows.len() as u32).to_le_bytes());
    value.extend(rows);
    value.extend(stream(&group.sources.rows));
    value
}

/// The group and the component's name; `None` if the value is damaged or of a newer host.
pub(crate) fn decode(value: &[u8]) -> Option<(Group, String)> {
    let (layout, rest) = value.split_first()?;
    if *layout != LAYOUT {
        return None;
    }
    let (header, rest) = part(rest)?;
    let (rows, events) = part(rest)?;
    let header: Header = serde_json::from_slice(header).ok()?;
    let (rows, events) = (batch(rows)?, batch(events)?);
    let known = |origin: &u32| (*origin as usize) < events.num_rows();
    if rows.num_rows() != header.origin.len() || events.num_rows() != header.places.len() || !header.origin.iter().all(known) {
        return None;
    }
    let place = |(stream, partition, offset): (String, u32, u64)| Place {
        stream: stream.into(),
        partition: PartitionId(partition),
        offset: Offset(offset),
    };
    let group = Group {
        due: header.due.map(EventTime),
        step: StepId(header.step),
        attempts: header.attempts,
        rows: FlowBatch { rows, origin: header.origin },
        sources: Sources::each(events, header.places.into_iter().map(place).collect()),
    };
    Some((group, header.component))
}

fn part(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    rest.split_at_checked(u32::from_le_bytes(*length) as usize)
}

fn stream(rows: &RecordBatch) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut writer = StreamWriter::try_new(&mut bytes, rows.schema_ref()).expect("memory takes a schema");
    writer.write(rows).and_then(|()| writer.finish()).expect("memory takes rows");
    drop(writer);
    bytes
}

fn batch(bytes: &[u8]) -> Option<RecordBatch> {
    let mut reader = StreamReader::try_new(Cursor::new(bytes), None).ok()?;
    let first = reader.next()?.ok()?;
    let rest: Result<Vec<RecordBatch>, _> = reader.collect();
    let all: Vec<RecordBatch> = std::iter::once(first).chain(rest.ok()?).collect();
    Some(concat(&all))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::{Int64Array, StringArray, TimestampMicrosecondArray};
    use arrow_schema::Schema;
    use tidemill_event::batch::time_field;
    use tidemill_event::{Field, FieldType};

    use super::*;

    fn rows(count: i64) -> RecordBatch {
        let schema = Schema::new(vec![
            Field::new("s", FieldType::Json, true).arrow(),
            Field::new("n", FieldType::Int64, false).arrow(),
            time_field(),
        ]);
        let texts: StringArray = (0..count).map(|row| (row % 2 == 0).then(|| format!("\"é{row}\""))).collect();
        let times = TimestampMicrosecondArray::from_iter_values(0..count).with_timezone("UTC");
        RecordBatch::try_new(
            Arc::new(schema),
            vec![Arc::new(texts), Arc::new((0..count).collect::<Int64Array>()), Arc::new(times)],
        )
        .expect("an event batch")
    }

    #[test]
    fn a_group_reads_back_and_damage_does_not() {
        let places = (0..2).map(|row| Place { stream: "s".into(), partition: PartitionId(3), offset: Offset(1 << (40 + row)) });
        let group = Group {
            due: Some(EventTime(-5)),
            step: StepId(2),
            attempts: 3,
            rows: FlowBatch { rows: rows(3), origin: vec![0, 0, 1] },
            sources: Sources::each(rows(2), places.collect()),
        };
        let value = encode(&group, "geo");
        let (again, component) = decode(&value).expect("reads back");
        assert_eq!((again.due, again.step, again.attempts, &*component), (group.due, group.step, group.attempts, "geo"));
        assert_eq!((&again.rows.rows, &again.rows.origin), (&group.rows.rows, &group.rows.origin));
        assert_eq!(*again.sources.rows, *group.sources.rows);
        assert_eq!(again.sources.place(1), group.sources.place(1));
        for cut in [0, 1, 3, 20, value.len() / 2] {
            assert!(decode(&value[..cut]).is_none(), "cut at {cut}");
        }
        assert!(decode(&[&[2], &value[1..]].concat()).is_none());
    }
}

//! Which partition each row goes to: Kafka's hash of the key, round robin by batch without one (contract §2).

use std::sync::Arc;

use arrow_array::{Array, RecordBatch, UInt32Array};

use crate::json::ColumnWriter;
use crate::{Field, FieldType, PartitionId, StreamDefinition, partition_of};

/// Places the rows of one stream. Holds only the turn of the next batch without a key.
#[derive(Debug)]
pub struct Placement {
    /// The key's fields with their columns; `None` where the schema has no such field (yet): always null.
    key: Vec<Option<(usize, Field)>>,
    partitions: u32,
    turn: u32,
}

impl Placement {
    /// Placement as `definition` declares it.
    ///
    /// # Panics
    /// If it has no partitions.
    pub fn new(definition: &StreamDefinition) -> Self {
        assert!(definition.partitions > 0, "a stream has at least one partition");
        let fields = &definition.schema.fields;
        let column = |name: &Arc<str>| {
            let place = fields.iter().position(|field| field.name == *name)?;
            Some((place, fields[place].clone()))
        };
        Self { key: definition.key.iter().map(column).collect(), partitions: definition.partitions, turn: 0 }
    }

    /// Placement by another version of the same stream's schema: a key may have its column only now. The turn goes on.
    #[must_use]
    pub fn renewed(&self, definition: &StreamDefinition) -> Self {
        Self { turn: self.turn % definition.partitions, ..Self::new(definition) }
    }

    /// The rows of a batch by partition: partitions ascending, rows in the order they had. No batch is empty.
    pub fn split(&mut self, batch: RecordBatch) -> Vec<(PartitionId, RecordBatch)> {
        if batch.num_rows() == 0 {
            return Vec::new();
        }
        if self.partitions == 1 {
            return vec![(PartitionId(0), batch)];
        }
        let partitions = self.partitions_of(&batch);
        let first = partitions[0];
        if partitions.iter().all(|partition| *partition == first) {
            return vec![(PartitionId(first), batch)];
        }
        let mut rows: Vec<Vec<u32>> = vec![Vec::new(); self.partitions as usize];
        for (row, partition) in partitions.iter().enumerate() {
            rows[*partition as usize].push(row as u32);
        }
        let taken = rows.into_iter().enumerate().filter(|(_, rows)| !rows.is_empty()).map(|(partition, rows)| {
            let rows = UInt32Array::from(rows);
            let part = arrow_select::take::take_record_batch(&batch, &rows).expect("rows are in the batch");
            (PartitionId(partition as u32), part)
        });
        taken.collect()
    }

    /// The partition of each row. Rows without a key, or with nulls only, go to the batch's turn.
    fn partitions_of(&mut self, batch: &RecordBatch) -> Vec<u32> {
        let rows = batch.num_rows();
        let turn = self.turn;
        let mut turn_taken = false;
        let mut place = |key: Option<&[u8]>| match key {
            Some(key) => partition_of(key, self.partitions).0,
            None => {
                turn_taken = true;
                turn
            }
        };
        let writers: Vec<Option<(ColumnWriter<'_>, FieldType)>> = self
            .key
            .iter()
            .map(|part| part.as_ref().map(|(column, field)| (ColumnWriter::new(field.ty, batch.column(*column)), field.ty)))
            .collect();
        let placed = match writers.as_slice() {
            [Some((ColumnWriter::Dictionary { keys, values }, _))] => {
                // Each value of the dictionary is hashed once.
                let known: Vec<u32> = (0..values.len()).map(|value| place(Some(values.value(value).as_bytes()))).collect();
                let keys = keys.iter();
                keys.map(|key| key.map_or_else(|| place(None), |key| known[key as usize])).collect()
            }
            [Some((writer, FieldType::String))] => (0..rows).map(|row| place(writer.text(row).map(str::as_bytes))).collect(),
            writers => {
                let mut key = Vec::new();
                let null = |row: usize| writers.iter().flatten().all(|(writer, _)| writer.is_null(row));
                (0..rows)
                    .map(|row| {
                        if null(row) {
                            return place(None);
                        }
                        key.clear();
                        key_text(writers, row, &mut key);
                        place(Some(&key))
                    })
                    .collect()
            }
        };
        if turn_taken {
            self.turn = (turn + 1) % self.partitions;
        }
        placed
    }
}

/// The compact JSON text of the key: of the value if it has one field, else of the array of values.
fn key_text(writers: &[Option<(ColumnWriter<'_>, FieldType)>], row: usize, key: &mut Vec<u8>) {
    if let [Some((writer, _))] = writers {
        writer.write(row, key);
        return;
    }
    for (index, writer) in writers.iter().enumerate() {
        key.push(if index == 0 { b'[' } else { b',' });
        match writer {
            Some((writer, _)) => writer.write(row, key),
            None => key.extend_from_slice(b"null"),
        }
    }
    key.push(b']');
}

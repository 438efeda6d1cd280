//! What a kept table is made from: the stream, which of its columns it takes, and what takes a key away.
//!
//! ```text
//! block of a partition ─ conform ─► the table's columns, the `delete` column, event times
//!                                     └─ a row with `delete` true, or without it one that is null beside its key and time: the key goes
//! ```

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_buffer::BooleanBuffer;
use arrow_cast::cast;
use arrow_schema::{DataType, Schema, SchemaRef};
use tidemill_event::batch::{conform, times};
use tidemill_event::{Field, FieldType, Offset, StreamId, StreamName, StreamSchema, TenantName, UnknownFields};
use tidemill_flow::{LatestRows, NewRows};
use tidemill_log::{Block, Log, ReadError, ReadLimit, Stream, Visibility};

use crate::tables::bounds::{BATCH_ROWS, COLUMNS_BYTES_MAX, KEY_COLUMNS_MAX, ROWS_MAX};
use crate::tables::kept::KeptState;
use crate::tables::stored::StoredFrom;

/// Bytes of a block that is read.
const BLOCK_BYTES: usize = 8 << 20;

/// Why a table did not go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum KeptError {
    /// More than a table may have.
    TooLarge(String),
    /// The stream cannot be read, or its rows are not the table's any more.
    Stream(String),
}

impl KeptError {
    pub(crate) fn text(&self) -> &str {
        match self {
            Self::TooLarge(why) | Self::Stream(why) => why,
        }
    }
}

/// The stream of a kept table, and what the table takes of it.
pub(crate) struct KeptSource {
    pub(super) stream: Arc<Stream>,
    /// Rows are brought to this: the table's columns, then the one that takes keys away.
    planned: StreamSchema,
    /// The table's columns.
    pub(super) fields: Vec<Field>,
    schema: SchemaRef,
    /// The table's key, by place.
    key: Arc<[usize]>,
    has_delete: bool,
    /// Columns that say something of a key; a row in which all of them are null takes it away.
    telling: Vec<usize>,
}

impl KeptSource {
    /// `fields` are the table's, if there is one already; else they are those of the stream. The error says what to change.
    pub(super) fn new(log: &Log, tenant: &TenantName, from: &StoredFrom, fields: Option<Vec<Field>>) -> Result<Self, String> {
        let name: StreamName = from.stream.parse().map_err(|error| format!("`stream`: {error}"))?;
        let stream =
            log.stream(&StreamId::new(tenant.clone(), name)).ok_or_else(|| format!("there is no stream `{}`", from.stream))?;
        let definition = stream.definition();
        let there = |name: &str| {
            definition.schema.field(name).cloned().ok_or_else(|| {
                let names: Vec<_> = definition.schema.fields.iter().map(|field| format!("`{}`", field.name)).collect();
                format!("the stream `{}` has no field `{name}`: it has {}", from.stream, names.join(", "))
            })
        };
        let delete = from.delete.as_deref().map(there).transpose()?;
        if let Some(field) = delete.as_ref().filter(|field| field.ty != FieldType::Bool) {
            return Err(format!("`delete`: `{}` is not a bool: rows in which it is true take their key away", field.name));
        }
        let own = |field: &&Field| delete.as_ref().is_none_or(|delete| delete.name != field.name);
        let fields = match fields {
            Some(fields) => fields,
            None => {
                for name in &from.key {
                    there(name)?;
                }
                definition.schema.fields.iter().filter(own).cloned().collect()
            }
        };
        let place = |name: &String| {
            let found = fields.iter().position(|field| *field.name == **name);
            let at = found.ok_or_else(|| format!("`key`: `{name}` is no column of the table"))?;
            if fields[at].ty == FieldType::Json { Err(format!("`key`: `{name}` is json, which is not compared")) } else { Ok(at) }
        };
        let key: Arc<[usize]> = from.key.iter().map(place).collect::<Result<_, _>>()?;
        if key.is_empty() || key.len() > KEY_COLUMNS_MAX || from.key.iter().collect::<BTreeSet<_>>().len() < key.len() {
            return Err(format!(
                "`key` names 1 to {KEY_COLUMNS_MAX} different fields: the last row of each of their values is the table's"
            ));
        }
        let is_of_key = |field: &Arc<str>| from.key.iter().any(|name| *name == **field);
        if stream.partitions().len() > 1 && (definition.key.is_empty() || !definition.key.iter().all(is_of_key)) {
            return Err(format!(
                "rows of one key lie in several partitions of `{}`, and which of them is the last cannot be said: its key must be among the table's",
                from.stream
            ));
        }
        let planned = fields.iter().chain(&delete).cloned().map(|field| Field { nullable: true, ..field }).collect();
        // When a row is from says nothing of its key.
        let time = definition.time.as_ref().map(|time| &time.field);
        let telling = (0..fields.len()).filter(|at| !key.contains(at) && time != Some(&fields[*at].name)).collect();
        Ok(Self {
            telling,
            planned: StreamSchema { fields: planned, unknown: UnknownFields::Drop, infer: false },
            schema: Arc::new(Schema::new(fields.iter().map(Field::arrow).collect::<Vec<_>>())),
            stream,
            fields,
            key,
            has_delete: delete.is_some(),
        })
    }

    /// Of no row, from these offsets on.
    pub(super) fn nothing(&self, cut: Vec<u64>) -> KeptState {
        let newest = vec![i64::MIN; cut.len()];
        KeptState { rows: LatestRows::new(self.schema.clone(), self.key.clone()), cut, newest }
    }

    /// What was written of a state.
    pub(super) fn state_of(
        &self,
        rows: RecordBatch,
        times: Vec<i64>,
        gone: BooleanBuffer,
        cut: Vec<u64>,
        newest: Vec<i64>,
    ) -> KeptState {
        KeptState { rows: LatestRows::of(rows, times.into(), gone, self.key.clone()), cut, newest }
    }

    /// The table's key, by place.
    pub(super) fn key(&self) -> &[usize] {
        &self.key
    }

    /// Where each partition ends now, on disk or not: whoever meets these rows feeds the journal behind them.
    pub(super) fn ends(&self) -> Vec<u64> {
        self.stream.partitions().iter().map(|partition| partition.end(Visibility::Sequenced).0).collect()
    }

    /// Whether all rows before a cut are on disk.
    pub(super) fn is_durable(&self, cut: &[u64]) -> bool {
        let partitions = self.stream.partitions().iter();
        partitions.zip(cut).all(|(partition, end)| partition.end(Visibility::Durable).0 >= *end)
    }

    /// Takes the rows up to `to` in. Small layers become one up to `settle_max` rows. On an error the state is as far as it could come.
    pub(super) fn advance(&self, state: &mut KeptState, to: &[u64], settle_max: usize) -> Result<(), KeptError> {
        for (at, partition) in self.stream.partitions().iter().enumerate() {
            while state.cut[at] < to[at] {
                let left = usize::try_from(to[at] - state.cut[at]).unwrap_or(usize::MAX);
                let limit = ReadLimit { rows_max: left.min(BATCH_ROWS), bytes_max: BLOCK_BYTES };
                let read = partition.read(Offset(state.cut[at]), limit, Visibility::Sequenced);
                let block = read.map_err(|error| KeptError::Stream(self.unreadable(&error)))?;
                let block = block.ok_or_else(|| KeptError::Stream(self.missing(at, state.cut[at])))?;
                self.take_in(state, at, &block)?;
                state.rows.settle(settle_max);
                self.refuse_too_large(state)?;
            }
        }
        Ok(())
    }

    fn take_in(&self, state: &mut KeptState, at: usize, block: &Block) -> Result<(), KeptError> {
        let stream = self.stream.id();
        let rows = conform(&block.rows, &block.schema.schema, &self.planned).map_err(|error| {
            KeptError::Stream(format!(
                "`{}` changed its fields so that they are not the table's ({error}): delete the table and make it again",
                stream.stream
            ))
        })?;
        let plain = |column: &ArrayRef| match column.data_type() {
            DataType::Dictionary(_, values) => cast(column, values).expect("a dictionary is written out"),
            _ => column.clone(),
        };
        let own: Vec<ArrayRef> = rows.columns()[..self.fields.len()].iter().map(plain).collect();
        let gone = self.gone(&rows, &own);
        let own = self.batch(own)?;
        let new = NewRows { rows: &own, times: times(&rows).values(), gone: &gone };
        let (next, passed) = state.rows.take_in(&new, &mut state.newest[at]);
        if passed.without_key > 0 {
            tracing::debug!(stream = %stream.stream, rows = passed.without_key, "rows of a table have no key and are left out");
        }
        state.rows = next;
        state.cut[at] = block.start.plus(rows.num_rows()).0;
        Ok(())
    }

    fn batch(&self, columns: Vec<ArrayRef>) -> Result<RecordBatch, KeptError> {
        RecordBatch::try_new(self.schema.clone(), columns)
            .map_err(|error| KeptError::Stream(format!("rows of `{}` are not the table's: {error}", self.stream.id().stream)))
    }

    /// The rows that take their key away.
    fn gone(&self, rows: &RecordBatch, own: &[ArrayRef]) -> BooleanBuffer {
        if self.has_delete {
            let told = rows.column(self.fields.len()).as_boolean();
            return BooleanBuffer::collect_bool(told.len(), |row| told.is_valid(row) && told.value(row));
        }
        BooleanBuffer::collect_bool(rows.num_rows(), |row| {
            // A table of nothing but its key says which keys there are: no row of it is empty.
            !self.telling.is_empty() && self.telling.iter().all(|at| own[*at].is_null(row))
        })
    }

    fn refuse_too_large(&self, state: &mut KeptState) -> Result<(), KeptError> {
        let is_too_large = |state: &KeptState| state.rows.held() > ROWS_MAX || state.rows.bytes() > COLUMNS_BYTES_MAX;
        if is_too_large(state) {
            // What was replaced since then takes room too.
            state.rows.settle(usize::MAX);
            if is_too_large(state) {
                return Err(KeptError::TooLarge(format!(
                    "the last rows of `{}` are {} with {} MiB, and a table has at most {ROWS_MAX} with {} MiB: choose a key with fewer values, or take keys away",
                    self.stream.id().stream,
                    state.rows.held(),
                    state.rows.bytes() >> 20,
                    COLUMNS_BYTES_MAX >> 20,
                )));
            }
        }
        Ok(())
    }

    fn unreadable(&self, error: &ReadError) -> String {
        let stream = &self.stream.id().stream;
        match error {
            ReadError::Trimmed { from, trim_point } => {
                format!(
                    "rows [{from}, {trim_point}) of `{stream}` were removed before the table took them: delete it and make it again"
                )
            }
            error => format!("`{stream}` cannot be read: {error}"),
        }
    }

    fn missing(&self, at: usize, offset: u64) -> String {
        format!("partition {at} of `{}` ends before row {offset}, which the table was to take", self.stream.id().stream)
    }
}

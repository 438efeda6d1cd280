//! Rows of a table into the columns of a stream.

use std::sync::Arc;

use arrow_array::Array;
use arrow_array::cast::AsArray;
use arrow_schema::{DataType, Field as ArrowField, FieldRef, Fields, SchemaRef};

use super::Table;
use super::json::{self, TooLong};
use super::table::{integer, value};
use crate::batch::{HOST_FIELDS, UNKNOWN_COLUMN};
use crate::json::{Column, Reading, Refusal, RowDecoder, RowFault, Unfit, Values, Why, write_text};
use crate::schema::holds_json;
use crate::{EventTime, StreamDefinition, UnknownFields};

/// Where a column of a table goes.
#[derive(Debug)]
enum Place {
    Column(usize),
    /// A name of the host, which is dropped.
    Host,
    Unknown,
    /// `_unknown` of what was read from a stream: its members stand for fields of the row.
    Spread,
    /// A struct that paths of the schema go through.
    Inner(Vec<Place>),
}

/// The columns of one schema, as a decoder's definition knows them.
#[derive(Debug)]
pub(crate) struct BoundTable {
    schema: SchemaRef,
    places: Vec<Place>,
    /// What `_unknown` holds comes behind the columns: it may name only what they are not.
    order: Vec<usize>,
}

/// Why a value was not taken.
enum Trouble {
    Value(usize, Why),
    Unknown(String),
    /// Of what `_unknown` holds.
    Fault(RowFault),
    TooLong,
}

impl Trouble {
    /// Of a column inside the struct `name`.
    fn inside(self, name: &str) -> Self {
        match self {
            Self::Unknown(path) => Self::Unknown(format!("{name}.{path}")),
            Self::Value(..) | Self::Fault(_) | Self::TooLong => self,
        }
    }
}

impl From<TooLong> for Trouble {
    fn from(TooLong: TooLong) -> Self {
        Self::TooLong
    }
}

impl RowDecoder {
    /// Takes one row of a table. `arrival` is its time as in [`RowDecoder::row`]. On `Err` nothing of it was added.
    pub fn table_row(&mut self, table: &Table, row: usize, arrival: EventTime) -> Result<(), RowFault> {
        let schema = table.schema();
        if !self.bound_table.as_ref().is_some_and(|bound| Arc::ptr_eq(&bound.schema, &schema)) {
            let places = bind(schema.fields(), "", self.definition());
            let mut order: Vec<usize> = (0..places.len()).collect();
            order.sort_by_key(|index| matches!(places[*index], Place::Spread));
            self.bound_table = Some(BoundTable { schema, places, order });
        }
        let Some(bound) = self.bound_table.take() else { return Ok(()) };
        let before = self.rows();
        let taken = self.table_values(&bound, table, row, arrival);
        self.bound_table = Some(bound);
        match taken {
            Ok(bytes) => {
                self.count(bytes);
                Ok(())
            }
            Err(fault) => {
                self.take_back(before);
                Err(fault)
            }
        }
    }

    fn table_values(&mut self, bound: &BoundTable, table: &Table, row: usize, arrival: EventTime) -> Result<usize, RowFault> {
        self.begin_attempt();
        let definition = Arc::clone(self.definition());
        let mut bytes = 0;
        for index in bound.order.iter().copied() {
            let place = &bound.places[index];
            let field = bound.schema.field(index);
            self.place(place, field, table.column(index), row, &mut bytes).map_err(|trouble| match trouble {
                Trouble::TooLong => RowFault::too_long(self.limits.line_bytes_max),
                Trouble::Unknown(name) => RowFault::unknown(&name),
                Trouble::Fault(fault) => fault,
                Trouble::Value(column, why) => {
                    let mut text = Vec::new();
                    if write_at(&bound.places, &bound.schema, table, row, column, &mut text).is_err() {
                        text.clear();
                    }
                    if text == b"null" {
                        text = b"NaN or an infinity".to_vec();
                    }
                    RowFault::value(&definition.schema.fields[column], &text, why)
                }
            })?;
        }
        self.end_attempt(arrival).map_err(|trouble| RowFault::trouble(trouble, b"", &definition))?;
        Ok(bytes)
    }

    fn place(
        &mut self,
        place: &Place,
        field: &ArrowField,
        array: &dyn Array,
        row: usize,
        bytes: &mut usize,
    ) -> Result<(), Trouble> {
        match place {
            Place::Host => Ok(()),
            Place::Spread => {
                let Some((array, row)) = value(array, row) else { return Ok(()) };
                let text = json::text(array, row).unwrap_or_default();
                if *bytes + text.len() > self.limits.line_bytes_max {
                    return Err(Trouble::TooLong);
                }
                *bytes += self.spread(text.as_bytes()).map_err(Trouble::Fault)?;
                Ok(())
            }
            Place::Unknown => {
                if array.is_null(row) || self.keep == UnknownFields::Drop {
                    return Ok(());
                }
                if self.keep == UnknownFields::Reject {
                    return Err(Trouble::Unknown(field.name().clone()));
                }
                let begin = self.unknown.data.len();
                self.unknown_member(field.name());
                let end = self.unknown.data.len() + self.limits.line_bytes_max.saturating_sub(*bytes);
                json::write(field, array, row, end, &mut self.unknown.data)?;
                *bytes += self.unknown.data.len() - begin;
                Ok(())
            }
            Place::Column(column) => {
                let Some((array, row)) = value(array, row) else { return Ok(()) };
                let (attempts, line_bytes_max) = (self.attempts, self.limits.line_bytes_max);
                let depth_max = self.limits.depth_max;
                let target = &mut self.columns[*column];
                if target.seen == attempts {
                    // A column `a.b` and a struct `a` with a `b`: the first counts, as nothing says which is meant.
                    return Ok(());
                }
                target.seen = attempts;
                self.filled += 1;
                let from = Cell { field, array, row };
                *bytes += target.push_cell(from, line_bytes_max, depth_max, &mut self.scratch).map_err(|why| match why {
                    Some(why) => Trouble::Value(*column, why),
                    None => Trouble::TooLong,
                })?;
                if *bytes > line_bytes_max { Err(Trouble::TooLong) } else { Ok(()) }
            }
            Place::Inner(places) => {
                if array.is_null(row) {
                    return Ok(());
                }
                let inner = array.as_struct();
                let mark = self.unknown.data.len();
                if self.keep == UnknownFields::Keep {
                    self.unknown_member(field.name());
                    self.unknown.data.push(b'{');
                }
                let opened = self.unknown.data.len();
                for (index, place) in places.iter().enumerate() {
                    let placed = self.place(place, &inner.fields()[index], inner.column(index), row, bytes);
                    placed.map_err(|trouble| trouble.inside(field.name()))?;
                }
                if self.keep == UnknownFields::Keep {
                    if self.unknown.data.len() == opened {
                        self.unknown.data.truncate(mark);
                    } else {
                        self.unknown.data.push(b'}');
                    }
                }
                Ok(())
            }
        }
    }

    /// Begins a member of `_unknown`: a comma or brace, the name, a colon.
    fn unknown_member(&mut self, name: &str) {
        self.unknown.begin_member();
        let data = &mut self.unknown.data;
        write_text(name.as_bytes(), data);
        data.push(b':');
    }
}

/// Where the columns go: by name, structs along the paths of the schema.
fn bind(fields: &Fields, above: &str, definition: &StreamDefinition) -> Vec<Place> {
    let known = &definition.schema.fields;
    let place = |field: &FieldRef| {
        let path = if above.is_empty() { field.name().clone() } else { format!("{above}.{}", field.name()) };
        if let Some(column) = known.iter().position(|known| *known.name == *path) {
            return Place::Column(column);
        }
        if above.is_empty() && HOST_FIELDS.contains(&path.as_str()) {
            return Place::Host;
        }
        if above.is_empty() && path == UNKNOWN_COLUMN && holds_json(field) && is_text(field.data_type()) {
            return Place::Spread;
        }
        let inside = format!("{path}.");
        match field.data_type() {
            DataType::Struct(fields) if known.iter().any(|known| known.name.starts_with(&inside)) => {
                Place::Inner(bind(fields, &path, definition))
            }
            _ => Place::Unknown,
        }
    };
    fields.iter().map(place).collect()
}

/// Appends the JSON text of the value that goes to `column`.
fn write_at(
    places: &[Place],
    schema: &SchemaRef,
    table: &Table,
    row: usize,
    column: usize,
    out: &mut Vec<u8>,
) -> Result<(), TooLong> {
    fn find<'a>(
        place: &Place,
        field: &'a ArrowField,
        array: &'a dyn Array,
        column: usize,
    ) -> Option<(&'a ArrowField, &'a dyn Array)> {
        match place {
            Place::Column(found) => (*found == column).then_some((field, array)),
            Place::Inner(places) => {
                let inner = array.as_struct();
                let columns = inner.fields().iter().zip(inner.columns());
                places.iter().zip(columns).find_map(|(place, (field, array))| find(place, field, array, column))
            }
            Place::Host | Place::Spread | Place::Unknown => None,
        }
    }
    let columns = (0..schema.fields().len()).map(|index| (schema.field(index), table.column(index)));
    let found = places.iter().zip(columns).find_map(|(place, (field, array))| find(place, field, array, column));
    match found {
        Some((field, array)) => json::write(field, array, row, out.len() + 4_096, out),
        None => Ok(()),
    }
}

fn is_text(ty: &DataType) -> bool {
    matches!(ty, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View)
}

/// A value that is not null, through its dictionary if it has one.
#[derive(Clone, Copy)]
struct Cell<'a> {
    /// Of its column.
    field: &'a ArrowField,
    array: &'a dyn Array,
    row: usize,
}

impl Column {
    /// Takes a value and answers about how many bytes it has. `Err(None)` is one longer than `bytes_max`.
    fn push_cell(
        &mut self,
        cell: Cell<'_>,
        bytes_max: usize,
        depth_max: u32,
        scratch: &mut Vec<u8>,
    ) -> Result<usize, Option<Why>> {
        let Cell { field, array, row } = cell;
        match &mut self.values {
            Values::Bool(values) if *array.data_type() == DataType::Boolean => {
                values.push(array.as_boolean().value(row));
                return Ok(1);
            }
            Values::Int64(values) => {
                if let Some(value) = integer(array, row) {
                    values.push(value);
                    return Ok(8);
                }
            }
            Values::Float64(values) => {
                if let Some(value) = json::float(array, row) {
                    if !value.is_finite() {
                        return Err(Some(Why::Number(Unfit::Range)));
                    }
                    values.push(value);
                    return Ok(8);
                }
            }
            Values::Text(texts) => {
                if let Some(value) = json::text(array, row).filter(|_| !holds_json(field)) {
                    if value.len() > bytes_max {
                        return Err(None);
                    }
                    texts.push(value.as_bytes());
                    return Ok(value.len());
                }
            }
            Values::Bytes(runs) => {
                if let Some(value) = json::bytes(array, row) {
                    if value.len() > bytes_max {
                        return Err(None);
                    }
                    runs.push(value);
                    return Ok(value.len());
                }
            }
            Values::Timestamp { values, .. } => {
                if let Some(micros) = json::micros(array, row) {
                    values.push(micros);
                    return Ok(8);
                }
            }
            Values::Bool(_) | Values::Decimal { .. } | Values::Json(_) => {}
        }
        // Another type: what it would be in JSON decides.
        let mut text = std::mem::take(scratch);
        text.clear();
        let written = json::write(field, array, row, bytes_max, &mut text);
        let pushed = match written {
            Err(TooLong) => Err(None),
            Ok(()) => {
                let mut unescaped = Vec::new();
                let mut reading = Reading::new(&text, &mut unescaped, (1, depth_max));
                self.push(&mut reading, 0).map_err(|refusal| match refusal {
                    Refusal::Unfit(why) => Some(why),
                    Refusal::Syntax(_) => Some(Why::Kind),
                })
            }
        };
        let bytes = text.len();
        *scratch = text;
        pushed.map(|_| bytes)
    }
}

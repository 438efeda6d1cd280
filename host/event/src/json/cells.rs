//! Rows whose values come as plain texts under the names of columns: CSV. A text goes straight into its column's builder.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::column::{Column, Values, Why, fits};
use super::decode::RowDecoder;
use super::fault::{RowFault, Trouble};
use super::number::{self, Unfit};
use super::value::write_text;
use super::{container, instant};
use crate::batch::HOST_FIELDS;
use crate::csv::{Header, Record};
use crate::{EventTime, Reason, UnknownFields};

/// Whether a plain text is written like a JSON number, `true` or `false`.
pub(crate) fn is_plain_json(text: &[u8]) -> bool {
    text == b"true" || text == b"false" || super::syntax::number_end(text, 0) == Ok(text.len())
}

/// Where a column of a table goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Column(usize),
    /// A name of the host, which is dropped.
    Host,
    Unknown,
}

/// The columns of one header, as a decoder's definition knows them.
#[derive(Debug)]
pub(super) struct Bound {
    header: Arc<Header>,
    places: Vec<Place>,
}

/// Why a cell was not taken.
enum CellFault {
    Column(usize, Why),
    Unknown,
}

impl RowDecoder {
    /// Takes one record of a CSV body. `arrival` is its time as in [`RowDecoder::row`]. On `Err` nothing of it was added.
    pub fn record(&mut self, record: &Record<'_>, arrival: EventTime) -> Result<(), RowFault> {
        if !self.bound.as_ref().is_some_and(|bound| Arc::ptr_eq(&bound.header, record.header())) {
            self.bound = Some(self.bind(record.header()));
        }
        let Some(bound) = self.bound.take() else { return Ok(()) };
        let row = self.times.len();
        let taken = self.cells(&bound.places, record, arrival);
        self.bound = Some(bound);
        match taken {
            Ok(()) => self.count(record.packed().len()),
            Err(_) => self.take_back(row),
        }
        taken
    }

    /// Where the header's columns go: dotted names are paths of the schema.
    fn bind(&self, header: &Arc<Header>) -> Bound {
        let fields = &self.definition().schema.fields;
        let place = |name: &str| match fields.iter().position(|field| &*field.name == name) {
            Some(column) => Place::Column(column),
            None if HOST_FIELDS.contains(&name) => Place::Host,
            None => Place::Unknown,
        };
        Bound { places: header.names().map(place).collect(), header: Arc::clone(header) }
    }

    fn cells(&mut self, places: &[Place], record: &Record<'_>, arrival: EventTime) -> Result<(), RowFault> {
        self.begin_attempt();
        for (index, (place, field)) in places.iter().zip(record.fields()).enumerate() {
            let Some(text) = field else { continue };
            let taken = match place {
                Place::Column(column) => self.cell(*column, text).map_err(|why| CellFault::Column(*column, why)),
                Place::Host => Ok(()),
                Place::Unknown => self.unknown_cell(record.header().member(index), text),
            };
            if let Err(fault) = taken {
                return Err(match fault {
                    CellFault::Column(column, why) => {
                        let mut quoted = Vec::new();
                        write_text(text, &mut quoted);
                        RowFault::value(&self.definition().schema.fields[column], &quoted, why)
                    }
                    CellFault::Unknown => RowFault::unknown(record.header().name(index)),
                });
            }
        }
        let definition = Arc::clone(self.definition());
        self.end_attempt(arrival).map_err(|trouble: Trouble| RowFault::trouble(trouble, b"", &definition))
    }

    fn cell(&mut self, column: usize, text: &[u8]) -> Result<(), Why> {
        let (attempts, depth_max) = (self.attempts, self.limits.depth_max);
        let column = &mut self.columns[column];
        column.seen = attempts;
        self.filled += 1;
        column.push_plain(text, depth_max)
    }

    /// A column the schema does not name.
    fn unknown_cell(&mut self, member: &[u8], text: &[u8]) -> Result<(), CellFault> {
        match self.keep {
            UnknownFields::Drop => return Ok(()),
            UnknownFields::Reject => return Err(CellFault::Unknown),
            UnknownFields::Keep => {}
        }
        self.unknown.begin_member();
        self.unknown.data.extend_from_slice(member);
        if is_plain_json(text) {
            self.unknown.data.extend_from_slice(text);
        } else {
            write_text(text, &mut self.unknown.data);
        }
        Ok(())
    }
}

impl RowFault {
    pub(crate) fn unknown(name: &str) -> Self {
        let error =
            format!("field `{name}` is not in the schema and unknown fields are rejected: leave it out, or add it to the schema");
        Self { reason: Reason::Schema, field: Some(name.into()), error }
    }
}

impl Column {
    /// Takes a value written as plain text, in UTF-8. On a refusal the column may hold bytes of the value, but no row.
    fn push_plain(&mut self, text: &[u8], depth_max: u32) -> Result<(), Why> {
        let whole = |end: usize| if end == text.len() { Ok(()) } else { Err(Why::Kind) };
        match &mut self.values {
            Values::Bool(values) if text.eq_ignore_ascii_case(b"true") => values.push(true),
            Values::Bool(values) if text.eq_ignore_ascii_case(b"false") => values.push(false),
            Values::Bool(_) => return Err(Why::Kind),
            Values::Int64(values) => {
                let (value, end) = number::int64(text, 0).map_err(|_| Why::Kind)?;
                whole(end)?;
                values.push(value.map_err(Why::Number)?);
            }
            Values::Float64(values) => {
                let (value, end) = number::float64(text, 0).map_err(|_| Why::Kind)?;
                whole(end)?;
                values.push(value.map_err(Why::Number)?);
            }
            Values::Decimal { precision, scale, values } => {
                let value = number::fixed(text, *scale, false).ok_or(Why::Kind)?;
                let value = value.and_then(|value| if fits(value, *precision) { Ok(value) } else { Err(Unfit::Range) });
                values.push(value.map_err(Why::Number)?);
            }
            Values::Text(texts) => _ = texts.push(text),
            Values::Bytes(runs) => {
                STANDARD.decode_vec(text, &mut runs.data).map_err(|_| Why::Base64)?;
                runs.close();
            }
            Values::Timestamp { unit, values } => {
                let number = unit.and_then(|unit| instant::number_of(text, unit));
                values.push(match number {
                    Some(micros) => micros.map_err(Why::Number)?,
                    None => instant::rfc3339(text).ok_or(Why::Rfc3339)?,
                });
            }
            Values::Json(runs) => {
                match container::compact(text, depth_max) {
                    Ok(json) => runs.data.extend_from_slice(&json),
                    Err(_) => write_text(text, &mut runs.data),
                }
                runs.close();
            }
        }
        Ok(())
    }
}

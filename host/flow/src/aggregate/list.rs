//! `array_agg`: the values of a group as a JSON array, in the order of (event time, arrival). Nulls are skipped.
//!
//! `array_agg(x)` takes up to [`VALUES_MAX`] values, and the row of a group with more fails: a list that silently misses some looks
//! whole. `array_agg(x, n)` says that it wants the first n only.

use std::sync::Arc;

use arrow_array::{Array, ArrayRef, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow_schema::Schema;
use tidemill_event::batch::time_field;
use tidemill_event::json::RowEncoder;
use tidemill_event::{Field, FieldType, StreamSchema, UnknownFields};

use crate::aggregate::accumulators::{Accumulators, Finished, Reversible};
use crate::aggregate::bytes::{take, take_i64, take_u32, take_u64};
use crate::batch::field_of;

/// Values of an array whose length nobody named.
pub(crate) const VALUES_MAX: usize = 1_000;
/// The column that values are written through.
const VALUE: &str = "v";

#[derive(Debug, Clone, Default)]
struct List {
    /// Time and JSON, by (time, arrival); never more than are wanted.
    values: Vec<(i64, Box<str>)>,
    /// How many there were.
    count: u64,
}

/// The accumulators.
#[derive(Debug)]
pub(crate) struct Lists {
    field: Field,
    encoder: RowEncoder,
    most: usize,
    /// More than that is an error.
    is_whole: bool,
    groups: Vec<List>,
}

impl Lists {
    /// `first`: only so many; `None`: all of them.
    pub(crate) fn new(of: FieldType, first: Option<usize>) -> Self {
        let field = Field::new(VALUE, of, true);
        let schema = StreamSchema { fields: vec![field.clone()], unknown: UnknownFields::Drop, infer: false };
        Self {
            field,
            encoder: RowEncoder::new(&schema, None),
            most: first.unwrap_or(VALUES_MAX),
            is_whole: first.is_none(),
            groups: Vec::new(),
        }
    }
}

impl List {
    fn add(&mut self, time: i64, value: impl FnOnce() -> Box<str>, most: usize) {
        self.count += 1;
        let at = self.values.partition_point(|(other, _)| *other <= time);
        if at < most {
            self.values.truncate(most - 1);
            self.values.insert(at, (time, value()));
        }
    }
}

impl Accumulators for Lists {
    fn grow(&mut self, groups: usize) {
        self.groups.resize(groups, List::default());
    }

    fn clear(&mut self, group: u32) {
        self.groups[group as usize] = List::default();
    }

    fn update(&mut self, groups: &[u32], times: &[i64], argument: Option<&ArrayRef>) {
        let column = argument.expect("array_agg has an argument");
        let nulls = column.logical_nulls();
        let fields = vec![field_of(&self.field, column), time_field()];
        let clock = TimestampMicrosecondArray::from_iter_values(times.iter().copied()).with_timezone("UTC");
        let rows =
            RecordBatch::try_new(Arc::new(Schema::new(fields)), vec![column.clone(), Arc::new(clock)]).expect("two columns");
        for (row, group) in groups.iter().enumerate().filter(|(row, _)| nulls.as_ref().is_none_or(|nulls| nulls.is_valid(*row))) {
            let value = || {
                let object = self.encoder.one(&rows, row);
                // `{"v":…}`
                object[VALUE.len() + 4..object.len() - 1].into()
            };
            self.groups[*group as usize].add(times[row], value, self.most);
        }
    }

    fn merge(&mut self, pairs: &[(u32, u32)]) {
        for (into, from) in pairs {
            let List { values, count } = self.groups[*from as usize].clone();
            let into = &mut self.groups[*into as usize];
            into.count += count - values.len() as u64;
            values.into_iter().for_each(|(time, value)| into.add(time, || value, self.most));
        }
    }

    fn as_reversible(&mut self) -> Option<&mut dyn Reversible> {
        None
    }

    fn finish(&self, groups: &[u32]) -> Finished {
        let (mut shown, mut failed) = (Vec::with_capacity(groups.len()), Vec::new());
        for (place, group) in groups.iter().enumerate() {
            let List { values, count } = &self.groups[*group as usize];
            if self.is_whole && *count > self.most as u64 {
                failed.push((place, format!("{count} values: an array takes {VALUES_MAX}; `array_agg(x, n)` takes the first n")));
            }
            let values: Vec<&str> = values.iter().map(|(_, value)| &**value).collect();
            shown.push((*count > 0).then(|| format!("[{}]", values.join(","))));
        }
        Finished { values: Arc::new(StringArray::from(shown)), failed }
    }

    /// How many values there were, how many are kept; of each its time, its length, its text.
    fn encode(&self, group: u32, out: &mut Vec<u8>) {
        let List { values, count } = &self.groups[group as usize];
        out.extend_from_slice(&count.to_le_bytes());
        out.extend_from_slice(&(values.len() as u32).to_le_bytes());
        for (time, value) in values {
            out.extend_from_slice(&time.to_le_bytes());
            out.extend_from_slice(&(value.len() as u32).to_le_bytes());
            out.extend_from_slice(value.as_bytes());
        }
    }

    fn decode(&mut self, group: u32, bytes: &mut &[u8]) -> Option<()> {
        let mut list = List { count: take_u64(bytes)?, values: Vec::new() };
        for _ in 0..take_u32(bytes)? {
            let time = take_i64(bytes)?;
            let length = take_u32(bytes)? as usize;
            list.values.push((time, str::from_utf8(take(bytes, length)?).ok()?.into()));
        }
        self.groups[group as usize] = list;
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use arrow_array::Int64Array;
    use arrow_array::cast::AsArray;

    use super::*;

    fn shown(lists: &Lists) -> (Option<String>, usize) {
        let finished = lists.finish(&[0]);
        (finished.values.as_string::<i32>().iter().next().flatten().map(str::to_owned), finished.failed.len())
    }

    fn add(lists: &mut Lists, times: &[i64], column: impl Array + 'static) {
        let column: ArrayRef = Arc::new(column);
        lists.update(&vec![0; times.len()], times, Some(&column));
    }

    #[test]
    fn values_stand_in_the_order_of_time_then_arrival() {
        let mut lists = Lists::new(FieldType::String, None);
        lists.grow(1);
        assert_eq!(shown(&lists), (None, 0));
        add(&mut lists, &[5, 3, 5, 4], StringArray::from(vec![Some("a"), Some("b\n\""), Some("c"), None]));
        assert_eq!(shown(&lists), (Some(r#"["b\n\"","a","c"]"#.to_owned()), 0));
    }

    #[test]
    fn more_than_fits_fails_unless_only_the_first_are_wanted() {
        let rows: i64 = VALUES_MAX as i64 + 1;
        let fill = |first| {
            let mut lists = Lists::new(FieldType::Int64, first);
            lists.grow(1);
            add(&mut lists, &(0..rows).rev().collect::<Vec<_>>(), (0..rows).map(Some).collect::<Int64Array>());
            lists
        };
        assert_eq!(shown(&fill(None)).1, 1);
        assert_eq!(shown(&fill(Some(2))), (Some(format!("[{},{}]", rows - 1, rows - 2)), 0));
    }
}

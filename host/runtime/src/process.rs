//! A process: what it declares beside rows and state, and its answers read out of their buffer. Nothing a guest wrote is believed here
//! either: numbers are numbers of rows and entries there are, rows never descend, keys are never null, and all of it has a bound.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use arrow_array::cast::AsArray;
use arrow_array::types::TimestampMicrosecondType;
use arrow_array::{Array, RecordBatch};
use arrow_buffer::{Buffer, ScalarBuffer};
use arrow_schema::Schema;
use tidemill_event::{
    EventTime, Field, FieldType, MadeRows, ProcessAnswer, TableEntries, TableKeys, TableWrite, TableWrites, TimerChange, Usage,
};

use crate::answer::{ProcessParts, WantedParts};
use crate::decode::{self, Invalid, span};
use crate::description::{Description, fields};
use crate::limits::{TABLE_KEY_BYTES_MAX, TABLES_MAX, TIMER_NAME_BYTES_MAX, TIMERS_MAX, WANTED_MAX};
use crate::wire::{WireClock, WireColumn, WireSide, WireTable};

/// What a process keeps beside its state, and its other outputs. Of any other component: nothing.
#[derive(Debug, Clone, PartialEq)]
pub struct Memory {
    /// How long a state row lives, unless the pipeline says otherwise.
    pub state_ttl: Option<Lifetime>,
    /// Entries by key, within the key of the step.
    pub tables: Vec<TableDescription>,
    /// Whether it sets timers.
    pub timers: bool,
    /// Outputs beside the main one.
    pub sides: Vec<SideOutput>,
    /// The columns of a batch of timers.
    pub(crate) timer_fields: Vec<Field>,
}

/// How long an entry lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lifetime {
    /// After it was written.
    pub after: Duration,
    /// By the host's clock, or else by the rows' times.
    pub by_wall_clock: bool,
    /// A row that wants it puts its end off as a write does.
    pub on_read: bool,
}

/// A table.
#[derive(Debug, Clone, PartialEq)]
pub struct TableDescription {
    /// Its name.
    pub name: String,
    /// Fields of an entry's key; never null.
    pub key: Vec<Field>,
    /// What an entry holds.
    pub values: Vec<Field>,
    /// How long; `None`: until it is deleted.
    pub ttl: Option<Lifetime>,
}

/// An output beside the main one.
#[derive(Debug, Clone, PartialEq)]
pub struct SideOutput {
    /// Its name in the pipeline's `outputs`.
    pub name: String,
    /// Its columns.
    pub columns: Vec<Field>,
}

impl Memory {
    pub(crate) fn none() -> Self {
        let timer_fields =
            vec![Field::new("at", FieldType::Timestamp(None), false), Field::new("name", FieldType::String, false)];
        Self { state_ttl: None, tables: Vec::new(), timers: false, sides: Vec::new(), timer_fields }
    }

    pub(crate) fn new(
        state_ttl: Option<Lifetime>,
        tables: Vec<WireTable>,
        timers: bool,
        sides: Vec<WireSide>,
    ) -> Result<Self, String> {
        named("table", tables.iter().map(|table| &*table.name))?;
        named("side output", sides.iter().map(|side| &*side.name))?;
        let table = |WireTable { name, key, values, ttl_us, ttl_clock, ttl_on_read }: WireTable| {
            let within = |error: String| format!("table `{name}`: {error}");
            let key = fields("key field", key).map_err(within)?;
            let values = fields("value field", values).map_err(within)?;
            if key.is_empty() {
                return Err(format!("table `{name}` has no key: what is kept once for each key of the step is state"));
            }
            if let Some(field) = key.iter().find(|field| field.nullable) {
                return Err(format!("table `{name}`: its key field `{}` may be null, and keys are never null", field.name));
            }
            if let Some(field) = key.iter().find(|field| values.iter().any(|value| value.name == field.name)) {
                return Err(format!("table `{name}`: `{}` is a field of its key and a value", field.name));
            }
            let ttl = lifetime(ttl_us, ttl_clock, ttl_on_read);
            Ok(TableDescription { name, key, values, ttl })
        };
        let side = |WireSide { name, columns }: WireSide| {
            let columns = fields("column", columns).map_err(|error| format!("side output `{name}`: {error}"))?;
            Ok(SideOutput { name, columns })
        };
        Ok(Self {
            state_ttl,
            tables: tables.into_iter().map(table).collect::<Result<_, String>>()?,
            timers,
            sides: sides.into_iter().map(side).collect::<Result<_, String>>()?,
            ..Self::none()
        })
    }
}

/// As it crosses; nothing is for ever.
pub(crate) fn lifetime(after_us: u64, clock: WireClock, on_read: bool) -> Option<Lifetime> {
    let by_wall_clock = clock == WireClock::WallClock;
    (after_us > 0).then(|| Lifetime { after: Duration::from_micros(after_us), by_wall_clock, on_read })
}

/// Names of tables or outputs: words, each once, not too many.
fn named<'a>(what: &str, names: impl Iterator<Item = &'a str>) -> Result<(), String> {
    let mut seen = HashSet::new();
    for name in names {
        let is_word = name.len() <= 63
            && name.starts_with(|first: char| first.is_ascii_alphabetic())
            && name.chars().all(|any| any.is_ascii_alphanumeric() || any == '_');
        if !is_word {
            return Err(format!("a {what} has the name {name:?}: a letter, then letters, digits and `_`, 63 at most"));
        }
        if !seen.insert(name) {
            return Err(format!("two {what}s have the name `{name}`"));
        }
    }
    if seen.len() > TABLES_MAX {
        return Err(format!("it has {} {what}s; at most {TABLES_MAX} are allowed", seen.len()));
    }
    Ok(())
}

/// An answer that is not taken.
#[derive(Debug)]
pub(crate) enum Unfit {
    Invalid(Invalid),
    TooMuch(String),
}

impl From<Invalid> for Unfit {
    fn from(invalid: Invalid) -> Self {
        Self::Invalid(invalid)
    }
}

macro_rules! invalid {
    ($($message:tt)*) => { return Err(Unfit::Invalid(Invalid(format!($($message)*)))) };
}

/// The wanted entries of each table.
pub(crate) fn wanted(parts: &WantedParts, rows: usize, memory: &Memory, nothing: &Buffer) -> Result<Vec<TableKeys>, Unfit> {
    let data = parts.data.shared(nothing);
    let lists =
        lists("wanted entries", data, parts.entries, memory.tables.len(), |count| within(count, rows, WANTED_MAX, "wants"))?;
    let mut columns = parts.keys.as_slice();
    let mut tables = Vec::with_capacity(lists.len());
    for (table, wanting) in memory.tables.iter().zip(lists) {
        ascending("wanted entry", &wanting, rows)?;
        let layouts = take(&mut columns, table.key.len(), "key")?;
        let keys = batch(&table.key, layouts, wanting.len(), data)?;
        for column in keys.columns() {
            let bytes = match column.data_type() {
                arrow_schema::DataType::Utf8 => longest(column.as_string::<i32>().value_offsets()),
                arrow_schema::DataType::Binary => longest(column.as_binary::<i32>().value_offsets()),
                _ => 0,
            };
            if bytes > TABLE_KEY_BYTES_MAX {
                invalid!("a key of table `{}` has a field of {bytes} bytes; at most {TABLE_KEY_BYTES_MAX} are taken", table.name);
            }
        }
        tables.push(TableKeys { rows: wanting.to_vec(), keys });
    }
    no_more(columns, "key")?;
    Ok(tables)
}

fn longest(offsets: &[i32]) -> usize {
    offsets.windows(2).map(|pair| (pair[1] - pair[0]).unsigned_abs() as usize).max().unwrap_or(0)
}

/// All of an answer but its state.
pub(crate) fn answer(
    parts: ProcessParts,
    rows: usize,
    found: &[TableEntries],
    description: &Description,
    nothing: &Buffer,
) -> Result<ProcessAnswer, Unfit> {
    let (data, memory) = (parts.data.shared(nothing), &description.memory);
    let made = parts.rows as usize;
    let made = MadeRows {
        source_rows: decode::source_rows(parts.source_rows, made, rows, data)?,
        columns: decode::columns("output", &description.outputs, &parts.columns, made, data)?,
    };
    let tables = table_writes(&parts, rows, found, memory, data)?;
    let timers = timer_changes(&parts, rows, memory, data)?;
    let side_lists = lists("rows of side outputs", data, parts.side_rows, memory.sides.len(), |_| Ok(()))?;
    let mut columns = parts.sides.as_slice();
    let mut sides = Vec::with_capacity(side_lists.len());
    for (side, source_rows) in memory.sides.iter().zip(side_lists) {
        ascending("row of a side output", &source_rows, rows)?;
        let layouts = take(&mut columns, side.columns.len(), "side output")?;
        let columns = decode::columns("side output", &side.columns, layouts, source_rows.len(), data)?;
        sides.push(MadeRows { source_rows: source_rows.to_vec(), columns });
    }
    no_more(columns, "side output")?;
    let notes = decode::notes(parts.notes, rows)?;
    Ok(ProcessAnswer { made, state: None, tables, timers, sides, notes, usage: Usage::default() })
}

fn table_writes(
    parts: &ProcessParts,
    rows: usize,
    found: &[TableEntries],
    memory: &Memory,
    data: &Buffer,
) -> Result<Vec<TableWrites>, Unfit> {
    let mut columns = parts.entries.as_slice();
    let mut tables = Vec::with_capacity(memory.tables.len());
    for (table, found) in memory.tables.iter().zip(found) {
        let layouts = take(&mut columns, table.values.len(), "entry")?;
        // What is not put may be null whatever the field says.
        let loose: Vec<Field> = table.values.iter().map(|field| Field { nullable: true, ..field.clone() }).collect();
        let values = batch(&loose, layouts, found.there.len(), data)?;
        tables.push(TableWrites { writes: Vec::new(), values });
    }
    no_more(columns, "entry")?;
    let count = parts.write_count as usize;
    within(count, rows, WANTED_MAX, "writes")?;
    let words = ScalarBuffer::<u32>::new(span("writes", data, parts.writes, count, 16)?, 0, count * 4);
    let mut before = 0;
    for write in words.as_chunks::<4>().0 {
        let [row, table, entry, is_put] = *write;
        if row < before || row as usize >= rows {
            invalid!("a write of row {row} behind one of row {before}, of {rows} rows: rows never descend");
        }
        before = row;
        let Some(written) = tables.get_mut(table as usize) else {
            invalid!("a write into table {table}, and there are {}", found.len())
        };
        if entry as usize >= written.values.num_rows() || is_put > 1 {
            invalid!("a write ({is_put}) of entry {entry} of {}", written.values.num_rows());
        }
        written.writes.push(TableWrite { row, entry, is_put: is_put == 1 });
    }
    for (table, written) in memory.tables.iter().zip(&tables) {
        for (field, column) in table.values.iter().zip(written.values.columns()).filter(|(field, _)| !field.nullable) {
            if let Some(write) = written.writes.iter().find(|write| write.is_put && column.is_null(write.entry as usize)) {
                // A later delete of the same entry makes it good: the values are those after the last write.
                let last = written.writes.iter().rev().find(|other| other.entry == write.entry);
                if last.is_some_and(|last| last.is_put) {
                    invalid!(
                        "table `{}`: `{}` is null in an entry that is put, and never null by its declaration",
                        table.name,
                        field.name
                    );
                }
            }
        }
    }
    Ok(tables)
}

fn timer_changes(parts: &ProcessParts, rows: usize, memory: &Memory, data: &Buffer) -> Result<Vec<TimerChange>, Unfit> {
    let count = parts.timer_count as usize;
    if count == 0 {
        return Ok(Vec::new());
    }
    if !memory.timers {
        invalid!("{count} timers from a process that declares none");
    }
    within(count, rows, TIMERS_MAX, "sets")?;
    let source = ScalarBuffer::<u32>::new(span("timer-rows", data, parts.timer_rows, count, 4)?, 0, count);
    ascending("timer", &source, rows)?;
    let [at, name] = memory.timer_fields.as_slice() else { unreachable!("a timer has a time and a name") };
    let fields = [Field { nullable: true, ..at.clone() }, name.clone()];
    let columns = batch(&fields, &parts.timers, count, data)?;
    let (times, names) = (columns.column(0).as_primitive::<TimestampMicrosecondType>(), columns.column(1).as_string::<i32>());
    let mut timers = Vec::with_capacity(count);
    for (at, row) in source.iter().enumerate() {
        let name = names.value(at);
        if name.len() > TIMER_NAME_BYTES_MAX {
            invalid!("the name of a timer has {} bytes; at most {TIMER_NAME_BYTES_MAX} are taken", name.len());
        }
        let time = times.is_valid(at).then(|| EventTime(times.value(at)));
        timers.push(TimerChange { row: *row, name: name.to_owned(), at: time });
    }
    Ok(timers)
}

/// Counts, then as many numbers each.
fn lists(
    what: &str,
    data: &Buffer,
    at: u32,
    count: usize,
    check: impl Fn(usize) -> Result<(), Unfit>,
) -> Result<Vec<ScalarBuffer<u32>>, Unfit> {
    if count == 0 {
        return Ok(Vec::new());
    }
    let counts = ScalarBuffer::<u32>::new(span(what, data, at, count, 4)?, 0, count);
    let all: usize = counts.iter().map(|count| *count as usize).sum();
    check(all)?;
    let words = ScalarBuffer::<u32>::new(span(what, data, at, count + all, 4)?, 0, count + all);
    let mut from = count;
    let list = |count: &u32| {
        let list = words.slice(from, *count as usize);
        from += *count as usize;
        list
    };
    Ok(counts.iter().map(list).collect())
}

fn ascending(what: &str, source: &[u32], rows: usize) -> Result<(), Unfit> {
    if !source.is_sorted() {
        invalid!("a {what} of an earlier row behind one of a later: rows never descend");
    }
    match source.last() {
        Some(last) if *last as usize >= rows => invalid!("a {what} of row {last} of a batch of {rows}"),
        Some(_) | None => Ok(()),
    }
}

fn within(count: usize, rows: usize, (base, per_row): (usize, usize), verb: &str) -> Result<(), Unfit> {
    let most = base + per_row * rows;
    if count > most {
        return Err(Unfit::TooMuch(format!("it {verb} {count} in one call; {most} are allowed for {rows} rows")));
    }
    Ok(())
}

fn take<'a>(columns: &mut &'a [WireColumn], count: usize, what: &str) -> Result<&'a [WireColumn], Unfit> {
    match columns.split_at_checked(count) {
        Some((head, rest)) => {
            *columns = rest;
            Ok(head)
        }
        None => invalid!("fewer {what} columns than `describe` names"),
    }
}

fn no_more(columns: &[WireColumn], what: &str) -> Result<(), Unfit> {
    if !columns.is_empty() {
        invalid!("{} {what} columns more than `describe` names", columns.len());
    }
    Ok(())
}

fn batch(fields: &[Field], layouts: &[WireColumn], rows: usize, data: &Buffer) -> Result<RecordBatch, Unfit> {
    let schema = Arc::new(Schema::new(fields.iter().map(Field::arrow).collect::<Vec<_>>()));
    if fields.is_empty() {
        let options = arrow_array::RecordBatchOptions::new().with_row_count(Some(rows));
        let none = RecordBatch::try_new_with_options(schema, Vec::new(), &options);
        return none.map_err(|error| Unfit::Invalid(Invalid(error.to_string())));
    }
    Ok(decode::state(&schema, fields, layouts, rows, data)?)
}

#[cfg(test)]
#[path = "process_tests.rs"]
mod tests;

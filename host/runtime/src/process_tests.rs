//! What a process may say of entries and timers, and that everything else is refused with its place: numbers of rows and entries that are not
//! there, rows that descend, counts beyond any bound, bytes beyond the buffer.

use arrow_array::{BooleanArray, Int64Array};
use expect_test::{Expect, expect};

use super::*;
use crate::answer::GuestBytes;
use crate::wire::{Encoding, NO_NULLS};

/// One table of integers by name, and timers.
fn memory() -> Memory {
    let table = TableDescription {
        name: "things".to_owned(),
        key: vec![Field::new("name", FieldType::String, false)],
        values: vec![Field::new("value", FieldType::Int64, false)],
        ttl: None,
    };
    Memory { tables: vec![table], timers: true, ..Memory::none() }
}

/// Two entries, as they were handed over.
fn found() -> Vec<TableEntries> {
    let schema = Arc::new(Schema::new(vec![Field::new("value", FieldType::Int64, true).arrow()]));
    let values = RecordBatch::try_new(schema, vec![Arc::new(Int64Array::from(vec![1, 2]))]).expect("a column");
    vec![TableEntries { numbers: vec![0, 1], there: BooleanArray::from(vec![true, true]), values }]
}

fn column(encoding: Encoding, validity: u32, values: u32, (bytes, bytes_length): (u32, u32)) -> WireColumn {
    WireColumn { encoding, validity, values, entry_offsets: 0, entries: 0, bytes, bytes_length }
}

fn nothing() -> ProcessParts {
    ProcessParts {
        rows: 0,
        source_rows: 0,
        columns: Vec::new(),
        state: Vec::new(),
        entries: Vec::new(),
        write_count: 0,
        writes: 0,
        timer_count: 0,
        timer_rows: 0,
        timers: Vec::new(),
        side_rows: 0,
        sides: Vec::new(),
        data: GuestBytes::copy(&[]),
        notes: Vec::new(),
    }
}

fn words(words: impl IntoIterator<Item = u32>) -> Vec<u8> {
    words.into_iter().flat_map(u32::to_le_bytes).collect()
}

fn told<T>(answer: Result<T, Unfit>, show: impl Fn(T) -> String) -> String {
    match answer {
        Ok(taken) => show(taken),
        Err(Unfit::Invalid(Invalid(why))) => format!("invalid: {why}"),
        Err(Unfit::TooMuch(why)) => format!("too much: {why}"),
    }
}

/// The values 10 and 20, bits that say which of them are there, then writes: row, table, entry, put. Three rows.
fn writes(validity: u32, list: &[[u32; 4]], count: Option<u32>) -> String {
    let mut data = [10i64, 20].map(i64::to_le_bytes).concat();
    data.extend([0b01, 0, 0, 0, 0, 0, 0, 0]);
    data.extend(words(list.iter().flatten().copied()));
    let entries = vec![column(Encoding::Words, validity, 0, (0, 0))];
    let parts = ProcessParts { entries, write_count: count.unwrap_or(list.len() as u32), writes: 24, ..nothing() };
    told(table_writes(&parts, 3, &found(), &memory(), &Buffer::from_vec(data)), |tables| {
        let write = |write: &TableWrite| format!("{}{}{}", write.row, if write.is_put { "+" } else { "-" }, write.entry);
        tables[0].writes.iter().map(write).collect::<Vec<_>>().join(" ")
    })
}

/// Timers of rows, with the end of each name, out of `firstsecond`; all at 5. Three rows.
fn timers(rows: &[u32], ends: &[u32], memory: &Memory, count: Option<u32>) -> String {
    let mut data = words(rows.iter().copied());
    data.resize(data.len().next_multiple_of(8), 0);
    let times = data.len() as u32;
    data.extend(rows.iter().flat_map(|_| 5i64.to_le_bytes()));
    let offsets = data.len() as u32;
    data.extend(words([0].into_iter().chain(ends.iter().copied())));
    data.resize(data.len().next_multiple_of(8), 0);
    let (bytes, names) = (data.len() as u32, "firstsecond".repeat(30));
    data.extend(names.as_bytes());
    let columns = vec![
        column(Encoding::Words, NO_NULLS, times, (0, 0)),
        column(Encoding::Offsets, NO_NULLS, offsets, (bytes, names.len() as u32)),
    ];
    let parts = ProcessParts { timer_count: count.unwrap_or(rows.len() as u32), timer_rows: 0, timers: columns, ..nothing() };
    told(timer_changes(&parts, 3, memory, &Buffer::from_vec(data)), |timers| {
        timers.iter().map(|timer| format!("{}:{}", timer.row, timer.name)).collect::<Vec<_>>().join(" ")
    })
}

#[expect(clippy::needless_pass_by_value, reason = "expect! is written in place")]
fn check(said: String, expected: Expect) {
    expected.assert_eq(&said);
}

#[test]
fn writes_are_of_entries_that_were_asked_for() {
    check(writes(NO_NULLS, &[[0, 0, 1, 1], [2, 0, 0, 0]], None), expect!["0+1 2-0"]);
    check(writes(NO_NULLS, &[[0, 0, 2, 1]], None), expect!["invalid: a write (1) of entry 2 of 2"]);
    check(writes(NO_NULLS, &[[0, 1, 0, 1]], None), expect!["invalid: a write into table 1, and there are 1"]);
    check(writes(NO_NULLS, &[[0, 0, 0, 7]], None), expect!["invalid: a write (7) of entry 0 of 2"]);
    check(
        writes(NO_NULLS, &[[3, 0, 0, 1]], None),
        expect!["invalid: a write of row 3 behind one of row 0, of 3 rows: rows never descend"],
    );
    check(
        writes(NO_NULLS, &[[2, 0, 0, 1], [1, 0, 0, 1]], None),
        expect!["invalid: a write of row 1 behind one of row 2, of 3 rows: rows never descend"],
    );
    check(
        writes(NO_NULLS, &[[0, 0, 0, 1]], Some(2)),
        expect!["invalid: writes take 32 bytes from byte 24, and the buffer has 40"],
    );
    check(
        writes(NO_NULLS, &[[0, 0, 0, 1]], Some(u32::MAX)),
        expect!["too much: it writes 4294967295 in one call; 65728 are allowed for 3 rows"],
    );
    // The second entry is null.
    check(writes(16, &[[0, 0, 0, 1]], None), expect!["0+0"]);
    check(
        writes(16, &[[0, 0, 1, 1]], None),
        expect!["invalid: table `things`: `value` is null in an entry that is put, and never null by its declaration"],
    );
    check(writes(16, &[[0, 0, 1, 1], [0, 0, 1, 0]], None), expect!["0+1 0-1"]);
    check(
        writes(8_000, &[], None),
        expect!["invalid: state column `value`: validity bits take 1 bytes from byte 8000, and the buffer has 24"],
    );
}

#[test]
fn timers_are_of_rows_and_have_names() {
    check(timers(&[0, 2], &[5, 11], &memory(), None), expect!["0:first 2:second"]);
    check(
        timers(&[2, 0], &[5, 11], &memory(), None),
        expect!["invalid: a timer of an earlier row behind one of a later: rows never descend"],
    );
    check(timers(&[3], &[5], &memory(), None), expect!["invalid: a timer of row 3 of a batch of 3"]);
    check(timers(&[0], &[256], &memory(), None), expect!["invalid: the name of a timer has 256 bytes; at most 255 are taken"]);
    check(timers(&[0], &[5], &memory(), Some(1_073)), expect!["too much: it sets 1073 in one call; 1072 are allowed for 3 rows"]);
    check(
        timers(&[0], &[5], &Memory { timers: false, ..memory() }, None),
        expect!["invalid: 1 timers from a process that declares none"],
    );
}

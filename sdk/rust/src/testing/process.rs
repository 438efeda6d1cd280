//! Tests of processes: rows one by one, timers when time has passed them, entries until their time is over. Then once more with as many rows
//! in a call as nothing happens between, each in a fresh instance: the answers must be the same.

use std::collections::{BTreeMap, BTreeSet};

use super::cell::{self, Cell, TextForm};
use super::key;
use crate::Timestamp;
use crate::abi::bindings::Column as Place;
use crate::call::{Call, Description, ProcessAnswer, WantedAnswer};
use crate::field::{Field, Kind};
use crate::json::{self, Value};
use crate::output::Buffer;
use crate::process::{Declared, Opened, Sides};
use crate::table::{Found, TableDeclaration};

/// A test of the process `P`: `testing::process::<Carts>()`.
pub fn process<P: Declared>() -> ProcessTest<P> {
    ProcessTest { config: "{}".to_owned(), by: Vec::new(), time: None, ends: false, process: std::marker::PhantomData }
}

/// A test under way: configuration, key, the field that is the rows' time, then [`ProcessTest::run`].
#[derive(Debug)]
pub struct ProcessTest<P> {
    config: String,
    by: Vec<String>,
    time: Option<String>,
    ends: bool,
    process: std::marker::PhantomData<P>,
}

/// What came of the rows.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Processed {
    /// The rows of the main output as JSON text, each with its key: `["ann"] {"items":"apple"}`.
    pub rows: Vec<String>,
    /// Those of each other output.
    pub sides: BTreeMap<&'static str, Vec<String>>,
    /// Rows with trouble: row and text. Of timers the row is that of the next event.
    pub notes: Vec<(usize, String)>,
    /// The state per key afterwards.
    pub state: BTreeMap<String, String>,
    /// The entries of each table afterwards, by the step's key and their own: `["ann"] {"item":"apple"}`.
    pub tables: BTreeMap<&'static str, BTreeMap<String, String>>,
    /// Timers that have not fired: key and name, and when.
    pub timers: BTreeMap<(String, String), Timestamp>,
}

impl<P: Declared> ProcessTest<P> {
    /// The configuration, JSON text.
    pub fn config(mut self, config: &str) -> Self {
        config.clone_into(&mut self.config);
        self
    }

    /// The fields whose values are the key.
    pub fn by(mut self, fields: &[&str]) -> Self {
        self.by = fields.iter().map(|field| (*field).to_owned()).collect();
        self
    }

    /// The field, a timestamp, that is the rows' event time. Without it time stands still.
    pub fn time(mut self, field: &str) -> Self {
        self.time = Some(field.to_owned());
        self
    }

    /// Behind the last row time runs out: every timer fires.
    pub fn ends(mut self) -> Self {
        self.ends = true;
        self
    }

    /// Runs NDJSON rows, a JSON object a line.
    ///
    /// # Panics
    /// If a row is not as the process asks, if it panics, if a timer sets one that is not later, or if the cuts answer differently.
    pub fn run(&self, rows: &str) -> Processed {
        let lines: Vec<&str> = rows.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        let one_by_one = self.cut(&lines, None, TextForm::Offsets);
        let together = self.cut(&lines, Some(&one_by_one.breaks), TextForm::Dictionary);
        assert_eq!(one_by_one.report, together.report, "the answer depends on how rows are cut into batches");
        one_by_one.report
    }

    fn cut(&self, lines: &[&str], breaks: Option<&BTreeSet<usize>>, form: TextForm) -> World<P> {
        let mut world = World::<P>::new(&self.config, form);
        let rows: Vec<Value<'_>> = lines
            .iter()
            .enumerate()
            .map(|(row, line)| json::parse(line).unwrap_or_else(|error| panic!("row {row}: {error}")))
            .collect();
        let time_of = |row: &Value<'_>| match &self.time {
            Some(field) => match cell::member(row, field) {
                Value::Text(text) => Timestamp::parse(text).unwrap_or_else(|| panic!("`{text}` is no time")).0,
                other => panic!("`{field}` is no time: {}", cell::text(other)),
            },
            None => i64::MIN,
        };
        let mut from = 0;
        while from < rows.len() {
            world.fire(from);
            let to = match breaks {
                Some(breaks) => breaks.range(from + 1..).next().map_or(rows.len(), |next| *next),
                None => from + 1,
            };
            let keys: Vec<String> = rows[from..to].iter().map(|row| key(&self.by, row)).collect();
            let times: Vec<i64> = rows[from..to].iter().map(time_of).collect();
            world.events(from, &rows[from..to], &keys, &times);
            from = to;
        }
        if self.ends {
            world.watermark = i64::MAX;
        }
        world.fire(rows.len());
        world.finish()
    }
}

/// Row, table and entry of what puts the end of an entry off.
type Read = (usize, usize, usize);

/// An entry, and when it is over.
type Kept = (Vec<Cell>, i64);

struct World<P: Declared> {
    config: String,
    form: TextForm,
    description: Description,
    declared: Vec<TableDeclaration>,
    states: BTreeMap<String, Kept>,
    tables: Vec<BTreeMap<String, Kept>>,
    watermark: i64,
    /// Rows before which a timer fired, or at which something was over.
    breaks: BTreeSet<usize>,
    report: Processed,
    process: std::marker::PhantomData<P>,
}

const TIMERS: [Field; 2] = [
    Field { name: "at", kind: Kind::Timestamp, precision: 0, scale: 0, nullable: true },
    Field { name: "name", kind: Kind::Text, precision: 0, scale: 0, nullable: false },
];

impl<P: Declared> World<P> {
    fn new(config: &str, form: TextForm) -> Self {
        let declared = Opened::<P>::tables();
        Self {
            config: config.to_owned(),
            form,
            description: Opened::<P>::describe(),
            states: BTreeMap::new(),
            tables: declared.iter().map(|_| BTreeMap::new()).collect(),
            declared,
            watermark: i64::MIN,
            breaks: BTreeSet::new(),
            report: Processed::default(),
            process: std::marker::PhantomData,
        }
    }

    /// Lets timers fire that time has passed: the earliest of all, one after the other.
    fn fire(&mut self, row: usize) {
        loop {
            let due =
                self.report.timers.iter().filter(|(_, at)| at.0 < self.watermark).min_by_key(|(of, at)| (**at, (*of).clone()));
            let Some(((key, name), at)) = due.map(|(of, at)| (of.clone(), *at)) else { return };
            self.breaks.insert(row);
            self.report.timers.remove(&(key.clone(), name.clone()));
            let mut buffer = Buffer::default();
            let at_cell = cell::of_json(&TIMERS[0], &Value::Text(at.to_string().into()));
            let name_cell = cell::of_json(&TIMERS[1], &Value::Text(name.into()));
            let columns = vec![
                cell::encode(&TIMERS[0], &[at_cell], TextForm::Offsets, &mut buffer),
                cell::encode(&TIMERS[1], &[name_cell], TextForm::Offsets, &mut buffer),
            ];
            self.call(true, row, &[key], &[at.0], &[at.0], buffer, &columns);
        }
    }

    fn events(&mut self, first_row: usize, rows: &[Value<'_>], keys: &[String], times: &[i64]) {
        let mut buffer = Buffer::default();
        let mut columns = Vec::new();
        for field in &self.description.columns {
            let of_row =
                |(row, value)| cell::of_row(field, value).unwrap_or_else(|error| panic!("row {}: {error}", first_row + row));
            let cells: Vec<Cell> = rows.iter().enumerate().map(of_row).collect();
            columns.push(cell::encode(field, &cells, self.form, &mut buffer));
        }
        let mut watermark = self.watermark;
        let mut seen = Vec::with_capacity(times.len());
        for time in times {
            seen.push(watermark.max(*time));
            watermark = watermark.max(*time);
        }
        self.call(false, first_row, keys, times, &seen, buffer, &columns);
        self.watermark = watermark;
    }

    /// One call. Each row writes at its time and sees what is over later than `seen`.
    #[expect(clippy::too_many_arguments, reason = "the parts of a call, in one place")]
    fn call(
        &mut self,
        timers: bool,
        first_row: usize,
        row_keys: &[String],
        times: &[i64],
        seen: &[i64],
        mut buffer: Buffer,
        columns: &[Place],
    ) {
        let opened = Opened::<P>::open(&self.config).unwrap_or_else(|error| panic!("open failed: {error}"));
        let mut keys: Vec<String> = Vec::new();
        let numbers: Vec<u32> = row_keys
            .iter()
            .map(|key| {
                keys.iter().position(|known| known == key).unwrap_or_else(|| {
                    keys.push(key.clone());
                    keys.len() - 1
                }) as u32
            })
            .collect();
        let first_of = |number: usize| numbers.iter().position(|other| *other as usize == number).expect("a key has a row");
        let put_numbers = buffer.put_words(numbers.iter().map(|key| key.to_le_bytes()));
        let mut state = Vec::new();
        for (index, declared) in self.description.state.iter().enumerate() {
            let cells: Vec<Cell> = keys
                .iter()
                .enumerate()
                .map(|(number, key)| match self.states.get(key) {
                    Some((cells, expiry)) if seen[first_of(number)] < *expiry => cells[index].clone(),
                    Some(_) => {
                        self.breaks.insert(first_row + first_of(number));
                        cell::first(declared)
                    }
                    None => cell::first(declared),
                })
                .collect();
            state.push(cell::encode(&declared.field, &cells, self.form, &mut buffer));
        }
        let (rows, key_count) = (row_keys.len(), keys.len());
        let (mut entries, mut found) = (Vec::<Vec<String>>::new(), (0, Vec::new()));
        // Also of entries that a row before makes.
        let mut reads = Vec::<Read>::new();
        if !self.declared.is_empty() {
            let mut wanted = WantedAnswer::default();
            let call = Call { rows, columns, keys: key_count, row_keys: put_numbers, state: &state, data: &buffer.bytes };
            opened.wants(timers, &call, &mut wanted);
            let (words, _) = wanted.buffer.bytes[wanted.entries as usize..].as_chunks::<4>();
            let word = |at: usize| u32::from_le_bytes(words[at]) as usize;
            let (mut counts, mut all_numbers, mut at) = (Vec::new(), Vec::new(), self.declared.len());
            let mut places = wanted.keys.as_slice();
            for (table, declared) in self.declared.iter().enumerate() {
                let count = word(table);
                let (own, rest) = places.split_at(declared.key.len());
                places = rest;
                let cells: Vec<Vec<Cell>> = declared
                    .key
                    .iter()
                    .zip(own)
                    .map(|(field, place)| cell::decode(field, place, count, &wanted.buffer.bytes))
                    .collect();
                let (mut different, mut values) = (Vec::<String>::new(), Vec::<Option<Vec<Cell>>>::new());
                for entry in 0..count {
                    let row = word(at + entry);
                    let of: Vec<Cell> = cells.iter().map(|column| column[entry].clone()).collect();
                    let key = format!("{} {}", row_keys[row], cell::object(declared.key, &of));
                    let number = different.iter().position(|known| *known == key).unwrap_or_else(|| {
                        let kept = self.tables[table].get(&key);
                        if kept.is_some_and(|(_, expiry)| seen[row] >= *expiry) {
                            self.breaks.insert(first_row + row);
                        }
                        values.push(kept.filter(|(_, expiry)| seen[row] < *expiry).map(|(cells, _)| cells.clone()));
                        different.push(key);
                        different.len() - 1
                    });
                    // Wanting it is reading it.
                    if declared.ttl.2 {
                        put_off(&mut self.tables[table], declared.ttl, &different[number], (seen[row], times[row]));
                        reads.push((row, table, number));
                    }
                    all_numbers.push(number as u32);
                }
                at += count;
                counts.push(different.len() as u32);
                let there: Vec<Cell> = values.iter().map(|value| Some(cell::bit(value.is_some()))).collect();
                found.1.push(cell::encode(&THERE, &there, self.form, &mut buffer));
                for (index, field) in declared.values.iter().enumerate() {
                    let cells: Vec<Cell> =
                        values.iter().map(|value| value.as_ref().and_then(|cells| cells[index].clone())).collect();
                    found.1.push(cell::encode(field, &cells, self.form, &mut buffer));
                }
                entries.push(different);
            }
            found.0 = buffer.put_words(counts.into_iter().chain(all_numbers).map(u32::to_le_bytes));
        }
        let mut answer = ProcessAnswer::default();
        let call = Call { rows, columns, keys: key_count, row_keys: put_numbers, state: &state, data: &buffer.bytes };
        opened.process(timers, &call, Found { entries: found.0, columns: &found.1 }, &mut answer);
        reads.sort_unstable();
        self.take(timers, first_row, row_keys, &keys, (times, seen), (&entries, &reads), &answer);
    }

    #[expect(clippy::too_many_arguments, reason = "the parts of an answer, in one place")]
    fn take(
        &mut self,
        timers: bool,
        first_row: usize,
        row_keys: &[String],
        keys: &[String],
        (times, seen): (&[i64], &[i64]),
        (entries, reads): (&[Vec<String>], &[Read]),
        answer: &ProcessAnswer,
    ) {
        let data = &answer.buffer.bytes;
        let word = |at: u32, index: usize| {
            let at = at as usize + 4 * index;
            u32::from_le_bytes(data[at..at + 4].try_into().expect("four bytes"))
        };
        let rejected: BTreeSet<u32> = answer.notes.iter().map(|note| note.row).collect();
        let told = |fields: &[Field], places: &[Place], sources: &[u32]| -> Vec<String> {
            let columns: Vec<Vec<Cell>> =
                fields.iter().zip(places).map(|(field, place)| cell::decode(field, place, sources.len(), data)).collect();
            let row = |(at, source): (usize, &u32)| {
                let cells: Vec<Cell> = columns.iter().map(|column| column[at].clone()).collect();
                (!rejected.contains(source)).then(|| format!("{} {}", row_keys[*source as usize], cell::object(fields, &cells)))
            };
            sources.iter().enumerate().filter_map(row).collect()
        };
        let sources: Vec<u32> = (0..answer.rows).map(|row| word(answer.source_rows, row)).collect();
        self.report.rows.extend(told(&self.description.outputs, &answer.columns, &sources));
        let declared = P::Sides::declared();
        let (mut at, mut places) = (declared.len(), answer.sides.as_slice());
        for (side, (name, fields)) in declared.iter().enumerate() {
            let count = word(answer.side_rows, side) as usize;
            let sources: Vec<u32> = (at..at + count).map(|at| word(answer.side_rows, at)).collect();
            at += count;
            let (own, rest) = places.split_at(fields.len());
            places = rest;
            self.report.sides.entry(name).or_default().extend(told(fields, own, &sources));
        }
        self.report.notes.extend(answer.notes.iter().map(|note| (first_row + note.row as usize, note.text.clone())));
        let news: Vec<Vec<Cell>> = self
            .description
            .state
            .iter()
            .zip(&answer.state)
            .map(|(declared, place)| cell::decode(&declared.field, place, keys.len(), data))
            .collect();
        for (number, key) in keys.iter().enumerate().filter(|_| !news.is_empty()) {
            let written =
                row_keys.iter().zip(times).filter(|(of, _)| *of == key).map(|(_, time)| *time).max().expect("a key has a row");
            let ttl = expiry_of((P::STATE_TTL.0, P::STATE_TTL.1, false), written);
            let expiry = self.states.get(key).map_or(i64::MIN, |(_, expiry)| *expiry).max(ttl);
            self.states.insert(key.clone(), (news.iter().map(|column| column[number].clone()).collect(), expiry));
        }
        let mut places = answer.entries.as_slice();
        for (table, (declared, different)) in self.declared.iter().zip(entries).enumerate() {
            let (own, rest) = places.split_at(declared.values.len());
            places = rest;
            let columns: Vec<Vec<Cell>> =
                declared.values.iter().zip(own).map(|(field, place)| cell::decode(field, place, different.len(), data)).collect();
            let mut reads = reads.iter().filter(|(_, of, _)| *of == table).peekable();
            for write in 0..answer.write_count {
                let [row, of, entry, is_put] = std::array::from_fn(|part| word(answer.writes, 4 * write + part) as usize);
                if of != table {
                    continue;
                }
                // A row reads before it writes.
                while let Some((at, _, read)) = reads.next_if(|(at, ..)| *at <= row) {
                    put_off(&mut self.tables[table], declared.ttl, &different[*read], (seen[*at], times[*at]));
                }
                let key = &different[entry];
                if is_put == 0 {
                    self.tables[table].remove(key);
                    continue;
                }
                let expiry = self.tables[table].get(key).map_or(i64::MIN, |(_, expiry)| *expiry);
                let expiry = expiry.max(expiry_of(declared.ttl, times[row]));
                self.tables[table].insert(key.clone(), (columns.iter().map(|column| column[entry].clone()).collect(), expiry));
            }
            for (at, _, read) in reads {
                put_off(&mut self.tables[table], declared.ttl, &different[*read], (seen[*at], times[*at]));
            }
        }
        let cells: Vec<Vec<Cell>> = TIMERS
            .iter()
            .zip(&answer.timers)
            .map(|(field, place)| cell::decode(field, place, answer.timer_count, data))
            .collect();
        for (change, (at, name)) in cells[0].iter().zip(&cells[1]).enumerate() {
            let row = word(answer.timer_rows, change) as usize;
            let name = name.as_ref().map_or_else(String::new, cell::words);
            let of = (row_keys[row].clone(), name);
            match at.as_ref().map(cell::micros) {
                Some(at) => {
                    assert!(
                        !timers || at > times[row],
                        "a timer that fires sets `{}` to a time that is not later than its own",
                        of.1
                    );
                    self.report.timers.insert(of, Timestamp(at));
                }
                None => drop(self.report.timers.remove(&of)),
            }
        }
    }

    fn finish(mut self) -> Self {
        let watermark = self.watermark;
        let lives = |(_, (_, expiry)): &(&String, &Kept)| *expiry > watermark;
        let fields: Vec<Field> = self.description.state.iter().map(|state| state.field).collect();
        self.report.state =
            self.states.iter().filter(lives).map(|(key, (cells, _))| (key.clone(), cell::object(&fields, cells))).collect();
        for (declared, entries) in self.declared.iter().zip(&self.tables) {
            let told = |(key, (cells, _)): (&String, &Kept)| (key.clone(), cell::object(declared.values, cells));
            self.report.tables.insert(declared.name, entries.iter().filter(lives).map(told).collect());
        }
        self
    }
}

const THERE: Field = Field { name: "there", kind: Kind::Boolean, precision: 0, scale: 0, nullable: false };

/// When something that is written at that time is over. The host's clock stands still in a test.
/// A row that sees the entry puts its end off.
fn put_off(entries: &mut BTreeMap<String, Kept>, ttl: (u64, bool, bool), key: &str, (seen, time): (i64, i64)) {
    if let Some((_, expiry)) = entries.get_mut(key).filter(|(_, expiry)| seen < *expiry) {
        *expiry = (*expiry).max(expiry_of(ttl, time));
    }
}

fn expiry_of((ttl_us, by_wall_clock, _): (u64, bool, bool), written: i64) -> i64 {
    if ttl_us == 0 || by_wall_clock { i64::MAX } else { written.saturating_add(i64::try_from(ttl_us).unwrap_or(i64::MAX)) }
}

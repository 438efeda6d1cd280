//! Tests an aggregate: what it says of groups, and that nothing hangs on how rows were cut, merged or retracted.

use std::collections::BTreeMap;
use std::marker::PhantomData;

use super::cell::{self, Cell, Filled, TextForm};
use super::key;
use crate::abi::bindings::Column as Place;
use crate::aggregate::Aggregate;
use crate::call::{AccumulatorAnswer, Call, Description, ValueAnswer};
use crate::field::{Field, Kind};
use crate::json::{self, Value};
use crate::output::Buffer;
use crate::reject::Note;

/// How far numbers may be apart that came about by other merges, relative to the greater one.
const TOLERANCE: f64 = 1e-9;

/// A test of the aggregate `A`: `testing::aggregate::<Range>()` for an accumulator `Range`. Its rows have the arguments' names as fields.
pub fn aggregate<A: Aggregate>() -> AggregateTest<A> {
    AggregateTest { config: "{}".to_owned(), by: Vec::new(), aggregate: PhantomData }
}

/// A test under way: configuration, key, then [`AggregateTest::run`].
#[derive(Debug)]
pub struct AggregateTest<A> {
    config: String,
    by: Vec<String>,
    aggregate: PhantomData<A>,
}

/// What came of the rows.
#[derive(Debug, Clone, PartialEq)]
pub struct Values {
    /// The value of each group as JSON text; groups are JSON arrays of the `by` values: `["192.0.2.1"]`, and `[]` without `by`.
    pub of: BTreeMap<String, String>,
    /// The accumulator of each group as JSON text.
    pub accumulators: BTreeMap<String, String>,
    /// Rows that were rejected: row and text.
    pub notes: Vec<(usize, String)>,
    /// Groups whose value was rejected, with the text.
    pub failed: BTreeMap<String, String>,
}

/// Accumulators by group.
type Accumulators = BTreeMap<String, Vec<Cell>>;

/// A row of the test: its number, its group, its arguments.
struct Row {
    number: usize,
    group: String,
    arguments: Vec<Cell>,
}

impl<A: Aggregate> AggregateTest<A> {
    /// The configuration, JSON text.
    pub fn config(mut self, config: &str) -> Self {
        config.clone_into(&mut self.config);
        self
    }

    /// The fields whose values are the group. They need not be arguments.
    pub fn by(mut self, fields: &[&str]) -> Self {
        self.by = fields.iter().map(|field| (*field).to_owned()).collect();
        self
    }

    /// Runs NDJSON rows, a JSON object a line, in several cuts, merges them as several trees, and retracts what can be retracted.
    ///
    /// # Panics
    /// If a row is not as the aggregate asks, if a call fails, or if a value depends on cuts or merges: accumulators must be the same for
    /// every cut; values of type `f64` may differ by a billionth between merges; and retracting must give back the very accumulator there was.
    pub fn run(&self, rows: &str) -> Values {
        let case = self.case();
        let rows = self.rows(&case.description, rows);
        let (whole, notes) = case.update_all(&rows, rows.len().max(1), TextForm::Offsets);
        for (rows_per_call, form, what) in [
            (rows.len().max(1), TextForm::Dictionary, "text as a dictionary"),
            (1, TextForm::Offsets, "one row a call in fresh instances"),
            (3, TextForm::Dictionary, "three rows a call in fresh instances"),
        ] {
            let other = self.case().update_all(&rows, rows_per_call, form);
            assert_eq!(
                (&whole, &notes),
                (&other.0, &other.1),
                "accumulators depend on how rows are cut into batches: right is with {what}"
            );
        }
        let values = case.finish(&whole);
        // Rejected rows count for nothing, however often they are shown.
        let counted: Vec<&Row> = rows.iter().filter(|row| notes.iter().all(|(number, _)| *number != row.number)).collect();
        for (pieces, tree) in [(1, "row by row"), (2, "two rows at a time"), (5, "five rows at a time")] {
            case.same_values(&values, &case.merged(&counted, pieces), &format!("merged {tree}"));
        }
        for (group, before) in &whole {
            let after = case.combine(before, std::slice::from_ref(&case.first), Combining::Merge);
            assert_eq!(before, &after, "{group}: merging an accumulator that has seen nothing changed something");
        }
        if case.description.retracts {
            case.check_retracting(&counted);
        }
        let show = |cells: &Vec<Cell>| {
            let fields: Vec<Field> = case.description.state.iter().map(|state| state.field).collect();
            cell::object(&fields, cells)
        };
        let value =
            |value: &Result<Cell, String>| value.as_ref().map(|cell| cell::value(&case.description.outputs[0], cell)).ok();
        Values {
            of: values.iter().filter_map(|(group, given)| Some((group.clone(), value(given)?))).collect(),
            accumulators: whole.iter().map(|(group, cells)| (group.clone(), show(cells))).collect(),
            notes,
            failed: values.into_iter().filter_map(|(group, value)| Some((group, value.err()?))).collect(),
        }
    }

    /// The error of opening with this configuration, if there is one.
    pub fn open(&self) -> Result<(), String> {
        A::open(&self.config).map(drop)
    }

    fn case(&self) -> Case<A> {
        let config = A::open(&self.config).unwrap_or_else(|error| panic!("open failed: {error}"));
        let description = A::describe();
        let first = description.state.iter().map(cell::first).collect();
        Case { config, description, first }
    }

    /// Rows without those that do not count because an argument is null.
    fn rows(&self, description: &Description, text: &str) -> Vec<Row> {
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        let row = |(number, line): (usize, &str)| {
            let row = json::parse(line).unwrap_or_else(|error| panic!("row {number}: {error}"));
            if has_null_argument(&description.columns, &row) {
                return None;
            }
            let argument = |field: &Field| cell::of_row(field, &row).unwrap_or_else(|error| panic!("row {number}: {error}"));
            Some(Row { number, group: key(&self.by, &row), arguments: description.columns.iter().map(argument).collect() })
        };
        lines.enumerate().filter_map(row).collect()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Combining {
    Merge,
    Retract,
}

/// An opened aggregate.
struct Case<A: Aggregate> {
    config: A::Config,
    description: Description,
    /// An accumulator that has seen nothing.
    first: Vec<Cell>,
}

impl<A: Aggregate> Case<A> {
    /// All rows, so many a call.
    fn update_all(&self, rows: &[Row], rows_per_call: usize, form: TextForm) -> (Accumulators, Vec<(usize, String)>) {
        let (mut accumulators, mut notes) = (Accumulators::new(), Vec::new());
        for rows in rows.chunks(rows_per_call) {
            let rows: Vec<&Row> = rows.iter().collect();
            let groups: Vec<String> = rows.iter().map(|row| row.group.clone()).collect();
            let before = accumulators.clone();
            for note in self.update(&rows, &groups, form, &mut accumulators) {
                let row = rows[note.row as usize];
                if rows_per_call == 1 {
                    let old = before.get(&row.group).unwrap_or(&self.first);
                    assert_eq!(old, &accumulators[&row.group], "row {} was rejected and changed its accumulator", row.number);
                }
                notes.push((row.number, note.text));
            }
        }
        (accumulators, notes)
    }

    /// One `update`.
    fn update(&self, rows: &[&Row], groups: &[String], form: TextForm, accumulators: &mut Accumulators) -> Vec<Note> {
        let mut buffer = Buffer::default();
        let columns: Vec<Place> = self
            .description
            .columns
            .iter()
            .enumerate()
            .map(|(at, field)| {
                let cells: Vec<Cell> = rows.iter().map(|row| row.arguments[at].clone()).collect();
                cell::encode(field, &cells, form, &mut buffer)
            })
            .collect();
        let (keys, row_keys) = numbered(groups, &mut buffer);
        let old: Vec<&Vec<Cell>> = keys.iter().map(|key| accumulators.get(*key).unwrap_or(&self.first)).collect();
        let state = self.encode(&old, form, &mut buffer);
        let call = Call { rows: rows.len(), columns: &columns, keys: keys.len(), row_keys, state: &state, data: &buffer.bytes };
        let mut answer = AccumulatorAnswer::default();
        A::update_rows(&self.config, &call, &mut answer);
        crate::metrics::end_batch(true);
        let new = self.decode(&answer.state, keys.len(), &answer.buffer.bytes);
        accumulators.extend(keys.into_iter().cloned().zip(new));
        answer.notes
    }

    /// One `merge` or `retract` of some accumulators into one.
    fn combine(&self, into: &Vec<Cell>, others: &[Vec<Cell>], how: Combining) -> Vec<Cell> {
        let mut buffer = Buffer::default();
        let columns = self.encode(&others.iter().collect::<Vec<_>>(), TextForm::Offsets, &mut buffer);
        let one_group = vec![String::new(); others.len()];
        let (keys, row_keys) = numbered(&one_group, &mut buffer);
        let state = self.encode(&[into], TextForm::Offsets, &mut buffer);
        let call = Call { rows: others.len(), columns: &columns, keys: keys.len(), row_keys, state: &state, data: &buffer.bytes };
        let mut answer = AccumulatorAnswer::default();
        match how {
            Combining::Merge => A::merge_rows(&call, &mut answer),
            Combining::Retract => A::retract_rows(&call, &mut answer).unwrap_or_else(|error| panic!("retract failed: {error}")),
        }
        self.decode(&answer.state, 1, &answer.buffer.bytes).remove(0)
    }

    /// What pieces of so many rows, each seen by an accumulator of its own, are together.
    fn merged(&self, rows: &[&Row], rows_per_piece: usize) -> Accumulators {
        let mut pieces: BTreeMap<String, Vec<Vec<Cell>>> = BTreeMap::new();
        for rows in rows.chunks(rows_per_piece) {
            let groups: Vec<String> = rows.iter().map(|row| row.group.clone()).collect();
            let mut piece = Accumulators::new();
            self.update(rows, &groups, TextForm::Offsets, &mut piece);
            piece.into_iter().for_each(|(group, cells)| pieces.entry(group).or_default().push(cells));
        }
        let merge = |(group, pieces): (String, Vec<Vec<Cell>>)| (group, self.combine(&self.first, &pieces, Combining::Merge));
        pieces.into_iter().map(merge).collect()
    }

    /// Each row taken away again from the rows before it.
    fn check_retracting(&self, rows: &[&Row]) {
        let mut accumulators = Accumulators::new();
        for row in rows {
            let mut own = Accumulators::new();
            self.update(&[row], std::slice::from_ref(&row.group), TextForm::Offsets, &mut own);
            let own = own.remove(&row.group).expect("it was updated");
            let before = accumulators.remove(&row.group).unwrap_or_else(|| self.first.clone());
            let both = self.combine(&before, std::slice::from_ref(&own), Combining::Merge);
            let again = self.combine(&both, std::slice::from_ref(&own), Combining::Retract);
            assert_eq!(
                before, again,
                "row {}: retracting what was merged does not give back the accumulator there was",
                row.number
            );
            accumulators.insert(row.group.clone(), both);
        }
    }

    /// The values of all groups, in one call.
    fn finish(&self, accumulators: &Accumulators) -> BTreeMap<String, Result<Cell, String>> {
        if accumulators.is_empty() {
            return BTreeMap::new();
        }
        let mut buffer = Buffer::default();
        let columns = self.encode(&accumulators.values().collect::<Vec<_>>(), TextForm::Offsets, &mut buffer);
        let rows = accumulators.len();
        let call = Call { rows, columns: &columns, keys: 0, row_keys: 0, state: &[], data: &buffer.bytes };
        let mut answer = ValueAnswer::default();
        A::finish_rows(&self.config, &call, &mut answer);
        let values = cell::decode(&self.description.outputs[0], &answer.columns[0], rows, &answer.buffer.bytes);
        let mut values: Vec<Result<Cell, String>> = values.into_iter().map(Ok).collect();
        answer.notes.into_iter().for_each(|note| values[note.row as usize] = Err(note.text));
        accumulators.keys().cloned().zip(values).collect()
    }

    fn same_values(&self, expected: &BTreeMap<String, Result<Cell, String>>, accumulators: &Accumulators, what: &str) {
        let field = &self.description.outputs[0];
        for (group, value) in self.finish(accumulators) {
            let same = match (&expected[&group], &value) {
                (Ok(a), Ok(b)) => is_near(field, a, b),
                (a, b) => a == b,
            };
            let show = |value: &Result<Cell, String>| match value {
                Ok(cell) => cell::value(field, cell),
                Err(text) => text.clone(),
            };
            let (expected, found) = (show(&expected[&group]), show(&value));
            assert!(same, "{group}: the value depends on merges: {expected} in one piece, {found} {what}");
        }
    }

    fn encode(&self, accumulators: &[&Vec<Cell>], form: TextForm, buffer: &mut Buffer) -> Vec<Place> {
        let column = |(at, declared): (usize, &crate::field::StateField)| {
            let cells: Vec<Cell> = accumulators.iter().map(|cells| cells[at].clone()).collect();
            cell::encode(&declared.field, &cells, form, buffer)
        };
        self.description.state.iter().enumerate().map(column).collect()
    }

    fn decode(&self, places: &[Place], rows: usize, data: &[u8]) -> Vec<Vec<Cell>> {
        let fields = self.description.state.iter().zip(places);
        let columns: Vec<Vec<Cell>> = fields.map(|(declared, place)| cell::decode(&declared.field, place, rows, data)).collect();
        (0..rows).map(|row| columns.iter().map(|column| column[row].clone()).collect()).collect()
    }
}

/// Groups by first appearance, and where each row's number stands.
fn numbered<'a>(groups: &'a [String], buffer: &mut Buffer) -> (Vec<&'a String>, u32) {
    let mut keys: Vec<&String> = Vec::new();
    let numbers: Vec<u32> = groups
        .iter()
        .map(|group| {
            keys.iter().position(|known| *known == group).unwrap_or_else(|| {
                keys.push(group);
                keys.len() - 1
            }) as u32
        })
        .collect();
    let row_keys = buffer.put_words(numbers.iter().map(|number| number.to_le_bytes()));
    (keys, row_keys)
}

fn is_near(field: &Field, a: &Cell, b: &Cell) -> bool {
    match (field.kind, a, b) {
        (Kind::Number, Some(Filled::Word(a)), Some(Filled::Word(b))) => {
            let (a, b) = (f64::from_bits(*a), f64::from_bits(*b));
            a.to_bits() == b.to_bits() || (a - b).abs() <= TOLERANCE * a.abs().max(b.abs())
        }
        _ => a == b,
    }
}

/// Whether a row has a null where an argument is never null: nobody asks about it.
pub(super) fn has_null_argument(columns: &[Field], row: &Value<'_>) -> bool {
    let is_null = |field: &Field| !field.nullable && field.kind != Kind::Json && *cell::member(row, field.name) == Value::Null;
    columns.iter().any(is_null)
}

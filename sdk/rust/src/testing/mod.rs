//! Runs a component in an ordinary `cargo test`, without a host and without WebAssembly.
//!
//! Rows and state cross in the host's own layout. Each run is done in several cuts (all rows in one call, text as offsets and
//! as a dictionary; one row a call, each in a fresh instance), and the answers must be the same: where a batch ends carries no
//! meaning, and globals may vanish. What is not tested here are the host's limits; `tidemill test` does that.

mod aggregate;
mod base64;
mod cell;
mod pattern;
mod process;

pub use aggregate::{AggregateTest, Values, aggregate};
pub use pattern::{PatternTest, pattern};
pub use process::{ProcessTest, Processed, process};

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};

use crate::abi::bindings::Column as Place;
use crate::call::{Call, Description, RuleAnswer, TransformAnswer, ValueAnswer};
use crate::function::Function;
use crate::json::{self, Value};
use crate::log::Level;
use crate::metrics::{self, Series};
use crate::output::Buffer;
use crate::reject::Note;
use crate::rule::Rule;
use crate::transform::Transform;

use cell::{Cell, TextForm};

thread_local! {
    static LINES: RefCell<Vec<(Level, String)>> = const { RefCell::new(Vec::new()) };
    static MEASURED: RefCell<BTreeMap<String, Vec<f64>>> = const { RefCell::new(BTreeMap::new()) };
}

/// Keeps what a component logs in a native test.
pub(crate) fn keep_line(level: Level, message: &str) {
    LINES.with_borrow_mut(|lines| lines.push((level, message.to_owned())));
}

/// Keeps what a component measured in a native test.
pub(crate) fn keep_measured(series: &BTreeMap<String, Series>) {
    MEASURED.with_borrow_mut(|measured| {
        for series in series.values() {
            let mut name = format!("{:?} {}", series.kind, series.name).to_lowercase();
            for (label, value) in &series.labels {
                name.push_str(&format!(" {label}={value}"));
            }
            measured.insert(name, series.amounts.clone());
        }
    });
}

/// What a component measured in the last [`Test::run`] of this thread, when all rows were in one call: `counter payments country=IT`,
/// and its sum; of a gauge, its last value; of a histogram, all values.
pub fn measured() -> BTreeMap<String, Vec<f64>> {
    MEASURED.with_borrow(Clone::clone)
}

/// What components logged in the last [`Test::run`] of this thread, when all rows were in one call.
pub fn log_lines() -> Vec<(Level, String)> {
    LINES.take()
}

/// A test of the rule `R`: `testing::rule::<too_many>()` for a function `too_many`.
pub fn rule<R: Rule>() -> Test<RuleCase<R>> {
    Test::new(R::describe())
}

/// A test of the transform `T`.
pub fn transform<T: Transform>() -> Test<TransformCase<T>> {
    Test::new(T::describe())
}

/// A test of the function `F`. Its rows have the arguments' names as fields; the report's `rows` are the values.
pub fn function<F: Function>() -> Test<FunctionCase<F>> {
    Test::new(F::describe())
}

/// A test under way: configuration, key, then [`Test::run`].
#[derive(Debug)]
pub struct Test<C> {
    description: Description,
    config: String,
    by: Vec<String>,
    case: std::marker::PhantomData<C>,
}

/// What came of the rows.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// Of a rule: a verdict per row.
    pub verdicts: Vec<bool>,
    /// The output columns of each row that came out, as JSON text; of a rule, a row per row.
    pub rows: Vec<String>,
    /// Of a transform: for each row of `rows`, the row it came from.
    pub source_rows: Vec<usize>,
    /// Rows with trouble: row and text.
    pub notes: Vec<(usize, String)>,
    /// The state per key afterwards, as JSON text; keys are JSON arrays of the `by` values: `["192.0.2.1"]`.
    pub state: HashMap<String, String>,
}

impl<C: Case> Test<C> {
    fn new(description: Description) -> Self {
        Self { description, config: "{}".to_owned(), by: Vec::new(), case: std::marker::PhantomData }
    }

    /// The configuration, JSON text.
    pub fn config(mut self, config: &str) -> Self {
        config.clone_into(&mut self.config);
        self
    }

    /// The fields whose values are the key of the state. They need not be fields the component reads.
    pub fn by(mut self, fields: &[&str]) -> Self {
        self.by = fields.iter().map(|field| (*field).to_owned()).collect();
        self
    }

    /// Runs NDJSON rows, a JSON object a line, through fresh instances in each cut.
    ///
    /// # Panics
    /// If a row is not as the component asks, if a call fails, or if the cuts answer differently.
    pub fn run(&self, rows: &str) -> Report {
        let lines: Vec<&str> = rows.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        MEASURED.take();
        let whole = self.cut(&lines, lines.len().max(1), TextForm::Offsets);
        let (log, measured) = (LINES.take(), MEASURED.take());
        for (rows_per_call, form, what) in [
            (lines.len().max(1), TextForm::Dictionary, "text as a dictionary"),
            (1, TextForm::Offsets, "one row a call in fresh instances"),
            (3, TextForm::Dictionary, "three rows a call in fresh instances"),
        ] {
            let other = self.cut(&lines, rows_per_call, form);
            assert_eq!(whole, other, "the answer depends on how rows are cut into batches: right is with {what}");
        }
        LINES.set(log);
        MEASURED.set(measured);
        whole
    }

    /// The error of opening with this configuration, if there is one.
    pub fn open(&self) -> Result<(), String> {
        C::open(&self.config).map(drop)
    }

    fn cut(&self, lines: &[&str], rows_per_call: usize, form: TextForm) -> Report {
        let mut report =
            Report { verdicts: Vec::new(), rows: Vec::new(), source_rows: Vec::new(), notes: Vec::new(), state: HashMap::new() };
        let mut states: HashMap<String, Vec<Cell>> = HashMap::new();
        for (index, lines) in lines.chunks(rows_per_call).enumerate() {
            let mut case = C::open(&self.config).unwrap_or_else(|error| panic!("open failed: {error}"));
            let first_row = index * rows_per_call;
            let rows: Vec<Value<'_>> = lines
                .iter()
                .enumerate()
                .map(|(row, line)| json::parse(line).unwrap_or_else(|error| panic!("row {}: {error}", first_row + row)))
                .collect();
            let answer = if C::IS_VALUE {
                self.values(&mut case, rows, first_row, form)
            } else {
                self.call(&mut case, &rows, first_row, form, &mut states)
            };
            report.verdicts.extend(answer.verdicts);
            report.rows.extend(answer.rows);
            report.source_rows.extend(answer.source_rows.into_iter().map(|row| row + first_row));
            report.notes.extend(answer.notes.into_iter().map(|note| (note.row as usize + first_row, note.text)));
        }
        let fields: Vec<_> = self.description.state.iter().map(|state| state.field).collect();
        report.state = states.into_iter().map(|(key, cells)| (key, cell::object(&fields, &cells))).collect();
        report
    }

    fn call(
        &self,
        case: &mut C,
        rows: &[Value<'_>],
        first_row: usize,
        form: TextForm,
        states: &mut HashMap<String, Vec<Cell>>,
    ) -> Answer {
        let mut buffer = Buffer::default();
        let mut columns = Vec::new();
        for field in &self.description.columns {
            let cells: Vec<Cell> = rows
                .iter()
                .enumerate()
                .map(|(row, value)| cell::of_row(field, value).unwrap_or_else(|error| panic!("row {}: {error}", first_row + row)))
                .collect();
            columns.push(cell::encode(field, &cells, form, &mut buffer));
        }
        let mut keys: Vec<String> = Vec::new();
        let mut state = Vec::new();
        let mut row_keys = 0;
        if !self.description.state.is_empty() {
            let row_key = |row: &Value<'_>| {
                let key = key(&self.by, row);
                keys.iter().position(|known| *known == key).unwrap_or_else(|| {
                    keys.push(key);
                    keys.len() - 1
                }) as u32
            };
            let numbers: Vec<u32> = rows.iter().map(row_key).collect();
            row_keys = buffer.put_words(numbers.iter().map(|key| key.to_le_bytes()));
            for (index, declared) in self.description.state.iter().enumerate() {
                let first = cell::first(declared);
                let cells: Vec<Cell> =
                    keys.iter().map(|key| states.get(key).map_or_else(|| first.clone(), |cells| cells[index].clone())).collect();
                state.push(cell::encode(&declared.field, &cells, form, &mut buffer));
            }
        }
        let call = Call { rows: rows.len(), columns: &columns, keys: keys.len(), row_keys, state: &state, data: &buffer.bytes };
        let mut raw = case.call(&call).unwrap_or_else(|error| panic!("the call failed: {error}"));
        let data = std::mem::take(&mut raw.buffer.bytes);
        let outputs = &self.description.outputs;
        let columns: Vec<Vec<Cell>> =
            outputs.iter().zip(&raw.columns).map(|(field, place)| cell::decode(field, place, raw.rows, &data)).collect();
        let of_row = |row: usize| columns.iter().map(|column| column[row].clone()).collect::<Vec<_>>();
        raw.answer.rows = (0..raw.rows)
            .map(|row| if C::IS_VALUE { cell::value(&outputs[0], &columns[0][row]) } else { cell::object(outputs, &of_row(row)) })
            .collect();
        let news: Vec<Vec<Cell>> = self
            .description
            .state
            .iter()
            .zip(&raw.state)
            .map(|(declared, place)| cell::decode(&declared.field, place, keys.len(), &data))
            .collect();
        for (index, key) in keys.into_iter().enumerate() {
            states.insert(key, news.iter().map(|column| column[index].clone()).collect());
        }
        raw.answer
    }

    /// A function's values: null where nobody asks.
    fn values(&self, case: &mut C, rows: Vec<Value<'_>>, first_row: usize, form: TextForm) -> Answer {
        let count = rows.len();
        let asked = |row: &(usize, Value<'_>)| !aggregate::has_null_argument(&self.description.columns, &row.1);
        let (places, asked): (Vec<usize>, Vec<Value<'_>>) = rows.into_iter().enumerate().filter(asked).unzip();
        let mut values = vec!["null".to_owned(); count];
        let mut answer = Answer { verdicts: Vec::new(), rows: Vec::new(), source_rows: Vec::new(), notes: Vec::new() };
        if !asked.is_empty() {
            answer = self.call(case, &asked, first_row, form, &mut HashMap::new());
        }
        places.iter().zip(answer.rows.drain(..)).for_each(|(place, value)| values[*place] = value);
        answer.notes.iter_mut().for_each(|note| note.row = places[note.row as usize] as u32);
        Answer { rows: values, ..answer }
    }
}

/// A row's key as JSON text.
fn key(by: &[String], row: &Value<'_>) -> String {
    let values: Vec<String> = by.iter().map(|field| cell::text(cell::member(row, field))).collect();
    format!("[{}]", values.join(","))
}

/// A rule or a transform under test.
pub trait Case: Sized {
    /// Whether it gives a value per row, and is not asked about a null where an argument is never null.
    const IS_VALUE: bool = false;
    /// A fresh instance.
    fn open(config: &str) -> Result<Self, String>;
    /// One call.
    fn call(&mut self, call: &Call<'_>) -> Result<Raw, String>;
}

/// An answer, its columns still as bytes.
#[derive(Debug)]
pub struct Raw {
    rows: usize,
    columns: Vec<Place>,
    state: Vec<Place>,
    buffer: Buffer,
    answer: Answer,
}

/// An answer, read.
#[derive(Debug)]
struct Answer {
    verdicts: Vec<bool>,
    rows: Vec<String>,
    source_rows: Vec<usize>,
    notes: Vec<Note>,
}

/// A rule under test.
#[derive(Debug)]
pub struct RuleCase<R>(R);

impl<R: Rule> Case for RuleCase<R> {
    fn open(config: &str) -> Result<Self, String> {
        R::open(config).map(Self)
    }

    fn call(&mut self, call: &Call<'_>) -> Result<Raw, String> {
        let mut answer = RuleAnswer::default();
        let evaluated = self.0.evaluate(call, &mut answer);
        metrics::end_batch(evaluated.is_ok());
        evaluated?;
        assert_eq!(answer.verdicts.len(), call.rows.div_ceil(8), "verdict bytes");
        let verdicts = (0..call.rows).map(|row| answer.verdicts[row / 8] >> (row % 8) & 1 == 1).collect();
        let RuleAnswer { columns, state, buffer, notes, .. } = answer;
        let answer = Answer { verdicts, rows: Vec::new(), source_rows: Vec::new(), notes };
        Ok(Raw { rows: call.rows, columns, state, buffer, answer })
    }
}

/// A function under test.
#[derive(Debug)]
pub struct FunctionCase<F>(F);

impl<F: Function> Case for FunctionCase<F> {
    const IS_VALUE: bool = true;

    fn open(config: &str) -> Result<Self, String> {
        F::open(config).map(Self)
    }

    fn call(&mut self, call: &Call<'_>) -> Result<Raw, String> {
        let mut answer = ValueAnswer::default();
        let computed = self.0.compute(call, &mut answer);
        metrics::end_batch(computed.is_ok());
        computed?;
        let ValueAnswer { columns, buffer, notes } = answer;
        let answer = Answer { verdicts: Vec::new(), rows: Vec::new(), source_rows: Vec::new(), notes };
        Ok(Raw { rows: call.rows, columns, state: Vec::new(), buffer, answer })
    }
}

/// A transform under test.
#[derive(Debug)]
pub struct TransformCase<T>(T);

impl<T: Transform> Case for TransformCase<T> {
    fn open(config: &str) -> Result<Self, String> {
        T::open(config).map(Self)
    }

    fn call(&mut self, call: &Call<'_>) -> Result<Raw, String> {
        let mut answer = TransformAnswer::default();
        let applied = self.0.apply(call, &mut answer);
        metrics::end_batch(applied.is_ok());
        applied?;
        let TransformAnswer { rows, source_rows, columns, state, buffer, notes } = answer;
        let (words, _) = buffer.bytes[source_rows as usize..][..rows * 4].as_chunks();
        let source_rows = words.iter().map(|row| u32::from_le_bytes(*row) as usize).collect();
        Ok(Raw { rows, columns, state, buffer, answer: Answer { verdicts: Vec::new(), rows: Vec::new(), source_rows, notes } })
    }
}

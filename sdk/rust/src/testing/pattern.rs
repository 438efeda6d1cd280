//! Tests of patterns: the pattern as the host is told it, and what the author's functions answer. Which rows then make a match is the
//! host's affair: `tidemill test` finds them in a file of events.

use super::cell::{self, Cell, TextForm};
use crate::call::{Call, PatternAnswer};
use crate::event::Event;
use crate::field::Field;
use crate::json;
use crate::output::{Buffer, Output};
use crate::pattern::{Declared, Opened};

/// A test of the pattern `D`: `testing::pattern::<BruteForce>()`.
pub fn pattern<D: Declared>() -> PatternTest<D> {
    PatternTest { config: "{}".to_owned(), detector: std::marker::PhantomData }
}

/// A test under way.
#[derive(Debug)]
pub struct PatternTest<D> {
    config: String,
    detector: std::marker::PhantomData<D>,
}

impl<D: Declared> PatternTest<D> {
    /// The configuration, JSON text.
    pub fn config(mut self, config: &str) -> Self {
        config.clone_into(&mut self.config);
        self
    }

    /// The error of opening with this configuration, if there is one.
    pub fn open(&self) -> Result<(), String> {
        Opened::<D>::open(&self.config).map(drop)
    }

    fn opened(&self) -> Opened<D> {
        Opened::open(&self.config).unwrap_or_else(|error| panic!("open failed: {error}"))
    }

    /// The pattern, JSON as it stands behind `pattern:` in a pipeline.
    pub fn definition(&self) -> String {
        self.opened().definition().text.clone()
    }

    /// For each predicate, in the order of the stages: which of the rows (NDJSON) fit.
    ///
    /// # Panics
    /// If a row is not as the component asks, or if the answers hang on how text crosses.
    pub fn judge(&self, rows: &str) -> Vec<Vec<bool>> {
        let opened = self.opened();
        let stretches = opened.definition().predicates();
        self.same(rows, D::Event::FIELDS, |call, answer| opened.judge(call, answer), |rows, answer| told(rows, stretches, answer))
    }

    /// Whether the rows, which have the fields of what a run has taken too (`"avg(small.amount)": 3.5`), fit the condition of that number.
    ///
    /// # Panics
    /// As [`PatternTest::judge`].
    pub fn ask(&self, condition: u32, rows: &str) -> Vec<bool> {
        let opened = self.opened();
        let fields: Vec<Field> = D::Event::FIELDS.iter().chain(D::SoFar::FIELDS).copied().collect();
        let all = opened.definition().conditions();
        let ask = |call: &Call<'_>, answer: &mut PatternAnswer| {
            let mut data = call.data.to_vec();
            data.resize(data.len().next_multiple_of(8), 0);
            let row_keys = data.len() as u32;
            (0..call.rows).for_each(|_| data.extend_from_slice(&condition.to_le_bytes()));
            opened.ask(&Call { keys: all, row_keys, data: &data, ..*call }, answer);
        };
        self.same(rows, &fields, ask, |rows, answer| told(rows, 1, answer)).pop().unwrap_or_default()
    }

    /// The rows that matches become, JSON; `None` where there is none. The rows given have the fields of `Found`.
    ///
    /// # Panics
    /// As [`PatternTest::judge`], or if a match is rejected.
    pub fn shape(&self, matches: &str) -> Vec<Option<String>> {
        let opened = self.opened();
        let outputs = D::Output::FIELDS;
        let rows_of = |rows: usize, answer: &PatternAnswer| {
            assert!(answer.notes.is_empty(), "rejected: {:?}", answer.notes);
            let columns: Vec<Vec<Cell>> = outputs
                .iter()
                .zip(&answer.columns)
                .map(|(field, place)| cell::decode(field, place, rows, &answer.buffer.bytes))
                .collect();
            let row = |row: usize| {
                let cells: Vec<Cell> = columns.iter().map(|column| column[row].clone()).collect();
                told(rows, 1, answer)[0][row].then(|| cell::object(outputs, &cells))
            };
            (0..rows).map(row).collect()
        };
        self.same(matches, D::Found::FIELDS, |call, answer| opened.shape(call, answer), rows_of)
    }

    /// What comes of rows, whichever way their texts cross.
    fn same<T: PartialEq + std::fmt::Debug>(
        &self,
        rows: &str,
        fields: &[Field],
        call: impl Fn(&Call<'_>, &mut PatternAnswer),
        told: impl Fn(usize, &PatternAnswer) -> T,
    ) -> T {
        let lines: Vec<&str> = rows.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        let one = |form: TextForm| {
            let mut buffer = Buffer::default();
            let of_row = |field: &Field, line: &&str| {
                let value = json::parse(line).unwrap_or_else(|error| panic!("{line}: {error}"));
                cell::of_row(field, &value).unwrap_or_else(|error| panic!("{line}: {error}"))
            };
            let columns: Vec<_> = fields
                .iter()
                .map(|field| {
                    let cells: Vec<Cell> = lines.iter().map(|line| of_row(field, line)).collect();
                    cell::encode(field, &cells, form, &mut buffer)
                })
                .collect();
            let mut answer = PatternAnswer::default();
            let rows = lines.len();
            call(&Call { rows, columns: &columns, keys: 0, row_keys: 0, state: &[], data: &buffer.bytes }, &mut answer);
            crate::metrics::end_batch(true);
            told(rows, &answer)
        };
        let offsets = one(TextForm::Offsets);
        assert_eq!(offsets, one(TextForm::Dictionary), "the answer depends on how text crosses");
        offsets
    }
}

/// Stretches of bits.
fn told(rows: usize, stretches: usize, answer: &PatternAnswer) -> Vec<Vec<bool>> {
    let bytes = rows.div_ceil(8);
    assert_eq!(answer.bits.len(), stretches * bytes, "bytes of bits");
    let stretch = |at: usize| (0..rows).map(|row| answer.bits[at * bytes + row / 8] >> (row % 8) & 1 == 1).collect();
    (0..stretches).map(stretch).collect()
}

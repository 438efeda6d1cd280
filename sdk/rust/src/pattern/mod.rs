//! Patterns: which rows of a key follow each other. The component says it once, with a [`Pattern`], and answers for rows; the host follows
//! the runs of every key. [`Opened`] is the loops around the author's functions.

mod builder;
mod definition;
mod predicate;

pub use builder::{Part, Pattern};
pub use definition::Definition;

use crate::abi::trusted::Row;
use crate::call::{Call, PatternAnswer};
use crate::config::Config;
use crate::event::Event;
use crate::field::Field;
use crate::output::{Builders, Output};
use crate::reject::Reject;

/// A row of `E`, borrowed from a batch.
pub type RowOf<'a, E> = <E as Event>::Row<'a>;

/// Whether a row fits what a run has taken so far.
pub type FitsRun<D> = for<'b, 'r, 's, 'c> fn(
    &'b RowOf<'r, <D as Detector>::Event>,
    &'b RowOf<'s, <D as Detector>::SoFar>,
    &'c <D as Detector>::Config,
) -> bool;

/// A component that finds rows that belong together. `#[pattern]` on the `impl` makes it one that a host can call.
///
/// It keeps nothing: the host follows the runs, and hands over what is asked about.
pub trait Detector: Sized + 'static {
    /// Its configuration; `()` for none.
    type Config: Config;
    /// What its stages look at in a row.
    type Event: Event;
    /// What conditions read of a run, `()` if none does. A field is called what it is: `#[event(name = "avg(small.amount)")]`.
    type SoFar: Event;
    /// What [`Detector::shape`] reads of a match: columns of the pipeline's `by`, `match_start`, `match_end`, and what a pattern's `select`
    /// may say, `#[event(name = "last(large.amount)")]`. `()` without `shape`.
    type Found: Event;
    /// The row that a match becomes, behind the key's columns, `match_start` and `match_end`; `()` without `shape`.
    type Output: Output;

    /// The pattern with this configuration.
    fn pattern(config: &Self::Config) -> Pattern<Self>;

    /// The row of a match; `None`: there is none. An error sends the match to the dead letters. Without it a match is what the pattern's
    /// `select` says.
    fn shape<'a>(
        _found: &RowOf<'a, Self::Found>,
        _config: &'a Self::Config,
    ) -> Result<Option<<Self::Output as Output>::At<'a>>, Reject> {
        Ok(None)
    }
}

/// What `#[pattern]` adds to an `impl`.
pub trait Declared: Detector {
    /// Its doc comment.
    const DOC: &'static str;
    /// Whether it has a `shape`.
    const SHAPES: bool;
}

/// What a pattern declares.
#[derive(Debug, Clone)]
pub struct Description {
    /// For people.
    pub doc: &'static str,
    /// Columns of a row.
    pub columns: &'static [Field],
    /// What conditions read of a run.
    pub so_far: &'static [Field],
    /// What `shape` reads of a match.
    pub found: &'static [Field],
    /// What it makes.
    pub outputs: &'static [Field],
    /// Whether it is asked.
    pub shapes: bool,
}

/// A pattern as the host calls it.
pub struct Opened<D: Detector> {
    config: D::Config,
    definition: Definition<D>,
}

impl<D: Declared> Opened<D> {
    /// With this configuration (JSON text).
    pub fn open(config: &str) -> Result<Self, String> {
        let config = crate::config::read::<D::Config>(config)?;
        let definition = Definition::of(&D::pattern(&config));
        Ok(Self { config, definition })
    }

    /// What it reads and makes.
    pub fn describe() -> Description {
        Description {
            doc: D::DOC,
            columns: D::Event::FIELDS,
            so_far: D::SoFar::FIELDS,
            found: D::Found::FIELDS,
            outputs: D::Output::FIELDS,
            shapes: D::SHAPES,
        }
    }

    /// The pattern.
    pub fn definition(&self) -> &Definition<D> {
        &self.definition
    }

    /// Which rows fit which predicate.
    pub fn judge(&self, call: &Call<'_>, answer: &mut PatternAnswer) {
        let columns = D::Event::bind(call);
        for predicate in &self.definition.predicates {
            predicate.judge(&columns, call.rows, &self.config, &mut answer.bits);
        }
    }

    /// Whether rows fit what runs have taken. A condition there is none of is no.
    pub fn ask(&self, call: &Call<'_>, answer: &mut PatternAnswer) {
        let columns = D::Event::bind(call);
        // What runs have taken stands behind what the rows have.
        let behind = call.columns.get(D::Event::FIELDS.len()..).unwrap_or_default();
        let so_far = D::SoFar::bind(&Call { columns: behind, ..*call });
        let asked = call.row_keys();
        let fits = |row: usize| {
            let place = Row::of(row, call.rows);
            let condition = self.definition.conditions.get(u32::from_le_bytes(asked[row]) as usize);
            condition
                .is_some_and(|condition| condition(&D::Event::row(&columns, place), &D::SoFar::row(&so_far, place), &self.config))
        };
        bits(call.rows, fits, &mut answer.bits);
    }

    /// Rows of matches.
    pub fn shape(&self, call: &Call<'_>, answer: &mut PatternAnswer) {
        let columns = D::Found::bind(call);
        let mut builders = <D::Output as Output>::Builders::default();
        let PatternAnswer { bits: told, notes, .. } = answer;
        let give = |row: usize| match D::shape(&D::Found::row(&columns, Row::of(row, call.rows)), &self.config) {
            Ok(Some(output)) => {
                output.append(&mut builders);
                true
            }
            Ok(None) => {
                builders.append_nothing();
                false
            }
            Err(reject) => {
                builders.append_nothing();
                notes.push(reject.note(row as u32));
                false
            }
        };
        bits(call.rows, give, told);
        builders.finish(&mut answer.buffer, &mut answer.columns);
    }
}

/// A stretch of bits, the lowest of its first byte is row 0.
#[inline]
fn bits(rows: usize, mut yes: impl FnMut(usize) -> bool, to: &mut Vec<u8>) {
    to.reserve(rows.div_ceil(8));
    for start in (0..rows).step_by(8) {
        let byte = (start..rows.min(start + 8)).fold(0u8, |byte, row| byte | u8::from(yes(row)) << (row - start));
        to.push(byte);
    }
}

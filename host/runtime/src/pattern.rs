//! A pattern: what it declares beside columns, what it says the pattern is, and its answers read out of their buffer. What is believed of
//! them: bits for as many rows and predicates as there are, columns as declared. What the pattern means is for whoever plans it.

use arrow_array::{ArrayRef, BooleanArray};
use arrow_buffer::{BooleanBuffer, Buffer};
use tidemill_event::{Field, RuleAnswer, Usage};

use crate::answer::PatternParts;
use crate::decode::{self, Invalid};
use crate::description::{Description, fields};
use crate::limits::{PATTERN_BYTES_MAX, PREDICATES_MAX};
use crate::wire::{WireDefinition, WireField};

/// What a pattern reads of runs and of matches. Of any other component: nothing.
#[derive(Debug, Clone, PartialEq)]
pub struct Matching {
    /// What conditions read of a run; the name of each says what it is: `avg(small.amount)`.
    pub so_far: Vec<Field>,
    /// What it reads of a match to make a row of it.
    pub found: Vec<Field>,
    /// Whether it makes rows of matches.
    pub shapes: bool,
    /// The columns of a question: those of the row, then `so_far`.
    pub(crate) asked: Vec<Field>,
}

/// What an instance says its pattern is, by its configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PatternText {
    /// JSON, as a pipeline has it.
    pub text: String,
    /// Predicates over a row, numbered from 0.
    pub predicates: usize,
    /// Conditions over a row and a run, numbered from 0.
    pub conditions: usize,
}

impl Matching {
    pub(crate) fn none() -> Self {
        Self { so_far: Vec::new(), found: Vec::new(), shapes: false, asked: Vec::new() }
    }

    pub(crate) fn new(
        so_far: Vec<WireField>,
        found: Vec<WireField>,
        shapes: bool,
        described: &Description,
    ) -> Result<Self, String> {
        let so_far = fields("field of a run", so_far)?;
        let found = fields("field of a match", found)?;
        if !(shapes || found.is_empty() && described.outputs.is_empty()) {
            return Err("it makes no rows of matches, but says what it reads of them or makes".to_owned());
        }
        let asked: Vec<Field> = described.columns.iter().chain(&so_far).cloned().collect();
        if let Some(field) = so_far.iter().find(|field| described.columns.iter().any(|column| column.name == field.name)) {
            return Err(format!("`{}` is a column of the row and a field of the run", field.name));
        }
        Ok(Self { so_far, found, shapes, asked })
    }
}

impl PatternText {
    /// What an instance answered; an error says what is too much.
    pub(crate) fn new(definition: WireDefinition) -> Result<Self, Invalid> {
        let WireDefinition { pattern, predicates, conditions } = definition;
        if pattern.len() > PATTERN_BYTES_MAX {
            return Err(Invalid(format!("its pattern has {} bytes; at most {PATTERN_BYTES_MAX} are taken", pattern.len())));
        }
        let (predicates, conditions) = (predicates as usize, conditions as usize);
        if predicates > PREDICATES_MAX || conditions > PREDICATES_MAX {
            let error =
                format!("it has {predicates} predicates and {conditions} conditions; at most {PREDICATES_MAX} are allowed");
            return Err(Invalid(error));
        }
        Ok(Self { text: pattern, predicates, conditions })
    }
}

/// The answer of `judge` as that of a rule that says yes to every row and adds a column for each predicate.
pub(crate) fn judged(parts: PatternParts, rows: usize, predicates: usize, usage: Usage) -> Result<RuleAnswer, Invalid> {
    let PatternParts { bits, columns, notes, .. } = parts;
    no_columns(columns.len())?;
    let columns = stretches(bits.into_buffer(), rows, predicates)?.into_iter().map(|bits| std::sync::Arc::new(bits) as ArrayRef);
    let verdicts = BooleanArray::new(BooleanBuffer::new_set(rows), None);
    Ok(RuleAnswer { verdicts, columns: columns.collect(), state: None, notes: decode::notes(notes, rows)?, usage })
}

/// The answer of `ask`: yes or no.
pub(crate) fn asked(parts: PatternParts, rows: usize, usage: Usage) -> Result<RuleAnswer, Invalid> {
    let PatternParts { bits, columns, notes, .. } = parts;
    no_columns(columns.len())?;
    let verdicts = decode::verdicts(bits.into_buffer(), rows)?;
    Ok(RuleAnswer { verdicts, columns: Vec::new(), state: None, notes: decode::notes(notes, rows)?, usage })
}

/// The answer of `shape`: which matches become rows, and their columns.
pub(crate) fn shaped(
    parts: PatternParts,
    rows: usize,
    outputs: &[Field],
    nothing: &Buffer,
    usage: Usage,
) -> Result<RuleAnswer, Invalid> {
    let PatternParts { bits, columns, data, notes } = parts;
    let verdicts = decode::verdicts(bits.into_buffer(), rows)?;
    let columns = decode::columns("output", outputs, &columns, rows, data.shared(nothing))?;
    Ok(RuleAnswer { verdicts, columns, state: None, notes: decode::notes(notes, rows)?, usage })
}

fn no_columns(columns: usize) -> Result<(), Invalid> {
    match columns {
        0 => Ok(()),
        _ => Err(Invalid(format!("{columns} columns in an answer that has none"))),
    }
}

/// Stretches of bits, one behind the other.
fn stretches(bits: Buffer, rows: usize, count: usize) -> Result<Vec<BooleanArray>, Invalid> {
    let bytes = rows.div_ceil(8);
    if bits.len() != bytes * count {
        let error = format!("{} bytes of bits for {count} predicates and {rows} rows, which take {bytes} each", bits.len());
        return Err(Invalid(error));
    }
    Ok((0..count)
        .map(|at| BooleanArray::new(BooleanBuffer::new(bits.slice_with_length(at * bytes, bytes), 0, rows), None))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_are_those_of_each_predicate() {
        let bits = Buffer::from_vec(vec![0b0000_0101_u8, 0b1, 0, 0]);
        let told = stretches(bits.clone(), 9, 2).expect("four bytes");
        let yes = |bits: &BooleanArray| bits.values().set_indices().collect::<Vec<_>>();
        assert_eq!((yes(&told[0]), yes(&told[1])), (vec![0, 2, 8], vec![]));
        assert_eq!(told[1].len(), 9);
        let Invalid(error) = stretches(bits, 8, 2).expect_err("two bytes too many");
        assert_eq!(error, "4 bytes of bits for 2 predicates and 8 rows, which take 1 each");
    }
}

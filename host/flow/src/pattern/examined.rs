//! What can be said of a pattern before it meets a row: how large its automaton is, which state fits it, and what may become of it.

use std::fmt;
use std::sync::Arc;

use crate::checksum::checksum;
use crate::pattern::PatternRefused;
use crate::pattern::compile::compile;
use crate::pattern::shape::{Body, Element, Inner, Pattern};

/// A pattern that is not refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Examined {
    /// States of its automaton.
    pub states: usize,
    /// Runs of a pattern go on in another one if that has the same. What conditions say is not part of it.
    pub fingerprint: u64,
    /// What its author may not have meant.
    pub warnings: Vec<PatternWarning>,
}

/// What a pattern may do to memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PatternWarning {
    /// Nothing ends a run that waits.
    NoWindow,
    /// A loop has every subset of its events as a run of its own, and nothing ends it.
    Combinations(Arc<str>),
}

impl fmt::Display for PatternWarning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoWindow => write!(f, "without `within` a run that finds no end is kept until `runs_max` ends it"),
            Self::Combinations(stage) => write!(
                f,
                "`{stage}` follows every combination of its events, 2^n runs of n events, and neither `within` nor `until` ends them before `runs_max` does"
            ),
        }
    }
}

impl Pattern {
    /// Compiles it, and looks at what came of it. Errors: it is refused.
    pub fn examine(&self) -> Result<Examined, PatternRefused> {
        let automaton = compile(self)?;
        let of_states = format!("{:?} {:?}", automaton.start, automaton.states);
        let mut warnings = Vec::new();
        if self.within.is_none() {
            let is_one_event = |element: &Element| matches!(element.body, Body::Stage(_)) && element.quantifier.max == Some(1);
            // A single event waits for nothing.
            if self.elements.len() > 1 || !self.elements.iter().all(is_one_event) {
                warnings.push(PatternWarning::NoWindow);
            }
            combinations(&self.elements, &mut warnings);
        }
        Ok(Examined { states: automaton.states.len(), fingerprint: checksum(0, of_states.as_bytes()), warnings })
    }
}

fn combinations(elements: &[Element], warnings: &mut Vec<PatternWarning>) {
    for element in elements {
        let is_endless = element.quantifier.inner == Inner::Combinations && element.quantifier.max.is_none();
        match &element.body {
            Body::Stage(stage) if is_endless && stage.until.is_none() => {
                warnings.push(PatternWarning::Combinations(stage.name.clone()));
            }
            Body::Stage(_) => {}
            Body::Group(row) | Body::AnyOrder(row) => combinations(row, warnings),
            Body::OneOf(rows) => rows.iter().for_each(|row| combinations(row, warnings)),
        }
    }
}

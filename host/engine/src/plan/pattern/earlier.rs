//! Which stages may have events when a stage is judged: those before it, and in a loop those behind it, from an earlier round.
//!
//! A condition that asks any other is always null, and its author meant something else.
//! ```text
//! a  (b c)+  {d | e}  [f g]        a: a     b, c: a b c     d: a b c d     e: a b c e     f, g: all
//! ```

use std::collections::{BTreeSet, HashMap};

use tidemill_expr::ExpressionError;

use crate::pipeline::{StageBody, StageElement};

type Names = BTreeSet<String>;

/// For each stage the names of those that may have events by then. A stage itself is among them.
#[derive(Default)]
pub(super) struct Earlier(HashMap<String, Names>);

impl Earlier {
    pub(super) fn of(elements: &[StageElement]) -> Self {
        let mut earlier = Self::default();
        earlier.row(elements, &Names::new());
        earlier
    }

    /// Errors: `asked` can have no event when `judged` asks for it.
    pub(super) fn check(&self, judged: &str, asked: &str) -> Result<(), ExpressionError> {
        if self.0.get(judged).is_none_or(|known| known.contains(asked)) {
            return Ok(());
        }
        let error = format!("`{asked}` can have no event yet when `{judged}` is judged");
        let remedy = format!("ask a stage that comes before `{judged}`, or put the condition at `{asked}`");
        Err(ExpressionError::new(error, remedy))
    }

    /// What may have events behind the row.
    fn row(&mut self, elements: &[StageElement], before: &Names) -> Names {
        elements.iter().fold(before.clone(), |known, element| self.element(element, known))
    }

    fn element(&mut self, element: &StageElement, before: Names) -> Names {
        let mut own = Vec::new();
        StageElement::names(std::slice::from_ref(element), &mut own);
        let mut behind = before.clone();
        behind.extend(own.into_iter().map(|(name, _)| name.text.clone()));
        // A further round knows all of the one before it; in any order each may come last.
        let is_loop = element.quantifier.max != Some(1);
        let inside = if is_loop || matches!(element.body, StageBody::AnyOrder(_)) { behind.clone() } else { before };
        match &element.body {
            StageBody::Stage { name, .. } => {
                self.0.insert(name.text.clone(), behind.clone());
            }
            StageBody::Group(row) | StageBody::AnyOrder(row) => {
                self.row(row, &inside);
            }
            StageBody::OneOf(rows) => {
                for row in rows {
                    self.row(row, &inside);
                }
            }
        }
        behind
    }
}

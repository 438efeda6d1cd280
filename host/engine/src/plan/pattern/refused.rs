//! Patterns that are refused: at the stage it is about, with what to write instead.

use tidemill_flow::pattern::PatternRefused;

use crate::pipeline::{PatternDefinition, StageElement, Text};
use crate::plan::check::Checker;

impl Checker<'_> {
    pub(super) fn refuse_pattern(
        &mut self,
        path: &str,
        wanted: &PatternDefinition,
        names: &[(&Text, &StageElement)],
        refused: &PatternRefused,
    ) {
        let (stage, remedy) = about(refused);
        // Of two stages of one name the second is the one too many.
        let of_stage = |name: &str| names.iter().rev().find(|(known, _)| known.text == name);
        let (path, line) = match stage.and_then(of_stage) {
            Some((name, element)) => (element.path.clone(), name.line),
            None => (path.to_owned(), wanted.line),
        };
        self.fault(path, line, refused.to_string(), remedy);
    }
}

/// The stage that is meant, and what to do.
fn about(refused: &PatternRefused) -> (Option<&str>, &'static str) {
    match refused {
        PatternRefused::Empty => (None, "write a stage: `{begin: a, where: amount > 500}`"),
        PatternRefused::NameTwice(name) => (Some(name), "give one of them another name"),
        PatternRefused::NegationQuantified(name) => {
            (Some(name), "remove `times`, `optional`, `greedy`, `inner`, `gap` and `until`: nothing is taken there")
        }
        PatternRefused::NegatedGroup => (None, "negate a single stage, and say in its `where` what must not come"),
        PatternRefused::NegationAfterOptional(name) => {
            (Some(name), "put a stage that must be there between them, or write `one_of` with and without the optional one")
        }
        PatternRefused::NegationFirst(name) => (Some(name), "begin with a stage that has an event"),
        PatternRefused::NegationInAnyOrder(name) => (Some(name), "put it before or behind the `any_order`"),
        PatternRefused::NegationWithoutWindow(name) => (Some(name), "add `within: 60s` beside `stages`"),
        PatternRefused::UntilWithoutLoop(name) => (Some(name), "write `times: 1..`, or remove `until`"),
        PatternRefused::GreedWithoutLoop(name) => (Some(name), "write `times: 1..`, or remove it"),
        PatternRefused::GreedyGroup => (None, "remove `greedy` and `reluctant` from the group; its last stage may have them"),
        PatternRefused::GreedyCombinations(name) => (Some(name), "keep one of `greedy` and `inner: combinations`"),
        PatternRefused::OptionalAfterGreedy(name) => {
            (Some(name), "remove `greedy` from the stage before, or `optional` from this one")
        }
        PatternRefused::TimesReversed(name, ..) => {
            (Some(name), "write the smaller number first, and at least 1 last: `times: 2..5`")
        }
        PatternRefused::SkipTargetUnknown(_) => (None, "skip to one of the stages by its name: `skip: {first: a}`"),
        PatternRefused::SkipTargetNegated(name) => (Some(name), "skip to a stage that has events"),
        PatternRefused::WindowsReversed => (None, "make `within_last` the shorter one, or leave it out"),
        PatternRefused::WindowOutOfRange => (None, "write a length such as `60s` or `1d`"),
        PatternRefused::TooManyPredicates => (None, "compute what conditions have in common in an `extend` step before"),
        PatternRefused::TooLarge => (None, "make `times` smaller, or its upper bound open: `times: 3..`"),
        PatternRefused::TooManyOrders => (None, "split the pattern in two, one behind the other"),
    }
}

//! What becomes of partial matches that are open when a plan is changed: they go on, are brought to their end, or are dropped.

use serde::Serialize;

use crate::plan::difference::Before;
use crate::plan::{Plan, PlannedKind, PlannedPattern};

/// So many, of so many keys.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct PartialMatches {
    /// Partial matches; of a `match_recognize` keys that wait for rows.
    pub partial_matches: u64,
    /// Keys that have some.
    pub keys: u64,
}

impl PartialMatches {
    /// As people read it.
    fn shown(self) -> String {
        let of = |count: u64, one: &str, more: &str| format!("{count} {}", if count == 1 { one } else { more });
        let runs = of(self.partial_matches, "partial match", "partial matches");
        format!("{runs} of {}", of(self.keys, "key", "keys"))
    }

    fn is_or_are(self) -> &'static str {
        if self.partial_matches == 1 { "is" } else { "are" }
    }
}

/// A pattern of a step before the change.
struct Was {
    /// Its name and what its state hangs on.
    identity: (String, String),
    /// What of it is open; `None`: nobody knows.
    open: Option<PartialMatches>,
}

/// A pattern of the step behind it.
struct Is {
    identity: (String, String),
    drains: bool,
}

/// What becomes of each pattern of a step.
pub(super) struct Fates {
    was: Vec<Was>,
    is: Vec<Is>,
    /// It is one of a list.
    is_list: bool,
}

impl Fates {
    /// For what holds no patterns.
    pub(super) fn of_nothing() -> Self {
        Self { was: Vec::new(), is: Vec::new(), is_list: false }
    }

    /// Of the step that was `was`, and goes on with its state as `is` of a plan; `None`: no step goes on with it.
    pub(super) fn new(before: Before<'_>, was: Option<usize>, is: Option<(&Plan, usize)>) -> Self {
        let Some((plan, step)) = before.plan.zip(was) else { return Self::of_nothing() };
        let open = |at: usize| {
            let open = before.open?.get(&(step as u32)).and_then(|patterns| patterns.get(at));
            // A step that no task has told of holds nothing.
            Some(open.map_or_else(PartialMatches::default, |open| PartialMatches { partial_matches: open.runs, keys: open.keys }))
        };
        let is_list = matches!(plan.steps.get(step).map(|step| &step.kind), Some(PlannedKind::Patterns(_)));
        let was = patterns_of(plan, step).into_iter().enumerate();
        let was = was.map(|(at, Is { identity, .. })| Was { identity, open: open(at) }).collect();
        let is = is.map_or_else(Vec::new, |(plan, step)| patterns_of(plan, step));
        Self { was, is, is_list }
    }

    /// What follows for one of a list: of the pattern that was at `was` and is at `is`.
    pub(super) fn of_entry(&self, was: Option<usize>, is: Option<usize>) -> Option<String> {
        let was = self.was.get(was?)?;
        let goes_on = is.and_then(|is| self.is.get(is)).filter(|is| is.identity == was.identity);
        Some(match (goes_on, was.open) {
            (Some(Is { drains: true, .. }), Some(open)) => format!("{} {} brought to an end", open.shown(), open.is_or_are()),
            (Some(Is { drains: true, .. }), None) => "what is open is brought to an end".to_owned(),
            (Some(_), Some(open)) => format!("{} {} kept", open.shown(), open.is_or_are()),
            (Some(_), None) => "what is open is kept".to_owned(),
            (None, None) => "what is open is dropped".to_owned(),
            (None, Some(PartialMatches { partial_matches: 0, .. })) => "nothing of it is open".to_owned(),
            (None, Some(open)) => format!("{} {} DROPPED", open.shown(), open.is_or_are()),
        })
    }

    /// What is dropped, of all its patterns.
    pub(super) fn dropped(&self) -> Option<PartialMatches> {
        let sum = self.lost().filter_map(|was| was.open).fold(PartialMatches::default(), |sum, open| PartialMatches {
            partial_matches: sum.partial_matches + open.partial_matches,
            keys: sum.keys + open.keys,
        });
        (sum != PartialMatches::default()).then_some(sum)
    }

    /// What follows for the step as a whole; entries of a list that goes on say it themselves.
    pub(super) fn line(&self) -> Option<String> {
        if self.is_list && !self.is.is_empty() {
            return None;
        }
        self.lost().next()?;
        if self.lost().any(|was| was.open.is_none()) {
            return Some("partial matches that are open are dropped; how many nobody can say while it does not run".to_owned());
        }
        let dropped = self.dropped()?;
        Some(format!("{} {} DROPPED", dropped.shown(), dropped.is_or_are()))
    }

    fn lost(&self) -> impl Iterator<Item = &Was> {
        self.was.iter().filter(|was| self.is.iter().all(|is| is.identity != was.identity))
    }
}

/// The patterns of a step, in the order of the text.
fn patterns_of(plan: &Plan, step: usize) -> Vec<Is> {
    let of = |name: &str, planned: &PlannedPattern| Is {
        identity: (name.to_owned(), planned.state.shape.clone()),
        drains: planned.draining,
    };
    match plan.steps.get(step).map(|step| &step.kind) {
        Some(PlannedKind::Pattern(planned)) => vec![of("", planned)],
        Some(PlannedKind::Patterns(list)) => list.patterns.iter().map(|(name, planned)| of(name, planned)).collect(),
        Some(PlannedKind::Match(planned)) => {
            vec![Is { identity: (String::new(), planned.state.shape.clone()), drains: false }]
        }
        _ => Vec::new(),
    }
}

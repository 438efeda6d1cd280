//! The last step of compiling: what costs no event is followed at once, so that each state lists all that an event may do to a run in it.

use crate::pattern::automaton::{Move, NO_PATIENCE, State, StateId, Then};
use crate::pattern::compile::{Draft, Edge, Way};
use crate::pattern::condition::Condition;

/// Moves of all states together; a pattern with more is too large.
const MOVES_MAX: usize = 1 << 20;

/// `None`: too large.
pub(crate) fn flatten(drafts: &[Draft], end: StateId) -> Option<Vec<State>> {
    let mut count = 0;
    (0u32..)
        .zip(drafts)
        .map(|(number, draft)| {
            let (mut moves, mut ends) = (Vec::new(), Vec::new());
            let is_small = closure(drafts, end, StateId(number), &mut |edge, when| {
                count += 1;
                let then = match edge.way {
                    Way::Take(stage) => Then::Take(stage, edge.to),
                    Way::Ignore => Then::Ignore(edge.to),
                    Way::Stop(_) => Then::Stop,
                    Way::Proceed => return ends.push(when),
                };
                moves.push(Move { when, then, patience: edge.patience });
            });
            // Stops have no patience of their own.
            let patience = moves.iter().filter(|step| step.then != Then::Stop).map(|step| step.patience).max();
            let patience = patience.unwrap_or(NO_PATIENCE);
            // Who may go on with a loop waits for the absence behind it as well.
            let is_absence = draft.is_absence || waits_for_absence(drafts, end, StateId(number), &mut Vec::new());
            (is_small && count <= MOVES_MAX).then_some(State { moves, ends, patience, is_absence })
        })
        .collect()
}

/// Tells all edges that can be reached without an event, with all that has to hold on the way; a proceed is told only if it reaches the end. Answers
/// whether there were not too many.
pub(crate) fn closure(drafts: &[Draft], end: StateId, from: StateId, tell: &mut dyn FnMut(&Edge, Condition)) -> bool {
    let mut path = Vec::new();
    let mut left = MOVES_MAX;
    walk(drafts, end, from, &Condition::always(), &mut path, &mut left, tell);
    left > 0
}

fn walk(
    drafts: &[Draft],
    end: StateId,
    at: StateId,
    way: &Condition,
    path: &mut Vec<StateId>,
    left: &mut usize,
    tell: &mut dyn FnMut(&Edge, Condition),
) {
    path.push(at);
    for edge in &drafts[at.0 as usize].edges {
        let when = edge.when.clone().and(way);
        if when.is_contradiction() || *left == 0 {
            continue;
        }
        *left -= 1;
        match edge.way {
            // Elements that may all be left out, in a loop, lead back to where one comes from.
            Way::Proceed if path.contains(&edge.to) => {}
            Way::Proceed if edge.to == end => tell(edge, when),
            Way::Proceed => walk(drafts, end, edge.to, &when, path, left, tell),
            Way::Take(_) | Way::Ignore | Way::Stop(_) => tell(edge, when),
        }
    }
    path.pop();
}

fn waits_for_absence(drafts: &[Draft], end: StateId, at: StateId, seen: &mut Vec<StateId>) -> bool {
    if at == end || seen.contains(&at) {
        return false;
    }
    seen.push(at);
    let draft = &drafts[at.0 as usize];
    let mut ways = draft.edges.iter().filter(|edge| edge.way == Way::Proceed);
    draft.is_absence || ways.any(|edge| waits_for_absence(drafts, end, edge.to, seen))
}

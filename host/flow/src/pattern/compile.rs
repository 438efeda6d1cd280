//! Pattern → automaton. Elements are laid down from the last to the first, each knowing where to go behind it: stages and their loops (`rounds.rs`),
//! groups (`groups.rs`), and how far negations and greedy loops reach (`reach.rs`).
//!
//! ```text
//!  a  followed_by b+  followed_by c            a ──take──► b ──take──► b.. ──proceed──► c ──take──► end
//!                                              │ignore ¬a   │ignore ¬b   │take b  ▲
//!                                              └──┘         └──┘         └ignore─► (b.. alone) ┘take b
//! ```
//! *Proceed* costs no event: who waits in `b..` waits in `c` as well. Behind the last step proceeds are gone (`flatten.rs`): a state says at once all that
//! an event may do. A state that may be passed by has a twin without the way past it, into which an ignored event leads, so that no way is gone twice.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use crate::pattern::automaton::{Automaton, NO_PATIENCE, StageId, State, StateId, Then};
use crate::pattern::condition::Condition;
use crate::pattern::flatten::flatten;
use crate::pattern::refused::{PREDICATES_MAX, PatternRefused, STATES_MAX, check};
use crate::pattern::shape::{Body, Contiguity, Element, Inner, Pattern, PredicateId, Stage};

/// Where an edge leads, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    Take(StageId),
    Ignore,
    Proceed,
    /// Fatal.
    Stop(StageId),
}

#[derive(Debug, Clone)]
pub(crate) struct Edge {
    pub(crate) way: Way,
    pub(crate) when: Condition,
    pub(crate) to: StateId,
    pub(crate) patience: i64,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Draft {
    pub(crate) edges: Vec<Edge>,
    pub(crate) is_absence: bool,
}

/// What a row of elements gets from the group it stands in, for its first element.
#[derive(Debug, Clone)]
pub(super) struct Head {
    pub(super) contiguity: Contiguity,
    pub(super) inner: Inner,
    pub(super) is_optional: bool,
    /// Of the rounds of the group's loop.
    pub(super) is_first_round: bool,
    /// What else the event could begin: relaxed passes over what fits none of these.
    pub(super) rivals: Vec<PredicateId>,
}

/// An element where it stands.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    pub(super) row: &'a [Element],
    pub(super) at: usize,
    pub(super) head: Option<&'a Head>,
    pub(super) following: Option<&'a Element>,
    /// Nothing of the pattern is behind it.
    pub(super) is_last: bool,
}

impl<'a> Place<'a> {
    pub(super) fn element(&self) -> &'a Element {
        &self.row[self.at]
    }

    pub(super) fn head(&self) -> Option<&'a Head> {
        self.head.filter(|_| self.at == 0)
    }

    /// Negations that hold here: those right before, also behind what was left out.
    pub(super) fn negations(&self) -> Vec<&'a Stage> {
        let before = self.row[..self.at].iter().rev();
        before
            .take_while(|element| element.quantifier.may_be_left_out() || element.contiguity == Contiguity::NotFollowedBy)
            .filter_map(|element| match &element.body {
                Body::Stage(stage) if element.contiguity == Contiguity::NotFollowedBy => Some(stage),
                Body::Stage(_) | Body::Group(_) | Body::OneOf(_) | Body::AnyOrder(_) => None,
            })
            .collect()
    }
}

/// A stage with what its edges say.
pub(super) struct Edges {
    pub(super) take: Condition,
    /// `None`: nothing is passed over.
    pub(super) ignore: Option<Condition>,
    pub(super) patience: i64,
    /// For rounds behind the first.
    pub(super) is_inner: bool,
}

pub(super) struct Compiler {
    pub(super) drafts: Vec<Draft>,
    pub(super) stages: Vec<Arc<str>>,
    pub(super) by_name: HashMap<Arc<str>, StageId>,
    pub(super) end: StateId,
    pub(super) has_window: bool,
    pub(super) within_last: i64,
    /// What a state was before a greedy loop in front of it restricted it.
    pub(super) unrestricted: HashMap<StateId, StateId>,
    pub(super) is_too_large: bool,
}

/// Compiles a pattern. Errors: it is refused; nothing helps but another pattern.
pub(crate) fn compile(pattern: &Pattern) -> Result<Automaton, PatternRefused> {
    check(pattern)?;
    let (mut stages, mut greatest) = (Vec::new(), 0);
    names(&pattern.elements, &mut stages, &mut greatest);
    if greatest >= PREDICATES_MAX {
        return Err(PatternRefused::TooManyPredicates);
    }
    let by_name = (0u16..).map(StageId).zip(&stages).map(|(id, name)| (name.clone(), id)).collect();
    let mut compiler = Compiler {
        drafts: vec![Draft::default()],
        stages,
        by_name,
        end: StateId(0),
        has_window: pattern.within.is_some() || pattern.within_last.is_some(),
        within_last: pattern.within_last.map_or(NO_PATIENCE, micros),
        unrestricted: HashMap::new(),
        is_too_large: false,
    };
    let end = compiler.end;
    let start = compiler.row(&pattern.elements, None, end, None, true);
    if compiler.is_too_large {
        return Err(PatternRefused::TooLarge);
    }
    let Compiler { drafts, stages, .. } = compiler;
    let states = flatten(&drafts, end).ok_or(PatternRefused::TooLarge)?;
    let beginnings = beginnings(&states[start.0 as usize]);
    let within = pattern.within.map(micros);
    let passes_over =
        beginnings != u64::MAX && waits(&states, start, end).into_iter().all(|at| states[at.0 as usize].passes_over(at));
    Ok(Automaton { states, start, end, stages, within, beginnings, passes_over, predicates: greatest + 1 })
}

pub(super) fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(NO_PATIENCE)
}

fn beginnings(start: &State) -> u64 {
    let takes = start.moves.iter().filter(|step| matches!(step.then, Then::Take(..)));
    takes.fold(0, |all, step| if step.when.needed() == 0 { u64::MAX } else { all | step.when.needed() })
}

/// The states that a run may wait in.
fn waits(states: &[State], start: StateId, end: StateId) -> Vec<StateId> {
    let (mut seen, mut waits, mut left) = (vec![false; states.len()], Vec::new(), vec![start]);
    while let Some(from) = left.pop() {
        for step in &states[from.0 as usize].moves {
            let (Then::Take(_, to) | Then::Ignore(to)) = step.then else { continue };
            if to != end && !std::mem::replace(&mut seen[to.0 as usize], true) {
                waits.push(to);
                left.push(to);
            }
        }
    }
    waits
}

fn names(elements: &[Element], stages: &mut Vec<Arc<str>>, greatest: &mut usize) {
    for element in elements {
        match &element.body {
            Body::Stage(stage) => {
                stages.push(stage.name.clone());
                let until = stage.until.map_or(0, |until| usize::from(until.0));
                *greatest = (*greatest).max(usize::from(stage.condition.0)).max(until);
            }
            Body::Group(elements) | Body::AnyOrder(elements) => names(elements, stages, greatest),
            Body::OneOf(rows) => rows.iter().for_each(|row| names(row, stages, greatest)),
        }
    }
}

impl Compiler {
    pub(super) fn add(&mut self, draft: Draft) -> StateId {
        // One that is not needed any more is better than a check at each place: the caller looks once, at the end.
        if self.drafts.len() >= STATES_MAX {
            self.is_too_large = true;
            return self.end;
        }
        self.drafts.push(draft);
        StateId(self.drafts.len() as u32 - 1)
    }

    pub(super) fn edge(&mut self, from: StateId, way: Way, when: Condition, to: StateId, patience: i64) {
        // The end has no edges; it stands for all states when there are too many.
        if from != self.end {
            self.drafts[from.0 as usize].edges.push(Edge { way, when, to, patience });
        }
    }

    pub(super) fn proceed(&mut self, from: StateId, to: StateId) {
        self.edge(from, Way::Proceed, Condition::always(), to, NO_PATIENCE);
    }

    pub(super) fn stop(&mut self, from: StateId, negation: &Stage) {
        let stage = self.by_name[&negation.name];
        self.edge(from, Way::Stop(stage), Condition::holds(negation.condition), from, NO_PATIENCE);
    }

    /// Elements in a row; answers where it begins.
    pub(super) fn row(
        &mut self,
        row: &[Element],
        head: Option<&Head>,
        behind: StateId,
        following: Option<&Element>,
        is_last: bool,
    ) -> StateId {
        let mut behind = behind;
        for at in (0..row.len()).rev() {
            if self.is_too_large {
                return self.end;
            }
            let next = row.get(at + 1);
            let place = Place { row, at, head, following: next.or(following), is_last: is_last && next.is_none() };
            behind = match (place.element().contiguity, &place.element().body) {
                (Contiguity::NotFollowedBy, Body::Stage(negation)) if at > 0 => self.not_followed_by(negation, behind),
                (Contiguity::NotNext, Body::Stage(negation)) if at > 0 => self.not_next(negation, behind),
                _ => self.element(place, behind),
            };
        }
        behind
    }

    /// In the middle it is in the edges of its neighbours (`stops`, `stop_in_loop`); at the end it waits for its window to close.
    fn not_followed_by(&mut self, negation: &Stage, behind: StateId) -> StateId {
        if behind != self.end || !self.has_window {
            return behind;
        }
        let waiting = self.add(Draft { is_absence: true, ..Draft::default() });
        self.stop(waiting, negation);
        self.edge(waiting, Way::Ignore, Condition::fails(negation.condition), waiting, self.within_last);
        waiting
    }

    fn not_next(&mut self, negation: &Stage, behind: StateId) -> StateId {
        let waiting = self.add(Draft::default());
        let fits = Condition::fails(negation.condition);
        // At the end the next event lets the match out, and is not part of it.
        if behind == self.end {
            self.edge(waiting, Way::Ignore, fits, behind, self.within_last);
        } else {
            self.edge(waiting, Way::Proceed, fits, behind, NO_PATIENCE);
        }
        self.stop(waiting, negation);
        waiting
    }

    /// One element with its quantifier.
    fn element(&mut self, place: Place<'_>, behind: StateId) -> StateId {
        let quantifier = place.element().quantifier;
        let start = if quantifier.max.is_none() {
            // Once the loop has begun, negations before it that reach over it as optional hold no more.
            let after = self.without_negations(place, behind);
            let looping = self.looping(place, after);
            if after != behind {
                self.cut_off_beside(place, behind);
            }
            self.times(place, looping, behind, quantifier.min.max(1))
        } else {
            self.times(place, behind, behind, quantifier.max.unwrap_or(1))
        };
        self.stops(start, place);
        start
    }
}

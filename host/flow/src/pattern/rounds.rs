//! Stages and their loops: the states of each round, and what an event does in them.
//!
//! ```text
//! b {2..4}    first round ──► second ──► third ──► fourth ──► behind       from the second on: proceed behind
//! b {2..}     first round ──► looping ◄─┐                                  looping: take again, or proceed behind
//!                                └──────┘
//! ```

use crate::pattern::automaton::{NO_PATIENCE, StateId};
use crate::pattern::compile::{Compiler, Draft, Edges, Place, Way, micros};
use crate::pattern::condition::Condition;
use crate::pattern::shape::{Body, Contiguity, Greed, Inner, PredicateId, Stage};

impl Compiler {
    /// The rounds of a loop up to `max`, of which those from `min` on may be left out, and its beginning.
    pub(super) fn times(&mut self, place: Place<'_>, last: StateId, behind: StateId, max: u32) -> StateId {
        let element = place.element();
        let quantifier = element.quantifier;
        let min = quantifier.min.max(1);
        let mut next = last;
        let stage = match &element.body {
            Body::Stage(stage) => Some(stage),
            Body::Group(_) | Body::OneOf(_) | Body::AnyOrder(_) => None,
        };
        let take = stage.map(taking);
        if let (Greed::Greedy, Some(take), true) = (quantifier.greed, &take, min < max) {
            self.restrict(behind, take);
        }
        let reluctant = quantifier.greed == Greed::Reluctant;
        let rivals = if reluctant && quantifier.max.is_some() { self.takes_of(behind) } else { Vec::new() };
        // At the end of a pattern a reluctant loop takes no more than it must.
        let max = if reluctant && behind == self.end { min } else { max };
        for _ in min..max {
            next = match stage {
                Some(stage) => {
                    let edges = self.inner_edges(place, stage, &rivals);
                    self.stage(place, stage, edges, next, Some(behind))
                }
                None => self.round(place, next, Some(behind), false),
            };
            self.stop_in_loop(next, place);
        }
        for _ in 1..min {
            next = match stage {
                Some(stage) => {
                    let edges = self.inner_edges(place, stage, &[]);
                    self.stage(place, stage, edges, next, None)
                }
                None => self.round(place, next, None, false),
            };
            self.stop_in_loop(next, place);
            if self.is_too_large {
                return self.end;
            }
        }
        let past = quantifier.may_be_left_out().then_some(behind);
        match stage {
            Some(stage) => {
                let edges = self.first_edges(place, stage);
                self.stage(place, stage, edges, next, past)
            }
            None => self.round(place, next, past, true),
        }
    }

    /// One round of a stage. `past`: where to go without it.
    pub(super) fn stage(
        &mut self,
        place: Place<'_>,
        stage: &Stage,
        edges: Edges,
        behind: StateId,
        past: Option<StateId>,
    ) -> StateId {
        let Edges { take, ignore, patience, is_inner } = edges;
        let id = self.by_name[&stage.name];
        let waiting = self.add(Draft::default());
        let after = self.without_negations(place, behind);
        self.edge(waiting, Way::Take(id), take.clone(), after, patience);
        if let Some(past) = past {
            let until = stage.until.filter(|_| place.element().quantifier.greed == Greed::Greedy);
            if let Some(until) = until {
                let free = self.unrestricted.get(&past).copied().unwrap_or(past);
                self.edge(waiting, Way::Proceed, Condition::holds(until), free, NO_PATIENCE);
                self.edge(waiting, Way::Proceed, Condition::fails(until), past, NO_PATIENCE);
            } else {
                self.proceed(waiting, past);
            }
        }
        let Some(ignore) = ignore else { return waiting };
        let group_may_be_left_out = place.head().is_some_and(|head| head.is_first_round && head.is_optional);
        let ignoring = if past.is_some() || group_may_be_left_out {
            let alone = self.add(Draft::default());
            self.edge(alone, Way::Take(id), take, after, patience);
            self.edge(alone, Way::Ignore, ignore.clone(), alone, patience);
            // Once the loop has begun, what must not come before it may.
            if is_inner {
                self.stop_in_loop(alone, place);
            } else {
                self.stops(alone, place);
            }
            alone
        } else {
            waiting
        };
        self.edge(waiting, Way::Ignore, ignore, ignoring, patience);
        waiting
    }

    /// The part of an endless loop that may go on and may end.
    pub(super) fn looping(&mut self, place: Place<'_>, behind: StateId) -> StateId {
        let element = place.element();
        let Body::Stage(stage) = &element.body else {
            let again = self.add(Draft::default());
            let start = self.body(place, again, false);
            self.proceed(start, behind);
            self.proceed(again, start);
            return again;
        };
        let id = self.by_name[&stage.name];
        let reluctant = element.quantifier.greed == Greed::Reluctant;
        if reluctant && behind == self.end {
            return behind;
        }
        let rivals = if reluctant { self.takes_of(behind) } else { Vec::new() };
        let Edges { take, ignore, patience, .. } = self.inner_edges(place, stage, &rivals);
        let looping = self.add(Draft::default());
        match (element.quantifier.greed, stage.until) {
            (Greed::Greedy, Some(until)) => {
                let free = self.copy(behind);
                self.edge(looping, Way::Proceed, Condition::holds(until), free, NO_PATIENCE);
                self.edge(looping, Way::Proceed, Condition::fails(until), behind, NO_PATIENCE);
                self.unrestricted.insert(behind, free);
            }
            _ => self.proceed(looping, behind),
        }
        if element.quantifier.greed == Greed::Greedy {
            self.restrict(behind, &Condition::holds(stage.condition));
        }
        self.edge(looping, Way::Take(id), take.clone(), looping, patience);
        self.stop_in_loop(looping, place);
        if let Some(ignore) = ignore {
            let alone = self.add(Draft::default());
            self.edge(alone, Way::Take(id), take, looping, patience);
            self.edge(alone, Way::Ignore, ignore.clone(), alone, patience);
            self.edge(looping, Way::Ignore, ignore, alone, patience);
            self.stop_in_loop(alone, place);
        }
        looping
    }

    /// For the first event of a stage.
    pub(super) fn first_edges(&self, place: Place<'_>, stage: &Stage) -> Edges {
        let contiguity = match place.head() {
            Some(head) if head.is_first_round => head.contiguity,
            Some(head) => between(head.inner),
            None => place.element().contiguity,
        };
        let rivals = place.head().map_or(&[][..], |head| &head.rivals);
        // Where the stage began with `until`, only an event that fits as well ends the wait.
        let ignore = passing_over(contiguity, stage.condition, rivals);
        let patience = if place.is_last { self.within_last } else { NO_PATIENCE };
        Edges { take: taking(stage), ignore, patience, is_inner: false }
    }

    /// For further events of a stage. `rivals`: what a reluctant loop leaves to others.
    pub(super) fn inner_edges(&self, place: Place<'_>, stage: &Stage, rivals: &[Condition]) -> Edges {
        let quantifier = place.element().quantifier;
        let inner = place.head().map_or(quantifier.inner, |head| head.inner);
        let mut ignore = passing_over(between(inner), stage.condition, &[]);
        if let (Some(until), Some(ignore)) = (stage.until, &mut ignore) {
            *ignore = std::mem::take(ignore).and(&Condition::fails(until));
        }
        let mut take = taking(stage);
        for rival in rivals {
            take = take.and_not(rival);
            ignore = ignore.map(|ignore| ignore.and_not(rival));
        }
        Edges { take, ignore, patience: quantifier.gap.map_or(NO_PATIENCE, micros), is_inner: true }
    }
}

fn taking(stage: &Stage) -> Condition {
    let take = Condition::holds(stage.condition);
    stage.until.map_or_else(|| take.clone(), |until| take.clone().and(&Condition::fails(until)))
}

fn between(inner: Inner) -> Contiguity {
    match inner {
        Inner::Relaxed => Contiguity::FollowedBy,
        Inner::Consecutive => Contiguity::Next,
        Inner::Combinations => Contiguity::FollowedByAny,
    }
}

/// Which events are passed over on the way to one that fits; `None`: none.
fn passing_over(contiguity: Contiguity, condition: PredicateId, rivals: &[PredicateId]) -> Option<Condition> {
    match contiguity {
        Contiguity::Next | Contiguity::NotNext | Contiguity::NotFollowedBy => None,
        Contiguity::FollowedBy => {
            let own = Condition::fails(condition);
            Some(rivals.iter().fold(own, |all, rival| all.and(&Condition::fails(*rival))))
        }
        Contiguity::FollowedByAny => Some(Condition::always()),
    }
}

//! How far negations and greedy loops reach: what they add to states around them, and the copies of states that they do not reach.

use std::collections::HashMap;

use crate::pattern::automaton::{StageId, StateId};
use crate::pattern::compile::{Compiler, Draft, Edge, Place, Way};
use crate::pattern::condition::Condition;
use crate::pattern::flatten::closure;
use crate::pattern::shape::{Body, Contiguity, Greed};

impl Compiler {
    /// A greedy loop that is passed by cuts off who waits behind it as well, where that is not who waits behind the loop itself.
    pub(super) fn cut_off_beside(&mut self, place: Place<'_>, behind: StateId) {
        let element = place.element();
        let (Greed::Greedy, Body::Stage(stage)) = (element.quantifier.greed, &element.body) else { return };
        if stage.until.is_some() {
            let free = self.copy(behind);
            self.unrestricted.insert(behind, free);
        }
        self.restrict(behind, &Condition::holds(stage.condition));
    }

    /// What holds of negations before a place, on a state that waits there.
    pub(super) fn stops(&mut self, state: StateId, place: Place<'_>) {
        place.negations().into_iter().for_each(|negation| self.stop(state, negation));
    }

    /// A negation behind a loop holds between its rounds as well.
    pub(super) fn stop_in_loop(&mut self, state: StateId, place: Place<'_>) {
        if let Some(following) = place.following
            && following.contiguity == Contiguity::NotFollowedBy
            && let Body::Stage(negation) = &following.body
        {
            self.stop(state, negation);
        }
    }

    /// Where an optional element leads that has been taken: the negations before it reach no further.
    pub(super) fn without_negations(&mut self, place: Place<'_>, state: StateId) -> StateId {
        let negations: Vec<StageId> = place.negations().iter().map(|negation| self.by_name[&negation.name]).collect();
        if negations.is_empty() || !place.element().quantifier.may_be_left_out() {
            return state;
        }
        self.copy_without(state, &negations, &mut HashMap::new())
    }

    pub(super) fn copy_without(
        &mut self,
        state: StateId,
        negations: &[StageId],
        made: &mut HashMap<StateId, StateId>,
    ) -> StateId {
        if state == self.end {
            return state;
        }
        if let Some(copy) = made.get(&state) {
            return *copy;
        }
        let Draft { edges, is_absence } = self.drafts[state.0 as usize].clone();
        let copy = self.add(Draft { edges: Vec::new(), is_absence });
        made.insert(state, copy);
        for Edge { way, when, to, patience } in edges {
            match way {
                Way::Stop(stage) if negations.contains(&stage) => {}
                Way::Proceed => {
                    let to = self.copy_without(to, negations, made);
                    self.edge(copy, way, when, to, patience);
                }
                Way::Take(_) | Way::Ignore | Way::Stop(_) => {
                    self.edge(copy, way, when, if to == state { copy } else { to }, patience);
                }
            }
        }
        copy
    }

    pub(super) fn copy(&mut self, state: StateId) -> StateId {
        if state == self.end {
            return state;
        }
        let mut draft = self.drafts[state.0 as usize].clone();
        let copy = self.add(Draft::default());
        draft.edges.iter_mut().filter(|edge| edge.to == state).for_each(|edge| edge.to = copy);
        if copy != self.end {
            self.drafts[copy.0 as usize] = draft;
        }
        copy
    }

    /// Nothing happens there any more with an event that the loop before would have taken.
    pub(super) fn restrict(&mut self, state: StateId, take: &Condition) {
        for edge in &mut self.drafts[state.0 as usize].edges {
            edge.when = std::mem::take(&mut edge.when).and_not(take);
        }
    }

    /// What would be taken there.
    pub(super) fn takes_of(&self, state: StateId) -> Vec<Condition> {
        let mut moves = Vec::new();
        closure(&self.drafts, self.end, state, &mut |edge, when| {
            if let Way::Take(_) = edge.way {
                moves.push(when.plain());
            }
        });
        moves
    }
}

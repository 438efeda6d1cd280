//! Elements made of elements: groups, choices, any order. Each is states of its members between where it begins and what is behind it.

use std::collections::BTreeMap;

use crate::pattern::automaton::StateId;
use crate::pattern::compile::{Compiler, Draft, Head, Place};
use crate::pattern::shape::{Body, Element, Inner, PredicateId};

impl Compiler {
    /// One round of a group, a choice, elements in any order.
    pub(super) fn round(&mut self, place: Place<'_>, behind: StateId, past: Option<StateId>, is_first_round: bool) -> StateId {
        let start = self.body(place, behind, is_first_round);
        if let Some(past) = past {
            self.proceed(start, past);
        }
        start
    }

    pub(super) fn body(&mut self, place: Place<'_>, behind: StateId, is_first_round: bool) -> StateId {
        let element = place.element();
        let quantifier = element.quantifier;
        let mut head = Head {
            contiguity: element.contiguity,
            inner: quantifier.inner,
            is_optional: quantifier.may_be_left_out(),
            is_first_round,
            rivals: Vec::new(),
        };
        match &element.body {
            Body::Stage(_) => panic!("a stage has no body of elements"),
            Body::Group(row) => self.row(row, Some(&head), behind, place.following, place.is_last),
            Body::OneOf(rows) => {
                rows.iter().for_each(|row| beginnings_of(row, &mut head.rivals));
                let fork = self.add(Draft::default());
                for row in rows {
                    let start = self.row(row, Some(&head), behind, place.following, place.is_last);
                    self.proceed(fork, start);
                }
                fork
            }
            Body::AnyOrder(elements) => {
                let all = (1u32 << elements.len()) - 1;
                self.any_order(elements, all, place, Some(head), behind, &mut BTreeMap::new())
            }
        }
    }

    /// Those of the set, in any order; what is left behind one of them is made once however it was reached.
    pub(super) fn any_order(
        &mut self,
        elements: &[Element],
        set: u32,
        place: Place<'_>,
        head: Option<Head>,
        behind: StateId,
        made: &mut BTreeMap<u32, StateId>,
    ) -> StateId {
        if set == 0 {
            return behind;
        }
        if let Some(state) = made.get(&set) {
            return *state;
        }
        let mut rivals = Vec::new();
        let members = || (0..elements.len()).filter(|member| set >> member & 1 == 1);
        members().for_each(|member| beginnings_of(std::slice::from_ref(&elements[member]), &mut rivals));
        let fork = self.add(Draft::default());
        for member in members() {
            let rest = self.any_order(elements, set & !(1 << member), place, None, behind, made);
            let own = Head {
                contiguity: elements[member].contiguity,
                inner: Inner::Relaxed,
                is_optional: false,
                is_first_round: true,
                rivals: Vec::new(),
            };
            let head = Head { rivals: rivals.clone(), ..head.clone().unwrap_or(own) };
            let row = std::slice::from_ref(&elements[member]);
            let start = self.row(row, Some(&head), rest, place.following, place.is_last && set.count_ones() == 1);
            self.proceed(fork, start);
        }
        made.insert(set, fork);
        fork
    }
}

/// What a row of elements may begin with.
fn beginnings_of(row: &[Element], all: &mut Vec<PredicateId>) {
    for element in row {
        if element.contiguity.is_negation() {
            continue;
        }
        match &element.body {
            Body::Stage(stage) => all.push(stage.condition),
            Body::Group(row) => beginnings_of(row, all),
            Body::OneOf(rows) => rows.iter().for_each(|row| beginnings_of(row, all)),
            Body::AnyOrder(elements) => {
                elements.iter().for_each(|element| beginnings_of(std::slice::from_ref(element), all));
            }
        }
        if !element.quantifier.may_be_left_out() {
            return;
        }
    }
}

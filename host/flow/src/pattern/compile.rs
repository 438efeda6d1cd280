//! Pattern → automaton. Elements are laid down from the last to the first, each knowing where to go behind it.
//!
//! ```text
//!  a  followed_by b+  followed_by c            a ──take──► b ──take──► b.. ──proceed──► c ──take──► end
//!                                              │ignore ¬a   │ignore ¬b   │take b  ▲
//!                                              └──┘         └──┘         └ignore─► (b.. alone) ┘take b
//! ```
//! *Proceed* costs no event: who waits in `b..` waits in `c` as well. Behind the last step proceeds are gone (`flatten.rs`): a state says at once all that
//! an event may do. A state that may be passed by has a twin without the way past it, into which an ignored event leads, so that no way is gone twice.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use crate::pattern::automaton::{Automaton, NO_PATIENCE, StageId, State, StateId, Then};
use crate::pattern::condition::Condition;
use crate::pattern::flatten::{closure, flatten};
use crate::pattern::refused::{PREDICATES_MAX, PatternRefused, STATES_MAX, check};
use crate::pattern::shape::{Body, Contiguity, Element, Greed, Inner, Pattern, PredicateId, Stage};

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
struct Head {
    contiguity: Contiguity,
    inner: Inner,
    is_optional: bool,
    /// Of the rounds of the group's loop.
    is_first_round: bool,
    /// What else the event could begin: relaxed passes over what fits none of these.
    rivals: Vec<PredicateId>,
}

/// An element where it stands.
#[derive(Clone, Copy)]
struct Place<'a> {
    row: &'a [Element],
    at: usize,
    head: Option<&'a Head>,
    following: Option<&'a Element>,
    /// Nothing of the pattern is behind it.
    is_last: bool,
}

impl<'a> Place<'a> {
    fn element(&self) -> &'a Element {
        &self.row[self.at]
    }

    fn head(&self) -> Option<&'a Head> {
        self.head.filter(|_| self.at == 0)
    }

    /// Negations that hold here: those right before, also behind what was left out.
    fn negations(&self) -> Vec<&'a Stage> {
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
struct Edges {
    take: Condition,
    /// `None`: nothing is passed over.
    ignore: Option<Condition>,
    patience: i64,
    /// For rounds behind the first.
    is_inner: bool,
}

struct Compiler {
    drafts: Vec<Draft>,
    stages: Vec<Arc<str>>,
    by_name: HashMap<Arc<str>, StageId>,
    end: StateId,
    has_window: bool,
    within_last: i64,
    /// What a state was before a greedy loop in front of it restricted it.
    unrestricted: HashMap<StateId, StateId>,
    is_too_large: bool,
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
    Ok(Automaton { states, start, end, stages, within: pattern.within.map(micros), beginnings, predicates: greatest + 1 })
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(NO_PATIENCE)
}

fn beginnings(start: &State) -> u64 {
    let takes = start.moves.iter().filter(|step| matches!(step.then, Then::Take(..)));
    takes.fold(0, |all, step| if step.when.needed() == 0 { u64::MAX } else { all | step.when.needed() })
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

impl Compiler {
    fn add(&mut self, draft: Draft) -> StateId {
        // One that is not needed any more is better than a check at each place: the caller looks once, at the end.
        if self.drafts.len() >= STATES_MAX {
            self.is_too_large = true;
            return self.end;
        }
        self.drafts.push(draft);
        StateId(self.drafts.len() as u32 - 1)
    }

    fn edge(&mut self, from: StateId, way: Way, when: Condition, to: StateId, patience: i64) {
        // The end has no edges; it stands for all states when there are too many.
        if from != self.end {
            self.drafts[from.0 as usize].edges.push(Edge { way, when, to, patience });
        }
    }

    fn proceed(&mut self, from: StateId, to: StateId) {
        self.edge(from, Way::Proceed, Condition::always(), to, NO_PATIENCE);
    }

    fn stop(&mut self, from: StateId, negation: &Stage) {
        let stage = self.by_name[&negation.name];
        self.edge(from, Way::Stop(stage), Condition::holds(negation.condition), from, NO_PATIENCE);
    }

    /// Elements in a row; answers where it begins.
    fn row(
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

    /// A greedy loop that is passed by cuts off who waits behind it as well, where that is not who waits behind the loop itself.
    fn cut_off_beside(&mut self, place: Place<'_>, behind: StateId) {
        let element = place.element();
        let (Greed::Greedy, Body::Stage(stage)) = (element.quantifier.greed, &element.body) else { return };
        if stage.until.is_some() {
            let free = self.copy(behind);
            self.unrestricted.insert(behind, free);
        }
        self.restrict(behind, &Condition::holds(stage.condition));
    }

    /// The rounds of a loop up to `max`, of which those from `min` on may be left out, and its beginning.
    fn times(&mut self, place: Place<'_>, last: StateId, behind: StateId, max: u32) -> StateId {
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
    fn stage(&mut self, place: Place<'_>, stage: &Stage, edges: Edges, behind: StateId, past: Option<StateId>) -> StateId {
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

    /// One round of a group, a choice, elements in any order.
    fn round(&mut self, place: Place<'_>, behind: StateId, past: Option<StateId>, is_first_round: bool) -> StateId {
        let start = self.body(place, behind, is_first_round);
        if let Some(past) = past {
            self.proceed(start, past);
        }
        start
    }

    fn body(&mut self, place: Place<'_>, behind: StateId, is_first_round: bool) -> StateId {
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
    fn any_order(
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

    /// The part of an endless loop that may go on and may end.
    fn looping(&mut self, place: Place<'_>, behind: StateId) -> StateId {
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
    fn first_edges(&self, place: Place<'_>, stage: &Stage) -> Edges {
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
    fn inner_edges(&self, place: Place<'_>, stage: &Stage, rivals: &[Condition]) -> Edges {
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

    /// What holds of negations before a place, on a state that waits there.
    fn stops(&mut self, state: StateId, place: Place<'_>) {
        place.negations().into_iter().for_each(|negation| self.stop(state, negation));
    }

    /// A negation behind a loop holds between its rounds as well.
    fn stop_in_loop(&mut self, state: StateId, place: Place<'_>) {
        if let Some(following) = place.following
            && following.contiguity == Contiguity::NotFollowedBy
            && let Body::Stage(negation) = &following.body
        {
            self.stop(state, negation);
        }
    }

    /// Where an optional element leads that has been taken: the negations before it reach no further.
    fn without_negations(&mut self, place: Place<'_>, state: StateId) -> StateId {
        let negations: Vec<StageId> = place.negations().iter().map(|negation| self.by_name[&negation.name]).collect();
        if negations.is_empty() || !place.element().quantifier.may_be_left_out() {
            return state;
        }
        self.copy_without(state, &negations, &mut HashMap::new())
    }

    fn copy_without(&mut self, state: StateId, negations: &[StageId], made: &mut HashMap<StateId, StateId>) -> StateId {
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

    fn copy(&mut self, state: StateId) -> StateId {
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
    fn restrict(&mut self, state: StateId, take: &Condition) {
        for edge in &mut self.drafts[state.0 as usize].edges {
            edge.when = std::mem::take(&mut edge.when).and_not(take);
        }
    }

    /// What would be taken there.
    fn takes_of(&self, state: StateId) -> Vec<Condition> {
        let mut moves = Vec::new();
        closure(&self.drafts, self.end, state, &mut |edge, when| {
            if let Way::Take(_) = edge.way {
                moves.push(when.plain());
            }
        });
        moves
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

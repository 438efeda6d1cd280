//! The matcher against a model that knows no runs: it looks at every way to give some of the events to stages, and asks of each whether the rules allow it.
//!
//! The rules are those of `tests/data/cep/README.md`, said of two events that follow each other in a match at `i` and `j`: what must hold of the events in
//! between, of `j` itself, and of the one right behind `i`.

use proptest::prelude::*;

use crate::pattern::{
    Body, Candidate, Contiguity, Element, Greed, Inner, Moment, NoJudge, Pattern, PatternMatcher, PredicateId, Quantifier,
    RunLimits, Stage, Trigger,
};

/// An event: what holds of it, and its time.
#[derive(Debug, Clone, Copy)]
struct Event {
    holds: u64,
    time: i64,
}

impl Event {
    fn is(&self, predicate: PredicateId) -> bool {
        self.holds >> predicate.0 & 1 == 1
    }
}

/// Events taken, each with the place of its element; what let the match out; when.
type Match = (Vec<(usize, usize)>, Trigger, i64);

struct Model<'a> {
    elements: &'a [Element],
    within: Option<i64>,
    events: &'a [Event],
    /// The clock at the end.
    now: i64,
    found: Vec<Match>,
}

fn stage(element: &Element) -> &Stage {
    match &element.body {
        Body::Stage(stage) => stage,
        Body::Group(_) | Body::OneOf(_) | Body::AnyOrder(_) => panic!("the model knows stages only"),
    }
}

/// Where a match stands: its last event, the element that has it, the round of its loop.
#[derive(Debug, Clone, Copy)]
struct At {
    event: usize,
    element: usize,
    round: u32,
}

impl Model<'_> {
    fn min(&self, element: usize) -> u32 {
        self.elements[element].quantifier.min.max(1)
    }

    fn is_past(&self, at: At) -> bool {
        at.round >= self.min(at.element)
    }

    fn may_go_on(&self, at: At) -> bool {
        self.elements[at.element].quantifier.max.is_none_or(|max| at.round < max)
    }

    fn is_negation(&self, element: usize) -> bool {
        matches!(self.elements[element].contiguity, Contiguity::NotNext | Contiguity::NotFollowedBy)
    }

    /// Elements that can be next behind `element` (`None`: at the beginning); the end of the pattern counts as one.
    fn next_elements(&self, element: Option<usize>) -> Vec<usize> {
        let mut next = Vec::new();
        for at in element.map_or(0, |element| element + 1)..=self.elements.len() {
            if at == self.elements.len() {
                next.push(at);
                break;
            }
            if !self.is_negation(at) {
                next.push(at);
                if !self.elements[at].quantifier.may_be_left_out() {
                    break;
                }
            }
        }
        next
    }

    /// Negations between two elements.
    fn negations(&self, from: usize, to: usize) -> impl Iterator<Item = (&Stage, Contiguity)> {
        (from + 1..to).filter(|at| self.is_negation(*at)).map(|at| (stage(&self.elements[at]), self.elements[at].contiguity))
    }

    /// A greedy loop cuts off who waits for the element `to` behind it: whether the event does. `first`: it is the first event behind the last one taken.
    fn cuts_off(&self, to: usize, first: &Event, event: &Event) -> bool {
        let before = (0..to).rev().find(|at| self.elements[*at].contiguity != Contiguity::NotFollowedBy);
        let Some(greedy) = before.filter(|at| self.elements[*at].quantifier.greed == Greed::Greedy) else { return false };
        let Quantifier { min, max, .. } = self.elements[greedy].quantifier;
        let of = stage(&self.elements[greedy]);
        let has_lengths = max.is_none_or(|max| min.max(1) < max);
        let is_free = of.until.is_some_and(|until| first.is(until));
        // A loop that must still come first, behind which nothing is greedy yet, is none of this element's business.
        has_lengths && !is_free && event.is(of.condition)
    }

    /// Whether the event right behind the last one taken is fatal for all that could come.
    fn is_fatal(&self, at: At) -> bool {
        let Some(event) = self.events.get(at.event + 1) else { return false };
        let following = self.elements.get(at.element + 1).filter(|next| next.contiguity == Contiguity::NotFollowedBy);
        if self.may_go_on(at) && following.is_some_and(|negation| event.is(stage(negation).condition)) {
            return true;
        }
        let next = if self.is_past(at) { self.next_elements(Some(at.element)) } else { Vec::new() };
        next.into_iter().any(|to| {
            let restricted = self.not_next_between(at.element, to).unwrap_or(to);
            self.negations(at.element, to).any(|(negation, _)| event.is(negation.condition))
                && !self.cuts_off(restricted, event, event)
        })
    }

    /// A `not_next` on the way to an element: what a greedy loop before it cuts off.
    fn not_next_between(&self, from: usize, to: usize) -> Option<usize> {
        (from + 1..to).find(|at| self.elements[*at].contiguity == Contiguity::NotNext)
    }

    /// Whether who waits behind `at` for the element `to` passes over the event, or comes to it; and is not ended by it.
    fn survives(&self, at: At, to: usize, event: usize) -> bool {
        let (first, event_here) = (&self.events[at.event + 1], &self.events[event]);
        let is_first = event == at.event + 1;
        let not_next = self.not_next_between(at.element, to);
        let is_cut = self.cuts_off(to, first, event_here)
            || is_first && not_next.is_some_and(|not_next| self.cuts_off(not_next, first, event_here));
        let is_negated = self.negations(at.element, to).any(|(negation, contiguity)| {
            (is_first || contiguity == Contiguity::NotFollowedBy) && event_here.is(negation.condition)
        });
        !is_cut && !is_negated
    }

    fn in_time(&self, begun: i64, event: usize) -> bool {
        self.within.is_none_or(|within| self.events[event].time - begun < within)
    }

    fn takes(&self, element: usize, event: usize) -> bool {
        let of = stage(&self.elements[element]);
        let event = &self.events[event];
        event.is(of.condition) && of.until.is_none_or(|until| !event.is(until))
    }

    fn begin(&mut self) {
        for event in 0..self.events.len() {
            for to in self.next_elements(None).into_iter().filter(|to| *to < self.elements.len()) {
                let first = &self.events[event];
                if self.takes(to, event) && !self.cuts_off(to, first, first) {
                    self.follow(&mut vec![(event, to)], At { event, element: to, round: 1 });
                }
            }
        }
    }

    fn follow(&mut self, taken: &mut Vec<(usize, usize)>, at: At) {
        let begun = self.events[taken[0].0].time;
        let past = if self.is_past(at) { self.next_elements(Some(at.element)) } else { Vec::new() };
        if past.contains(&self.elements.len()) {
            self.end(taken, at, begun);
        }
        if self.is_fatal(at) {
            return;
        }
        for event in at.event + 1..self.events.len() {
            if !self.in_time(begun, event) {
                break;
            }
            if self.may_go_on(at) && self.goes_on(at, event) {
                taken.push((event, at.element));
                self.follow(taken, At { event, element: at.element, round: at.round + 1 });
                taken.pop();
            }
            for to in past.iter().copied().filter(|to| *to < self.elements.len()) {
                let between = at.event + 1..event;
                let passes = |skipped: usize| match self.elements[to].contiguity {
                    Contiguity::FollowedBy => !self.events[skipped].is(stage(&self.elements[to]).condition),
                    Contiguity::FollowedByAny => true,
                    Contiguity::Next | Contiguity::NotNext | Contiguity::NotFollowedBy => false,
                };
                let is_reached = between.clone().all(|skipped| passes(skipped) && self.survives(at, to, skipped));
                if is_reached && self.survives(at, to, event) && self.takes(to, event) {
                    taken.push((event, to));
                    self.follow(taken, At { event, element: to, round: 1 });
                    taken.pop();
                }
            }
        }
    }

    /// Whether a loop takes a further event.
    fn goes_on(&self, at: At, event: usize) -> bool {
        let element = &self.elements[at.element];
        let of = stage(element);
        let negation = self.elements.get(at.element + 1).filter(|next| next.contiguity == Contiguity::NotFollowedBy);
        let is_negated = |event: &Event| negation.is_some_and(|negation| event.is(stage(negation).condition));
        let in_gap = element.quantifier.gap.is_none_or(|gap| {
            self.events[event].time - self.events[at.event].time < i64::try_from(gap.as_micros()).expect("a small gap")
        });
        let passes = |skipped: &Event| {
            !is_negated(skipped)
                && of.until.is_none_or(|until| !skipped.is(until))
                && match element.quantifier.inner {
                    Inner::Relaxed => !skipped.is(of.condition),
                    Inner::Consecutive => false,
                    Inner::Combinations => true,
                }
        };
        in_gap
            && self.events[at.event + 1..event].iter().all(passes)
            && self.takes(at.element, event)
            && !is_negated(&self.events[event])
    }

    /// All that has to be there is there.
    fn end(&mut self, taken: &[(usize, usize)], at: At, begun: i64) {
        let (end, last) = (self.elements.len(), self.events[at.event].time);
        match self.elements[end - 1].contiguity {
            Contiguity::NotFollowedBy => {
                let over = begun + self.within.expect("an absence has a window");
                let mut behind = (at.event + 1..self.events.len()).filter(|event| self.events[*event].time < over);
                if over <= self.now && !self.is_fatal_before(at, over) && behind.all(|event| self.survives(at, end, event)) {
                    self.found.push((taken.to_vec(), Trigger::Time, over));
                }
            }
            Contiguity::NotNext => {
                let next = at.event + 1;
                if next < self.events.len() && self.in_time(begun, next) && !self.is_fatal(at) && self.survives(at, end, next) {
                    self.found.push((taken.to_vec(), Trigger::Event, self.events[next].time));
                }
            }
            Contiguity::Next | Contiguity::FollowedBy | Contiguity::FollowedByAny => {
                self.found.push((taken.to_vec(), Trigger::Event, last));
            }
        }
    }

    fn is_fatal_before(&self, at: At, over: i64) -> bool {
        self.events.get(at.event + 1).is_some_and(|next| next.time < over) && self.is_fatal(at)
    }
}

/// What the matcher finds.
fn run(pattern: &Pattern, events: &[Event], now: i64) -> Vec<Match> {
    let mut matcher = PatternMatcher::new(pattern, RunLimits::default()).expect("the pattern is sound");
    let mut found = Vec::new();
    for (number, event) in events.iter().enumerate() {
        let moment = Moment { time: event.time, number: number as u64 };
        found.extend(matcher.advance(event.time).0);
        let candidate = Candidate { moment, row: number as u32, holds: event.holds, unknown: 0 };
        found.extend(matcher.take(&candidate, &mut NoJudge).0);
    }
    found.extend(matcher.advance(now).0);
    let place = |name: &str| {
        let at = pattern.elements.iter().position(|element| &*stage(element).name == name);
        at.expect("a stage of the pattern")
    };
    let matches = found.into_iter().filter(|finding| finding.is_match).map(|finding| {
        let events = finding.events.iter().map(|(stage, row)| (*row as usize, place(matcher.name(*stage)))).collect();
        (events, finding.trigger, finding.at)
    });
    let matches = matches.collect();
    assert_eq!(matcher.tally(), crate::pattern::Tally::default());
    if pattern.within.is_some() {
        matcher.advance(i64::MAX).1.expect("nothing is skipped to");
        assert_eq!((matcher.live(), matcher.buffered()), (0, (0, 0)), "a window ends all");
    }
    matches
}

fn any_quantifier() -> impl Strategy<Value = Quantifier> {
    let counts = prop_oneof![
        4 => Just((1, Some(1))),
        2 => (1u32..3, 0u32..3).prop_map(|(min, more)| (min, Some(min + more))),
        2 => (1u32..3).prop_map(|min| (min, None)),
    ];
    let inner = prop_oneof![3 => Just(Inner::Relaxed), 1 => Just(Inner::Consecutive), 1 => Just(Inner::Combinations)];
    let gap = proptest::option::weighted(0.1, (1u64..6).prop_map(std::time::Duration::from_micros));
    (counts, inner, proptest::bool::weighted(0.3), proptest::bool::weighted(0.2), gap).prop_map(
        |((min, max), inner, is_optional, greedy, gap)| {
            let may = greedy && inner != Inner::Combinations && (min, max) != (1, Some(1));
            Quantifier { min, max, inner, is_optional, greed: if may { Greed::Greedy } else { Greed::All }, gap }
        },
    )
}

/// Patterns of stages in a row, negations among them; those that are refused are left out.
fn any_pattern() -> impl Strategy<Value = Pattern> {
    let contiguity = prop_oneof![
        2 => Just(Contiguity::Next),
        4 => Just(Contiguity::FollowedBy),
        2 => Just(Contiguity::FollowedByAny),
        1 => Just(Contiguity::NotNext),
        2 => Just(Contiguity::NotFollowedBy),
    ];
    let element = (contiguity, any_quantifier(), 0u8..4, proptest::option::weighted(0.2, 0u8..4));
    let within = proptest::option::of((2u64..14).prop_map(std::time::Duration::from_micros));
    (proptest::collection::vec(element, 1..5), within).prop_filter_map("a sound pattern", |(elements, within)| {
        let elements = elements.into_iter().enumerate().map(|(at, (contiguity, quantifier, condition, until))| {
            let is_negation = matches!(contiguity, Contiguity::NotNext | Contiguity::NotFollowedBy);
            let quantifier = if is_negation { Quantifier::ONCE } else { quantifier };
            let until = until.filter(|_| quantifier.max.is_none()).map(PredicateId);
            let stage = Stage { name: format!("s{at}").into(), condition: PredicateId(condition), until };
            Element { contiguity, quantifier, body: Body::Stage(stage) }
        });
        let mut pattern = Pattern::new(elements.collect());
        pattern.within = within;
        // What two negations behind each other mean is for the vectors to say.
        let is_negated = |element: &Element| matches!(element.contiguity, Contiguity::NotNext | Contiguity::NotFollowedBy);
        let twice = pattern.elements.windows(2).any(|pair| pair.iter().all(is_negated));
        // As is a negation before stages that may all be missing: the match leaves before anything could speak against it.
        let last = pattern.elements.iter().rposition(|element| !element.quantifier.may_be_left_out());
        let is_idle = last.is_some_and(|last| last + 1 < pattern.elements.len() && is_negated(&pattern.elements[last]));
        // And who is cut off by a greedy loop where a negation stands between it and an optional stage.
        let is_greedy = |element: &Element| element.quantifier.greed == Greed::Greedy;
        let is_cut = pattern
            .elements
            .windows(3)
            .any(|three| is_greedy(&three[0]) && is_negated(&three[1]) && three[2].quantifier.may_be_left_out());
        (!twice && !is_idle && !is_cut && PatternMatcher::new(&pattern, RunLimits::default()).is_ok()).then_some(pattern)
    })
}

fn any_events() -> impl Strategy<Value = Vec<Event>> {
    let holds = prop_oneof![6 => (0u8..4).prop_map(|bit| 1u64 << bit), 2 => 0u64..16];
    proptest::collection::vec((holds, 0i64..3), 0..9).prop_map(|events| {
        let mut time = 0;
        events
            .into_iter()
            .map(|(holds, step)| {
                time += step;
                Event { holds, time }
            })
            .collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]
    #[test]
    fn matches_are_those_of_the_model(pattern in any_pattern(), events in any_events(), rest in 0i64..16) {
        let now = events.last().map_or(0, |event| event.time) + rest;
        let within = pattern.within.map(|within| i64::try_from(within.as_micros()).expect("a small window"));
        let mut model = Model { elements: &pattern.elements, within, events: &events, now, found: Vec::new() };
        model.begin();
        let sorted = |mut found: Vec<Match>| {
            found.sort_by_key(|(taken, trigger, at)| (taken.clone(), *trigger == Trigger::Time, *at));
            found
        };
        prop_assert_eq!(sorted(run(&pattern, &events, now)), sorted(model.found));
    }
}

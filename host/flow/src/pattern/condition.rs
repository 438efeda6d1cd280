//! What must hold of an event for an arc of the automaton: predicates that hold, predicates that do not, and rows of which not all may hold.
//!
//! ```text
//! take of a loop with until        a ∧ ¬until                     holds = {a}, fails = {until}
//! take behind a greedy loop        b ∧ ¬(a ∧ ¬until)              holds = {b}, not_all = [({a}, {until})]
//! ```
//! One machine word per set: an event's bits decide an arc in a few instructions. Predicates that look at what a run has taken are asked only
//! where the bits have not decided.

use crate::pattern::shape::PredicateId;

/// Sets of predicates, a bit each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Literals {
    pub(crate) holds: u64,
    pub(crate) fails: u64,
}

/// A conjunction.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Condition {
    all: Literals,
    not_all: Vec<Literals>,
}

/// Answers of the predicates for one event and one run: those that are known, and how to ask for the others.
pub(crate) trait Answers {
    /// Whether it holds.
    fn holds(&mut self, predicate: PredicateId) -> bool;
}

/// What is known of an event before anybody is asked.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bits {
    pub(crate) holds: u64,
    /// Predicates whose answer hangs on the run.
    pub(crate) unknown: u64,
}

impl Condition {
    pub(crate) fn always() -> Self {
        Self::default()
    }

    pub(crate) fn holds(predicate: PredicateId) -> Self {
        Self { all: Literals { holds: 1 << predicate.0, fails: 0 }, not_all: Vec::new() }
    }

    pub(crate) fn fails(predicate: PredicateId) -> Self {
        Self { all: Literals { holds: 0, fails: 1 << predicate.0 }, not_all: Vec::new() }
    }

    /// Both.
    pub(crate) fn and(mut self, other: &Self) -> Self {
        self.all.holds |= other.all.holds;
        self.all.fails |= other.all.fails;
        for literals in &other.not_all {
            if !self.not_all.contains(literals) {
                self.not_all.push(*literals);
            }
        }
        self
    }

    /// This, but not the other, which has to be a plain conjunction.
    pub(crate) fn and_not(mut self, other: &Self) -> Self {
        debug_assert!(other.not_all.is_empty(), "only plain conjunctions are denied");
        if !self.not_all.contains(&other.all) {
            self.not_all.push(other.all);
        }
        self
    }

    /// Predicates that have to hold.
    pub(crate) fn needed(&self) -> u64 {
        self.all.holds
    }

    /// The plain part: what has to hold at least.
    pub(crate) fn plain(&self) -> Self {
        Self { all: self.all, not_all: Vec::new() }
    }

    /// Whether nothing can fulfil it, whatever the event.
    pub(crate) fn is_contradiction(&self) -> bool {
        self.all.holds & self.all.fails != 0
            || self.not_all.iter().any(|not| not.holds & !self.all.holds == 0 && not.fails & !self.all.fails == 0)
    }

    /// Whether it may hold of an event with these bits, whatever the run has taken.
    pub(crate) fn may_hold(&self, bits: Bits) -> bool {
        let Bits { holds, unknown } = bits;
        self.all.holds & !(holds | unknown) == 0
            && self.all.fails & holds & !unknown == 0
            && self
                .not_all
                .iter()
                .all(|not| (not.holds | not.fails) & unknown != 0 || not.holds & !holds != 0 || not.fails & holds != 0)
    }

    /// The predicates that somebody may have to be asked about to know whether it holds.
    pub(crate) fn asks(&self, bits: Bits) -> impl Iterator<Item = PredicateId> {
        let mentioned = self.not_all.iter().fold(self.all.holds | self.all.fails, |all, not| all | not.holds | not.fails);
        predicates(if self.may_hold(bits) { mentioned & bits.unknown } else { 0 })
    }

    /// Whether it holds.
    #[inline]
    pub(crate) fn test(&self, bits: Bits, answers: &mut dyn Answers) -> bool {
        if !self.may_hold(bits) {
            return false;
        }
        let asked = |literals: &Literals| (literals.holds | literals.fails) & bits.unknown;
        if asked(&self.all) == 0 && self.not_all.iter().all(|not| asked(not) == 0) {
            return true;
        }
        let mut holds = |literals: &Literals| {
            let known = literals.holds & !bits.unknown & !bits.holds == 0 && literals.fails & !bits.unknown & bits.holds == 0;
            known
                && predicates(literals.holds & bits.unknown).all(|predicate| answers.holds(predicate))
                && predicates(literals.fails & bits.unknown).all(|predicate| !answers.holds(predicate))
        };
        holds(&self.all) && self.not_all.iter().all(|not| !holds(not))
    }
}

fn predicates(mut set: u64) -> impl Iterator<Item = PredicateId> {
    std::iter::from_fn(move || {
        let next = set.trailing_zeros();
        set &= set.wrapping_sub(1);
        (next < 64).then_some(PredicateId(next as u8))
    })
}

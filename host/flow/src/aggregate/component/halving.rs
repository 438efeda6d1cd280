//! Which part of a call is tried next: the whole, and halves of what fails, from the left, until what fails is alone.

use std::ops::Range;

use tidemill_event::Ending;

/// How often something alone is tried when its call may end otherwise the next time.
const TRIES_MAX: u32 = 3;
/// Passed deadlines that one call and its halves may cost together; what is left then ends as the last one did.
const DEADLINES_MAX: u32 = 8;

/// What is left to try.
#[derive(Debug)]
pub(crate) struct Halving {
    /// The next one last, with how often it was tried alone.
    left: Vec<(Range<usize>, u32)>,
    deadlines: u32,
}

impl Halving {
    /// Of so many things.
    pub(crate) fn of(count: usize) -> Self {
        let left = if count > 0 { vec![(0..count, 1)] } else { Vec::new() };
        Self { left, deadlines: 0 }
    }

    /// What to try now.
    pub(crate) fn next(&mut self) -> Option<(Range<usize>, u32)> {
        self.left.pop()
    }

    /// That failed. Answers whether it is given up as it stands; if not, its halves come next, or it once more.
    pub(crate) fn failed(&mut self, range: &Range<usize>, tries: u32, ending: Ending) -> bool {
        let may_differ = ending == Ending::Deadline;
        self.deadlines += u32::from(may_differ);
        if self.deadlines >= DEADLINES_MAX {
            return true;
        }
        if range.len() > 1 {
            let middle = range.start + range.len() / 2;
            self.left.push((middle..range.end, 1));
            self.left.push((range.start..middle, 1));
            return false;
        }
        if may_differ && tries < TRIES_MAX {
            self.left.push((range.clone(), tries + 1));
            return false;
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is tried of 0..n, and what is given up (`!`), when calls with one of `bad` end like that.
    fn check(count: usize, bad: &[usize], ending: Ending, expected: &str) {
        let mut halving = Halving::of(count);
        let mut told = Vec::new();
        while let Some((range, tries)) = halving.next() {
            let fails = bad.iter().any(|bad| range.contains(bad));
            let given_up = fails && halving.failed(&range, tries, ending);
            told.push(format!("{}..{}{}", range.start, range.end, if given_up { "!" } else { "" }));
        }
        assert_eq!(told.join(" "), expected);
    }

    #[test]
    fn what_fails_is_halved_until_it_is_alone() {
        check(0, &[], Ending::Trap, "");
        check(5, &[], Ending::Trap, "0..5");
        check(4, &[2], Ending::Trap, "0..4 0..2 2..4 2..3! 3..4");
        check(2, &[0, 1], Ending::OutOfFuel, "0..2 0..1! 1..2!");
        check(2, &[1], Ending::Deadline, "0..2 0..1 1..2 1..2 1..2!");
    }

    #[test]
    fn deadlines_are_few() {
        let every: Vec<usize> = (0..64).collect();
        check(
            64,
            &every,
            Ending::Deadline,
            "0..64 0..32 0..16 0..8 0..4 0..2 0..1 0..1! 1..2! 2..4! 4..8! 8..16! 16..32! 32..64!",
        );
    }
}

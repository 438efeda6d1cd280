//! A row pattern as a program: which row may come next, tried in order of preference.
//!
//! ```text
//! A+? B      0 take A      1 fork 3 | 2      2 take A, go 1      3 take B      4 match          a fork prefers its left side
//! ```
//! A loop whose body may match no row could go round for ever: `enter` and `leave` around such a body let a round without a row end there.

use crate::recognize::refused::{INSTRUCTIONS_MAX, RowPatternRefused};
use crate::recognize::shape::{AfterMatch, RowPattern, VariableId, VariableSet};

/// So many loops with a body that may be empty may be inside each other; a bit each.
const LOOPS_MAX: u8 = 64;
/// `PERMUTE` of more has more orders than there are instructions.
const PERMUTED_MAX: usize = 6;

/// One step of the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Instruction {
    /// The next row must be this, and the program goes on behind.
    Take { variable: VariableId, is_hidden: bool },
    /// Either, rather the first.
    Fork(u32, u32),
    /// On from there.
    Go(u32),
    /// A round begins that must have a row. The number is how many such loops are around it.
    Enter(u8),
    /// That round ends, and the reading with it if it had no row.
    Leave(u8),
    /// All is matched.
    Match,
}

/// A pattern, ready to be looked for.
#[derive(Debug, Clone)]
pub(crate) struct Program {
    pub(crate) instructions: Vec<Instruction>,
    /// The variables that a match may begin with.
    pub(crate) first: VariableSet,
    /// Whether it may match no row.
    pub(crate) may_be_empty: bool,
    pub(crate) skip: AfterMatch,
}

impl Program {
    pub(crate) fn new(pattern: &RowPattern, skip: AfterMatch) -> Result<Self, RowPatternRefused> {
        let mut writer = Writer::default();
        writer.write(pattern, false)?;
        writer.put(Instruction::Match)?;
        let instructions = writer.instructions;
        let (first, may_be_empty) = beginnings(&instructions);
        if first.0 == 0 {
            return Err(RowPatternRefused::AlwaysEmpty);
        }
        match skip {
            // Whatever the first row is taken for, it is one to skip to. An empty match goes on at the next row anyway.
            AfterMatch::ToFirst(to) if first.0 & !to.0 == 0 => return Err(RowPatternRefused::SkipsToItsStart),
            AfterMatch::ToFirst(_) | AfterMatch::ToLast(_) | AfterMatch::PastLast | AfterMatch::ToNext => {}
        }
        Ok(Self { instructions, first, may_be_empty, skip })
    }
}

impl RowPattern {
    /// Whether it can be looked for, with what happens behind a match.
    pub fn check(&self, skip: AfterMatch) -> Result<(), RowPatternRefused> {
        Program::new(self, skip).map(|_| ())
    }
}

/// What the first row may be, and whether there need be none.
fn beginnings(instructions: &[Instruction]) -> (VariableSet, bool) {
    let (mut first, mut may_be_empty) = (0, false);
    let (mut seen, mut open) = (vec![false; instructions.len()], vec![0u32]);
    while let Some(at) = open.pop() {
        if std::mem::replace(&mut seen[at as usize], true) {
            continue;
        }
        match instructions[at as usize] {
            Instruction::Take { variable, .. } => first |= VariableSet::one(variable).0,
            Instruction::Fork(one, other) => open.extend([one, other]),
            Instruction::Go(to) => open.push(to),
            // Without a row there is nothing behind such a round that was not before it.
            Instruction::Enter(_) | Instruction::Leave(_) => open.push(at + 1),
            Instruction::Match => may_be_empty = true,
        }
    }
    (VariableSet(first), may_be_empty)
}

/// Whether a pattern may match no row.
fn may_be_empty(pattern: &RowPattern) -> bool {
    match pattern {
        RowPattern::Variable(_) => false,
        RowPattern::Empty => true,
        RowPattern::Sequence(parts) | RowPattern::Permute(parts) => parts.iter().all(may_be_empty),
        RowPattern::Choice(parts) => parts.iter().any(may_be_empty),
        RowPattern::Repeat { pattern, min, .. } => *min == 0 || may_be_empty(pattern),
        RowPattern::Exclude(inner) => may_be_empty(inner),
    }
}

/// All orders of some things, those first that come first when places are compared from left to right.
fn orders(things: &[usize]) -> Vec<Vec<usize>> {
    if things.is_empty() {
        return vec![Vec::new()];
    }
    let behind = |first: usize| {
        let rest: Vec<usize> = things.iter().copied().filter(|other| *other != first).collect();
        orders(&rest).into_iter().map(move |order| std::iter::once(first).chain(order).collect())
    };
    things.iter().flat_map(|first| behind(*first)).collect()
}

#[derive(Default)]
struct Writer {
    instructions: Vec<Instruction>,
    /// Loops around what is being written that must have a row in each round.
    loops: u8,
}

impl Writer {
    fn next(&self) -> u32 {
        self.instructions.len() as u32
    }

    fn put(&mut self, instruction: Instruction) -> Result<u32, RowPatternRefused> {
        if self.instructions.len() == INSTRUCTIONS_MAX {
            return Err(RowPatternRefused::TooLong);
        }
        self.instructions.push(instruction);
        Ok(self.next() - 1)
    }

    fn write(&mut self, pattern: &RowPattern, is_hidden: bool) -> Result<(), RowPatternRefused> {
        match pattern {
            RowPattern::Variable(variable) => {
                self.put(Instruction::Take { variable: *variable, is_hidden })?;
            }
            RowPattern::Empty => {}
            RowPattern::Sequence(parts) => parts.iter().try_for_each(|part| self.write(part, is_hidden))?,
            RowPattern::Choice(parts) => {
                self.choice(parts.len(), |writer, at| writer.write(&parts[at], is_hidden))?;
            }
            RowPattern::Permute(parts) => self.permute(parts, is_hidden)?,
            RowPattern::Repeat { pattern, min, max, is_greedy } => {
                self.repeat(pattern, *min, *max, *is_greedy, is_hidden)?;
            }
            RowPattern::Exclude(inner) => self.write(inner, true)?,
        }
        Ok(())
    }

    /// So many alternatives, the first one rather.
    fn choice(
        &mut self,
        count: usize,
        mut write: impl FnMut(&mut Self, usize) -> Result<(), RowPatternRefused>,
    ) -> Result<(), RowPatternRefused> {
        let mut ends = Vec::new();
        for at in 0..count {
            if at + 1 == count {
                write(self, at)?;
                break;
            }
            let fork = self.put(Instruction::Fork(self.next() + 1, 0))?;
            write(self, at)?;
            ends.push(self.put(Instruction::Go(0))?);
            self.instructions[fork as usize] = Instruction::Fork(fork + 1, self.next());
        }
        let end = self.next();
        ends.into_iter().for_each(|at| self.instructions[at as usize] = Instruction::Go(end));
        Ok(())
    }

    /// An alternative for each order: which order comes before what is taken in it, so that none can be shared.
    fn permute(&mut self, parts: &[RowPattern], is_hidden: bool) -> Result<(), RowPatternRefused> {
        if parts.len() > PERMUTED_MAX {
            return Err(RowPatternRefused::TooLong);
        }
        let orders = orders(&(0..parts.len()).collect::<Vec<_>>());
        self.choice(orders.len(), |writer, at| orders[at].iter().try_for_each(|part| writer.write(&parts[*part], is_hidden)))
    }

    fn repeat(
        &mut self,
        pattern: &RowPattern,
        min: u32,
        max: Option<u32>,
        is_greedy: bool,
        is_hidden: bool,
    ) -> Result<(), RowPatternRefused> {
        match max {
            Some(0) => return Err(RowPatternRefused::Nothing),
            Some(max) if max < min => return Err(RowPatternRefused::Backwards { min, max }),
            Some(_) | None => {}
        }
        // Rounds without a row write nothing: their number is bounded here, as that of instructions does not.
        if min as usize > INSTRUCTIONS_MAX || max.is_some_and(|max| max as usize > INSTRUCTIONS_MAX) {
            return Err(RowPatternRefused::TooLong);
        }
        (0..min).try_for_each(|_| self.write(pattern, is_hidden))?;
        let fork = |on: u32, out: u32| if is_greedy { Instruction::Fork(on, out) } else { Instruction::Fork(out, on) };
        match max {
            None => {
                let again = self.put(Instruction::Go(0))?;
                if may_be_empty(pattern) {
                    let number = self.loops;
                    if number == LOOPS_MAX {
                        return Err(RowPatternRefused::TooLong);
                    }
                    self.put(Instruction::Enter(number))?;
                    self.loops += 1;
                    self.write(pattern, is_hidden)?;
                    self.loops -= 1;
                    self.put(Instruction::Leave(number))?;
                } else {
                    self.write(pattern, is_hidden)?;
                }
                self.put(Instruction::Go(again))?;
                self.instructions[again as usize] = fork(again + 1, self.next());
            }
            Some(max) => {
                let mut forks = Vec::new();
                for _ in min..max {
                    forks.push(self.put(Instruction::Go(0))?);
                    self.write(pattern, is_hidden)?;
                }
                let end = self.next();
                forks.into_iter().for_each(|at| self.instructions[at as usize] = fork(at + 1, end));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn a() -> RowPattern {
        RowPattern::Variable(VariableId(0))
    }

    fn repeat(pattern: RowPattern, min: u32, max: Option<u32>) -> RowPattern {
        RowPattern::Repeat { pattern: Box::new(pattern), min, max, is_greedy: true }
    }

    #[test]
    fn what_cannot_be_looked_for_is_refused() {
        let check = |pattern: RowPattern, skip: AfterMatch| Program::new(&pattern, skip).map(|_| ()).unwrap_err();
        let past = AfterMatch::PastLast;
        assert_eq!(check(repeat(a(), 3, Some(2)), past), RowPatternRefused::Backwards { min: 3, max: 2 });
        assert_eq!(check(repeat(a(), 0, Some(0)), past), RowPatternRefused::Nothing);
        assert_eq!(check(repeat(a(), 5000, None), past), RowPatternRefused::TooLong);
        assert_eq!(check(repeat(RowPattern::Empty, 0, None), past), RowPatternRefused::AlwaysEmpty);
        assert_eq!(check(RowPattern::Permute(vec![a(); 7]), past), RowPatternRefused::TooLong);
        let to_a = AfterMatch::ToFirst(VariableSet::one(VariableId(0)));
        assert_eq!(
            check(RowPattern::Sequence(vec![a(), RowPattern::Variable(VariableId(1))]), to_a),
            RowPatternRefused::SkipsToItsStart
        );
        assert!(Program::new(&RowPattern::Choice(vec![a(), RowPattern::Variable(VariableId(1))]), to_a).is_ok());
    }
}

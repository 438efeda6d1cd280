//! All readings of the rows behind one start, side by side, the preferred one first: a search that never goes back.
//!
//! ```text
//! rows  r0 r1 │ r2          ways: [state, what was taken so far]      best to worst
//!             └─ each way takes r2 or ends; where one is a match, all behind it end
//! ```
//! What is left when nothing is preferred to the best match is *the* match. Two ways in the same state go on alike, so the worse one ends; unless
//! conditions look at what was taken.

use std::collections::HashSet;

use crate::recognize::program::{Instruction, Program};
use crate::recognize::shape::VariableId;

/// The end of a chain without links.
const NOTHING: u32 = u32::MAX;
/// So many links may be waste before they are looked through.
const WASTED_LINKS_MIN: usize = 4096;

/// What a row was taken for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Taken {
    pub(crate) variable: VariableId,
    /// It stood in `{- -}`.
    pub(crate) is_hidden: bool,
}

/// One row of a chain; the row is as many behind the start as there are links before it.
#[derive(Debug, Clone, Copy)]
struct Link {
    previous: u32,
    taken: Taken,
}

/// A reading of the rows so far: the instruction that waits for the next one (a take), and what was taken.
#[derive(Debug, Clone, Copy)]
struct Way {
    at: u32,
    node: u32,
}

/// What the search needs while it looks at one row; nothing of it outlives that.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    next: Vec<Way>,
    /// When an instruction was last come to.
    seen: Vec<u32>,
    stamp: u32,
    /// The instructions come to inside of rounds that had no row yet, with those rounds.
    seen_inside: HashSet<(u32, u64)>,
    /// Where to go on, and the rounds around it that had no row yet.
    open: Vec<(u32, u64)>,
    taken: Vec<VariableId>,
}

/// The rules of a search.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rules<'a> {
    pub(crate) program: &'a Program,
    /// Some condition looks at what was taken before.
    pub(crate) looks_back: bool,
    /// More ways than these are not followed.
    pub(crate) ways_max: usize,
}

/// The search behind one start.
#[derive(Debug)]
pub(crate) struct Attempt {
    ways: Vec<Way>,
    links: Vec<Link>,
    /// Links that were needed when they were last looked through.
    needed: usize,
    best: Option<(u32, usize)>,
    /// Rows that were looked at.
    pub(crate) length: usize,
}

impl Attempt {
    /// Before the first row.
    pub(crate) fn new(rules: Rules<'_>, scratch: &mut Scratch) -> Self {
        let mut attempt = Self { ways: Vec::new(), links: Vec::new(), needed: 0, best: None, length: 0 };
        let mut ways = Vec::new();
        scratch.begin(rules.program);
        if scratch.follow(rules.program, Way { at: 0, node: NOTHING }, &mut ways) {
            attempt.best = Some((NOTHING, 0));
        }
        attempt.ways = ways;
        attempt
    }

    /// Whether no further row can change the match, or that there is none.
    pub(crate) fn is_decided(&self) -> bool {
        self.ways.is_empty()
    }

    /// The next row. `holds` says whether it may be taken for a variable, given what a way has taken before. Answers how many ways were given up
    /// because there were too many.
    pub(crate) fn take(
        &mut self,
        rules: Rules<'_>,
        scratch: &mut Scratch,
        mut holds: impl FnMut(VariableId, &[VariableId]) -> bool,
    ) -> u64 {
        let mut given_up = 0;
        let mut next = std::mem::take(&mut scratch.next);
        scratch.begin(rules.program);
        for way in &self.ways {
            let Instruction::Take { variable, is_hidden } = rules.program.instructions[way.at as usize] else {
                unreachable!("a way waits for a row")
            };
            if rules.looks_back {
                let Scratch { taken, .. } = scratch;
                taken.clear();
                taken.extend(chain(&self.links, way.node).map(|taken| taken.variable));
                taken.reverse();
            }
            if !holds(variable, &scratch.taken) {
                continue;
            }
            let node = self.links.len() as u32;
            self.links.push(Link { previous: way.node, taken: Taken { variable, is_hidden } });
            if rules.looks_back {
                // Ways that took other rows are others, wherever they stand.
                scratch.begin(rules.program);
            }
            if scratch.follow(rules.program, Way { at: way.at + 1, node }, &mut next) {
                self.best = Some((node, self.length + 1));
                break;
            }
            if next.len() > rules.ways_max {
                given_up += (next.len() - rules.ways_max) as u64;
                next.truncate(rules.ways_max);
                break;
            }
        }
        self.length += 1;
        scratch.next = std::mem::replace(&mut self.ways, next);
        scratch.next.clear();
        if self.links.len() > WASTED_LINKS_MIN + 2 * self.needed {
            self.tidy();
        }
        given_up
    }

    /// What the preferred match took, row by row, if there is one.
    pub(crate) fn best(&self) -> Option<Vec<Taken>> {
        let (node, length) = self.best?;
        let mut taken = Vec::with_capacity(length);
        taken.extend(chain(&self.links, node));
        taken.reverse();
        Some(taken)
    }

    /// Drops links that no way and no match needs.
    fn tidy(&mut self) {
        let mut numbers = vec![NOTHING; self.links.len()];
        let ends = self.ways.iter().map(|way| way.node).chain(self.best.map(|(node, _)| node));
        for mut node in ends.collect::<Vec<_>>() {
            while node != NOTHING && numbers[node as usize] == NOTHING {
                numbers[node as usize] = 0;
                node = self.links[node as usize].previous;
            }
        }
        let number = |numbers: &[u32], node: u32| if node == NOTHING { NOTHING } else { numbers[node as usize] };
        let mut kept = Vec::new();
        // A link stands behind the one before it, so that one has its new number already.
        for at in 0..self.links.len() {
            if numbers[at] != NOTHING {
                let Link { previous, taken } = self.links[at];
                numbers[at] = kept.len() as u32;
                kept.push(Link { previous: number(&numbers, previous), taken });
            }
        }
        self.ways.iter_mut().for_each(|way| way.node = number(&numbers, way.node));
        self.best = self.best.map(|(node, length)| (number(&numbers, node), length));
        self.needed = kept.len();
        self.links = kept;
    }
}

/// What was taken, the last one first.
fn chain(links: &[Link], node: u32) -> impl Iterator<Item = Taken> {
    let mut node = node;
    std::iter::from_fn(move || {
        let link = links.get(node as usize)?;
        node = link.previous;
        Some(link.taken)
    })
}

impl Scratch {
    fn begin(&mut self, program: &Program) {
        self.seen.resize(program.instructions.len(), 0);
        self.seen_inside.clear();
        self.stamp = self.stamp.checked_add(1).unwrap_or_else(|| {
            self.seen.fill(0);
            1
        });
    }

    /// From an instruction to all takes that can be next, in order of preference. Answers whether a match is among them: what is worse is left out.
    fn follow(&mut self, program: &Program, way: Way, ways: &mut Vec<Way>) -> bool {
        self.open.clear();
        self.open.push((way.at, 0));
        while let Some((at, rounds)) = self.open.pop() {
            let instruction = program.instructions[at as usize];
            // Whoever was there before goes on alike, and has the better claim. A take does so whatever rounds are around it: they have a row then.
            let is_known = match instruction {
                Instruction::Take { .. } => self.come_to(at),
                _ if rounds == 0 => self.come_to(at),
                _ => !self.seen_inside.insert((at, rounds)),
            };
            if is_known {
                continue;
            }
            match instruction {
                Instruction::Take { .. } => ways.push(Way { at, node: way.node }),
                Instruction::Fork(one, other) => self.open.extend([(other, rounds), (one, rounds)]),
                Instruction::Go(to) => self.open.push((to, rounds)),
                Instruction::Enter(number) => self.open.push((at + 1, rounds | 1 << number)),
                Instruction::Leave(number) if rounds >> number & 1 == 1 => {}
                Instruction::Leave(_) => self.open.push((at + 1, rounds)),
                Instruction::Match => return true,
            }
        }
        false
    }

    /// Whether somebody came to the instruction before.
    fn come_to(&mut self, at: u32) -> bool {
        std::mem::replace(&mut self.seen[at as usize], self.stamp) == self.stamp
    }
}

//! Rows on their way to the runs of their keys: time passes for a key before its row comes, then the row is taken.

use tidemill_event::Reason;

use crate::group::KeyIndex;
use crate::pattern::asking::{Answers, AskedCondition, Asking, NoAnswer, Question};
use crate::pattern::buffer::{Buffer, Moment};
use crate::pattern::condition::Bits;
use crate::pattern::conditions::{FRESH, Judging, StageCondition};
use crate::pattern::found::Batch;
use crate::pattern::kept::Slot;
use crate::pattern::matcher::Matcher;
use crate::pattern::run::Candidate;
use crate::pattern::running::{Places, Running};
use crate::pattern::shape::PredicateId;
use crate::rows::Rows;
use crate::{FlowBatch, Marks, Outcome};

/// A row that concerns runs of its key, or begins one.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Arrival {
    /// Of the batch.
    pub(crate) row: u32,
    /// Its key.
    pub(crate) slot: u32,
    /// What the predicates say of it.
    pub(crate) bits: Bits,
}

/// All that a row meets.
pub(crate) struct Meeting<'a> {
    pub(crate) conditions: &'a [StageCondition],
    pub(crate) rows: &'a FlowBatch,
    pub(crate) moments: &'a [Moment],
    /// In the order of their rows.
    pub(crate) arrivals: &'a [Arrival],
    pub(crate) marks: &'a Marks,
    pub(crate) index: &'a mut KeyIndex,
    pub(crate) matcher: &'a mut Matcher,
    pub(crate) buffer: &'a mut Buffer,
    pub(crate) stored: &'a Rows,
    pub(crate) keys: &'a mut [Slot],
    pub(crate) running: &'a mut Running,
    /// Conditions that failed.
    pub(crate) failed: u64,
}

impl Meeting<'_> {
    /// Rows one behind the other.
    pub(crate) fn in_order(&mut self, batch: &mut Batch) {
        let none = Answers::default();
        for arrival in self.arrivals {
            if self.arrive(arrival, batch) {
                self.take(arrival, &none, batch);
            }
        }
    }

    /// The first row of each key, then the second ones, with one call of the component for each round. What comes of them is put in order later.
    pub(crate) fn in_rounds(&mut self, asking: &mut Asking, batch: &mut Batch, output: &mut Outcome) -> Vec<(u32, NoAnswer)> {
        asking.begin();
        let mut dead = Vec::new();
        for round in self.rounds() {
            let arrived: Vec<Arrival> = round.into_iter().filter(|arrival| self.arrive(arrival, batch)).collect();
            let mut questions = Vec::new();
            for arrival in &arrived {
                let (candidate, key) = (self.candidate(arrival), &self.keys[arrival.slot as usize]);
                self.matcher.questions(&key.runs, &candidate, &mut |node, predicate| {
                    if let StageCondition::Asked(_) = &self.conditions[usize::from(predicate.0)] {
                        questions.push(Question { row: arrival.row, node, predicate });
                    }
                });
            }
            let mut answers = self.ask(asking, questions, output);
            for arrival in &arrived {
                if !answers.is_dead(arrival.row) {
                    self.take(arrival, &answers, batch);
                }
            }
            dead.append(&mut answers.dead);
        }
        dead
    }

    fn ask(&mut self, asking: &mut Asking, questions: Vec<Question>, output: &mut Outcome) -> Answers {
        let Self { conditions, rows, buffer, stored, running, failed, .. } = self;
        let number = |predicate: PredicateId| match &conditions[usize::from(predicate.0)] {
            StageCondition::Asked(AskedCondition { number, .. }) => *number,
            StageCondition::Row(_) | StageCondition::Shared(_) | StageCondition::Run(_) => {
                unreachable!("only what the component answers is asked")
            }
        };
        let places = || Places { batch: Some(&rows.rows), kept: stored };
        asking.ask(questions, rows, number, |at, node| running.value(at, node, buffer, places()), failed, output)
    }

    /// Rows by how many of their key stand before them.
    fn rounds(&self) -> Vec<Vec<Arrival>> {
        let mut before = vec![0usize; self.keys.len()];
        let mut rounds: Vec<Vec<Arrival>> = Vec::new();
        for arrival in self.arrivals {
            let round = &mut before[arrival.slot as usize];
            if rounds.len() == *round {
                rounds.push(Vec::new());
            }
            rounds[*round].push(*arrival);
            *round += 1;
        }
        rounds
    }

    fn candidate(&self, arrival: &Arrival) -> Candidate {
        let Arrival { row, bits: Bits { holds, unknown }, .. } = *arrival;
        Candidate { moment: self.moments[row as usize], row: row | FRESH, holds, unknown }
    }

    /// Time has gone on since the key's last row, by the watermark before this one and then by its own time. Answers whether the row
    /// concerns the key at all.
    fn arrive(&mut self, arrival: &Arrival, batch: &mut Batch) -> bool {
        let (candidate, slot) = (self.candidate(arrival), arrival.slot);
        let key = &mut self.keys[slot as usize];
        if key.runs.is_empty() && !self.matcher.may_begin(&candidate) {
            return false;
        }
        let origin = self.rows.origin[arrival.row as usize];
        if key.touch() {
            // Its name is needed until the rows are told.
            self.index.hold(slot);
            batch.touched.push(slot);
        }
        for now in [self.marks.before(origin).0, candidate.moment.time] {
            if key.runs.deadline().is_some_and(|deadline| deadline <= now) {
                // Nobody can send again what time let out: it is counted.
                let _ = self.matcher.advance(&mut key.runs, self.buffer, now, &mut batch.found);
                batch.by_time(slot, key.origin, self.marks, Some(origin));
            }
        }
        key.origin = origin;
        true
    }

    fn take(&mut self, arrival: &Arrival, answers: &Answers, batch: &mut Batch) {
        let (candidate, slot, row) = (self.candidate(arrival), arrival.slot, arrival.row as usize);
        let key = &mut self.keys[slot as usize];
        let mut judging = Judging {
            conditions: self.conditions,
            rows: &self.rows.rows,
            kept: self.stored,
            running: self.running,
            answers,
            failed: 0,
        };
        let passed = self.matcher.take(&mut key.runs, self.buffer, &candidate, &mut judging, &mut batch.found);
        if let Err(error) = passed.left {
            batch.failed.push((row, Reason::Expression, error.to_string()));
        } else if passed.is_refused {
            let runs_max = self.matcher.limits.runs_max;
            let words =
                format!("it would begin a match, and its key has {runs_max} partial ones: as many as `runs_max` lets it have");
            batch.failed.push((row, Reason::TooManyPartialMatches, words));
        }
        self.failed += judging.failed;
        batch.by_event(slot, self.rows.origin[row], candidate.moment);
    }
}

//! What a list of patterns keeps: rows that wait, once for all; and each pattern's entries behind its mark.
//!
//! ```text
//! waiting row, count    as of one pattern (`order.rs`)
//! MEMBER mark entry     mark: 8 bytes, of the pattern's name and what its state hangs on; entry: as of one pattern (`kept.rs`)
//! ```
//! Entries of a mark that nobody has are of a pattern that was removed or changed: they are not taken back, and go from the store with the next
//! checkpoint.

use std::collections::HashMap;
use std::sync::Arc;

use arrow_array::{RecordBatch, StringArray};
use arrow_select::concat::concat_batches;
use tidemill_event::batch::times;
use tidemill_event::{Field, FieldType};

use crate::checksum::checksum;
use crate::deadlines::Deadlines;
use crate::key_state::column;
use crate::pattern::PatternStep;
use crate::pattern::kept::RUNS;
use crate::pattern::list::holders::Holders;
use crate::pattern::list::rows::PATTERN;
use crate::pattern::order::Waiting;
use crate::pattern::tally::PatternTally;
use crate::state::corrupt;
use crate::{InStore, KeyChange, KeyState, OpenRuns, Operator, Save, StateCorrupt, StepState};

/// What the keys of patterns' entries begin with in the store.
const MEMBER: u8 = 0x22;

/// Which rows a pattern has to see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sees {
    /// Those that fit something of it: it passes over all others.
    Fitting,
    /// Those too that are of a key it has runs of.
    ItsKeys,
    /// All: any may begin a run, as far as the row alone says.
    All,
}

/// A pattern with its mark.
pub(super) struct Member {
    pub(super) name: Arc<str>,
    mark: [u8; 8],
    pub(super) step: PatternStep,
    pub(super) sees: Sees,
}

impl Member {
    /// `shape`: what its state hangs on.
    pub(super) fn new(name: Arc<str>, shape: &str, step: PatternStep) -> Self {
        let mark = checksum(checksum(0, name.as_bytes()), shape.as_bytes()).to_be_bytes();
        let sees = match step.passes_over() {
            true => Sees::Fitting,
            false if step.begins(0) => Sees::All,
            false => Sees::ItsKeys,
        };
        Self { name, mark, step: step.among_others(), sees }
    }

    fn state(&mut self) -> &mut dyn StepState {
        self.step.state().expect("a pattern has state")
    }

    fn key(&self, key: &[u8]) -> Box<[u8]> {
        [&[MEMBER], &self.mark[..], key].concat().into()
    }
}

/// All of it.
pub(super) struct Kept {
    pub(super) waiting: Waiting,
    pub(super) members: Vec<Member>,
    /// Members by their marks.
    by_mark: HashMap<[u8; 8], u32>,
    /// When the next run of a member is over.
    pub(super) deadlines: Deadlines,
    /// Members that see all rows, ascending.
    pub(super) seeing_all: Vec<u32>,
    /// Of the members that see all rows of some keys.
    pub(super) holders: Holders,
    /// Of all members; not known where entries were put back since somebody asked.
    pub(super) tally: Option<PatternTally>,
    /// Keys of entries that are nobody's any more.
    gone: Vec<Box<[u8]>>,
}

impl Kept {
    /// `by`: the key of all members.
    pub(super) fn new(waiting: Waiting, members: Vec<Member>, by: Vec<Field>) -> Self {
        let by_mark = (0..).zip(&members).map(|(at, member)| (member.mark, at)).collect();
        let (deadlines, holders) = (Deadlines::default(), Holders::new(by));
        let seeing_all = (0..).zip(&members).filter(|(_, member)| member.sees == Sees::All).map(|(at, _)| at).collect();
        Self { waiting, members, by_mark, seeing_all, deadlines, holders, tally: None, gone: Vec::new() }
    }

    /// What all members did so far.
    pub(super) fn tally(&mut self) -> PatternTally {
        *self.tally.get_or_insert_with(|| tally_of(&self.members))
    }

    /// An entry of a member was put back.
    fn restored(&mut self, at: u32, key: &[u8]) {
        self.tally = None;
        let Member { step, sees, .. } = &self.members[at as usize];
        self.deadlines.set(at, step.deadline());
        if let (Sees::ItsKeys, [RUNS, key @ ..]) = (sees, key) {
            self.holders.note(key, at, true);
        }
    }
}

/// What members did so far, together.
pub(super) fn tally_of(members: &[Member]) -> PatternTally {
    members.iter().fold(PatternTally::default(), |sum, member| sum.with(&member.step.tally()))
}

impl StepState for Kept {
    fn len(&self) -> usize {
        self.waiting.len() + self.members.iter().map(|member| member.step.entries().0).sum::<usize>()
    }

    fn changed_len(&self) -> usize {
        self.waiting.changed_len() + self.gone.len() + self.members.iter().map(|member| member.step.entries().1).sum::<usize>()
    }

    fn take_some(&mut self, most: usize, save: Save) -> Vec<KeyChange> {
        let gone = self.gone.drain(..).map(|key| KeyChange { key, value: None, stored: InStore::Unknown });
        let mut changes: Vec<KeyChange> = gone.collect();
        changes.extend(self.waiting.take_some(most, save));
        for member in &mut self.members {
            let left = most.saturating_sub(changes.len());
            if left == 0 {
                break;
            }
            if member.step.entries().1 > 0 {
                let taken = member.state().take_some(left, save);
                changes.extend(taken.into_iter().map(|change| KeyChange { key: member.key(&change.key), ..change }));
            }
        }
        changes
    }

    fn restore_entry(&mut self, key: &[u8], value: &[u8]) -> Result<(), StateCorrupt> {
        match key.strip_prefix(&[MEMBER]).and_then(<[u8]>::split_first_chunk::<8>) {
            Some((mark, rest)) => match self.by_mark.get(mark).copied() {
                Some(at) => {
                    self.members[at as usize].state().restore_entry(rest, value)?;
                    self.restored(at, rest);
                    Ok(())
                }
                None => {
                    self.gone.push(key.into());
                    Ok(())
                }
            },
            None => self.waiting.restore(key, value).ok_or_else(|| corrupt(key, "patterns of a list", 0)),
        }
    }

    /// As of one pattern, with the name of each.
    fn of_key(&mut self, key: &RecordBatch) -> Option<KeyState> {
        let (mut names, mut held): (Vec<&str>, Vec<KeyState>) = (Vec::new(), Vec::new());
        for member in &mut self.members {
            let state = member.step.state().expect("a pattern has state").of_key(key)?;
            names.resize(names.len() + state.rows.num_rows(), &*member.name);
            held.push(state);
        }
        let KeyState { fields, rows } = held.first()?;
        let rows = concat_batches(rows.schema_ref(), held.iter().map(|held| &held.rows)).expect("the same columns");
        let times = times(&rows).values().to_vec();
        let named = column(PATTERN, FieldType::String, StringArray::from(names));
        let columns = [named].into_iter().chain(fields.iter().cloned().zip(rows.columns().iter().cloned()));
        Some(KeyState::new(columns.collect(), times))
    }

    fn open_runs(&self) -> Vec<OpenRuns> {
        let of = |member: &Member| {
            let (runs, keys) = (member.step.tally().runs, member.step.entries().0 as u64);
            OpenRuns { pattern: Some(member.name.clone()), runs, keys }
        };
        self.members.iter().map(of).collect()
    }

    fn checksum(&mut self) -> u64 {
        let waiting = self.waiting.checksum();
        // The same run of two patterns is two entries. A pattern without any adds nothing, so that one may come and go.
        let with_entries = self.members.iter_mut().filter(|member| member.step.entries().0 > 0);
        with_entries.fold(waiting, |sum, member| {
            let own = checksum(0, &member.mark) | 1;
            sum.wrapping_add(member.state().checksum().wrapping_mul(own))
        })
    }
}

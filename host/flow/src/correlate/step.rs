//! The step: rows of many keys in, matches with their evidence out.

use arrow_array::Array;
use tidemill_event::{Breaker, Field, Reason};

use crate::checksum::checksum;
use crate::correlate::group::{Added, Event};
use crate::correlate::groups::Groups;
use crate::correlate::output::{self, Match};
use crate::correlate::{CorrelateReport, CorrelateSettings, TooManyKinds};
use crate::group::KeyIndex;
use crate::keys::KeyColumn;
use crate::pattern::{Ordered, PatternOrder, Waiting};
use crate::rows::Rows;
use crate::{Computed, FlowBatch, OnFailing, Operator, Outcome, StepId, StepState, Tested, Watermark};

/// Groups of events of a key, as a step.
pub struct CorrelateStep {
    set: CorrelateSettings,
    groups: Groups,
    /// How many events were held when it last said so.
    open: u64,
}

/// What the rows of a batch are to their groups.
struct Judged {
    /// A bit for each kind.
    kinds: Vec<u64>,
    /// A hash of the value that counts; `None`: it counts for nothing.
    values: Vec<Option<u64>>,
    failed: Vec<(usize, String)>,
}

impl CorrelateStep {
    /// A step that has seen no row. Errors: more kinds than are possible.
    pub fn new(set: CorrelateSettings) -> Result<Self, TooManyKinds> {
        if set.kinds.len() > 64 {
            return Err(TooManyKinds(set.kinds.len()));
        }
        let waiting = Waiting::new(PatternOrder::Time, set.judged, set.fields.clone());
        let names = set.kinds.iter().map(|kind| kind.name.clone()).collect();
        let rows = Rows::new(set.kept.clone());
        let groups = Groups::new(KeyIndex::new(set.by.clone()), waiting, rows, names, set.within_micros);
        Ok(Self { set, groups, open: 0 })
    }

    /// The columns that come out of a correlation by this key, `_time` aside.
    pub fn fields(by: &[Field], has_kinds: bool, has_values: bool) -> Vec<Field> {
        output::fields(by, has_kinds, has_values)
    }

    fn judge(&self, rows: &FlowBatch) -> Judged {
        let count = rows.len();
        let (mut kinds, mut failed) = (vec![0; count], Vec::new());
        if count == 0 {
            return Judged { kinds, values: Vec::new(), failed };
        }
        for (number, kind) in self.set.kinds.iter().enumerate() {
            let Tested { passes, failed: errors } = kind.condition.test(&rows.rows);
            let bits = passes.iter().map(|passes| u64::from(passes == Some(true)) << number);
            kinds.iter_mut().zip(bits).for_each(|(kinds, bit)| *kinds |= bit);
            failed.extend(errors);
        }
        let mut values = vec![Some(0); count];
        if let Some(value) = &self.set.value {
            let Computed { values: made, failed: errors } = value.compute(&rows.rows);
            let (column, mut bytes) = (KeyColumn::new(made.as_ref()), Vec::new());
            for (row, hash) in values.iter_mut().enumerate() {
                bytes.clear();
                column.write(row, &mut bytes);
                *hash = made.is_valid(row).then(|| checksum(0, &bytes));
            }
            failed.extend(errors);
        }
        failed.sort_by_key(|(row, _)| *row);
        failed.dedup_by_key(|(row, _)| *row);
        for (row, _) in &failed {
            values[*row] = None;
        }
        Judged { kinds, values, failed }
    }
}

impl Operator for CorrelateStep {
    fn step(&self) -> StepId {
        self.set.step
    }

    fn apply(&mut self, input: FlowBatch, output: &mut Outcome) -> FlowBatch {
        let marks = output.marks();
        let Ordered { rows, moments } = self.groups.waiting.pass(self.set.step, input, &marks, output);
        let Judged { kinds, values, failed } = self.judge(&rows);
        let (Self { set, groups, .. }, mut slots) = (&mut *self, Vec::new());
        groups.index.slots_of(&rows.rows, &mut slots);
        groups.grow();
        let counts = |row: &u32| {
            let at = *row as usize;
            values[at].is_some() && (set.kinds.is_empty() || kinds[at] != 0)
        };
        let counting: Vec<u32> = (0..rows.len() as u32).filter(counts).collect();
        let kept = groups.rows.add(&rows.rows, counting.iter().copied());
        groups.open += kept.len() as u64;
        let (mut matches, mut gone) = (Vec::new(), Vec::new());
        let (mut quiet, mut dropped) = (0, 0);
        for (at, row) in counting.into_iter().map(|row| row as usize).zip(kept) {
            let (slot, moment) = (slots[at], moments[at]);
            let group = &mut groups.of[slot as usize];
            group.pass(moment.time, set.within_micros, &mut gone);
            if group.quiet_until.is_some() {
                quiet += 1;
                gone.push(row);
            } else {
                if group.events.len() >= set.events_max as usize {
                    dropped += 1;
                    gone.extend(group.take_first().map(|event| event.row));
                }
                let event = Event { moment, kinds: kinds[at], value: values[at].unwrap_or_default(), row };
                if group.add(event, set.needed) == Added::IsEnough {
                    let (kinds, values) = group.told();
                    let events = group.end(set.within_micros);
                    gone.extend(events.iter().map(|event| event.row));
                    matches.push(Match { slot, origin: rows.origin[at], kinds, values, events });
                }
            }
            groups.note(slot);
        }
        let report = CorrelateReport { step: set.step, matches: matches.len() as u64, quiet, dropped, open: 0 };
        if let Some(shown) = &set.explained {
            output.evidence.extend(output::explained(&matches, set.step, shown, groups));
        }
        let made = output::rows(&matches, set, &groups.names, &groups.index, &groups.rows);
        groups.drop_rows(&gone);
        groups.forget(marks.end().0);
        groups.index.forget_unheld(&slots);
        let failed = failed.into_iter().map(|(row, error)| (row, Reason::Expression, error)).collect();
        output.bury(&rows, set.step, failed);
        let open = groups.open;
        if open != self.open || matches.len() + quiet as usize + dropped as usize > 0 {
            self.open = open;
            output.correlations.push(CorrelateReport { open, ..report });
        }
        made
    }

    fn state(&mut self) -> Option<&mut dyn StepState> {
        Some(&mut self.groups)
    }

    fn breaker(&mut self) -> Option<(&mut Breaker, OnFailing)> {
        None
    }

    /// Rows that wait for their time. Groups that time alone ends say nothing, and go with the next batch.
    fn due(&self) -> Option<Watermark> {
        self.groups.waiting.due()
    }
}

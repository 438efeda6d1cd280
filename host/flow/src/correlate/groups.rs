//! The groups of all keys, as one entry each.
//!
//! ```text
//! GROUP key    quiet until i64 (the least i64: it is not) · u32 how many events, then each: time i64, number u64, kinds u64, value u64, u32 length, row
//! ```

use std::time::Duration;

use arrow_array::{Int64Array, RecordBatch, StringArray};
use tidemill_event::FieldType;

use crate::aggregate::bytes::{take_i64, take_u32, take_u64};
use crate::correlate::Needed;
use crate::correlate::group::{Event, Group};
use crate::correlate::output::{Shown, evidence};
use crate::entries::Entries;
use crate::group::KeyIndex;
use crate::key_state::{column, times_of};
use crate::pattern::{Moment, Waiting};
use crate::rows::Rows;
use crate::state::corrupt;
use crate::ttl::Expiries;
use crate::{KeyChange, KeyState, Save, StateCorrupt, StepState, Ttl, TtlClock};

/// What the keys of groups begin with in the store.
const GROUP: u8 = 0x40;
const NOT_QUIET: i64 = i64::MIN;

/// All of them.
pub(crate) struct Groups {
    pub(crate) index: KeyIndex,
    pub(crate) waiting: Waiting,
    /// What evidence shows of the events.
    pub(crate) rows: Rows,
    pub(crate) of: Vec<Group>,
    /// Of the kinds.
    pub(crate) names: Vec<Box<str>>,
    /// When each group means nothing any more.
    expiries: Expiries,
    entries: Entries,
    /// Events of all groups.
    pub(crate) open: u64,
    within: i64,
}

impl Groups {
    pub(crate) fn new(index: KeyIndex, waiting: Waiting, rows: Rows, names: Vec<Box<str>>, within: i64) -> Self {
        let expiries = Expiries::new(Ttl::new(Duration::from_micros(within.unsigned_abs()), TtlClock::EventTime));
        let mut new =
            Self { index, waiting, rows, of: Vec::new(), names, expiries, entries: Entries::default(), open: 0, within };
        new.grow();
        new
    }

    /// There are as many places as the index has slots.
    pub(crate) fn grow(&mut self) {
        self.of.resize_with(self.index.slots(), Group::default);
    }

    /// The group of a key has changed.
    pub(crate) fn note(&mut self, slot: u32) {
        let Self { index, of, expiries, entries, within, .. } = self;
        let group = &of[slot as usize];
        entries.follow(slot, !group.is_empty(), GROUP, index);
        if !group.is_empty() {
            expiries.set(slot, group.until(*within));
        }
    }

    /// Groups that mean nothing any more go.
    pub(crate) fn forget(&mut self, watermark: i64) {
        loop {
            let entries = &self.entries;
            let Some(slot) = self.expiries.pop(watermark, |slot| entries.is_live(slot)) else { break };
            let mut gone = Vec::new();
            self.of[slot as usize].pass(watermark, self.within, &mut gone);
            self.drop_rows(&gone);
            self.note(slot);
        }
        let Self { rows, of, .. } = self;
        rows.compact(of.iter().flat_map(|group| group.events.iter().map(|event| event.row)));
    }

    /// Nobody needs these events any more.
    pub(crate) fn drop_rows(&mut self, gone: &[u32]) {
        self.open -= gone.len() as u64;
        gone.iter().for_each(|row| self.rows.remove(*row));
    }

    /// Puts the group of a key back. Its slot.
    fn read(&mut self, key: &[u8], mut rest: &[u8]) -> Option<u32> {
        let slot = self.index.slot_of_key(key)?;
        self.grow();
        let mut group = Group::quiet(Some(take_i64(&mut rest)?).filter(|until| *until != NOT_QUIET));
        let nothing = Needed { kinds: 0, in_order: false, values: 0 };
        for _ in 0..take_u32(&mut rest)? {
            let moment = Moment::decode(&mut rest)?;
            let (kinds, value) = (take_u64(&mut rest)?, take_u64(&mut rest)?);
            let row = self.rows.decode_sized(&mut rest)?;
            // Whether it was enough was decided when it came.
            group.add(Event { moment, kinds, value, row }, nothing);
        }
        self.open += group.events.len() as u64;
        self.of[slot as usize] = group;
        self.note(slot);
        rest.is_empty().then_some(slot)
    }
}

fn encode(slot: u32, key: &mut Vec<u8>, value: &mut Vec<u8>, index: &KeyIndex, of: &[Group], rows: &Rows) {
    *key = index.tagged_key(GROUP, slot);
    let group = &of[slot as usize];
    value.extend_from_slice(&group.quiet_until.unwrap_or(NOT_QUIET).to_le_bytes());
    value.extend_from_slice(&(group.events.len() as u32).to_le_bytes());
    for event in &group.events {
        event.moment.encode(value);
        for number in [event.kinds, event.value] {
            value.extend_from_slice(&number.to_le_bytes());
        }
        rows.encode_sized(event.row, value);
    }
}

impl StepState for Groups {
    fn len(&self) -> usize {
        self.entries.len() + self.waiting.len()
    }

    fn changed_len(&self) -> usize {
        self.entries.changed_len() + self.waiting.changed_len()
    }

    fn take_some(&mut self, most: usize, save: Save) -> Vec<KeyChange> {
        let mut changes = self.waiting.take_some(most, save);
        let Self { index, entries, of, rows, .. } = self;
        changes.extend(entries.take_some(most, save, |slot, key, value| encode(slot, key, value, index, of, rows)));
        changes
    }

    fn restore_entry(&mut self, key: &[u8], value: &[u8]) -> Result<(), StateCorrupt> {
        let read = match key.split_first() {
            Some((&GROUP, of)) => self.read(of, value).map(|slot| self.entries.restored(slot, key, value)),
            _ => self.waiting.restore(key, value),
        };
        read.ok_or_else(|| corrupt(key, "the groups of a correlation", 0))
    }

    /// One row: until when the key is quiet, the kinds that are there and those that are missing, and the events that wait for others.
    fn of_key(&mut self, key: &RecordBatch) -> Option<KeyState> {
        let slot = self.index.asked(key);
        let there: Vec<&Group> = self.of.get(slot as usize).filter(|group| !group.is_empty()).into_iter().collect();
        let shown = Shown { kinds: &self.names, columns: self.rows.fields() };
        let events = |group: &&Group| Some(format!("[{}]", evidence(group.events.iter(), &shown, &self.rows).join(",")));
        let kinds = |group: &&Group| Some(shown.names(group.told().0));
        // A key that is quiet waits for none.
        let missing = |group: &&Group| group.quiet_until.is_none().then(|| shown.names(!group.told().0));
        let columns = vec![
            column("quiet_until", FieldType::Timestamp(None), times_of(there.iter().map(|group| group.quiet_until))),
            column("kinds", FieldType::Json, there.iter().map(kinds).collect::<StringArray>()),
            column("missing", FieldType::Json, there.iter().map(missing).collect::<StringArray>()),
            column("count", FieldType::Int64, there.iter().map(|group| group.events.len() as i64).collect::<Int64Array>()),
            column("events", FieldType::Json, there.iter().map(events).collect::<StringArray>()),
        ];
        let since = |group: &&Group| group.events.front().map_or(0, |event| event.moment.time);
        Some(KeyState::new(columns, there.iter().map(since).collect()))
    }

    fn checksum(&mut self) -> u64 {
        let waiting = self.waiting.checksum();
        let Self { index, entries, of, rows, .. } = self;
        let groups = entries.checksum(|slot, key, value| encode(slot, key, value, index, of, rows));
        groups.wrapping_add(waiting)
    }
}

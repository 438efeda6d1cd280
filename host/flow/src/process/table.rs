//! A table of a process: entries by the step's key and a key of their own, found before a call and written behind it.
//!
//! It is keyed state like a state row ([`KeyedTable`]), with two differences: an entry may be absent, and rows write when they want to. So
//! whether an entry has run out between two rows of a call is only known when the call has answered ([`Found::over`]).

use std::sync::Arc;

use arrow_array::{BooleanArray, UInt32Array};
use arrow_select::take::take;
use tidemill_event::{Field, TableEntries, TableKeys, TableWrites};

use crate::keyed::{FIRST, KeyedTable};
use crate::keys::KeyColumn;
use crate::ttl::Now;
use crate::{Outcome, Ttl};

/// A table as a process step is told of it.
#[derive(Debug, Clone)]
pub struct ProcessTable {
    /// What it is called.
    pub name: Arc<str>,
    /// The fields of an entry's key.
    pub key: Vec<Field>,
    /// What an entry holds.
    pub values: Vec<Field>,
    /// How long an entry lives.
    pub ttl: Option<Ttl>,
    /// Whether a row that wants an entry puts its end off.
    pub on_read: bool,
}

pub(crate) struct Table {
    pub(super) name: Arc<str>,
    /// The fields of an entry's key, and their names.
    pub(super) fields: Vec<Field>,
    key: Vec<Arc<str>>,
    pub(crate) entries: KeyedTable,
    on_read: bool,
}

/// The entries of one call, different ones once.
pub(crate) struct Found {
    /// The rows that want them, as they were asked for, and which of the entries each wants.
    wanting: Vec<(u32, u32)>,
    keys: Vec<Box<[u8]>>,
    there: Vec<bool>,
}

/// Where rows stand in time; what they write and see by a table's own clock follows.
pub(crate) type Times<'a> = dyn Fn(Ttl, u32) -> Now + Sync + 'a;

impl Table {
    pub(crate) fn new(settings: ProcessTable) -> Self {
        let ProcessTable { name, key: own, values, ttl, on_read } = settings;
        let fields: Vec<_> = values.iter().map(|field| Arc::new(Field { nullable: true, ..field.clone() }.arrow())).collect();
        let nothing = values.iter().map(|field| arrow_array::new_null_array(&field.ty.arrow(), 1)).collect();
        let entries = KeyedTable::new(crate::batch::assemble(fields, nothing, 1)).living(ttl);
        let key = own.iter().map(|field| field.name.clone()).collect();
        Self { name, fields: own, key, entries, on_read }
    }

    /// Looks up what rows want. `of_row` is the step's key of a row.
    pub(crate) fn find<'a>(
        &self,
        wanted: &TableKeys,
        of_row: impl Fn(u32) -> &'a [u8],
        times: &Times<'_>,
    ) -> (Found, TableEntries) {
        let columns = KeyColumn::of(&wanted.keys, &self.key);
        let mut numbers = hashbrown::HashMap::<Box<[u8]>, u32, ahash::RandomState>::default();
        let mut found = Found { wanting: Vec::with_capacity(wanted.rows.len()), keys: Vec::new(), there: Vec::new() };
        let mut slots = Vec::new();
        let mut key = Vec::new();
        for (at, row) in wanted.rows.iter().enumerate() {
            key.clear();
            key.extend_from_slice(of_row(*row));
            columns.iter().for_each(|column| column.write(at, &mut key));
            let number = match numbers.get(&*key) {
                Some(number) => *number,
                None => {
                    let number = found.keys.len() as u32;
                    let there = self.entries.find(&key).filter(|slot| match &self.entries.expiries {
                        Some(expiries) => times(expiries.ttl, *row).seen < expiries.of(*slot),
                        None => true,
                    });
                    numbers.insert(key.as_slice().into(), number);
                    found.keys.push(key.as_slice().into());
                    found.there.push(there.is_some());
                    // The slot of the first values holds nulls.
                    slots.push(there.unwrap_or(FIRST));
                    number
                }
            };
            found.wanting.push((*row, number));
        }
        let columns = self.entries.columns.iter().map(|column| column.load(&slots)).collect();
        let fields = self.entries.first.schema_ref().fields().iter().cloned().collect();
        let entries = TableEntries {
            numbers: found.wanting.iter().map(|(_, number)| *number).collect(),
            there: BooleanArray::from(found.there.clone()),
            values: crate::batch::assemble(fields, columns, slots.len()),
        };
        (found, entries)
    }

    /// How the lives of the entries went on through the call's rows: when each expires, and the first row that saw what was over by then,
    /// or did not see what is not over for it: a row may be older than the one before it.
    pub(crate) fn lives(&self, found: &Found, writes: &TableWrites, times: &Times<'_>) -> (Vec<Option<i64>>, Option<u32>) {
        let Some(expiries) = &self.entries.expiries else { return (vec![None; found.keys.len()], None) };
        let ttl = expiries.ttl;
        let first = |(key, there): (&[u8], &bool)| {
            let slot = there.then(|| self.entries.find(key).expect("it was found"));
            slot.map(|slot| expiries.of(slot))
        };
        let mut lives: Vec<Option<i64>> = found.keys.iter().map(|key| &**key).zip(&found.there).map(first).collect();
        let unseen = |(key, there): (&[u8], &bool)| self.entries.find(key).filter(|_| !there).map(|slot| expiries.of(slot));
        let mut unseen: Vec<Option<i64>> = found.keys.iter().map(|key| &**key).zip(&found.there).map(unseen).collect();
        let mut over = None;
        let mut writes = writes.writes.iter().peekable();
        let mut wanting = found.wanting.iter().peekable();
        loop {
            // A row wants first and writes then.
            let row = match (wanting.peek(), writes.peek()) {
                (None, None) => break,
                (Some((row, _)), None) => *row,
                (None, Some(write)) => write.row,
                (Some((row, _)), Some(write)) => write.row.min(*row),
            };
            let now = times(ttl, row);
            while let Some((_, entry)) = wanting.next_if(|(wanting, _)| *wanting == row) {
                if unseen[*entry as usize].is_some_and(|expiry| now.seen < expiry) {
                    over = over.or(Some(row));
                }
                let life = &mut lives[*entry as usize];
                if let Some(expiry) = life {
                    if now.seen >= *expiry {
                        over = over.or(Some(row));
                    }
                    if self.on_read {
                        *expiry = (*expiry).max(ttl.expiry(now));
                    }
                }
            }
            while let Some(write) = writes.next_if(|write| write.row == row) {
                unseen[write.entry as usize] = None;
                let life = &mut lives[write.entry as usize];
                *life = match (*life, write.is_put) {
                    (Some(expiry), true) => Some(expiry.max(ttl.expiry(now))),
                    (None, true) => Some(ttl.expiry(now)),
                    (_, false) => None,
                };
            }
        }
        (lives, over)
    }

    /// The call returned: what it wrote is there.
    pub(crate) fn write(&mut self, found: Found, lives: Vec<Option<i64>>, writes: &TableWrites) {
        let Found { keys, there, .. } = found;
        let mut last: Vec<Option<bool>> = vec![None; keys.len()];
        writes.writes.iter().for_each(|write| last[write.entry as usize] = Some(write.is_put));
        let (mut slots, mut put) = (Vec::new(), Vec::new());
        for (entry, ((key, last), life)) in keys.iter().zip(&last).zip(&lives).enumerate() {
            let slot = self.entries.find(key);
            match (last, slot) {
                (Some(true), slot) => {
                    let slot = slot.unwrap_or_else(|| self.entries.insert(key));
                    slots.push(slot);
                    put.push(entry as u32);
                    self.live_until(slot, *life);
                    self.entries.touch(slot);
                }
                (Some(false), Some(slot)) => self.entries.remove(slot),
                (None, Some(slot)) if there[entry] && self.live_until(slot, *life) => self.entries.touch(slot),
                (Some(false) | None, _) => {}
            }
        }
        let put = UInt32Array::from(put);
        for (column, values) in self.entries.columns.iter_mut().zip(writes.values.columns()) {
            let values = take(values, &put, None).expect("entries of the call");
            column.store(&slots, values.as_ref(), &mut vec![false; slots.len()]);
        }
    }

    /// Whether that is another time than before.
    fn live_until(&mut self, slot: u32, expiry: Option<i64>) -> bool {
        match (&mut self.entries.expiries, expiry) {
            (Some(expiries), Some(expiry)) => {
                let is_other = expiries.of_or_none(slot) != Some(expiry);
                expiries.set(slot, expiry);
                is_other
            }
            (Some(_) | None, _) => false,
        }
    }

    pub(crate) fn forget(&mut self, output: &Outcome) {
        self.entries.forget(output);
    }
}

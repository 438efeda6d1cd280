//! The order in which rows meet the matcher: of (event time, arrival), or as they come.
//!
//! ```text
//! by time      a row waits until W ≥ t, so that whatever comes before it is there; one with t < W is late       without disorder nobody waits
//! as it comes  nobody waits, nobody is late
//! ```
//! How many rows came is an entry of its own: numbers go on behind a restart.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;

use arrow_array::TimestampMicrosecondArray;
use arrow_schema::Field as ArrowField;
use tidemill_event::Field;
use tidemill_event::batch::{TIME_COLUMN, time_field, times};

use crate::batch::{assemble, columns_named, pick, plain};
use crate::checksum::checksum;
use crate::entries::Entries;
use crate::group::ordered::{ordered_int, plain_int};
use crate::pattern::buffer::Moment;
use crate::rows::Rows;
use crate::time::Marks;
use crate::window::LateList;
use crate::{FlowBatch, Judged, KeyChange, Outcome, Save, StepId, Watermark};

/// What the keys of waiting rows begin with in the store.
const WAITING: u8 = 4;
/// The entry of the count.
const COUNT: u8 = 0xff;

/// Which order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PatternOrder {
    /// Of time, then of arrival.
    Time,
    /// Of arrival.
    Arrival,
}

/// Rows in their order, with the input row that let each out.
#[derive(Clone)]
pub(crate) struct Ordered {
    pub(crate) rows: FlowBatch,
    pub(crate) moments: Vec<Moment>,
}

impl Ordered {
    /// Some of them, ascending, with these columns and the time, and without dictionaries.
    pub(crate) fn picked(&self, picked: &[u32], fields: &[Field]) -> Self {
        let names = fields.iter().map(|field| field.name.clone()).chain([TIME_COLUMN.into()]);
        let rows = plain(&pick(&columns_named(&self.rows.rows, names), picked));
        let origin = picked.iter().map(|row| self.rows.origin[*row as usize]).collect();
        Self { rows: FlowBatch { rows, origin }, moments: picked.iter().map(|row| self.moments[*row as usize]).collect() }
    }
}

/// Rows whose time has not come.
pub(crate) struct Waiting {
    order: PatternOrder,
    judged: Judged,
    rows: Rows,
    queue: BinaryHeap<Reverse<(Moment, u32)>>,
    /// Per waiting row.
    moments: Vec<Moment>,
    entries: Entries,
    /// Rows that came so far.
    count: u64,
    is_count_changed: bool,
}

impl Waiting {
    pub(crate) fn new(order: PatternOrder, judged: Judged, fields: Vec<Field>) -> Self {
        Self {
            order,
            judged,
            rows: Rows::new(fields),
            queue: BinaryHeap::new(),
            moments: Vec::new(),
            entries: Entries::default(),
            count: 0,
            is_count_changed: false,
        }
    }

    /// The columns of rows, `_time` aside.
    pub(crate) fn fields(&self) -> &[Field] {
        self.rows.fields()
    }

    /// The next watermark that lets a row out.
    pub(crate) fn due(&self) -> Option<Watermark> {
        self.queue.peek().map(|Reverse((moment, _))| Watermark(moment.time))
    }

    /// Rows come in, rows whose time has come go on.
    pub(crate) fn pass(&mut self, step: StepId, input: FlowBatch, marks: &Marks, output: &mut Outcome) -> Ordered {
        self.is_count_changed |= !input.is_empty();
        if self.order == PatternOrder::Arrival || self.queue.is_empty() && self.nobody_waits(&input, marks) {
            let first = self.count;
            self.count += input.len() as u64;
            let moments = (first..).zip(times(&input.rows).values()).map(|(number, time)| Moment { time: *time, number });
            let moments = moments.collect();
            return Ordered { rows: input, moments };
        }
        let (first, origins) = self.admit(step, &input, marks, output);
        self.release(marks, first, &origins)
    }

    fn judge(&self, marks: &Marks, origin: u32) -> Watermark {
        match self.judged {
            Judged::ByLane => marks.judge(origin),
            Judged::ByTask => marks.before(origin),
        }
    }

    /// Whether all rows are in order, and each may go on as soon as it is there.
    fn nobody_waits(&self, input: &FlowBatch, marks: &Marks) -> bool {
        let times = times(&input.rows).values();
        times.is_sorted()
            && times.iter().zip(&input.origin).all(|(time, origin)| {
                let is_late = *time < self.judge(marks, *origin).0;
                !is_late && marks.after(*origin).0 > time.saturating_sub(1)
            })
    }

    fn admit(&mut self, step: StepId, input: &FlowBatch, marks: &Marks, output: &mut Outcome) -> (u64, Vec<u32>) {
        let (mut taken, mut late) = (Vec::with_capacity(input.len()), LateList::default());
        for (row, time) in (0u32..).zip(times(&input.rows).values()) {
            let judge = self.judge(marks, input.origin[row as usize]);
            if *time < judge.0 { late.push(row, judge, None) } else { taken.push(row) }
        }
        output.dropped_late += late.len() as u64;
        late.tell(step, input, output);
        let rows = self.rows.add(&input.rows, taken.iter().copied());
        let first = self.count;
        let mut origins = Vec::with_capacity(rows.len());
        for (row, place) in rows.into_iter().zip(taken) {
            self.wait(row, Moment { time: times(&input.rows).value(place as usize), number: self.count });
            self.count += 1;
            origins.push(input.origin[place as usize]);
        }
        (first, origins)
    }

    fn wait(&mut self, row: u32, moment: Moment) {
        self.moments.resize(self.rows.slots(), Moment { time: 0, number: 0 });
        self.moments[row as usize] = moment;
        self.queue.push(Reverse((moment, row)));
        self.entries.touch(row);
    }

    fn release(&mut self, marks: &Marks, first: u64, origins: &[u32]) -> Ordered {
        let (mut released, mut moments, mut origin) = (Vec::new(), Vec::new(), Vec::new());
        while let Some(Reverse((moment, row))) = self.queue.peek().copied() {
            if moment.time > marks.end().0 {
                break;
            }
            self.queue.pop();
            self.entries.remove(row, || waiting_key(moment));
            // The watermark may have been there before the row was.
            let own = moment.number.checked_sub(first).map_or(0, |at| origins[at as usize]);
            origin.push(own.max(marks.lets_out(moment.time.saturating_sub(1)).unwrap_or(0)));
            moments.push(moment);
            released.push(row);
        }
        let fields: Vec<Arc<ArrowField>> =
            self.rows.fields().iter().map(|field| Arc::new(field.arrow())).chain([Arc::new(time_field())]).collect();
        let mut columns = self.rows.gather(released.iter().map(|row| Some(*row)));
        let times = TimestampMicrosecondArray::from_iter_values(moments.iter().map(|moment| moment.time)).with_timezone("UTC");
        columns.push(Arc::new(times));
        released.iter().for_each(|row| self.rows.remove(*row));
        let Self { rows, queue, .. } = self;
        rows.compact(queue.iter().map(|Reverse((_, row))| *row));
        Ordered { rows: FlowBatch { rows: assemble(fields, columns, released.len()), origin }, moments }
    }

    /// How many rows wait.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn changed_len(&self) -> usize {
        self.entries.changed_len() + usize::from(self.is_count_changed)
    }

    /// About so many changes.
    pub(crate) fn take_some(&mut self, most: usize, save: Save) -> Vec<KeyChange> {
        let Self { entries, moments, rows, .. } = self;
        let mut changes = entries.take_some(most, save, |row, key, value| encode(row, key, value, moments, rows));
        if std::mem::take(&mut self.is_count_changed) {
            changes.push(KeyChange::of_step([COUNT], &self.count.to_le_bytes()));
        }
        changes
    }

    pub(crate) fn checksum(&mut self) -> u64 {
        let of_count = checksum(checksum(0, &[COUNT]), &self.count.to_le_bytes());
        let Self { entries, moments, rows, .. } = self;
        entries.checksum(|row, key, value| encode(row, key, value, moments, rows)).wrapping_add(of_count)
    }

    /// Puts an entry back. `None`: it is none of these.
    pub(crate) fn restore(&mut self, key: &[u8], value: &[u8]) -> Option<()> {
        if key == [COUNT] {
            self.count = u64::from_le_bytes(value.try_into().ok()?);
            return Some(());
        }
        let (time, number) = key.strip_prefix(&[WAITING])?.split_first_chunk::<8>()?;
        let number = u64::from_be_bytes(*<&[u8; 8]>::try_from(number).ok()?);
        let row = self.rows.decode(value)?;
        self.wait(row, Moment { time: plain_int(u64::from_be_bytes(*time)), number });
        self.entries.restored(row, key, value);
        Some(())
    }
}

fn waiting_key(moment: Moment) -> Vec<u8> {
    let mut key = vec![WAITING];
    key.extend_from_slice(&ordered_int(moment.time).to_be_bytes());
    key.extend_from_slice(&moment.number.to_be_bytes());
    key
}

fn encode(row: u32, key: &mut Vec<u8>, value: &mut Vec<u8>, moments: &[Moment], rows: &Rows) {
    *key = waiting_key(moments[row as usize]);
    rows.encode(row, value);
}

//! What goes into one call and what comes out of it, in the host's layout. Generated code reads and writes these; authors do not.

use crate::abi::bindings::Column as Place;
use crate::output::Buffer;
use crate::reject::Note;

/// The rows of one call, where the host put them.
#[derive(Debug, Clone, Copy)]
pub struct Call<'a> {
    /// How many rows, at least 1.
    pub rows: usize,
    /// The declared columns.
    pub columns: &'a [Place],
    /// How many keys the rows have; 0 without state.
    pub keys: usize,
    /// Where the rows' keys start in `data`.
    pub row_keys: u32,
    /// The state columns, `keys` values each.
    pub state: &'a [Place],
    /// The buffer.
    pub data: &'a [u8],
}

impl<'a> Call<'a> {
    /// The key of each row, as little-endian u32.
    pub(crate) fn row_keys(&self) -> &'a [[u8; 4]] {
        self.data[self.row_keys as usize..][..self.rows * 4].as_chunks().0
    }
}

/// A rule's answer. Kept between calls, so that its memory is taken once.
#[derive(Debug, Default)]
pub struct RuleAnswer {
    /// One bit a row.
    pub verdicts: Vec<u8>,
    /// The output columns.
    pub columns: Vec<Place>,
    /// The new state columns.
    pub state: Vec<Place>,
    /// The buffer of `columns` and `state`.
    pub buffer: Buffer,
    /// Rows with trouble.
    pub notes: Vec<Note>,
}

impl RuleAnswer {
    /// Of nothing yet.
    pub const fn new() -> Self {
        Self { verdicts: Vec::new(), columns: Vec::new(), state: Vec::new(), buffer: Buffer::new(), notes: Vec::new() }
    }

    /// Empty again; the memory stays.
    pub fn clear(&mut self) {
        self.verdicts.clear();
        self.columns.clear();
        self.state.clear();
        self.buffer.clear();
        self.notes.clear();
    }
}

/// A transform's answer. Kept between calls, so that its memory is taken once.
#[derive(Debug, Default)]
pub struct TransformAnswer {
    /// How many rows came out.
    pub rows: usize,
    /// Where the source rows start in the buffer.
    pub source_rows: u32,
    /// The output columns.
    pub columns: Vec<Place>,
    /// The new state columns.
    pub state: Vec<Place>,
    /// The buffer of everything above.
    pub buffer: Buffer,
    /// Rows with trouble.
    pub notes: Vec<Note>,
}

impl TransformAnswer {
    /// Of nothing yet.
    pub const fn new() -> Self {
        Self { rows: 0, source_rows: 0, columns: Vec::new(), state: Vec::new(), buffer: Buffer::new(), notes: Vec::new() }
    }

    /// Empty again; the memory stays.
    pub fn clear(&mut self) {
        self.rows = 0;
        self.source_rows = 0;
        self.columns.clear();
        self.state.clear();
        self.buffer.clear();
        self.notes.clear();
    }
}

/// Values under way: what `compute` and `finish` answer. Kept between calls, so that its memory is taken once.
#[derive(Debug, Default)]
pub struct ValueAnswer {
    /// The one column.
    pub columns: Vec<Place>,
    /// The buffer of it.
    pub buffer: Buffer,
    /// Rows with trouble.
    pub notes: Vec<Note>,
}

impl ValueAnswer {
    /// Of nothing yet.
    pub const fn new() -> Self {
        Self { columns: Vec::new(), buffer: Buffer::new(), notes: Vec::new() }
    }

    /// Empty again; the memory stays.
    pub fn clear(&mut self) {
        self.columns.clear();
        self.buffer.clear();
        self.notes.clear();
    }
}

/// Accumulators under way: what `update`, `merge` and `retract` answer. Kept between calls, so that its memory is taken once.
#[derive(Debug, Default)]
pub struct AccumulatorAnswer {
    /// The new state columns.
    pub state: Vec<Place>,
    /// The buffer of `state`.
    pub buffer: Buffer,
    /// Rows with trouble.
    pub notes: Vec<Note>,
}

impl AccumulatorAnswer {
    /// Of nothing yet.
    pub const fn new() -> Self {
        Self { state: Vec::new(), buffer: Buffer::new(), notes: Vec::new() }
    }

    /// Empty again; the memory stays.
    pub fn clear(&mut self) {
        self.state.clear();
        self.buffer.clear();
        self.notes.clear();
    }
}

/// Which entries a process wants. Kept between calls, so that its memory is taken once.
#[derive(Debug, Default)]
pub struct WantedAnswer {
    /// Where the numbers start in the buffer.
    pub entries: u32,
    /// The key columns.
    pub keys: Vec<Place>,
    /// The buffer of both.
    pub buffer: Buffer,
}

impl WantedAnswer {
    /// Of nothing yet.
    pub const fn new() -> Self {
        Self { entries: 0, keys: Vec::new(), buffer: Buffer::new() }
    }

    /// Empty again; the memory stays.
    pub fn clear(&mut self) {
        self.keys.clear();
        self.buffer.clear();
    }
}

/// A process's answer. Kept between calls, so that its memory is taken once.
#[derive(Debug, Default)]
pub struct ProcessAnswer {
    /// How many rows came out.
    pub rows: usize,
    /// Where their source rows start in the buffer.
    pub source_rows: u32,
    /// The main output's columns.
    pub columns: Vec<Place>,
    /// The new state columns.
    pub state: Vec<Place>,
    /// The value columns of all tables.
    pub entries: Vec<Place>,
    /// How many writes there are.
    pub write_count: usize,
    /// Where they start.
    pub writes: u32,
    /// How many timers were set or taken back.
    pub timer_count: usize,
    /// Where the rows that did it start.
    pub timer_rows: u32,
    /// Their times and names.
    pub timers: Vec<Place>,
    /// Where the counts and source rows of the other outputs start.
    pub side_rows: u32,
    /// The columns of the other outputs.
    pub sides: Vec<Place>,
    /// The buffer of everything above.
    pub buffer: Buffer,
    /// Rows with trouble.
    pub notes: Vec<Note>,
}

impl ProcessAnswer {
    /// Of nothing yet.
    pub const fn new() -> Self {
        Self {
            rows: 0,
            source_rows: 0,
            columns: Vec::new(),
            state: Vec::new(),
            entries: Vec::new(),
            write_count: 0,
            writes: 0,
            timer_count: 0,
            timer_rows: 0,
            timers: Vec::new(),
            side_rows: 0,
            sides: Vec::new(),
            buffer: Buffer::new(),
            notes: Vec::new(),
        }
    }

    /// Empty again; the memory stays.
    pub fn clear(&mut self) {
        for places in [&mut self.columns, &mut self.state, &mut self.entries, &mut self.timers, &mut self.sides] {
            places.clear();
        }
        (self.rows, self.write_count, self.timer_count) = (0, 0, 0);
        self.buffer.clear();
        self.notes.clear();
    }
}

/// A pattern's answer. Kept between calls, so that its memory is taken once.
#[derive(Debug, Default)]
pub struct PatternAnswer {
    /// Stretches of one bit a row.
    pub bits: Vec<u8>,
    /// The columns that matches become.
    pub columns: Vec<Place>,
    /// The buffer of `columns`.
    pub buffer: Buffer,
    /// Rows with trouble.
    pub notes: Vec<Note>,
}

impl PatternAnswer {
    /// Of nothing yet.
    pub const fn new() -> Self {
        Self { bits: Vec::new(), columns: Vec::new(), buffer: Buffer::new(), notes: Vec::new() }
    }

    /// Empty again; the memory stays.
    pub fn clear(&mut self) {
        self.bits.clear();
        self.columns.clear();
        self.buffer.clear();
        self.notes.clear();
    }
}

/// What a component declares.
#[derive(Debug, Clone)]
pub struct Description {
    /// For people.
    pub doc: &'static str,
    /// Columns it reads; of a function or an aggregate, its arguments.
    pub columns: Vec<crate::field::Field>,
    /// Columns it makes; of a function or an aggregate, its value.
    pub outputs: Vec<crate::field::Field>,
    /// State it keeps per key.
    pub state: Vec<crate::field::StateField>,
    /// Of a transform: the output field that is the rows' event time.
    pub time: Option<&'static str>,
    /// Of an aggregate: whether it can take accumulators away again.
    pub retracts: bool,
}

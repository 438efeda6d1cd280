//! The exports of a guest: from the host's raw arguments to [`Call`] and from an answer to raw results.
//!
//! Arguments are written by the host into an arena through `cabi_realloc` before the call; the arena is empty again when the
//! call returns. Results are read by the host after the call and stay until the next one, so no export needs a post-return.

mod aggregate;
mod arena;
mod calls;
mod described;
mod export;
mod pattern;
mod process;

use super::List;
use super::bindings::{self, function, logging, metrics, rule, transform};
use crate::call::{Call, RuleAnswer, TransformAnswer, ValueAnswer};
use crate::reject::Note;

pub use self::aggregate::AggregateGuest;
use self::arena::ARENA;
pub use self::arena::{Global, realloc};
use self::described::{fields, lower_field, optional, state_fields};
pub use self::pattern::PatternGuest;
pub use self::process::ProcessGuest;

/// Writes a log line.
pub(crate) fn log(level: u8, message: &str) {
    // SAFETY: the host reads the text before it returns.
    unsafe { logging::log(i32::from(level), message.as_ptr(), message.len()) };
}

/// Hands over what was measured.
pub(crate) fn measure(series: &std::collections::BTreeMap<String, crate::metrics::Series>) {
    let labels: Vec<Vec<metrics::Label>> = series
        .values()
        .map(|series| {
            let lower =
                |(name, value): &(String, String)| metrics::Label { name: list(name.as_bytes()), value: list(value.as_bytes()) };
            series.labels.iter().map(lower).collect()
        })
        .collect();
    let lower = |(series, labels): (&crate::metrics::Series, &Vec<metrics::Label>)| metrics::Measurement {
        kind: series.kind as u8,
        name: list(series.name.as_bytes()),
        labels: list(labels),
        amounts: list(&series.amounts),
    };
    let measurements: Vec<metrics::Measurement> = series.values().zip(&labels).map(lower).collect();
    // SAFETY: the host reads everything before it returns.
    unsafe { metrics::measure(measurements.as_ptr(), measurements.len()) };
}

/// A `result` of a payload and a string.
#[repr(C)]
pub struct Outcome<T: Copy> {
    failed: u8,
    payload: Payload<T>,
}

#[repr(C)]
union Payload<T: Copy> {
    value: T,
    error: List,
}

/// What the exports of a component of one kind work on.
pub struct Guest<C, A, R: Copy> {
    component: Option<C>,
    answer: A,
    notes: Vec<bindings::Note>,
    error: String,
    opened: Outcome<()>,
    outcome: Outcome<R>,
}

/// A rule's globals.
pub type RuleGuest<C> = Guest<C, RuleAnswer, rule::Answer>;
/// A transform's globals.
pub type TransformGuest<C> = Guest<C, TransformAnswer, transform::Answer>;
/// A function's globals.
pub type FunctionGuest<C> = Guest<C, ValueAnswer, function::Answer>;

const NO_LIST: List = List { pointer: 0, length: 0 };

impl<C, A, R: Copy> Guest<C, A, R> {
    /// Nothing opened yet. `answer` is of nothing.
    pub const fn new(answer: A) -> Self {
        Self {
            component: None,
            answer,
            notes: Vec::new(),
            error: String::new(),
            opened: Outcome { failed: 0, payload: Payload { error: NO_LIST } },
            outcome: Outcome { failed: 0, payload: Payload { error: NO_LIST } },
        }
    }

    fn opened(&mut self, opened: Result<C, String>) -> *const Outcome<()> {
        match opened {
            Ok(component) => {
                self.component = Some(component);
                self.opened.failed = 0;
            }
            Err(error) => {
                self.error = error;
                self.opened = Outcome { failed: 1, payload: Payload { error: list(self.error.as_bytes()) } };
            }
        }
        // SAFETY: arguments were taken; nothing borrows from the arena any more.
        unsafe { ARENA.get() }.reset();
        &self.opened
    }

    /// Ends a call: `value` is what the host reads if it went well.
    fn returned(&mut self, result: Result<(), String>, value: R) -> *const Outcome<R> {
        self.outcome = match result {
            Ok(()) => Outcome { failed: 0, payload: Payload { value } },
            Err(error) => {
                self.error = error;
                Outcome { failed: 1, payload: Payload { error: list(self.error.as_bytes()) } }
            }
        };
        // SAFETY: as above.
        unsafe { ARENA.get() }.reset();
        &self.outcome
    }
}

/// Notes as the host reads them; most answers have none.
fn lower_notes(lowered: &mut Vec<bindings::Note>, notes: &[Note]) -> List {
    if notes.is_empty() {
        return NO_LIST;
    }
    lowered.clear();
    lowered.extend(notes.iter().map(|note| bindings::Note {
        row: note.row,
        kind: u8::from(note.after.is_some()),
        after_ms: note.after.map_or(0, |after| u32::try_from(after.as_millis()).unwrap_or(u32::MAX)),
        text: list(note.text.as_bytes()),
    }));
    list(lowered)
}

/// The raw arguments of `evaluate` and `apply`, in their order.
#[derive(Clone, Copy)]
pub struct RawBatch {
    /// How many rows.
    pub rows: usize,
    /// The columns.
    pub columns: (*const bindings::Column, usize),
    /// How many keys.
    pub keys: usize,
    /// Where the rows' keys start.
    pub row_keys: u32,
    /// The state columns.
    pub state: (*const bindings::Column, usize),
    /// The buffer.
    pub data: (*const u8, usize),
}

impl RawBatch {
    /// # Safety
    /// The pointers are what the host passed to this call.
    unsafe fn call_with<'a>(self, found: (*const bindings::Column, usize)) -> (Call<'a>, &'a [bindings::Column]) {
        // SAFETY: as in `call`; what was found is written behind the data.
        unsafe {
            if found.1 > 0 {
                ARENA.get().hold(found.0 as usize + found.1 * size_of::<bindings::Column>());
            }
            (self.call(), slice(found))
        }
    }

    /// # Safety
    /// The pointers are what the host passed to this call.
    unsafe fn call<'a>(self) -> Call<'a> {
        // SAFETY: nobody holds the arena while an export runs; and the host wrote whole lists into memory that `realloc` gave it, aligned
        // as records ask.
        unsafe {
            // The data is written last, so it reaches farthest.
            ARENA.get().hold(self.data.0 as usize + self.data.1);
            Call {
                rows: self.rows,
                columns: slice(self.columns),
                keys: self.keys,
                row_keys: self.row_keys,
                state: slice(self.state),
                data: slice(self.data),
            }
        }
    }
}

/// # Safety
/// `pointer` is good for `length` elements, or `length` is 0.
unsafe fn slice<'a, T>((pointer, length): (*const T, usize)) -> &'a [T] {
    if length == 0 {
        return &[];
    }
    // SAFETY: the caller's promise.
    unsafe { std::slice::from_raw_parts(pointer, length) }
}

fn list<T>(values: &[T]) -> List {
    List { pointer: values.as_ptr() as usize, length: values.len() }
}

const NOT_OPENED: &str = "the host called before it opened the component";

/// The column of an answer; of one that failed, any: nobody reads it.
fn one_column(answer: &ValueAnswer) -> bindings::Column {
    const NONE: bindings::Column =
        bindings::Column { encoding: 0, validity: 0, values: 0, entry_offsets: 0, entries: 0, bytes: 0, bytes_length: 0 };
    answer.columns.first().copied().unwrap_or(NONE)
}

/// A panic's text would be lost in the trap that follows, so it goes to the log first.
fn hear_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let message = panic.to_string();
        log(crate::log::Level::Error as u8, &message);
    }));
}

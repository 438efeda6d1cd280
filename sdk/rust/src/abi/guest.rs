//! The exports of a guest: from the host's raw arguments to [`Call`] and from an answer to raw results.
//!
//! Arguments are written by the host into an arena through `cabi_realloc` before the call; the arena is empty again when the
//! call returns. Results are read by the host after the call and stay until the next one, so no export needs a post-return.
//!
//! The arena's block stays where it is while it is large enough, and the custom section `tidemill:arguments` tells the host so: it asks for
//! one stretch for all arguments, and writes those of later calls into it without asking again (`docs/decisions/0018` of the host).

use std::cell::UnsafeCell;
use std::ptr;

use super::bindings::{self, aggregate, function, logging, metrics, pattern, process, rule, transform};
use super::{List, OptionalList};
use crate::aggregate::Aggregate;
use crate::call::{
    AccumulatorAnswer, Call, Description, PatternAnswer, ProcessAnswer, RuleAnswer, TransformAnswer, ValueAnswer, WantedAnswer,
};
use crate::function::Function;
use crate::process::{Declared, Opened, Sides};
use crate::reject::Note;
use crate::rule::Rule;
use crate::table::{Found, Tables};
use crate::transform::Transform;

/// A guest's only mutable globals. A guest has one thread, and the host enters it once at a time.
pub struct Global<T>(UnsafeCell<T>);

// SAFETY: wasm32-unknown-unknown guests have a single thread.
unsafe impl<T> Sync for Global<T> {}

impl<T> Global<T> {
    /// Holds `value`.
    pub const fn new(value: T) -> Self {
        Self(UnsafeCell::new(value))
    }

    /// The value.
    ///
    /// # Safety
    /// Only one export may hold it at a time, which the component model ensures: an instance is not re-entered.
    #[expect(clippy::mut_from_ref, reason = "the guest's one mutable global")]
    pub unsafe fn get(&self) -> &mut T {
        // SAFETY: the caller's promise.
        unsafe { &mut *self.0.get() }
    }
}

/// The memory the host writes arguments into: one block that grows to what the largest call needed.
struct Arena {
    block: Vec<u128>,
    used_bytes: usize,
    spilled: Vec<Vec<u128>>,
}

static ARENA: Global<Arena> = Global::new(Arena { block: Vec::new(), used_bytes: 0, spilled: Vec::new() });

impl Arena {
    fn allocate(&mut self, size: usize) -> *mut u8 {
        let start = self.used_bytes.next_multiple_of(16);
        if start + size > self.block.capacity() * 16 {
            let block = Vec::with_capacity(size.max(4096).next_power_of_two() / 16);
            let full = std::mem::replace(&mut self.block, block);
            // One that nothing of this call stands in is of no use any more.
            if self.used_bytes > 0 {
                self.spilled.push(full);
            }
            self.used_bytes = size;
            return self.block.as_mut_ptr().cast();
        }
        self.used_bytes = start + size;
        // SAFETY: `start` lies inside the block's capacity.
        unsafe { self.block.as_mut_ptr().cast::<u8>().add(start) }
    }

    /// The host may have written arguments that end here where an earlier call's stood, without asking: they are in use.
    fn hold(&mut self, end: usize) {
        let block = self.block.as_ptr() as usize;
        if (block..=block + self.block.capacity() * 16).contains(&end) {
            self.used_bytes = self.used_bytes.max(end - block);
        }
    }

    /// Empty again; after a call that needed several blocks, one that holds as much.
    fn reset(&mut self) {
        self.used_bytes = 0;
        if !self.spilled.is_empty() {
            let capacity: usize = self.spilled.iter().map(Vec::capacity).sum::<usize>() + self.block.capacity();
            self.spilled = Vec::new();
            self.block = Vec::new();
            self.block = Vec::with_capacity(capacity);
        }
    }
}

/// `cabi_realloc`.
///
/// # Safety
/// Called by the host between calls, with `old` being null or what an earlier call returned for `old_size` bytes.
pub unsafe fn realloc(old: *mut u8, old_size: usize, _align: usize, new_size: usize) -> *mut u8 {
    // SAFETY: the host calls this before it enters an export.
    let new = unsafe { ARENA.get() }.allocate(new_size);
    if old_size > 0 {
        // SAFETY: both areas belong to the arena and do not overlap.
        unsafe { ptr::copy_nonoverlapping(old, new, old_size.min(new_size)) };
    }
    new
}

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

/// An aggregate's globals: its calls answer with one of two records.
pub struct AggregateGuest<A: Aggregate> {
    changing: Guest<A::Config, AccumulatorAnswer, aggregate::Accumulators>,
    finishing: Guest<(), ValueAnswer, aggregate::Answer>,
}

/// A process's globals: its two calls answer with a record each.
pub struct ProcessGuest<P: Declared> {
    processing: Guest<Opened<P>, ProcessAnswer, process::Answer>,
    wanting: Guest<(), WantedAnswer, process::Wanted>,
}

/// A pattern's globals: its three calls answer with one record.
pub struct PatternGuest<D: crate::pattern::Declared> {
    calls: Guest<crate::pattern::Opened<D>, PatternAnswer, pattern::Answer>,
    definition: pattern::Definition,
}

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

impl<C: Rule> RuleGuest<C> {
    /// Nothing opened yet.
    pub const fn nothing() -> Self {
        Self::new(RuleAnswer::new())
    }

    /// The export `describe`.
    pub fn describe() -> *const rule::Description {
        hear_panics();
        let description = C::describe();
        let lowered = rule::Description {
            doc: list(description.doc.as_bytes()),
            columns: fields(&description.columns),
            outputs: fields(&description.outputs),
            state: state_fields(&description),
        };
        Box::leak(Box::new(lowered))
    }

    /// The export `open`.
    ///
    /// # Safety
    /// The arguments are the host's.
    pub unsafe fn open(&mut self, config: (*const u8, usize)) -> *const Outcome<()> {
        hear_panics();
        // SAFETY: the caller's promise.
        let opened = C::open(super::trusted::text(unsafe { slice(config) }));
        self.opened(opened)
    }

    /// The export `evaluate`.
    ///
    /// # Safety
    /// The arguments are the host's.
    pub unsafe fn evaluate(&mut self, batch: RawBatch) -> *const Outcome<rule::Answer> {
        let Self { component, answer, notes, .. } = self;
        answer.clear();
        let result = match component {
            // SAFETY: the caller's promise.
            Some(component) => component.evaluate(&unsafe { batch.call() }, answer),
            None => Err(NOT_OPENED.to_owned()),
        };
        crate::metrics::end_batch(result.is_ok());
        let lowered = rule::Answer {
            verdicts: list(&answer.verdicts),
            columns: list(&answer.columns),
            state: list(&answer.state),
            data: list(&answer.buffer.bytes),
            notes: lower_notes(notes, &answer.notes),
        };
        self.returned(result, lowered)
    }
}

impl<C: Transform> TransformGuest<C> {
    /// Nothing opened yet.
    pub const fn nothing() -> Self {
        Self::new(TransformAnswer::new())
    }

    /// The export `describe`.
    pub fn describe() -> *const transform::Description {
        hear_panics();
        let description = C::describe();
        let lowered = transform::Description {
            doc: list(description.doc.as_bytes()),
            columns: fields(&description.columns),
            outputs: fields(&description.outputs),
            state: state_fields(&description),
            time: optional(description.time),
        };
        Box::leak(Box::new(lowered))
    }

    /// The export `open`.
    ///
    /// # Safety
    /// The arguments are the host's.
    pub unsafe fn open(&mut self, config: (*const u8, usize)) -> *const Outcome<()> {
        hear_panics();
        // SAFETY: the caller's promise.
        let opened = C::open(super::trusted::text(unsafe { slice(config) }));
        self.opened(opened)
    }

    /// The export `apply`.
    ///
    /// # Safety
    /// The arguments are the host's.
    pub unsafe fn apply(&mut self, batch: RawBatch) -> *const Outcome<transform::Answer> {
        let Self { component, answer, notes, .. } = self;
        answer.clear();
        let result = match component {
            // SAFETY: the caller's promise.
            Some(component) => component.apply(&unsafe { batch.call() }, answer),
            None => Err(NOT_OPENED.to_owned()),
        };
        crate::metrics::end_batch(result.is_ok());
        let lowered = transform::Answer {
            rows: answer.rows as u32,
            source_rows: answer.source_rows,
            columns: list(&answer.columns),
            state: list(&answer.state),
            data: list(&answer.buffer.bytes),
            notes: lower_notes(notes, &answer.notes),
        };
        self.returned(result, lowered)
    }
}

impl<C: Function> FunctionGuest<C> {
    /// Nothing opened yet.
    pub const fn nothing() -> Self {
        Self::new(ValueAnswer::new())
    }

    /// The export `describe`.
    pub fn describe() -> *const function::Description {
        hear_panics();
        let description = C::describe();
        let lowered = function::Description {
            doc: list(description.doc.as_bytes()),
            arguments: fields(&description.columns),
            value: lower_field(&description.outputs[0]),
        };
        Box::leak(Box::new(lowered))
    }

    /// The export `open`.
    ///
    /// # Safety
    /// The arguments are the host's.
    pub unsafe fn open(&mut self, config: (*const u8, usize)) -> *const Outcome<()> {
        hear_panics();
        // SAFETY: the caller's promise.
        let opened = C::open(super::trusted::text(unsafe { slice(config) }));
        self.opened(opened)
    }

    /// The export `compute`.
    ///
    /// # Safety
    /// The arguments are the host's.
    pub unsafe fn compute(&mut self, batch: RawBatch) -> *const Outcome<function::Answer> {
        let Self { component, answer, notes, .. } = self;
        answer.clear();
        let result = match component {
            // SAFETY: the caller's promise.
            Some(component) => component.compute(&unsafe { batch.call() }, answer),
            None => Err(NOT_OPENED.to_owned()),
        };
        crate::metrics::end_batch(result.is_ok());
        let (value, data) = (one_column(answer), list(&answer.buffer.bytes));
        let lowered = function::Answer { value, data, notes: lower_notes(notes, &answer.notes) };
        self.returned(result, lowered)
    }
}

impl<A: Aggregate> AggregateGuest<A> {
    /// Nothing opened yet.
    pub const fn nothing() -> Self {
        Self { changing: Guest::new(AccumulatorAnswer::new()), finishing: Guest::new(ValueAnswer::new()) }
    }

    /// The export `describe`.
    pub fn describe() -> *const aggregate::Description {
        hear_panics();
        let description = A::describe();
        let lowered = aggregate::Description {
            doc: list(description.doc.as_bytes()),
            arguments: fields(&description.columns),
            value: lower_field(&description.outputs[0]),
            state: state_fields(&description),
            retracts: u8::from(description.retracts),
        };
        Box::leak(Box::new(lowered))
    }

    /// The export `open`.
    ///
    /// # Safety
    /// The arguments are the host's.
    pub unsafe fn open(&mut self, config: (*const u8, usize)) -> *const Outcome<()> {
        hear_panics();
        // SAFETY: the caller's promise.
        let opened = A::open(super::trusted::text(unsafe { slice(config) }));
        self.changing.opened(opened)
    }

    /// The export `update`.
    ///
    /// # Safety
    /// The arguments are the host's.
    pub unsafe fn update(&mut self, batch: RawBatch) -> *const Outcome<aggregate::Accumulators> {
        self.change(|config, answer| {
            // SAFETY: the caller's promise.
            A::update_rows(config, &unsafe { batch.call() }, answer);
            Ok(())
        })
    }

    /// The export `merge`.
    ///
    /// # Safety
    /// The arguments are the host's.
    pub unsafe fn merge(&mut self, batch: RawBatch) -> *const Outcome<aggregate::Accumulators> {
        self.change(|_, answer| {
            // SAFETY: the caller's promise.
            A::merge_rows(&unsafe { batch.call() }, answer);
            Ok(())
        })
    }

    /// The export `retract`.
    ///
    /// # Safety
    /// The arguments are the host's.
    pub unsafe fn retract(&mut self, batch: RawBatch) -> *const Outcome<aggregate::Accumulators> {
        // SAFETY: the caller's promise.
        self.change(|_, answer| A::retract_rows(&unsafe { batch.call() }, answer))
    }

    fn change(
        &mut self,
        work: impl FnOnce(&A::Config, &mut AccumulatorAnswer) -> Result<(), String>,
    ) -> *const Outcome<aggregate::Accumulators> {
        let Guest { component, answer, notes, .. } = &mut self.changing;
        answer.clear();
        let result = match component {
            Some(config) => work(config, answer),
            None => Err(NOT_OPENED.to_owned()),
        };
        crate::metrics::end_batch(result.is_ok());
        let lowered = aggregate::Accumulators {
            state: list(&answer.state),
            data: list(&answer.buffer.bytes),
            notes: lower_notes(notes, &answer.notes),
        };
        self.changing.returned(result, lowered)
    }

    /// The export `finish`.
    ///
    /// # Safety
    /// The arguments are the host's.
    pub unsafe fn finish(&mut self, batch: RawBatch) -> *const Outcome<aggregate::Answer> {
        let Guest { answer, notes, .. } = &mut self.finishing;
        answer.clear();
        let result = match &self.changing.component {
            Some(config) => {
                // SAFETY: the caller's promise.
                A::finish_rows(config, &unsafe { batch.call() }, answer);
                Ok(())
            }
            None => Err(NOT_OPENED.to_owned()),
        };
        crate::metrics::end_batch(result.is_ok());
        let (value, data) = (one_column(answer), list(&answer.buffer.bytes));
        let lowered = aggregate::Answer { value, data, notes: lower_notes(notes, &answer.notes) };
        self.finishing.returned(result, lowered)
    }
}

impl<P: Declared> ProcessGuest<P> {
    /// Nothing opened yet.
    pub const fn nothing() -> Self {
        Self { processing: Guest::new(ProcessAnswer::new()), wanting: Guest::new(WantedAnswer::new()) }
    }

    /// The export `describe`.
    pub fn describe() -> *const process::Description {
        hear_panics();
        let description = Opened::<P>::describe();
        let table = |table: crate::table::TableDeclaration| process::Table {
            name: list(table.name.as_bytes()),
            key: fields(table.key),
            values: fields(table.values),
            ttl_us: table.ttl.0,
            ttl_clock: u8::from(table.ttl.1),
            ttl_on_read: u8::from(table.ttl.2),
        };
        let tables: Vec<process::Table> = P::Tables::declared().into_iter().map(table).collect();
        let side = |(name, columns): (&'static str, &'static [crate::field::Field])| process::SideOutput {
            name: list(name.as_bytes()),
            columns: fields(columns),
        };
        let sides: Vec<process::SideOutput> = P::Sides::declared().into_iter().map(side).collect();
        let lowered = process::Description {
            doc: list(description.doc.as_bytes()),
            columns: fields(&description.columns),
            outputs: fields(&description.outputs),
            state: state_fields(&description),
            state_ttl_us: P::STATE_TTL.0,
            state_ttl_clock: u8::from(P::STATE_TTL.1),
            tables: list(Vec::leak(tables)),
            timers: u8::from(P::TIMERS),
            sides: list(Vec::leak(sides)),
        };
        Box::leak(Box::new(lowered))
    }

    /// The export `open`.
    ///
    /// # Safety
    /// The arguments are the host's.
    pub unsafe fn open(&mut self, config: (*const u8, usize)) -> *const Outcome<()> {
        hear_panics();
        // SAFETY: the caller's promise.
        let opened = Opened::open(super::trusted::text(unsafe { slice(config) }));
        self.processing.opened(opened)
    }

    /// The export `wants`.
    ///
    /// # Safety
    /// The arguments are the host's.
    pub unsafe fn wants(&mut self, timers: bool, batch: RawBatch) -> *const Outcome<process::Wanted> {
        let Guest { answer, .. } = &mut self.wanting;
        answer.clear();
        let result = match &self.processing.component {
            Some(process) => {
                // SAFETY: the caller's promise.
                process.wants(timers, &unsafe { batch.call() }, answer);
                Ok(())
            }
            None => Err(NOT_OPENED.to_owned()),
        };
        crate::metrics::end_batch(result.is_ok());
        let lowered = process::Wanted { entries: answer.entries, keys: list(&answer.keys), data: list(&answer.buffer.bytes) };
        self.wanting.returned(result, lowered)
    }

    /// The export `process`.
    ///
    /// # Safety
    /// The arguments are the host's.
    pub unsafe fn process(
        &mut self,
        timers: bool,
        batch: RawBatch,
        entries: u32,
        found: (*const bindings::Column, usize),
    ) -> *const Outcome<process::Answer> {
        let Guest { component, answer, notes, .. } = &mut self.processing;
        answer.clear();
        let result = match component {
            Some(process) => {
                // SAFETY: the caller's promise.
                let (call, columns) = unsafe { batch.call_with(found) };
                process.process(timers, &call, Found { entries, columns }, answer);
                Ok(())
            }
            None => Err(NOT_OPENED.to_owned()),
        };
        crate::metrics::end_batch(result.is_ok());
        let lowered = process::Answer {
            rows: answer.rows as u32,
            source_rows: answer.source_rows,
            columns: list(&answer.columns),
            state: list(&answer.state),
            entries: list(&answer.entries),
            write_count: answer.write_count as u32,
            writes: answer.writes,
            timer_count: answer.timer_count as u32,
            timer_rows: answer.timer_rows,
            timers: list(&answer.timers),
            side_rows: answer.side_rows,
            sides: list(&answer.sides),
            data: list(&answer.buffer.bytes),
            notes: lower_notes(notes, &answer.notes),
        };
        self.processing.returned(result, lowered)
    }
}

impl<D: crate::pattern::Declared> PatternGuest<D> {
    /// Nothing opened yet.
    pub const fn nothing() -> Self {
        let definition = pattern::Definition { pattern: NO_LIST, predicates: 0, conditions: 0 };
        Self { calls: Guest::new(PatternAnswer::new()), definition }
    }

    /// The export `describe`.
    pub fn describe() -> *const pattern::Description {
        hear_panics();
        let description = crate::pattern::Opened::<D>::describe();
        let lowered = pattern::Description {
            doc: list(description.doc.as_bytes()),
            columns: fields(description.columns),
            so_far: fields(description.so_far),
            found: fields(description.found),
            outputs: fields(description.outputs),
            shapes: u8::from(description.shapes),
        };
        Box::leak(Box::new(lowered))
    }

    /// The export `open`.
    ///
    /// # Safety
    /// The arguments are the host's.
    pub unsafe fn open(&mut self, config: (*const u8, usize)) -> *const Outcome<()> {
        hear_panics();
        // SAFETY: the caller's promise.
        let opened = crate::pattern::Opened::open(super::trusted::text(unsafe { slice(config) }));
        self.calls.opened(opened)
    }

    /// The export `pattern`. Of a component that was not opened, or did not open, nothing.
    pub fn pattern(&mut self) -> *const pattern::Definition {
        if let Some(opened) = &self.calls.component {
            let definition = opened.definition();
            self.definition = pattern::Definition {
                pattern: list(definition.text.as_bytes()),
                predicates: definition.predicates() as u32,
                conditions: definition.conditions() as u32,
            };
        }
        &self.definition
    }

    /// The export `judge`.
    ///
    /// # Safety
    /// The arguments are the host's.
    pub unsafe fn judge(&mut self, batch: RawBatch) -> *const Outcome<pattern::Answer> {
        // SAFETY: the caller's promise.
        unsafe { self.answer(batch, crate::pattern::Opened::judge) }
    }

    /// The export `ask`.
    ///
    /// # Safety
    /// The arguments are the host's.
    pub unsafe fn ask(&mut self, batch: RawBatch) -> *const Outcome<pattern::Answer> {
        // SAFETY: the caller's promise.
        unsafe { self.answer(batch, crate::pattern::Opened::ask) }
    }

    /// The export `shape`.
    ///
    /// # Safety
    /// The arguments are the host's.
    pub unsafe fn shape(&mut self, batch: RawBatch) -> *const Outcome<pattern::Answer> {
        // SAFETY: the caller's promise.
        unsafe { self.answer(batch, crate::pattern::Opened::shape) }
    }

    /// # Safety
    /// The arguments are the host's.
    unsafe fn answer(
        &mut self,
        batch: RawBatch,
        make: impl FnOnce(&crate::pattern::Opened<D>, &Call<'_>, &mut PatternAnswer),
    ) -> *const Outcome<pattern::Answer> {
        let Guest { component, answer, notes, .. } = &mut self.calls;
        answer.clear();
        let result = match component {
            Some(opened) => {
                // SAFETY: the caller's promise.
                make(opened, &unsafe { batch.call() }, answer);
                Ok(())
            }
            None => Err(NOT_OPENED.to_owned()),
        };
        crate::metrics::end_batch(result.is_ok());
        let lowered = pattern::Answer {
            bits: list(&answer.bits),
            columns: list(&answer.columns),
            data: list(&answer.buffer.bytes),
            notes: lower_notes(notes, &answer.notes),
        };
        self.calls.returned(result, lowered)
    }
}

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

// Descriptions are asked for once in an instance's life, so what they are made of is leaked.
fn lower_field(field: &crate::field::Field) -> bindings::Field {
    bindings::Field {
        name: list(field.name.as_bytes()),
        kind: field.kind as u8,
        precision: field.precision,
        scale: field.scale,
        nullable: u8::from(field.nullable),
    }
}

fn fields(fields: &[crate::field::Field]) -> List {
    let lowered: Vec<bindings::Field> = fields.iter().map(lower_field).collect();
    list(Vec::leak(lowered))
}

fn state_fields(description: &Description) -> List {
    let lower = |state: &crate::field::StateField| bindings::StateField {
        field: lower_field(&state.field),
        first: optional(state.first),
    };
    let lowered: Vec<bindings::StateField> = description.state.iter().map(lower).collect();
    list(Vec::leak(lowered))
}

fn optional(text: Option<&'static str>) -> OptionalList {
    match text {
        Some(text) => OptionalList { present: 1, list: list(text.as_bytes()) },
        None => OptionalList { present: 0, list: NO_LIST },
    }
}

/// What every guest exports, whatever its kind.
#[doc(hidden)]
#[macro_export]
macro_rules! __export_base {
    ($guest:ident, $component:ty) => {
        use $crate::abi::guest;
        static GUEST: guest::Global<guest::$guest<$component>> = guest::Global::new(guest::$guest::<$component>::nothing());

        // What the arena promises; its version.
        #[used]
        #[unsafe(link_section = "tidemill:arguments")]
        static ARGUMENTS: [u8; 1] = [1];

        #[unsafe(export_name = "cabi_realloc")]
        unsafe extern "C" fn realloc(old: *mut u8, old_size: usize, align: usize, new_size: usize) -> *mut u8 {
            unsafe { guest::realloc(old, old_size, align, new_size) }
        }

        #[unsafe(export_name = "describe")]
        extern "C" fn describe() -> *const u8 {
            guest::$guest::<$component>::describe().cast()
        }

        #[unsafe(export_name = "open")]
        unsafe extern "C" fn open(config: *const u8, length: usize) -> *const u8 {
            unsafe { GUEST.get().open((config, length)) }.cast()
        }
    };
}

/// What a pattern exports.
#[doc(hidden)]
#[macro_export]
macro_rules! __export_pattern {
    ($component:ty) => {
        const _: () = {
            $crate::__export_base!(PatternGuest, $component);

            #[unsafe(export_name = "pattern")]
            extern "C" fn pattern() -> *const u8 {
                unsafe { GUEST.get() }.pattern().cast()
            }

    $crate::__export_calls!("judge" judge, "ask" ask, "shape" shape);
        };
    };
}

/// What a guest whose calls take nothing but a batch exports.
#[doc(hidden)]
#[macro_export]
macro_rules! __export {
    ($guest:ident, $component:ty; $($main:literal $method:ident),+) => {
        const _: () = {
            $crate::__export_base!($guest, $component);
            $crate::__export_calls!($($main $method),+);
        };
    };
}

/// The exports that take a batch.
#[doc(hidden)]
#[macro_export]
macro_rules! __export_calls {
    ($($main:literal $method:ident),+) => {
        $(#[unsafe(export_name = $main)]
        unsafe extern "C" fn $method(
            rows: usize,
            columns: *const $crate::abi::bindings::Column,
            columns_length: usize,
            keys: usize,
            row_keys: u32,
            state: *const $crate::abi::bindings::Column,
            state_length: usize,
            data: *const u8,
            data_length: usize,
        ) -> *const u8 {
            let batch = guest::RawBatch {
                rows,
                columns: (columns, columns_length),
                keys,
                row_keys,
                state: (state, state_length),
                data: (data, data_length),
            };
            unsafe { GUEST.get().$method(batch) }.cast()
        })+
    };
}

/// What a process exports.
#[doc(hidden)]
#[macro_export]
macro_rules! __export_process {
    ($component:ty) => {
        const _: () = {
            $crate::__export_base!(ProcessGuest, $component);

            #[unsafe(export_name = "wants")]
            unsafe extern "C" fn wants(
                subject: u32,
                rows: usize,
                columns: *const $crate::abi::bindings::Column,
                columns_length: usize,
                keys: usize,
                row_keys: u32,
                state: *const $crate::abi::bindings::Column,
                state_length: usize,
                data: *const u8,
                data_length: usize,
            ) -> *const u8 {
                let batch = guest::RawBatch {
                    rows,
                    columns: (columns, columns_length),
                    keys,
                    row_keys,
                    state: (state, state_length),
                    data: (data, data_length),
                };
                unsafe { GUEST.get().wants(subject == 1, batch) }.cast()
            }

            #[unsafe(export_name = "process")]
            unsafe extern "C" fn process(
                subject: u32,
                rows: usize,
                columns: *const $crate::abi::bindings::Column,
                columns_length: usize,
                keys: usize,
                row_keys: u32,
                state: *const $crate::abi::bindings::Column,
                state_length: usize,
                data: *const u8,
                data_length: usize,
                entries: u32,
                found: *const $crate::abi::bindings::Column,
                found_length: usize,
            ) -> *const u8 {
                let batch = guest::RawBatch {
                    rows,
                    columns: (columns, columns_length),
                    keys,
                    row_keys,
                    state: (state, state_length),
                    data: (data, data_length),
                };
                unsafe { GUEST.get().process(subject == 1, batch, entries, (found, found_length)) }.cast()
            }
        };
    };
}

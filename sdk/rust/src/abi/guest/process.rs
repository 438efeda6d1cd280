//! The exports of a process.

use super::{Guest, NOT_OPENED, Outcome, RawBatch, fields, hear_panics, list, lower_notes, slice, state_fields};
use crate::abi::bindings::{self, process};
use crate::abi::trusted;
use crate::call::{ProcessAnswer, WantedAnswer};
use crate::process::{Declared, Opened, Sides};
use crate::table::{Found, Tables};

/// A process's globals: its two calls answer with a record each.
pub struct ProcessGuest<P: Declared> {
    processing: Guest<Opened<P>, ProcessAnswer, process::Answer>,
    wanting: Guest<(), WantedAnswer, process::Wanted>,
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
        let opened = Opened::open(trusted::text(unsafe { slice(config) }));
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

//! Processes: rows out of rows and of timers, with tables beside the state and outputs beside the main one. [`run`] is the loop around the
//! author's two functions.

use crate::Timestamp;
use crate::abi::bindings::Column as Place;
use crate::abi::trusted::Row;
use crate::call::{Call, Description, ProcessAnswer, WantedAnswer};
use crate::column::{Column, Texts, Words};
use crate::config::Config;
use crate::event::Event;
use crate::field::Field;
use crate::output::{Buffer, ColumnBuilder, Output, OutputValue};
use crate::reject::Reject;
use crate::rule::Keyed;
use crate::state::State;
use crate::table::{Found, TableDeclaration, Tables};
use crate::transform::Emit;

/// A component with a memory. `#[process]` on the `impl` makes it one that a host can call.
///
/// It keeps nothing of its own: what lasts is in the state, the tables and the timers, which the host holds per key of the pipeline's `by`.
pub trait Process: Sized {
    /// Its configuration; `()` for none.
    type Config: Config;
    /// What it reads.
    type Event: Event;
    /// What it remembers once per key; `()` for nothing.
    type State: State;
    /// What it remembers by further keys: `()`, or a tuple of [`Table`](crate::Table)s.
    type Tables: Tables;
    /// The rows of the main output; `()` for none.
    type Output: Output;
    /// Other outputs: `()`, or a tuple of [`Side`]s.
    type Sides: Sides;

    /// Which entries of the tables the event needs: `tables.0.want(key)`. Asked before [`Process::on_event`], which finds those and no
    /// others; so it must follow from the event alone.
    fn wants(_event: &<Self::Event as Event>::Row<'_>, _config: &Self::Config, _tables: &mut Self::Tables) {}

    /// Handles an event. An error sends the row to the dead letters; what it did to state, tables and timers stands.
    fn on_event(event: &<Self::Event as Event>::Row<'_>, step: &mut Step<'_, Self>) -> Result<(), Reject>;

    /// Which entries a timer needs. The key's state is as it will be in [`Process::on_timer`].
    fn wants_on_timer(_timer: &Timer<'_>, _state: &Self::State, _config: &Self::Config, _tables: &mut Self::Tables) {}

    /// Handles a timer that fires: no event up to its time can come any more. It may only set later ones.
    fn on_timer(_timer: &Timer<'_>, _step: &mut Step<'_, Self>) -> Result<(), Reject> {
        Ok(())
    }
}

/// What `#[process]` adds to an `impl`.
pub trait Declared: Process {
    /// Its doc comment.
    const DOC: &'static str;
    /// Whether it has an `on_timer`.
    const TIMERS: bool;
    /// How long a state row lives in µs, and whether by the host's clock; 0 is for ever.
    const STATE_TTL: (u64, bool);
}

/// A timer that fires.
#[derive(Debug, Clone, Copy)]
pub struct Timer<'a> {
    /// When it was to fire. Rows that it makes have this time.
    pub at: Timestamp,
    /// Its name within the key.
    pub name: &'a str,
}

/// What an event or a timer is handled with.
pub struct Step<'a, P: Process> {
    /// The key's state.
    pub state: &'a mut P::State,
    /// The entries that were wanted.
    pub tables: &'a mut P::Tables,
    /// The other outputs.
    pub sides: &'a mut P::Sides,
    /// The configuration.
    pub config: &'a P::Config,
    main: &'a mut Emit<P::Output>,
    timers: &'a mut TimerChanges,
}

impl<P: Process> Step<'_, P> {
    /// Adds a row to the main output. It has the key's columns in front, and the time of the event or timer.
    pub fn emit(&mut self, row: <P::Output as Output>::At<'_>) {
        self.main.push(row);
    }

    /// The key's timer of that name fires at `at`, and at no other time.
    pub fn set_timer(&mut self, name: &str, at: Timestamp) {
        self.timers.change(name, Some(at));
    }

    /// The key's timer of that name does not fire any more.
    pub fn clear_timer(&mut self, name: &str) {
        self.timers.change(name, None);
    }
}

/// Timers set and taken back in a call.
#[derive(Default)]
pub(crate) struct TimerChanges {
    row: u32,
    rows: Vec<u32>,
    times: ColumnBuilder<<Option<Timestamp> as OutputValue>::Values>,
    names: ColumnBuilder<<&'static str as OutputValue>::Values>,
}

impl TimerChanges {
    fn change(&mut self, name: &str, at: Option<Timestamp>) {
        self.rows.push(self.row);
        at.append(&mut self.times);
        name.append(&mut self.names);
    }
}

/// An output beside the main one: `sides.0.push(row)`.
pub struct Side<O: SideOutput>(Emit<O>);

impl<O: SideOutput> Side<O> {
    /// Adds a row.
    pub fn push(&mut self, row: O::At<'_>) {
        self.0.push(row);
    }
}

impl<O: SideOutput> Default for Side<O> {
    fn default() -> Self {
        Self(Emit::with_capacity(0))
    }
}

/// Rows of an output that has a name: `#[derive(Output)]` with `#[output(side = "late")]` on the struct.
pub trait SideOutput: Output {
    /// Its name in the pipeline's `outputs`.
    const NAME: &'static str;
}

/// All outputs beside the main one.
pub trait Sides: Default {
    /// Their names and columns.
    fn declared() -> Vec<(&'static str, &'static [Field])>;
    /// The row in hand.
    fn set_row(&mut self, row: u32);
    /// The source rows of each.
    fn source_rows(&self) -> Vec<&[u32]>;
    /// Writes the columns.
    fn finish(self, buffer: &mut Buffer, places: &mut Vec<Place>);
}

macro_rules! sides {
    ($($name:ident $at:tt),*) => {
        impl<$($name: SideOutput),*> Sides for ($(Side<$name>,)*) {
            fn declared() -> Vec<(&'static str, &'static [Field])> {
                vec![$(($name::NAME, $name::FIELDS)),*]
            }

            fn set_row(&mut self, _row: u32) {
                $(self.$at.0.set_row(_row);)*
            }

            fn source_rows(&self) -> Vec<&[u32]> {
                vec![$(self.$at.0.source_rows()),*]
            }

            fn finish(self, _buffer: &mut Buffer, _places: &mut Vec<Place>) {
                $(self.$at.0.finish(_buffer, _places);)*
            }
        }
    };
}

sides!();
sides!(A 0);
sides!(A 0, B 1);
sides!(A 0, B 1, C 2);
sides!(A 0, B 1, C 2, D 3);

/// A process as the host calls it.
pub struct Opened<P: Process> {
    config: P::Config,
}

impl<P: Declared> Opened<P> {
    /// With this configuration (JSON text).
    pub fn open(config: &str) -> Result<Self, String> {
        Ok(Self { config: crate::config::read::<P::Config>(config)? })
    }

    /// What it needs, keeps and makes; tables and sides are told by their own types.
    pub fn describe() -> Description {
        Description {
            doc: P::DOC,
            columns: P::Event::FIELDS.to_vec(),
            outputs: P::Output::FIELDS.to_vec(),
            state: P::State::FIELDS.to_vec(),
            time: None,
            retracts: false,
        }
    }

    /// Its tables.
    pub fn tables() -> Vec<TableDeclaration> {
        P::Tables::declared()
    }

    /// Which entries a batch needs.
    pub fn wants(&self, timers: bool, call: &Call<'_>, answer: &mut WantedAnswer) {
        let mut tables = P::Tables::default();
        self.ask(timers, call, &mut tables);
        tables.write_wanted(answer);
    }

    fn ask(&self, timers: bool, call: &Call<'_>, tables: &mut P::Tables) {
        let keys = Keys::of(call);
        if timers {
            let (columns, mut states) = (TimerColumns::of(call), Keyed::<P::State>::load(call));
            for row in 0..call.rows {
                tables.set_row(row as u32, keys.of_row(row));
                P::wants_on_timer(&columns.at(row), states.of(row), &self.config, tables);
            }
        } else {
            let columns = P::Event::bind(call);
            for row in 0..call.rows {
                tables.set_row(row as u32, keys.of_row(row));
                P::wants(&P::Event::row(&columns, Row::of(row, call.rows)), &self.config, tables);
            }
        }
    }

    /// Handles a batch.
    pub fn process(&self, timers: bool, call: &Call<'_>, found: Found<'_>, answer: &mut ProcessAnswer) {
        let mut tables = P::Tables::default();
        if found.is_some() {
            // What was wanted is asked for again: nothing lasts between two calls, and it follows from the rows.
            self.ask(timers, call, &mut tables);
            tables.load(call, found);
        }
        let keys = Keys::of(call);
        let mut states = Keyed::<P::State>::load(call);
        let (mut main, mut sides) = (Emit::<P::Output>::with_capacity(call.rows), P::Sides::default());
        let mut changes = TimerChanges::default();
        let events = (!timers).then(|| P::Event::bind(call));
        let firing = timers.then(|| TimerColumns::of(call));
        for row in 0..call.rows {
            let number = row as u32;
            tables.set_row(number, keys.of_row(row));
            main.set_row(number);
            sides.set_row(number);
            changes.row = number;
            let mut step = Step::<P> {
                state: states.of(row),
                tables: &mut tables,
                sides: &mut sides,
                config: &self.config,
                main: &mut main,
                timers: &mut changes,
            };
            let handled = match (&events, &firing) {
                (Some(columns), _) => P::on_event(&P::Event::row(columns, Row::of(row, call.rows)), &mut step),
                (None, Some(columns)) => P::on_timer(&columns.at(row), &mut step),
                (None, None) => Ok(()),
            };
            if let Err(reject) = handled {
                answer.notes.push(reject.note(number));
            }
        }
        let buffer = &mut answer.buffer;
        answer.rows = main.source_rows().len();
        answer.source_rows = buffer.put_words(main.source_rows().iter().map(|row| row.to_le_bytes()));
        main.finish(buffer, &mut answer.columns);
        P::State::store(&states.states, buffer, &mut answer.state);
        (answer.write_count, answer.writes) = tables.write(buffer, &mut answer.entries);
        answer.timer_count = changes.rows.len();
        answer.timer_rows = buffer.put_words(changes.rows.iter().map(|row| row.to_le_bytes()));
        answer.timers.push(changes.times.finish(buffer));
        answer.timers.push(changes.names.finish(buffer));
        answer.side_rows = {
            let lists = sides.source_rows();
            let counts: Vec<u32> = lists.iter().map(|list| list.len() as u32).collect();
            buffer.put_words(counts.iter().chain(lists.into_iter().flatten()).map(|word| word.to_le_bytes()))
        };
        sides.finish(buffer, &mut answer.sides);
    }
}

/// The number of each row's key.
struct Keys<'a>(&'a [[u8; 4]]);

impl<'a> Keys<'a> {
    fn of(call: &Call<'a>) -> Self {
        Self(if call.keys == 0 { &[] } else { call.row_keys() })
    }
}

impl Keys<'_> {
    fn of_row(&self, row: usize) -> u32 {
        self.0.get(row).map_or(0, |key| u32::from_le_bytes(*key))
    }
}

/// The columns of a batch of timers.
struct TimerColumns<'a> {
    at: Words<'a, Timestamp>,
    name: Texts<'a>,
}

impl<'a> TimerColumns<'a> {
    fn of(call: &Call<'a>) -> Self {
        let [at, name] = call.columns else { panic!("a timer has a time and a name") };
        Self { at: Words::bind(call, at, call.rows), name: Texts::bind(call, name, call.rows) }
    }

    fn at(&self, row: usize) -> Timer<'a> {
        Timer { at: self.at.get(row), name: self.name.get(row) }
    }
}

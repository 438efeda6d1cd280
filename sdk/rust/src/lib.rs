//! Write Tidemill components in Rust: rules that judge events, transforms that make events of events, and functions and aggregates for
//! the expressions and windows of pipelines.
//!
//! A component is an ordinary function over a typed event. The macros turn it into a WebAssembly component; the host sends it
//! columns, a few thousand rows a call, and the generated loop calls the function row by row without allocating.
//!
//! # A rule
//! ```
//! use tidemill_sdk::{Event, rule};
//!
//! #[derive(Event)]
//! struct Payment<'a> {
//!     amount: f64,
//!     #[event(name = "user.country")] // a dotted name is the path of a nested value
//!     country: Option<&'a str>,       // borrowed from the batch; nullable, because it is an Option
//! }
//!
//! /// Payments over a thousand from abroad. (This text is shown by the host.)
//! #[rule]
//! fn suspicious(payment: &Payment) -> bool {
//!     payment.amount > 1000.0 && payment.country.is_some_and(|country| country != "AT")
//! }
//! # let report = tidemill_sdk::testing::rule::<suspicious>().run(r#"
//! #     {"amount": 2000, "user": {"country": "IT"}}
//! #     {"amount": 2000, "user": {"country": "AT"}}
//! #     {"amount": 2000}"#);
//! # assert_eq!(report.verdicts, [true, false, false]);
//! ```
//! Fields are `bool`, `i64`, `f64`, `&str`, `&[u8]`, [`Timestamp`], [`Decimal`], [`Json`], or an `Option` of these. A field that
//! is not an `Option` is never null: a pipeline whose column may be null is refused when it is applied.
//!
//! # State per key, configuration, output columns
//! State is a struct too. The pipeline's `by` names the key, the host keeps a state per key, and nothing else lasts: globals
//! may vanish between any two calls.
//! ```
//! use tidemill_sdk::{Config, Event, Output, State, rule};
//!
//! #[derive(Event)]
//! struct Login<'a> { user: &'a str, success: bool }
//!
//! #[derive(State)]
//! struct Failures { in_a_row: i64 } // 0 for a new key; `#[state(first = 7)]` says otherwise
//!
//! #[derive(Config)]
//! struct Limit { #[config(default = 3)] failures: i64 }
//!
//! #[derive(Output)]
//! struct Alert<'a> { who: &'a str, failures: i64 }
//!
//! /// Names whoever fails too often in a row.
//! #[rule]
//! fn too_many<'a>(login: &Login<'a>, state: &mut Failures, config: &Limit) -> Option<Alert<'a>> {
//!     state.in_a_row = if login.success { 0 } else { state.in_a_row + 1 };
//!     (state.in_a_row >= config.failures).then(|| Alert { who: login.user, failures: state.in_a_row })
//! }
//!
//! // An ordinary unit test, without a host. It runs in several batch cuts, which must all agree.
//! let report = tidemill_sdk::testing::rule::<too_many>().config(r#"{"failures": 2}"#).by(&["user"]).run(r#"
//!     {"user": "ann", "success": false}
//!     {"user": "bob", "success": false}
//!     {"user": "ann", "success": false}
//! "#);
//! assert_eq!(report.verdicts, [false, false, true]);
//! assert_eq!(report.rows[2], r#"{"who":"ann","failures":2}"#);
//! assert_eq!(report.state[r#"["bob"]"#], r#"{"in_a_row":1}"#);
//! ```
//! A rule gives a `bool`; an `Option` of output columns (no is null); a `(bool, columns)`; or a `Result` of these, whose error
//! (a [`Reject`] or any text) sends this row alone to the dead letters. Unknown keys in the configuration are refused when the
//! pipeline is applied. Lists in state are `Vec<i64>`, `Vec<f64>` or `Vec<Timestamp>`.
//!
//! # A transform
//! ```
//! use tidemill_sdk::{Emit, Event, Output, Timestamp, transform};
//!
//! #[derive(Event)]
//! struct Line<'a> { line: &'a str }
//!
//! #[derive(Output)]
//! struct Reading<'a> {
//!     #[output(time)] // the rows' event time; without it they keep the time of the line
//!     at: Timestamp,
//!     sensor: &'a str,
//!     value: Option<i64>,
//! }
//!
//! /// `2026-11-21T12:00:00Z boiler=81 cellar=`: a row per sensor.
//! #[transform]
//! fn readings(line: &Line, emit: &mut Emit<Reading>) -> Result<(), String> {
//!     let (at, sensors) = line.line.split_once(' ').ok_or("no space behind the time")?;
//!     let at = Timestamp::parse(at).ok_or_else(|| format!("`{at}` is no time"))?;
//!     for (sensor, value) in sensors.split(' ').filter_map(|reading| reading.split_once('=')) {
//!         emit.push(Reading { at, sensor, value: value.parse().ok() });
//!     }
//!     Ok(())
//! }
//! # let report = tidemill_sdk::testing::transform::<readings>().run(r#"
//! #     {"line": "2026-11-21T12:00:00Z boiler=81 cellar="}
//! #     {"line": "nonsense"}"#);
//! # assert_eq!(report.rows[1], r#"{"at":"2026-11-21T12:00:00Z","sensor":"cellar","value":null}"#);
//! # assert_eq!((report.rows.len(), report.notes.len()), (2, 1));
//! ```
//! A function that makes at most one row per row returns it instead: `fn f(line: &Line) -> Option<Reading>`.
//!
//! # A function
//! What expressions may call, in `where`, `select`, `extend` and as an argument of aggregates. A pipeline names it beside `from`:
//! `functions: {entropy: entropy@1}`, then `where: entropy(payload) > 4.5`.
//! ```
//! use tidemill_sdk::function;
//!
//! /// Bits per byte. (A `&str` is never null: where the text is null, the value is null and nobody asks.)
//! #[function]
//! fn entropy(text: &str) -> f64 {
//!     let mut counts = [0u32; 256];
//!     text.bytes().for_each(|byte| counts[usize::from(byte)] += 1);
//!     let share = |count: &u32| f64::from(*count) / text.len() as f64;
//!     counts.iter().filter(|count| **count > 0).map(share).fold(0.0, |bits, share| bits + share * (1.0 / share).log2())
//! }
//!
//! let values = tidemill_sdk::testing::function::<entropy>().run(r#"
//!     {"text": "abab"}
//!     {"text": ""}
//!     {"text": null}
//! "#);
//! assert_eq!(values.rows, ["1", "0", "null"]);
//! ```
//! Arguments have the types of an event's fields; `config: &C` may stand behind them. It gives a value, an `Option` of one, or a `Result` of
//! these, whose error sends the row to the dead letters.
//!
//! # An aggregate
//! What windows may say of a group of rows, exactly like `sum`: `select: {level: peak_mean(load)}`. The struct is what is remembered of a
//! group; the host keeps it, and merges two where a window needs both.
//! ```
//! use tidemill_sdk::{State, aggregate};
//!
//! #[derive(State)]
//! struct Range { rows: i64, least: i64, greatest: i64 }
//!
//! /// How far apart the values of a group are.
//! #[aggregate]
//! impl Range {
//!     fn update(&mut self, value: i64) {
//!         self.merge(&Range { rows: 1, least: value, greatest: value });
//!     }
//!
//!     fn merge(&mut self, other: &Self) {
//!         match (self.rows, other.rows) {
//!             (_, 0) => {}
//!             (0, _) => *self = Range { ..*other },
//!             _ => {
//!                 self.rows += other.rows;
//!                 self.least = self.least.min(other.least);
//!                 self.greatest = self.greatest.max(other.greatest);
//!             }
//!         }
//!     }
//!
//!     fn finish(&self) -> Option<i64> {
//!         (self.rows > 0).then(|| self.greatest - self.least)
//!     }
//! }
//!
//! // Every cut into batches and every tree of merges must give the same.
//! let values = tidemill_sdk::testing::aggregate::<Range>().by(&["room"]).run(r#"
//!     {"room": "a", "value": 3}
//!     {"room": "b", "value": 1}
//!     {"room": "a", "value": 10}
//! "#);
//! assert_eq!(values.of[r#"["a"]"#], "7");
//! assert_eq!(values.of[r#"["b"]"#], "0");
//! ```
//! With `fn retract(&mut self, other: &Self)`, the exact opposite of `merge`, windows that overlap are cheaper. Sums of `f64` are not
//! exact: leave it out for those. `update` and `finish` may take `config: &C` behind the others; `finish` returns what a function may.
//!
//! # A process
//! A transform with a memory: tables of entries by a key of their own, timers, outputs beside the main one. `wants` says which entries an
//! event needs; the host finds them for the whole batch.
//! ```
//! use tidemill_sdk::{Event, Output, Process, Reject, Side, State, Step, Table, Timer, Timestamp, process};
//!
//! #[derive(Event)]
//! struct Login<'a> { at: Timestamp, device: &'a str }
//!
//! #[derive(State)]
//! struct User { logins: i64 }
//!
//! #[derive(Table)]
//! #[table(name = "devices", ttl = "90d")] // forgotten 90 days after it was put
//! struct Device {
//!     #[table(key)]
//!     device: String,
//!     first: Timestamp,
//! }
//!
//! #[derive(Output)]
//! struct NewDevice<'a> { device: &'a str }
//!
//! #[derive(Output)]
//! #[output(side = "silent")]
//! struct Silent { logins: i64 }
//!
//! struct Devices;
//!
//! /// Names devices that are new for a user, and users silent for a week.
//! #[process]
//! impl Process for Devices {
//!     type Config = ();
//!     type Event = Login<'static>;
//!     type State = User;
//!     type Tables = (Table<Device>,);
//!     type Output = NewDevice<'static>;
//!     type Sides = (Side<Silent>,);
//!
//!     fn wants(login: &Login, _config: &(), tables: &mut Self::Tables) {
//!         tables.0.want(login.device.to_owned());
//!     }
//!
//!     fn on_event(login: &Login, step: &mut Step<Self>) -> Result<(), Reject> {
//!         step.state.logins += 1;
//!         let device = login.device.to_owned();
//!         if step.tables.0.get(&device).is_none() {
//!             step.tables.0.put(Device { device, first: login.at });
//!             step.emit(NewDevice { device: login.device });
//!         }
//!         step.set_timer("silence", Timestamp(login.at.0 + 7 * 86_400_000_000));
//!         Ok(())
//!     }
//!
//!     fn on_timer(_timer: &Timer, step: &mut Step<Self>) -> Result<(), Reject> {
//!         step.sides.0.push(Silent { logins: step.state.logins });
//!         Ok(())
//!     }
//! }
//!
//! let found = tidemill_sdk::testing::process::<Devices>().by(&["user"]).time("at").run(r#"
//!     {"user": "ann", "at": "2026-01-01T12:00:00Z", "device": "phone"}
//!     {"user": "ann", "at": "2026-01-02T12:00:00Z", "device": "phone"}
//!     {"user": "bob", "at": "2026-01-09T12:00:01Z", "device": "phone"}
//! "#);
//! assert_eq!(found.rows, [r#"["ann"] {"device":"phone"}"#, r#"["bob"] {"device":"phone"}"#]);
//! assert_eq!(found.sides["silent"], [r#"["ann"] {"logins":2}"#]);
//! assert_eq!(found.tables["devices"].len(), 2);
//! ```
//! State takes a time to live too: `#[process(state_ttl = "30d")]`.
//!
//! # A pattern
//! Rows of a key that follow each other. The component says which, once, and answers for whole batches which rows fit a stage; the host
//! follows the runs of every key. `so_far` looks at what a run has taken, `shape` makes the row of a match.
//! ```
//! use std::time::Duration;
//! use tidemill_sdk::{Detector, Event, Output, Pattern, Reject, pattern};
//!
//! #[derive(Event)]
//! struct Payment { amount: f64 }
//!
//! #[derive(Event)]
//! struct SoFar {
//!     #[event(name = "avg(small.amount)")] // an aggregate over what the run has taken
//!     average: Option<f64>,
//! }
//!
//! #[derive(Event)]
//! struct Found {
//!     #[event(name = "count(small)")] // what a pattern's `select` may say
//!     tries: i64,
//!     #[event(name = "last(large.amount)")]
//!     amount: Option<f64>,
//! }
//!
//! #[derive(Output)]
//! struct Alert { tries: i64, amount: Option<f64> }
//!
//! struct CardTesting;
//!
//! /// Small payments, then one a hundred times as large as they were on average.
//! #[pattern]
//! impl Detector for CardTesting {
//!     type Config = ();
//!     type Event = Payment;
//!     type SoFar = SoFar;
//!     type Found = Found;
//!     type Output = Alert;
//!
//!     fn pattern(_config: &()) -> Pattern<Self> {
//!         Pattern::<Self>::begin("small", |payment, _| payment.amount < 10.0).times(2).or_more()
//!             .followed_by("large", |payment, _| payment.amount > 500.0)
//!             .so_far(|payment, so_far, _| so_far.average.is_some_and(|average| payment.amount > 100.0 * average))
//!             .within(Duration::from_secs(600))
//!             .skip_past_last()
//!     }
//!
//!     fn shape(found: &Found, _config: &()) -> Result<Option<Alert>, Reject> {
//!         Ok(Some(Alert { tries: found.tries, amount: found.amount }))
//!     }
//! }
//!
//! let test = tidemill_sdk::testing::pattern::<CardTesting>();
//! assert_eq!(test.judge("{\"amount\": 3}\n{\"amount\": 900}"), [[true, false], [false, true]]);
//! assert_eq!(test.ask(0, r#"{"amount": 900, "avg(small.amount)": 3}"#), [true]);
//! assert!(test.definition().starts_with(r#"{"stages":[{"begin":"small","where":"predicate(0)","times":"2.."}"#));
//! ```
//! In a pipeline: `- pattern: card-testing@1` with `by: [user]`.
//!
//! # How fast
//! A rule whose body is one expression of comparisons, joined by `&&`, `||` and `!`, over fields, constants and the configuration is
//! asked column by column, text once per dictionary entry. Nothing has to be done for it, and the answers are the same. What calls a
//! function of your own, computes, or keeps state is asked row by row; put the cheapest and most selective condition first.
//!
//! # A whole batch at once
//! The same by hand, where a rule does not fit one expression. Text is asked for once per dictionary entry, numbers in vectorised loops.
//! ```
//! use tidemill_sdk::{Batch, Event, Mask, column::Column, rule};
//!
//! #[derive(Event)]
//! struct Payment<'a> { amount: f64, country: &'a str }
//!
//! #[rule(batch)]
//! fn suspicious(batch: &Batch<Payment>) -> Mask {
//!     let rows = batch.rows();
//!     batch.amount.test(rows, |amount| amount > 1000.0) & batch.country.test(rows, |country| country != "AT")
//! }
//! ```
//!
//! # Building, and what a component cannot do
//! `Cargo.toml` says `[lib] crate-type = ["cdylib"]`; `tidemill new` writes it, `tidemill build` makes the component, `tidemill
//! test` runs it under the host's limits, `tidemill push` uploads it. There is no clock, no randomness, no file and no socket:
//! what a call answers is a function of its rows, so that the host can repeat it after a crash. Time comes from the events.
//! [`metrics`] count and measure; [`log`] writes to the host's log; a panic's text goes there too, and the batch is isolated.

// The derives name the crate by its name, in its own tests as well.
extern crate self as tidemill_sdk;

#[doc(hidden)]
pub mod abi;
pub mod aggregate;
#[doc(hidden)]
pub mod call;
pub mod column;
pub mod config;
mod decimal;
pub mod event;
pub mod field;
pub mod function;
pub mod json;
pub mod log;
mod mask;
pub mod metrics;
pub mod output;
pub mod pattern;
pub mod process;
mod reject;
pub mod rule;
pub mod state;
pub mod table;
#[cfg(not(target_arch = "wasm32"))]
pub mod testing;
mod timestamp;
pub mod transform;
pub mod value;
#[doc(hidden)]
pub mod words;

pub use config::Config;
pub use decimal::Decimal;
pub use event::{Batch, Event};
pub use json::Json;
pub use mask::Mask;
pub use output::Output;
pub use pattern::{Detector, Part, Pattern};
pub use process::{Process, Side, Step, Timer};
pub use reject::Reject;
pub use state::State;
pub use table::Table;
pub use timestamp::Timestamp;
pub use transform::Emit;

pub use tidemill_sdk_macros::{Config, Event, Output, State, Table, aggregate, function, pattern, process, rule, transform};

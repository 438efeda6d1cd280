//! Metrics of your own: `metrics::counter("foreign").label("country", country).add(1.0)`. The host shows them on its metrics page,
//! with pipeline, step and component: `tidemill_component_counter_total{name="foreign",country="IT",…}`.
//!
//! ```
//! use tidemill_sdk::{Event, metrics, rule, testing};
//!
//! #[derive(Event)]
//! struct Payment<'a> { amount: f64, country: &'a str }
//!
//! /// Counts payments by country, and judges them.
//! #[rule]
//! fn large(payment: &Payment) -> bool {
//!     metrics::counter("payments").label("country", payment.country).add(1.0);
//!     metrics::histogram("amount").record(payment.amount);
//!     payment.amount > 1000.0
//! }
//! # testing::rule::<large>().run("{\"amount\": 2, \"country\": \"IT\"}\n{\"amount\": 3000, \"country\": \"IT\"}");
//! # assert_eq!(testing::measured()["counter payments country=IT"], [2.0]);
//! # assert_eq!(testing::measured()["histogram amount"], [2.0, 3000.0]);
//! ```
//! Measurements are kept until the batch ends, and handed over in one call; those of a batch that fails are forgotten with it, and a
//! replay after a crash does not count again. Names and labels are lower case, at most four labels; a label is for few values, because
//! the host keeps a bounded number of series and drops, and counts, what goes beyond.

use std::cell::RefCell;
use std::collections::BTreeMap;

/// What a metric is. Its number is that of the WIT enum `metric-kind`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum Kind {
    Counter = 0,
    Gauge = 1,
    Histogram = 2,
}

/// What was measured in the batch so far.
#[derive(Debug, Default)]
pub(crate) struct Measured {
    /// By a key of kind, name and labels, so that finding a series again allocates nothing.
    pub(crate) series: BTreeMap<String, Series>,
    key: String,
}

/// One metric with its labels.
#[derive(Debug)]
pub(crate) struct Series {
    pub(crate) kind: Kind,
    pub(crate) name: String,
    pub(crate) labels: Vec<(String, String)>,
    pub(crate) amounts: Vec<f64>,
}

impl Measured {
    const fn new() -> Self {
        Self { series: BTreeMap::new(), key: String::new() }
    }

    fn take_in<const LABELS: usize>(&mut self, kind: Kind, name: &str, labels: &[(&str, &str); LABELS], amount: f64) {
        self.key.clear();
        self.key.push(char::from(b'0' + kind as u8));
        self.key.push_str(name);
        for (name, value) in labels {
            // Neither may stand in a name; in a value they would only bring two series together that the host refuses anyway.
            self.key.push('\u{1f}');
            self.key.push_str(name);
            self.key.push('\u{1e}');
            self.key.push_str(value);
        }
        let series = match self.series.get_mut(&self.key) {
            Some(series) => series,
            None => {
                let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
                let labels = labels.iter().map(owned).collect();
                let series = Series { kind, name: name.to_owned(), labels, amounts: Vec::new() };
                self.series.entry(self.key.clone()).or_insert(series)
            }
        };
        match (kind, series.amounts.as_mut_slice()) {
            (Kind::Counter, [sum]) => *sum += amount,
            (Kind::Gauge, [last]) => *last = amount,
            _ => series.amounts.push(amount),
        }
    }
}

/// Takes everything measured so far, and forgets it.
type HandOver = fn(&mut Measured);

thread_local! {
    static MEASURED: RefCell<Measured> = const { RefCell::new(Measured::new()) };
    /// Set by the first measurement, so that a component without any does not import the host's function.
    static HAND_OVER: RefCell<Option<HandOver>> = const { RefCell::new(None) };
}

fn measure<const LABELS: usize>(kind: Kind, name: &str, labels: &[(&str, &str); LABELS], amount: f64) {
    HAND_OVER.set(Some(hand_over));
    MEASURED.with_borrow_mut(|measured| measured.take_in(kind, name, labels, amount));
}

fn hand_over(measured: &mut Measured) {
    #[cfg(target_arch = "wasm32")]
    crate::abi::guest::measure(&measured.series);
    #[cfg(not(target_arch = "wasm32"))]
    crate::testing::keep_measured(&measured.series);
    measured.series.clear();
}

/// Ends a batch: what was measured is handed over if the call went well, else forgotten.
pub(crate) fn end_batch(well: bool) {
    let Some(hand_over) = HAND_OVER.take() else { return };
    MEASURED.with_borrow_mut(|measured| if well { hand_over(measured) } else { measured.series.clear() });
}

macro_rules! metrics {
    ($($function:ident $kind:ident $method:ident $doc:literal $verb:literal;)*) => {
        $(
            #[doc = $doc]
            #[derive(Debug, Clone, Copy)]
            #[must_use = "a metric by itself measures nothing"]
            pub struct $kind<'a, const LABELS: usize = 0> {
                name: &'a str,
                labels: [(&'a str, &'a str); LABELS],
            }

            #[doc = $doc]
            pub fn $function(name: &str) -> $kind<'_> {
                $kind { name, labels: [] }
            }

            impl<const LABELS: usize> $kind<'_, LABELS> {
                #[doc = $verb]
                pub fn $method(self, amount: f64) {
                    measure(Kind::$kind, self.name, &self.labels, amount);
                }
            }

            metrics!(label $kind 0 [] 1; 1 [a] 2; 2 [a, b] 3; 3 [a, b, c] 4;);
        )*
    };
    (label $kind:ident $($from:literal [$($old:ident),*] $to:literal;)*) => {
        $(impl<'a> $kind<'a, $from> {
            /// With one more label; four at most.
            pub fn label(self, name: &'a str, value: &'a str) -> $kind<'a, $to> {
                let [$($old),*] = self.labels;
                $kind { name: self.name, labels: [$($old,)* (name, value)] }
            }
        })*
    };
}

metrics! {
    counter Counter add "A number that only grows." "Adds an amount, not negative.";
    gauge Gauge set "A number that is what it is." "Sets it; the last of a batch counts.";
    histogram Histogram record "How values spread." "Records a value.";
}

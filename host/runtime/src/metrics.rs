//! What a component measures: checked and bounded here, kept until its call has returned, then handed to whoever made the instance.
//!
//! ```text
//! guest ──measure──► check ──► held with the store ──call returned ok──► GuestMetrics        (any other ending: forgotten)
//! ```

use wasmtime::StoreContextMut;
use wasmtime::component::Linker;

use crate::limits::{
    METRIC_AMOUNTS_MAX, METRIC_LABEL_NAME_BYTES_MAX, METRIC_LABEL_VALUE_BYTES_MAX, METRIC_LABELS_MAX, METRIC_NAME_BYTES_MAX,
    METRICS_PER_CALL_MAX,
};
use crate::sandbox::{Sandbox, pay};
use crate::text::clean;
use crate::wire::{METRICS_INTERFACE, WireMeasurement, WireMetricKind};

/// Labels that the host gives.
const RESERVED: [&str; 6] = ["tenant", "pipeline", "step", "component", "name", "le"];

/// What a metric is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MetricKind {
    /// Amounts are added.
    Counter,
    /// The last amount counts.
    Gauge,
    /// Every amount is recorded.
    Histogram,
}

/// What happened to one series of a component, checked: names are short and lower case, labels few, ascending and none of the host's,
/// amounts finite, and at least one.
#[derive(Debug, Clone, PartialEq)]
pub struct Measurement {
    /// What it is.
    pub kind: MetricKind,
    /// Its name.
    pub name: String,
    /// Name and value, ascending by name.
    pub labels: Vec<(String, String)>,
    /// In the component's order.
    pub amounts: Vec<f64>,
}

/// Why a measurement was dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MetricFault {
    /// A name, label or amount that breaks the rules of `wit/metrics`.
    Invalid,
    /// More than one call may hand over.
    TooMany,
}

/// Takes the measurements of one instance, on the thread that calls it, after each call that returned: it must not wait.
pub trait GuestMetrics: Send + Sync {
    /// One series of a call.
    fn measured(&self, measurement: &Measurement);

    /// So many of a call were dropped.
    fn dropped(&self, fault: MetricFault, count: u64);
}

/// Takes measurements and forgets them.
#[derive(Debug, Clone, Copy, Default)]
pub struct SilentMetrics;

impl GuestMetrics for SilentMetrics {
    fn measured(&self, _measurement: &Measurement) {}

    fn dropped(&self, _fault: MetricFault, _count: u64) {}
}

/// The measurements of the call in hand.
#[derive(Debug, Default)]
pub(crate) struct Held {
    measurements: Vec<Measurement>,
    amounts: usize,
    invalid: u64,
    too_many: u64,
}

impl Held {
    /// What an earlier call measured counts no more.
    pub(crate) fn forget(&mut self) {
        if self.is_empty() {
            return;
        }
        *self = Self::default();
    }

    fn is_empty(&self) -> bool {
        self.measurements.is_empty() && self.invalid == 0 && self.too_many == 0
    }

    /// The call returned: it counts.
    pub(crate) fn hand_over(&mut self, to: &dyn GuestMetrics) {
        if self.is_empty() {
            return;
        }
        for measurement in &self.measurements {
            to.measured(measurement);
        }
        for (fault, count) in [(MetricFault::Invalid, self.invalid), (MetricFault::TooMany, self.too_many)] {
            if count > 0 {
                to.dropped(fault, count);
            }
        }
        self.forget();
    }

    fn take(&mut self, measurement: WireMeasurement) {
        if self.measurements.len() >= METRICS_PER_CALL_MAX || self.amounts + measurement.amounts.len() > METRIC_AMOUNTS_MAX {
            self.too_many += 1;
            return;
        }
        match checked(measurement) {
            Some(measurement) => {
                self.amounts += measurement.amounts.len();
                self.measurements.push(measurement);
            }
            None => self.invalid += 1,
        }
    }
}

fn checked(measurement: WireMeasurement) -> Option<Measurement> {
    let WireMeasurement { kind, name, labels, amounts } = measurement;
    let kind = match kind {
        WireMetricKind::Counter => MetricKind::Counter,
        WireMetricKind::Gauge => MetricKind::Gauge,
        WireMetricKind::Histogram => MetricKind::Histogram,
    };
    let possible = |amount: &f64| amount.is_finite() && (kind != MetricKind::Counter || *amount >= 0.0);
    if !is_name(&name, METRIC_NAME_BYTES_MAX)
        || labels.len() > METRIC_LABELS_MAX
        || amounts.is_empty()
        || !amounts.iter().all(possible)
    {
        return None;
    }
    let mut checked = Vec::with_capacity(labels.len());
    for label in labels {
        let fits = is_name(&label.name, METRIC_LABEL_NAME_BYTES_MAX) && label.value.len() <= METRIC_LABEL_VALUE_BYTES_MAX;
        if !fits || RESERVED.contains(&&*label.name) {
            return None;
        }
        checked.push((label.name, clean(&label.value, METRIC_LABEL_VALUE_BYTES_MAX)));
    }
    checked.sort();
    let twice = checked.windows(2).any(|pair| pair[0].0 == pair[1].0);
    (!twice).then_some(Measurement { kind, name, labels: checked, amounts })
}

fn is_name(name: &str, bytes_max: usize) -> bool {
    name.len() <= bytes_max
        && name.starts_with(|first: char| first.is_ascii_lowercase())
        && name.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_'))
}

/// Puts the import into a linker.
pub(crate) fn link(linker: &mut Linker<Sandbox>) -> wasmtime::Result<()> {
    linker.instance(METRICS_INTERFACE)?.func_wrap("measure", measure)
}

fn measure(mut store: StoreContextMut<'_, Sandbox>, (measurements,): (Vec<WireMeasurement>,)) -> wasmtime::Result<()> {
    store.data_mut().host_call()?;
    pay(&mut store, measurements.iter().map(bytes).sum())?;
    let held = &mut store.data_mut().held;
    measurements.into_iter().for_each(|measurement| held.take(measurement));
    Ok(())
}

/// What it took to read one.
fn bytes(measurement: &WireMeasurement) -> usize {
    let labels: usize = measurement.labels.iter().map(|label| label.name.len() + label.value.len()).sum();
    measurement.name.len() + labels + size_of_val(measurement.amounts.as_slice())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::WireLabel;

    fn counter(name: &str, labels: &[(&str, &str)], amount: f64) -> WireMeasurement {
        let label = |(name, value): &(&str, &str)| WireLabel { name: (*name).to_owned(), value: (*value).to_owned() };
        let labels = labels.iter().map(label).collect();
        WireMeasurement { kind: WireMetricKind::Counter, name: name.to_owned(), labels, amounts: vec![amount] }
    }

    #[test]
    fn what_breaks_a_rule_is_none() {
        let long = "x".repeat(65);
        let bad = [
            counter("", &[], 1.0),
            counter("1st", &[], 1.0),
            counter("Hits", &[], 1.0),
            counter("hits-", &[], 1.0),
            counter(&long, &[], 1.0),
            counter("hits", &[], -1.0),
            counter("hits", &[], f64::NAN),
            counter("hits", &[], f64::INFINITY),
            counter("hits", &[("step", "x")], 1.0),
            counter("hits", &[("le", "x")], 1.0),
            counter("hits", &[("a", "x"), ("a", "y")], 1.0),
            counter("hits", &[("a", &long)], 1.0),
            counter("hits", &[("a", ""), ("b", ""), ("c", ""), ("d", ""), ("e", "")], 1.0),
            WireMeasurement { amounts: Vec::new(), ..counter("hits", &[], 1.0) },
        ];
        for measurement in bad {
            assert_eq!(checked(measurement.clone()), None, "{measurement:?}");
        }
        let good = checked(counter("hits_2", &[("b", "é\n"), ("a", "")], 0.0)).expect("it is fine");
        assert_eq!(good.labels, [("a".to_owned(), String::new()), ("b".to_owned(), "é ".to_owned())]);
        assert!(checked(WireMeasurement { kind: WireMetricKind::Gauge, ..counter("hits", &[], -1.0) }).is_some());
    }

    #[test]
    fn more_than_a_call_may_hand_over_is_counted_and_the_next_call_begins_anew() {
        struct Seen(std::sync::Mutex<(usize, Vec<(MetricFault, u64)>)>);
        impl GuestMetrics for Seen {
            fn measured(&self, _measurement: &Measurement) {
                self.0.lock().expect("no panic").0 += 1;
            }
            fn dropped(&self, fault: MetricFault, count: u64) {
                self.0.lock().expect("no panic").1.push((fault, count));
            }
        }
        let seen = Seen(std::sync::Mutex::default());
        let mut held = Held::default();
        for _ in 0..METRICS_PER_CALL_MAX + 3 {
            held.take(counter("hits", &[], 1.0));
        }
        held.hand_over(&seen);
        held.take(counter("HITS", &[], 1.0));
        held.take(WireMeasurement { amounts: vec![1.0; METRIC_AMOUNTS_MAX + 1], ..counter("hits", &[], 1.0) });
        held.hand_over(&seen);
        held.take(counter("hits", &[], 1.0));
        held.forget();
        held.hand_over(&seen);
        let (measured, dropped) = &*seen.0.lock().expect("no panic");
        assert_eq!(*measured, METRICS_PER_CALL_MAX);
        assert_eq!(*dropped, [(MetricFault::TooMany, 3), (MetricFault::Invalid, 1), (MetricFault::TooMany, 1)]);
    }
}

//! Metrics that components and `metrics` steps make themselves, as three families of the host's each: a component chooses `name` and labels, never the name of a
//! family, so that none can pass for another's.
//!
//! ```text
//! tidemill_component_counter_total{tenant="default",pipeline="fraud",step="rule",component="abroad",name="foreign",country="IT"} 12
//! tidemill_component_gauge{…}        tidemill_component_histogram{…}
//! tidemill_component_metrics_dropped_total{tenant="default",pipeline="fraud",step="rule",reason="too_many_series"} 3
//! tidemill_user_counter_total{tenant="default",pipeline="shop",step="steps[1].metrics",name="orders",shop="north"} 7
//! tidemill_user_percentile{tenant="default",pipeline="shop",step="steps[1].metrics",name="answer_ms",quantile="0.99"} 41.5
//! ```
//! A pipeline has at most [`SERIES_PER_PIPELINE_MAX`] series for as long as it is there and the host runs; what would be one more is
//! dropped and counted.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use parking_lot::Mutex;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;
use tidemill_flow::RecentQuantiles;
use tidemill_runtime::{GuestMetrics, Measurement, MetricFault, MetricKind};

/// Series of all components of a pipeline together.
const SERIES_PER_PIPELINE_MAX: usize = 500;

/// Labels of a series: the host's, then the component's.
type Labels = Vec<(String, String)>;

/// Labels of what was dropped.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DroppedLabels {
    tenant: String,
    pipeline: String,
    step: String,
    reason: &'static str,
}

/// The families, and which series they have by pipeline. Clones share them.
#[derive(Clone)]
pub(crate) struct CustomMetrics {
    counters: Family<Labels, Counter<f64, AtomicU64>>,
    gauges: Family<Labels, Gauge<f64, AtomicU64>>,
    histograms: Family<Labels, Histogram, fn() -> Histogram>,
    dropped: Family<DroppedLabels, Counter>,
    /// By tenant and name.
    pipelines: Arc<Mutex<HashMap<(String, String), PipelineSeries>>>,
}

type PipelineSeries = Arc<Mutex<Known>>;

/// The series of one pipeline.
#[derive(Default)]
struct Known {
    series: HashMap<(MetricKind, Labels), Series>,
    percentiles: BTreeMap<Labels, Percentiles>,
    dropped: HashSet<DroppedLabels>,
}

/// Ranks as they were written, and the numbers of the last while: looked at when somebody asks for the page.
struct Percentiles {
    at: Vec<(String, f64)>,
    recent: RecentQuantiles,
}

/// One series, found once.
#[derive(Clone)]
enum Series {
    Counter(Counter<f64, AtomicU64>),
    Gauge(Gauge<f64, AtomicU64>),
    Histogram(Histogram),
}

impl Default for CustomMetrics {
    fn default() -> Self {
        // Whatever is measured, milliseconds or millions: a quarter of a decimal place off at most.
        let histogram: fn() -> Histogram = || Histogram::new(exponential_buckets(1e-3, 4.0, 17));
        Self {
            counters: Family::default(),
            gauges: Family::default(),
            histograms: Family::new_with_constructor(histogram),
            dropped: Family::default(),
            pipelines: Arc::default(),
        }
    }
}

impl CustomMetrics {
    /// As `{prefix}_counter` and so on.
    pub(crate) fn register(&self, registry: &mut Registry, prefix: &str, whose: &str) {
        let of = |kind: &str, help: &str| (format!("{prefix}_{kind}"), format!("{help} of {whose}, by their name"));
        let (name, help) = of("counter", "Counters");
        registry.register(name, help, self.counters.clone());
        let (name, help) = of("gauge", "Gauges");
        registry.register(name, help, self.gauges.clone());
        let (name, help) = of("histogram", "Histograms");
        registry.register(name, help, self.histograms.clone());
        registry.register(
            format!("{prefix}_metrics_dropped"),
            format!("Measurements of {whose} that were dropped"),
            self.dropped.clone(),
        );
    }

    /// The percentiles, which only `metrics` steps have.
    pub(crate) fn register_percentiles(&self, registry: &mut Registry) {
        registry.register_collector(Box::new(PercentilesPage(self.clone())));
    }

    /// Where the measurements of one step go.
    pub(crate) fn of(&self, tenant: &str, pipeline: &str, step: &str, component: &str) -> StepMetrics {
        let mut metrics = self.of_step(tenant, pipeline, step);
        metrics.labels.push(("component".to_owned(), component.to_owned()));
        metrics
    }

    /// Where those of a step without a component go.
    pub(crate) fn of_step(&self, tenant: &str, pipeline: &str, step: &str) -> StepMetrics {
        let series = self.pipelines.lock().entry((tenant.to_owned(), pipeline.to_owned())).or_default().clone();
        let label = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let labels = vec![label("tenant", tenant), label("pipeline", pipeline), label("step", step)];
        StepMetrics { metrics: self.clone(), series, labels }
    }

    /// The pipeline is gone, and so are its series.
    pub(crate) fn forget(&self, tenant: &str, pipeline: &str) {
        let Some(known) = self.pipelines.lock().remove(&(tenant.to_owned(), pipeline.to_owned())) else { return };
        let Known { series, dropped, percentiles: _ } = std::mem::take(&mut *known.lock());
        for (kind, labels) in series.into_keys() {
            match kind {
                MetricKind::Counter => self.counters.remove(&labels),
                MetricKind::Gauge => self.gauges.remove(&labels),
                MetricKind::Histogram => self.histograms.remove(&labels),
            };
        }
        for labels in dropped {
            self.dropped.remove(&labels);
        }
    }
}

/// Where the measurements of one step go.
#[derive(Clone)]
pub(crate) struct StepMetrics {
    metrics: CustomMetrics,
    series: PipelineSeries,
    labels: Labels,
}

impl StepMetrics {
    fn drop_counted(&self, reason: &'static str, count: u64) {
        let [tenant, pipeline, step] = [0, 1, 2].map(|at| self.labels[at].1.clone());
        let labels = DroppedLabels { tenant, pipeline, step, reason };
        self.metrics.dropped.get_or_create(&labels).inc_by(count);
        self.series.lock().dropped.insert(labels);
    }

    /// The series, made if it is new and there is room.
    fn series(&self, measurement: &Measurement) -> Option<Series> {
        let mut labels = self.labels.clone();
        labels.push(("name".to_owned(), measurement.name.clone()));
        labels.extend_from_slice(&measurement.labels);
        let mut known = self.series.lock();
        let key = (measurement.kind, labels);
        if let Some(series) = known.series.get(&key) {
            return Some(series.clone());
        }
        if known.is_full() {
            return None;
        }
        let series = match measurement.kind {
            MetricKind::Counter => Series::Counter(self.metrics.counters.get_or_create(&key.1).clone()),
            MetricKind::Gauge => Series::Gauge(self.metrics.gauges.get_or_create(&key.1).clone()),
            MetricKind::Histogram => Series::Histogram(self.metrics.histograms.get_or_create(&key.1).clone()),
        };
        known.series.insert(key, series.clone());
        Some(series)
    }
}

impl StepMetrics {
    /// Numbers with their times go into what is said of the last while.
    pub(crate) fn percentiles(&self, name: &str, labels: Labels, (at, over): (&[String], Duration), amounts: &[(f64, i64)]) {
        let own = [("name".to_owned(), name.to_owned())];
        let labels: Labels = self.labels.iter().cloned().chain(own).chain(labels).collect();
        let mut known = self.series.lock();
        if !known.percentiles.contains_key(&labels) {
            if known.is_full() {
                drop(known);
                return self.drop_counted("too_many_series", 1);
            }
            let at = at.iter().filter_map(|rank| Some((rank.clone(), rank.parse().ok()?))).collect();
            known.percentiles.insert(labels.clone(), Percentiles { at, recent: RecentQuantiles::new(over) });
        }
        if let Some(percentiles) = known.percentiles.get_mut(&labels) {
            amounts.iter().for_each(|(amount, time)| percentiles.recent.add(*amount, *time));
        }
    }
}

impl Known {
    /// There is no room for another series.
    fn is_full(&self) -> bool {
        self.series.len() + self.percentiles.len() >= SERIES_PER_PIPELINE_MAX
    }
}

/// The percentiles of all pipelines, worked out when the page is asked for.
#[derive(Clone)]
struct PercentilesPage(CustomMetrics);

impl fmt::Debug for PercentilesPage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PercentilesPage")
    }
}

impl Collector for PercentilesPage {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let pipelines: BTreeMap<(String, String), PipelineSeries> =
            self.0.pipelines.lock().iter().map(|(key, series)| (key.clone(), series.clone())).collect();
        let help = "Values at ranks of what `metrics` steps measured in the last while of event time, by their name";
        let mut family = encoder.encode_descriptor("user_percentile", help, None, MetricType::Gauge)?;
        for series in pipelines.into_values() {
            let known = series.lock();
            for (labels, percentiles) in &known.percentiles {
                let ranks: Vec<f64> = percentiles.at.iter().map(|(_, rank)| *rank).collect();
                let values = percentiles.recent.quantiles(&ranks);
                for ((rank, _), value) in percentiles.at.iter().zip(values) {
                    let quantile = ("quantile".to_owned(), rank.clone());
                    let labels: Labels = labels.iter().cloned().chain([quantile]).collect();
                    ConstGauge::new(value).encode(family.encode_family(&labels)?)?;
                }
            }
        }
        Ok(())
    }
}

impl GuestMetrics for StepMetrics {
    fn measured(&self, measurement: &Measurement) {
        let amounts = &measurement.amounts;
        match self.series(measurement) {
            Some(Series::Counter(counter)) => drop(counter.inc_by(amounts.iter().sum())),
            Some(Series::Gauge(gauge)) => drop(amounts.last().map(|last| gauge.set(*last))),
            Some(Series::Histogram(histogram)) => amounts.iter().for_each(|amount| histogram.observe(*amount)),
            None => self.drop_counted("too_many_series", 1),
        }
    }

    fn dropped(&self, fault: MetricFault, count: u64) {
        let reason = match fault {
            MetricFault::Invalid => "invalid",
            MetricFault::TooMany => "too_many_in_a_call",
        };
        self.drop_counted(reason, count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measurement(kind: MetricKind, labels: &[(&str, &str)], amounts: &[f64]) -> Measurement {
        let labels = labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Measurement { kind, name: "hits".to_owned(), labels, amounts: amounts.to_vec() }
    }

    fn page(metrics: &CustomMetrics) -> String {
        let mut registry = Registry::with_prefix("tidemill");
        metrics.register(&mut registry, "component", "components");
        let mut page = String::new();
        prometheus_client::encoding::text::encode(&mut page, &registry).expect("a page");
        page
    }

    #[test]
    fn each_kind_adds_up_in_its_way() {
        let metrics = CustomMetrics::default();
        let step = metrics.of("t", "p", "rule", "c");
        for _ in 0..2 {
            step.measured(&measurement(MetricKind::Counter, &[("country", "I\"T")], &[1.0, 2.5]));
            step.measured(&measurement(MetricKind::Gauge, &[], &[1.0, -2.0]));
            step.measured(&measurement(MetricKind::Histogram, &[], &[1.0, 5.0]));
        }
        step.dropped(MetricFault::Invalid, 4);
        let page = page(&metrics);
        let host = r#"tenant="t",pipeline="p",step="rule",component="c",name="hits""#;
        for line in [
            format!("tidemill_component_counter_total{{{host},country=\"I\\\"T\"}} 7"),
            format!("tidemill_component_gauge{{{host}}} -2"),
            format!("tidemill_component_histogram_count{{{host}}} 4"),
            format!("tidemill_component_histogram_sum{{{host}}} 12"),
            r#"tidemill_component_metrics_dropped_total{tenant="t",pipeline="p",step="rule",reason="invalid"} 4"#.to_owned(),
        ] {
            assert!(page.lines().any(|found| found.starts_with(&line)), "no `{line}` in\n{page}");
        }
    }

    #[test]
    fn a_pipeline_has_so_many_series_and_another_one_its_own() {
        let metrics = CustomMetrics::default();
        let of = |tenant: &str, step: &str| metrics.of(tenant, "p", step, "c");
        let (one, same, other) = (of("t", "a"), of("t", "b"), of("u", "a"));
        for at in 0..SERIES_PER_PIPELINE_MAX + 7 {
            one.measured(&measurement(MetricKind::Counter, &[("at", &at.to_string())], &[1.0]));
        }
        same.measured(&measurement(MetricKind::Counter, &[], &[1.0]));
        other.measured(&measurement(MetricKind::Counter, &[], &[1.0]));
        one.measured(&measurement(MetricKind::Counter, &[("at", "0")], &[1.0]));
        let all = page(&metrics);
        metrics.forget("t", "p");
        let left = page(&metrics);
        let page = all;
        assert_eq!(page.matches("tidemill_component_counter_total{").count(), SERIES_PER_PIPELINE_MAX + 1);
        assert_eq!(left.matches("tidemill_component_counter_total{").count(), 1, "of the other tenant's\n{left}");
        assert_eq!(left.matches("metrics_dropped_total{").count(), 0, "{left}");
        assert!(page.contains(r#"step="a",reason="too_many_series"} 7"#), "{page}");
        assert!(page.contains(r#"step="b",reason="too_many_series"} 1"#), "{page}");
        assert!(page.contains(r#"at="0"} 2"#), "a series that is there goes on\n{page}");
    }
}

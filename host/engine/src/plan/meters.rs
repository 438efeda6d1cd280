//! `metrics`, checked against the columns there are, and where its measurements go.

use std::sync::Arc;

use tidemill_event::FieldType;
use tidemill_expr::{Expression, Part};
use tidemill_flow::Meters;
use tidemill_runtime::{GuestMetrics, Measurement, MetricFault, MetricKind};

use crate::custom_metrics::StepMetrics;
use crate::pipeline::{MeterKind, MeterStep, Step};
use crate::plan::CallControl;
use crate::plan::check::Checker;
use crate::plan::columns::Columns;
use crate::plan::component::type_name;

/// Longer values of a label are cut.
const LABEL_BYTES_MAX: usize = 64;

/// One thing that is measured.
pub(crate) struct PlannedMeter {
    pub(crate) name: String,
    pub(crate) kind: MeterKind,
    /// A float64.
    pub(crate) value: Expression,
    /// Names, and strings.
    pub(crate) labels: Vec<(String, Expression)>,
}

impl Checker<'_> {
    pub(super) fn meters(&mut self, step: &Step, wanted: &[MeterStep], columns: Option<&Columns>) -> Option<Vec<PlannedMeter>> {
        let columns = columns?;
        let meters: Vec<Option<PlannedMeter>> = wanted.iter().map(|meter| self.meter(step, meter, columns)).collect();
        meters.into_iter().collect()
    }

    fn meter(&mut self, step: &Step, wanted: &MeterStep, columns: &Columns) -> Option<PlannedMeter> {
        let path = format!("{}.{}", step.name(), wanted.name.text);
        let faults_before = self.faults.len();
        let by = self.named_fields(&wanted.by, &format!("{path}.by"), columns);
        let value = self.expression(&wanted.value, &path, columns)?;
        if !matches!(value.field_type(), FieldType::Int64 | FieldType::Float64 | FieldType::Decimal { .. }) {
            let error = format!("the value is {}, not a number", type_name(value.field_type()));
            self.fault(path, wanted.value.line, error, "write a number: `1` counts rows");
            return None;
        }
        if self.faults.len() > faults_before {
            return None;
        }
        // The calls of its functions are the step's since it was read above, and are found by their texts.
        let value = Part::parse(&format!("cast(({}) as double)", wanted.value.text))
            .and_then(|part| self.without_calls(&part, columns))
            .and_then(|rest| rest.plan(&self.scope(columns)));
        let text = |name: &str| format!("cast(\"{}\" as varchar)", name.replace('"', "\"\""));
        let label = |name: &str| Ok((name.to_owned(), Part::parse(&text(name))?.plan(&columns.scope())?));
        let labels: Result<Vec<_>, _> = by.iter().map(|field| label(&field.name)).collect();
        match value.and_then(|value| Ok((value, labels?))) {
            Ok((value, labels)) => {
                Some(PlannedMeter { name: wanted.name.text.clone(), kind: wanted.kind.clone(), value, labels })
            }
            Err(error) => {
                self.expression_fault(&path, &wanted.value, error);
                None
            }
        }
    }
}

/// Where the measurements of a step go. Rows that are taken again after a crash were measured before: of them nothing is.
pub(super) struct StepMeters {
    metrics: StepMetrics,
    control: Arc<CallControl>,
    meters: Vec<(String, MeterKind, Vec<String>)>,
}

impl StepMeters {
    pub(super) fn new(metrics: StepMetrics, control: Arc<CallControl>, planned: &[PlannedMeter]) -> Self {
        let names = |meter: &PlannedMeter| meter.labels.iter().map(|(name, _)| name.clone()).collect();
        let meters = planned.iter().map(|meter| (meter.name.clone(), meter.kind.clone(), names(meter))).collect();
        Self { metrics, control, meters }
    }
}

impl Meters for StepMeters {
    fn measured(&mut self, meter: usize, labels: &[&str], amounts: &[(f64, i64)]) {
        if self.control.is_silent() {
            return;
        }
        let (name, kind, names) = &self.meters[meter];
        let grows = *kind == MeterKind::Metric(MetricKind::Counter);
        let is_possible = |(amount, _): &(f64, i64)| amount.is_finite() && (!grows || *amount >= 0.0);
        let amounts: Vec<(f64, i64)> = amounts.iter().copied().filter(is_possible).collect();
        let mut labels: Vec<(String, String)> = names.iter().cloned().zip(labels.iter().map(|value| cut(value))).collect();
        labels.sort();
        if amounts.is_empty() {
            return self.metrics.dropped(MetricFault::Invalid, 1);
        }
        match kind {
            MeterKind::Metric(kind) => {
                let amounts = amounts.into_iter().map(|(amount, _)| amount).collect();
                self.metrics.measured(&Measurement { kind: *kind, name: name.clone(), labels, amounts });
            }
            MeterKind::Percentiles { at, over } => self.metrics.percentiles(name, labels, (at, *over), &amounts),
        }
    }
}

/// The beginning of a long value, and nothing that ends a line.
fn cut(value: &str) -> String {
    let end = value.floor_char_boundary(LABEL_BYTES_MAX.min(value.len()));
    value[..end].replace(char::is_control, " ")
}

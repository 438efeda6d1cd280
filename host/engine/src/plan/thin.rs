//! `dedupe`, `rate` and `sample`, checked against the columns there are.

use std::sync::Arc;
use std::time::Duration;

use tidemill_event::{Field, FieldType};
use tidemill_flow::Judged;

use crate::pipeline::{LimitStep, SampleStep, Step};
use crate::plan::check::Checker;
use crate::plan::columns::Columns;
use crate::plan::state::KeptState;
use crate::plan::window::named;

/// A `dedupe` or `rate` step.
pub(crate) struct PlannedLimit {
    pub(crate) by: Vec<Field>,
    pub(crate) rows: u32,
    pub(crate) per: Duration,
    pub(crate) lateness: Duration,
    pub(crate) flag: Option<Arc<str>>,
    pub(crate) judged: Judged,
    pub(crate) state: KeptState,
}

/// A `sample` step.
pub(crate) struct PlannedSample {
    pub(crate) by: Vec<Field>,
    pub(crate) rate: f64,
}

impl Checker<'_> {
    pub(super) fn limit(
        &mut self,
        at: u32,
        step: &Step,
        wanted: &LimitStep,
        columns: Option<&Columns>,
    ) -> Option<(PlannedLimit, Columns)> {
        let (columns, faults_before) = (columns?, self.faults.len());
        self.refuse_clock_times(&step.name(), step.line);
        let by = self.key_fields(&wanted.by, &format!("{}.by", step.name()), columns);
        let flag = wanted.flag.as_ref().map(|flag| self.column_name(step, flag)).transpose().ok()?;
        if self.faults.len() > faults_before {
            return None;
        }
        let LimitStep { rows, per, lateness, .. } = *wanted;
        // Whether rows beyond are dropped or told changes nothing of what is kept.
        let shape = format!("{rows} in {} ms, late {} ms, by [{}]", per.as_millis(), lateness.as_millis(), named(&by));
        let state = self.native_state(at, step.kind.word(), shape);
        let added: Vec<(Field, Option<Arc<str>>)> =
            flag.iter().map(|name| (Field::new(name, FieldType::Bool, false), None)).collect();
        let judged = self.judged();
        Some((PlannedLimit { by, rows, per, lateness, flag, judged, state }, columns.extended(&added)))
    }

    pub(super) fn sample(
        &mut self,
        step: &Step,
        wanted: &SampleStep,
        columns: Option<&Columns>,
    ) -> Option<(PlannedSample, Columns)> {
        let (columns, faults_before) = (columns?, self.faults.len());
        // Every task draws the same lot for a key: its rows need not meet.
        let by = self.named_fields(&wanted.by, &format!("{}.by", step.name()), columns);
        let rate = wanted.rate.text.parse().ok()?;
        (self.faults.len() == faults_before).then(|| (PlannedSample { by, rate }, columns.clone()))
    }
}

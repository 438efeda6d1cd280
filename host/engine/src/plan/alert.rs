//! `alert`, checked against the columns there are, and the stream that alerts go to.

use std::sync::Arc;

use tidemill_event::{Field, FieldType, Retention, StreamDefinition, StreamSchema, UnknownFields};
use tidemill_expr::Expression;
use tidemill_flow::AlertStep;

use crate::pipeline::{AlertText, Severity, Step, Text};
use crate::plan::check::Checker;
use crate::plan::columns::Columns;
use crate::plan::component::type_name;
use crate::plan::{Plan, PlannedKind};

/// An `alert` step.
pub(crate) struct PlannedAlert {
    /// `None`: as the pipeline.
    pub(crate) name: Option<Arc<str>>,
    pub(crate) severity: Severity,
    pub(crate) when: Option<Expression>,
    /// A text.
    pub(crate) summary: (Field, Expression),
    /// Texts, by name.
    pub(crate) labels: Vec<(Field, Expression)>,
}

impl Plan {
    /// Whether a step raises alerts: then there is a stream for them.
    pub(crate) fn has_alerts(&self) -> bool {
        self.steps.iter().any(|step| matches!(step.kind, PlannedKind::Alert(_)))
    }
}

/// The columns of an alert.
pub(crate) fn alert_schema() -> StreamSchema {
    StreamSchema { fields: AlertStep::fields(), unknown: UnknownFields::Drop, infer: false }
}

/// The definition of every `.alerts` stream: alerts with the same fingerprint stay in their order.
pub(crate) fn alert_definition(partitions: u32) -> StreamDefinition {
    StreamDefinition {
        schema: alert_schema(),
        time: None,
        key: vec!["fingerprint".into()],
        partitions,
        retention: Retention::default(),
        compatibility: Default::default(),
    }
}

impl Checker<'_> {
    pub(super) fn alert(&mut self, step: &Step, wanted: &AlertText, columns: Option<&Columns>) -> Option<PlannedAlert> {
        let (columns, path, faults_before) = (columns?, step.name(), self.faults.len());
        let when = wanted.when.as_ref().and_then(|when| {
            let path = format!("{path}.when");
            let condition = self.expression(when, &path, columns)?;
            if condition.field_type() != FieldType::Bool {
                let error = format!("the condition is {}, not true or false", type_name(condition.field_type()));
                self.fault(path, when.line, error, "compare it with something: `n > 3`");
                return None;
            }
            Some(condition)
        });
        let summary = self.alert_text("summary", &wanted.summary, format!("{path}.summary"), columns);
        let mut labels: Vec<_> = wanted
            .labels
            .iter()
            .filter_map(|(name, text)| self.alert_text(&name.text, text, format!("{path}.labels.{}", name.text), columns))
            .collect();
        // The same labels in another order are the same alert.
        labels.sort_by(|(a, _), (b, _)| a.name.cmp(&b.name));
        if self.faults.len() > faults_before {
            return None;
        }
        let name = wanted.name.as_ref().map(|name| name.text.as_str().into());
        Some(PlannedAlert { name, severity: wanted.severity, when, summary: summary?, labels })
    }

    /// A value as text.
    fn alert_text(&mut self, name: &str, text: &Text, path: String, columns: &Columns) -> Option<(Field, Expression)> {
        let mut expression = self.expression(text, &path, columns)?;
        if expression.field_type() != FieldType::String {
            let cast = Text { text: format!("cast(({}) as varchar)", text.text), line: text.line };
            expression = self.expression(&cast, &path, columns)?;
        }
        Some((Field::new(name, FieldType::String, true), expression))
    }
}

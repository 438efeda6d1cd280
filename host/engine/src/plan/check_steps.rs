//! What each kind of step means over the columns there are, and the columns behind it. A kind with more to it has a file of its own.

use std::sync::Arc;

use tidemill_event::{Field, FieldType};
use tidemill_expr::Expression;
use tidemill_flow::{OnFailing, RuleStep};
use tidemill_runtime::Kind;

use crate::pipeline::{KeepRows, Step, StepKind, Text};
use crate::plan::PlannedKind;
use crate::plan::check::Checker;
use crate::plan::columns::Columns;

impl Checker<'_> {
    pub(super) fn step(&mut self, at: u32, step: &Step, columns: Option<&Columns>) -> Option<(PlannedKind, Columns)> {
        match &step.kind {
            StepKind::Where(condition) => {
                let columns = columns?;
                let expression = self.expression(condition, &step.name(), columns)?;
                if expression.field_type() != FieldType::Bool {
                    let error = format!(
                        "the condition is {}, not true or false",
                        crate::plan::component::type_name(expression.field_type())
                    );
                    self.fault(step.name(), condition.line, error, "compare it with something: `amount > 0`");
                    return None;
                }
                Some((PlannedKind::Where(expression), columns.clone()))
            }
            StepKind::Select(wanted) => {
                let made = self.expressions(wanted, &step.name(), columns?)?;
                let columns = columns?.replaced(&passed(&made, wanted));
                Some((PlannedKind::Select(made), columns))
            }
            StepKind::Extend(wanted) => {
                let made = self.expressions(wanted, &step.name(), columns?)?;
                let columns = columns?.extended(&passed(&made, wanted));
                Some((PlannedKind::Extend(made), columns))
            }
            StepKind::Lookup(lookup) => self.lookup(step, lookup, columns),
            StepKind::Rule { component, keep, answer } => {
                let planned = self.component(at, step, component, Kind::Rule, columns)?;
                let columns = columns?;
                let answer: Option<Arc<str>> = answer.as_ref().map(|answer| self.column_name(step, answer)).transpose().ok()?;
                let added =
                    RuleStep::added_fields(&planned.component.description().outputs, answer.as_deref(), planned.on_failing);
                let added: Vec<_> = added.into_iter().map(|field| (field, None)).collect();
                let columns = columns.extended(&added);
                Some((PlannedKind::Rule { component: planned, keep: *keep, answer }, columns))
            }
            StepKind::Join(wanted) => {
                let (planned, columns) = self.join(at, step, wanted)?;
                Some((PlannedKind::Join(Box::new(planned)), columns))
            }
            StepKind::Window(wanted) => {
                let (planned, columns) = self.window(at, step, wanted, columns)?;
                Some((PlannedKind::Window(Box::new(planned)), columns))
            }
            StepKind::Over(wanted) => {
                let (planned, columns) = self.over(at, step, wanted, columns)?;
                Some((PlannedKind::Over(Box::new(planned)), columns))
            }
            StepKind::Pattern(wanted) => {
                let (planned, columns) = self.pattern(at, step, wanted, columns)?;
                Some((PlannedKind::Pattern(Box::new(planned)), columns))
            }
            StepKind::Patterns(wanted) => {
                let (planned, columns) = self.pattern_list(at, step, wanted, columns)?;
                Some((PlannedKind::Patterns(Box::new(planned)), columns))
            }
            StepKind::PatternComponent(wanted) => {
                let (planned, columns) = self.pattern_component(at, step, wanted, columns)?;
                Some((PlannedKind::Pattern(Box::new(planned)), columns))
            }
            StepKind::Dedupe(wanted) | StepKind::Rate(wanted) => {
                let (planned, columns) = self.limit(at, step, wanted, columns)?;
                Some((PlannedKind::Limit(Box::new(planned)), columns))
            }
            StepKind::Correlate(wanted) => {
                let (planned, columns) = self.correlate(at, step, wanted, columns)?;
                Some((PlannedKind::Correlate(Box::new(planned)), columns))
            }
            StepKind::Origin(wanted) => {
                let (planned, columns) = self.origin(step, wanted, columns)?;
                Some((PlannedKind::Origin(planned), columns))
            }
            StepKind::Machine(wanted) => {
                let (planned, columns) = self.machine(at, step, wanted, columns)?;
                Some((PlannedKind::Machine(Box::new(planned)), columns))
            }
            StepKind::Rules(wanted) => {
                let (planned, columns) = self.rules(at, step, wanted, columns)?;
                Some((PlannedKind::Rules(Box::new(planned)), columns))
            }
            StepKind::Alert(wanted) => {
                let planned = self.alert(step, wanted, columns)?;
                Some((PlannedKind::Alert(Box::new(planned)), columns?.clone()))
            }
            StepKind::Metrics(wanted) => {
                let planned = self.meters(step, wanted, columns)?;
                Some((PlannedKind::Metrics(planned), columns?.clone()))
            }
            StepKind::MatchRecognize(wanted) => {
                let (planned, columns) = self.match_recognize(at, step, wanted, columns)?;
                Some((PlannedKind::Match(Box::new(planned)), columns))
            }
            StepKind::Sample(wanted) => {
                let (planned, columns) = self.sample(step, wanted, columns)?;
                Some((PlannedKind::Sample(planned), columns))
            }
            StepKind::Process { component, outputs } => self.process(at, step, component, outputs, columns),
            StepKind::Transform { component, keep_input } => {
                let planned = self.component(at, step, component, Kind::Transform, columns)?;
                if planned.on_failing == OnFailing::Pass && !keep_input {
                    let error = "rows that skip a transform without `keep_input` would be empty";
                    let remedy = "add `keep_input: true`, or write `on_failing: hold`";
                    self.fault(format!("{}.on_failing", step.path), component.reference.line, error, remedy);
                    return None;
                }
                self.has_changed_times |= planned.component.description().time.is_some();
                let made = RuleStep::added_fields(&planned.component.description().outputs, None, planned.on_failing);
                let made: Vec<_> = made.into_iter().map(|field| (field, None)).collect();
                let columns = if *keep_input { columns?.extended(&made) } else { columns?.replaced(&made) };
                Some((PlannedKind::Transform { component: planned, keep_input: *keep_input }, columns))
            }
        }
    }

    pub(super) fn column_name(&mut self, step: &Step, name: &Text) -> Result<Arc<str>, ()> {
        if name.text.starts_with('_') {
            let error = format!("`{}` cannot be a column: names with `_` in front are the host's", name.text);
            self.fault(format!("{}.as", step.path), name.line, error, "choose another name");
            return Err(());
        }
        Ok(name.text.as_str().into())
    }

    fn expressions(&mut self, wanted: &[(Text, Text)], path: &str, columns: &Columns) -> Option<Vec<(Field, Expression)>> {
        let made: Vec<Option<(Field, Expression)>> = wanted
            .iter()
            .map(|(name, text)| {
                let expression = self.expression(text, &format!("{path}.{}", name.text), columns)?;
                let field = Field::new(&name.text, expression.field_type(), expression.nullable());
                Some((field, expression))
            })
            .collect();
        made.into_iter().collect()
    }
}

/// Which of the made columns are plain copies, and of what.
fn passed(made: &[(Field, Expression)], wanted: &[(Text, Text)]) -> Vec<(Field, Option<Arc<str>>)> {
    made.iter()
        .zip(wanted)
        .map(|((field, expression), (_, text))| {
            let copied = match expression.columns() {
                [only] if is_reference(&text.text, only) => Some(only.clone()),
                _ => None,
            };
            (field.clone(), copied)
        })
        .collect()
}

/// Whether an expression is nothing but the name of that column, qualified and quoted or not.
fn is_reference(text: &str, column: &str) -> bool {
    let bare = text.trim().replace('"', "");
    bare == column
        || bare.strip_suffix(column).is_some_and(|rest| {
            rest.strip_suffix('.')
                .is_some_and(|alias| !alias.is_empty() && alias.chars().all(|any| any.is_alphanumeric() || any == '_'))
        })
}

/// Keeps the grammar's word and the operator's apart.
pub(crate) fn keep(keep: KeepRows) -> tidemill_flow::Keep {
    match keep {
        KeepRows::Matching => tidemill_flow::Keep::Matching,
        KeepRows::Failing => tidemill_flow::Keep::Failing,
        KeepRows::All => tidemill_flow::Keep::All,
    }
}

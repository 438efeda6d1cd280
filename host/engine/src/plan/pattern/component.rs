//! A `pattern` step whose pattern a component has: what it says is read as if it stood in the pipeline, and refused by the same judge.
//!
//! ```text
//! {"followed_by": "large", "where": "predicate(1) and condition(0)"}
//!     predicate(1)   a hidden column, answered before the rows come to the pattern
//!     condition(0)   asked when a run may take the row, with the columns and what the component reads of a run
//! ```

use std::sync::Arc;

use tidemill_event::batch::TIME_COLUMN;
use tidemill_event::{Field, StreamSchema, UnknownFields};
use tidemill_expr::{ExpressionError, Staged};
use tidemill_flow::pattern::ByComponent;
use tidemill_flow::{Aggregate, OnFailing};
use tidemill_runtime::{Description, Kind, PatternText};

use crate::Fault;
use crate::pipeline::{PatternComponent, PatternDefinition, Step, Text};
use crate::plan::PlannedComponent;
use crate::plan::check::{Checker, Pinning};
use crate::plan::columns::Columns;
use crate::plan::component::column_fits;
use crate::plan::pattern::PlannedPattern;
use crate::plan::pattern::conditions::{Asking, PlannedCondition};

/// The component of a pattern.
pub(crate) struct PlannedDetector {
    pub(crate) component: Arc<PlannedComponent>,
    /// What it says with its configuration.
    pub(crate) text: Arc<PatternText>,
    /// What its conditions read of a run, by the number of the value.
    pub(crate) so_far: Vec<(usize, Field)>,
    /// The columns that come out, those it makes of a match included.
    pub(crate) told: Vec<Field>,
}

impl PlannedDetector {
    pub(crate) fn description(&self) -> &Description {
        self.component.component.description()
    }

    /// Whether it is asked about runs.
    pub(crate) fn asks(&self) -> bool {
        self.text.conditions > 0
    }

    /// The hidden columns of its predicates.
    pub(crate) fn predicates(&self) -> Vec<Field> {
        (0..self.text.predicates).map(ByComponent::predicate).collect()
    }
}

/// What a component answers, while its pattern is read.
#[derive(Debug, Clone)]
pub(super) struct Answered {
    predicates: usize,
    conditions: usize,
    /// The columns of a row that it reads.
    columns: Vec<Arc<str>>,
    /// What it reads of a run.
    so_far: Vec<Field>,
}

impl Answered {
    /// The condition that a text is, if the component is to answer it.
    pub(super) fn condition(&self, text: &str) -> Option<Result<PlannedCondition, ExpressionError>> {
        let (predicate, condition) = match text.split_once(" and ") {
            Some((predicate, condition)) => (Some(numbered(predicate, "predicate")?), Some(numbered(condition, "condition")?)),
            None => (numbered(text, "predicate"), numbered(text, "condition")),
        };
        for (what, number, there) in [("predicate", predicate, self.predicates), ("condition", condition, self.conditions)] {
            if let Some(number) = number.filter(|number| *number >= there) {
                let error = format!("there is no {what} {number}: the component answers {there}");
                return Some(Err(ExpressionError::new(error, "number them from 0, and say how many there are")));
            }
        }
        let gate = predicate.map(|number| ByComponent::predicate(number).name);
        Some(Ok(match (gate, condition) {
            (None, None) => return None,
            (Some(column), None) => PlannedCondition::Judged([column]),
            (gate, Some(number)) => {
                let columns = self.columns.iter().chain(&gate).cloned().collect();
                PlannedCondition::Asked { columns, gate, number: number as u32 }
            }
        }))
    }
}

/// `predicate(3)`.
fn numbered(text: &str, word: &str) -> Option<usize> {
    text.trim().strip_prefix(word)?.strip_prefix('(')?.strip_suffix(')')?.parse().ok()
}

impl Checker<'_> {
    /// A step whose pattern a component has.
    pub(in crate::plan) fn pattern_component(
        &mut self,
        at: u32,
        step: &Step,
        wanted: &PatternComponent,
        columns: Option<&Columns>,
    ) -> Option<(PlannedPattern, Columns)> {
        self.refuse_clock_times(&step.name(), step.line);
        let component = self.component(at, step, &wanted.component, Kind::Pattern, columns)?;
        let columns = columns?;
        let reference = &wanted.component.reference;
        if component.on_failing == OnFailing::Pass {
            let error = "a row that skips the predicates of a pattern would be in none of its stages";
            self.fault(format!("{}.on_failing", step.path), reference.line, error, "write `on_failing: hold` or `stop`");
            return None;
        }
        let instance = self.open(&step.path, &wanted.component, &component)?;
        let text = Arc::new(instance.pattern()?.clone());
        let faults_before = self.faults.len();
        let planned = self.said_by_component(at, step, wanted, component, text, columns);
        // What is wrong there is the component's to mend, and its text has no lines that anybody has seen.
        for fault in &mut self.faults[faults_before..] {
            let place = fault.path.strip_prefix(&step.name()).unwrap_or(&fault.path).trim_start_matches('.');
            let place = if place.is_empty() { String::new() } else { format!("`{place}`: ") };
            fault.error = format!("the pattern that `{}` describes: {place}{}", reference.text, fault.error);
            (fault.path, fault.line) = (step.name(), reference.line);
        }
        planned
    }

    /// The same of a component that nobody has uploaded, over rows with these fields.
    pub(crate) fn pattern_on_trial(
        step: &Step,
        wanted: &PatternComponent,
        component: Arc<PlannedComponent>,
        text: &PatternText,
        fields: &[Field],
    ) -> Result<(PlannedPattern, Vec<Field>), Vec<Fault>> {
        let schema = StreamSchema { fields: fields.to_vec(), unknown: UnknownFields::Drop, infer: false };
        let columns = Columns::of_source(&schema, None);
        let mut checker = Checker::of_nothing(Pinning::Newest(None));
        let planned = checker.said_by_component(0, step, wanted, component, Arc::new(text.clone()), &columns);
        match planned {
            Some((planned, behind)) if checker.faults.is_empty() => Ok((planned, behind.fields)),
            Some(_) | None => Err(checker.faults),
        }
    }

    fn said_by_component(
        &mut self,
        at: u32,
        step: &Step,
        wanted: &PatternComponent,
        component: Arc<PlannedComponent>,
        text: Arc<PatternText>,
        columns: &Columns,
    ) -> Option<(PlannedPattern, Columns)> {
        let description = component.component.description().clone();
        let mut definition = match wanted.definition(&text.text) {
            Ok(definition) => definition,
            Err(faults) => {
                self.faults
                    .extend(faults.into_iter().map(|fault| Fault { path: fault.path.replacen("pattern.", "", 1), ..fault }));
                return None;
            }
        };
        let matching = &description.matching;
        if matching.shapes {
            self.read_of_matches(step, &mut definition, &matching.found)?;
        }
        let predicates: Vec<_> = (0..text.predicates).map(|number| (ByComponent::predicate(number), None)).collect();
        let answered = Answered {
            predicates: text.predicates,
            conditions: text.conditions,
            columns: description.columns.iter().map(|field| field.name.clone()).collect(),
            so_far: if text.conditions > 0 { matching.so_far.clone() } else { Vec::new() },
        };
        let (mut planned, so_far, behind) =
            self.patterned(&step.name(), &definition, &columns.extended(&predicates), (Some(answered), &mut None))?;
        planned.state = self.native_state(at, "pattern", planned.state.shape);
        let told = match matching.shapes {
            true => self.shaped(step, &planned, &description)?,
            false => planned.columns.clone(),
        };
        let copied = |field: &Field| planned.by.contains(field).then(|| field.name.clone());
        let behind = if matching.shapes {
            columns.replaced(&told.iter().map(|field| (field.clone(), copied(field))).collect::<Vec<_>>())
        } else {
            behind
        };
        planned.detector = Some(PlannedDetector { component, text, so_far, told });
        Some((planned, behind))
    }

    /// What the component reads of matches becomes the `select` of its pattern.
    fn read_of_matches(&mut self, step: &Step, definition: &mut PatternDefinition, found: &[Field]) -> Option<()> {
        if let Some((name, _)) = definition.select.first() {
            let error = "it shapes its matches, and says of itself what it reads of them";
            self.fault(format!("{}.select", step.name()), name.line, error, "remove `select`, or `shape`");
            return None;
        }
        let line = definition.line;
        let is_own = |name: &str| {
            let of_step = PlannedPattern::own_fields(definition.timeouts, definition.explain);
            definition.by.iter().any(|by| by.text == name) || of_step.iter().any(|field| *field.name == *name)
        };
        let selected = found.iter().filter(|field| !is_own(&field.name)).map(|field| {
            let text = || Text { text: field.name.to_string(), line };
            (text(), text())
        });
        definition.select = selected.collect();
        Some(())
    }

    /// The columns that come out of a pattern whose matches the component shapes.
    fn shaped(&mut self, step: &Step, planned: &PlannedPattern, description: &Description) -> Option<Vec<Field>> {
        let faults_before = self.faults.len();
        let path = step.name();
        for wanted in &description.matching.found {
            match planned.columns.iter().find(|field| field.name == wanted.name) {
                Some(there) => {
                    if let Err(error) = column_fits(wanted, there) {
                        self.fault(&path, step.line, error, "mend what the component reads of a match");
                    }
                }
                None => {
                    let error = format!("a match has no `{}`", wanted.name);
                    self.fault(&path, step.line, error, "read a column of `by`, `match_start`, `match_end` or an aggregate");
                }
            }
        }
        let own = PlannedPattern::own_fields(planned.timeouts, planned.explained.is_some());
        let mut told: Vec<Field> = planned.by.iter().cloned().chain(own).collect();
        for output in &description.outputs {
            if told.iter().any(|field| field.name == output.name) || *output.name == *TIME_COLUMN {
                let error = format!("it makes a column `{}`, which a match has by itself", output.name);
                self.fault(&path, step.line, error, "give the component's output another name");
            }
            told.push(output.clone());
        }
        (self.faults.len() == faults_before).then_some(told)
    }

    /// What the component reads of a run: each an aggregate over what the run has taken.
    pub(super) fn so_far(&mut self, path: &str, asking: &mut Asking, columns: &Columns) -> Vec<(usize, Field)> {
        let wanted = asking.answered.as_ref().map_or_else(Vec::new, |answered| answered.so_far.clone());
        let mut values = Vec::with_capacity(wanted.len());
        for field in wanted {
            match self.value_so_far(&field, asking, columns) {
                Ok(value) => values.push((value, field)),
                Err(error) => {
                    let text = Text { text: field.name.to_string(), line: 0 };
                    self.expression_fault(&format!("{path}.{}", field.name), &text, error);
                }
            }
        }
        values
    }

    fn value_so_far(&mut self, field: &Field, asking: &mut Asking, columns: &Columns) -> Result<usize, ExpressionError> {
        let names: Vec<&str> = Aggregate::names().collect();
        let Staged { calls, rest } = asking.staged(&field.name, &names)?;
        let [call] = calls.as_slice() else {
            let remedy = "ask for one aggregate: `avg(small.amount)`";
            return Err(ExpressionError::new(format!("`{}` is not one value of a run", field.name), remedy));
        };
        if !rest.is_name() {
            let remedy = "ask for the aggregate alone, and compute with it in the condition";
            return Err(ExpressionError::new(format!("`{}` is more than one value of a run", field.name), remedy));
        }
        let (number, there) = self.run_value(call, asking, columns)?;
        column_fits(field, &there).map_err(|error| ExpressionError::new(error, "mend what the component reads of a run"))?;
        Ok(number)
    }
}

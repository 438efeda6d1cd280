//! What stages ask: conditions over a row alone, answered for whole batches, and such that look at what a run has taken.
//!
//! Equal conditions are one predicate, and equal questions to a run one value, however many stages have them.

use std::collections::HashMap;
use std::sync::Arc;

use tidemill_event::{Field, FieldType};
use tidemill_expr::{Expression, ExpressionError, Part, Scope, ScopeColumn, StageCall, Staged};
use tidemill_flow::Aggregate;
use tidemill_flow::pattern::{PREDICATES_MAX, PredicateId, RunValue};
use tidemill_flow::rule_set::TestKind;

use crate::pipeline::listed;
use crate::pipeline::{StageElement, Text};
use crate::plan::aggregates::aggregate_of;
use crate::plan::check::Checker;
use crate::plan::columns::Columns;
use crate::plan::component::type_name;
use crate::plan::pattern::component::Answered;
use crate::plan::pattern::earlier::Earlier;
use crate::plan::pattern::predicate;
use crate::plan::rules::SharedPredicates;

/// A condition of a stage.
pub(crate) enum PlannedCondition {
    /// Over the row.
    Row(Expression),
    /// Over the row, asked for all patterns of a list: which of its conditions.
    Shared(u32),
    /// Over the row and values of the run.
    Run {
        expression: Expression,
        /// The row's columns that it reads.
        columns: Vec<Arc<str>>,
        /// Values by their number, and the columns that stand for them.
        values: Vec<(usize, Field)>,
    },
    /// A predicate that a component answers: the column that says so.
    Judged([Arc<str>; 1]),
    /// A condition over the run that a component answers.
    Asked {
        /// The columns of the row that it reads, and the one that says which rows are asked about.
        columns: Vec<Arc<str>>,
        gate: Option<Arc<str>>,
        number: u32,
    },
}

impl PlannedCondition {
    /// The columns of the row that it reads.
    pub(super) fn columns(&self) -> &[Arc<str>] {
        match self {
            Self::Row(expression) => expression.columns(),
            // The list looks at rows as they are.
            Self::Shared(_) => &[],
            Self::Run { columns, .. } | Self::Asked { columns, .. } => columns,
            Self::Judged(column) => column,
        }
    }
}

/// The conditions of a pattern while they are read.
pub(super) struct Asking {
    /// Stages that expressions may name, and those that never have an event.
    pub(super) stages: Vec<String>,
    pub(super) negations: Vec<String>,
    /// Which of them may have events when which is judged, and the one whose conditions are being read.
    pub(super) earlier: Earlier,
    pub(super) judged: String,
    texts: Vec<String>,
    pub(super) conditions: Vec<PlannedCondition>,
    pub(super) values: Vec<RunValue>,
    pub(super) before: Vec<(Field, Expression)>,
    /// What a component answers.
    pub(super) answered: Option<Answered>,
    /// What the patterns of a list have in common, if it is one of a list.
    pub(super) shared: Option<SharedTests>,
}

/// The conditions of a list of patterns.
#[derive(Default)]
pub(super) struct SharedTests {
    pub(super) predicates: SharedPredicates,
    pub(super) conditions: Vec<Vec<TestKind>>,
    /// By their text.
    numbers: HashMap<String, u32>,
}

impl SharedTests {
    /// The number of a condition.
    fn number(&mut self, condition: &Part, scope: &Scope) -> Result<u32, ExpressionError> {
        let text = condition.to_string();
        if let Some(number) = self.numbers.get(&text) {
            return Ok(*number);
        }
        let tests = condition.clone().conjuncts().into_iter().map(|part| Ok(self.predicates.test(&part, scope)?.kind));
        let tests = tests.collect::<Result<Vec<_>, ExpressionError>>()?;
        self.conditions.push(tests);
        let number = self.conditions.len() as u32 - 1;
        self.numbers.insert(text, number);
        Ok(number)
    }
}

impl Asking {
    pub(super) fn new(names: &[(&Text, &StageElement)], answered: Option<Answered>) -> Self {
        use tidemill_flow::pattern::Contiguity::{NotFollowedBy, NotNext};
        let is_negation = |element: &StageElement| matches!(element.contiguity, NotNext | NotFollowedBy);
        let of = |negated: bool| {
            let names = names.iter().filter(|(_, element)| is_negation(element) == negated);
            names.map(|(name, _)| name.text.clone()).collect()
        };
        Self {
            stages: of(false),
            negations: of(true),
            earlier: Earlier::default(),
            judged: String::new(),
            texts: Vec::new(),
            conditions: Vec::new(),
            values: Vec::new(),
            before: Vec::new(),
            answered,
            shared: None,
        }
    }

    /// Takes an expression apart.
    pub(super) fn staged(&self, sql: &str, aggregates: &[&str]) -> Result<Staged, ExpressionError> {
        let names: Vec<&str> = self.stages.iter().chain(&self.negations).map(String::as_str).collect();
        let staged = Staged::parse(sql, &names, aggregates)?;
        let is_of_negation = |call: &&StageCall| call.stage.as_ref().is_some_and(|stage| self.negations.contains(stage));
        if let Some(StageCall { stage: Some(stage), call }) = staged.calls.iter().find(is_of_negation) {
            let mut error =
                ExpressionError::new(format!("`{stage}` must not come: it never has an event"), "name a stage that has some");
            error.at = call.at;
            return Err(error);
        }
        Ok(staged)
    }

    /// `c.amount` where `amount` is a column and `c` no stage: the stage is what is wrong.
    pub(super) fn unknown_stage(&self, sql: &str, aggregates: &[&str], columns: &Columns) -> Option<ExpressionError> {
        let words = sql.split(|character: char| !(character.is_alphanumeric() || matches!(character, '_' | '.')));
        let unknown = words.filter_map(|word| word.split_once('.')).find_map(|(first, column)| {
            let is_known = self.stages.iter().chain(&self.negations).any(|stage| stage == first) || columns.is_alias(first);
            let is_meant = !is_known && columns.field(column).is_some() && columns.field(&format!("{first}.{column}")).is_none();
            // It may stand in a text or a comment: as the name of a stage it would be one.
            let calls = is_meant.then(|| Staged::parse(sql, &[first], aggregates).ok())??.calls;
            let call = calls.into_iter().find(|call| call.stage.as_deref() == Some(first))?;
            Some((first, call.call.at))
        });
        let (name, at) = unknown?;
        let known: Vec<&str> = self.stages.iter().map(String::as_str).collect();
        let remedy = format!("the stages are {}", listed(&known, "and"));
        Some(ExpressionError { at, ..ExpressionError::new(format!("there is no stage `{name}`"), remedy) })
    }
}

impl Checker<'_> {
    /// The predicate that a text is.
    pub(super) fn stage_condition(
        &mut self,
        text: &Text,
        path: &str,
        asking: &mut Asking,
        columns: &Columns,
    ) -> Option<PredicateId> {
        let (key, condition) = match self.planned_condition(text, asking, columns) {
            Ok(planned) => planned,
            Err(error) => {
                let names: Vec<&str> = Aggregate::names().collect();
                let error = asking.unknown_stage(&text.text, &names, columns).unwrap_or(error);
                self.expression_fault(path, text, error);
                return None;
            }
        };
        if let Some(known) = asking.texts.iter().position(|known| *known == key) {
            return predicate(known);
        }
        if asking.texts.len() == PREDICATES_MAX {
            let error = format!("more than {PREDICATES_MAX} different conditions in one pattern");
            self.fault(
                path,
                text.line,
                error,
                "compute what they have in common in an `extend` step before, or write two patterns",
            );
            return None;
        }
        asking.texts.push(key);
        asking.conditions.push(condition);
        predicate(asking.texts.len() - 1)
    }

    /// A condition, and the text by which an equal one is known.
    fn planned_condition(
        &mut self,
        text: &Text,
        asking: &mut Asking,
        columns: &Columns,
    ) -> Result<(String, PlannedCondition), ExpressionError> {
        if let Some(answered) = &asking.answered
            && let Some(condition) = answered.condition(&text.text)
        {
            return condition.map(|condition| (text.text.clone(), condition));
        }
        let names: Vec<&str> = Aggregate::names().collect();
        let Staged { calls, rest } = asking.staged(&text.text, &names)?;
        let mut values: Vec<(usize, Field)> = Vec::with_capacity(calls.len());
        for call in &calls {
            if let Some(asked) = &call.stage {
                asking.earlier.check(&asking.judged, asked).map_err(|error| ExpressionError { at: call.call.at, ..error })?;
            }
            values.push(self.run_value(call, asking, columns)?);
        }
        let rest = self.without_calls(&rest, columns)?;
        let own = values.iter().map(|(_, field)| ScopeColumn { qualifier: None, field: field.clone() });
        let scope = Scope::new(self.scope(columns).columns().iter().cloned().chain(own).collect());
        let expression = rest.plan(&scope)?;
        if expression.field_type() != FieldType::Bool {
            let error = format!("the condition is {}, not true or false", type_name(expression.field_type()));
            return Err(ExpressionError::new(error, "compare it with something: `amount > 0`"));
        }
        if calls.is_empty() {
            let condition = match &mut asking.shared {
                Some(shared) => PlannedCondition::Shared(shared.number(&rest, &scope)?),
                None => PlannedCondition::Row(expression),
            };
            return Ok((rest.to_string(), condition));
        }
        let is_value = |name: &Arc<str>| values.iter().any(|(_, field)| field.name == *name);
        let read = expression.columns().iter().filter(|name| !is_value(name)).cloned().collect();
        Ok((rest.to_string(), PlannedCondition::Run { expression, columns: read, values }))
    }

    /// A value that is asked of a run: its number, and the column that stands for it.
    pub(super) fn run_value(
        &mut self,
        StageCall { stage, call }: &StageCall,
        asking: &mut Asking,
        columns: &Columns,
    ) -> Result<(usize, Field), ExpressionError> {
        let with_place = |mut error: ExpressionError| {
            error.at = error.at.or(call.at);
            error
        };
        let (aggregate, argument) = aggregate_of(call).map_err(with_place)?;
        let column = argument.filter(|part| part.is_name()).zip(stage.as_ref()).map(|(part, stage)| format!("{stage}.{part}"));
        let argument = argument.map(|part| self.computed(part, columns, &mut asking.before)).transpose()?;
        let is_decimal = argument.as_ref().is_some_and(|field| matches!(field.ty, FieldType::Decimal { .. }));
        let value = RunValue::new(stage.as_deref().map(Into::into), aggregate, argument).map_err(|refused| {
            let remedy = match column {
                Some(column) if is_decimal => format!("convert it: `{}(cast({column} as double))`", call.function),
                None if is_decimal => format!("convert the argument: `{}(cast(… as double))`", call.function),
                Some(_) | None => {
                    "ask for another value of the run; every aggregate can stand in the `select` of the pattern".to_owned()
                }
            };
            with_place(ExpressionError::new(refused.to_string(), remedy))
        })?;
        let (ty, nullable) = value.output();
        let number = asking.values.iter().position(|known| *known == value).unwrap_or_else(|| {
            asking.values.push(value);
            asking.values.len() - 1
        });
        Ok((number, Field::new(&call.name, ty, nullable)))
    }
}

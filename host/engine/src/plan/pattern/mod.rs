//! A `pattern` step, checked against the columns there are: its stages as the matcher has them, what they ask, and what a match says.
//!
//! ```text
//! {followed_by: large, where: amount > 3 * avg(small.amount) and kind = 'x'}
//!     before     arguments that are no columns, computed of every row            (`Composed`)
//!     values     avg of amount over the run's events in `small`
//!     condition  amount > 3 * "avg(small.amount)" and kind = 'x'
//! ```

mod component;
mod conditions;
mod described;
mod earlier;
mod guest;
mod list;
mod measures;
mod operator;
mod refused;

use std::collections::BTreeSet;
use std::sync::Arc;

use tidemill_event::batch::TIME_COLUMN;
use tidemill_event::{Field, FieldType};
use tidemill_expr::Expression;
use tidemill_flow::pattern::{
    Body, Element, MATCH_END, MATCH_START, Measure, Pattern, PatternOrder, PredicateId, RunLimits, RunValue, Skip, SkipTarget,
    Stage, TIMED_OUT,
};
use tidemill_flow::{Judged, MATCH_ID};

use crate::pipeline::{PatternDefinition, SkipTo, StageBody, StageElement, Step, Text};
use crate::plan::check::Checker;
use crate::plan::columns::Columns;
use crate::plan::explained::{PlannedExplain, kept_fields as explained_fields};
use crate::plan::pattern::component::Answered;
use crate::plan::pattern::conditions::{Asking, SharedTests};
use crate::plan::pattern::described::{described, described_skip};
use crate::plan::pattern::earlier::Earlier;
use crate::plan::state::KeptState;
use crate::plan::window::named;

pub(crate) use component::PlannedDetector;
pub(crate) use conditions::PlannedCondition;
pub use guest::PatternCall;
pub(crate) use list::PlannedPatterns;
pub(crate) use operator::{list_operator, operator};

/// A `pattern` step.
pub(crate) struct PlannedPattern {
    pub(crate) by: Vec<Field>,
    /// What a row has to have while it waits for its time.
    pub(crate) fields: Vec<Field>,
    /// What is kept of an event that a run has taken.
    pub(crate) kept: Vec<Field>,
    pub(crate) pattern: Pattern,
    pub(crate) conditions: Vec<PlannedCondition>,
    /// What conditions ask of runs.
    pub(crate) values: Vec<RunValue>,
    /// Computed of each row, hidden.
    pub(crate) before: Vec<(Field, Expression)>,
    pub(crate) measures: Vec<Measure>,
    /// Computed of the measures.
    pub(crate) after: Vec<(Field, Expression)>,
    pub(crate) order: PatternOrder,
    pub(crate) limits: RunLimits,
    pub(crate) timeouts: bool,
    /// Nothing begins any more.
    pub(crate) draining: bool,
    pub(crate) explained: Option<PlannedExplain>,
    pub(crate) judged: Judged,
    /// The columns that come out, in order.
    pub(crate) columns: Vec<Field>,
    pub(crate) state: KeptState,
    pub(crate) described: String,
    /// States of its automaton.
    pub(crate) states: usize,
    pub(crate) warnings: Vec<String>,
    /// Who answers for its stages, if a component does.
    pub(crate) detector: Option<PlannedDetector>,
}

impl PlannedPattern {
    /// What a match says of itself, beside its key.
    fn own_fields(timeouts: bool, explain: bool) -> Vec<Field> {
        let time = |name| Field::new(name, FieldType::Timestamp(None), false);
        let mut own: Vec<Field> = explain.then(|| Field::new(MATCH_ID, FieldType::String, false)).into_iter().collect();
        own.extend([time(MATCH_START), time(MATCH_END)]);
        own.extend(timeouts.then(|| Field::new(TIMED_OUT, FieldType::Bool, false)));
        own
    }
}

/// What a component's conditions read of a run: the stage, by its place, and the column.
type ReadOfRuns = Vec<(usize, Field)>;

/// The step, what its component reads of runs, and the columns behind it.
type Patterned = (PlannedPattern, ReadOfRuns, Columns);

impl Checker<'_> {
    pub(super) fn pattern(
        &mut self,
        at: u32,
        step: &Step,
        wanted: &PatternDefinition,
        columns: Option<&Columns>,
    ) -> Option<(PlannedPattern, Columns)> {
        self.refuse_clock_times(&step.name(), step.line);
        let (mut planned, _, behind) = self.patterned(&step.name(), wanted, columns?, (None, &mut None))?;
        planned.state = self.native_state(at, "pattern", planned.state.shape);
        Some((planned, behind))
    }

    /// The same, with what a component answers: the second value is what it reads of runs. Or as one of a list, with what its patterns share. Its state
    /// has no number yet.
    fn patterned(
        &mut self,
        path: &str,
        wanted: &PatternDefinition,
        columns: &Columns,
        (answered, shared): (Option<Answered>, &mut Option<SharedTests>),
    ) -> Option<Patterned> {
        let faults_before = self.faults.len();
        let by = self.key_fields(&wanted.by, &format!("{path}.by"), columns);
        let mut names = Vec::new();
        StageElement::names(&wanted.stages, &mut names);
        self.refuse_stage_names(&names, columns);
        let mut asking = Asking::new(&names, answered);
        asking.earlier = Earlier::of(&wanted.stages);
        asking.shared = shared.take();
        let so_far = self.so_far(path, &mut asking, columns);
        let elements = self.elements(&wanted.stages, &mut asking, columns);
        let explained = wanted.explain.then(|| {
            let skip = described_skip(&wanted.skip);
            self.explained((path, wanted.line), columns, described(wanted), wanted.within, Some(skip))
        });
        let beside = self.beside(path, wanted, &by);
        let measured = self.measures(wanted, &format!("{path}.select"), &mut asking, columns, &beside);
        *shared = asking.shared.take();
        let pattern = Pattern {
            elements: elements.into_iter().flatten().collect(),
            within: wanted.within,
            within_last: wanted.within_last,
            skip: skip(&wanted.skip),
        };
        // A pattern with holes may be refused for what fills them.
        if self.faults.len() > faults_before {
            return None;
        }
        let examined = match pattern.examine() {
            Ok(examined) => examined,
            Err(refused) => {
                self.refuse_pattern(path, wanted, &names, &refused);
                return None;
            }
        };
        let measured = measured?;
        let Asking { conditions, values, before, .. } = asking;
        let kept = kept(explained_fields(explained.as_ref(), columns), &values, &measured.measures);
        let fields = self.waiting_fields(&by, &kept, &conditions, &before, columns);
        let told: Vec<Field> = beside.iter().chain(&measured.selected).cloned().collect();
        let described = described(wanted);
        let shape = format!(
            "{described} by [{}] keeps [{}] of [{}] in states {:016x}",
            named(&by),
            named(&kept),
            named(&fields),
            examined.fingerprint
        );
        let state = KeptState { operator: 0, shape };
        self.last_by = Some(by.iter().map(|field| field.name.clone()).collect());
        let passed: Vec<(Field, Option<Arc<str>>)> =
            told.iter().map(|field| (field.clone(), by.contains(field).then(|| field.name.clone()))).collect();
        let judged = self.judged();
        self.has_changed_times = true;
        let behind = columns.replaced(&passed);
        let planned = PlannedPattern {
            by,
            fields,
            kept,
            pattern,
            conditions,
            values,
            before,
            measures: measured.measures,
            after: measured.after,
            order: wanted.order,
            limits: wanted.limits,
            timeouts: wanted.timeouts,
            draining: wanted.draining,
            explained,
            judged,
            columns: told,
            state,
            described,
            states: examined.states,
            warnings: examined.warnings.iter().map(ToString::to_string).collect(),
            detector: None,
        };
        Some((planned, so_far, behind))
    }

    /// What comes out beside `select`: the key, and when it was.
    fn beside(&mut self, path: &str, wanted: &PatternDefinition, by: &[Field]) -> Vec<Field> {
        let own = PlannedPattern::own_fields(wanted.timeouts, wanted.explain);
        self.refuse_own_names(path, by, &wanted.by, &own);
        by.iter().cloned().chain(own).collect()
    }

    /// A stage is known by its name in expressions, where columns are too.
    fn refuse_stage_names(&mut self, names: &[(&Text, &StageElement)], columns: &Columns) {
        for (name, element) in names {
            let path_of =
                |column: &str| column.strip_prefix(&*name.text).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
            if columns.names().any(path_of) || columns.is_alias(&name.text) {
                let error = format!("the stage `{}` is called as a column or the source is", name.text);
                let remedy = format!("give it another name: `{}_row`", name.text);
                self.fault(&element.path, name.line, error, remedy);
            }
        }
    }

    /// Elements as the matcher has them; `None` for those with a fault.
    fn elements(&mut self, wanted: &[StageElement], asking: &mut Asking, columns: &Columns) -> Vec<Option<Element>> {
        wanted.iter().map(|element| self.element(element, asking, columns)).collect()
    }

    fn element(&mut self, wanted: &StageElement, asking: &mut Asking, columns: &Columns) -> Option<Element> {
        let body = match &wanted.body {
            StageBody::Stage { name, condition, until } => {
                asking.judged.clone_from(&name.text);
                let every = Text { text: "true".to_owned(), line: wanted.line };
                let condition = self.stage_condition(
                    condition.as_ref().unwrap_or(&every),
                    &format!("{}.where", wanted.path),
                    asking,
                    columns,
                );
                let until = match until {
                    Some(until) => Some(self.stage_condition(until, &format!("{}.until", wanted.path), asking, columns)?),
                    None => None,
                };
                Body::Stage(Stage { name: name.text.as_str().into(), condition: condition?, until })
            }
            StageBody::Group(row) => Body::Group(self.elements(row, asking, columns).into_iter().collect::<Option<_>>()?),
            StageBody::AnyOrder(row) => Body::AnyOrder(self.elements(row, asking, columns).into_iter().collect::<Option<_>>()?),
            StageBody::OneOf(rows) => {
                let rows = rows.iter().map(|row| self.elements(row, asking, columns).into_iter().collect::<Option<_>>());
                Body::OneOf(rows.collect::<Vec<_>>().into_iter().collect::<Option<_>>()?)
            }
        };
        Some(Element { contiguity: wanted.contiguity, quantifier: wanted.quantifier, body })
    }

    /// The columns that the step looks at: a row that waits has no others.
    fn waiting_fields(
        &self,
        by: &[Field],
        kept: &[Field],
        conditions: &[PlannedCondition],
        before: &[(Field, Expression)],
        columns: &Columns,
    ) -> Vec<Field> {
        let asked: BTreeSet<&str> = conditions.iter().flat_map(PlannedCondition::columns).map(|name| &**name).collect();
        let own = self.calls.iter().map(|call| &call.value).chain(before.iter().map(|(field, _)| field));
        let is_needed = |field: &&Field| {
            *field.name != *TIME_COLUMN && (asked.contains(&*field.name) || by.contains(field) || kept.contains(field))
        };
        columns.fields.iter().chain(own).filter(is_needed).cloned().collect()
    }
}

/// What is kept of an event: what explains it, and arguments of values and measures.
fn kept(mut kept: Vec<Field>, values: &[RunValue], measures: &[Measure]) -> Vec<Field> {
    let of_measures = measures.iter().filter_map(|measure| measure.call.argument.as_ref());
    for field in values.iter().filter_map(RunValue::argument).chain(of_measures) {
        if kept.iter().all(|known| known.name != field.name) {
            kept.push(field.clone());
        }
    }
    kept
}

fn skip(wanted: &SkipTo) -> Skip {
    match wanted {
        SkipTo::Nothing => Skip::None,
        SkipTo::Next => Skip::ToNext,
        SkipTo::PastLast => Skip::PastLast,
        SkipTo::Stage { stage, is_first, must_exist } => {
            let target = SkipTarget { stage: stage.text.as_str().into(), must_exist: *must_exist };
            if *is_first { Skip::ToFirst(target) } else { Skip::ToLast(target) }
        }
    }
}

/// The predicate of a number, if there may be so many.
fn predicate(number: usize) -> Option<PredicateId> {
    u8::try_from(number).ok().map(PredicateId)
}

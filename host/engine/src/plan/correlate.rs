//! `correlate` and `origin`, checked against the columns there are.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::{Value, json};
use tidemill_event::batch::TIME_COLUMN;
use tidemill_event::{Field, FieldType};
use tidemill_expr::Expression;
use tidemill_flow::Judged;
use tidemill_flow::correlate::{CorrelateStep, Needed};

use crate::pipeline::{CorrelateText, KindsText, OriginStep, Step, Text};
use crate::plan::check::Checker;
use crate::plan::columns::{Columns, PlaceColumn};
use crate::plan::component::type_name;
use crate::plan::describe::length;
use crate::plan::explained::{PlannedExplain, kept_fields};
use crate::plan::state::KeptState;
use crate::plan::window::named;

/// An `origin` step: the columns that say where a row came from.
pub(crate) struct PlannedOrigin {
    pub(crate) stream: Option<Arc<str>>,
    pub(crate) partition: Option<Arc<str>>,
    pub(crate) offset: Option<Arc<str>>,
}

/// A `correlate` step.
pub(crate) struct PlannedCorrelate {
    pub(crate) by: Vec<Field>,
    /// What a row has while it waits for its time.
    pub(crate) fields: Vec<Field>,
    /// What is kept of an event.
    pub(crate) kept: Vec<Field>,
    /// What evidence shows of it.
    pub(crate) shown: Vec<Field>,
    pub(crate) judged: Judged,
    pub(crate) kinds: Vec<(String, Expression)>,
    pub(crate) value: Option<Expression>,
    pub(crate) needed: Needed,
    pub(crate) within: std::time::Duration,
    pub(crate) events_max: u32,
    pub(crate) explained: Option<PlannedExplain>,
    /// As it was written, for whoever looks at the plan.
    pub(crate) value_text: Option<String>,
    pub(crate) state: KeptState,
}

impl PlannedCorrelate {
    /// What a dry run says of it.
    pub(crate) fn described(&self) -> Value {
        let kinds: Vec<&str> = self.kinds.iter().map(|(name, _)| name.as_str()).collect();
        json!({
            "within": length(Some(self.within)),
            "kinds": kinds,
            "kinds_at_least": self.needed.kinds,
            "in_order": self.needed.in_order,
            "distinct": self.value_text.as_ref().map(|of| json!({"of": of, "at_least": self.needed.values})),
            "evidence": self.shown.iter().map(|field| &*field.name).collect::<Vec<_>>(),
            "events_max": self.events_max,
        })
    }
}

impl Checker<'_> {
    pub(super) fn origin(
        &mut self,
        step: &Step,
        wanted: &OriginStep,
        columns: Option<&Columns>,
    ) -> Option<(PlannedOrigin, Columns)> {
        let columns = columns?;
        if self.placed_by.is_some() || self.has_changed_times || self.sources.as_ref().is_some_and(|sources| sources.are_sides) {
            let error = "rows stand for several events here, or have been placed anew";
            self.fault(step.name(), step.line, error, "say it first: `origin` belongs before whatever brings rows together");
            return None;
        }
        let mut added = Vec::new();
        let mut places = Vec::new();
        let mut column = |checker: &mut Self, name: &Option<Text>, ty, of| -> Option<Option<Arc<str>>> {
            let Some(name) = name else { return Some(None) };
            let name = checker.column_name(step, name).ok()?;
            added.push((Field::new(&name, ty, false), None));
            places.push((name.clone(), of));
            Some(Some(name))
        };
        let stream = column(self, &wanted.stream, FieldType::String, PlaceColumn::Stream)?;
        let partition = column(self, &wanted.partition, FieldType::Int64, PlaceColumn::Partition)?;
        let offset = column(self, &wanted.offset, FieldType::Int64, PlaceColumn::Offset)?;
        let behind = columns.extended(&added).with_places(places);
        self.stream_column = stream.clone().or_else(|| self.stream_column.take());
        Some((PlannedOrigin { stream, partition, offset }, behind))
    }

    pub(super) fn correlate(
        &mut self,
        at: u32,
        step: &Step,
        wanted: &CorrelateText,
        columns: Option<&Columns>,
    ) -> Option<(PlannedCorrelate, Columns)> {
        let (path, faults_before) = (step.name(), self.faults.len());
        self.refuse_clock_times(&path, step.line);
        let columns = columns?;
        let by = self.key_fields(&wanted.by, &format!("{path}.by"), columns);
        let shown = self.named_fields(&wanted.evidence, &format!("{path}.evidence"), columns);
        let explained = wanted.explain.then(|| {
            let sought = self.sought(wanted);
            self.explained((&path, step.line), columns, sought, Some(wanted.within), None)
        });
        // What explains a match is all there is, evidence with it.
        let kept = if explained.is_some() { kept_fields(explained.as_ref(), columns) } else { shown.clone() };
        self.refuse_evidence_names(&path, wanted, !matches!(&wanted.kinds, KindsText::Said(said) if said.is_empty()));
        let kinds = self.kinds(&path, wanted, columns)?;
        let value = match &wanted.distinct {
            Some((of, _)) => Some(self.expression(of, &format!("{path}.distinct.of"), columns)?),
            None => None,
        };
        if self.faults.len() > faults_before {
            return None;
        }
        let needed = Needed {
            kinds: wanted.kinds_at_least.unwrap_or(kinds.len() as u32),
            in_order: wanted.in_order,
            values: wanted.distinct.as_ref().map_or(0, |(_, values)| *values),
        };
        let asked: BTreeSet<&str> =
            kinds.iter().map(|(_, kind)| kind).chain(&value).flat_map(Expression::columns).map(|name| &**name).collect();
        let own = self.calls.iter().map(|call| &call.value);
        let is_needed = |field: &&Field| {
            *field.name != *TIME_COLUMN && (asked.contains(&*field.name) || by.contains(field) || kept.contains(field))
        };
        let fields: Vec<Field> = columns.fields.iter().chain(own).filter(is_needed).cloned().collect();
        // What is kept of an event: which kinds it is of, a hash of its value, and what evidence shows. With another `within` older events
        // would be gone already, or still there.
        let texts: Vec<String> = self.kind_texts(wanted);
        let value_text = wanted.distinct.as_ref().map(|(of, _)| of.text.clone());
        let shape = format!(
            "kinds [{}] values of [{}] within {} by [{}] shows [{}] of rows [{}]",
            texts.join(", "),
            value_text.as_deref().unwrap_or_default(),
            length(Some(wanted.within)),
            named(&by),
            named(&kept),
            named(&fields)
        );
        let state = self.native_state(at, step.kind.word(), shape);
        self.last_by = Some(by.iter().map(|field| field.name.clone()).collect());
        let judged = self.judged();
        self.has_changed_times = true;
        let passed: Vec<(Field, Option<Arc<str>>)> = CorrelateStep::fields(&by, !kinds.is_empty(), value.is_some())
            .into_iter()
            .map(|field| (field.clone(), by.contains(&field).then(|| field.name.clone())))
            .collect();
        let (within, events_max) = (wanted.within, wanted.events_max);
        let planned = PlannedCorrelate {
            by,
            fields,
            kept,
            shown,
            judged,
            kinds,
            value,
            needed,
            within,
            events_max,
            explained,
            value_text,
            state,
        };
        Some((planned, columns.replaced(&passed)))
    }

    /// The kinds of events, as conditions.
    fn kinds(&mut self, path: &str, wanted: &CorrelateText, columns: &Columns) -> Option<Vec<(String, Expression)>> {
        let said = match &wanted.kinds {
            KindsText::Said(said) => said.clone(),
            KindsText::Streams(streams) => {
                let column = self.stream_column.clone().filter(|column| columns.field(column).is_some());
                let Some(column) = column else {
                    let line = streams.first().map_or(1, |stream| stream.line);
                    let remedy = "put `- origin: {stream: source}` before this step, and keep its column";
                    self.fault(format!("{path}.streams"), line, "no column says which stream a row is of", remedy);
                    return None;
                };
                self.refuse_unread_streams(&format!("{path}.streams"), streams);
                let of = |stream: &Text| {
                    let condition = format!("\"{column}\" = '{}'", stream.text);
                    (stream.clone(), Text { text: condition, line: stream.line })
                };
                streams.iter().map(of).collect()
            }
        };
        let mut kinds = Vec::with_capacity(said.len());
        for (name, condition) in &said {
            let at = format!("{path}.kinds.{}", name.text);
            let expression = self.expression(condition, &at, columns)?;
            if expression.field_type() != FieldType::Bool {
                let error = format!("the condition is {}, not true or false", type_name(expression.field_type()));
                self.fault(at, condition.line, error, "compare it with something: `kind = 'failed'`");
                continue;
            }
            kinds.push((name.text.clone(), expression));
        }
        Some(kinds)
    }

    /// Streams that the pipeline does not read: no row would ever be of them.
    fn refuse_unread_streams(&mut self, path: &str, streams: &[Text]) {
        let Some(sources) = self.sources.clone() else { return };
        let read: Vec<&str> = sources.list.iter().map(|source| source.name()).collect();
        for stream in streams.iter().filter(|stream| !read.contains(&stream.text.as_str())) {
            let error = format!("`{}` is no stream that the pipeline reads", stream.text);
            self.fault(path, stream.line, error, format!("it reads {}", read.join(", ")));
        }
    }

    /// What evidence says of an event itself has names too.
    fn refuse_evidence_names(&mut self, path: &str, wanted: &CorrelateText, has_kinds: bool) {
        for name in &wanted.evidence {
            if name.text == "at" || has_kinds && name.text == "kinds" {
                let error = format!("evidence says `{}` of each event already", name.text);
                let remedy = "give the column another name in an `extend` step before";
                self.fault(format!("{path}.evidence"), name.line, error, remedy);
            }
        }
    }

    /// What is looked for, in a line.
    fn sought(&self, wanted: &CorrelateText) -> String {
        let kinds = self.kind_texts(wanted);
        let mut parts = Vec::new();
        if !kinds.is_empty() {
            let at_least = wanted.kinds_at_least.map_or_else(|| "all".to_owned(), |at_least| format!("{at_least}"));
            let order = if wanted.in_order { " in this order" } else { "" };
            parts.push(format!("{at_least} of [{}]{order}", kinds.join(", ")));
        }
        parts.extend(wanted.distinct.as_ref().map(|(of, at_least)| format!("{at_least} different `{}`", of.text)));
        parts.push(format!("within {}", length(Some(wanted.within))));
        parts.join(", ")
    }

    fn kind_texts(&self, wanted: &CorrelateText) -> Vec<String> {
        match &wanted.kinds {
            KindsText::Said(said) => said.iter().map(|(name, condition)| format!("{} {}", name.text, condition.text)).collect(),
            KindsText::Streams(streams) => streams.iter().map(|stream| stream.text.clone()).collect(),
        }
    }
}

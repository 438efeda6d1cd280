//! Windows and `over`, checked against the columns there are.

use std::sync::Arc;
use std::time::Duration;

use tidemill_event::batch::UNKNOWN_COLUMN;
use tidemill_event::{Field, FieldType};
use tidemill_expr::Part;
use tidemill_flow::{
    Calendar, Gap, Judged, Order, PaneSettings, Slicing, SlicingRefused, Top, UnknownZone, WINDOW_END, WINDOW_NO, WINDOW_START,
};

use crate::pipeline::{OverStep, SessionGap, Step, Text, TopOrder, TopStep, WindowKind, WindowStep, nearest};
use crate::plan::aggregates::{PlannedAggregates, Selecting};
use crate::plan::check::Checker;
use crate::plan::columns::Columns;
use crate::plan::component::type_name;
use crate::plan::describe::length;
use crate::plan::panes::{longest_of, panes_described, panes_of};
use crate::plan::state::KeptState;

/// Which rows a window has, as the operator has it.
pub(crate) enum Windows {
    Sliced(Slicing),
    Session(Gap),
    Count(u32),
}

/// A `window` step.
pub(crate) struct PlannedWindow {
    pub(crate) windows: Windows,
    pub(crate) by: Vec<Field>,
    pub(crate) aggregates: PlannedAggregates,
    pub(crate) lateness: Duration,
    pub(crate) judged: Judged,
    pub(crate) top: Option<Top>,
    /// It speaks beside its end, or takes back what it said; `None`: once for each window.
    pub(crate) panes: Option<PaneSettings>,
    /// How long a session may be.
    pub(crate) longest: Option<Duration>,
    /// It ends with its rows.
    pub(crate) is_global: bool,
    /// A row's time is the clock's.
    pub(crate) by_clock: bool,
    /// The columns that come out, in order.
    pub(crate) columns: Vec<Field>,
    pub(crate) state: KeptState,
    /// `tumbling 1h, offset 17m`.
    pub(crate) described: String,
}

/// An `over` step.
pub(crate) struct PlannedOver {
    pub(crate) by: Vec<Field>,
    pub(crate) rows: u32,
    pub(crate) aggregates: PlannedAggregates,
    /// What each row has, arguments included.
    pub(crate) fields: Vec<Field>,
    pub(crate) judged: Judged,
    /// The columns that come out, in order, `_unknown` aside.
    pub(crate) columns: Vec<Field>,
    pub(crate) state: KeptState,
}

impl Checker<'_> {
    pub(super) fn window(
        &mut self,
        at: u32,
        step: &Step,
        wanted: &WindowStep,
        columns: Option<&Columns>,
    ) -> Option<(PlannedWindow, Columns)> {
        let (path, faults_before) = (step.name(), self.faults.len());
        let windows = self.windows(&path, wanted);
        if !wanted.by_clock && !matches!(wanted.kind, WindowKind::Count(_)) {
            self.refuse_clock_times(&path, wanted.line);
        }
        let columns = columns?;
        let by = self.key_fields(&wanted.by, &format!("{path}.by"), columns);
        // Keys that are ranked with each other must meet, too: their rank is of the whole window.
        if let Some(top) = wanted.top.as_ref().filter(|_| self.faults.len() == faults_before) {
            self.meet(&top.per, &format!("{path}.top"), columns);
        }
        let bounds: Vec<Field> = match wanted.kind {
            WindowKind::Global => Vec::new(),
            WindowKind::Count(_) => vec![Field::new(WINDOW_NO, FieldType::Int64, false)],
            WindowKind::Tumbling { .. }
            | WindowKind::Hopping { .. }
            | WindowKind::Cumulating { .. }
            | WindowKind::Calendar { .. }
            | WindowKind::Session(..) => {
                [WINDOW_START, WINDOW_END].map(|name| Field::new(name, FieldType::Timestamp(None), false)).into()
            }
        };
        let beside: Vec<Field> = by.iter().chain(&bounds).cloned().collect();
        self.refuse_bounds(&by, &bounds, &path, wanted);
        let place = Selecting { path: &format!("{path}.select"), input: columns, beside: &beside };
        let aggregates = self.aggregates(&wanted.select, place);
        let mut aggregates = aggregates?;
        let windows = match (windows?, &wanted.kind) {
            (Windows::Session(_), WindowKind::Session(SessionGap::Millis(text), _)) => {
                Windows::Session(self.gap(&path, text, columns, &mut aggregates)?)
            }
            (windows, _) => windows,
        };
        let panes = panes_of(wanted);
        let of_panes = panes.map(|panes| panes.fields()).unwrap_or_default();
        self.refuse_pane_columns(&by, &aggregates.selected, &of_panes, &path, wanted);
        let mut made: Vec<Field> = beside.iter().chain(&aggregates.selected).chain(&of_panes).cloned().collect();
        let top = match &wanted.top {
            Some(top) => Some(self.top(&format!("{path}.top"), top, &by, &made)?),
            None => None,
        };
        made.extend(top.as_ref().map(|top| Field::new(&top.rank, FieldType::Int64, false)));
        if self.faults.len() > faults_before {
            return None;
        }
        let mut described = described(&wanted.kind);
        if wanted.by_clock {
            described.push_str(" by the clock");
        }
        let mut shape = format!("{described} by [{}] keeps [{}]", named(&by), aggregates.shape());
        if let Some(panes) = panes {
            shape.push_str(&format!(" panes {:?}", panes.said));
            described.push_str(&panes_described(&panes));
        }
        let state = self.native_state(at, "window", shape);
        self.last_by = Some(by.iter().map(|field| field.name.clone()).collect());
        let passed: Vec<(Field, Option<Arc<str>>)> =
            made.iter().map(|field| (field.clone(), by.contains(field).then(|| field.name.clone()))).collect();
        let judged = self.judged();
        self.has_changed_times = true;
        self.has_clock_times |= wanted.by_clock;
        let lateness = wanted.lateness;
        let behind = columns.replaced(&passed);
        let longest = longest_of(wanted);
        let planned = PlannedWindow {
            windows,
            by,
            aggregates,
            lateness,
            judged,
            top,
            panes,
            longest,
            is_global: wanted.kind == WindowKind::Global,
            by_clock: wanted.by_clock,
            columns: made,
            state,
            described,
        };
        Some((planned, behind))
    }

    pub(super) fn over(
        &mut self,
        at: u32,
        step: &Step,
        wanted: &OverStep,
        columns: Option<&Columns>,
    ) -> Option<(PlannedOver, Columns)> {
        let (path, faults_before) = (step.name(), self.faults.len());
        self.refuse_clock_times(&path, wanted.line);
        let columns = columns?;
        let by = self.key_fields(&wanted.by, &format!("{path}.by"), columns);
        let place = Selecting { path: &format!("{path}.select"), input: columns, beside: &columns.fields };
        let aggregates = self.aggregates(&wanted.select, place)?;
        if self.faults.len() > faults_before {
            return None;
        }
        let mut fields = columns.fields.clone();
        fields.extend(aggregates.before.iter().map(|(field, _)| field.clone()));
        if columns.unknown {
            fields.push(Field::new(UNKNOWN_COLUMN, FieldType::Json, true));
        }
        let shape =
            format!("{} rows by [{}] keeps [{}] of rows [{}]", wanted.rows, named(&by), aggregates.shape(), named(&fields));
        let state = self.native_state(at, "over", shape);
        self.last_by = Some(by.iter().map(|field| field.name.clone()).collect());
        let made: Vec<(Field, Option<Arc<str>>)> = aggregates.selected.iter().map(|field| (field.clone(), None)).collect();
        let behind = columns.extended(&made);
        let judged = self.judged();
        self.has_changed_times = true;
        let planned = PlannedOver { by, rows: wanted.rows, aggregates, fields, judged, columns: behind.fields.clone(), state };
        Some((planned, behind))
    }

    /// What judges rows that come to the next step: their lane, until a step gave them other times or held them back.
    pub(super) fn judged(&self) -> Judged {
        if self.has_changed_times { Judged::ByTask } else { Judged::ByLane }
    }

    fn windows(&mut self, path: &str, wanted: &WindowStep) -> Option<Windows> {
        match &wanted.kind {
            WindowKind::Count(rows) => Some(Windows::Count(*rows)),
            WindowKind::Session(SessionGap::Fixed(gap), _) => Some(Windows::Session(Gap::Fixed(*gap))),
            // The column is made where the other columns are known.
            WindowKind::Session(SessionGap::Millis(_), _) => Some(Windows::Session(Gap::Column("".into()))),
            WindowKind::Tumbling { .. }
            | WindowKind::Hopping { .. }
            | WindowKind::Cumulating { .. }
            | WindowKind::Calendar { .. }
            | WindowKind::Global => self.slicing(path, wanted.line, &wanted.kind).map(Windows::Sliced),
        }
    }

    /// Windows that are the same for all keys.
    pub(super) fn slicing(&mut self, path: &str, line: usize, kind: &WindowKind) -> Option<Slicing> {
        let slicing = match kind {
            WindowKind::Tumbling { size, offset } => Slicing::tumbling(*size, *offset),
            WindowKind::Hopping { size, every, offset } => Slicing::hopping(*size, *every, *offset),
            WindowKind::Cumulating { size, step, offset } => Slicing::cumulating(*size, *step, *offset),
            WindowKind::Calendar { unit, zone, offset } => match Calendar::new(*unit, &zone.text, *offset) {
                Ok(calendar) => Ok(Slicing::calendar(calendar)),
                Err(unknown) => {
                    self.unknown_zone(path, zone, &unknown);
                    return None;
                }
            },
            WindowKind::Global | WindowKind::Session(..) | WindowKind::Count(_) => Ok(Slicing::global()),
        };
        slicing
            .map_err(|refused| {
                let remedy = match refused {
                    SlicingRefused::Size => "write a length such as `10s`, `1h` or `1d`",
                    SlicingRefused::Step => "write a size that its steps fill: `{size: 1d, step: 1h}`",
                };
                self.fault(path, line, refused.to_string(), remedy);
            })
            .ok()
    }

    fn unknown_zone(&mut self, path: &str, zone: &Text, unknown: &UnknownZone) {
        let remedy = match nearest(&zone.text, Calendar::zones()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => "write a place as the database names it: `Europe/Berlin`, `America/New_York`, `UTC`".to_owned(),
        };
        self.fault(format!("{path}.zone"), zone.line, unknown.to_string(), remedy);
    }

    /// The hidden column that says how far each row of a session reaches, in µs.
    fn gap(&mut self, path: &str, text: &Text, columns: &Columns, aggregates: &mut PlannedAggregates) -> Option<Gap> {
        let place = format!("{path}.session.gap_ms");
        let planned =
            Part::parse(&format!("({}) * 1000", text.text)).and_then(|part| Ok((part.to_string(), part.plan(&columns.scope())?)));
        match planned {
            Ok((name, expression)) if expression.field_type() == FieldType::Int64 => {
                let field = Field::new(&name, FieldType::Int64, expression.nullable());
                aggregates.before.push((field, expression));
                Some(Gap::Column(name.as_str().into()))
            }
            Ok((_, expression)) => {
                let error = format!("`gap_ms` is {}, and not a number of milliseconds", type_name(expression.field_type()));
                self.fault(place, text.line, error, "make it an int64: `cast(gap as bigint)`");
                None
            }
            Err(error) => {
                self.expression_fault(&place, text, error);
                None
            }
        }
    }

    /// A key column that is called as a bound of the window is.
    fn refuse_bounds(&mut self, by: &[Field], bounds: &[Field], path: &str, wanted: &WindowStep) {
        for (field, text) in by.iter().zip(&wanted.by).filter(|(field, _)| bounds.iter().any(|bound| bound.name == field.name)) {
            let error = format!("`{}` is what this window calls its own bounds", field.name);
            let remedy = format!("give the column another name in a step before: `extend: {{first_{0}: {0}}}`", field.name);
            self.fault(format!("{path}.by"), text.line, error, remedy);
        }
    }

    fn top(&mut self, path: &str, wanted: &TopStep, by: &[Field], made: &[Field]) -> Option<Top> {
        let faults_before = self.faults.len();
        for TopOrder { column, .. } in &wanted.order {
            let name = column.text.as_str();
            if made.iter().any(|field| *field.name == *name) {
                continue;
            }
            let names: Vec<&str> = made.iter().map(|field| &*field.name).collect();
            let remedy = match nearest(name, names.iter().copied()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("there are {}", names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")),
            };
            let error = format!("the window makes no column `{name}`");
            self.fault(format!("{path}.order"), column.line, error, remedy);
        }
        for column in wanted.per.iter().filter(|column| by.iter().all(|field| *field.name != *column.text)) {
            let error = format!("`{}` is no part of the key", column.text);
            let remedy = match by {
                [] => "add a `by` to the window, or remove `per`".to_owned(),
                _ => {
                    let names: Vec<String> = by.iter().map(|field| format!("`{}`", field.name)).collect();
                    format!("keys can be ranked per {}", names.join(", "))
                }
            };
            self.fault(format!("{path}.per"), column.line, error, remedy);
        }
        let rank = wanted.rank.text.as_str();
        if rank.starts_with('_') || made.iter().any(|field| *field.name == *rank) {
            let error = format!("the rank cannot be called `{rank}`");
            self.fault(format!("{path}.as"), wanted.rank.line, error, "choose a name that no other column has: `as: place`");
        }
        let order = |TopOrder { column, is_descending, nulls_first }: &TopOrder| Order {
            column: column.text.as_str().into(),
            is_descending: *is_descending,
            nulls_first: *nulls_first,
        };
        let n = usize::try_from(wanted.n).unwrap_or(usize::MAX);
        let order = wanted.order.iter().map(order).collect();
        let per = wanted.per.iter().map(|column| column.text.as_str().into()).collect();
        (self.faults.len() == faults_before).then(|| Top { n, per, order, ties: wanted.ties, rank: rank.into() })
    }
}

/// `tumbling 1h, offset 17m`.
pub(super) fn described(kind: &WindowKind) -> String {
    let at = |offset: &Duration| if offset.is_zero() { String::new() } else { format!(", offset {}", length(Some(*offset))) };
    let long = |duration: &Duration| length(Some(*duration));
    match kind {
        WindowKind::Tumbling { size, offset } => format!("tumbling {}{}", long(size), at(offset)),
        WindowKind::Hopping { size, every, offset } => format!("hopping {} every {}{}", long(size), long(every), at(offset)),
        WindowKind::Cumulating { size, step, offset } => {
            format!("cumulating {} by {}{}", long(size), long(step), at(offset))
        }
        WindowKind::Calendar { unit, zone, offset } => format!("calendar {unit} in {}{}", zone.text, at(offset)),
        WindowKind::Session(gap, longest) => {
            let gap = match gap {
                SessionGap::Fixed(gap) => format!("session {}", long(gap)),
                SessionGap::Millis(text) => format!("session of {} ms", text.text),
            };
            gap + &longest.as_ref().map_or_else(String::new, |longest| format!(", at most {}", long(longest)))
        }
        WindowKind::Count(rows) => format!("count {rows}"),
        WindowKind::Global => "global".to_owned(),
    }
}

/// `origin string, n int64`.
pub(super) fn named(fields: &[Field]) -> String {
    fields.iter().map(|field| format!("{} {}", field.name, type_name(field.ty))).collect::<Vec<_>>().join(", ")
}

//! A join, checked against the columns of both streams: what is the key, what else must hold, and whether equal keys meet in one task.
//!
//! ```text
//! on: a.destination = b.origin and a.seq <> b.seq and b.delay_min > 60
//!     └──── the key ─────────┘     └─ of pairs ─┘     └─ of b alone: asked before a row is kept
//! ```
//! Of each side only what `on` and the steps behind ask for is kept: a row that waits for its partner for an hour takes its room so long. Which columns those are
//! is read off the texts, too many rather than too few, once the plan is known to be right: a fault still knows all columns.
//!
//! Equalities of two plain columns of the same type are the key; what is of one side alone is asked of its rows, where rows of that side
//! do not come out without a match; everything else is asked of each pair.

use std::sync::Arc;

use tidemill_event::{Field, FieldType};
use tidemill_expr::{Expression, Part, Scope, ScopeColumn};
use tidemill_flow::{AsOf, JoinKind, Judged, Slicing, WINDOW_END, WINDOW_START};

use crate::pipeline::{JoinBound, JoinStep, SessionGap, Step, StepKind, Text, WindowKind, direction_word, kind_word};
use crate::plan::check::Checker;
use crate::plan::columns::Columns;
use crate::plan::component::{plain, type_name};
use crate::plan::describe::length;
use crate::plan::source::{PlannedSource, Sources};
use crate::plan::state::KeptState;
use crate::plan::window::{described, named};

/// How far rows of a pair may lie apart, as the operators have it.
pub(crate) enum Bounds {
    /// µs.
    Within(Option<i64>, Option<i64>),
    Window(Slicing),
    /// With a tolerance in µs.
    AsOf(AsOf, Option<i64>),
}

/// One input of a join.
pub(crate) struct PlannedSide {
    pub(crate) alias: Arc<str>,
    /// Its columns, by their own names.
    pub(crate) fields: Vec<Field>,
    /// Those that must be equal to the other side's.
    pub(crate) key: Vec<Field>,
    /// What is asked of a row of it alone, by its own names, before it is kept.
    pub(crate) filter: Option<Expression>,
}

/// A `join` step.
pub(crate) struct PlannedJoin {
    pub(crate) kind: JoinKind,
    pub(crate) left: PlannedSide,
    pub(crate) right: PlannedSide,
    pub(crate) bounds: Bounds,
    pub(crate) condition: Option<Expression>,
    pub(crate) judged: Judged,
    pub(crate) state: KeptState,
    /// `inner, 0s to 30m`.
    pub(crate) described: String,
    /// `a.id = b.id`.
    pub(crate) keys: Vec<String>,
}

/// A side while it is checked: its stream, and the columns that are kept of it.
struct Kept<'a> {
    source: &'a PlannedSource,
    fields: Vec<Field>,
}

/// What `on` says.
#[derive(Default)]
struct On {
    /// Columns of the left side and of the right.
    key: Vec<(Field, Field)>,
    /// What must hold of a left row alone, and of a right one.
    filters: [Option<Expression>; 2],
    condition: Option<Expression>,
    text: String,
}

impl Checker<'_> {
    pub(super) fn join(&mut self, at: u32, step: &Step, wanted: &JoinStep) -> Option<(PlannedJoin, Columns)> {
        let path = step.name();
        if at > 0 {
            let error = "a join is the first step: it says how two streams become one";
            self.fault(
                path,
                wanted.line,
                error,
                "put what stands before it behind it, or into a pipeline that writes a stream of its own",
            );
            return None;
        }
        let bounds = self.join_bounds(&path, wanted);
        let sources = self.sources.clone()?;
        let [left, right] = sources.list.as_slice() else {
            let error = format!("a join is of two streams, and `from` names {}", sources.list.len());
            self.fault(path, wanted.line, error, "write `from: [{stream: flights, as: a}, {stream: flights, as: b}]`");
            return None;
        };
        let has_window = matches!(wanted.bound, JoinBound::Window(_));
        let kept = [left, right].map(|source| self.kept(source, wanted));
        let of_pairs = columns_of(&kept, wanted.kind, has_window, true);
        let on = match &wanted.on {
            Some(text) => self.on(&format!("{path}.on"), text, &of_pairs, wanted.kind, [left, right])?,
            None => On::default(),
        };
        if on.condition.is_some() && matches!(wanted.bound, JoinBound::AsOf(..)) {
            let error =
                "with `as_of` a row is looked for by its key and its time alone, and `on` says more than equalities of columns";
            let line = wanted.on.as_ref().map_or(wanted.line, |on| on.line);
            self.fault(
                format!("{path}.on"),
                line,
                error,
                "write equalities joined by `and`, and a `where` behind the join for the rest",
            );
            return None;
        }
        self.meet_of_sides(&path, &sources, &on);
        let (low_high, what) = bounds?;
        let fields = columns_of(&kept, wanted.kind, has_window, false);
        let untouched = placed(wanted.kind, &sources, &on, self.placed_by.is_some());
        let described = format!("{}, {what}", kind_word(wanted.kind));
        let schemas = kept.each_ref().map(|kept| named(&kept.fields));
        let shape = format!("{described} on {} of [{}] and [{}]", on.text, schemas[0], schemas[1]);
        let state = self.native_state(at, "join", shape);
        self.last_by = Some(on.key.iter().map(|(field, _)| format!("{}.{}", left.alias(), field.name).into()).collect());
        let judged = self.judged();
        self.has_changed_times = true;
        let keys = on.key.iter().map(|(a, b)| format!("{}.{} = {}.{}", left.alias(), a.name, right.alias(), b.name)).collect();
        let (left_key, right_key): (Vec<Field>, Vec<Field>) = on.key.into_iter().unzip();
        let ([left, right], [left_filter, right_filter]) = (kept, on.filters);
        let side = |Kept { source, fields }: Kept<'_>, key: Vec<Field>, filter: Option<Expression>| PlannedSide {
            alias: source.alias(),
            fields,
            key,
            filter,
        };
        let planned = PlannedJoin {
            kind: wanted.kind,
            left: side(left, left_key, left_filter),
            right: side(right, right_key, right_filter),
            bounds: low_high,
            condition: on.condition,
            judged,
            state,
            described,
            keys,
        };
        Some((planned, Columns::of_join(fields, untouched)))
    }

    /// The columns of a side that somebody asks for, as far as that is known.
    fn kept<'s>(&self, source: &'s PlannedSource, wanted: &JoinStep) -> Kept<'s> {
        let all = source.definition.schema.fields.iter();
        let on = wanted.on.as_ref().map(|on| on.text.as_str());
        let fields = match &self.asked_for {
            None => all.cloned().collect(),
            Some(texts) => {
                let is_named =
                    |field: &&Field| texts.iter().map(String::as_str).chain(on).any(|text| text.contains(&*field.name));
                all.filter(is_named).cloned().collect()
            }
        };
        Kept { source, fields }
    }

    fn join_bounds(&mut self, path: &str, wanted: &JoinStep) -> Option<(Bounds, String)> {
        match &wanted.bound {
            JoinBound::Within(low, high) => {
                let what = match (low, high) {
                    (None, None) => "of all times".to_owned(),
                    (low, high) => format!("{} to {}", signed(*low), signed(*high)),
                };
                Some((Bounds::Within(*low, *high), what))
            }
            JoinBound::AsOf(direction, tolerance) => {
                let mut what = format!("as of {}", direction_word(*direction));
                if tolerance.is_some() {
                    what += &format!(", at most {}", length(*tolerance));
                }
                let tolerance = tolerance.map(|tolerance| i64::try_from(tolerance.as_micros()).unwrap_or(i64::MAX));
                Some((Bounds::AsOf(*direction, tolerance), what))
            }
            JoinBound::Window(kind) => {
                let slicing = self.slicing(&format!("{path}.window"), wanted.line, kind)?;
                Some((Bounds::Window(slicing), format!("in windows: {}", described(kind))))
            }
        }
    }

    /// Takes `on` apart.
    fn on(&mut self, path: &str, text: &Text, columns: &[Field], kind: JoinKind, sides: [&PlannedSource; 2]) -> Option<On> {
        let column = |field: &Field| ScopeColumn { qualifier: None, field: field.clone() };
        let scope = Scope::new(columns.iter().map(column).collect());
        let whole = match Part::parse(&text.text) {
            Ok(part) => part,
            Err(error) => {
                self.expression_fault(path, text, error);
                return None;
            }
        };
        // As a whole first: a fault names its place in the text, and one fault is enough.
        match whole.plan(&scope) {
            Ok(expression) if expression.field_type() == FieldType::Bool => {}
            Ok(expression) => {
                let error = format!("`on` is {}, not true or false", type_name(expression.field_type()));
                self.fault(path, text.line, error, "compare columns of the two streams: `a.id = b.id`");
                return None;
            }
            Err(error) => {
                self.expression_fault(path, text, error);
                return None;
            }
        }
        let (mut on, mut rest) = (On { text: whole.to_string(), ..On::default() }, Vec::new());
        let mut of_sides: [Vec<Part>; 2] = Default::default();
        for part in whole.conjuncts() {
            if let Some(((_, one), (_, other))) = equality_of(&part, &scope, sides)
                && (plain(one.ty) == FieldType::String) != (plain(other.ty) == FieldType::String)
                && ![one.ty, other.ty].contains(&FieldType::Json)
            {
                let error = format!(
                    "`{part}` compares `{}`, which is {}, with `{}`, which is {}",
                    one.name,
                    type_name(plain(one.ty)),
                    other.name,
                    type_name(plain(other.ty))
                );
                let remedy = "make them alike where the streams are declared, or turn the one that is no text into one: `cast(b.id as varchar)`";
                self.fault(path, text.line, error, remedy);
                return None;
            }
            match key_of(&part, &scope, sides) {
                Some(pair) if on.key.contains(&pair) => {}
                Some(pair) => on.key.push(pair),
                None => match side_of(&part, &scope, sides).filter(|side| filters(kind)[*side]) {
                    Some(side) => of_sides[side].push(part),
                    None => rest.push(part),
                },
            }
        }
        for ((parts, source), filter) in of_sides.into_iter().zip(sides).zip(&mut on.filters) {
            let own = |field: &Field| ScopeColumn { qualifier: Some(source.alias().to_string()), field: field.clone() };
            let scope = Scope::new(source.definition.schema.fields.iter().map(own).collect());
            match Part::all(parts).map(|parts| parts.plan(&scope)).transpose() {
                Ok(planned) => *filter = planned,
                Err(error) => {
                    self.expression_fault(path, text, error);
                    return None;
                }
            }
        }
        if let Some(rest) = Part::all(rest) {
            match rest.plan(&scope) {
                Ok(expression) => on.condition = Some(expression),
                Err(error) => {
                    self.expression_fault(path, text, error);
                    return None;
                }
            }
        }
        Some(on)
    }

    /// Rows of equal keys must meet in one task: because there is only one, or because both streams are placed by the columns that must
    /// be equal. If not, both are placed anew by them.
    fn meet_of_sides(&mut self, path: &str, sources: &Sources, on: &On) {
        if self.placed_by.is_some() || sources.tasks() <= 1 || is_placed_alike(sources, on) {
            return;
        }
        // The key's bytes are those of its JSON text, so the unit of a timestamp counts.
        let (alike, other): (Vec<_>, Vec<_>) = on.key.iter().partition(|(a, b)| a.ty == b.ty);
        let why = if on.key.is_empty() {
            format!("{path}: without an equality in `on` every row may belong to every other")
        } else {
            let keys: Vec<String> = on.key.iter().map(|(a, b)| format!("{} = {}", a.name, b.name)).collect();
            let units = if alike.is_empty() && !other.is_empty() { " (times of different units)" } else { "" };
            format!("{path}: rows with equal {}{units} are in several of the {}", keys.join(", "), sources.described())
        };
        let (left, right) = alike.iter().map(|(a, b)| (a.name.clone(), b.name.clone())).unzip();
        self.scatter(vec![left, right], why);
    }
}

/// What steps behind a join say of its columns, up to the one that replaces them all; `None`: some step may ask for any of them.
pub(super) fn asked_for(steps: &[Step]) -> Option<Vec<String>> {
    let mut texts: Vec<String> = Vec::new();
    let of = |columns: &[(Text, Text)]| columns.iter().map(|(_, text)| text.text.clone()).collect::<Vec<_>>();
    for step in steps.get(1..).unwrap_or_default() {
        if let StepKind::Extend(columns) = &step.kind {
            texts.extend(of(columns));
        } else if let StepKind::Where(condition) = &step.kind {
            texts.push(condition.text.clone());
        } else if let StepKind::Select(columns) = &step.kind {
            texts.extend(of(columns));
            return Some(texts);
        } else if let StepKind::Window(window) = &step.kind {
            texts.extend(of(&window.select));
            texts.extend(window.by.iter().map(|name| name.text.clone()));
            if let WindowKind::Session(SessionGap::Millis(text), _) = &window.kind {
                texts.push(text.text.clone());
            }
            return Some(texts);
        } else {
            // A component says itself what it reads; a target takes all there is.
            return None;
        }
    }
    None
}

/// `-5m`, `30m`, `off`.
fn signed(micros: Option<i64>) -> String {
    match micros {
        None => "off".to_owned(),
        Some(micros) => {
            let sign = if micros < 0 { "-" } else { "" };
            format!("{sign}{}", length(Some(std::time::Duration::from_micros(micros.unsigned_abs()))))
        }
    }
}

/// The columns of pairs, or those that come out.
fn columns_of(sides: &[Kept<'_>; 2], kind: JoinKind, has_window: bool, of_pairs: bool) -> Vec<Field> {
    let [left, right] = sides;
    let may_miss = match kind {
        JoinKind::Inner | JoinKind::Semi | JoinKind::Anti => [false, false],
        JoinKind::Left => [false, true],
        JoinKind::Right => [true, false],
        JoinKind::Full => [true, true],
    };
    let named = |kept: &Kept<'_>, may_miss: bool| -> Vec<Field> {
        let alias = kept.source.alias();
        let name = |field: &Field| Field::new(&format!("{alias}.{}", field.name), field.ty, field.nullable || may_miss);
        kept.fields.iter().map(name).collect()
    };
    let mut fields = named(left, may_miss[0]);
    if of_pairs || !matches!(kind, JoinKind::Semi | JoinKind::Anti) {
        fields.extend(named(right, may_miss[1]));
    }
    if has_window {
        fields.extend([WINDOW_START, WINDOW_END].map(|name| Field::new(name, FieldType::Timestamp(None), false)));
    }
    fields
}

/// The columns that an equality is of, each with its side.
fn equality_of(part: &Part, scope: &Scope, sides: [&PlannedSource; 2]) -> Option<((usize, Field), (usize, Field))> {
    let (first, second) = part.equality()?;
    let column = |part: &Part| -> Option<(usize, Field)> {
        if !part.is_name() {
            return None;
        }
        let expression = part.plan(scope).ok()?;
        let [name] = expression.columns() else { return None };
        sides.iter().enumerate().find_map(|(side, source)| {
            let own = name.strip_prefix(&*source.alias())?.strip_prefix('.')?;
            Some((side, source.definition.schema.field(own)?.clone()))
        })
    };
    Some((column(&first)?, column(&second)?))
}

/// The columns of both sides that an equality is of, if it is of one each and they are of one type.
fn key_of(part: &Part, scope: &Scope, sides: [&PlannedSource; 2]) -> Option<(Field, Field)> {
    let ((first_side, first), (second_side, second)) = equality_of(part, scope, sides)?;
    if plain(first.ty) != plain(second.ty) {
        return None;
    }
    match (first_side, second_side) {
        (0, 1) => Some((first, second)),
        (1, 0) => Some((second, first)),
        _ => None,
    }
}

/// Of which rows, left and right, it may be asked before they are kept whether they fit: those that do not come out without a match.
fn filters(kind: JoinKind) -> [bool; 2] {
    match kind {
        JoinKind::Inner | JoinKind::Semi => [true, true],
        JoinKind::Left | JoinKind::Anti => [false, true],
        JoinKind::Right => [true, false],
        JoinKind::Full => [false, false],
    }
}

/// The side whose columns are all that a condition reads, if it is of one alone.
fn side_of(part: &Part, scope: &Scope, sides: [&PlannedSource; 2]) -> Option<usize> {
    let expression = part.plan(scope).ok()?;
    let side = |name: &Arc<str>| {
        sides.iter().position(|source| {
            let own = name.strip_prefix(&*source.alias()).and_then(|rest| rest.strip_prefix('.'));
            own.is_some_and(|own| source.definition.schema.field(own).is_some())
        })
    };
    let (first, rest) = expression.columns().split_first()?;
    let first = side(first)?;
    rest.iter().all(|name| side(name) == Some(first)).then_some(first)
}

/// Whether the key's rows of both streams are in the partition of the same number: placed by columns that must be equal.
fn is_placed_alike(sources: &Sources, on: &On) -> bool {
    let [left, right] = sources.list.as_slice() else { return false };
    let keys = [&left.definition.key, &right.definition.key];
    let are_equal = |(a, b): (&Arc<str>, &Arc<str>)| {
        // The key's bytes are those of its JSON text, so the unit of a timestamp counts.
        on.key.iter().any(|(left, right)| left.name == *a && right.name == *b && left.ty == right.ty)
    };
    left.stream.partitions().len() == right.stream.partitions().len()
        && !keys[0].is_empty()
        && keys[0].len() == keys[1].len()
        && keys[0].iter().zip(keys[1]).all(are_equal)
}

/// Columns behind the join that still say in which task a row is: (name, the field of the left stream's key). A side that may be missing
/// says nothing.
fn placed(kind: JoinKind, sources: &Sources, on: &On, anew: bool) -> Vec<(Arc<str>, Arc<str>)> {
    let [left, right] = sources.list.as_slice() else { return Vec::new() };
    // The key of each side, as far as rows are placed by it.
    let (left_key, right_key): (Vec<Arc<str>>, Vec<Arc<str>>) = if anew {
        on.key.iter().filter(|(a, b)| a.ty == b.ty).map(|(a, b)| (a.name.clone(), b.name.clone())).unzip()
    } else if is_placed_alike(sources, on) {
        (left.definition.key.clone(), right.definition.key.clone())
    } else {
        return Vec::new();
    };
    let says = match kind {
        JoinKind::Inner => [true, true],
        JoinKind::Left | JoinKind::Semi | JoinKind::Anti => [true, false],
        JoinKind::Right => [false, true],
        JoinKind::Full => [false, false],
    };
    let of = |source: &PlannedSource, key: &[Arc<str>], says: bool| -> Vec<(Arc<str>, Arc<str>)> {
        let keys = key.iter().zip(&left_key);
        keys.filter(|_| says).map(|(own, of_left)| (format!("{}.{own}", source.alias()).into(), of_left.clone())).collect()
    };
    let mut columns = of(left, &left_key, says[0]);
    columns.extend(of(right, &right_key, says[1]));
    columns
}

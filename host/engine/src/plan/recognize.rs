//! `match_recognize`, checked against the columns there are: the clauses of the text become a row pattern, conditions and measures over terms.
//!
//! ```text
//! text ── tidemill_expr::recognize ──► clauses ──► names of columns, variables and types ──► what `tidemill_flow::recognize` looks for
//! ```
//! What the standard has and this step has not is refused by its name.

use std::sync::Arc;
use std::time::Duration;

use tidemill_event::batch::{TIME_COLUMN, UNKNOWN_COLUMN};
use tidemill_event::{Field, FieldType};
use tidemill_expr::recognize::{MatchText, NameText, NavigationText, RowsText, SkipText, TermKind, TermText, TermsOf};
use tidemill_expr::{Expression, ExpressionError, Part, Scope, ScopeColumn};
use tidemill_flow::recognize::{
    AfterMatch, End, NamedTerm, Place, RowPattern, RowPatternRefused, RowsPerMatch, Term, VariableSet,
};
use tidemill_flow::{Aggregate, AggregateCall, Judged, MATCH_ID};

use crate::pipeline::{MatchRecognizeText, Step, Text};
use crate::plan::check::Checker;
use crate::plan::columns::Columns;
use crate::plan::component::type_name;
use crate::plan::explained::{PlannedExplain, kept_fields as explained_fields};
use crate::plan::recognize_names::{Variables, pattern_of};
use crate::plan::state::KeptState;
use crate::plan::window::named;

/// A `match_recognize` step.
pub(crate) struct PlannedMatch {
    pub(crate) by: Vec<Field>,
    /// What rows that wait have.
    pub(crate) fields: Vec<Field>,
    /// What is kept of a row that may be part of a match.
    pub(crate) kept: Vec<Field>,
    /// Computed of each row, hidden: arguments of aggregates.
    pub(crate) before: Vec<(Field, Expression)>,
    pub(crate) variables: Vec<Arc<str>>,
    pub(crate) pattern: RowPattern,
    /// By variable.
    pub(crate) definitions: Vec<PlannedDefinition>,
    pub(crate) skip: AfterMatch,
    pub(crate) within: Option<Duration>,
    pub(crate) rows: RowsPerMatch,
    pub(crate) terms: Vec<NamedTerm>,
    pub(crate) measures: Vec<(Field, Expression)>,
    pub(crate) explained: Option<PlannedExplain>,
    pub(crate) judged: Judged,
    /// The columns that come out, in order, `_unknown` aside.
    pub(crate) columns: Vec<Field>,
    pub(crate) state: KeptState,
    /// What `?dry_run=true` says of it.
    pub(crate) note: Option<&'static str>,
}

/// What a variable's rows must be.
#[derive(Default)]
pub(crate) struct PlannedDefinition {
    /// Over the row and its neighbours.
    pub(crate) of_row: Option<(Vec<NamedTerm>, Expression)>,
    /// Over what was matched before, too.
    pub(crate) of_match: Option<(Vec<NamedTerm>, Expression)>,
}

/// The clause in hand.
struct Clause<'a> {
    path: String,
    text: &'a Text,
    columns: &'a Columns,
    variables: Variables,
    before: Vec<(Field, Expression)>,
    /// Columns that terms are of.
    used: Vec<Field>,
}

impl Checker<'_> {
    pub(super) fn match_recognize(
        &mut self,
        at: u32,
        step: &Step,
        MatchRecognizeText { text, explain }: &MatchRecognizeText,
        columns: Option<&Columns>,
    ) -> Option<(PlannedMatch, Columns)> {
        let (path, faults_before) = (step.name(), self.faults.len());
        let read = match MatchText::parse(&text.text) {
            Ok(read) => read,
            Err(error) => {
                self.expression_fault(&path, text, error);
                return None;
            }
        };
        let columns = columns?;
        self.refuse_clock_times(&path, step.line);
        let variables = match Variables::new(&read) {
            Ok(variables) => variables,
            Err(errors) => {
                errors.into_iter().for_each(|error| self.expression_fault(&path, text, error));
                return None;
            }
        };
        let by: Vec<Text> = read.partition_by.iter().map(|name| placed(text, name)).collect();
        let by = self.key_fields(&by, &path, columns);
        self.order(&path, text, &read, columns);
        let mut clause = Clause { path, text, columns, variables, before: Vec::new(), used: Vec::new() };
        let definitions = self.definitions(&read, &mut clause);
        let (terms, measures) = self.match_measures(&read, &mut clause);
        let rows = match read.rows {
            RowsText::One => RowsPerMatch::One,
            RowsText::AllShowEmpty => RowsPerMatch::AllShowEmpty,
            RowsText::AllOmitEmpty => RowsPerMatch::AllOmitEmpty,
            RowsText::AllWithUnmatched => RowsPerMatch::AllWithUnmatched,
        };
        let explained = explain.then(|| {
            let sought = squeezed(&text.text);
            self.explained((&clause.path, step.line), columns, sought, read.within, None)
        });
        let beside = if rows == RowsPerMatch::One { &by } else { &columns.fields };
        // A row that no match has has no id either.
        let id = explain.then(|| Field::new(MATCH_ID, FieldType::String, rows == RowsPerMatch::AllWithUnmatched));
        let beside: Vec<Field> = beside.iter().chain(&id).cloned().collect();
        self.refuse_names(&read, &clause, &beside);
        if rows == RowsPerMatch::AllWithUnmatched && read.pattern.has_exclusion() {
            let remedy = "leave one of the two out: an excluded row would be neither matched nor unmatched";
            let error =
                ExpressionError { at: read.pattern.at, ..ExpressionError::new("`{- -}` with WITH UNMATCHED ROWS", remedy) };
            self.expression_fault(&clause.path, text, error);
        }
        let skip = self.skip(&read, &clause);
        let pattern = pattern_of(&read.pattern, &clause.variables);
        if self.faults.len() > faults_before {
            return None;
        }
        let skip = skip?;
        if let Err(refused) = pattern.check(skip) {
            let remedy = match refused {
                RowPatternRefused::SkipsToItsStart => "write `AFTER MATCH SKIP TO NEXT ROW`, or name a variable further on",
                RowPatternRefused::TooLong => "use `*` or `+` for long loops, and PERMUTE for few variables",
                RowPatternRefused::Backwards { .. } | RowPatternRefused::Nothing => {
                    "write the smaller number first, and at least one at the end"
                }
                RowPatternRefused::AlwaysEmpty => "name a variable that must be there",
            };
            let error = ExpressionError { at: read.pattern.at, ..ExpressionError::new(refused.to_string(), remedy) };
            self.expression_fault(&clause.path, text, error);
            return None;
        }
        let Clause { variables, before, used, .. } = clause;
        let used = explained_fields(explained.as_ref(), columns).into_iter().chain(used).collect();
        let (fields, kept) = kept_fields(rows, &by, columns, &before, used);
        // Whatever the text says decides which rows are kept and how far a search has come.
        let shape = format!("{} by [{}] of rows [{}]", squeezed(&text.text), named(&by), named(&kept));
        let state = self.native_state(at, step.kind.word(), shape);
        let made: Vec<(Field, Option<Arc<str>>)> =
            id.iter().chain(measures.iter().map(|(field, _)| field)).map(|field| (field.clone(), None)).collect();
        let behind = if rows == RowsPerMatch::One {
            let key = by.iter().map(|field| (field.clone(), Some(field.name.clone())));
            columns.replaced(&key.chain(made).collect::<Vec<_>>())
        } else {
            columns.extended(&made)
        };
        let judged = self.judged();
        self.has_changed_times = true;
        self.last_by = Some(by.iter().map(|field| field.name.clone()).collect());
        let note = read.within.is_none().then_some(
            "without WITHIN, rows of a key wait until its match is decided; beyond 10,000 of them the older ones are given up",
        );
        let planned = PlannedMatch {
            by,
            fields,
            kept,
            before,
            variables: variables.names.iter().map(|name| name.as_str().into()).collect(),
            pattern,
            definitions,
            skip,
            within: read.within,
            rows,
            terms,
            measures,
            explained,
            judged,
            columns: behind.fields.clone(),
            state,
            note,
        };
        Some((planned, behind))
    }

    /// Rows are in the order of their time, and then of their arrival: nothing else can be asked for.
    fn order(&mut self, path: &str, text: &Text, read: &MatchText, columns: &Columns) {
        let time: Option<String> = match &self.sources {
            // Behind the start of a stage nobody knows any more which column the time was.
            Some(sources) if !self.has_changed_times && self.placed_by.is_none() => {
                let mut names =
                    sources.list.iter().map(|source| source.definition.time.as_ref().map(|time| time.field.to_string()));
                let first = names.next().flatten();
                first.filter(|first| names.all(|name| name.as_ref() == Some(first)))
            }
            _ => None,
        };
        let is_time = |name: &str| {
            name == TIME_COLUMN
                || time.as_deref().is_some_and(|time| columns.source_of(name).is_some_and(|source| **source == *time))
        };
        for (place, (name, is_descending)) in read.order_by.iter().enumerate() {
            let refused = match (place, is_descending) {
                (0, false) if is_time(&name.name) => continue,
                (0, false) => {
                    let all = time.as_ref().map_or_else(String::new, |time| format!(" or `ORDER BY {time}`"));
                    (
                        format!("rows come in the order of their event time, and `{}` is not it", name.name),
                        format!("write `ORDER BY {TIME_COLUMN}`{all}"),
                    )
                }
                (0, true) => (
                    format!("`{}` descending", name.name),
                    "rows of a stream come in the order of their time: remove DESC".to_owned(),
                ),
                (..) => (
                    format!("`{}` behind the time", name.name),
                    "remove it: rows of one instant are in the order of their arrival".to_owned(),
                ),
            };
            let error = ExpressionError { at: name.at, ..ExpressionError::new(refused.0, refused.1) };
            self.expression_fault(path, text, error);
        }
    }

    fn definitions(&mut self, read: &MatchText, clause: &mut Clause<'_>) -> Vec<PlannedDefinition> {
        let mut definitions: Vec<PlannedDefinition> = Vec::new();
        definitions.resize_with(clause.variables.names.len(), PlannedDefinition::default);
        for defined in &read.defines {
            let Some(variable) = clause.variables.variable(&defined.name.name) else { continue };
            match self.definition(&defined.condition, &defined.name.name, clause) {
                Ok(definition) => definitions[variable] = definition,
                Err(mut error) => {
                    error.at = error.at.or(defined.name.at);
                    let path = clause.path.clone();
                    self.expression_fault(&path, clause.text, error);
                }
            }
        }
        definitions
    }

    /// What an `and` puts together is asked apart: what looks at the row alone is known for whole batches.
    fn definition(&mut self, condition: &Part, own: &str, clause: &mut Clause<'_>) -> Result<PlannedDefinition, ExpressionError> {
        let (mut of_row, mut of_match) = ((Vec::new(), Vec::new()), (Vec::new(), Vec::new()));
        for part in condition.conjuncts() {
            let (terms, rest) = self.terms(&part, Some(own), clause)?;
            let is_of_row = terms.iter().all(|term| is_of_row(&term.term));
            let (all, rests) = if is_of_row { &mut of_row } else { &mut of_match };
            merge(all, terms);
            rests.push(rest);
        }
        let planned = |(terms, rests): (Vec<NamedTerm>, Vec<Part>)| {
            let Some(rest) = Part::all(rests) else { return Ok(None) };
            let expression = plan(&rest, &terms)?;
            if expression.field_type() != FieldType::Bool {
                let error = format!("the condition of `{own}` is {}, not true or false", type_name(expression.field_type()));
                return Err(ExpressionError::new(error, "compare it with something: `price > 10`"));
            }
            Ok(Some((terms, expression)))
        };
        Ok(PlannedDefinition { of_row: planned(of_row)?, of_match: planned(of_match)? })
    }

    fn match_measures(&mut self, read: &MatchText, clause: &mut Clause<'_>) -> (Vec<NamedTerm>, Vec<(Field, Expression)>) {
        let (mut all, mut measures) = (Vec::new(), Vec::new());
        for measured in &read.measures {
            let planned = self.terms(&measured.expression, None, clause).and_then(|(terms, rest)| {
                let expression = plan(&rest, &terms)?;
                Ok((terms, expression))
            });
            match planned {
                Ok((terms, expression)) => {
                    // A row that no match has has no measures.
                    let nullable = expression.nullable() || read.rows == RowsText::AllWithUnmatched;
                    measures.push((Field::new(&measured.name.name, expression.field_type(), nullable), expression));
                    merge(&mut all, terms);
                }
                Err(mut error) => {
                    error.at = error.at.or(measured.name.at);
                    let path = clause.path.clone();
                    self.expression_fault(&path, clause.text, error);
                }
            }
        }
        (all, measures)
    }

    /// What an expression looks at, with types; and what is left of it.
    fn terms(
        &mut self,
        part: &Part,
        own: Option<&str>,
        clause: &mut Clause<'_>,
    ) -> Result<(Vec<NamedTerm>, Part), ExpressionError> {
        let known: Vec<String> = clause.variables.known().map(str::to_owned).collect();
        let known: Vec<&str> = known.iter().map(String::as_str).collect();
        let aggregates: Vec<&str> = Aggregate::names().collect();
        let of = TermsOf { variables: &known, aggregates: &aggregates, own, has_final: own.is_none() };
        let (terms, rest) = part.match_terms(of)?;
        let terms = terms.into_iter().map(|term| {
            let at = term.at;
            self.term(term, clause).map_err(|error| ExpressionError { at: error.at.or(at), ..error })
        });
        Ok((terms.collect::<Result<_, _>>()?, rest))
    }

    fn term(&mut self, text: TermText, clause: &mut Clause<'_>) -> Result<NamedTerm, ExpressionError> {
        let place = |place: &NavigationText| Place {
            of: clause.variables.set(place.of.as_deref()),
            end: if place.is_first { End::First } else { End::Last },
            logical: place.logical,
            physical: place.physical,
            is_final: place.is_final,
        };
        let (ty, nullable, term) = match &text.kind {
            TermKind::Column(name, of) => {
                let field = column(name, clause.columns)?;
                let term = Term::Column { name: field.name.clone(), place: place(of) };
                // Of the row itself there always is one in DEFINE; in MEASURES a match may be empty.
                let ty = field.ty;
                if !clause.used.contains(&field) {
                    clause.used.push(field);
                }
                (ty, true, term)
            }
            TermKind::Classifier(of) => (FieldType::String, true, Term::Classifier(place(of))),
            TermKind::MatchNumber => (FieldType::Int64, false, Term::MatchNumber),
            TermKind::Aggregate { call, of, is_final } => {
                let of = clause.variables.set(of.as_deref());
                let (aggregate, argument) = crate::plan::aggregates::aggregate_of(call)?;
                let argument = argument.map(|part| self.computed(part, clause.columns, &mut clause.before)).transpose()?;
                let (ty, nullable) = aggregate.output(argument.as_ref().map(|field| field.ty)).map_err(|refused| {
                    ExpressionError::new(
                        refused.to_string(),
                        "convert the argument, `cast(x as double)`, or use another aggregate",
                    )
                })?;
                if let Some(field) = argument.as_ref().filter(|field| !clause.used.contains(*field)) {
                    clause.used.push(field.clone());
                }
                let call = AggregateCall { name: text.name.as_str().into(), aggregate, argument, filter: None };
                (ty, nullable, Term::Aggregate { call, of, is_final: *is_final })
            }
        };
        Ok(NamedTerm { field: Field::new(&text.name, ty, nullable), term })
    }

    /// Names of measures that cannot be.
    fn refuse_names(&mut self, read: &MatchText, clause: &Clause<'_>, beside: &[Field]) {
        for (at, measured) in read.measures.iter().enumerate() {
            let name = &measured.name.name;
            let (error, remedy) = if name.starts_with('_') {
                (format!("`{name}` cannot be a column: names with `_` in front are the host's"), "choose another name")
            } else if beside.iter().any(|field| *field.name == **name) {
                (format!("`{name}` is a column that comes out beside the measures"), "give the measure another name")
            } else if read.measures[..at].iter().any(|other| other.name.name == *name) {
                (format!("two measures are called `{name}`"), "rename one of the two")
            } else {
                continue;
            };
            let error = ExpressionError { at: measured.name.at, ..ExpressionError::new(error, remedy) };
            self.expression_fault(&clause.path, clause.text, error);
        }
        if read.measures.is_empty() && beside.is_empty() {
            let remedy = "add MEASURES, or PARTITION BY, or write ALL ROWS PER MATCH";
            self.fault(&clause.path, clause.text.line, "one row per match, and no column in it", remedy);
        }
    }

    fn skip(&mut self, read: &MatchText, clause: &Clause<'_>) -> Option<AfterMatch> {
        let (name, to): (&NameText, fn(VariableSet) -> AfterMatch) = match &read.skip {
            SkipText::PastLast => return Some(AfterMatch::PastLast),
            SkipText::ToNext => return Some(AfterMatch::ToNext),
            SkipText::ToFirst(name) => (name, AfterMatch::ToFirst),
            SkipText::ToLast(name) => (name, AfterMatch::ToLast),
        };
        if clause.variables.known().any(|known| known == name.name) {
            return Some(to(clause.variables.set(Some(&name.name))));
        }
        let error = clause.variables.unknown(name);
        self.expression_fault(&clause.path, clause.text, error);
        None
    }
}

/// A name as a text on its own line.
fn placed(text: &Text, name: &NameText) -> Text {
    let line = text.line + name.at.map_or(0, |(line, _)| line.saturating_sub(1) as usize);
    Text { text: name.name.clone(), line }
}

/// A column by its name, `_time` too.
fn column(name: &str, columns: &Columns) -> Result<Field, ExpressionError> {
    if name == TIME_COLUMN {
        return Ok(Field::new(TIME_COLUMN, FieldType::Timestamp(None), false));
    }
    match columns.resolve(name) {
        Some(field) => Ok(field.clone()),
        // The scope knows what was meant.
        None => match Part::parse(&format!("\"{}\"", name.replace('"', "\"\"")))?.plan(&columns.scope()) {
            Err(error) => Err(ExpressionError { at: None, ..error }),
            Ok(_) => Err(ExpressionError::new(format!("`{name}` cannot be named here"), "name the column without the source")),
        },
    }
}

/// Whether a term is of the row itself, or of one so many before or behind it.
fn is_of_row(term: &Term) -> bool {
    match term {
        Term::Column { place, .. } => Place { physical: 0, ..*place } == Place::ITSELF,
        Term::Classifier(_) | Term::MatchNumber | Term::Aggregate { .. } => false,
    }
}

fn merge(all: &mut Vec<NamedTerm>, terms: Vec<NamedTerm>) {
    for term in terms {
        if all.iter().all(|known| known.field.name != term.field.name) {
            all.push(term);
        }
    }
}

/// Plans what is left against the terms.
fn plan(rest: &Part, terms: &[NamedTerm]) -> Result<Expression, ExpressionError> {
    let column = |term: &NamedTerm| ScopeColumn { qualifier: None, field: term.field.clone() };
    rest.plan(&Scope::new(terms.iter().map(column).collect()))
}

/// What rows that wait have, and what is kept of those that may be matched.
fn kept_fields(
    rows: RowsPerMatch,
    by: &[Field],
    columns: &Columns,
    before: &[(Field, Expression)],
    used: Vec<Field>,
) -> (Vec<Field>, Vec<Field>) {
    let mut kept = match rows {
        RowsPerMatch::One => Vec::new(),
        RowsPerMatch::AllShowEmpty | RowsPerMatch::AllOmitEmpty | RowsPerMatch::AllWithUnmatched => {
            let unknown = columns.unknown.then(|| Field::new(UNKNOWN_COLUMN, FieldType::Json, true));
            columns.fields.iter().cloned().chain(unknown).collect()
        }
    };
    let hidden: Vec<Field> = before.iter().map(|(field, _)| field.clone()).collect();
    for field in hidden.into_iter().chain(used) {
        if !kept.contains(&field) {
            kept.push(field);
        }
    }
    let mut fields: Vec<Field> = kept.iter().filter(|field| &*field.name != TIME_COLUMN).cloned().collect();
    for field in by {
        if !fields.contains(field) {
            fields.push(field.clone());
        }
    }
    // `_time` stands last.
    kept.sort_by_key(|field| &*field.name == TIME_COLUMN);
    (fields, kept)
}

/// The text without what only looks differently.
fn squeezed(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

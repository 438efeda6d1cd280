//! What an expression of `MEASURES` or `DEFINE` looks at in a match, taken out of it.
//!
//! ```text
//! price < PREV(price) and sum(B.price) > 10       terms: `price` · `PREV(price)` · `sum(B.price)`
//!                                                 rest:  "price" < "PREV(price)" and "sum(B.price)" > 10      each term is a column of that name
//! ```
//! A column without a variable is of the row itself: the last one of the match so far.

use datafusion_sql::sqlparser::ast::{
    Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, Ident, ObjectName, Spanned,
};

use crate::aggregates::{AggregateText, Part};
use crate::error::ExpressionError;
use crate::expression::on_large_stack;
use crate::forms::{DEPTH_MAX, children};

type Result<T> = std::result::Result<T, ExpressionError>;

/// The furthest that `PREV`, `NEXT`, `FIRST` and `LAST` may count.
const OFFSET_MAX: u32 = 1_000;

/// Whose rows: a variable's or a subset's; `None`: all of the match.
pub type Owner = Option<String>;

/// Which row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NavigationText {
    /// Among whose rows.
    pub of: Owner,
    /// Counted from the first of them, and not from the last.
    pub is_first: bool,
    /// So many further on among them.
    pub logical: u32,
    /// Then so many rows on (`NEXT`) or back (`PREV`).
    pub physical: i32,
    /// `FINAL`.
    pub is_final: bool,
}

/// What a term is.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "a text has a few, and they are read once")]
pub enum TermKind {
    /// A column, by name, of a row.
    Column(String, NavigationText),
    /// The variable a row was taken for.
    Classifier(NavigationText),
    /// The number of the match.
    MatchNumber,
    /// An aggregate; its arguments name columns without the variable.
    Aggregate {
        /// Which.
        call: AggregateText,
        /// Over whose rows.
        of: Owner,
        /// `FINAL`.
        is_final: bool,
    },
}

/// A term, with the column that stands for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TermText {
    /// The column.
    pub name: String,
    /// What it is.
    pub kind: TermKind,
    /// Line and column in the text, from 1, where known.
    pub at: Option<(u32, u32)>,
}

/// Where an expression stands: what its names may mean.
#[derive(Debug, Clone, Copy)]
pub struct TermsOf<'a> {
    /// Variables and subsets.
    pub variables: &'a [&'a str],
    /// The functions that are aggregates, in lower case.
    pub aggregates: &'a [&'a str],
    /// In `DEFINE`, the variable that is defined: its last row is the row itself.
    pub own: Option<&'a str>,
    /// All rows of a match are known: `FINAL` may be said.
    pub has_final: bool,
}

impl Part {
    /// Takes out what it looks at in a match; answers that, each once, and what is left.
    pub fn match_terms(&self, of: TermsOf<'_>) -> Result<(Vec<TermText>, Self)> {
        on_large_stack(|| {
            let mut taking = Taking { of, terms: Vec::new(), depth: 0 };
            let mut tree = self.0.clone();
            taking.expr(&mut tree)?;
            Ok((taking.terms, Self(tree)))
        })
    }
}

struct Taking<'a> {
    of: TermsOf<'a>,
    terms: Vec<TermText>,
    depth: usize,
}

impl Taking<'_> {
    fn expr(&mut self, tree: &mut Expr) -> Result<()> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            let error = format!("the expression is more than {DEPTH_MAX} operators deep");
            return Err(ExpressionError::new(error, "compute a part of it in an `extend` step before"));
        }
        match self.term(tree)? {
            Some(kind) => {
                let name = self.name(&kind);
                let mut ident = Ident::with_quote('"', &name);
                ident.span = tree.span();
                let at = ExpressionError::new("", "").at(tree.span()).at;
                *tree = Expr::Identifier(ident);
                if self.terms.iter().all(|known| known.name != name) {
                    self.terms.push(TermText { name, kind, at });
                }
            }
            // What has no children here is refused when the rest is planned.
            None => children(tree).unwrap_or_default().into_iter().try_for_each(|child| self.expr(child))?,
        }
        self.depth -= 1;
        Ok(())
    }

    /// What a term is called: the row's own columns by their names, so that they are found beside the others.
    fn name(&self, kind: &TermKind) -> String {
        let of = |of: &Owner| of.as_ref().map_or_else(String::new, |of| format!("{of}."));
        let called = |inner: String, place: &NavigationText| {
            let end = if place.is_first { "FIRST" } else { "LAST" };
            let mode = if place.is_final { "FINAL " } else { "" };
            let inner = match (place.logical, &place.of, place.is_first || place.is_final) {
                (0, None, false) => inner,
                (0, ..) => format!("{mode}{end}({inner})"),
                (logical, ..) => format!("{mode}{end}({inner}, {logical})"),
            };
            match place.physical {
                0 => inner,
                back if back < 0 => format!("PREV({inner}, {})", -back),
                on => format!("NEXT({inner}, {on})"),
            }
        };
        match kind {
            TermKind::Column(column, place) => called(format!("{}{column}", of(&place.of)), place),
            TermKind::Classifier(place) => called(format!("CLASSIFIER({})", place.of.as_deref().unwrap_or_default()), place),
            TermKind::MatchNumber => "MATCH_NUMBER()".to_owned(),
            TermKind::Aggregate { call, of: owner, is_final } => {
                let arguments: Vec<String> = call.arguments.iter().map(ToString::to_string).collect();
                let mode = if *is_final { "FINAL " } else { "" };
                let distinct = if call.is_distinct { "DISTINCT " } else { "" };
                format!(
                    "{mode}{}({distinct}{}{})",
                    call.function,
                    of(owner),
                    if arguments.is_empty() { "*".to_owned() } else { arguments.join(", ") }
                )
            }
        }
    }

    /// The term that the tree is, if it is one.
    fn term(&self, tree: &Expr) -> Result<Option<TermKind>> {
        match tree {
            Expr::Identifier(_) | Expr::CompoundIdentifier(_) => {
                let (of, column) = self.column(tree)?.unwrap_or_default();
                Ok(Some(TermKind::Column(column, self.itself(of, false))))
            }
            Expr::Function(function) => self.call(function, tree),
            _ => Ok(None),
        }
    }

    /// A column and whose it is, if the tree is one.
    fn column(&self, tree: &Expr) -> Result<Option<(Owner, String)>> {
        let path: Vec<&Ident> = match tree {
            Expr::Identifier(name) => vec![name],
            Expr::CompoundIdentifier(path) => path.iter().collect(),
            _ => return Ok(None),
        };
        let join = |path: &[&Ident]| path.iter().map(|part| part.value.as_str()).collect::<Vec<_>>().join(".");
        let (first, rest) = path.split_first().expect("a name has a part");
        if !self.of.variables.contains(&first.value.as_str()) {
            return Ok(Some((None, join(&path))));
        }
        if rest.is_empty() {
            let error = format!("`{}` is a variable of the pattern and no column", first.value);
            return Err(ExpressionError::new(error, format!("name a column of its rows: `{}.price`", first.value)).at(first.span));
        }
        Ok(Some((Some(first.value.clone()), join(rest))))
    }

    /// The last row of whose.
    fn itself(&self, of: Owner, is_final: bool) -> NavigationText {
        // Where a variable is defined, its last row is the one that is asked about.
        let of = of.filter(|of| self.of.own != Some(of.as_str()));
        NavigationText { of, is_first: false, logical: 0, physical: 0, is_final }
    }

    fn call(&self, function: &Function, tree: &Expr) -> Result<Option<TermKind>> {
        let [part] = &function.name.0[..] else { return Ok(None) };
        let Some(ident) = part.as_ident() else { return Ok(None) };
        let lower = ident.value.to_lowercase();
        let (mode, name) = match lower.split_once(' ') {
            Some((mode, name)) => (Some(mode), name),
            None => (None, lower.as_str()),
        };
        let is_final = mode == Some("final");
        let is_ours = ["prev", "next", "first", "last", "classifier", "match_number"].contains(&name);
        let is_aggregate = self.of.aggregates.contains(&name);
        if !is_ours && !is_aggregate {
            if mode.is_some() {
                let error = format!("`{}` in front of `{name}`", mode.unwrap_or_default().to_uppercase());
                return Err(ExpressionError::new(error, "it stands before FIRST, LAST, CLASSIFIER and aggregates").at(ident.span));
            }
            return Ok(None);
        }
        if is_final && !self.of.has_final {
            let error = "FINAL in DEFINE: the rows that follow are not known yet";
            return Err(ExpressionError::new(error, "leave FINAL out").at(ident.span));
        }
        match name {
            "match_number" => {
                self.no_arguments(function)?;
                Ok(Some(TermKind::MatchNumber))
            }
            "prev" | "next" | "first" | "last" | "classifier" => self.navigation(tree, is_final, false).map(Some),
            _ => self.aggregate(function, name, is_final).map(Some),
        }
    }

    fn no_arguments(&self, function: &Function) -> Result<()> {
        match &function.args {
            FunctionArguments::List(list) if list.args.is_empty() => Ok(()),
            _ => Err(ExpressionError::new(format!("`{function}` takes no arguments"), "write `MATCH_NUMBER()`")
                .at(function.name.span())),
        }
    }

    /// `PREV`, `NEXT`, `FIRST`, `LAST`, `CLASSIFIER`, and columns inside of them; `is_inner`: inside `PREV` or `NEXT`.
    fn navigation(&self, tree: &Expr, is_final: bool, is_inner: bool) -> Result<TermKind> {
        if let Some((of, column)) = self.column(tree)? {
            return Ok(TermKind::Column(column, self.itself(of, is_final)));
        }
        let refused = |error: String, remedy: &str| Err(ExpressionError::new(error, remedy).at(tree.span()));
        let Expr::Function(function) = tree else {
            let remedy = "move to one column at a time, `PREV(a) + PREV(b)`, or compute it in an `extend` step before";
            return refused(format!("`{tree}` is computed, and PREV, NEXT, FIRST and LAST take a column"), remedy);
        };
        let (mode, name) = name_of(function);
        let is_final = is_final || mode.as_deref() == Some("final");
        match name.as_str() {
            "classifier" => {
                let of = match &arguments(function)?[..] {
                    [] => None,
                    [Expr::Identifier(name)] if self.of.variables.contains(&name.value.as_str()) => Some(name.value.clone()),
                    [other, ..] => {
                        return refused(
                            format!("`{other}` is no variable of the pattern"),
                            "write `CLASSIFIER()` or `CLASSIFIER(A)`",
                        );
                    }
                };
                Ok(TermKind::Classifier(NavigationText { of, is_first: false, logical: 0, physical: 0, is_final }))
            }
            "first" | "last" => {
                let (inner, logical) = self.offset(function, 0)?;
                let is_first = name == "first";
                let mut kind = match &inner {
                    Expr::Function(call) if name_of(call).1 != "classifier" => {
                        let remedy = "PREV and NEXT stand outside, `PREV(FIRST(A.price))`, and nothing else inside";
                        return refused(format!("`{inner}` inside {}", name.to_uppercase()), remedy);
                    }
                    _ => self.navigation(&inner, is_final, true)?,
                };
                if let Some(place) = place_of(&mut kind) {
                    (place.is_first, place.logical) = (is_first, logical);
                    // Of the variable that is defined, only the last row is the row itself.
                    if is_first || logical > 0 {
                        place.of = place.of.take().or(self.column(&inner)?.and_then(|(of, _)| of));
                    }
                }
                Ok(kind)
            }
            "prev" | "next" if !is_inner => {
                let (inner, rows) = self.offset(function, 1)?;
                let mut kind = self.navigation(&inner, is_final, true)?;
                let Some(place) = place_of(&mut kind) else {
                    return refused(format!("`{inner}` inside {}", name.to_uppercase()), "name a column: `PREV(price)`");
                };
                place.physical = if name == "prev" { -(rows as i32) } else { rows as i32 };
                Ok(kind)
            }
            _ => {
                let remedy = "move to one column at a time, `PREV(a) + PREV(b)`, or compute it in an `extend` step before";
                refused(format!("`{tree}` inside PREV, NEXT, FIRST or LAST"), remedy)
            }
        }
    }

    /// What is moved to, and how far.
    fn offset(&self, function: &Function, default: u32) -> Result<(Expr, u32)> {
        let refused = |error: String| {
            let (_, name) = name_of(function);
            Err(ExpressionError::new(error, format!("write `{0}(price)` or `{0}(price, 2)`", name.to_uppercase()))
                .at(function.name.span()))
        };
        match &arguments(function)?[..] {
            [inner] => Ok((inner.clone(), default)),
            [inner, rows] => match Part(rows.clone()).number().and_then(|digits| digits.parse().ok()) {
                Some(rows) if rows <= OFFSET_MAX => Ok((inner.clone(), rows)),
                Some(_) | None => refused(format!("`{rows}` is no number from 0 to {OFFSET_MAX}")),
            },
            other => refused(format!("`{function}` has {} arguments", other.len())),
        }
    }

    fn aggregate(&self, function: &Function, name: &str, is_final: bool) -> Result<TermKind> {
        let span = function.name.span();
        if function.filter.is_some() {
            let remedy = "name the rows by a variable or a SUBSET: `sum(B.price)`";
            return Err(ExpressionError::new(format!("`{name}` has a `filter` of its own"), remedy).at(span));
        }
        let mut owners: Vec<Owner> = Vec::new();
        let mut plain = Function { name: ObjectName::from(vec![Ident::new(name)]), ..function.clone() };
        if let FunctionArguments::List(list) = &mut plain.args {
            for argument in &mut list.args {
                match argument {
                    FunctionArg::Unnamed(FunctionArgExpr::QualifiedWildcard(of)) => {
                        owners.push(Some(of.to_string()));
                        *argument = FunctionArg::Unnamed(FunctionArgExpr::Wildcard);
                    }
                    FunctionArg::Unnamed(FunctionArgExpr::Expr(value)) => self.strip(value, &mut owners)?,
                    FunctionArg::Unnamed(_) | FunctionArg::Named { .. } | FunctionArg::ExprNamed { .. } => {}
                }
            }
        }
        owners.dedup();
        if owners.len() > 1 {
            let error = format!("`{function}` mixes rows of several variables");
            return Err(ExpressionError::new(error, "give them a name together: `SUBSET U = (A, B)`, then `U.price`").at(span));
        }
        let of = owners.pop().flatten();
        if let Some(of) = of.as_ref().filter(|of| !self.of.variables.contains(&of.as_str())) {
            return Err(ExpressionError::new(format!("`{of}` is no variable of the pattern"), "write `count(A.*)`").at(span));
        }
        let call = crate::aggregates::parts(name, &plain).map_err(|error| error.at(span))?;
        let at = ExpressionError::new("", "").at(span).at;
        Ok(TermKind::Aggregate { call: AggregateText { name: plain.to_string(), at, ..call }, of, is_final })
    }

    /// Columns in the argument of an aggregate, without the variable in front of them.
    fn strip(&self, tree: &mut Expr, owners: &mut Vec<Owner>) -> Result<()> {
        if let Some((of, column)) = self.column(tree)? {
            let mut ident = Ident::with_quote('"', column);
            ident.span = tree.span();
            // A plain name stays plain, so that columns keep their names.
            let is_plain = !ident.value.contains('.') && of.is_none();
            if !is_plain {
                *tree = Expr::Identifier(ident);
            }
            owners.push(of);
            return Ok(());
        }
        if let Expr::Function(function) = tree {
            let (_, name) = name_of(function);
            let is_ours = ["prev", "next", "first", "last", "classifier", "match_number"].contains(&name.as_str());
            if is_ours || self.of.aggregates.contains(&name.as_str()) {
                let remedy = "aggregate columns, or what an `extend` step before makes of them";
                return Err(ExpressionError::new(format!("`{function}` inside an aggregate"), remedy).at(function.name.span()));
            }
        }
        children(tree).unwrap_or_default().into_iter().try_for_each(|child| self.strip(child, owners))
    }
}

fn place_of(kind: &mut TermKind) -> Option<&mut NavigationText> {
    match kind {
        TermKind::Column(_, place) | TermKind::Classifier(place) => Some(place),
        TermKind::MatchNumber | TermKind::Aggregate { .. } => None,
    }
}

/// `FINAL` or `RUNNING` where it is said, and the name; in lower case.
fn name_of(function: &Function) -> (Option<String>, String) {
    let name = function.name.to_string().to_lowercase();
    match name.split_once(' ') {
        Some((mode, name)) => (Some(mode.to_owned()), name.to_owned()),
        None => (None, name),
    }
}

/// What stands in the parentheses: values only.
fn arguments(function: &Function) -> Result<Vec<Expr>> {
    let refused = || {
        let (_, name) = name_of(function);
        let error = format!("`{function}` takes values only");
        Err(ExpressionError::new(error, format!("write `{}(price)`", name.to_uppercase())).at(function.name.span()))
    };
    let is_plain = function.filter.is_none() && function.over.is_none() && function.null_treatment.is_none();
    match &function.args {
        FunctionArguments::List(list) if is_plain && list.duplicate_treatment.is_none() && list.clauses.is_empty() => {
            let mut values = Vec::new();
            for argument in &list.args {
                let FunctionArg::Unnamed(FunctionArgExpr::Expr(value)) = argument else { return refused() };
                values.push(value.clone());
            }
            Ok(values)
        }
        _ => refused(),
    }
}

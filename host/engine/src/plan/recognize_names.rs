//! The names in a `match_recognize`: which variables there are, and the pattern of them.

use tidemill_expr::ExpressionError;
use tidemill_expr::recognize::{MatchText, NameText, PatternKind, PatternText};
use tidemill_flow::recognize::{RowPattern, VARIABLES_MAX, VariableId, VariableSet};

use crate::pipeline::nearest;

/// Variables by number, and names for several.
pub(super) struct Variables {
    pub(super) names: Vec<String>,
    subsets: Vec<(String, u64)>,
}

impl Variables {
    /// Those of the pattern. Errors: names that mean nothing, or two things.
    pub(super) fn new(read: &MatchText) -> Result<Self, Vec<ExpressionError>> {
        let named = read.pattern.variables();
        let mut errors = Vec::new();
        let mut refuse = |name: &NameText, error: String, remedy: String| {
            errors.push(ExpressionError { at: name.at, ..ExpressionError::new(error, remedy) });
        };
        for (at, name) in named.iter().enumerate() {
            if let Some(other) = named[..at].iter().find(|other| other.name.eq_ignore_ascii_case(&name.name)) {
                let remedy = "names are case-sensitive: write one of them in both places, or rename one".to_owned();
                refuse(name, format!("`{}` and `{}` are two variables", other.name, name.name), remedy);
            }
        }
        if let Some(name) = named.get(VARIABLES_MAX) {
            let remedy = "match what is alike by one variable".to_owned();
            refuse(name, format!("more than {VARIABLES_MAX} variables"), remedy);
        }
        let mut all = Self { names: named.into_iter().map(|name| name.name).collect(), subsets: Vec::new() };
        for (name, of) in &read.subsets {
            if all.known().any(|known| known == name.name) {
                refuse(name, format!("`{}` is a variable already", name.name), "give the subset another name".to_owned());
                continue;
            }
            let mut bits = 0;
            for member in of {
                match all.variable(&member.name) {
                    Some(variable) => bits |= 1 << variable,
                    None => {
                        let error = all.unknown(member);
                        refuse(member, error.message, error.remedy);
                    }
                }
            }
            all.subsets.push((name.name.clone(), bits));
        }
        for (at, defined) in read.defines.iter().enumerate() {
            let name = &defined.name;
            if all.variable(&name.name).is_none() {
                let is_subset = all.subsets.iter().any(|(subset, _)| *subset == name.name);
                if is_subset {
                    let remedy = "define its variables".to_owned();
                    refuse(name, format!("`{}` is a subset and has no condition of its own", name.name), remedy);
                } else {
                    let error = all.unknown(name);
                    refuse(name, format!("`{}` is defined, and not in the pattern", name.name), error.remedy);
                }
            } else if read.defines[..at].iter().any(|other| other.name.name == name.name) {
                refuse(name, format!("`{}` is defined twice", name.name), "put both conditions together with `and`".to_owned());
            }
        }
        if errors.is_empty() { Ok(all) } else { Err(errors) }
    }

    /// Variables, then subsets.
    pub(super) fn known(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(String::as_str).chain(self.subsets.iter().map(|(name, _)| name.as_str()))
    }

    /// The number of a variable.
    pub(super) fn variable(&self, name: &str) -> Option<usize> {
        self.names.iter().position(|known| known == name)
    }

    /// The rows of a variable or a subset; all of them where none is named.
    pub(super) fn set(&self, name: Option<&str>) -> VariableSet {
        let Some(name) = name else { return VariableSet::ALL };
        match self.variable(name) {
            Some(variable) => VariableSet::one(VariableId(variable as u8)),
            None => VariableSet(self.subsets.iter().find(|(known, _)| known == name).map_or(0, |(_, bits)| *bits)),
        }
    }

    /// A name that is none of them.
    pub(super) fn unknown(&self, name: &NameText) -> ExpressionError {
        let remedy = match nearest(&name.name, self.known()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("there are {}", self.known().map(|known| format!("`{known}`")).collect::<Vec<_>>().join(", ")),
        };
        ExpressionError { at: name.at, ..ExpressionError::new(format!("`{}` is no variable of the pattern", name.name), remedy) }
    }
}

/// The pattern, with variables by number. All of them are known: they are the pattern's own.
pub(super) fn pattern_of(text: &PatternText, variables: &Variables) -> RowPattern {
    let all = |parts: &[PatternText]| parts.iter().map(|part| pattern_of(part, variables)).collect();
    match &text.kind {
        PatternKind::Variable(name) => {
            RowPattern::Variable(VariableId(variables.variable(name).expect("a variable of the pattern") as u8))
        }
        PatternKind::Empty => RowPattern::Empty,
        PatternKind::Sequence(parts) => RowPattern::Sequence(all(parts)),
        PatternKind::Choice(parts) => RowPattern::Choice(all(parts)),
        PatternKind::Permute(parts) => RowPattern::Permute(all(parts)),
        PatternKind::Repeat { pattern, min, max, is_greedy } => {
            RowPattern::Repeat { pattern: Box::new(pattern_of(pattern, variables)), min: *min, max: *max, is_greedy: *is_greedy }
        }
        PatternKind::Exclude(inner) => RowPattern::Exclude(Box::new(pattern_of(inner, variables))),
    }
}

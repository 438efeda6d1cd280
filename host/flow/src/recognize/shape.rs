//! A row pattern as it is written. Nothing here is checked: `program` does that.

/// A variable of a pattern, counted from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct VariableId(pub u8);

/// Some variables: what `SUBSET` calls one, all of them, or one alone. A bit each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct VariableSet(pub u64);

impl VariableSet {
    /// Every row of a match, whatever it was taken for.
    pub const ALL: Self = Self(u64::MAX);

    /// One variable.
    pub fn one(variable: VariableId) -> Self {
        Self(1 << variable.0)
    }

    /// Whether rows of this variable count.
    pub fn has(self, variable: VariableId) -> bool {
        self.0 >> variable.0 & 1 == 1
    }
}

/// What rows must be, in order of preference where there is a choice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RowPattern {
    /// `A`: one row.
    Variable(VariableId),
    /// `()`: no row.
    Empty,
    /// `A B`: one behind the other.
    Sequence(Vec<RowPattern>),
    /// `A | B`: the first one rather than those behind it.
    Choice(Vec<RowPattern>),
    /// `PERMUTE(A, B)`: each once, in any order; rather in an order that comes first when places are compared from left to right.
    Permute(Vec<RowPattern>),
    /// `A{min,max}`: rather more rounds if it is greedy, otherwise rather fewer. Of a loop without `max`, a round beyond `min` has a row.
    Repeat {
        /// Of what.
        pattern: Box<RowPattern>,
        /// At least so many rounds.
        min: u32,
        /// At most so many; `None`: any number.
        max: Option<u32>,
        /// `*`, and not `*?`.
        is_greedy: bool,
    },
    /// `{- A -}`: matched, and not among the rows that come out.
    Exclude(Box<RowPattern>),
}

/// `AFTER MATCH SKIP`: where the next match may begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AfterMatch {
    /// Behind the last row of this one.
    PastLast,
    /// At the second row of this one.
    ToNext,
    /// At the first row of these variables.
    ToFirst(VariableSet),
    /// At the last row of these variables.
    ToLast(VariableSet),
}

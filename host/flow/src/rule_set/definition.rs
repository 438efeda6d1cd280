//! A rule set as it was planned: rules in order, the expressions they share, and what comes out.

use std::sync::Arc;

use tidemill_event::Field;

use crate::rule_set::RuleComponent;
use crate::{NamedProjection, Predicate, StepId};

/// A value that a column is compared with.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Constant {
    /// Of a text column.
    Text(Box<str>),
    /// Of an integer column.
    Int(i64),
    /// Of a column of true and false.
    Bool(bool),
}

/// Which of the rules that say yes to a row count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MatchRules {
    /// The first; those behind it are not asked.
    First,
    /// All of them.
    All,
}

/// What comes out of the step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Emit {
    /// A row for each row.
    Rows,
    /// A row for each rule that said yes to a row.
    Matches,
}

/// One test of a rule.
#[derive(Debug, Clone)]
pub struct RuleTest {
    /// As it was written, for whoever asks why.
    pub text: Arc<str>,
    /// What is tested.
    pub kind: TestKind,
}

/// What a test looks at.
#[derive(Debug, Clone)]
pub enum TestKind {
    /// The column has one of these values; they are of the column's type.
    Is {
        /// The column's name.
        column: Arc<str>,
        /// At least one.
        any_of: Vec<Constant>,
    },
    /// The place of a predicate among those of the set.
    Predicate(u32),
}

/// A condition that any of the rules may have.
pub struct SharedPredicate {
    /// The columns it reads.
    pub columns: Vec<Arc<str>>,
    /// The condition.
    pub predicate: Box<dyn Predicate>,
}

/// An expression that any of the rules may set a column to.
pub struct SharedValue {
    /// The columns it reads.
    pub columns: Vec<Arc<str>>,
    /// The expression, with the field of its values.
    pub value: NamedProjection,
    /// It also reads what the component of this rule says: columns that are called so are that. No other rule has such a value.
    pub of: Option<u32>,
}

/// The component that a rule asks.
#[derive(Debug, Clone)]
pub struct AskedComponent {
    /// Its place among those of the set; no other rule has it.
    pub place: u32,
    /// As it was written, for whoever asks why.
    pub text: Arc<str>,
}

/// One rule.
#[derive(Debug, Clone)]
pub struct SetRule {
    /// What it is called; no other rule of the set is.
    pub name: Arc<str>,
    /// Why it is off, if it is: it is never asked.
    pub off: Option<Arc<str>>,
    /// It is on for rows of this event time (microseconds) or later.
    pub from: Option<i64>,
    /// It is on for rows before this event time.
    pub until: Option<i64>,
    /// All must hold; none at all: it says yes to every row.
    pub tests: Vec<RuleTest>,
    /// The component that is asked about the rows that all tests let through: it must say yes too.
    pub asks: Option<AskedComponent>,
    /// Which columns it sets (by their place in `columns`), to which values (by their place in `values`).
    pub sets: Vec<(u32, u32)>,
    /// Put on the row.
    pub tags: Vec<Arc<str>>,
    /// Where the row shall go.
    pub route: Option<Arc<str>>,
    /// The row goes no further.
    pub drops: bool,
}

/// A rule set.
pub struct RuleSetSettings {
    /// Which step it is.
    pub step: StepId,
    /// The rules, the most important first.
    pub rules: Vec<SetRule>,
    /// What rules test.
    pub predicates: Vec<SharedPredicate>,
    /// What rules set columns to.
    pub values: Vec<SharedValue>,
    /// What rules ask.
    pub components: Vec<RuleComponent>,
    /// The columns that rules set, as they come out. One that the rows have already keeps its value where no rule sets it.
    pub columns: Vec<Field>,
    /// Which rules count.
    pub matches: MatchRules,
    /// What comes out.
    pub emit: Emit,
    /// Rows that no rule says yes to go on too.
    pub keeps_all: bool,
    /// The column of the rule's name.
    pub named: Arc<str>,
    /// Whether a column says of each row which rules were asked, and why they did what they did.
    pub traces: bool,
}

/// What rules said to a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RulesReport {
    /// The step.
    pub step: StepId,
    /// Rows that were judged.
    pub rows: u64,
    /// Those that some rule said yes to.
    pub matched: u64,
    /// How often each rule that said yes did, by its place in the set.
    pub by_rule: Vec<(u32, u64)>,
}

//! Why a text is no expression: what is wrong, where, and what to change.

use std::fmt;

use datafusion_common::DataFusionError;
use datafusion_sql::sqlparser::tokenizer::Span;

/// The longest text of an error that is not ours, in bytes.
const MESSAGE_BYTES_MAX: usize = 400;

/// An expression that cannot be used. Trying again does not help; changing the text as `remedy` says does.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}{}: {remedy}", Place(*at))]
pub struct ExpressionError {
    /// What is wrong.
    pub message: String,
    /// Line and column in the expression's text, from 1, where known.
    pub at: Option<(u32, u32)>,
    /// What to change.
    pub remedy: String,
    /// The function that nobody knows, where that is what is wrong: who knows more functions may know a better remedy.
    pub unknown_function: Option<String>,
}

struct Place(Option<(u32, u32)>);

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some((line, column)) => write!(f, " (line {line}, column {column})"),
            None => Ok(()),
        }
    }
}

impl ExpressionError {
    /// Of no particular place.
    pub fn new(message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { message: message.into(), at: None, remedy: remedy.into(), unknown_function: None }
    }

    pub(crate) fn at(mut self, span: Span) -> Self {
        let (line, column) = (span.start.line, span.start.column);
        if line > 0 {
            self.at = Some((line.try_into().unwrap_or(u32::MAX), column.try_into().unwrap_or(u32::MAX)));
        }
        self
    }
}

/// What an error of the planner or of a kernel says, on one line and without its kind.
pub(crate) fn words(error: &DataFusionError) -> String {
    let text = match error.find_root() {
        DataFusionError::ArrowError(error, _) => match error.as_ref() {
            arrow_schema::ArrowError::DivideByZero => "division by zero".to_owned(),
            arrow_schema::ArrowError::ArithmeticOverflow(text)
            | arrow_schema::ArrowError::CastError(text)
            | arrow_schema::ArrowError::ParseError(text)
            | arrow_schema::ArrowError::ComputeError(text)
            | arrow_schema::ArrowError::InvalidArgumentError(text) => text.clone(),
            other => other.to_string(),
        },
        other => other.message().into_owned(),
    };
    let text = text.split(DataFusionError::BACK_TRACE_SEP).next().unwrap_or_default();
    let text = text.split('\n').next().unwrap_or_default().trim_end_matches(['.', ' ']);
    let text = text.strip_prefix("Execution error: ").unwrap_or(text);
    let text = text.replace("Overflow happened on: ", "overflow: ");
    let end = text.floor_char_boundary(MESSAGE_BYTES_MAX);
    text[..end].to_owned()
}

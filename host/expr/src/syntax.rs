//! From text to a syntax tree: one expression, to the end of the text, within bounds.

use datafusion_sql::sqlparser::ast::Expr;
use datafusion_sql::sqlparser::dialect::Dialect;
use datafusion_sql::sqlparser::parser::{Parser, ParserError};
use datafusion_sql::sqlparser::tokenizer::{Token, TokenWithSpan, Tokenizer};

use crate::error::ExpressionError;

/// The longest expression, in bytes; a longer one is refused.
const TEXT_BYTES_MAX: usize = 64 * 1024;
/// The most words and signs of an expression; more are refused. Bounds how deep planning recurses.
const TOKENS_MAX: usize = 4096;
/// How deep parentheses may nest; the parser stops there.
const NESTING_MAX: usize = 64;

/// SQL as expressions use it. Unlike the parser's own dialects this one has no names that are functions without parentheses (`user`),
/// and no variables.
#[derive(Debug)]
struct ExpressionSql;

impl Dialect for ExpressionSql {
    fn is_delimited_identifier_start(&self, character: char) -> bool {
        character == '"' || character == '`'
    }

    fn is_identifier_start(&self, character: char) -> bool {
        character.is_alphabetic() || character == '_'
    }

    fn is_identifier_part(&self, character: char) -> bool {
        character.is_alphanumeric() || character == '_'
    }

    fn supports_string_escape_constant(&self) -> bool {
        true
    }

    fn allow_extract_custom(&self) -> bool {
        true
    }

    fn allow_extract_single_quotes(&self) -> bool {
        true
    }

    fn supports_extract_comma_syntax(&self) -> bool {
        true
    }

    fn supports_comma_separated_trim(&self) -> bool {
        true
    }

    fn supports_bitwise_shift_operators(&self) -> bool {
        true
    }

    // These parse so that they can be refused by name.
    fn supports_filter_during_aggregation(&self) -> bool {
        true
    }

    fn supports_window_function_null_treatment_arg(&self) -> bool {
        true
    }
}

/// Parses one expression.
pub(crate) fn parse(sql: &str) -> Result<Expr, ExpressionError> {
    let mut parser = parser(tokens(sql)?);
    let parsed = parser.parse_expr().map_err(parser_error)?;
    let next = parser.peek_token();
    match next.token {
        Token::EOF => Ok(parsed),
        other => Err(syntax_error(format!("`{other}` follows where the expression should end")).at(next.span)),
    }
}

/// The words and signs of a text, within bounds.
pub(crate) fn tokens(sql: &str) -> Result<Vec<TokenWithSpan>, ExpressionError> {
    if sql.len() > TEXT_BYTES_MAX {
        return Err(ExpressionError::new(
            format!("the expression has {} bytes, at most {TEXT_BYTES_MAX} are taken", sql.len()),
            "split it into several steps (`extend` first, then `where`), or make it a component",
        ));
    }
    let tokens = Tokenizer::new(&ExpressionSql, sql).tokenize_with_location().map_err(|error| {
        let mut refused = syntax_error(error.message.clone());
        refused.at = Some((error.location.line as u32, error.location.column as u32));
        refused
    })?;
    let words = tokens.iter().filter(|token| !matches!(token.token, Token::Whitespace(_))).count();
    if words == 0 {
        return Err(ExpressionError::new("the expression is empty", "write one, for example `amount > 10`"));
    }
    if words > TOKENS_MAX {
        return Err(ExpressionError::new(
            format!("the expression has {words} words and signs, at most {TOKENS_MAX} are taken"),
            "split it into several steps (`extend` first, then `where`), or make it a component",
        ));
    }
    Ok(tokens)
}

/// The parser of them.
pub(crate) fn parser(tokens: Vec<TokenWithSpan>) -> Parser<'static> {
    Parser::new(&ExpressionSql).with_recursion_limit(NESTING_MAX).with_tokens_with_locations(tokens)
}

pub(crate) fn parser_error(error: ParserError) -> ExpressionError {
    let text = match error {
        ParserError::TokenizerError(text) | ParserError::ParserError(text) => text,
        ParserError::RecursionLimitExceeded => {
            return ExpressionError::new(
                format!("the expression nests deeper than {NESTING_MAX} levels"),
                "split it into several steps (`extend` first, then `where`)",
            );
        }
    };
    // The parser writes the place behind its message.
    let Some((message, place)) = text.rsplit_once(" at Line: ") else { return syntax_error(text) };
    let place = place.split_once(", Column: ").and_then(|(line, column)| Some((line.parse().ok()?, column.parse().ok()?)));
    let mut refused = syntax_error(message.to_owned());
    refused.at = place;
    refused
}

fn syntax_error(message: String) -> ExpressionError {
    let remedy = if message.contains("found: EOF") {
        "the expression ends too early"
    } else {
        "write one SQL expression; texts stand in 'single quotes', and column names that are SQL words or have other signs in \"double quotes\""
    };
    ExpressionError::new(message, remedy)
}

//! The row pattern: `A B+? (C | {- D -})`, as a tree.

use datafusion_sql::sqlparser::tokenizer::{Token, Word};

use crate::error::ExpressionError;
use crate::recognize::clause::{NameText, Reader};

type Result<T> = std::result::Result<T, ExpressionError>;

/// How deep groups may nest.
const NESTING_MAX: usize = 32;

/// A pattern as it stands there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PatternText {
    /// What it is.
    pub kind: PatternKind,
    /// Line and column in the text, from 1, where known.
    pub at: Option<(u32, u32)>,
}

/// What a pattern is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PatternKind {
    /// `A`.
    Variable(String),
    /// `()`.
    Empty,
    /// `A B`.
    Sequence(Vec<PatternText>),
    /// `A | B`.
    Choice(Vec<PatternText>),
    /// `PERMUTE(A, B)`.
    Permute(Vec<PatternText>),
    /// `A{min,max}`, `A*`, `A+`, `A?`, and with `?` behind it reluctant.
    Repeat {
        /// Of what.
        pattern: Box<PatternText>,
        /// At least.
        min: u32,
        /// At most; `None`: any number.
        max: Option<u32>,
        /// Without a `?` behind it.
        is_greedy: bool,
    },
    /// `{- A -}`.
    Exclude(Box<PatternText>),
}

impl PatternText {
    /// To the parenthesis that closes it.
    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self> {
        choice(reader, 0)
    }

    /// The names of its variables, in the order in which they first stand there.
    pub fn variables(&self) -> Vec<NameText> {
        let (mut names, mut open): (Vec<NameText>, Vec<&Self>) = (Vec::new(), vec![self]);
        while let Some(pattern) = open.pop() {
            match &pattern.kind {
                PatternKind::Variable(name) => {
                    if names.iter().all(|known| known.name != *name) {
                        names.push(NameText { name: name.clone(), at: pattern.at });
                    }
                }
                PatternKind::Empty => {}
                PatternKind::Sequence(parts) | PatternKind::Choice(parts) | PatternKind::Permute(parts) => {
                    open.extend(parts.iter().rev());
                }
                PatternKind::Repeat { pattern, .. } | PatternKind::Exclude(pattern) => open.push(pattern),
            }
        }
        names
    }

    /// Whether something in it is left out of the rows that come out.
    pub fn has_exclusion(&self) -> bool {
        match &self.kind {
            PatternKind::Variable(_) | PatternKind::Empty => false,
            PatternKind::Sequence(parts) | PatternKind::Choice(parts) | PatternKind::Permute(parts) => {
                parts.iter().any(Self::has_exclusion)
            }
            PatternKind::Repeat { pattern, .. } => pattern.has_exclusion(),
            PatternKind::Exclude(_) => true,
        }
    }
}

fn choice(reader: &mut Reader<'_>, depth: usize) -> Result<PatternText> {
    let at = place(reader);
    if depth > NESTING_MAX {
        return Err(refused(reader, format!("the pattern nests deeper than {NESTING_MAX} levels"), "write it flatter"));
    }
    let mut parts = vec![sequence(reader, depth)?];
    while reader.is(&Token::Pipe) {
        parts.push(sequence(reader, depth)?);
    }
    Ok(one_or(parts, PatternKind::Choice, at))
}

fn sequence(reader: &mut Reader<'_>, depth: usize) -> Result<PatternText> {
    let at = place(reader);
    let mut parts = Vec::new();
    while !is_end(reader) {
        parts.push(repeated(reader, depth)?);
    }
    if parts.is_empty() {
        return Err(reader.unexpected("a variable of the pattern, or `()` for no row,"));
    }
    Ok(one_or(parts, PatternKind::Sequence, at))
}

fn is_end(reader: &Reader<'_>) -> bool {
    match reader.peek().token {
        Token::RParen | Token::Pipe | Token::Comma | Token::EOF => true,
        Token::Minus => reader.peek_behind() == Token::RBrace,
        _ => false,
    }
}

fn one_or(
    mut parts: Vec<PatternText>,
    kind: impl FnOnce(Vec<PatternText>) -> PatternKind,
    at: Option<(u32, u32)>,
) -> PatternText {
    if parts.len() == 1 { parts.remove(0) } else { PatternText { kind: kind(parts), at } }
}

fn repeated(reader: &mut Reader<'_>, depth: usize) -> Result<PatternText> {
    let at = place(reader);
    let pattern = primary(reader, depth)?;
    let (min, max) = match reader.peek().token {
        Token::Mul => (0, None),
        Token::Plus => (1, None),
        Token::Placeholder(text) if text == "?" => (0, Some(1)),
        Token::LBrace if reader.peek_behind() != Token::Minus => {
            reader.next();
            range(reader)?
        }
        _ => return Ok(pattern),
    };
    reader.next();
    let is_greedy = match reader.peek().token {
        Token::Placeholder(text) if text == "?" => {
            reader.next();
            false
        }
        _ => true,
    };
    if matches!(reader.peek().token, Token::Mul | Token::Plus | Token::Placeholder(_)) {
        let remedy = "put parentheses around what is repeated twice: `(A+)*`";
        return Err(refused(reader, "a quantifier behind a quantifier".to_owned(), remedy));
    }
    Ok(PatternText { kind: PatternKind::Repeat { pattern: Box::new(pattern), min, max, is_greedy }, at })
}

/// `n}`, `n,}`, `,m}`, `n,m}`: up to the brace.
fn range(reader: &mut Reader<'_>) -> Result<(u32, Option<u32>)> {
    let min = number(reader)?;
    let has_comma = reader.is(&Token::Comma);
    let max = if has_comma { number(reader)? } else { min };
    if min.is_none() && max.is_none() || reader.peek().token != Token::RBrace {
        return Err(reader.unexpected("a range such as `{2}`, `{2,}`, `{,3}` or `{2,3}`"));
    }
    Ok((min.unwrap_or(0), max))
}

fn number(reader: &mut Reader<'_>) -> Result<Option<u32>> {
    let Token::Number(digits, _) = reader.peek().token else { return Ok(None) };
    let number = digits.parse().map_err(|_| reader.unexpected("a number of rounds"))?;
    reader.next();
    Ok(Some(number))
}

fn primary(reader: &mut Reader<'_>, depth: usize) -> Result<PatternText> {
    let at = place(reader);
    let kind = match reader.peek().token {
        Token::LParen => {
            reader.next();
            if reader.is(&Token::RParen) {
                PatternKind::Empty
            } else {
                let inner = choice(reader, depth + 1)?;
                reader.expect(&Token::RParen, "`)` behind the group")?;
                return Ok(inner);
            }
        }
        Token::LBrace => {
            reader.next();
            reader.expect(&Token::Minus, "`-` of `{- … -}`")?;
            let inner = choice(reader, depth + 1)?;
            reader.expect(&Token::Minus, "`-}`")?;
            reader.expect(&Token::RBrace, "`}` of `-}`")?;
            PatternKind::Exclude(Box::new(inner))
        }
        Token::Word(Word { value, quote_style: None, .. })
            if value.eq_ignore_ascii_case("PERMUTE") && reader.peek_behind() == Token::LParen =>
        {
            reader.next();
            reader.next();
            let mut parts = vec![choice(reader, depth + 1)?];
            while reader.is(&Token::Comma) {
                parts.push(choice(reader, depth + 1)?);
            }
            reader.expect(&Token::RParen, "`)` of PERMUTE")?;
            PatternKind::Permute(parts)
        }
        Token::Word(Word { value, .. }) => {
            reader.next();
            PatternKind::Variable(value)
        }
        Token::Caret => {
            let remedy = "leave it out: a key of a stream has no first row that is known to be its first";
            return Err(refused(reader, "`^` (the start of the partition) is not supported".to_owned(), remedy));
        }
        Token::Placeholder(text) if text.starts_with('$') => {
            let remedy = "leave it out: a stream has no last row; `WITHIN` ends a match";
            return Err(refused(reader, "`$` (the end of the partition) is not supported".to_owned(), remedy));
        }
        _ => return Err(reader.unexpected("a variable of the pattern")),
    };
    Ok(PatternText { kind, at })
}

fn place(reader: &Reader<'_>) -> Option<(u32, u32)> {
    ExpressionError::new("", "").at(reader.peek().span).at
}

fn refused(reader: &Reader<'_>, error: String, remedy: &str) -> ExpressionError {
    ExpressionError::new(error, remedy).at(reader.peek().span)
}

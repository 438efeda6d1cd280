//! The clauses, in the order of the standard; `WITHIN` behind the pattern, as Flink has it.

use std::time::Duration;

use datafusion_sql::sqlparser::ast::Expr;
use datafusion_sql::sqlparser::parser::Parser;
use datafusion_sql::sqlparser::tokenizer::{Token, TokenWithSpan, Word};

use crate::aggregates::Part;
use crate::error::ExpressionError;
use crate::expression::on_large_stack;
use crate::recognize::pattern::PatternText;
use crate::syntax;

type Result<T> = std::result::Result<T, ExpressionError>;

/// Line and column in the text, from 1, where known.
pub(crate) type At = Option<(u32, u32)>;

/// A name, where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NameText {
    /// The name; a path with dots.
    pub name: String,
    /// Line and column in the text, from 1, where known.
    pub at: Option<(u32, u32)>,
}

/// `expression AS name`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Measured {
    /// The column.
    pub name: NameText,
    /// What it says.
    pub expression: Part,
}

/// `name AS condition`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Defined {
    /// The variable.
    pub name: NameText,
    /// What its rows must be.
    pub condition: Part,
}

/// Which rows come out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RowsText {
    /// `ONE ROW PER MATCH`.
    One,
    /// `ALL ROWS PER MATCH`, with or without `SHOW EMPTY MATCHES`.
    AllShowEmpty,
    /// `ALL ROWS PER MATCH OMIT EMPTY MATCHES`.
    AllOmitEmpty,
    /// `ALL ROWS PER MATCH WITH UNMATCHED ROWS`.
    AllWithUnmatched,
}

/// `AFTER MATCH SKIP`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SkipText {
    /// `PAST LAST ROW`; so it is where nothing is said.
    PastLast,
    /// `TO NEXT ROW`.
    ToNext,
    /// `TO FIRST a`.
    ToFirst(NameText),
    /// `TO LAST a`, and `TO a`.
    ToLast(NameText),
}

/// What stands in the parentheses of `MATCH_RECOGNIZE (…)`. Nothing of it is looked up yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MatchText {
    /// `PARTITION BY`.
    pub partition_by: Vec<NameText>,
    /// `ORDER BY`: a name, and whether it is descending.
    pub order_by: Vec<(NameText, bool)>,
    /// `MEASURES`.
    pub measures: Vec<Measured>,
    /// Which rows come out.
    pub rows: RowsText,
    /// Where the next match begins.
    pub skip: SkipText,
    /// `PATTERN`.
    pub pattern: PatternText,
    /// `WITHIN`.
    pub within: Option<Duration>,
    /// `SUBSET`: a name for several variables.
    pub subsets: Vec<(NameText, Vec<NameText>)>,
    /// `DEFINE`.
    pub defines: Vec<Defined>,
}

impl MatchText {
    /// Reads the clauses, with `MATCH_RECOGNIZE (…)` around them or without.
    pub fn parse(sql: &str) -> Result<Self> {
        on_large_stack(|| {
            let mut reader = Reader::new(sql)?;
            let wrapped = reader.words(&["MATCH_RECOGNIZE"]) && reader.expect(&Token::LParen, "`(`").is_ok();
            let read = reader.clauses()?;
            if wrapped {
                reader.expect(&Token::RParen, "`)` behind the last clause")?;
            }
            reader.end()?;
            Ok(read)
        })
    }
}

/// Tokens in their order.
pub(super) struct Reader<'a> {
    parser: Parser<'a>,
}

impl Reader<'_> {
    fn new(sql: &str) -> Result<Self> {
        let tokens = syntax::tokens(sql)?;
        Ok(Self { parser: syntax::parser(with_final_names(tokens)) })
    }

    pub(super) fn peek(&self) -> TokenWithSpan {
        self.parser.peek_token()
    }

    pub(super) fn peek_behind(&self) -> Token {
        self.parser.peek_nth_token(1).token
    }

    pub(super) fn next(&mut self) -> TokenWithSpan {
        self.parser.next_token()
    }

    pub(super) fn is(&mut self, token: &Token) -> bool {
        self.parser.consume_token(token)
    }

    pub(super) fn expect(&mut self, token: &Token, wanted: &str) -> Result<()> {
        if self.is(token) { Ok(()) } else { Err(self.unexpected(wanted)) }
    }

    /// Whether these words come next; then they are taken.
    pub(super) fn words(&mut self, words: &[&str]) -> bool {
        let comes = |(at, word): (usize, &&str)| match self.parser.peek_nth_token(at).token {
            Token::Word(Word { value, quote_style: None, .. }) => value.eq_ignore_ascii_case(word),
            _ => false,
        };
        let all = words.iter().enumerate().all(comes);
        if all {
            words.iter().for_each(|_| drop(self.next()));
        }
        all
    }

    pub(super) fn unexpected(&self, wanted: &str) -> ExpressionError {
        let found = self.peek();
        let what = if found.token == Token::EOF { "the text ends".to_owned() } else { format!("`{}` stands", found.token) };
        ExpressionError::new(
            format!("{what} where {wanted} should be"),
            "the clauses are PARTITION BY, ORDER BY, MEASURES, ONE ROW or ALL ROWS PER MATCH, AFTER MATCH SKIP, PATTERN, WITHIN, SUBSET, DEFINE, in this order",
        )
        .at(found.span)
    }

    fn place(&self) -> At {
        ExpressionError::new("", "").at(self.peek().span).at
    }

    fn end(&self) -> Result<()> {
        if self.peek().token == Token::EOF { Ok(()) } else { Err(self.unexpected("the end")) }
    }

    /// One name.
    pub(super) fn name(&mut self, wanted: &str) -> Result<NameText> {
        let at = self.place();
        match self.peek().token {
            Token::Word(Word { value, .. }) => {
                self.next();
                Ok(NameText { name: value, at })
            }
            _ => Err(self.unexpected(wanted)),
        }
    }

    /// A name with dots in it.
    fn path(&mut self, wanted: &str) -> Result<NameText> {
        let mut path = self.name(wanted)?;
        while self.is(&Token::Period) {
            path.name = format!("{}.{}", path.name, self.name("the rest of the name")?.name);
        }
        Ok(path)
    }

    fn list<T>(&mut self, mut one: impl FnMut(&mut Self) -> Result<T>) -> Result<Vec<T>> {
        let mut list = vec![one(self)?];
        while self.is(&Token::Comma) {
            list.push(one(self)?);
        }
        Ok(list)
    }

    fn expression(&mut self) -> Result<Expr> {
        self.parser.parse_expr().map_err(syntax::parser_error)
    }

    fn clauses(&mut self) -> Result<MatchText> {
        let partition_by =
            if self.words(&["PARTITION", "BY"]) { self.list(|reader| reader.path("a column"))? } else { Vec::new() };
        let order_by = if self.words(&["ORDER", "BY"]) { self.list(Self::order)? } else { Vec::new() };
        let measures = if self.words(&["MEASURES"]) { self.list(Self::measure)? } else { Vec::new() };
        let rows = self.rows()?;
        let skip = self.skip()?;
        if !self.words(&["PATTERN"]) {
            return Err(self.unexpected("PATTERN, or a clause before it,"));
        }
        self.expect(&Token::LParen, "`(` and a pattern")?;
        let pattern = PatternText::read(self)?;
        self.expect(&Token::RParen, "`)` behind the pattern")?;
        let within = if self.words(&["WITHIN"]) { Some(self.interval()?) } else { None };
        let subsets = if self.words(&["SUBSET"]) { self.list(Self::subset)? } else { Vec::new() };
        let defines = if self.words(&["DEFINE"]) { self.list(Self::define)? } else { Vec::new() };
        Ok(MatchText { partition_by, order_by, measures, rows, skip, pattern, within, subsets, defines })
    }

    fn order(&mut self) -> Result<(NameText, bool)> {
        let name = self.path("a column")?;
        let is_descending = !self.words(&["ASC"]) && self.words(&["DESC"]);
        Ok((name, is_descending))
    }

    fn measure(&mut self) -> Result<Measured> {
        let expression = Part(self.expression()?);
        if !self.words(&["AS"]) {
            return Err(self.unexpected("AS and a name for the measure"));
        }
        Ok(Measured { expression, name: self.path("a name for the measure")? })
    }

    fn define(&mut self) -> Result<Defined> {
        let name = self.name("a variable of the pattern")?;
        if !self.words(&["AS"]) {
            return Err(self.unexpected("AS and a condition"));
        }
        Ok(Defined { name, condition: Part(self.expression()?) })
    }

    fn subset(&mut self) -> Result<(NameText, Vec<NameText>)> {
        let name = self.name("a name for several variables")?;
        self.expect(&Token::Eq, "`=`")?;
        self.expect(&Token::LParen, "`(` and variables")?;
        let of = self.list(|reader| reader.name("a variable of the pattern"))?;
        self.expect(&Token::RParen, "`)` behind the variables")?;
        Ok((name, of))
    }

    fn rows(&mut self) -> Result<RowsText> {
        if self.words(&["ONE", "ROW", "PER", "MATCH"]) {
            return Ok(RowsText::One);
        }
        if !self.words(&["ALL", "ROWS", "PER", "MATCH"]) {
            return Ok(RowsText::One);
        }
        Ok(if self.words(&["OMIT", "EMPTY", "MATCHES"]) {
            RowsText::AllOmitEmpty
        } else if self.words(&["WITH", "UNMATCHED", "ROWS"]) {
            RowsText::AllWithUnmatched
        } else {
            self.words(&["SHOW", "EMPTY", "MATCHES"]);
            RowsText::AllShowEmpty
        })
    }

    fn skip(&mut self) -> Result<SkipText> {
        if !self.words(&["AFTER", "MATCH", "SKIP"]) || self.words(&["PAST", "LAST", "ROW"]) {
            return Ok(SkipText::PastLast);
        }
        if self.words(&["TO", "NEXT", "ROW"]) {
            return Ok(SkipText::ToNext);
        }
        if self.words(&["TO", "FIRST"]) {
            return Ok(SkipText::ToFirst(self.name("a variable")?));
        }
        if self.words(&["TO", "LAST"]) || self.words(&["TO"]) {
            return Ok(SkipText::ToLast(self.name("a variable")?));
        }
        Err(self.unexpected("PAST LAST ROW, TO NEXT ROW, TO FIRST a or TO LAST a"))
    }

    /// `INTERVAL '10' MINUTE`, `INTERVAL '10 minutes'`.
    fn interval(&mut self) -> Result<Duration> {
        let place = self.peek().span;
        let refused = |error: String| ExpressionError::new(error, "write `WITHIN INTERVAL '10' MINUTE`").at(place);
        if !self.words(&["INTERVAL"]) {
            return Err(self.unexpected("INTERVAL"));
        }
        let text = match self.next().token {
            Token::SingleQuotedString(text) | Token::Number(text, _) => text,
            other => return Err(refused(format!("`{other}` is no number"))),
        };
        let (number, unit) = match text.trim().split_once(' ') {
            Some((number, unit)) => (number.to_owned(), unit.trim().to_owned()),
            None => {
                (text.trim().to_owned(), self.name("a unit").map_err(|_| refused("the interval has no unit".to_owned()))?.name)
            }
        };
        let lower = unit.to_lowercase();
        let seconds = match lower.strip_suffix('s').unwrap_or(&lower) {
            "microsecond" => 0.000_001,
            "millisecond" => 0.001,
            "second" => 1.0,
            "minute" => 60.0,
            "hour" => 3_600.0,
            "day" => 86_400.0,
            "week" => 604_800.0,
            _ => return Err(refused(format!("`{unit}` has no fixed length here"))),
        };
        let number: f64 = number.parse().map_err(|_| refused(format!("`{number}` is no number")))?;
        let micros = (number * seconds * 1e6).round();
        if !(1.0..1e18).contains(&micros) {
            return Err(refused(format!("a match cannot be within {text} {unit}")));
        }
        Ok(Duration::from_micros(micros as u64))
    }
}

/// `FINAL LAST(…)` as a call of one name: the parser knows no such words in front of a call.
fn with_final_names(tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    let is_space = |token: &TokenWithSpan| matches!(token.token, Token::Whitespace(_));
    let mut tokens: Vec<TokenWithSpan> = tokens.into_iter().filter(|token| !is_space(token)).collect();
    let mut at = 0;
    while at + 2 < tokens.len() {
        let merged = match (&tokens[at].token, &tokens[at + 1].token, &tokens[at + 2].token) {
            (Token::Word(mode), Token::Word(name), Token::LParen) if mode.quote_style.is_none() && name.quote_style.is_none() => {
                let is_mode = ["FINAL", "RUNNING"].iter().any(|known| mode.value.eq_ignore_ascii_case(known));
                is_mode.then(|| Word { value: format!("{} {}", mode.value, name.value), ..name.clone() })
            }
            _ => None,
        };
        if let Some(word) = merged {
            tokens[at].token = Token::Word(word);
            tokens.remove(at + 1);
        }
        at += 1;
    }
    tokens
}

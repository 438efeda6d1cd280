//! Row patterns as text, for tests.

use crate::recognize::{RowPattern, VariableId};

/// `A B+? (C | {-D-}) E{2,3} PERMUTE(A, B)`; variables are the letters from A on.
pub(crate) struct PatternText<'a> {
    rest: std::iter::Peekable<std::str::Chars<'a>>,
}

impl<'a> PatternText<'a> {
    pub(crate) fn parse(text: &'a str) -> RowPattern {
        let mut text = PatternText { rest: text.chars().peekable() };
        let pattern = text.choice();
        assert_eq!(text.next(), None, "the end of the pattern");
        pattern
    }

    fn peek(&mut self) -> Option<char> {
        while self.rest.next_if(|letter| letter.is_whitespace()).is_some() {}
        self.rest.peek().copied()
    }

    fn next(&mut self) -> Option<char> {
        self.peek();
        self.rest.next()
    }

    fn is(&mut self, wanted: char) -> bool {
        self.peek() == Some(wanted) && self.next().is_some()
    }

    fn choice(&mut self) -> RowPattern {
        let mut parts = vec![self.sequence()];
        while self.is('|') {
            parts.push(self.sequence());
        }
        if parts.len() == 1 { parts.remove(0) } else { RowPattern::Choice(parts) }
    }

    fn sequence(&mut self) -> RowPattern {
        let mut parts = Vec::new();
        while !matches!(self.peek(), None | Some('|' | ')' | ',' | '-')) {
            parts.push(self.repeated());
        }
        if parts.len() == 1 { parts.remove(0) } else { RowPattern::Sequence(parts) }
    }

    fn repeated(&mut self) -> RowPattern {
        let pattern = self.primary();
        let (min, max) = match self.peek() {
            Some('*') => (0, None),
            Some('+') => (1, None),
            Some('?') => (0, Some(1)),
            Some('{') if self.rest.clone().nth(1) != Some('-') => {
                self.next();
                let min = self.number().unwrap_or(0);
                let max = if self.is(',') { self.number() } else { Some(min) };
                (min, max)
            }
            _ => return pattern,
        };
        self.next();
        RowPattern::Repeat { pattern: Box::new(pattern), min, max, is_greedy: !self.is('?') }
    }

    fn number(&mut self) -> Option<u32> {
        let mut digits = String::new();
        while self.peek().is_some_and(|letter| letter.is_ascii_digit()) {
            digits.extend(self.next());
        }
        digits.parse().ok()
    }

    fn primary(&mut self) -> RowPattern {
        match self.next().expect("a variable") {
            '(' => {
                let inner = self.choice();
                assert!(self.is(')'));
                inner
            }
            '{' => {
                assert!(self.is('-'));
                let inner = self.choice();
                assert!(self.is('-') && self.is('}'));
                RowPattern::Exclude(Box::new(inner))
            }
            'P' => {
                assert!("ERMUTE(".chars().all(|letter| self.is(letter)));
                let mut parts = vec![self.choice()];
                while self.is(',') {
                    parts.push(self.choice());
                }
                assert!(self.is(')'));
                RowPattern::Permute(parts)
            }
            letter => RowPattern::Variable(VariableId(letter as u8 - b'A')),
        }
    }
}

//! A pattern as it crosses: JSON as a pipeline has it, with a number where a function is asked.

use std::fmt::Write as _;
use std::time::Duration;

use super::builder::{Body, Element};
use super::predicate::Predicate;
use super::{Detector, FitsRun, Part, Pattern};
use crate::json::quote;

/// What the host is told, and the functions behind its numbers.
pub struct Definition<D: Detector> {
    /// The JSON.
    pub text: String,
    pub(super) predicates: Vec<Predicate<D>>,
    pub(super) conditions: Vec<FitsRun<D>>,
}

impl<D: Detector> Definition<D> {
    /// Of a pattern.
    pub(super) fn of(pattern: &Pattern<D>) -> Self {
        let mut made = Self { text: String::new(), predicates: Vec::new(), conditions: Vec::new() };
        let mut members = vec![format!("\"stages\":{}", made.row(&pattern.elements))];
        members.extend(pattern.within.map(|within| format!("\"within\":{}", length(within))));
        members.extend(pattern.within_last.map(|within| format!("\"within_last\":{}", length(within))));
        members.extend(pattern.skip.as_ref().map(|skip| format!("\"skip\":{skip}")));
        members.extend(pattern.timeouts.then(|| "\"timeouts\":true".to_owned()));
        if !pattern.select.is_empty() {
            let columns: Vec<String> =
                pattern.select.iter().map(|(name, expression)| format!("{}:{}", quote(name), quote(expression))).collect();
            members.push(format!("\"select\":{{{}}}", columns.join(",")));
        }
        made.text = format!("{{{}}}", members.join(","));
        made
    }

    /// How many functions see a row alone.
    pub fn predicates(&self) -> usize {
        self.predicates.len()
    }

    /// How many look at a run.
    pub fn conditions(&self) -> usize {
        self.conditions.len()
    }

    fn row(&mut self, elements: &[Element<D>]) -> String {
        let elements: Vec<String> = elements.iter().map(|element| self.element(element, element.word)).collect();
        format!("[{}]", elements.join(","))
    }

    fn element(&mut self, element: &Element<D>, word: &str) -> String {
        let mut text = format!("{{\"{word}\":");
        match &element.body {
            Body::Stage { name, fits, so_far, until } => {
                let predicate = self.predicate(fits);
                let condition = so_far.map_or_else(String::new, |so_far| format!(" and condition({})", self.condition(so_far)));
                write!(text, "{},\"where\":\"predicate({predicate}){condition}\"", quote(name))
                    .expect("a String takes everything");
                if let Some(until) = until {
                    write!(text, ",\"until\":\"predicate({})\"", self.predicate(until)).expect("a String takes everything");
                }
            }
            Body::Part(part) => text.push_str(&self.part(part)),
        }
        let mut more = Vec::new();
        more.extend(element.times.map(|times| match times {
            (least, Some(most)) if least == most => format!("\"times\":{least}"),
            (least, Some(most)) => format!("\"times\":\"{least}..{most}\""),
            (least, None) => format!("\"times\":\"{least}..\""),
        }));
        more.extend(element.flags.iter().map(|flag| format!("\"{flag}\":true")));
        more.extend(element.inner.map(|inner| format!("\"inner\":\"{inner}\"")));
        more.extend(element.gap.map(|gap| format!("\"gap\":{}", length(gap))));
        more.into_iter().for_each(|member| text.push_str(&format!(",{member}")));
        text.push('}');
        text
    }

    fn part(&mut self, part: &Part<D>) -> String {
        match part {
            Part::Group(pattern) => self.row(&pattern.elements),
            Part::OneOf(patterns) => {
                let rows: Vec<String> = patterns.iter().map(|pattern| self.row(&pattern.elements)).collect();
                format!("{{\"one_of\":[{}]}}", rows.join(","))
            }
            Part::AnyOrder(patterns) => {
                let one = |pattern: &Pattern<D>| match pattern.elements.as_slice() {
                    // Whichever comes first, it follows what stands before the whole.
                    [only] => self.element(only, "followed_by"),
                    row => format!("{{\"followed_by\":{}}}", self.row(row)),
                };
                let patterns: Vec<String> = patterns.iter().map(one).collect();
                format!("{{\"any_order\":[{}]}}", patterns.join(","))
            }
        }
    }

    /// The number of a function; stages that ask the same share it.
    fn predicate(&mut self, fits: &Predicate<D>) -> usize {
        let known = self.predicates.iter().position(|known| known.is(fits));
        known.unwrap_or_else(|| {
            self.predicates.push(fits.clone());
            self.predicates.len() - 1
        })
    }

    fn condition(&mut self, fits: FitsRun<D>) -> usize {
        let known = self.conditions.iter().position(|known| std::ptr::fn_addr_eq(*known, fits));
        known.unwrap_or_else(|| {
            self.conditions.push(fits);
            self.conditions.len() - 1
        })
    }
}

/// As pipelines write it. They know nothing shorter than a millisecond: what is, they refuse.
fn length(length: Duration) -> String {
    match length.subsec_nanos() % 1_000_000 {
        0 => format!("\"{}ms\"", length.as_millis()),
        _ => format!("\"{}ns\"", length.as_nanos()),
    }
}

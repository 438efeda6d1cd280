//! A pattern in one line, as its author thinks of it: for the plan, and to tell state of one pattern from that of another.

use tidemill_flow::pattern::{Contiguity, Greed, Inner, PatternOrder, Quantifier};

use crate::pipeline::{PatternDefinition, SkipTo, StageBody, StageElement};
use crate::plan::describe::length;

/// `begin small {2..} greedy where amount < 10, followed_by large where amount > 500, within 10m, skip past_last`.
pub(super) fn described(pattern: &PatternDefinition) -> String {
    let mut parts = vec![row(&pattern.stages, true)];
    parts.extend(pattern.within.map(|within| format!("within {}", length(Some(within)))));
    parts.extend(pattern.within_last.map(|within| format!("within_last {}", length(Some(within)))));
    if pattern.skip != SkipTo::Nothing {
        parts.push(format!("skip {}", described_skip(&pattern.skip)));
    }
    if pattern.order == PatternOrder::Arrival {
        parts.push("in order of arrival".to_owned());
    }
    parts.join(", ")
}

/// What a match discards.
pub(super) fn described_skip(skip: &SkipTo) -> String {
    match skip {
        SkipTo::Nothing => "none".to_owned(),
        SkipTo::Next => "next".to_owned(),
        SkipTo::PastLast => "past_last".to_owned(),
        SkipTo::Stage { stage, is_first, must_exist } => {
            let (end, must) = (if *is_first { "first" } else { "last" }, if *must_exist { ", which must exist" } else { "" });
            format!("to {end} {}{must}", stage.text)
        }
    }
}

fn row(elements: &[StageElement], begins: bool) -> String {
    let elements = elements.iter().enumerate();
    elements.map(|(at, element)| described_element(element, begins && at == 0)).collect::<Vec<_>>().join(", ")
}

fn described_element(element: &StageElement, is_first: bool) -> String {
    let word = match element.contiguity {
        Contiguity::Next | Contiguity::FollowedBy | Contiguity::FollowedByAny if is_first => "begin",
        Contiguity::Next => "next",
        Contiguity::FollowedBy => "followed_by",
        Contiguity::FollowedByAny => "followed_by_any",
        Contiguity::NotNext => "not_next",
        Contiguity::NotFollowedBy => "not_followed_by",
    };
    let times = quantified(&element.quantifier);
    match &element.body {
        StageBody::Stage { name, condition, until } => {
            let of = |word: &str, text: &Option<crate::pipeline::Text>| {
                text.as_ref().map_or_else(String::new, |text| format!(" {word} {}", text.text))
            };
            format!("{word} {}{times}{}{}", name.text, of("where", condition), of("until", until))
        }
        StageBody::Group(elements) => format!("{word} [{}]{times}", row(elements, true)),
        StageBody::AnyOrder(elements) => format!("{word} any_order [{}]{times}", row(elements, false)),
        StageBody::OneOf(rows) => {
            let rows: Vec<String> = rows.iter().map(|elements| format!("[{}]", row(elements, true))).collect();
            format!("{word} one_of {}{times}", rows.join(" | "))
        }
    }
}

fn quantified(quantifier: &Quantifier) -> String {
    let Quantifier { min, max, inner, is_optional, greed, gap } = *quantifier;
    let mut words = String::new();
    words.push_str(&match (min, max) {
        (1, Some(1)) => String::new(),
        (min, Some(max)) if min == max => format!(" {{{min}}}"),
        (min, Some(max)) => format!(" {{{min}..{max}}}"),
        (min, None) => format!(" {{{min}..}}"),
    });
    words.push_str(if is_optional { " optional" } else { "" });
    words.push_str(match inner {
        Inner::Relaxed => "",
        Inner::Consecutive => " consecutive",
        Inner::Combinations => " combinations",
    });
    words.push_str(match greed {
        Greed::All => "",
        Greed::Greedy => " greedy",
        Greed::Reluctant => " reluctant",
    });
    if gap.is_some() {
        words.push_str(&format!(" gap {}", length(gap)));
    }
    words
}

//! Patterns that mean nothing, or that nobody would want: refused before they are compiled, each with its reason.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::pattern::shape::{Body, Contiguity, Element, Greed, Inner, Pattern, Quantifier, Skip, Stage};

/// Conditions of one pattern.
pub const PREDICATES_MAX: usize = 64;
/// States of its automaton: a loop of n rounds has n of them, and more in a group.
pub const STATES_MAX: usize = 65_536;
/// Elements that may come in any order: all their orders are followed.
pub const ANY_ORDER_MAX: usize = 8;

/// Why a pattern is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatternRefused {
    /// No element, in the pattern or in a group, a choice, a row of one.
    #[error("a pattern, a group and each alternative have at least one stage")]
    Empty,
    /// Two stages of one name.
    #[error("two stages are called `{0}`; every stage has a name of its own, in groups too")]
    NameTwice(Arc<str>),
    /// A negation with a quantifier.
    #[error("`{0}` is a negation and takes no quantifier")]
    NegationQuantified(Arc<str>),
    /// A group, a choice or any order under a negation.
    #[error("only a single stage can be negated")]
    NegatedGroup,
    /// A negation behind something optional.
    #[error("the negation `{0}` may not follow an optional stage")]
    NegationAfterOptional(Arc<str>),
    /// A negation that comes first, in the pattern, a group or an alternative.
    #[error("the negation `{0}` comes first: there is nothing it could follow")]
    NegationFirst(Arc<str>),
    /// A negation among elements in any order.
    #[error("the negation `{0}` cannot stand among stages in any order")]
    NegationInAnyOrder(Arc<str>),
    /// A negation at the end that would wait for ever.
    #[error("`{0}` at the end of a pattern needs `within`: else nobody knows when it held")]
    NegationWithoutWindow(Arc<str>),
    /// `until` where there is no loop without end.
    #[error("`until` of `{0}` needs a loop without an upper bound")]
    UntilWithoutLoop(Arc<str>),
    /// Greedy or reluctant on what is no loop.
    #[error("`{0}` is there once: greedy and reluctant are for loops")]
    GreedWithoutLoop(Arc<str>),
    /// Greedy or reluctant on a group.
    #[error("a group cannot be greedy or reluctant")]
    GreedyGroup,
    /// Greedy with combinations.
    #[error("`{0}` cannot be greedy and allow combinations")]
    GreedyCombinations(Arc<str>),
    /// An optional stage right behind a greedy one.
    #[error("the optional stage `{0}` may not follow a greedy one")]
    OptionalAfterGreedy(Arc<str>),
    /// Fewer at most than at least, or none at most.
    #[error("`{0}` is there at least {1} times and at most {2} times")]
    TimesReversed(Arc<str>, u32, u32),
    /// No stage to skip to.
    #[error("there is no stage `{0}` to skip to")]
    SkipTargetUnknown(Arc<str>),
    /// A negation to skip to.
    #[error("`{0}` is a negation and has no event to skip to")]
    SkipTargetNegated(Arc<str>),
    /// A window for the last stage that the whole match cannot fill.
    #[error("`within` for the last stage is larger than that for the whole match")]
    WindowsReversed,
    /// A window or a gap of nothing, or beyond what time can hold.
    #[error("a window of a pattern is at least a microsecond and at most 290,000 years")]
    WindowOutOfRange,
    /// More conditions than bits.
    #[error("a pattern has at most {PREDICATES_MAX} conditions")]
    TooManyPredicates,
    /// More states than wanted.
    #[error("the pattern is too large: it has more than {STATES_MAX} states (loops in groups multiply)")]
    TooLarge,
    /// Too many orders.
    #[error("at most {ANY_ORDER_MAX} elements can come in any order")]
    TooManyOrders,
}

/// Checks everything but the size.
pub(crate) fn check(pattern: &Pattern) -> Result<(), PatternRefused> {
    let mut names = BTreeSet::new();
    row(&pattern.elements, &mut names)?;
    let last = pattern.elements.last().ok_or(PatternRefused::Empty)?;
    let has_window = pattern.within.is_some() || pattern.within_last.is_some();
    if let (Contiguity::NotFollowedBy, Body::Stage(stage), false) = (last.contiguity, &last.body, has_window) {
        return Err(PatternRefused::NegationWithoutWindow(stage.name.clone()));
    }
    if let (Some(whole), Some(of_last)) = (pattern.within, pattern.within_last)
        && of_last > whole
    {
        return Err(PatternRefused::WindowsReversed);
    }
    for window in pattern.within.iter().chain(&pattern.within_last) {
        in_range(*window)?;
    }
    if let Skip::ToFirst(target) | Skip::ToLast(target) = &pattern.skip {
        match stage_named(&pattern.elements, &target.stage) {
            None => return Err(PatternRefused::SkipTargetUnknown(target.stage.clone())),
            Some(contiguity) if contiguity.is_negation() => {
                return Err(PatternRefused::SkipTargetNegated(target.stage.clone()));
            }
            Some(_) => {}
        }
    }
    Ok(())
}

fn in_range(window: std::time::Duration) -> Result<(), PatternRefused> {
    match i64::try_from(window.as_micros()) {
        Ok(1..) => Ok(()),
        _ => Err(PatternRefused::WindowOutOfRange),
    }
}

/// Elements in a row: the pattern, a group, an alternative.
fn row(elements: &[Element], names: &mut BTreeSet<Arc<str>>) -> Result<(), PatternRefused> {
    if elements.is_empty() {
        return Err(PatternRefused::Empty);
    }
    for (at, element) in elements.iter().enumerate() {
        let before = at.checked_sub(1).map(|before| &elements[before]);
        match &element.body {
            Body::Stage(stage) => {
                if !names.insert(stage.name.clone()) {
                    return Err(PatternRefused::NameTwice(stage.name.clone()));
                }
                stage_stands(stage, element, before)?;
            }
            Body::Group(group) => {
                whole(element)?;
                row(group, names)?;
            }
            Body::OneOf(alternatives) => {
                whole(element)?;
                if alternatives.is_empty() {
                    return Err(PatternRefused::Empty);
                }
                alternatives.iter().try_for_each(|alternative| row(alternative, names))?;
            }
            Body::AnyOrder(elements) => {
                whole(element)?;
                if elements.len() > ANY_ORDER_MAX {
                    return Err(PatternRefused::TooManyOrders);
                }
                if elements.is_empty() {
                    return Err(PatternRefused::Empty);
                }
                for alone in elements {
                    if let (true, Body::Stage(stage)) = (alone.contiguity.is_negation(), &alone.body) {
                        return Err(PatternRefused::NegationInAnyOrder(stage.name.clone()));
                    }
                    row(std::slice::from_ref(alone), names)?;
                }
            }
        }
        if let (true, Some(before)) = (element.quantifier.may_be_left_out(), before)
            && before.quantifier.greed != Greed::All
        {
            return Err(PatternRefused::OptionalAfterGreedy(name_of(element)));
        }
    }
    Ok(())
}

fn stage_stands(stage: &Stage, element: &Element, before: Option<&Element>) -> Result<(), PatternRefused> {
    let Quantifier { min, max, inner, greed, gap, .. } = element.quantifier;
    let name = || stage.name.clone();
    if element.contiguity.is_negation() {
        if element.quantifier != Quantifier::ONCE || stage.until.is_some() {
            return Err(PatternRefused::NegationQuantified(name()));
        }
        return match before {
            None => Err(PatternRefused::NegationFirst(name())),
            Some(before) if before.quantifier.may_be_left_out() => Err(PatternRefused::NegationAfterOptional(name())),
            Some(_) => Ok(()),
        };
    }
    if let Some(max) = max.filter(|max| *max < min || *max == 0) {
        return Err(PatternRefused::TimesReversed(name(), min, max));
    }
    if stage.until.is_some() && max.is_some() {
        return Err(PatternRefused::UntilWithoutLoop(name()));
    }
    if greed != Greed::All {
        if element.quantifier.is_single() {
            return Err(PatternRefused::GreedWithoutLoop(name()));
        }
        if inner == Inner::Combinations {
            return Err(PatternRefused::GreedyCombinations(name()));
        }
    }
    gap.map_or(Ok(()), in_range)
}

/// What holds for a group, a choice, elements in any order.
fn whole(element: &Element) -> Result<(), PatternRefused> {
    let Quantifier { min, max, greed, gap, .. } = element.quantifier;
    if element.contiguity.is_negation() {
        return Err(PatternRefused::NegatedGroup);
    }
    if greed != Greed::All {
        return Err(PatternRefused::GreedyGroup);
    }
    if let Some(max) = max.filter(|max| *max < min || *max == 0) {
        return Err(PatternRefused::TimesReversed(name_of(element), min, max));
    }
    gap.map_or(Ok(()), in_range)
}

/// The first name in it: how a person finds the place.
fn name_of(element: &Element) -> Arc<str> {
    let first = match &element.body {
        Body::Stage(stage) => return stage.name.clone(),
        Body::Group(elements) | Body::AnyOrder(elements) => elements.first(),
        Body::OneOf(alternatives) => alternatives.first().and_then(|alternative| alternative.first()),
    };
    first.map_or_else(|| "".into(), name_of)
}

/// The contiguity of the stage of that name.
fn stage_named(elements: &[Element], name: &str) -> Option<Contiguity> {
    elements.iter().find_map(|element| match &element.body {
        Body::Stage(stage) => (*stage.name == *name).then_some(element.contiguity),
        Body::Group(elements) | Body::AnyOrder(elements) => stage_named(elements, name),
        Body::OneOf(alternatives) => alternatives.iter().find_map(|alternative| stage_named(alternative, name)),
    })
}

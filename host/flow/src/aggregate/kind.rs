//! Which aggregates there are, what they take, and what comes out.

use std::fmt;

use tidemill_event::FieldType;

use crate::aggregate::accumulators::Accumulators;
use crate::aggregate::approximate::{ApproximateDistinct, ApproximateQuantile, TopK};
use crate::aggregate::average::MORE_DIGITS;
use crate::aggregate::count::Counts;
use crate::aggregate::counters::{Counted, Counters, Growth};
use crate::aggregate::deviation::{Deviations, Spread};
use crate::aggregate::distinct::Distinct;
use crate::aggregate::edge::{Edge, Edges};
use crate::aggregate::extreme::{End, Number, NumberExtremes, TextExtremes};
use crate::aggregate::list::{Lists, VALUES_MAX};
use crate::aggregate::rank::{Ranked, Ranks};
use crate::aggregate::sum::{DoubleSums, Said, Whole, WholeSums};
use crate::aggregate::truth::{Truth, Truths};

/// A native aggregate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Aggregate {
    /// `count(*)`, or of an argument the rows where it is not null.
    Count,
    /// `count(distinct x)`, exact.
    CountDistinct,
    /// `sum(x)`.
    Sum,
    /// `avg(x)`.
    Average,
    /// `min(x)`.
    Min,
    /// `max(x)`.
    Max,
    /// `first(x)` by event time, then arrival.
    First,
    /// `last(x)` by event time, then arrival.
    Last,
    /// `stddev_pop(x)`.
    StddevPop,
    /// `stddev_samp(x)`, also called `stddev`.
    StddevSamp,
    /// `var_pop(x)`.
    VarPop,
    /// `var_samp(x)`.
    VarSamp,
    /// `bool_and(c)`, also called `every`.
    BoolAnd,
    /// `bool_or(c)`.
    BoolOr,
    /// `ratio(c)`: the share of rows in which a condition is true, of those in which it is not null.
    Ratio,
    /// `increase(x)` of a counter, from the first row to the last; a value below the one before is a counter that began again.
    Increase,
    /// `rate(x)` of a counter: its increase by the second, of the time from the first row to the last.
    Rate,
    /// `median(x)`, exact: between the two middle ones if they are two.
    Median,
    /// `quantile_cont(x, q)`, exact, between two numbers where q lies between them. The quantile in parts per million.
    QuantileCont(u32),
    /// `quantile_disc(x, q)`, exact: the ⌈q n⌉-th smallest. The quantile in parts per million.
    QuantileDisc(u32),
    /// `array_agg(x)`: a JSON array by (event time, arrival); an error beyond 1,000 values.
    ArrayAgg,
    /// `array_agg(x, n)`: its first n, at most 1,000.
    ArrayAggFirst(u16),
    /// `approx_distinct(x)`: HyperLogLog, standard error 0.81 %.
    ApproximateDistinct,
    /// `approx_quantile(x, q)`: DDSketch, within 1 % of the value. The quantile in parts per million.
    ApproximateQuantile(u32),
    /// `top_k(x, k)`: the k most frequent texts as JSON; of n rows a count is at most n / 10k too great.
    TopK(u16),
}

/// An aggregate that does not go with its argument.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{aggregate} {needs}")]
pub struct AggregateRefused {
    /// Which.
    pub aggregate: Aggregate,
    /// What it needs, in words.
    pub needs: &'static str,
}

const ALL: [(Aggregate, &str); 20] = [
    (Aggregate::ApproximateDistinct, "approx_distinct"),
    (Aggregate::Count, "count"),
    (Aggregate::CountDistinct, "count_distinct"),
    (Aggregate::Sum, "sum"),
    (Aggregate::Average, "avg"),
    (Aggregate::Min, "min"),
    (Aggregate::Max, "max"),
    (Aggregate::First, "first"),
    (Aggregate::Last, "last"),
    (Aggregate::StddevPop, "stddev_pop"),
    (Aggregate::StddevSamp, "stddev_samp"),
    (Aggregate::VarPop, "var_pop"),
    (Aggregate::VarSamp, "var_samp"),
    (Aggregate::BoolAnd, "bool_and"),
    (Aggregate::BoolOr, "bool_or"),
    (Aggregate::Ratio, "ratio"),
    (Aggregate::Increase, "increase"),
    (Aggregate::Rate, "rate"),
    (Aggregate::Median, "median"),
    (Aggregate::ArrayAgg, "array_agg"),
];

/// Those that take a number beside their argument; `array_agg` may.
const NUMBERED: [&str; 6] = ["approx_quantile", "quantile_cont", "percentile_cont", "quantile_disc", "percentile_disc", "top_k"];

/// Second names, as other systems have them.
const ALIASES: [(&str, Aggregate); 6] = [
    ("stddev", Aggregate::StddevSamp),
    ("variance", Aggregate::VarSamp),
    ("every", Aggregate::BoolAnd),
    // Any value will do, so it is one that does not hang on how rows were cut.
    ("any_value", Aggregate::First),
    ("approx_median", Aggregate::ApproximateQuantile(500_000)),
    ("mean", Aggregate::Average),
];

impl Aggregate {
    /// By the name that expressions have for it; those that take a number beside their argument are the plan's to make.
    pub fn named(name: &str) -> Option<Self> {
        let alias = ALIASES.iter().find(|(known, _)| *known == name).map(|(_, aggregate)| *aggregate);
        alias.or_else(|| ALL.iter().find(|(_, known)| *known == name).map(|(aggregate, _)| *aggregate))
    }

    /// Every name that [`Self::named`] or [`Self::with_number`] knows.
    pub fn names() -> impl Iterator<Item = &'static str> {
        let named = ALL.iter().map(|(_, name)| *name).chain(ALIASES.iter().map(|(name, _)| *name));
        named.chain(NUMBERED)
    }

    /// Whether a number may stand beside the argument of the aggregate of that name.
    pub fn takes_number(name: &str) -> bool {
        NUMBERED.contains(&name) || name == "array_agg"
    }

    /// Whether it must.
    pub fn needs_number(name: &str) -> bool {
        NUMBERED.contains(&name)
    }

    /// By the name of one that takes a number beside its argument, and that number. `Err`: what the number must be.
    pub fn with_number(name: &str, number: f64) -> Option<Result<Self, &'static str>> {
        let whole = |most: u16| (number.fract() == 0.0 && (1.0..=f64::from(most)).contains(&number)).then_some(number as u16);
        let millionths = || (0.0..=1.0).contains(&number).then(|| (number * 1e6).round() as u32);
        let quantile = |make: fn(u32) -> Self| millionths().map(make).ok_or("a quantile is a number from 0 to 1");
        Some(match name {
            "approx_quantile" => quantile(Self::ApproximateQuantile),
            "quantile_cont" | "percentile_cont" => quantile(Self::QuantileCont),
            "quantile_disc" | "percentile_disc" => quantile(Self::QuantileDisc),
            "top_k" => whole(u16::MAX).map(Self::TopK).ok_or("the number of values is an integer from 1 on"),
            "array_agg" => {
                let first = whole(VALUES_MAX as u16).map(Self::ArrayAggFirst);
                first.ok_or("the number of values is an integer from 1 to 1000")
            }
            _ => return None,
        })
    }

    /// The type of what comes out, and whether it may be null.
    pub fn output(self, argument: Option<FieldType>) -> Result<(FieldType, bool), AggregateRefused> {
        self.make(argument).map(|(_, ty, nullable)| (ty, nullable))
    }

    /// Its accumulators over an argument of this type.
    pub fn accumulators(self, argument: Option<FieldType>) -> Result<Box<dyn Accumulators>, AggregateRefused> {
        self.make(argument).map(|(accumulators, ..)| accumulators)
    }

    fn make(self, argument: Option<FieldType>) -> Result<(Box<dyn Accumulators>, FieldType, bool), AggregateRefused> {
        let refused = |needs| Err(AggregateRefused { aggregate: self, needs });
        if self == Self::Count {
            return Ok((Box::new(Counts::default()), FieldType::Int64, false));
        }
        let Some(of) = argument else { return refused("needs an argument") };
        Ok(match self {
            Self::Count => (Box::new(Counts::default()), FieldType::Int64, false),
            Self::CountDistinct => (Box::new(Distinct::new(of)), FieldType::Int64, false),
            Self::First => (Box::new(Edges::new(Edge::First, of)), of, true),
            Self::Last => (Box::new(Edges::new(Edge::Last, of)), of, true),
            Self::Sum => match of {
                FieldType::Int64 => (Box::new(WholeSums::new(Whole::Int64, Said::Sum)), of, true),
                FieldType::Float64 => (Box::new(DoubleSums::new(Said::Sum)), of, true),
                FieldType::Decimal { scale, .. } => {
                    let sums = WholeSums::new(Whole::Decimal(scale as i8), Said::Sum);
                    (Box::new(sums), FieldType::Decimal { precision: 38, scale }, true)
                }
                FieldType::Bool | FieldType::String | FieldType::Bytes | FieldType::Timestamp(_) | FieldType::Json => {
                    return refused("needs numbers");
                }
            },
            Self::Average => match of {
                FieldType::Int64 => {
                    (Box::new(WholeSums::new(Whole::Int64, Said::Average { precision: 0 })), FieldType::Float64, true)
                }
                FieldType::Float64 => (Box::new(DoubleSums::new(Said::Average { precision: 0 })), FieldType::Float64, true),
                FieldType::Decimal { precision, scale } => {
                    let (precision, more) = ((precision + MORE_DIGITS).min(38), MORE_DIGITS.min(38 - scale));
                    let averages = WholeSums::new(Whole::Decimal(scale as i8), Said::Average { precision });
                    (Box::new(averages), FieldType::Decimal { precision, scale: scale + more }, true)
                }
                FieldType::Bool | FieldType::String | FieldType::Bytes | FieldType::Timestamp(_) | FieldType::Json => {
                    return refused("needs numbers");
                }
            },
            Self::Min | Self::Max => {
                let end = if self == Self::Min { End::Least } else { End::Greatest };
                let accumulators: Box<dyn Accumulators> = match of {
                    FieldType::Int64 => Box::new(NumberExtremes::<i64>::new(end, Number::Int64)),
                    FieldType::Timestamp(_) => Box::new(NumberExtremes::<i64>::new(end, Number::Timestamp)),
                    FieldType::Float64 => Box::new(NumberExtremes::<i64>::new(end, Number::Float64)),
                    FieldType::Decimal { precision, scale } => {
                        Box::new(NumberExtremes::<i128>::new(end, Number::Decimal(precision, scale as i8)))
                    }
                    FieldType::String => Box::new(TextExtremes::new(end, true)),
                    FieldType::Bytes => Box::new(TextExtremes::new(end, false)),
                    FieldType::Bool | FieldType::Json => return refused("needs values that have an order"),
                };
                (accumulators, of, true)
            }
            Self::BoolAnd | Self::BoolOr | Self::Ratio => {
                if of != FieldType::Bool {
                    return refused("needs a condition");
                }
                match self {
                    Self::BoolAnd => (Box::new(Truths::new(Truth::All)), FieldType::Bool, true),
                    Self::BoolOr => (Box::new(Truths::new(Truth::Any)), FieldType::Bool, true),
                    _ => (Box::new(Truths::new(Truth::Ratio)), FieldType::Float64, true),
                }
            }
            Self::Median | Self::QuantileCont(_) => {
                let millionths = if let Self::QuantileCont(millionths) = self { millionths } else { 500_000 };
                let ranked = match of {
                    FieldType::Int64 => Ranked::Int64,
                    FieldType::Float64 => Ranked::Float64,
                    _ => return refused("needs int64 or float64"),
                };
                (Box::new(Ranks::new(ranked, f64::from(millionths) / 1e6, true)), FieldType::Float64, true)
            }
            Self::QuantileDisc(millionths) => {
                let ranked = match of {
                    FieldType::Int64 => Ranked::Int64,
                    FieldType::Float64 => Ranked::Float64,
                    FieldType::Timestamp(_) => Ranked::Timestamp,
                    _ => return refused("needs int64, float64 or a timestamp"),
                };
                (Box::new(Ranks::new(ranked, f64::from(millionths) / 1e6, false)), of, true)
            }
            Self::Increase | Self::Rate => {
                let counted = match of {
                    FieldType::Int64 => Counted::Int64,
                    FieldType::Float64 => Counted::Float64,
                    _ => return refused("needs int64 or float64"),
                };
                match self {
                    Self::Increase => (Box::new(Counters::new(Growth::Increase, counted)), of, true),
                    _ => (Box::new(Counters::new(Growth::Rate, counted)), FieldType::Float64, true),
                }
            }
            Self::ArrayAgg => (Box::new(Lists::new(of, None)), FieldType::Json, true),
            Self::ArrayAggFirst(most) => (Box::new(Lists::new(of, Some(usize::from(most)))), FieldType::Json, true),
            Self::ApproximateDistinct => (Box::new(ApproximateDistinct::default()), FieldType::Int64, false),
            Self::ApproximateQuantile(millionths) => match of {
                FieldType::Int64 | FieldType::Float64 if millionths <= 1_000_000 => {
                    (Box::new(ApproximateQuantile::new(f64::from(millionths) / 1e6)), FieldType::Float64, true)
                }
                _ => return refused("needs int64 or float64, and a quantile from 0 to 1"),
            },
            Self::TopK(k) => match of {
                FieldType::String if k > 0 => (Box::new(TopK::new(usize::from(k))), FieldType::Json, false),
                _ => return refused("needs a string, and a number of values from 1 on"),
            },
            Self::StddevPop | Self::StddevSamp | Self::VarPop | Self::VarSamp => {
                if !matches!(of, FieldType::Int64 | FieldType::Float64) {
                    return refused("needs int64 or float64");
                }
                let spread = match self {
                    Self::StddevPop => Spread::StddevPop,
                    Self::StddevSamp => Spread::StddevSamp,
                    Self::VarPop => Spread::VarPop,
                    _ => Spread::VarSamp,
                };
                (Box::new(Deviations::new(spread)), FieldType::Float64, true)
            }
        })
    }
}

impl fmt::Display for Aggregate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self {
            Self::ApproximateQuantile(_) => "approx_quantile",
            Self::TopK(_) => "top_k",
            Self::QuantileCont(_) => "quantile_cont",
            Self::QuantileDisc(_) => "quantile_disc",
            Self::ArrayAggFirst(_) => "array_agg",
            _ => ALL.iter().find(|(aggregate, _)| aggregate == self).map_or("", |(_, name)| name),
        };
        f.write_str(name)
    }
}

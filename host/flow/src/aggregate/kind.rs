//! Which aggregates there are, what they take, and what comes out.

use std::fmt;

use tidemill_event::FieldType;

use crate::aggregate::accumulators::Accumulators;
use crate::aggregate::approximate::{ApproximateDistinct, ApproximateQuantile, TopK};
use crate::aggregate::average::{AverageOfDoubles, AverageOfWhole, MORE_DIGITS};
use crate::aggregate::count::Counts;
use crate::aggregate::deviation::{Deviations, Spread};
use crate::aggregate::distinct::Distinct;
use crate::aggregate::edge::{Edge, Edges};
use crate::aggregate::extreme::{End, Number, NumberExtremes, TextExtremes};
use crate::aggregate::sum::{SumOfDoubles, SumOfWhole, Whole, WholeSums};

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

const ALL: [(Aggregate, &str); 13] = [
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
];

impl Aggregate {
    /// By the name that expressions have for it; those that take a number beside their argument are the plan's to make.
    pub fn named(name: &str) -> Option<Self> {
        if name == "stddev" {
            return Some(Self::StddevSamp);
        }
        ALL.iter().find(|(_, known)| *known == name).map(|(aggregate, _)| *aggregate)
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
                FieldType::Int64 => (Box::new(SumOfWhole(WholeSums::new(Whole::Int64))), of, true),
                FieldType::Float64 => (Box::new(SumOfDoubles::default()), of, true),
                FieldType::Decimal { scale, .. } => {
                    let sums = SumOfWhole(WholeSums::new(Whole::Decimal(scale as i8)));
                    (Box::new(sums), FieldType::Decimal { precision: 38, scale }, true)
                }
                FieldType::Bool | FieldType::String | FieldType::Bytes | FieldType::Timestamp(_) | FieldType::Json => {
                    return refused("needs numbers");
                }
            },
            Self::Average => match of {
                FieldType::Int64 => (Box::new(AverageOfWhole::new(Whole::Int64, 0)), FieldType::Float64, true),
                FieldType::Float64 => (Box::new(AverageOfDoubles::default()), FieldType::Float64, true),
                FieldType::Decimal { precision, scale } => {
                    let (precision, more) = ((precision + MORE_DIGITS).min(38), MORE_DIGITS.min(38 - scale));
                    let averages = AverageOfWhole::new(Whole::Decimal(scale as i8), precision);
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
            _ => ALL.iter().find(|(aggregate, _)| aggregate == self).map_or("", |(_, name)| name),
        };
        f.write_str(name)
    }
}

//! The forms an expression may have, and what is inside each.
//!
//! (Written out, not made from the parser's visitors: those are generic over all of SQL, and compiling them takes longer than the rest
//! of this crate.)

use datafusion_sql::sqlparser::ast::{Expr, FunctionArg, FunctionArgExpr, FunctionArguments, UnaryOperator};

/// How deep a tree may be; a deeper one is refused. `a and b and c …` is as deep as it is long.
pub(crate) const DEPTH_MAX: usize = 400;

/// The expressions right inside one, in the order of the text; arguments that are no expressions (`*`) are left out. `None`: SQL that
/// expressions do not have.
pub(crate) fn children(tree: &mut Expr) -> Option<Vec<&mut Expr>> {
    Some(match tree {
        Expr::Identifier(_) | Expr::CompoundIdentifier(_) | Expr::Value(_) | Expr::TypedString(_) => Vec::new(),
        Expr::IsFalse(inner)
        | Expr::IsNotFalse(inner)
        | Expr::IsTrue(inner)
        | Expr::IsNotTrue(inner)
        | Expr::IsNull(inner)
        | Expr::IsNotNull(inner)
        | Expr::IsUnknown(inner)
        | Expr::IsNotUnknown(inner)
        | Expr::Nested(inner)
        | Expr::UnaryOp { op: UnaryOperator::Plus | UnaryOperator::Minus | UnaryOperator::Not, expr: inner }
        | Expr::Cast { expr: inner, .. }
        | Expr::Extract { expr: inner, .. }
        | Expr::Ceil { expr: inner, .. }
        | Expr::Floor { expr: inner, .. } => vec![inner],
        Expr::BinaryOp { left, right, .. } | Expr::IsDistinctFrom(left, right) | Expr::IsNotDistinctFrom(left, right) => {
            vec![left, right]
        }
        Expr::InList { expr, list, .. } => std::iter::once(expr.as_mut()).chain(list).collect(),
        Expr::Between { expr, low, high, .. } => vec![expr, low, high],
        Expr::Like { any: false, expr, pattern, .. }
        | Expr::ILike { any: false, expr, pattern, .. }
        | Expr::SimilarTo { expr, pattern, .. } => vec![expr, pattern],
        Expr::AtTimeZone { timestamp, time_zone } => vec![timestamp, time_zone],
        Expr::Position { expr, r#in } => vec![expr, r#in],
        Expr::Substring { expr, substring_from, substring_for, .. } => {
            std::iter::once(expr).chain(substring_from).chain(substring_for).map(AsMut::as_mut).collect()
        }
        Expr::Trim { expr, trim_what, trim_characters, .. } => {
            std::iter::once(expr).chain(trim_what).map(AsMut::as_mut).chain(trim_characters.iter_mut().flatten()).collect()
        }
        Expr::Overlay { expr, overlay_what, overlay_from, overlay_for } => {
            [expr, overlay_what, overlay_from].into_iter().chain(overlay_for).map(AsMut::as_mut).collect()
        }
        Expr::Case { operand, conditions, else_result, .. } => operand
            .iter_mut()
            .map(AsMut::as_mut)
            .chain(conditions.iter_mut().flat_map(|arm| [&mut arm.condition, &mut arm.result]))
            .chain(else_result.iter_mut().map(AsMut::as_mut))
            .collect(),
        Expr::Interval(interval) => vec![&mut interval.value],
        Expr::Function(function) => match &mut function.args {
            FunctionArguments::None | FunctionArguments::Subquery(_) => Vec::new(),
            FunctionArguments::List(list) => list
                .args
                .iter_mut()
                .filter_map(|argument| match argument {
                    FunctionArg::Named { arg: FunctionArgExpr::Expr(value), .. }
                    | FunctionArg::Unnamed(FunctionArgExpr::Expr(value)) => Some(value),
                    FunctionArg::Named { .. } | FunctionArg::Unnamed(_) | FunctionArg::ExprNamed { .. } => None,
                })
                .collect(),
        },
        _ => return None,
    })
}

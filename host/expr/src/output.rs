//! What comes out of an expression: which field type it is, and making its values exactly that.

use arrow_array::cast::AsArray;
use arrow_array::types::{Decimal128Type, Float64Type};
use arrow_array::{Array, ArrayRef};
use arrow_cast::CastOptions;
use arrow_schema::{ArrowError, DataType};
use datafusion_common::Result;
use tidemill_event::FieldType;

use crate::error::ExpressionError;

/// The field type of an expression's values.
///
/// Smaller integers and floats widen, dates and times without a zone are instants in UTC, all text is a string.
pub(crate) fn field_type(data_type: &DataType) -> Result<FieldType, ExpressionError> {
    if let Some(ty) = FieldType::holding(data_type) {
        return Ok(ty);
    }
    Err(match data_type {
        DataType::Null => ExpressionError::new("a bare null has no type", "give it one: `cast(null as varchar)`"),
        DataType::Duration(_) | DataType::Interval(_) => ExpressionError::new(
            "a length of time is no value a stream can hold",
            "for the µs between two times write `cast(a as bigint) - cast(b as bigint)`, for a part of a time `date_part('hour', a)`",
        ),
        other => ExpressionError::new(
            format!("{other} is no value a stream can hold"),
            "make it a bool, int64, float64, decimal, string, bytes or timestamp, for example with `cast(… as varchar)`",
        ),
    })
}

/// A field type as stream definitions write it.
pub(crate) fn type_name(ty: FieldType) -> String {
    match ty {
        FieldType::Bool => "bool".to_owned(),
        FieldType::Int64 => "int64".to_owned(),
        FieldType::Float64 => "float64".to_owned(),
        FieldType::Decimal { precision, scale } => format!("decimal({precision},{scale})"),
        FieldType::String => "string".to_owned(),
        FieldType::Bytes => "bytes".to_owned(),
        FieldType::Timestamp(_) => "timestamp".to_owned(),
        FieldType::Json => "json (read as text)".to_owned(),
    }
}

/// Values as `ty` has them, `nullable` or not. An error means that some value does not fit.
pub(crate) fn conform(values: ArrayRef, ty: FieldType, nullable: bool) -> Result<ArrayRef> {
    let values = if values.data_type() == &ty.arrow() {
        values
    } else {
        let strict = CastOptions { safe: false, ..CastOptions::default() };
        arrow_cast::cast_with_options(&values, &ty.arrow(), &strict)?
    };
    match ty {
        FieldType::Float64 => finite(values.as_primitive::<Float64Type>())?,
        FieldType::Decimal { precision, .. } => values.as_primitive::<Decimal128Type>().validate_decimal_precision(precision)?,
        FieldType::Bool | FieldType::Int64 | FieldType::String | FieldType::Bytes | FieldType::Timestamp(_) | FieldType::Json => {
        }
    }
    if !nullable && values.null_count() > 0 {
        return Err(ArrowError::ComputeError("null where the expression is never null".to_owned()).into());
    }
    Ok(values)
}

/// Refuses NaN and infinity: JSON has neither, and they are how floats say "division by zero" and "overflow".
pub(crate) fn finite(values: &arrow_array::Float64Array) -> Result<()> {
    let is_finite = if values.null_count() == 0 {
        values.values().iter().all(|value| value.is_finite())
    } else {
        values.iter().flatten().all(f64::is_finite)
    };
    if is_finite {
        return Ok(());
    }
    Err(ArrowError::ComputeError("the number is not finite (a division by zero, or too large)".to_owned()).into())
}

/// An empty or all-null column.
pub(crate) fn nulls(ty: FieldType, rows: usize) -> ArrayRef {
    arrow_array::new_null_array(&ty.arrow(), rows)
}

//! The first value of a state field: JSON text in the component's description, one Arrow value in the host.

use std::sync::Arc;

use arrow_array::{
    ArrayRef, BinaryArray, BooleanArray, Decimal128Array, Float64Array, Int64Array, StringArray, TimestampMicrosecondArray,
    new_null_array,
};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use tidemill_event::{EventTime, Field, FieldType};

/// One value as a column of one row; in words what is wrong with it.
pub(crate) fn first_value((field, first): (&Field, &Option<String>)) -> Result<ArrayRef, String> {
    let wrong = |why: &str| {
        let text = first.as_deref().unwrap_or("none");
        format!("state field `{}` starts as {}: {why}", field.name, crate::text::clean(text, 100))
    };
    let Some(text) = first else {
        return if field.nullable {
            Ok(new_null_array(&field.ty.arrow(), 1))
        } else {
            Err(wrong("give it a first value, or declare it nullable"))
        };
    };
    let value: Value =
        serde_json::from_str(text).map_err(|error| wrong(&format!("that is not JSON ({error}); a text needs its quotes")))?;
    if value.is_null() && field.nullable {
        return Ok(new_null_array(&field.ty.arrow(), 1));
    }
    let column: ArrayRef = match field.ty {
        FieldType::Bool => Arc::new(BooleanArray::from(vec![value.as_bool().ok_or_else(|| wrong("write true or false"))?])),
        FieldType::Int64 => Arc::new(Int64Array::from(vec![value.as_i64().ok_or_else(|| wrong("write a 64-bit integer"))?])),
        FieldType::Float64 => Arc::new(Float64Array::from(vec![value.as_f64().ok_or_else(|| wrong("write a number"))?])),
        FieldType::Decimal { precision, scale } => {
            let digits = value.as_str().unwrap_or(text.trim());
            let unscaled = decimal(digits, precision, scale);
            let unscaled =
                unscaled.ok_or_else(|| wrong(&format!("write a decimal({precision},{scale}), without an exponent")))?;
            let column = Decimal128Array::from(vec![unscaled]).with_precision_and_scale(precision, scale as i8);
            Arc::new(column.map_err(|error| wrong(&error.to_string()))?)
        }
        FieldType::String => Arc::new(StringArray::from(vec![value.as_str().ok_or_else(|| wrong("write a text in quotes"))?])),
        FieldType::Bytes => {
            let bytes = value.as_str().and_then(|text| STANDARD.decode(text).ok());
            Arc::new(BinaryArray::from_vec(vec![&bytes.ok_or_else(|| wrong("write base64 in quotes"))?]))
        }
        FieldType::Timestamp(_) => {
            let time = value.as_i64().or_else(|| value.as_str().and_then(EventTime::parse_rfc3339).map(|time| time.0));
            let time = time.ok_or_else(|| wrong("write RFC 3339 in quotes, or µs since 1970"))?;
            Arc::new(TimestampMicrosecondArray::from(vec![time]).with_timezone("UTC"))
        }
        FieldType::Json => Arc::new(StringArray::from(vec![value.to_string()])),
    };
    Ok(column)
}

/// `-12.5` as a number of 10⁻ˢᶜᵃˡᵉ; `None` if it has more digits than fit.
fn decimal(text: &str, precision: u8, scale: u8) -> Option<i128> {
    let (negative, digits) = text.strip_prefix('-').map_or((false, text), |digits| (true, digits));
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let fraction = fraction.trim_end_matches('0');
    if (whole.is_empty() && fraction.is_empty()) || fraction.len() > usize::from(scale) {
        return None;
    }
    let mut value: i128 = 0;
    let padding = std::iter::repeat_n(b'0', usize::from(scale) - fraction.len());
    for digit in whole.bytes().chain(fraction.bytes()).chain(padding) {
        let digit = digit.is_ascii_digit().then(|| i128::from(digit - b'0'))?;
        value = value.checked_mul(10)?.checked_add(digit)?;
    }
    (value < 10_i128.pow(u32::from(precision))).then_some(if negative { -value } else { value })
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::{Expect, expect};

    fn check(ty: FieldType, nullable: bool, first: Option<&str>, expect: Expect) {
        let found = match first_value((&Field::new("f", ty, nullable), &first.map(str::to_owned))) {
            Ok(column) => {
                assert_eq!((column.len(), column.data_type()), (1, &ty.arrow()));
                arrow_cast::display::array_value_to_string(&column, 0).expect("a value")
            }
            Err(error) => error,
        };
        expect.assert_eq(&found);
    }

    #[test]
    fn first_values() {
        let decimal = FieldType::Decimal { precision: 5, scale: 2 };
        check(FieldType::Int64, false, Some("7"), expect!["7"]);
        check(FieldType::Int64, false, Some("7.5"), expect!["state field `f` starts as 7.5: write a 64-bit integer"]);
        check(
            FieldType::Int64,
            false,
            None,
            expect!["state field `f` starts as none: give it a first value, or declare it nullable"],
        );
        check(FieldType::Int64, true, None, expect![""]);
        check(FieldType::Int64, true, Some("null"), expect![""]);
        check(FieldType::Int64, false, Some("null"), expect!["state field `f` starts as null: write a 64-bit integer"]);
        check(FieldType::Bool, false, Some("true"), expect!["true"]);
        check(FieldType::Float64, false, Some("1"), expect!["1.0"]);
        check(FieldType::String, false, Some("\"x\""), expect!["x"]);
        check(
            FieldType::String,
            false,
            Some("x"),
            expect!["state field `f` starts as x: that is not JSON (expected value at line 1 column 1); a text needs its quotes"],
        );
        check(FieldType::Bytes, false, Some("\"AQI=\""), expect!["0102"]);
        check(FieldType::Timestamp(None), false, Some("\"1970-01-01T00:00:01Z\""), expect!["1970-01-01T00:00:01Z"]);
        check(FieldType::Timestamp(None), false, Some("1000000"), expect!["1970-01-01T00:00:01Z"]);
        check(FieldType::Json, false, Some("{ \"a\": [1, 2] }"), expect![[r#"{"a":[1,2]}"#]]);
        check(decimal, false, Some("-12.5"), expect!["-12.50"]);
        check(decimal, false, Some("\"999.99\""), expect!["999.99"]);
        check(decimal, false, Some("1000"), expect!["state field `f` starts as 1000: write a decimal(5,2), without an exponent"]);
        check(
            decimal,
            false,
            Some("0.125"),
            expect!["state field `f` starts as 0.125: write a decimal(5,2), without an exponent"],
        );
    }
}

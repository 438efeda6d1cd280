//! What an unquoted YAML word is: null, bool, number or text (YAML 1.2.2 §10.3, the core schema).

use serde_json::{Number, Value};

/// Resolves a plain scalar.
pub(crate) fn resolve(word: &str) -> Value {
    match word {
        "" | "~" | "null" | "Null" | "NULL" => Value::Null,
        "true" | "True" | "TRUE" => Value::Bool(true),
        "false" | "False" | "FALSE" => Value::Bool(false),
        _ => number(word).map_or_else(|| Value::String(word.to_owned()), Value::Number),
    }
}

fn number(word: &str) -> Option<Number> {
    if let Some(digits) = word.strip_prefix("0x") {
        return i64::from_str_radix(digits, 16).ok().map(Number::from);
    }
    if let Some(digits) = word.strip_prefix("0o") {
        return i64::from_str_radix(digits, 8).ok().map(Number::from);
    }
    let unsigned = word.strip_prefix(['-', '+']).unwrap_or(word);
    if !unsigned.starts_with(|first: char| first.is_ascii_digit() || first == '.')
        || !unsigned.contains(|any: char| any.is_ascii_digit())
        || unsigned.contains(|any: char| !any.is_ascii_digit() && !".eE+-".contains(any))
    {
        return None;
    }
    let plain = word.strip_prefix('+').unwrap_or(word);
    if let Ok(integer) = plain.parse::<i64>() {
        return Some(integer.into());
    }
    plain.parse::<f64>().ok().and_then(Number::from_f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_what_the_core_schema_says() {
        let check = |word: &str, json: &str| assert_eq!(resolve(word).to_string(), json, "{word}");
        for (word, json) in [
            ("~", "null"),
            ("True", "true"),
            ("12", "12"),
            ("+12", "12"),
            ("-0.5", "-0.5"),
            (".5", "0.5"),
            ("1e3", "1000.0"),
            ("0x1F", "31"),
            ("1.2.3", "\"1.2.3\""),
            ("2024-01-01", "\"2024-01-01\""),
            ("10GiB", "\"10GiB\""),
            ("-", "\"-\""),
            (".", "\".\""),
            ("yes", "\"yes\""),
        ] {
            check(word, json);
        }
    }
}

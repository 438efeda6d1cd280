//! A step's `config`, read into a struct once per instance. Unknown keys are refused by name, so that a typing error shows when
//! the pipeline is applied and not in its results.

use std::time::Duration;

use crate::json::{self, Value};

/// A type that can be configured: structs with `#[derive(Config)]`, `bool`, numbers, `String`, `Option`, `Vec`, and `Duration`
/// (a text like `60s`: an integer and `ms`, `s`, `m`, `h` or `d`).
pub trait Config: Sized {
    /// Reads it. `path` is its place, for errors: `config.threshold`.
    fn from_json(value: &Value<'_>, path: &str) -> Result<Self, String>;

    /// What it is when the configuration does not name it.
    fn missing(path: &str) -> Result<Self, String> {
        Err(format!("{path} is missing"))
    }
}

/// Reads the configuration of a component.
pub fn read<C: Config>(text: &str) -> Result<C, String> {
    let value = json::parse(text).map_err(|error| format!("config is {error}"))?;
    C::from_json(&value, "config")
}

/// The members of an object whose keys are all known.
pub fn object<'v, 'a>(value: &'v Value<'a>, path: &str, known: &[&str]) -> Result<&'v Value<'a>, String> {
    let Value::Object(members) = value else { return Err(wrong(value, path, "an object")) };
    for (name, _) in members {
        if !known.contains(&name.as_ref()) {
            let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            return Err(format!("{path} has no `{name}`; there are: {known}"));
        }
    }
    Ok(value)
}

/// One member of an object, `fallback` if it is not there.
pub fn member<T: Config>(object: &Value<'_>, path: &str, name: &str, fallback: Option<fn() -> T>) -> Result<T, String> {
    match (object.get(name), fallback) {
        (Some(value), _) => T::from_json(value, &format!("{path}.{name}")),
        (None, Some(fallback)) => Ok(fallback()),
        (None, None) => T::missing(&format!("{path}.{name}")),
    }
}

fn wrong(value: &Value<'_>, path: &str, expected: &str) -> String {
    format!("{path} must be {expected}, not {}", value.what())
}

impl Config for () {
    fn from_json(value: &Value<'_>, path: &str) -> Result<Self, String> {
        object(value, path, &[]).map(drop)
    }
}

impl Config for bool {
    fn from_json(value: &Value<'_>, path: &str) -> Result<Self, String> {
        let Value::Bool(yes) = value else { return Err(wrong(value, path, "true or false")) };
        Ok(*yes)
    }
}

macro_rules! numbers {
    ($($ty:ty => $expected:literal;)*) => {
        $(impl Config for $ty {
            fn from_json(value: &Value<'_>, path: &str) -> Result<Self, String> {
                let Value::Number(text) = value else { return Err(wrong(value, path, $expected)) };
                text.parse().map_err(|_| format!("{path} must be {}, not {text}", $expected))
            }
        })*
    };
}

numbers! {
    i64 => "an integer";
    i32 => "an integer of 32 bits";
    u64 => "an integer from 0 on";
    u32 => "an integer from 0 to 4294967295";
    usize => "an integer from 0 on";
    f64 => "a number";
}

impl Config for String {
    fn from_json(value: &Value<'_>, path: &str) -> Result<Self, String> {
        value.as_text().map(str::to_owned).ok_or_else(|| wrong(value, path, "a string"))
    }
}

impl Config for Duration {
    fn from_json(value: &Value<'_>, path: &str) -> Result<Self, String> {
        let expected = "a duration like \"60s\" (ms, s, m, h, d)";
        let text = value.as_text().ok_or_else(|| wrong(value, path, expected))?;
        let unit_at = text.find(|character: char| !character.is_ascii_digit()).unwrap_or(text.len());
        let millis = match &text[unit_at..] {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => 0u64,
        };
        let number = text[..unit_at].parse::<u64>().ok().filter(|_| millis > 0).and_then(|number| number.checked_mul(millis));
        number.map(Self::from_millis).ok_or_else(|| format!("{path} must be {expected}, not {}", json::quote(text)))
    }
}

impl<T: Config> Config for Option<T> {
    fn from_json(value: &Value<'_>, path: &str) -> Result<Self, String> {
        if *value == Value::Null { Ok(None) } else { T::from_json(value, path).map(Some) }
    }

    fn missing(_path: &str) -> Result<Self, String> {
        Ok(None)
    }
}

impl<T: Config> Config for Vec<T> {
    fn from_json(value: &Value<'_>, path: &str) -> Result<Self, String> {
        let Value::List(values) = value else { return Err(wrong(value, path, "an array")) };
        values.iter().enumerate().map(|(index, value)| T::from_json(value, &format!("{path}[{index}]"))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, crate::Config)]
    struct Limits {
        threshold: i64,
        #[config(default = "60s_default")]
        label: String,
        within: Option<Duration>,
        #[config(default = vec![1.5])]
        weights: Vec<f64>,
    }

    #[test]
    fn reads_with_defaults() {
        let read = read::<Limits>(r#"{"threshold": 3, "within": "2m"}"#);
        let expected =
            Limits { threshold: 3, label: "60s_default".to_owned(), within: Some(Duration::from_secs(120)), weights: vec![1.5] };
        assert_eq!(read, Ok(expected));
        assert_eq!(super::read::<()>("{}"), Ok(()));
        assert_eq!(<Option<bool>>::missing("config.x"), Ok(None));
    }

    #[test]
    fn errors_say_what_to_change() {
        let check = |text: &str, error: &str| assert_eq!(read::<Limits>(text).expect_err(text), error);
        check("{", "config is not JSON: expected a string at byte 1");
        check("[]", "config must be an object, not an array");
        check("{}", "config.threshold is missing");
        check(r#"{"treshold": 3}"#, "config has no `treshold`; there are: threshold, label, within, weights");
        check(r#"{"threshold": "3"}"#, "config.threshold must be an integer, not a string");
        check(r#"{"threshold": 3.5}"#, "config.threshold must be an integer, not 3.5");
        check(r#"{"threshold": 3, "weights": [1, true]}"#, "config.weights[1] must be a number, not a boolean");
        let duration = "config.within must be a duration like \"60s\" (ms, s, m, h, d), not \"2 m\"";
        check(r#"{"threshold": 3, "within": "2 m"}"#, duration);
        assert_eq!(super::read::<()>(r#"{"x": 1}"#).expect_err("x"), "config has no `x`; there are: none");
    }
}

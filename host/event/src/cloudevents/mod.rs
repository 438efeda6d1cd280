//! CloudEvents 1.0 as rows: an event is the row of its JSON form, whichever way it comes.
//!
//! ```text
//! structured, batch ─► JSON object ─► check ────────────┐
//! binary: ce-* header lines, content type, body ─► row ─┴─► {"specversion", "id", "source", "type", …, "data"} ─► RowDecoder
//! ```
//! Attributes and extensions are top-level fields under their own names and `data` is a field beside them (`docs/decisions`): nothing
//! collides, a schema names what lies inside as `data.amount`, and what was read is a CloudEvent again. Bytes are `data_base64`.

mod binary;

pub use binary::row;

use crate::Reason;
use crate::json::{DecodeLimits, RowFault, compact_value, members, plain_name};

/// The attributes every event has, as texts that are not empty.
const REQUIRED: [&str; 4] = ["specversion", "id", "source", "type"];

/// Whether a JSON value is a CloudEvent: its required attributes are there, and its data comes one way only.
pub fn check(json: &[u8]) -> Result<(), RowFault> {
    // What is no JSON object is refused by the decoder, which has the words for it.
    let Ok(compact) = compact_value(json, DecodeLimits::default().depth_max) else { return Ok(()) };
    if compact.first() != Some(&b'{') {
        return Ok(());
    }
    let mut required: [Option<&[u8]>; 4] = [None; 4];
    let (mut data, mut data_base64, mut time) = (false, None, None);
    for (name, value) in members(&compact) {
        let name = plain_name(name);
        if let Some(place) = REQUIRED.iter().position(|required| required.as_bytes() == &*name) {
            required[place] = Some(value);
        }
        match &*name {
            b"data" => data = value != b"null",
            b"data_base64" => data_base64 = (value != b"null").then_some(value),
            b"time" => time = (value != b"null").then_some(value),
            _ => {}
        }
    }
    for (name, value) in REQUIRED.iter().zip(required) {
        if !value.is_some_and(|value| value.first() == Some(&b'"') && value.len() > 2) {
            return Err(fault(name, format!("a CloudEvent has a text in `{name}`, which is missing or empty: send it")));
        }
    }
    if required[0] != Some(br#""1.0""#) {
        let found = String::from_utf8_lossy(required[0].unwrap_or_default());
        return Err(fault("specversion", format!("CloudEvents {found} are not read: send \"1.0\"")));
    }
    if let Some(value) = time
        && !is_time(value)
    {
        let found = String::from_utf8_lossy(value);
        return Err(fault(
            "time",
            format!("the time of a CloudEvent is RFC 3339, and this is {found}: send a text like 2026-01-31T12:00:00Z"),
        ));
    }
    if data_base64.is_some_and(|value| value.first() != Some(&b'"')) {
        return Err(fault("data_base64", "`data_base64` is a text in base64: send one, or put JSON in `data`".to_owned()));
    }
    if data && data_base64.is_some() {
        return Err(fault("data_base64", "data comes as `data` or as `data_base64`, not both: leave one of them out".to_owned()));
    }
    Ok(())
}

fn is_time(value: &[u8]) -> bool {
    let text = value.strip_prefix(b"\"").and_then(|text| text.strip_suffix(b"\""));
    text.and_then(|text| std::str::from_utf8(text).ok()).is_some_and(|text| crate::EventTime::parse_rfc3339(text).is_some())
}

fn fault(field: &str, error: String) -> RowFault {
    RowFault { reason: Reason::Schema, field: Some(field.into()), error }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(json: &str) -> String {
        check(json.as_bytes()).map_or_else(|fault| fault.to_string(), |()| "taken".to_owned())
    }

    #[test]
    fn a_cloud_event_has_its_attributes() {
        let event = |more: &str| format!(r#"{{"specversion":"1.0","id":"7","source":"/shop","type":"paid"{more}}}"#);
        assert_eq!(verdict(&event("")), "taken");
        assert_eq!(verdict(&event(r#", "data": {"a": 1}, "time": "2026-01-31T12:00:00.5+01:00", "traceparent": "x""#)), "taken");
        assert_eq!(verdict(&event(r#","data":null,"data_base64":"AA==""#)), "taken");
        assert_eq!(verdict("[]"), "taken", "the decoder refuses it");
        for (more, found) in [
            (r#","id":"""#, "a CloudEvent has a text in `id`, which is missing or empty: send it"),
            (r#","type":5"#, "a CloudEvent has a text in `type`, which is missing or empty: send it"),
            (r#","specversion":"0.3""#, "CloudEvents \"0.3\" are not read: send \"1.0\""),
            (
                r#","time":"noon""#,
                "the time of a CloudEvent is RFC 3339, and this is \"noon\": send a text like 2026-01-31T12:00:00Z",
            ),
            (r#","data":1,"data_base64":"AA==""#, "data comes as `data` or as `data_base64`, not both: leave one of them out"),
            (r#","data_base64":{}"#, "`data_base64` is a text in base64: send one, or put JSON in `data`"),
        ] {
            assert_eq!(verdict(&event(more)), found, "{more}");
        }
    }
}

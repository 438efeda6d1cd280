//! The binary mode: attributes in header lines, data in the body (CloudEvents HTTP binding 1.0.2, §3.1).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::fault;
use crate::json::{DecodeLimits, RowFault, compact_value, write_text};

/// The row of an event in binary mode. `attributes` are names without `ce-` and values as they came; `content_type` is that of the
/// data, which is JSON if it does not say. JSON data becomes `data`, text becomes a text there, all else `data_base64`.
pub fn row<'a>(
    attributes: impl Iterator<Item = (&'a str, &'a [u8])>,
    content_type: Option<&str>,
    body: &[u8],
) -> Result<Vec<u8>, RowFault> {
    let mut row = b"{".to_vec();
    for (name, value) in attributes {
        let value = unescaped(value).ok_or_else(|| {
            fault(name, format!("the header line `ce-{name}` is not UTF-8: write it in UTF-8, with % and two digits for each byte beyond ASCII"))
        })?;
        member(name, &mut row);
        write_text(value.as_bytes(), &mut row);
    }
    if let Some(content_type) = content_type {
        member("datacontenttype", &mut row);
        write_text(content_type.as_bytes(), &mut row);
    }
    if !body.is_empty() {
        data(content_type, body, &mut row)?;
    }
    row.push(b'}');
    super::check(&row)?;
    Ok(row)
}

fn member(name: &str, row: &mut Vec<u8>) {
    if row.len() > 1 {
        row.push(b',');
    }
    write_text(name.as_bytes(), row);
    row.push(b':');
}

fn data(content_type: Option<&str>, body: &[u8], row: &mut Vec<u8>) -> Result<(), RowFault> {
    let essence = content_type.map_or("application/json", |text| text.split(';').next().unwrap_or_default().trim());
    let (kind, subtype) = essence.split_once('/').unwrap_or((essence, ""));
    if subtype.eq_ignore_ascii_case("json") || subtype.to_ascii_lowercase().ends_with("+json") {
        // The row holds it one level deeper.
        let json = std::str::from_utf8(body).ok().and_then(|_| compact_value(body, DecodeLimits::default().depth_max - 1).ok());
        let json = json.ok_or_else(|| {
            fault(
                "data",
                format!("the body is not JSON, or nested too deep, and its content type is `{essence}`: correct one of them"),
            )
        })?;
        member("data", row);
        row.extend_from_slice(&json);
        return Ok(());
    }
    match std::str::from_utf8(body) {
        Ok(_) if kind.eq_ignore_ascii_case("text") => {
            member("data", row);
            write_text(body, row);
        }
        Ok(_) | Err(_) => {
            member("data_base64", row);
            row.push(b'"');
            row.extend_from_slice(STANDARD.encode(body).as_bytes());
            row.push(b'"');
        }
    }
    Ok(())
}

/// What a header line stands for: `%` and two hexadecimal digits are a byte. `None` if that is not UTF-8.
fn unescaped(value: &[u8]) -> Option<String> {
    let digit = |at: usize| value.get(at).and_then(|byte| char::from(*byte).to_digit(16)).map(|digit| digit as u8);
    let mut bytes = Vec::with_capacity(value.len());
    let mut at = 0;
    while let Some(byte) = value.get(at) {
        match (byte, digit(at + 1), digit(at + 2)) {
            (b'%', Some(high), Some(low)) => {
                bytes.push(high << 4 | low);
                at += 3;
            }
            _ => {
                bytes.push(*byte);
                at += 1;
            }
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ATTRIBUTES: [(&str, &[u8]); 4] =
        [("specversion", b"1.0"), ("id", b"a%20b"), ("source", b"/caf%C3%A9 100%"), ("type", b"paid")];

    fn show(content_type: Option<&str>, body: &[u8]) -> String {
        match row(ATTRIBUTES.into_iter(), content_type, body) {
            Ok(row) => String::from_utf8(row).expect("JSON is UTF-8"),
            Err(fault) => fault.to_string(),
        }
    }

    #[test]
    fn header_lines_and_body_become_the_json_form() {
        let head = r#"{"specversion":"1.0","id":"a b","source":"/café 100%","type":"paid""#;
        assert_eq!(show(None, b""), format!("{head}}}"));
        assert_eq!(show(None, b" {\"a\" : 1}"), format!(r#"{head},"data":{{"a":1}}}}"#));
        let json = "application/vnd.shop+json; charset=utf-8";
        assert_eq!(show(Some(json), b"[1]"), format!(r#"{head},"datacontenttype":"{json}","data":[1]}}"#));
        assert_eq!(show(Some("text/xml"), b"<a/>"), format!(r#"{head},"datacontenttype":"text/xml","data":"<a/>"}}"#));
        assert_eq!(
            show(Some("image/png"), b"\xff\x00"),
            format!(r#"{head},"datacontenttype":"image/png","data_base64":"/wA="}}"#)
        );
        let error = "the body is not JSON, or nested too deep, and its content type is `application/json`: correct one of them";
        assert_eq!(show(None, b"{"), error);
        assert_eq!(row(ATTRIBUTES[..3].iter().copied(), None, b"").map_err(|fault| fault.field), Err(Some("type".into())));
    }
}

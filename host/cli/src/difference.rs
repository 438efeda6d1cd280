//! What applying would change, for people: `+` added, `-` removed, `~` changed, and under each what follows from it.

use serde_json::Value;

use crate::paint::{Look, Paint};

/// The lines of an answer's `changes`; empty if there are none. Ends without a line feed.
pub(crate) fn lines(changes: &Value, paint: Paint) -> String {
    let all = changes.as_array().map_or(&[][..], Vec::as_slice);
    all.iter().flat_map(|change| one(change, paint)).collect::<Vec<_>>().join("\n")
}

fn one(change: &Value, paint: Paint) -> Vec<String> {
    let text = |key: &str| change.get(key).and_then(Value::as_str).unwrap_or_default();
    let (sign, look) = match text("change") {
        "added" => ('+', Look::Green),
        "removed" => ('-', Look::Red),
        _ => ('~', Look::Yellow),
    };
    let head = format!("  {sign} {:<20} {}", text("place"), text("text"));
    let mut lines = vec![paint.text(look, head.trim_end())];
    let details = change.get("details").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
    lines.extend(details.map(|detail| format!("      {detail}")));
    lines.extend(change.get("state").and_then(|state| state_line(state, paint)));
    lines
}

fn state_line(state: &Value, paint: Paint) -> Option<String> {
    let why = state.get("why").and_then(Value::as_str).unwrap_or_default();
    Some(match state.get("is")?.as_str()? {
        "kept" => format!("      {}", paint.text(Look::Green, "state is kept")),
        "lost" => format!("      {}", paint.text(Look::Red, &format!("state is LOST: {why}"))),
        _ => format!("      {}", paint.text(Look::Yellow, &format!("state begins empty: {why}"))),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;
    use serde_json::json;

    #[test]
    fn every_change_is_a_line_with_what_follows() {
        let changes = json!([
            {"change": "changed", "place": "run", "text": "run 3 ends", "details": ["it has 2 tasks instead of 1: keys lie elsewhere"]},
            {"change": "added", "place": "from.wires", "text": "wires", "details": []},
            {"change": "changed", "place": "steps[0].rule", "text": "rule: count@1", "details": ["count@1.0.0 → count@1.1.0"], "state": {"is": "kept"}},
            {"change": "removed", "place": "steps[1].rule", "text": "rule: burst@2", "details": [], "state": {"is": "lost", "why": "no step goes on with it"}},
        ]);
        let shown = lines(&changes, Paint::off());
        // Every line stands two columns in, which `expect` would take for its own indentation.
        let shown: Vec<&str> = shown.lines().map(|line| line.strip_prefix("  ").expect("two columns in")).collect();
        expect![[r#"
            ~ run                  run 3 ends
                it has 2 tasks instead of 1: keys lie elsewhere
            + from.wires           wires
            ~ steps[0].rule        rule: count@1
                count@1.0.0 → count@1.1.0
                state is kept
            - steps[1].rule        rule: burst@2
                state is LOST: no step goes on with it"#]]
        .assert_eq(&shown.join("\n"));
        assert_eq!(lines(&json!([]), Paint::off()), "");
    }
}

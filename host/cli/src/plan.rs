//! A plan for people: a line for each thing it reads, does and writes, and under a step what it computes and the columns behind it.

use serde_json::{Map, Value};

/// The lines of an answer's `plan`. Ends without a line feed.
pub(crate) fn lines(plan: &Value) -> String {
    let list = |key: &str| plan.get(key).and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let mut lines = Vec::new();
    for source in list("from") {
        lines.push(head("from", word(source, "stream"), &facts(source, &["stream", "version"])));
    }
    let tasks =
        plan.get("tasks").map_or_else(String::new, |tasks| format!("in {tasks} task{}", if tasks == 1 { "" } else { "s" }));
    let time = plan.get("time").map_or_else(String::new, |time| format!(" · time: {}", facts(time, &[])));
    lines.push(head("run", word(plan, "run"), &format!("{tasks}{time}")));
    // Why one task takes all partitions.
    let gathered = word(plan, "gathered");
    if !gathered.is_empty() {
        lines.push(format!("{INDENT}one task for all partitions: {gathered}"));
    }
    let mut before: Option<&Value> = None;
    for step in list("steps") {
        lines.extend(list("stages").iter().filter(|stage| first_step(stage) == word(step, "step")).flat_map(stage));
        let columns = step.get("columns");
        lines.push(head("step", word(step, "step"), &facts(step, &["step", "columns", "aggregates"])));
        lines.extend(step.get("aggregates").map(|aggregates| format!("{INDENT}{}", shown(aggregates))));
        // A condition changes no column.
        if columns != before {
            lines.extend(columns.map(|columns| format!("{INDENT}→ {}", fields(columns))));
        }
        before = columns;
    }
    lines.extend(list("to").iter().map(target));
    lines.join("\n")
}

/// What a plan warns of, a line each with the place; nothing if it has no doubts.
pub(crate) fn warnings(plan: &Value) -> String {
    let list = |key: &str| plan.get(key).and_then(Value::as_array).into_iter().flatten();
    let of_steps = list("steps").map(|step| (word(step, "step"), step));
    let of_targets = list("to").map(|target| (word(target, "stream"), target));
    let told = of_steps.chain(of_targets).flat_map(|(place, part)| {
        let warnings = part.get("warnings").and_then(Value::as_array).into_iter().flatten();
        warnings.map(move |warning| format!("  ! {place}: {}", shown(warning)))
    });
    told.collect::<Vec<_>>().join("\n")
}

/// The step a stage begins with; of the first one, which nothing leads to, none.
fn first_step(stage: &Value) -> &str {
    let first = stage.pointer("/steps/0").and_then(Value::as_str);
    first.filter(|_| stage.pointer("/why").is_some_and(Value::is_string)).unwrap_or_default()
}

/// Where rows are placed anew: by what, in which stream, and why.
fn stage(stage: &Value) -> Vec<String> {
    let members = |key: &str| stage.get(key).and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let keys: Vec<String> = members("by").iter().map(shown).collect();
    let by = match keys.concat().as_str() {
        "" => "all rows in one task".to_owned(),
        _ => format!("placed by {}", keys.join(" and ")),
    };
    let tasks = stage.get("tasks").map_or_else(String::new, shown);
    let reads = members("reads").iter().map(shown).collect::<Vec<_>>().join(", ");
    let number = stage.get("stage").map_or_else(String::new, shown);
    vec![head("stage", &number, &format!("{by} · tasks: {tasks} · through {reads}")), format!("{INDENT}{}", word(stage, "why"))]
}

const INDENT: &str = "         ";

fn head(kind: &str, name: &str, facts: &str) -> String {
    format!("  {kind:<6} {name:<22} {facts}").trim_end().to_owned()
}

fn word<'a>(object: &'a Value, key: &str) -> &'a str {
    object.get(key).and_then(Value::as_str).unwrap_or_default()
}

/// `window: tumbling 1h · by: origin · state: new`, but for some members.
fn facts(object: &Value, but: &[&str]) -> String {
    let members = object.as_object().into_iter().flat_map(Map::iter);
    let told = members.filter(|(key, value)| !but.contains(&key.as_str()) && !is_empty(value));
    told.map(|(key, value)| format!("{}: {}", key.replace('_', " "), shown(value))).collect::<Vec<_>>().join(" · ")
}

fn is_empty(value: &Value) -> bool {
    value.as_array().is_some_and(Vec::is_empty)
}

fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(shown).collect::<Vec<_>>().join(", "),
        other => other.to_string(),
    }
}

/// `origin string?, n int64`: what may be null has a question mark.
fn fields(columns: &Value) -> String {
    let field = |column: &Value| {
        let mark = if column.get("nullable") == Some(&Value::Bool(true)) { "?" } else { "" };
        format!("{} {}{mark}", word(column, "name"), word(column, "type"))
    };
    columns.as_array().into_iter().flatten().map(field).collect::<Vec<_>>().join(", ")
}

fn target(target: &Value) -> String {
    let stream = word(target, "stream");
    if stream.is_empty() {
        // `{"file": {"path": …}, "delivery": …}`
        let kind = target.as_object().and_then(|members| members.iter().find(|(_, value)| value.is_object()));
        let Some((kind, settings)) = kind else { return head("to", "", &facts(target, &[])) };
        let told = [facts(settings, &[]), facts(target, &[kind])];
        return head("to", kind, &told.into_iter().filter(|told| !told.is_empty()).collect::<Vec<_>>().join(" · "));
    }
    let is = if target.get("exists") == Some(&Value::Bool(true)) { "is there" } else { "is made" };
    head("to", stream, &format!("{is} · {}", facts(target, &["stream", "exists", "columns"])))
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use serde_json::json;

    #[test]
    fn warnings_are_told_with_their_place() {
        let plan = json!({"steps": [{"step": "steps[0].where"}, {"step": "steps[1].pattern", "warnings": ["a", "b"]}], "to": [{"stream": "out", "warnings": ["c"]}]});
        assert_eq!(
            super::warnings(&plan).lines().collect::<Vec<_>>(),
            ["  ! steps[1].pattern: a", "  ! steps[1].pattern: b", "  ! out: c"]
        );
        assert_eq!(super::warnings(&json!({"steps": []})), "");
    }

    #[test]
    fn a_stage_is_told_before_its_first_step() {
        let plan = json!({
            "pipeline": "p", "run": "live", "tasks": 6,
            "steps": [{"step": "steps[0].where"}, {"step": "steps[1].window", "by": ["user"]}, {"step": "steps[2].where"}],
            "stages": [
                {"stage": 1, "tasks": 3, "steps": ["steps[0].where"], "reads": [], "by": [], "why": null},
                {"stage": 2, "tasks": 3, "steps": ["steps[1].window", "steps[2].where"], "reads": ["p.stage-2"], "by": [["user"]], "why": "steps[1].window.by: rows of one key are in several of the 3 partitions of `clicks`, which has no key"},
            ],
        });
        expect![[r#"
              run    live                   in 6 tasks
              step   steps[0].where
              stage  2                      placed by user · tasks: 3 · through p.stage-2
                     steps[1].window.by: rows of one key are in several of the 3 partitions of `clicks`, which has no key
              step   steps[1].window        by: user
              step   steps[2].where
        "#]]
        .assert_eq(&(unindented(&super::lines(&plan)) + "\n"));
    }

    fn unindented(lines: &str) -> String {
        lines.lines().map(|line| line.strip_prefix("  ").expect("two columns in")).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn a_plan_is_a_line_for_each_thing() {
        let k = json!({"name": "k", "type": "string", "nullable": true});
        let columns = json!([k.clone(), {"name": "n", "type": "int64", "nullable": false}]);
        let plan = json!({
            "pipeline": "p", "run": "once", "tasks": 1, "gathered": "steps[2].window.by: rows of one key are in several of the 2 partitions of `flights`, which has no key", "time": {"bound": "30s", "max_drift": "off"},
            "from": [{"stream": "flights", "version": 1, "partitions": 1, "out_of_orderness": "5m", "idle": "30s"}],
            "steps": [
                {"step": "steps[0].where", "columns": [k.clone()]},
                {"step": "steps[1].where", "columns": [k]},
                {"step": "steps[2].window", "window": "tumbling 1h", "by": ["k"], "aggregates": ["count(*)"], "state": "new", "columns": columns.clone()},
            ],
            "to": [{"stream": "out", "exists": false, "partitions": 1, "key": ["k"], "columns": columns}, {"stdout": {}, "delivery": "at least once"}],
        });
        let shown = unindented(&super::lines(&plan));
        expect![[r#"
            from   flights                idle: 30s · out of orderness: 5m · partitions: 1
            run    once                   in 1 task · time: bound: 30s · max drift: off
                   one task for all partitions: steps[2].window.by: rows of one key are in several of the 2 partitions of `flights`, which has no key
            step   steps[0].where
                   → k string?
            step   steps[1].where
            step   steps[2].window        by: k · state: new · window: tumbling 1h
                   count(*)
                   → k string?, n int64
            to     out                    is made · key: k · partitions: 1
            to     stdout                 delivery: at least once
        "#]]
        .assert_eq(&(shown + "\n"));
    }
}

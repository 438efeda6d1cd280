//! `tidemill status`: how pipelines are doing, once or again and again.

use std::io::{IsTerminal, Write};
use std::time::Duration;

use serde_json::Value;

use crate::args::StatusArgs;
use crate::client::{Client, encoded};
use crate::exit::Failure;
use crate::output::{Output, bytes};
use crate::paint::{Look, Paint};
use crate::table::{grouped, span, table};

/// How often `--watch` asks.
const WATCH_EVERY: Duration = Duration::from_secs(2);

/// One pipeline in full, or a line for each.
pub(crate) fn run(args: &StatusArgs, client: &Client, output: Output) -> Result<(), Failure> {
    let paint = Paint::for_stdout();
    loop {
        let (value, text) = match &args.pipeline {
            Some(pipeline) => {
                let status = client.get(&format!("/v1/pipelines/{}/status", encoded(pipeline)))?;
                let text = page(&status, paint);
                (status, text)
            }
            None => {
                let statuses = all(client)?;
                let text = list(&statuses, paint);
                (Value::Array(statuses), text)
            }
        };
        if args.watch && output == Output::Text && std::io::stdout().is_terminal() {
            // The page is written over the one before, without a flicker: home, the lines, the rest of the screen cleared.
            let page = format!("\x1b[H{}\x1b[J", text.replace('\n', "\x1b[K\n") + "\x1b[K\n");
            std::io::stdout().lock().write_all(page.as_bytes()).map_err(|error| Failure::failed(error.to_string()))?;
        } else {
            output.result(&value, || text)?;
        }
        if !args.watch {
            return Ok(());
        }
        std::thread::sleep(WATCH_EVERY);
    }
}

fn all(client: &Client) -> Result<Vec<Value>, Failure> {
    let list = client.get("/v1/pipelines")?;
    let mut statuses = Vec::new();
    for name in super::list::names(&list, "pipelines", "pipeline") {
        statuses.push(client.get(&format!("/v1/pipelines/{}/status", encoded(&name)))?);
    }
    Ok(statuses)
}

fn text<'a>(value: &'a Value, path: &str) -> &'a str {
    value.pointer(path).and_then(Value::as_str).unwrap_or("-")
}

fn number(value: &Value, path: &str) -> u64 {
    value.pointer(path).and_then(Value::as_u64).unwrap_or(0)
}

fn rate(value: &Value, path: &str) -> String {
    let rate = value.pointer(path).and_then(Value::as_f64).unwrap_or(0.0);
    if rate < 10.0 && rate > 0.0 { format!("{rate:.1}") } else { grouped(rate.round() as u64) }
}

fn percent(value: &Value, path: &str) -> String {
    format!("{:.0} %", value.pointer(path).and_then(Value::as_f64).unwrap_or(0.0) * 100.0)
}

fn look(state: &str) -> Look {
    match state {
        "running" => Look::Green,
        "failed" => Look::Red,
        "held" | "paused" => Look::Yellow,
        _ => Look::Dim,
    }
}

fn list(statuses: &[Value], paint: Paint) -> String {
    if statuses.is_empty() {
        return "no pipelines: apply one with `tidemill apply FILE`".to_owned();
    }
    let rows: Vec<Vec<String>> = statuses.iter().map(row).collect();
    let head = ["PIPELINE", "STATE", "LAG", "BEHIND", "IN/s", "OUT/s", "BUSY", "WAITS", "DEAD", "EVENT TIME"];
    let mut lines = table(&head, &rows);
    for (line, status) in lines.iter_mut().skip(1).zip(statuses) {
        let state = text(status, "/state");
        *line = line.replacen(state, &paint.text(look(state), state), 1);
    }
    lines[0] = paint.text(Look::Bold, &lines[0]);
    lines.join("\n")
}

fn row(status: &Value) -> Vec<String> {
    vec![
        text(status, "/pipeline").to_owned(),
        text(status, "/state").to_owned(),
        grouped(number(status, "/lag_records")),
        span(number(status, "/behind_ms")),
        rate(status, "/last_10s/rows_in_per_second"),
        rate(status, "/last_10s/rows_out_per_second"),
        percent(status, "/last_10s/busy"),
        percent(status, "/last_10s/back_pressure"),
        grouped(number(status, "/dead_letters")),
        text(status, "/event_time").to_owned(),
    ]
}

/// One pipeline in full.
pub(crate) fn page(status: &Value, paint: Paint) -> String {
    let state = text(status, "/state");
    let heading = |name: &str| paint.text(Look::Bold, name);
    let mut lines = vec![format!(
        "{}  {}  plan {}, run {}",
        heading(text(status, "/pipeline")),
        paint.text(look(state), state),
        number(status, "/plan"),
        number(status, "/run")
    )];
    if let Some(error) = status.pointer("/last_error").and_then(Value::as_str) {
        lines.push(format!("  {}", paint.text(Look::Red, error)));
    }
    lines.push(format!(
        "  lag {} rows, behind for {}, event time {}",
        grouped(number(status, "/lag_records")),
        span(number(status, "/behind_ms")),
        text(status, "/event_time")
    ));
    for (name, at) in [("last 10 s", "/last_10s"), ("last minute", "/last_minute")] {
        lines.push(format!(
            "  {name:<12} {} rows/s in, {} rows/s out, busy {}, waits for the log {}",
            rate(status, &format!("{at}/rows_in_per_second")),
            rate(status, &format!("{at}/rows_out_per_second")),
            percent(status, &format!("{at}/busy")),
            percent(status, &format!("{at}/back_pressure"))
        ));
    }
    lines.push(format!(
        "  in all       {} rows in, {} out, {} dead letters{}",
        grouped(number(status, "/rows_in")),
        grouped(number(status, "/rows_out")),
        grouped(number(status, "/dead_letters")),
        endings(status.pointer("/endings"))
    ));
    lines.extend(time_lines(status));
    let tasks = || status.get("tasks").and_then(Value::as_array).into_iter().flatten();
    let state_bytes: u64 = tasks().map(|task| number(task, "/state_bytes")).sum();
    if state_bytes > 0 {
        let pause = tasks().map(|task| number(task, "/checkpoint_pause_us")).max().unwrap_or(0);
        let on_disk: u64 = tasks().map(|task| number(task, "/state_entries_on_disk")).sum();
        let on_disk = if on_disk > 0 { format!(", {} entries on disk alone", grouped(on_disk)) } else { String::new() };
        lines.push(format!(
            "  state        about {} in memory{on_disk}, the last checkpoints held rows back {pause} µs at most",
            bytes(state_bytes)
        ));
    }
    for task in tasks() {
        if let Some(fallback) = task.get("checkpoint_fallback").and_then(Value::as_str) {
            lines.push(format!("  partition {}: {fallback}", number(task, "/partition")));
        }
        if let Some(why) = task.get("waits_for").and_then(Value::as_str) {
            lines.push(format!("  partition {} waits: {why}", number(task, "/partition")));
        }
    }
    let mut section = |name: &str, member: &str, head: &[&str], cells: &dyn Fn(&Value) -> Vec<Vec<String>>| {
        let items = status.get(member).and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        let rows: Vec<Vec<String>> = items.iter().flat_map(cells).collect();
        if !rows.is_empty() {
            lines.push(heading(name));
            lines.extend(table(head, &rows).into_iter().map(|line| format!("  {line}")));
        }
    };
    section(
        "tasks",
        "tasks",
        &["PARTITION", "STATE", "READS", "NEXT", "LAG", "KEPT", "WATERMARK", "IN/s", "BUSY", "CHECKPOINT"],
        &task_rows,
    );
    section(
        "components",
        "steps",
        &["STEP", "COMPONENT", "CALLS", "ROWS", "CPU/ROW", "FUEL/ROW", "MEMORY", "PEAK", "KEYS", "ENDED OTHERWISE"],
        &|step| if text(step, "/component").is_empty() { Vec::new() } else { vec![step_row(step)] },
    );
    section("steps with state", "steps", &["STEP", "KEYS", "TOO LATE"], &|step| {
        if !text(step, "/component").is_empty() || step.get("lookup").is_some() || step.get("rules").is_some() {
            return Vec::new();
        }
        let count = |member: &str| grouped(number(step, member));
        vec![vec![text(step, "/step").to_owned(), count("/keys"), count("/late")]]
    });
    section("lookups", "steps", &["STEP", "TABLE", "VERSION", "ROWS", "MISSED"], &|step| {
        let Some(lookup) = step.get("lookup") else { return Vec::new() };
        vec![vec![
            text(step, "/step").to_owned(),
            text(lookup, "/table").to_owned(),
            number(lookup, "/version").to_string(),
            grouped(number(lookup, "/rows")),
            grouped(number(lookup, "/missed")),
        ]]
    });
    section("patterns", "steps", &["STEP", "OPEN", "MATCHES", "TIMED OUT", "ENDED", "REFUSED", "BURIED", "FAILED"], &|step| {
        let Some(pattern) = step.get("pattern") else { return Vec::new() };
        let count = |member: &str| grouped(number(pattern, member));
        let counts = ["/runs", "/matches", "/timeouts", "/ended", "/refused", "/buried", "/failed"].map(count);
        vec![std::iter::once(text(step, "/step").to_owned()).chain(counts).collect()]
    });
    section("draining", "steps", &["STEP", "PATTERN", "OPEN", "KEYS", ""], &|step| {
        let draining = step.get("draining").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        let row = |left: &Value| {
            let open = number(left, "/runs");
            let hint = if open == 0 { "can be removed" } else { "" };
            let (step, pattern) = (text(step, "/step").to_owned(), text(left, "/pattern").to_owned());
            vec![step, pattern, grouped(open), grouped(number(left, "/keys")), hint.to_owned()]
        };
        draining.iter().map(row).collect()
    });
    section("correlations", "steps", &["STEP", "OPEN EVENTS", "MATCHES", "QUIET", "DROPPED"], &|step| {
        let Some(correlation) = step.get("correlation") else { return Vec::new() };
        let counts = ["/open", "/matches", "/quiet", "/dropped"].map(|member| grouped(number(correlation, member)));
        vec![std::iter::once(text(step, "/step").to_owned()).chain(counts).collect()]
    });
    section("machines", "steps", &["STEP", "STATE", "KEYS", "OLDEST SINCE"], &|step| {
        let states = step.pointer("/machine/states").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        let row = |state: &Value| {
            let since = text(state, "/oldest_since").to_owned();
            vec![text(step, "/step").to_owned(), text(state, "/state").to_owned(), grouped(number(state, "/keys")), since]
        };
        states.iter().map(row).collect()
    });
    section("machines moved", "steps", &["STEP", "BY EVENTS", "BY TIME", "ILLEGAL", "GUARDED"], &|step| {
        let Some(machine) = step.get("machine") else { return Vec::new() };
        let count = |member: &str| grouped(number(machine, member));
        vec![vec![text(step, "/step").to_owned(), count("/moved"), count("/timeouts"), count("/illegal"), count("/guarded")]]
    });
    section("rule sets", "steps", &["STEP", "RULES", "OFF", "ROWS", "MATCHED", "NEVER MATCHED", "MOST OFTEN"], &|step| {
        let Some(rules) = step.get("rules") else { return Vec::new() };
        let mut most: Vec<(&String, u64)> = rules
            .get("by_rule")
            .and_then(Value::as_object)
            .into_iter()
            .flatten()
            .map(|(rule, times)| (rule, times.as_u64().unwrap_or(0)))
            .collect();
        most.sort_by_key(|(_, times)| std::cmp::Reverse(*times));
        let most: Vec<String> = most.iter().take(3).map(|(rule, times)| format!("{rule} {}", grouped(*times))).collect();
        let count = |member: &str| grouped(number(rules, member));
        let text = text(step, "/step").to_owned();
        vec![vec![text, count("/count"), count("/off"), count("/rows"), count("/matched"), count("/never"), most.join(", ")]]
    });
    section("targets outside", "sinks", &["TARGET", "PARTITION", "NEXT", "LAG", "TROUBLE"], &|sink| {
        vec![vec![
            text(sink, "/target").to_owned(),
            number(sink, "/partition").to_string(),
            grouped(number(sink, "/offset")),
            grouped(number(sink, "/lag_records")),
            text(sink, "/last_error").to_owned(),
        ]]
    });
    section("replay differed", "divergences", &["PARTITION", "STEP", "COMPONENT", "ROWS", "WHAT"], &|divergence| {
        vec![vec![
            number(divergence, "/partition").to_string(),
            text(divergence, "/step").to_owned(),
            text(divergence, "/component").to_owned(),
            text(divergence, "/range").to_owned(),
            text(divergence, "/detail").to_owned(),
        ]]
    });
    if let Some(replay) = status.get("replay").filter(|replay| !replay.is_null()) {
        lines.push(heading("replay"));
        lines.push(format!(
            "  run {} is {}, {} rows behind",
            number(replay, "/run"),
            text(replay, "/state"),
            grouped(number(replay, "/lag_records"))
        ));
    }
    lines.join("\n")
}

/// How far event time is, once there is some, and what came too late for it.
fn time_lines(status: &Value) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(watermark) = status.pointer("/time/watermark").and_then(Value::as_str) {
        let mut line = format!("  time         watermark {watermark}");
        if let Some(behind) = status.pointer("/time/behind_clock_ms").and_then(Value::as_i64) {
            let side = if behind < 0 { "ahead of" } else { "behind" };
            line.push_str(&format!(", {} {side} the clock", span(behind.unsigned_abs())));
        }
        if status.pointer("/time/moved_by_clock") == Some(&Value::Bool(true)) {
            line.push_str(", which moves it: all is silent");
        }
        let held = status.pointer("/time/held_back_by").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        let held = held.iter().map(|lane| format!("{} {}", text(lane, "/stream"), number(lane, "/partition")));
        let held: Vec<String> = held.collect();
        if !held.is_empty() {
            line.push_str(&format!(", held back by {}", held.join(", ")));
        }
        lines.push(line);
    }
    let (late, dropped, partial) = (number(status, "/late"), number(status, "/dropped_late"), number(status, "/late_partial"));
    if late + dropped + partial > 0 {
        lines.push(format!(
            "  late         {} rows too late, {} missed some of their windows; {} × row and window",
            grouped(late),
            grouped(partial),
            grouped(dropped)
        ));
    }
    let by_step = status.get("dropped").and_then(Value::as_object).into_iter().flatten();
    let by_step: Vec<String> =
        by_step.map(|(step, rows)| format!("{} rows by {step}", grouped(rows.as_u64().unwrap_or(0)))).collect();
    if !by_step.is_empty() {
        lines.push(format!("  dropped      {}", by_step.join(", ")));
    }
    lines
}

/// How far an input is, and whether others wait for it or nobody does.
fn watermark(input: &Value) -> String {
    let is = |member: &str| input.pointer(member) == Some(&Value::Bool(true));
    let watermark = input.pointer("/watermark").and_then(Value::as_str).unwrap_or("-");
    let note = if is("/is_idle") {
        " idle"
    } else if is("/holds_back") {
        " holds back"
    } else if is("/is_ahead") {
        " waits for others"
    } else {
        ""
    };
    format!("{watermark}{note}")
}

/// A line for each stream of a task; what is the task's own stands in the first.
fn task_rows(task: &Value) -> Vec<Vec<String>> {
    let inputs = task.get("inputs").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let checkpoint = match number(task, "/checkpoint") {
        0 => "none yet".to_owned(),
        id => {
            let age = task.pointer("/checkpoint_age_ms").and_then(Value::as_u64);
            let age = age.map_or_else(|| "before this start".to_owned(), |age| format!("{} ago", span(age)));
            format!("#{id}, {age}, {}", bytes(number(task, "/checkpoint_bytes")))
        }
    };
    let row = |(at, input): (usize, &Value)| {
        let own = |cell: String| if at == 0 { cell } else { String::new() };
        vec![
            own(match number(task, "/stage") {
                0 | 1 => number(task, "/partition").to_string(),
                stage => format!("{} of stage {stage}", number(task, "/partition")),
            }),
            own(text(task, "/state").to_owned()),
            if number(input, "/partition") == number(task, "/partition") {
                text(input, "/stream").to_owned()
            } else {
                format!("{} {}", text(input, "/stream"), number(input, "/partition"))
            },
            grouped(number(input, "/offset")),
            grouped(number(input, "/lag_records")),
            kept(input),
            watermark(input),
            own(rate(task, "/last_10s/rows_in_per_second")),
            own(percent(task, "/last_10s/busy")),
            own(checkpoint.clone()),
        ]
    };
    inputs.iter().enumerate().map(row).collect()
}

/// Rows it has taken that retention keeps for its last checkpoint.
fn kept(input: &Value) -> String {
    let from = input.get("kept_from").and_then(Value::as_u64);
    from.map_or_else(|| "-".to_owned(), |from| grouped(number(input, "/offset").saturating_sub(from)))
}

fn step_row(step: &Value) -> Vec<String> {
    let rows = number(step, "/rows");
    let per_row = |total: u64| if rows == 0 { "-".to_owned() } else { format!("{:.0}", total as f64 / rows as f64) };
    let nanos = per_row(number(step, "/time_us") * 1_000);
    vec![
        text(step, "/step").to_owned(),
        text(step, "/component").to_owned(),
        grouped(number(step, "/calls")),
        grouped(rows),
        if nanos == "-" { nanos } else { format!("{nanos} ns") },
        per_row(number(step, "/fuel")),
        bytes(number(step, "/memory_bytes")),
        bytes(number(step, "/memory_peak_bytes")),
        grouped(number(step, "/keys")),
        endings(step.pointer("/endings")).trim_start_matches(", ").to_owned(),
    ]
}

/// `, 3 × trap`; empty if every call returned.
fn endings(endings: Option<&Value>) -> String {
    let counted = endings.and_then(Value::as_object).into_iter().flatten();
    counted.map(|(ending, count)| format!(", {count} × {ending}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;
    use serde_json::json;

    fn status() -> Value {
        json!({
            "pipeline": "fraud", "state": "running", "plan": 2, "run": 1, "lag_records": 1200, "behind_ms": 340, "rows_in": 8192, "rows_out": 17,
            "dead_letters": 3, "endings": {"trap": 1}, "event_time": "2026-11-21T12:00:00.000000Z", "last_error": null,
            "time": {"watermark": "2026-11-21T11:59:58.000000Z", "behind_clock_ms": 2500, "moved_by_clock": false, "held_back_by": [{"stream": "cards", "partition": 0}]},
            "late": 4, "dropped_late": 9, "late_partial": 1, "dropped": {"steps[0].dedupe": 1200},
            "last_10s": {"rows_in_per_second": 1204.3, "rows_out_per_second": 1.7, "busy": 0.031, "back_pressure": 0.0},
            "last_minute": {"rows_in_per_second": 900.0, "rows_out_per_second": 0.0, "busy": 0.02, "back_pressure": 0.5},
            "tasks": [{"partition": 0, "state": "running", "inputs": [{"stream": "cards", "offset": 8000, "lag_records": 1200, "kept_from": 7000, "watermark": "2026-11-21T11:59:58.000000Z", "is_idle": false, "holds_back": true},
                {"stream": "wires", "offset": 192, "lag_records": 0, "kept_from": 192, "watermark": null, "is_idle": true, "holds_back": false}],
                "last_10s": {"rows_in_per_second": 1204.3, "busy": 0.031}, "checkpoint": 3, "checkpoint_age_ms": 12_000, "checkpoint_bytes": 2048}],
            "steps": [{"step": "steps[1].rule", "component": "count@1.0.0", "calls": 9, "rows": 8192, "time_us": 123, "fuel": 81920, "memory_bytes": 131072,
                "memory_peak_bytes": 131072, "keys": 7, "endings": {"trap": 1}},
                {"step": "steps[2].window", "component": "", "calls": 0, "rows": 0, "keys": 1204, "late": 4}],
            "sinks": [], "divergences": [], "replay": {"run": 7, "state": "running", "lag_records": 12}
        })
    }

    #[test]
    fn one_pipeline_is_a_page() {
        expect![[r#"
            fraud  running  plan 2, run 1
              lag 1,200 rows, behind for 0.3 s, event time 2026-11-21T12:00:00.000000Z
              last 10 s    1,204 rows/s in, 1.7 rows/s out, busy 3 %, waits for the log 0 %
              last minute  900 rows/s in, 0 rows/s out, busy 2 %, waits for the log 50 %
              in all       8,192 rows in, 17 out, 3 dead letters, 1 × trap
              time         watermark 2026-11-21T11:59:58.000000Z, 2.5 s behind the clock, held back by cards 0
              late         4 rows too late, 1 missed some of their windows; 9 × row and window
              dropped      1,200 rows by steps[0].dedupe
            tasks
              PARTITION  STATE    READS   NEXT    LAG   KEPT  WATERMARK                               IN/s   BUSY  CHECKPOINT
              0          running  cards  8,000  1,200  1,000  2026-11-21T11:59:58.000000Z holds back  1,204  3 %   #3, 12 s ago, 2.0 KiB
                                  wires    192      0      0  - idle
            components
              STEP           COMPONENT    CALLS   ROWS  CPU/ROW  FUEL/ROW     MEMORY       PEAK  KEYS  ENDED OTHERWISE
              steps[1].rule  count@1.0.0      9  8,192    15 ns        10  128.0 KiB  128.0 KiB     7         1 × trap
            steps with state
              STEP              KEYS  TOO LATE
              steps[2].window  1,204         4
            replay
              run 7 is running, 12 rows behind"#]]
        .assert_eq(&page(&status(), Paint::off()));
    }

    #[test]
    fn all_are_a_line_each() {
        expect![[r#"
            PIPELINE  STATE      LAG  BEHIND   IN/s  OUT/s  BUSY  WAITS  DEAD                   EVENT TIME
            fraud     running  1,200   0.3 s  1,204    1.7   3 %    0 %     3  2026-11-21T12:00:00.000000Z"#]]
        .assert_eq(&list(&[status()], Paint::off()));
        assert!(list(&[], Paint::off()).contains("tidemill apply"));
    }
}

//! `tidemill logs`: what the components of a pipeline said last, and say.

use std::io::{BufRead, BufReader};

use serde_json::Value;

use crate::args::LogsArgs;
use crate::client::{Client, encoded};
use crate::exit::Failure;
use crate::output::{Output, line_out};
use crate::paint::{Look, Paint};

/// Prints lines until the end, or with `-f` until Ctrl-C.
pub(crate) fn run(args: &LogsArgs, client: &Client, output: Output) -> Result<(), Failure> {
    let paint = Paint::for_stdout();
    let lines = BufReader::new(client.stream(&path(args))?);
    let mut out = std::io::stdout().lock();
    for line in lines.lines() {
        let line = line.map_err(|error| Failure::not_reached(format!("the host at {} went away: {error}", client.base())))?;
        if line.is_empty() {
            // The host says that it is still there.
            continue;
        }
        let shown = match output {
            Output::Json => line,
            Output::Text => serde_json::from_str(&line).map_or(line, |said: Value| text(&said, paint)),
        };
        line_out(&mut out, shown.as_bytes())?;
    }
    Ok(())
}

fn path(args: &LogsArgs) -> String {
    let mut path = format!("/v1/pipelines/{}/logs?limit={}", encoded(&args.pipeline), args.limit);
    if let Some(step) = &args.step {
        path.push_str(&format!("&step={}", encoded(step)));
    }
    if let Some(level) = &args.level {
        path.push_str(&format!("&level={}", encoded(level)));
    }
    if args.follow {
        path.push_str("&follow=true");
    }
    path
}

fn text(said: &Value, paint: Paint) -> String {
    let member = |key: &str| said.get(key).and_then(Value::as_str).unwrap_or_default();
    let level = member("level");
    let look = match level {
        "error" => Look::Red,
        "warn" => Look::Yellow,
        "debug" => Look::Dim,
        _ => Look::Bold,
    };
    let place = match member("step") {
        "" => "host".to_owned(),
        step => format!("{step} {}", member("component")),
    };
    let partition = said.get("partition").and_then(Value::as_u64).unwrap_or(0);
    format!(
        "{} {} {} {}",
        paint.text(Look::Dim, member("time")),
        paint.text(look, &format!("{level:<5}")),
        paint.text(Look::Dim, &format!("{place} [{partition}]")),
        member("message")
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_line_says_when_who_and_what() {
        let said = json!({"sequence": 3, "time": "2026-11-21T12:00:00.000000Z", "level": "warn", "step": "steps[0].rule", "component": "r@1.0.0",
            "partition": 2, "message": "odd"});
        assert_eq!(text(&said, Paint::off()), "2026-11-21T12:00:00.000000Z warn  steps[0].rule r@1.0.0 [2] odd");
    }

    #[test]
    fn every_flag_is_in_the_request() {
        let args = LogsArgs {
            pipeline: "fraud".to_owned(),
            follow: true,
            step: Some("steps[0].rule".to_owned()),
            level: Some("warn".to_owned()),
            limit: 7,
        };
        assert_eq!(path(&args), "/v1/pipelines/fraud/logs?limit=7&step=steps%5B0%5D.rule&level=warn&follow=true");
    }
}

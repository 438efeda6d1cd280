//! `tidemill test`: a component on a file of events, with the host's own sandbox, limits and operators, without a host.
//!
//! The file goes through twice: in large calls of one instance, and in small calls with a fresh instance each. An answer that hangs on
//! where a batch ends, or on what an instance remembers between two calls, differs, and would differ after a restart of a host.

use std::path::Path;

use serde_json::{Value, json};
use tidemill_runtime::{Component, Kind, Runtime, RuntimeSettings};

use crate::args::TestArgs;
use crate::exit::Failure;
use crate::output::{Output, bytes, line_out};
use crate::trial::{Cut, Events, Trial, read_events};

/// Small, and no divisor of what anybody takes for a batch.
const SMALL_CALL_ROWS: usize = 7;
/// How many rows of each kind of trouble are shown.
const SHOWN: usize = 5;

/// Runs both cuts and compares; fails if they differ or a call did not return.
pub(crate) fn run(args: &TestArgs, output: Output) -> Result<(), Failure> {
    if args.rows == 0 {
        return Err(Failure::wrong_use("--rows 0: a call has at least one row"));
    }
    serde_json::from_str::<Value>(&args.config).map_err(|error| Failure::wrong_use(format!("--config is no JSON: {error}")))?;
    let wasm = read(&args.component)?;
    let runtime =
        Runtime::new(RuntimeSettings::new(crate::compiler::own())).map_err(|error| Failure::failed(error.to_string()))?;
    let component = runtime.prepare(&wasm).map_err(|refused| Failure::failed(format!("a host would refuse this: {refused}")))?;
    let events = read_events(&read(&args.events)?, &component, &args.by, &args.time)?;
    if (matches!(component.kind(), Kind::Process | Kind::Pattern)
        || matches!(component.kind(), Kind::Rule | Kind::Transform) && !component.description().state.is_empty())
        && args.by.is_empty()
    {
        eprintln!("note: the component keeps state and no --by names its key: all rows share one key");
    }
    let large = Cut { call_rows: args.rows, fresh: false };
    let small = Cut { call_rows: small_call_rows(events.count, args.rows), fresh: true };
    let trial = |cut| Trial::run(&runtime, &component, &events, cut, &args.config, &args.by);
    let (first, second) = (trial(large)?, trial(small)?);
    let difference = first.difference(&second);
    if args.print {
        let mut out = std::io::stdout().lock();
        first.rows.iter().try_for_each(|row| line_out(&mut out, row.text.as_bytes()))?;
    }
    let report = report(&component, &events, &first, &second, difference.as_deref());
    // With --print, standard output belongs to the rows.
    match (args.print, output) {
        (false, output) => output.result(&report, || told(&component, &events, &first, &second))?,
        (true, Output::Text) => eprintln!("{}", told(&component, &events, &first, &second)),
        (true, Output::Json) => eprintln!("{report}"),
    }
    if let Some(ending) = first.endings.first().or(second.endings.first()) {
        return Err(Failure::failed(format!("a call did not return: {ending}")));
    }
    if let Some(difference) = difference {
        return Err(Failure::failed(format!(
            "the answers hang on how the rows were cut into calls: {difference}\nwhat must last between calls belongs into declared \
             state; no answer may depend on globals, on the number of a call, or on where a batch ends"
        )));
    }
    if events.count == 0 {
        return Err(Failure::failed("no event of the file fits the columns that the component reads"));
    }
    Ok(())
}

/// Rows per call in the second cut: a short file is cut too, and never as in the first one.
fn small_call_rows(events: usize, large: usize) -> usize {
    let small = SMALL_CALL_ROWS.min(events.div_ceil(2)).max(1);
    if small == large { small.saturating_sub(1).max(1) } else { small }
}

fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    std::fs::read(path).map_err(|error| Failure::wrong_use(format!("cannot read `{}`: {error}", path.display())))
}

fn report(component: &Component, events: &Events, first: &Trial, second: &Trial, difference: Option<&str>) -> Value {
    let calls = |trial: &Trial| {
        json!({
            "call_rows": trial.cut.call_rows, "calls": trial.calls, "fuel": trial.fuel, "time_us": trial.time.as_micros() as u64,
            "memory_bytes": trial.memory_bytes, "rows_out": trial.rows.len(), "dead_letters": trial.dead.len(),
        })
    };
    json!({
        "digest": component.digest().to_string(), "kind": component.kind().as_str(), "size_bytes": component.size_bytes(),
        "compile_us": component.compile_time().as_micros() as u64,
        "events": events.count, "rejected": events.rejected, "yes": first.yes,
        "cuts": [calls(first), calls(second)],
        "endings": first.endings, "difference": difference,
    })
}

fn told(component: &Component, events: &Events, first: &Trial, second: &Trial) -> String {
    let per_row = |total: f64| total / events.count.max(1) as f64;
    let mut lines = vec![
        format!(
            "component  {}, {}, compiled in {:.0} ms, {}",
            component.kind().as_str(),
            bytes(component.size_bytes() as u64),
            component.compile_time().as_secs_f64() * 1e3,
            component.digest()
        ),
        format!("events     {}, {} rejected", events.count, events.rejected.len()),
        match (component.kind(), first.yes) {
            (Kind::Rule, Some(yes)) => format!("verdicts   {yes} yes, {} no", first.rows.len() - yes),
            (Kind::Rule, None) | (Kind::Transform | Kind::Function | Kind::Process | Kind::Pattern, _) => {
                format!("rows out   {}", first.rows.len())
            }
            (Kind::Aggregate, _) => format!("groups     {}", first.rows.len()),
        },
        format!("dead       {}", first.dead.len()),
        format!(
            "calls      {} of up to {} rows; {} of up to {} rows, each in a fresh instance",
            first.calls, first.cut.call_rows, second.calls, second.cut.call_rows
        ),
        format!("fuel       {:.0} a row, {} at most in a call", per_row(first.fuel as f64), first.fuel_max),
        format!("time       {:.2} µs a row inside the sandbox", per_row(first.time.as_secs_f64() * 1e6)),
        format!("memory     {} after the largest call", bytes(first.memory_bytes)),
    ];
    lines.extend(events.rejected.iter().take(SHOWN).map(|rejected| format!("rejected   {rejected}")));
    lines.extend(first.dead.iter().take(SHOWN).map(|dead| format!("dead       {dead}")));
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::small_call_rows;

    #[test]
    fn two_rows_are_enough_for_two_cuts() {
        assert_eq!([1, 2, 6, 100].map(|events| small_call_rows(events, 4096)), [1, 1, 3, 7]);
        assert_eq!([(100, 7), (6, 3), (2, 1)].map(|(events, large)| small_call_rows(events, large)), [6, 2, 1]);
    }
}

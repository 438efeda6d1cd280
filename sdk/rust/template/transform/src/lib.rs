//! A transform: rows of readings out of lines of text.

use tidemill_sdk::{Emit, Event, Output, Timestamp, transform};

/// What a row must have. A field that may be missing is an `Option`.
#[derive(Event)]
struct Line<'a> {
    line: &'a str,
}

/// The rows that come out.
#[derive(Output)]
struct Reading<'a> {
    /// Their event time; without it they keep the time of the line.
    #[output(time)]
    at: Timestamp,
    sensor: &'a str,
    value: Option<f64>,
}

/// `2026-11-21T12:00:00Z boiler=81.5 cellar=`: a row per sensor. An error sends the line to the dead letters.
#[transform]
fn readings(line: &Line, emit: &mut Emit<Reading>) -> Result<(), String> {
    let (at, sensors) = line.line.split_once(' ').ok_or("no space behind the time")?;
    let at = Timestamp::parse(at).ok_or_else(|| format!("`{at}` is no time"))?;
    for (sensor, value) in sensors.split(' ').filter_map(|reading| reading.split_once('=')) {
        emit.push(Reading { at, sensor, value: value.parse().ok() });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidemill_sdk::testing;

    #[test]
    fn a_line_is_a_row_for_each_sensor() {
        let report = testing::transform::<readings>().run(include_str!("../events.ndjson"));
        assert_eq!(report.rows.len(), 3);
        assert!(report.rows[0].contains(r#""sensor":"boiler","value":81.5"#), "{:?}", report.rows);
        assert_eq!(report.notes.len(), 1, "one line has no time");
    }
}

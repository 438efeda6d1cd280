//! Counts the rows of each key, and does what a row asks for: takes memory in tables, sets timers without end or without number, uses what it has
//! not asked for, panics, spins.

use tidemill_sdk::{Event, Output, Process, Reject, State, Step, Table, Timer, Timestamp, process};

#[derive(Event)]
struct Asked<'a> {
    at: Timestamp,
    /// What to do, and how often.
    ask: &'a str,
    n: i64,
}

#[derive(State)]
struct Rows {
    count: i64,
}

#[derive(Table)]
#[table(name = "hoard")]
struct Thing {
    #[table(key)]
    name: String,
    value: String,
}

#[derive(Output)]
struct Answer<'a> {
    ask: &'a str,
    count: i64,
}

/// Never held by a row.
const NOBODYS: &str = "nobody's";

struct Hostile;

fn names(asked: &Asked) -> impl Iterator<Item = String> {
    let (at, count) = (asked.at.0, if asked.ask == "hoard" { asked.n } else { 0 });
    (0..count).map(move |number| format!("{at}-{number}"))
}

fn spin() -> ! {
    loop {
        std::hint::black_box(0);
    }
}

/// Misbehaves on request.
#[process]
impl Process for Hostile {
    type Config = ();
    type Event = Asked<'static>;
    type State = Rows;
    type Tables = (Table<Thing>,);
    type Output = Answer<'static>;
    type Sides = ();

    fn wants(asked: &Asked, _config: &(), tables: &mut Self::Tables) {
        match asked.ask {
            "spin-early" => spin(),
            // More than one call may want.
            "greedy" => (0..asked.n).for_each(|number| tables.0.want(number.to_string())),
            "giant" => tables.0.want(asked.at.0.to_string()),
            _ => names(asked).for_each(|name| tables.0.want(name)),
        }
    }

    fn on_event(asked: &Asked, step: &mut Step<Self>) -> Result<(), Reject> {
        match asked.ask {
            "hoard" => names(asked).for_each(|name| step.tables.0.put(Thing { name, value: "x".repeat(1_000) })),
            "giant" => step.tables.0.put(Thing { name: asked.at.0.to_string(), value: "x".repeat(asked.n as usize) }),
            "unasked" => drop(step.tables.0.delete(&NOBODYS.to_owned())),
            "timers" => (0..asked.n).for_each(|number| step.set_timer(&number.to_string(), Timestamp(asked.at.0 + 1_000_000))),
            // Long ago, so it is due as soon as time goes on; and so is what it sets.
            "past" => step.set_timer("past", Timestamp(asked.at.0 - 3_600_000_000)),
            "panic" => panic!("asked to panic"),
            "spin" => spin(),
            "flood" => (0..asked.n).for_each(|_| step.emit(Answer { ask: "flood", count: 0 })),
            "later" => step.set_timer("panics", Timestamp(asked.at.0 + 1_000_000)),
            _ => {}
        }
        step.state.count += 1;
        let count = step.state.count;
        step.emit(Answer { ask: asked.ask, count });
        Ok(())
    }

    fn on_timer(timer: &Timer, step: &mut Step<Self>) -> Result<(), Reject> {
        match timer.name {
            "past" => step.set_timer("past", Timestamp(timer.at.0 + 1)),
            "panics" => panic!("asked to panic by a timer"),
            _ => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn harmless_rows_are_counted() {
        let rows = r#"{"at": "2026-01-01T00:00:00Z", "who": "ann", "ask": "nothing", "n": 0}"#;
        let report = tidemill_sdk::testing::process::<Hostile>().by(&["who"]).time("at").run(&format!("{rows}\n{rows}"));
        assert_eq!(report.rows[1], r#"["ann"] {"ask":"nothing","count":2}"#);
    }
}

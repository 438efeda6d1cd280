//! How often a key has seen a page: within ten seconds of event time, within a second of the host's clock, and ever since its state was made.

use tidemill_sdk::{Event, Output, Process, Reject, State, Step, Table, process};

#[derive(Event)]
struct Visit<'a> {
    page: &'a str,
}

#[derive(State)]
struct Visits {
    all: i64,
}

#[derive(Table)]
#[table(name = "recent", ttl = "10s")]
struct Recent {
    #[table(key)]
    page: String,
    times: i64,
}

#[derive(Table)]
#[table(name = "just_now", ttl = "1s", wall_clock)]
struct JustNow {
    #[table(key)]
    page: String,
    times: i64,
}

#[derive(Output)]
struct Seen<'a> {
    page: &'a str,
    recent: i64,
    just_now: i64,
    all: i64,
}

struct Counting;

/// Counts visits that are not long ago.
#[process]
impl Process for Counting {
    type Config = ();
    type Event = Visit<'static>;
    type State = Visits;
    type Tables = (Table<Recent>, Table<JustNow>);
    type Output = Seen<'static>;
    type Sides = ();

    fn wants(visit: &Visit, _config: &(), tables: &mut Self::Tables) {
        tables.0.want(visit.page.to_owned());
        tables.1.want(visit.page.to_owned());
    }

    fn on_event(visit: &Visit, step: &mut Step<Self>) -> Result<(), Reject> {
        let page = visit.page.to_owned();
        let recent = step.tables.0.get(&page).map_or(0, |seen| seen.times) + 1;
        let just_now = step.tables.1.get(&page).map_or(0, |seen| seen.times) + 1;
        step.tables.0.put(Recent { page: page.clone(), times: recent });
        step.tables.1.put(JustNow { page, times: just_now });
        step.state.all += 1;
        let all = step.state.all;
        step.emit(Seen { page: visit.page, recent, just_now, all });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_long_ago_does_not_count() {
        let row = |second| format!(r#"{{"at": "2026-01-01T00:00:{second:02}Z", "who": "ann", "page": "p"}}"#);
        let rows = [row(0), row(9), row(18), row(28)].join("\n");
        let report = tidemill_sdk::testing::process::<Counting>().by(&["who"]).time("at").run(&rows);
        let recent: Vec<bool> = report.rows.iter().map(|row| row.contains(r#""recent":1,"#)).collect();
        assert_eq!(recent, [true, false, false, true], "{:?}", report.rows);
    }
}

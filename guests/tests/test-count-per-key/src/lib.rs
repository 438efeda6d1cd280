//! Numbers the rows of each key: the smallest rule with state, for tests of what a crash does to it.

use tidemill_sdk::{Event, Output, State, rule};

/// Needs no column.
#[derive(Event)]
struct Row {}

#[derive(State, Output, Clone, Copy)]
struct Seen {
    count: i64,
}

/// Yes, with the row's number among those of its key, from 1.
#[rule]
fn count_per_key(_row: &Row, seen: &mut Seen) -> (bool, Seen) {
    seen.count += 1;
    (true, *seen)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_rows_per_key() {
        let rows = "{\"key\": \"a\"}\n{\"key\": \"b\"}\n{\"key\": \"a\"}\n{}\n";
        let report = tidemill_sdk::testing::rule::<count_per_key>().by(&["key"]).run(rows);
        let counts: Vec<&str> = report.rows.iter().map(String::as_str).collect();
        assert_eq!(counts, [r#"{"count":1}"#, r#"{"count":1}"#, r#"{"count":2}"#, r#"{"count":1}"#]);
        assert_eq!(report.state["[null]"], r#"{"count":1}"#);
    }
}

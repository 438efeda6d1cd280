//! A rule: who fails to log in too often in a row?

use tidemill_sdk::{Config, Event, Output, State, rule};

/// What a row must have. A field that may be missing is an `Option`.
#[derive(Event)]
struct Login<'a> {
    user: &'a str,
    success: bool,
}

/// What the host remembers for each value of the pipeline's `by`.
#[derive(State)]
struct Failures {
    in_a_row: i64,
}

/// The step's `config`.
#[derive(Config)]
struct Limit {
    #[config(default = 3)]
    failures: i64,
}

/// Columns added to rows that match.
#[derive(Output)]
struct Alert<'a> {
    who: &'a str,
    failures: i64,
}

/// Yes for the login that makes it too many failures in a row.
#[rule]
fn too_many<'a>(login: &Login<'a>, state: &mut Failures, config: &Limit) -> Option<Alert<'a>> {
    state.in_a_row = if login.success { 0 } else { state.in_a_row + 1 };
    (state.in_a_row >= config.failures).then_some(Alert { who: login.user, failures: state.in_a_row })
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidemill_sdk::testing;

    #[test]
    fn the_third_failure_in_a_row_is_too_many() {
        let report = testing::rule::<too_many>().by(&["user"]).run(include_str!("../events.ndjson"));
        assert_eq!(report.verdicts, [false, false, false, false, true, false]);
        assert_eq!(report.rows[4], r#"{"who":"ann","failures":3}"#);
        assert_eq!(report.state[r#"["bob"]"#], r#"{"in_a_row":1}"#);
    }
}

//! `std-brute-force`: judges what `std-sshd` makes of a log. A match is `failures` failed logins of one address (the pipeline's
//! `by`) within less than `within`; other events may lie between. The next match starts behind the last event of this one.

use std::time::Duration;

use tidemill_sdk::{Config, Event, Output, State, Timestamp, rule};

/// A login event.
#[derive(Event)]
struct Login<'a> {
    ts: Option<Timestamp>,
    #[event(name = "type")]
    kind: Option<&'a str>,
    user: Option<&'a str>,
}

/// The failures that may still become a match: fewer than `failures`, oldest first.
#[derive(State)]
struct Failures {
    times: Vec<Timestamp>,
}

#[derive(Config)]
struct Limits {
    /// How many failures are a match.
    #[config(default = 3)]
    failures: usize,
    /// The last one less than this after the first.
    #[config(default = Duration::from_secs(60))]
    within: Duration,
    /// From how many failures on a match is critical.
    #[config(default = 10)]
    critical: usize,
}

/// What is said about a match.
#[derive(Output)]
struct Alert<'a> {
    label: &'static str,
    severity: &'static str,
    last_user: Option<&'a str>,
    first_failure: Timestamp,
    failures: i64,
}

/// Yes for the event that completes a match: `failures` failed logins (`type` is `auth_failed`) of one key within less than
/// `within`. Needs `by: [src_ip]` or another key.
#[rule]
fn brute_force<'a>(login: &Login<'a>, state: &mut Failures, config: &Limits) -> Option<Alert<'a>> {
    let ts = login.ts.filter(|_| login.kind == Some("auth_failed"))?;
    state.times.retain(|time| ts.since(*time) < config.within);
    state.times.push(ts);
    if state.times.len() < config.failures {
        return None;
    }
    let first_failure = state.times[0];
    state.times.clear();
    let severity = if config.failures >= config.critical { "critical" } else { "warning" };
    Some(Alert { label: "brute_force", severity, last_user: login.user, first_failure, failures: config.failures as i64 })
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidemill_sdk::testing;

    /// Failures at these seconds, by one address: the seconds of the events that complete a match.
    fn matches(config: &str, seconds: &[u32]) -> Vec<u32> {
        let row = |second: &u32| {
            let (minute, second) = (second / 60, second % 60);
            let ts = format!("2026-11-21T10:{minute:02}:{second:02}Z");
            format!("{{\"ts\": \"{ts}\", \"type\": \"auth_failed\", \"user\": \"root\", \"src_ip\": \"192.0.2.1\"}}\n")
        };
        let rows: String = seconds.iter().map(row).collect();
        let report = testing::rule::<brute_force>().config(config).by(&["src_ip"]).run(&rows);
        seconds.iter().zip(report.verdicts).filter(|(_, yes)| *yes).map(|(second, _)| *second).collect()
    }

    #[test]
    fn a_match_needs_enough_failures_in_less_than_the_time() {
        assert_eq!(matches("{}", &[0, 30, 59]), [59]);
        assert_eq!(matches("{}", &[0, 30, 60]), []);
        assert_eq!(matches("{}", &[0, 30, 60, 70]), [70]);
        assert_eq!(matches(r#"{"failures": 2, "within": "10s"}"#, &[0, 10, 19]), [19]);
        assert_eq!(matches(r#"{"failures": 1}"#, &[0, 1]), [0, 1]);
    }

    #[test]
    fn the_next_match_starts_behind_the_last() {
        assert_eq!(matches("{}", &[0, 1, 2, 3, 4, 5, 6]), [2, 5]);
    }

    #[test]
    fn keys_and_other_events_do_not_mix() {
        let report = testing::rule::<brute_force>().config(r#"{"failures": 2}"#).by(&["src_ip"]).run(
            r#"
            {"ts": "2026-11-21T10:00:00Z", "type": "auth_failed", "user": "root", "src_ip": "192.0.2.1"}
            {"ts": "2026-11-21T10:00:01Z", "type": "auth_failed", "user": "root", "src_ip": "192.0.2.2"}
            {"ts": "2026-11-21T10:00:02Z", "type": "auth_ok", "user": "root", "src_ip": "192.0.2.1"}
            {"ts": "2026-11-21T10:00:03Z", "type": "auth_failed", "user": "ann", "src_ip": "192.0.2.1"}
        "#,
        );
        assert_eq!(report.verdicts, [false, false, false, true]);
        assert_eq!(
            report.rows[3],
            r#"{"label":"brute_force","severity":"warning","last_user":"ann","first_failure":"2026-11-21T10:00:00Z","failures":2}"#
        );
    }

    #[test]
    fn a_wrong_configuration_is_named() {
        let open = |config: &str| testing::rule::<brute_force>().config(config).open().expect_err(config);
        assert_eq!(open(r#"{"failure": 3}"#), "config has no `failure`; there are: failures, within, critical");
    }
}

//! `std-failed-logins`: what `std-brute-force` judges with state of its own, as a pattern. A match is `failures` failed logins of one
//! address (the pipeline's `by`) within less than `within`; other events may lie between. The next match begins behind the last event of
//! this one. With `users`, only failures count that name another user than the one before.

use std::time::Duration;

use tidemill_sdk::{Config, Detector, Event, Output, Pattern, Reject, Timestamp, pattern};

/// A login event, as `std-sshd` makes it.
#[derive(Event)]
struct Login<'a> {
    #[event(name = "type")]
    kind: Option<&'a str>,
    user: Option<&'a str>,
}

/// What a partial match has seen last.
#[derive(Event)]
struct SoFar<'a> {
    #[event(name = "last(failed.user)")]
    last_user: Option<&'a str>,
}

/// What a match knows of its events.
#[derive(Event)]
struct Found<'a> {
    match_start: Timestamp,
    #[event(name = "count(failed)")]
    failures: i64,
    #[event(name = "last(failed.user)")]
    last_user: Option<&'a str>,
}

#[derive(Config)]
struct Limits {
    /// How many failures are a match.
    #[config(default = 3)]
    failures: u32,
    /// The last one less than this after the first.
    #[config(default = Duration::from_secs(60))]
    within: Duration,
    /// From how many failures on a match is critical.
    #[config(default = 10)]
    critical: i64,
    /// Whether each failure has to name another user than the one before.
    #[config(default = false)]
    users: bool,
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

struct FailedLogins;

/// `failures` failed logins (`type` is `auth_failed`) of one key within less than `within`. Needs `by: [src_ip]` or another key.
#[pattern]
impl Detector for FailedLogins {
    type Config = Limits;
    type Event = Login<'static>;
    type SoFar = SoFar<'static>;
    type Found = Found<'static>;
    type Output = Alert<'static>;

    fn pattern(limits: &Limits) -> Pattern<Self> {
        let failed = Pattern::<Self>::begin("failed", |login, _| login.kind == Some("auth_failed")).times(limits.failures);
        let failed = if limits.users {
            failed.so_far(|login, so_far, _| so_far.last_user.is_none() || login.user != so_far.last_user)
        } else {
            failed
        };
        failed.within(limits.within).skip_past_last()
    }

    fn shape<'a>(found: &Found<'a>, limits: &'a Limits) -> Result<Option<Alert<'a>>, Reject> {
        let severity = if found.failures >= limits.critical { "critical" } else { "warning" };
        let (last_user, failures) = (found.last_user, found.failures);
        Ok(Some(Alert { label: "brute_force", severity, last_user, first_failure: found.match_start, failures }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidemill_sdk::testing;

    #[test]
    fn the_pattern_follows_from_the_configuration() {
        let of = |config: &str| testing::pattern::<FailedLogins>().config(config).definition();
        assert_eq!(
            of("{}"),
            r#"{"stages":[{"begin":"failed","where":"predicate(0)","times":3}],"within":"60000ms","skip":"past_last"}"#
        );
        assert!(of(r#"{"failures": 7, "within": "1h"}"#).contains(r#""times":7}],"within":"3600000ms""#));
        assert!(of(r#"{"users": true}"#).contains(r#""where":"predicate(0) and condition(0)""#));
    }

    #[test]
    fn failures_fit_and_nothing_else() {
        let rows = "{\"type\": \"auth_failed\", \"user\": \"root\"}\n{\"type\": \"auth_ok\"}\n{\"type\": null}";
        assert_eq!(testing::pattern::<FailedLogins>().judge(rows), [[true, false, false]]);
    }

    #[test]
    fn another_user_is_not_the_last_one() {
        let rows = r#"
            {"type": "auth_failed", "user": "root", "last(failed.user)": null}
            {"type": "auth_failed", "user": "root", "last(failed.user)": "root"}
            {"type": "auth_failed", "user": "ann", "last(failed.user)": "root"}
        "#;
        let test = testing::pattern::<FailedLogins>().config(r#"{"users": true}"#);
        assert_eq!(test.ask(0, rows), [true, false, true]);
    }

    #[test]
    fn many_failures_are_critical() {
        let of = |failures: u32| {
            let found =
                format!(r#"{{"match_start": "2026-11-21T10:00:00Z", "count(failed)": {failures}, "last(failed.user)": "ann"}}"#);
            testing::pattern::<FailedLogins>().shape(&found).pop().flatten().expect("an alert")
        };
        let expected = r#"{"label":"brute_force","severity":"warning","last_user":"ann","first_failure":"2026-11-21T10:00:00Z","failures":3}"#;
        assert_eq!(of(3), expected);
        assert!(of(10).contains("critical"));
    }

    #[test]
    fn a_wrong_configuration_is_named() {
        let error = testing::pattern::<FailedLogins>().config(r#"{"failure": 3}"#).open().expect_err("no such key");
        assert_eq!(error, "config has no `failure`; there are: failures, within, critical, users");
    }
}

//! A pattern: several declined payments of a user, then one that goes through.

use std::time::Duration;

use tidemill_sdk::{Config, Detector, Event, Output, Pattern, Reject, pattern};

/// What the stages look at. An `Option` may be missing in an event.
#[derive(Event)]
struct Payment<'a> {
    status: &'a str,
    amount: f64,
}

/// What a condition over a run may ask: aggregates over what the run has taken so far.
#[derive(Event)]
struct SoFar {
    #[event(name = "max(declined.amount)")]
    most: Option<f64>,
}

/// What is known of a match: the pipeline's `by`, `match_start`, `match_end`, and aggregates over its events.
#[derive(Event)]
struct Found {
    #[event(name = "count(declined)")]
    tries: i64,
    #[event(name = "last(paid.amount)")]
    amount: Option<f64>,
}

/// The row that a match becomes, behind `by`, `match_start` and `match_end`.
#[derive(Output)]
struct Alert {
    tries: i64,
    amount: Option<f64>,
}

/// The pattern's `config`.
#[derive(Config)]
struct Settings {
    #[config(default = 3)]
    tries: u32,
    #[config(default = Duration::from_secs(60))]
    within: Duration,
}

struct CardTesting;

/// `tries` declined payments of a user and then one that goes through, larger than each of them, all within less than `within`.
#[pattern]
impl Detector for CardTesting {
    type Config = Settings;
    type Event = Payment<'static>;
    type SoFar = SoFar;
    type Found = Found;
    type Output = Alert;

    fn pattern(settings: &Settings) -> Pattern<Self> {
        Pattern::<Self>::begin("declined", |payment, _| payment.status == "declined")
            .times(settings.tries)
            .followed_by("paid", |payment, _| payment.status == "paid")
            .so_far(|payment, so_far, _| so_far.most.is_some_and(|most| payment.amount > most))
            .within(settings.within)
            .skip_past_last()
    }

    fn shape(found: &Found, _settings: &Settings) -> Result<Option<Alert>, Reject> {
        Ok(Some(Alert { tries: found.tries, amount: found.amount }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidemill_sdk::testing;

    #[test]
    fn each_event_fits_its_stage() {
        let test = testing::pattern::<CardTesting>();
        let fits = test.judge(include_str!("../events.ndjson"));
        assert_eq!(fits[0].iter().filter(|fits| **fits).count(), 4);
        assert_eq!(fits[1].iter().filter(|fits| **fits).count(), 2);
        let rows = r#"{"status": "paid", "amount": 900, "max(declined.amount)": 3}"#;
        assert_eq!(test.ask(0, rows), [true]);
    }
}

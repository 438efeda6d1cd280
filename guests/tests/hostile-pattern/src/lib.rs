//! Does what a row's `do` asks for, in each of the calls of a pattern, so that a test chooses per row how a call ends. A match is an `a`
//! and a `b` behind it; `n` of the `a` says what `shape` does, that of the `b` what the condition over the run does.

use tidemill_sdk::{Config, Detector, Event, Output, Pattern, Reject, pattern};

#[derive(Event)]
struct Order<'a> {
    #[event(name = "do")]
    what: Option<&'a str>,
    n: Option<i64>,
}

#[derive(Event)]
struct SoFar {
    #[event(name = "count(a)")]
    a: i64,
}

#[derive(Event)]
struct Found {
    #[event(name = "first(a.n)")]
    first: Option<i64>,
}

#[derive(Output)]
struct Pair {
    first: Option<i64>,
}

#[derive(Config)]
struct Settings {
    /// Describes what no host takes.
    #[config(default = false)]
    nonsense: bool,
}

struct Hostile;

/// Misbehaves on request.
#[pattern]
impl Detector for Hostile {
    type Config = Settings;
    type Event = Order<'static>;
    type SoFar = SoFar;
    type Found = Found;
    type Output = Pair;

    fn pattern(settings: &Settings) -> Pattern<Self> {
        let begun = Pattern::<Self>::begin("a", |order, _| judged(order) == "a");
        if settings.nonsense {
            return begun.not_next("b", |order, _| judged(order) == "b").times(3);
        }
        begun
            .followed_by("b", |order, _| judged(order) == "b")
            .so_far(|order, so_far, _| asked(order.n, so_far.a))
            .skip_past_last()
    }

    fn shape(found: &Found, _: &Settings) -> Result<Option<Pair>, Reject> {
        match found.first {
            Some(31) => panic!("asked to panic over a match"),
            Some(32) => Err(Reject::new("asked to reject a match")),
            Some(33) => Ok(None),
            first => Ok(Some(Pair { first })),
        }
    }
}

fn judged<'a>(order: &Order<'a>) -> &'a str {
    match order.what.unwrap_or_default() {
        "panic" => panic!("asked to panic"),
        "loop" => loop {
            std::hint::black_box(0);
        },
        what => what,
    }
}

/// A row whose run has no `a` yet is never asked about.
fn asked(n: Option<i64>, a: i64) -> bool {
    match n {
        Some(21) => panic!("asked to panic over a run"),
        Some(22) => false,
        _ => a == 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidemill_sdk::testing;

    #[test]
    fn harmless_rows_fit_their_stages() {
        let test = testing::pattern::<Hostile>();
        assert_eq!(test.judge("{\"do\": \"a\"}\n{\"do\": \"b\"}\n{}"), [[true, false, false], [false, true, false]]);
        assert_eq!(test.ask(0, "{\"n\": 1, \"count(a)\": 1}\n{\"n\": 22, \"count(a)\": 1}"), [true, false]);
        assert_eq!(test.shape("{\"first(a.n)\": 7}\n{\"first(a.n)\": 33}"), [Some(r#"{"first":7}"#.to_owned()), None]);
    }
}

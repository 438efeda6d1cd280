//! Rules that are asked word by word answer as the function itself does, row by row, whatever the number of rows and the form of text.

use tidemill_sdk::testing::{self, Test};
use tidemill_sdk::{Config, Event, rule};

#[derive(Event, Clone)]
struct Payment<'a> {
    amount: f64,
    limit: f64,
    count: i64,
    foreign: bool,
    country: &'a str,
    status: Option<&'a str>,
    tip: Option<f64>,
}

#[derive(Config)]
struct Home {
    #[config(default = "AT")]
    home: String,
    #[config(default = false)]
    all: bool,
}

const MANY: i64 = 4;

#[rule]
fn conjunction(payment: &Payment, config: &Home) -> bool {
    payment.amount > 1000.0 && payment.country != config.home && payment.status == Some("ok")
}

#[rule]
fn text_first(payment: &Payment) -> bool {
    payment.country.starts_with('I') && payment.amount >= 500.0
}

#[rule]
#[expect(clippy::nonminimal_bool, reason = "a negated comparison is one of the forms that have to work")]
fn everything(p: &Payment, rows: &Home) -> bool {
    rows.all
        || !(p.amount < p.limit && p.foreign)
            && (p.count >= MANY || p.status.is_some_and(|status| status.len() > 2 || status == "no"))
            && !(p.country == "AT")
        || p.tip.is_none() && p.country.is_empty()
}

#[rule]
fn one_column(payment: &Payment) -> bool {
    !payment.foreign
}

/// So many rows that repeat little.
fn rows(count: usize) -> Vec<Payment<'static>> {
    let mut seed = 7_u64;
    let mut next = |below: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) % below
    };
    let row = |_| Payment {
        amount: next(2_000) as f64,
        limit: next(2_000) as f64,
        count: next(8) as i64,
        foreign: next(2) == 0,
        country: ["AT", "IT", "IS", "", "DE"][next(5) as usize],
        status: [Some("ok"), Some("declined"), Some("no"), None][next(4) as usize],
        tip: (next(3) == 0).then_some(1.5),
    };
    (0..count).map(row).collect()
}

fn json(row: &Payment) -> String {
    let status = row.status.map_or_else(|| "null".to_owned(), |status| format!("\"{status}\""));
    let tip = row.tip.map_or_else(|| "null".to_owned(), |tip| tip.to_string());
    let Payment { amount, limit, count, foreign, country, .. } = row;
    format!(
        r#"{{"amount":{amount},"limit":{limit},"count":{count},"foreign":{foreign},"country":"{country}","status":{status},"tip":{tip}}}"#
    )
}

fn check<C: testing::Case>(test: Test<C>, function: impl Fn(&Payment) -> bool) {
    for count in [1, 2, 63, 64, 65, 128, 200] {
        let rows = rows(count);
        let lines: Vec<String> = rows.iter().map(json).collect();
        let expected: Vec<bool> = rows.iter().map(&function).collect();
        assert_eq!(test.run(&lines.join("\n")).verdicts, expected, "{count} rows");
        if count == 200 {
            let yes = expected.iter().filter(|yes| **yes).count();
            assert!((1..200).contains(&yes), "{yes} of 200 say nothing");
        }
    }
}

#[test]
fn words_and_rows_agree() {
    let home = |home: &str, all| Home { home: home.to_owned(), all };
    check(testing::rule::<conjunction>(), |row| conjunction(row, &home("AT", false)));
    check(testing::rule::<conjunction>().config(r#"{"home": "IT"}"#), |row| conjunction(row, &home("IT", false)));
    check(testing::rule::<text_first>(), text_first);
    check(testing::rule::<everything>(), |row| everything(row, &home("AT", false)));
    check(testing::rule::<one_column>(), one_column);
    assert!(everything(&rows(1)[0], &home("", true)));
}

//! Every type a field may have, in and out, as a value and as a null; every shape a function may have; what goes wrong. All of it
//! runs in the cuts of [`tidemill_sdk::testing`], so text crosses plain and as a dictionary.

use std::time::Duration;

use tidemill_sdk::column::Column;
use tidemill_sdk::testing::{self, Report};
use tidemill_sdk::{Batch, Config, Decimal, Emit, Event, Json, Mask, Output, Reject, State, Timestamp, log, rule, transform};

/// Some of everything.
#[derive(Event)]
struct Everything<'a> {
    flag: bool,
    count: i64,
    ratio: f64,
    price: Decimal<6, 2>,
    #[event(name = "user.name")]
    name: &'a str,
    payload: &'a [u8],
    at: Timestamp,
    extra: Json<'a>,
}

#[derive(Event, Output)]
struct Nullable<'a> {
    flag: Option<bool>,
    count: Option<i64>,
    ratio: Option<f64>,
    price: Option<Decimal<6, 2>>,
    name: Option<&'a str>,
    payload: Option<&'a [u8]>,
    at: Option<Timestamp>,
    extra: Option<Json<'a>>,
}

#[derive(Output)]
struct Twin<'a> {
    flag: bool,
    count: i64,
    ratio: f64,
    price: Decimal<6, 2>,
    name: String,
    payload: Vec<u8>,
    #[output(time)]
    at: Timestamp,
    extra: Json<'a>,
}

#[transform]
fn copy<'a>(all: &Everything<'a>) -> Twin<'a> {
    Twin {
        flag: all.flag,
        count: all.count,
        ratio: all.ratio,
        price: all.price,
        name: all.name.to_owned(),
        payload: all.payload.to_vec(),
        at: all.at,
        extra: all.extra.clone(),
    }
}

#[transform]
fn copy_nullable<'a>(all: &Nullable<'a>) -> Option<Nullable<'a>> {
    Some(Nullable { extra: all.extra.clone(), ..*all })
}

#[test]
fn every_type_comes_out_as_it_went_in() {
    let row = |n: i64| {
        format!(
            r#"{{"flag":{},"count":{},"ratio":{}.5,"price":"{n}.25","user":{{"name":"n{}é"}},"payload":"AAEC","at":"2026-11-21T12:00:{n:02}.5Z","extra":{{"a":[{n}]}}}}"#,
            n % 2 == 0,
            i64::MAX - n,
            n,
            n % 3,
        )
    };
    let rows: Vec<String> = (0..20).map(row).collect();
    let report = testing::transform::<copy>().run(&rows.join("\n"));
    let expected: Vec<String> =
        rows.iter().map(|row| row.replace(r#""user":{"name""#, r#""name""#).replace(r#"é"}"#, r#"é""#)).collect();
    assert_eq!(report.rows, expected);
    assert_eq!(report.source_rows, (0..20).collect::<Vec<_>>());
}

#[test]
fn every_type_may_be_null() {
    let full =
        r#"{"flag":true,"count":-1,"ratio":0.25,"price":"-0.50","name":"","payload":"","at":"1969-12-31T23:59:59Z","extra":[1]}"#;
    let empty = r#"{"flag":null,"count":null,"ratio":null,"price":null,"name":null,"payload":null,"at":null,"extra":null}"#;
    let rows = [full, empty, "{}", full, empty].join("\n");
    let report = testing::transform::<copy_nullable>().run(&rows);
    assert_eq!(report.rows, [full, empty, empty, full, empty]);
}

#[test]
#[should_panic(expected = "row 1: `count` is missing and may not be null")]
fn a_row_that_lacks_what_is_asked_for_is_named() {
    let row =
        r#"{"flag":true,"count":1,"ratio":1,"price":1,"user":{"name":"x"},"payload":"","at":"2026-11-21T12:00:00Z","extra":1}"#;
    testing::transform::<copy>().run(&[row, r#"{"flag":true}"#].join("\n"));
}

/// State of every kind.
#[derive(State)]
struct Memory {
    rows: i64,
    #[state(first = -2.5)]
    sum: f64,
    #[state(first = true)]
    first: bool,
    #[state(first = "nobody \"yet\"")]
    last: String,
    longest: Option<String>,
    total: Decimal<10, 2>,
    seen: Vec<Timestamp>,
    numbers: Vec<f64>,
    started: Option<Timestamp>,
    bytes: Vec<u8>,
    json: Option<Json<'static>>,
}

#[derive(Event)]
struct Visit<'a> {
    at: Timestamp,
    page: &'a str,
}

#[derive(Output)]
struct Told {
    number: i64,
    before: String,
    seen: i64,
}

#[rule]
fn remember(visit: &Visit, memory: &mut Memory) -> (bool, Told) {
    let before = std::mem::replace(&mut memory.last, visit.page.to_owned());
    memory.rows += 1;
    memory.sum += 0.5;
    let first = std::mem::replace(&mut memory.first, false);
    if memory.longest.as_ref().is_none_or(|longest| longest.len() < visit.page.len()) {
        memory.longest = Some(visit.page.to_owned());
    }
    memory.total = Decimal::from_units(memory.total.units() + 125);
    memory.seen.push(visit.at);
    memory.numbers.push(memory.sum);
    memory.started.get_or_insert(visit.at);
    memory.bytes.push(memory.rows as u8);
    memory.json = Some(Json(format!("[{}]", memory.rows).into()));
    (first, Told { number: memory.rows, before, seen: memory.seen.len() as i64 })
}

#[test]
fn state_of_every_type_is_kept_per_key() {
    let rows: String = [("a", "/"), ("b", "/x"), ("a", "/long"), ("a", "/y")]
        .iter()
        .map(|(user, page)| format!("{{\"at\":\"1970-01-01T00:00:01Z\",\"page\":\"{page}\",\"user\":\"{user}\"}}\n"))
        .collect();
    let report = testing::rule::<remember>().by(&["user"]).run(&rows);
    assert_eq!(report.verdicts, [true, true, false, false]);
    assert_eq!(report.rows[0], r#"{"number":1,"before":"nobody \"yet\"","seen":1}"#);
    assert_eq!(report.rows[3], r#"{"number":3,"before":"/long","seen":3}"#);
    // 1,000,000 µs and 3 × 0.5 - 2.5 as eight little-endian bytes each.
    let expected = r#"{"rows":1,"sum":-2,"first":false,"last":"/x","longest":"/x","total":"1.25","seen":"QEIPAAAAAAA=","#
        .to_owned()
        + r#""numbers":"AAAAAAAAAMA=","started":"1970-01-01T00:00:01Z","bytes":"AQ==","json":[1]}"#;
    assert_eq!(report.state[r#"["b"]"#], expected);
    assert!(report.state[r#"["a"]"#].contains(r#""longest":"/long","total":"3.75""#));
}

#[derive(Event)]
struct Payment<'a> {
    amount: Option<f64>,
    country: &'a str,
}

#[derive(Config)]
struct Limits {
    #[config(default = 10.0)]
    amount: f64,
    home: String,
}

#[rule(batch)]
fn by_columns(batch: &Batch<Payment>, limits: &Limits) -> Mask {
    let rows = batch.rows();
    let large = batch.amount.test_some(rows, |amount| amount > limits.amount);
    let unknown = batch.amount.test(rows, |amount| amount.is_none());
    (large | unknown) & !batch.country.test(rows, |country| country == limits.home)
}

#[rule]
fn by_rows(payment: &Payment, limits: &Limits) -> bool {
    payment.amount.is_none_or(|amount| amount > limits.amount) && payment.country != limits.home
}

#[test]
fn a_batch_rule_and_a_row_rule_agree() {
    let row = |n: usize| {
        let amount = if n.is_multiple_of(7) { "null".to_owned() } else { (n % 21).to_string() };
        format!("{{\"amount\":{amount},\"country\":\"C{}\"}}\n", n % 4)
    };
    let rows: String = (0..300).map(row).collect();
    let config = r#"{"home": "C2"}"#;
    let by_columns = testing::rule::<by_columns>().config(config).run(&rows);
    let by_rows = testing::rule::<by_rows>().config(config).run(&rows);
    assert_eq!(by_columns, by_rows);
    assert!(by_rows.verdicts.iter().filter(|yes| **yes).count() > 50);
}

#[rule(batch)]
fn short(_batch: &Batch<Payment>) -> Result<Mask, String> {
    Ok(Mask::all(1_000, true))
}

#[test]
#[should_panic(expected = "the rule answered for 1000 rows of 1: make its mask with batch.rows()")]
fn a_mask_of_another_length_is_an_error() {
    testing::rule::<short>().run(r#"{"country":"x"}"#);
}

#[derive(Event)]
struct Text<'a> {
    text: &'a str,
}

#[derive(Output)]
struct Number {
    number: i64,
}

#[rule]
fn parse(text: &Text) -> Result<Option<Number>, Reject> {
    match text.text {
        "later" => Err(Reject::retry_after(Duration::from_secs(2), "not yet")),
        "" => Ok(None),
        text => Ok(Some(Number { number: text.parse().map_err(|error| format!("`{text}`: {error}"))? })),
    }
}

#[test]
fn a_rejected_row_is_alone() {
    let report = testing::rule::<parse>()
        .run("{\"text\":\"7\"}\n{\"text\":\"x\"}\n{\"text\":\"\"}\n{\"text\":\"later\"}\n{\"text\":\"8\"}");
    assert_eq!(report.verdicts, [true, false, false, false, true]);
    assert_eq!(report.notes, [(1, "`x`: invalid digit found in string".to_owned()), (3, "not yet".to_owned())]);
    assert_eq!((report.rows[0].as_str(), report.rows[2].as_str()), (r#"{"number":7}"#, r#"{"number":null}"#));
}

#[transform]
fn words(text: &Text, emit: &mut Emit<Word>) -> Result<(), Reject> {
    for word in text.text.split(' ') {
        emit.push(Word { word });
        if word == "stop" {
            return Err("asked to stop".into());
        }
    }
    Ok(())
}

#[derive(Output)]
struct Word<'a> {
    word: &'a str,
}

#[transform]
fn list<'a>(text: &Text<'a>) -> Vec<Word<'a>> {
    text.text.split(' ').map(|word| Word { word }).collect()
}

#[test]
fn a_rejected_row_leaves_no_rows_behind() {
    let rows = "{\"text\":\"a b\"}\n{\"text\":\"c stop d\"}\n{\"text\":\"e\"}";
    let words_of = |report: &Report| report.rows.join(" ");
    let report = testing::transform::<words>().run(rows);
    assert_eq!(words_of(&report), r#"{"word":"a"} {"word":"b"} {"word":"e"}"#);
    assert_eq!((report.source_rows.as_slice(), report.notes.len()), (&[0, 0, 2][..], 1));
    assert_eq!(testing::transform::<list>().run(rows).source_rows, [0, 0, 1, 1, 1, 2]);
}

#[rule]
fn talkative(text: &Text) -> bool {
    log::warn!("{} bytes", text.text.len());
    true
}

#[test]
fn log_lines_are_kept() {
    let test = testing::rule::<talkative>();
    test.run("{\"text\":\"abc\"}");
    assert_eq!(testing::log_lines(), [(log::Level::Warn, "3 bytes".to_owned())]);
}

#[rule]
fn forgetful(_text: &Text) -> bool {
    use std::sync::atomic::{AtomicU64, Ordering};
    static ROWS: AtomicU64 = AtomicU64::new(0);
    ROWS.fetch_add(1, Ordering::Relaxed).is_multiple_of(2)
}

#[test]
#[should_panic(expected = "the answer depends on how rows are cut into batches")]
fn an_answer_from_a_global_is_caught() {
    testing::rule::<forgetful>().run("{\"text\":\"a\"}\n{\"text\":\"b\"}\n{\"text\":\"c\"}");
}

mod functions {
    use tidemill_sdk::{Config, Reject, Timestamp, function, testing};

    #[derive(Config)]
    struct Scale {
        #[config(default = 2.0)]
        factor: f64,
    }

    /// Scales, and refuses what is negative.
    #[function]
    fn scaled(amount: f64, of: Option<&str>, config: &Scale) -> Result<Option<String>, Reject> {
        if amount < 0.0 {
            return Err(Reject::new(format!("{amount} is negative")));
        }
        Ok(of.map(|of| format!("{} {of}", amount * config.factor)))
    }

    #[test]
    fn a_function_gives_a_value_a_row() {
        let test = testing::function::<scaled>().config(r#"{"factor": 10}"#);
        let report = test.run(
            r#"{"amount": 1.5, "of": "apples"}
               {"amount": 2}
               {"of": "nothing"}
               {"amount": -1, "of": "debts"}
               {"amount": 3, "of": "pears"}"#,
        );
        assert_eq!(report.rows, [r#""15 apples""#, "null", "null", r#""""#, r#""30 pears""#]);
        assert_eq!(report.notes, [(3, "-1 is negative".to_owned())]);
        assert!(testing::function::<scaled>().config(r#"{"fcator": 1}"#).open().is_err());
    }

    /// The text itself, borrowed.
    #[function]
    #[expect(clippy::needless_lifetimes, reason = "an author may write them")]
    fn head<'a>(text: &'a str, length: i64) -> &'a str {
        text.get(..length as usize).unwrap_or(text)
    }

    /// No argument at all.
    #[function]
    fn epoch() -> Timestamp {
        Timestamp(0)
    }

    #[test]
    fn texts_are_borrowed_and_arguments_may_be_none() {
        let report = testing::function::<head>().run(r#"{"text": "tidemill", "length": 4}"#);
        assert_eq!(report.rows, [r#""tide""#]);
        assert_eq!(testing::function::<epoch>().run("{}").rows, [r#""1970-01-01T00:00:00Z""#]);
    }
}

mod aggregates {
    use tidemill_sdk::{Config, State, aggregate, testing};

    /// Forgets exactly: whole numbers.
    #[derive(State)]
    struct WeightedMean {
        sum: i64,
        weight: i64,
    }

    #[derive(Config)]
    struct Least {
        #[config(default = 0)]
        weight: i64,
    }

    /// The mean of values with weights.
    #[aggregate]
    impl WeightedMean {
        fn update(&mut self, value: i64, weight: Option<i64>) -> Result<(), String> {
            let weight = weight.unwrap_or(1);
            if weight < 0 {
                return Err(format!("a weight of {weight}"));
            }
            self.sum += value * weight;
            self.weight += weight;
            Ok(())
        }

        fn merge(&mut self, other: &Self) {
            self.sum += other.sum;
            self.weight += other.weight;
        }

        fn retract(&mut self, other: &Self) {
            self.sum -= other.sum;
            self.weight -= other.weight;
        }

        fn finish(&self, least: &Least) -> Option<f64> {
            (self.weight > least.weight).then(|| self.sum as f64 / self.weight as f64)
        }
    }

    const ROWS: &str = r#"
        {"k": "a", "value": 1, "weight": 3}
        {"k": "b", "value": 5}
        {"k": "a", "value": 3, "weight": 1}
        {"k": "a", "value": 9, "weight": -1}
        {"k": "b", "weight": 7}
        {"k": "c", "value": 1, "weight": 0}
    "#;

    #[test]
    fn an_aggregate_says_something_of_each_group() {
        let values = testing::aggregate::<WeightedMean>().by(&["k"]).run(ROWS);
        assert_eq!(values.of[r#"["a"]"#], "1.5");
        assert_eq!(values.of[r#"["b"]"#], "5");
        assert_eq!(values.of[r#"["c"]"#], "null");
        assert_eq!(values.notes, [(3, "a weight of -1".to_owned())]);
        assert_eq!(values.accumulators[r#"["a"]"#], r#"{"sum":6,"weight":4}"#);
        let values = testing::aggregate::<WeightedMean>().config(r#"{"weight": 4}"#).run(ROWS);
        assert_eq!(values.of["[]"], "2.2");
    }

    macro_rules! broken {
        ($name:ident, $update:expr, $merge:expr $(, $retract:expr)?) => {
            #[derive(State)]
            struct $name {
                sum: i64,
                rows: i64,
            }

            #[aggregate]
            impl $name {
                fn update(&mut self, value: i64) {
                    let update: fn(&mut Self, i64) = $update;
                    update(self, value);
                }

                fn merge(&mut self, other: &Self) {
                    let merge: fn(&mut Self, &Self) = $merge;
                    merge(self, other);
                }

                $(fn retract(&mut self, other: &Self) {
                    let retract: fn(&mut Self, &Self) = $retract;
                    retract(self, other);
                })?

                fn finish(&self) -> i64 {
                    self.sum + self.rows
                }
            }
        };
    }

    const NUMBERS: &str = "{\"value\": 1}\n{\"value\": 2}\n{\"value\": 3}";

    #[test]
    #[should_panic(expected = "the value depends on merges")]
    fn a_merge_that_loses_something_is_found() {
        broken!(Losing, |own, value| own.sum += value, |own, other| own.sum = own.sum.max(other.sum));
        testing::aggregate::<Losing>().run(NUMBERS);
    }

    #[test]
    #[should_panic(expected = "merging an accumulator that has seen nothing changed something")]
    fn a_merge_with_nothing_that_counts_is_found() {
        broken!(Counting, |own, value| own.sum += value, |own, other| {
            own.sum += other.sum;
            own.rows = 1;
        });
        // One row: its merges still agree.
        testing::aggregate::<Counting>().run("");
        broken!(
            Marking,
            |own, value| {
                own.sum += value;
                own.rows = 7;
            },
            |own, other| {
                own.sum += other.sum;
                own.rows = other.rows;
            }
        );
        testing::aggregate::<Marking>().run(NUMBERS);
    }

    #[test]
    #[should_panic(expected = "retracting what was merged does not give back the accumulator there was")]
    fn a_retract_that_leaves_something_is_found() {
        broken!(
            Leaving,
            |own, value| {
                own.sum += value;
                own.rows += 1;
            },
            |own, other| {
                own.sum += other.sum;
                own.rows += other.rows;
            },
            |own, other| own.sum -= other.sum
        );
        testing::aggregate::<Leaving>().run(NUMBERS);
    }

    #[test]
    #[should_panic(expected = "was rejected and changed its accumulator")]
    fn a_rejected_row_that_counts_is_found() {
        #[derive(State)]
        struct Careless {
            sum: i64,
        }

        #[aggregate]
        impl Careless {
            fn update(&mut self, value: i64) -> Result<(), &'static str> {
                self.sum += value;
                if value == 2 { Err("two") } else { Ok(()) }
            }

            fn merge(&mut self, other: &Self) {
                self.sum += other.sum;
            }

            fn finish(&self) -> i64 {
                self.sum
            }
        }
        testing::aggregate::<Careless>().run(NUMBERS);
    }
}

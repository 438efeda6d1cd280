//! What expressions give, row by row: one line of input, one line of outcome. Every case runs on plain and on dictionary columns.

mod common;

use arrow_array::Array;
use arrow_schema::DataType;
use expect_test::{Expect, expect};
use tidemill_expr::{AggregateText, Aggregated, Expression, Part};

fn check(sql: &str, rows: &str, expected: Expect) {
    let expression = Expression::parse(sql, &common::scope()).unwrap_or_else(|error| panic!("{sql}: {error}"));
    let rows = common::rows(rows);
    let plain = common::show(&expression, &expression.evaluate(&rows));
    let dictionaries = common::show(&expression, &expression.evaluate(&common::with_dictionaries(&rows)));
    assert_eq!(plain, dictionaries, "{sql}: plain and dictionary columns");
    expected.assert_eq(&plain);
}

const SALES: &str = "amount=20 country=US
amount=20 country=DE
amount=5 country=US
amount=20
country=US";

#[test]
fn conditions() {
    check("amount > 10 and country = 'US'", SALES, expect!["bool?: yes no no - -"]);
    check("amount > 10 or country = 'US'", SALES, expect!["bool?: yes yes yes yes yes"]);
    check("not (country = 'US')", SALES, expect!["bool?: no yes no - no"]);
    check("country is null", SALES, expect!["bool: no no no yes no"]);
    check("country in ('US', 'FR')", SALES, expect!["bool?: yes no yes - yes"]);
    check("country not in ('US', 'FR')", SALES, expect!["bool?: no yes no - no"]);
    check("country like 'D%'", SALES, expect!["bool?: no yes no - no"]);
    check("country is distinct from 'US'", SALES, expect!["bool?: no yes no yes no"]);
    check("amount between 5 and 10", SALES, expect!["bool?: no no yes no -"]);
    check("country ~ '^[A-E]'", SALES, expect!["bool?: no yes no - no"]);
}

#[test]
fn names() {
    let rows = "user=u1 user.country=US user-agent=curl";
    check("user || '/' || user.country", rows, expect!["string?: u1/US"]);
    check("a.user || '/' || a.user.country", rows, expect!["string?: u1/US"]);
    check("\"user-agent\"", rows, expect!["string?: curl"]);
    check("a.\"user-agent\" = 'curl'", rows, expect!["bool?: yes"]);
    check("\"user.country\" = \"user\".\"country\"", rows, expect!["bool?: yes"]);
}

#[test]
fn text() {
    check("upper(country)", "country=us\ncountry=~x\ncountry=us\namount=1", expect!["string?: US  X US -"]);
    check("coalesce(country, 'none')", "country=us\namount=1\ncountry=us", expect!["string: us none us"]);
    check("nullif(country, 'us')", "country=us\ncountry=de\ncountry=de", expect!["string?: - de de"]);
    check("length(country) + 1", "country=us\ncountry=deu", expect!["int64?: 3 4"]);
    check("case country when 'us' then 1 when 'de' then 2 end", "country=us\ncountry=de\ncountry=x", expect!["int64?: 1 2 -"]);
    check("concat(country, '-', user)", "country=us\ncountry=de", expect!["string?: us-u de-u"]);
    check("split_part(country, '.', 2)", "country=a.b\ncountry=a", expect!["string?: b "]);
    check("regexp_replace(country, '[0-9]+', '#')", "country=a12\ncountry=b", expect!["string?: a# b"]);
    check("substring(country from 2 for 2)", "country=abcd", expect!["string?: bc"]);
    check("trim(both 'x' from country)", "country=xax", expect!["string?: a"]);
    check("strpos(country, 'b')", "country=abc", expect!["int64?: 2"]);
    check("payload", "payload={\"a\":1}", expect![[r#"json?: {"a":1}"#]]);
    check("payload || ''", "payload={\"a\":1}", expect![[r#"string?: {"a":1}"#]]);
    check("user", "user=u1", expect!["string: u1"]);
}

#[test]
fn numbers() {
    check("amount / b", "amount=7 b=2\namount=7 b=0\nb=0", expect!["int64?: 3 !(division by zero) -"]);
    check("amount % b", "amount=7 b=4\namount=7 b=0", expect!["int64?: 3 !(division by zero)"]);
    check("amount + 1", "amount=1\namount=9223372036854775807", expect!["int64?: 2 !(overflow: 9223372036854775807 + 1)"]);
    check(
        "amount * b",
        "amount=4611686018427387904 b=2\namount=3 b=4",
        expect!["int64?: !(overflow: 4611686018427387904 * 2) 12"],
    );
    check("-amount", "amount=3\namount=-9223372036854775808", expect!["int64?: -3 !(overflow: 0 - -9223372036854775808)"]);
    check("price / 2", "price=3\nprice=1e308", expect!["float64?: 1.5 5e307"]);
    check(
        "price / b",
        "price=3 b=0\nprice=0 b=0\nprice=3 b=2",
        expect![
            "float64?: !(the number is not finite (a division by zero, or too large)) !(the number is not finite (a division by zero, or too large)) 1.5"
        ],
    );
    check(
        "price * price",
        "price=1e200\nprice=2",
        expect!["float64?: !(the number is not finite (a division by zero, or too large)) 4.0"],
    );
    check("amount * 1.609", "amount=10", expect!["float64?: 16.09"]);
    check("sqrt(price)", "price=9\nprice=-1", expect!["float64?: 3.0 !(cannot take square root of a negative number)"]);
    check("total > 10.5", "total=10.51\ntotal=10.50", expect!["bool?: yes no"]);
    check("total * 2", "total=10.51", expect!["decimal(33,2)?: 21.02"]);
    check("total", "total=10.51", expect!["decimal(12,2)?: 10.51"]);
    check(
        "cast(country as bigint)",
        "country=12\ncountry=x\namount=1",
        expect!["int64?: 12 !(Cannot cast string 'x' to value of Int64 type) -"],
    );
    check("try_cast(country as bigint)", "country=12\ncountry=x", expect!["int64?: 12 -"]);
    check("cast(price as bigint)", "price=2.7\nprice=1e30", expect!["int64?: 2 !(Can't cast value 1e30 to type Int64)"]);
    check("abs(amount)", "amount=-3", expect!["int64?: 3"]);
    check("round(price, 1)", "price=2.26", expect!["float64?: 2.3"]);
    check("ceil(price)", "price=2.1", expect!["float64?: 3.0"]);
    check(
        "cast(amount as int)",
        "amount=3\namount=3000000000",
        expect!["int64?: 3 !(Can't cast value 3000000000 to type Int32)"],
    );
    check("9223372036854775807", "amount=1", expect!["int64: 9223372036854775807"]);
    check("greatest(amount, b)", "amount=1 b=2\namount=1", expect!["int64?: 2 1"]);
}

#[test]
fn what_the_left_side_settles_the_right_is_not_asked() {
    let rows = "amount=7 b=2\namount=7 b=0\namount=7\namount=1 b=2\namount=7 b=0";
    check("b <> 0 and amount / b > 1", rows, expect!["bool?: yes no - no no"]);
    check("b = 0 or amount / b > 1", rows, expect!["bool?: yes yes - no yes"]);
    check("amount / b > 1 and b <> 0", rows, expect!["bool?: yes !(division by zero) - no !(division by zero)"]);
    check("case when b <> 0 then amount / b else -1 end", rows, expect!["int64?: 3 -1 -1 0 -1"]);
    check("case when b = 0 then -1 else amount / b end", rows, expect!["int64?: 3 -1 - 0 -1"]);
    check("coalesce(b, amount / 0 * b)", "b=1", expect!["int64?: 1"]);
}

#[test]
fn times() {
    let rows = "_time=2026-01-01T12:30:00Z at=2026-01-02T00:00:00.5Z";
    check("_time", rows, expect!["timestamp: 2026-01-01T12:30:00.000000Z"]);
    check("at", rows, expect!["timestamp ms?: 2026-01-02T00:00:00.500000Z"]);
    check("a._time < at", rows, expect!["bool?: yes"]);
    check("_time >= '2026-01-01T12:30:00Z'", rows, expect!["bool: yes"]);
    check("_time >= '2026-01-01T13:30:00+01:00'", rows, expect!["bool: yes"]);
    check("_time < '2026-01-01T12:30:00.000001Z'", rows, expect!["bool: yes"]);
    check("_time < timestamp '2026-01-01T12:30:00.000001Z'", rows, expect!["bool: yes"]);
    check("_time + interval '90 minutes'", rows, expect!["timestamp: 2026-01-01T14:00:00.000000Z"]);
    check("date_trunc('hour', _time)", rows, expect!["timestamp: 2026-01-01T12:00:00.000000Z"]);
    check("cast(_time as date)", rows, expect!["timestamp: 2026-01-01T00:00:00.000000Z"]);
    check("extract(hour from _time)", rows, expect!["int64: 12"]);
    check("date_part('epoch', at)", rows, expect!["float64?: 1767312000.5"]);
    check("cast(at as bigint) - cast(_time as bigint)", rows, expect!["int64?: 41400500000"]);
    check(
        "to_timestamp(country)",
        "country=2026-01-01T00:00:00Z\ncountry=x",
        expect![
            "timestamp?: 2026-01-01T00:00:00.000000Z !(Error parsing timestamp from 'x': timestamp must contain at least 10 characters)"
        ],
    );
    check("to_timestamp_millis(amount)", "amount=1500", expect!["timestamp?: 1970-01-01T00:00:01.500000Z"]);
    check("date_bin(interval '15 minutes', _time)", rows, expect!["timestamp?: 2026-01-01T12:30:00.000000Z"]);
}

#[test]
fn constants_and_types() {
    check("true", "amount=1\namount=2", expect!["bool: yes yes"]);
    check("'x'", "amount=1\namount=2", expect!["string: x x"]);
    check("cast(null as varchar)", "amount=1", expect!["string?: -"]);
    check("raw", "raw=ab", expect!["bytes?: [97, 98]"]);
    check("ok", "ok=true\namount=1", expect!["bool?: yes -"]);
    check("ok is not true", "ok=true\nok=false\namount=1", expect!["bool?: no yes yes"]);
    check("amount", "", expect!["int64?: "]);
    check("country = 'x'", "", expect!["bool?: "]);
    check("encode(raw, 'hex')", "raw=ab", expect!["string?: 6162"]);
    check("amount = 1 and /* why */ ok -- because", "amount=1 ok=true", expect!["bool?: yes"]);
}

#[test]
fn text_from_a_dictionary_stays_one() {
    let rows = common::with_dictionaries(&common::rows(
        "country=us\ncountry=de\ncountry=us\ncountry=us\namount=1\ncountry=de\ncountry=x",
    ));
    for (sql, is_dictionary) in
        [("country", true), ("upper(country)", true), ("country || user", false), ("nullif(country, 'us')", true)]
    {
        let evaluated = Expression::parse(sql, &common::scope()).expect("valid").evaluate(&rows);
        assert_eq!(matches!(evaluated.values.data_type(), DataType::Dictionary(..)), is_dictionary, "{sql}");
    }
    let lower = Expression::parse("nullif(country, 'us')", &common::scope()).expect("valid").evaluate(&rows);
    assert_eq!(lower.values.null_count(), 4, "what is null is null by its key");
}

#[test]
fn what_it_reads_is_known() {
    let expression = Expression::parse("a.user.country = user and amount > 1", &common::scope()).expect("valid");
    let columns: Vec<&str> = expression.columns().iter().map(AsRef::as_ref).collect();
    assert_eq!(columns, ["amount", "user.country", "user"]);
}

#[test]
fn expressions_over_many_rows_are_taken_apart() {
    let check = |sql: &str, expected: Expect| {
        let shown = match Aggregated::parse(sql, &["count", "sum", "max"]) {
            Ok(Aggregated { calls, rest }) => {
                let part = |part: &Part| part.to_string();
                let call = |call: &AggregateText| {
                    let distinct = if call.is_distinct { "distinct " } else { "" };
                    let filter = call.filter.as_ref().map_or_else(String::new, |filter| format!(" where {filter}"));
                    format!(
                        "{}({distinct}{}){filter}; ",
                        call.function,
                        call.arguments.iter().map(part).collect::<Vec<_>>().join(", ")
                    )
                };
                format!("{}{rest}{}", calls.iter().map(call).collect::<String>(), if rest.is_name() { " alone" } else { "" })
            }
            Err(error) => format!("refused: {error}"),
        };
        expected.assert_eq(&shown);
    };
    check("count(*)", expect![[r#"count(); "count(*)" alone"#]]);
    check(
        "SUM(amount * 2) / count(*) - sum(amount * 2)",
        expect![[r#"sum(amount * 2); count(); "sum(amount * 2)" / "count(*)" - "sum(amount * 2)""#]],
    );
    check("round(max(b) filter (where ok), 2)", expect![[r#"max(b) where ok; round("max(b) FILTER (WHERE ok)", 2)"#]]);
    check(
        "case when count(distinct country) > 3 then 'many' else substring(max(country) from 1 for 2) end",
        expect![[
            r#"count(distinct country); max(country); CASE WHEN "count(DISTINCT country)" > 3 THEN 'many' ELSE SUBSTRING("max(country)" FROM 1 FOR 2) END"#
        ]],
    );
    check("amount + 1", expect!["amount + 1"]);
    check(
        "max(sum(b))",
        expect![
            "refused: `sum` inside another aggregate (line 1, column 5): aggregate in one `window` step, and its results in a second one behind it"
        ],
    );
    check(
        "stddev_pop(b)",
        expect!["refused: there is no aggregate `stddev_pop` (line 1, column 1): there are `count`, `sum`, `max`"],
    );
    check(
        "sum(b) over (partition by country)",
        expect!["refused: `sum` has an `over` of its own (line 1, column 1): leave `over (…)` out: the step says which rows"],
    );
    check(
        "max(b order by amount)",
        expect![
            "refused: `max` takes no `order by`, `within group`, `ignore nulls` or the like (line 1, column 1): leave it out; nulls are left out anyway, `first` and `last` are by event time"
        ],
    );
    check("sum(b", expect!["refused: Expected: ), found: EOF: the expression ends too early"]);
}

#[test]
fn conditions_fall_apart_at_and() {
    let whole = Part::parse("a.x = b.y and (b.z > 3 or a.x = 1) and ((a.q = b.q and not a.w))").expect("an expression");
    let parts = whole.conjuncts();
    let shown: Vec<String> = parts
        .iter()
        .map(|part| match part.equality() {
            Some((left, right)) => format!("{left} is {right}"),
            None => part.to_string(),
        })
        .collect();
    expect!["a.x is b.y | b.z > 3 OR a.x = 1 | a.q is b.q | NOT a.w"].assert_eq(&shown.join(" | "));
    expect!["(((a.x = b.y) AND (b.z > 3 OR a.x = 1)) AND (a.q = b.q)) AND (NOT a.w)"]
        .assert_eq(&Part::all(parts).expect("some").to_string());
    assert_eq!(Part::all([]), None);
    let deep = vec!["1"; 2000].join(" + ");
    let refused = [Part::parse(&deep).map(drop), Aggregated::parse(&format!("{deep} + count(*)"), &["count"]).map(drop)];
    assert!(refused.iter().all(|refused| refused.as_ref().is_err_and(|error| error.message.contains("400 operators"))));
    assert_eq!(Part::parse("-0.5").expect("a number").number().as_deref(), Some("-0.5"));
    assert_eq!(Part::parse("a.x").expect("a name").number(), None);
}

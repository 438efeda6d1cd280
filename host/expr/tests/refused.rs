//! What is refused, where, and with which remedy.

#[expect(dead_code, reason = "each test binary uses a part of it")]
mod common;

use expect_test::{Expect, expect};
use tidemill_event::{Field, FieldType};
use tidemill_expr::{Expression, Scope, ScopeColumn};

fn check(sql: &str, expected: Expect) {
    match Expression::parse(sql, &common::scope()) {
        Ok(_) => panic!("`{sql}` was taken"),
        Err(error) => expected.assert_eq(&error.to_string()),
    }
}

#[test]
fn unknown_names() {
    check(
        "amout > 10",
        expect![[
            r#"there is no column `amout` (line 1, column 1): did you mean `amount`? columns are amount, b, price, total, country, user.country, user, ok, at, raw, payload, "user-agent", _time"#
        ]],
    );
    check(
        "Amount > 10",
        expect![[
            r#"there is no column `Amount` (line 1, column 1): did you mean `amount`? Names are case-sensitive. columns are amount, b, price, total, country, user.country, user, ok, at, raw, payload, "user-agent", _time"#
        ]],
    );
    check(
        "ok and\n  usr.country = 'x'",
        expect![[
            r#"there is no column `usr.country` (line 2, column 3): did you mean `user.country`? columns are amount, b, price, total, country, user.country, user, ok, at, raw, payload, "user-agent", _time"#
        ]],
    );
    check(
        "country = US",
        expect![[
            r#"there is no column `US` (line 1, column 11): columns are amount, b, price, total, country, user.country, user, ok, at, raw, payload, "user-agent", _time; texts stand in single quotes"#
        ]],
    );
    check(
        "country = \"US\"",
        expect![[
            r#"there is no column `US` (line 1, column 11): columns are amount, b, price, total, country, user.country, user, ok, at, raw, payload, "user-agent", _time; texts stand in single quotes"#
        ]],
    );
    check(
        "payload.user.id = 3",
        expect![
            "there is no column `payload.user.id` (line 1, column 1): `payload` is json and read as text; declare `payload.user.id` as a field of the stream"
        ],
    );
    check(
        "user-agent = 'x'",
        expect![[
            r#"there is no column `agent` (line 1, column 6): did you mean `"a.user-agent"`? columns are amount, b, price, total, country, user.country, user, ok, at, raw, payload, "user-agent", _time"#
        ]],
    );
    check(
        "b.amount > 1",
        expect![[
            r#"there is no column `b.amount` (line 1, column 1): did you mean `a.amount`? columns are amount, b, price, total, country, user.country, user, ok, at, raw, payload, "user-agent", _time"#
        ]],
    );
}

#[test]
fn ambiguous_names() {
    let column = |qualifier: &str, name: &str| ScopeColumn {
        qualifier: Some(qualifier.to_owned()),
        field: Field::new(name, FieldType::Int64, true),
    };
    let scope = Scope::new(vec![column("a", "origin"), column("b", "origin"), column("b", "x")]);
    let error = |sql: &str| Expression::parse(sql, &scope).map(|_| ()).expect_err("refused").to_string();
    expect!["`origin` is ambiguous: `a.origin` or `b.origin` (line 1, column 1): name the source, as in `a.name`, or give it another `as`"].assert_eq(&error("origin = 1"));
    let both = Expression::parse("a.origin = b.origin and x = 1", &scope).expect("told apart");
    assert_eq!(both.columns().iter().map(AsRef::as_ref).collect::<Vec<&str>>(), ["a.origin", "b.origin", "x"]);
    let scope = Scope::new(vec![column("a", "b.x"), column("a.b", "x")]);
    let error = Expression::parse("a.b.x = 1", &scope).map(|_| ()).expect_err("refused").to_string();
    expect![
        "`a.b.x` is ambiguous: `a.b.x` or `a.b.x` (line 1, column 1): name the source, as in `a.name`, or give it another `as`"
    ]
    .assert_eq(&error);
}

#[test]
fn syntax() {
    check("", expect!["the expression is empty: write one, for example `amount > 10`"]);
    check("amount >", expect!["Expected: an expression, found: EOF: the expression ends too early"]);
    check(
        "amount > 10 20",
        expect![[
            r#"`20` follows where the expression should end (line 1, column 13): write one SQL expression; texts stand in 'single quotes', and column names that are SQL words or have other signs in "double quotes""#
        ]],
    );
    check(
        "amount > 10; drop",
        expect![[
            r#"`;` follows where the expression should end (line 1, column 12): write one SQL expression; texts stand in 'single quotes', and column names that are SQL words or have other signs in "double quotes""#
        ]],
    );
    check(
        "country = 'US",
        expect![[
            r#"Unterminated string literal (line 1, column 11): write one SQL expression; texts stand in 'single quotes', and column names that are SQL words or have other signs in "double quotes""#
        ]],
    );
    check(
        "amount == = 3",
        expect![[
            r#"Expected: an expression, found: = (line 1, column 11): write one SQL expression; texts stand in 'single quotes', and column names that are SQL words or have other signs in "double quotes""#
        ]],
    );
    check(
        "select 1",
        expect![[
            r#"`1` follows where the expression should end (line 1, column 8): write one SQL expression; texts stand in 'single quotes', and column names that are SQL words or have other signs in "double quotes""#
        ]],
    );
    check("(((amount)", expect!["Expected: ), found: EOF: the expression ends too early"]);
    check("amount > ?", expect!["placeholders have no value here (line 1, column 10): write the value itself"]);
}

#[test]
fn over_many_rows() {
    check(
        "sum(amount) > 10",
        expect![
            "`sum` is over many rows, and an expression sees one (line 1, column 1): aggregate in a `window` step, or keep state in a rule component"
        ],
    );
    check(
        "count(*)",
        expect![
            "`count` is over many rows, and an expression sees one (line 1, column 1): aggregate in a `window` step, or keep state in a rule component"
        ],
    );
    check(
        "row_number() over ()",
        expect![
            "`over` is over many rows, and an expression sees one (line 1, column 1): aggregate in a `window` step, or keep state in a rule component"
        ],
    );
    check(
        "amount in (select 1)",
        expect![
            "an expression sees one row and can ask no other (line 1, column 1): join streams in a `join` step, or look values up in a `lookup` step"
        ],
    );
    check(
        "exists (select 1)",
        expect![
            "an expression sees one row and can ask no other (line 1, column 9): join streams in a `join` step, or look values up in a `lookup` step"
        ],
    );
    check(
        "amount = (select max(x) from t)",
        expect![
            "an expression sees one row and can ask no other (line 1, column 11): join streams in a `join` step, or look values up in a `lookup` step"
        ],
    );
}

#[test]
fn not_the_same_each_time() {
    check(
        "_time > now()",
        expect![
            "`now` reads a clock, and an expression must give the same for the same row, also when it is replayed (line 1, column 9): use `_time`, the event's own time, or a field"
        ],
    );
    check(
        "current_date",
        expect![
            "`current_date` reads a clock, and an expression must give the same for the same row, also when it is replayed (line 1, column 1): use `_time`, the event's own time, or a field"
        ],
    );
    check(
        "current_timestamp > _time",
        expect![
            "`current_timestamp` reads a clock, and an expression must give the same for the same row, also when it is replayed (line 1, column 1): use `_time`, the event's own time, or a field"
        ],
    );
    check(
        "random() < 0.5",
        expect![
            "`random` gives something else each time, and an expression must give the same for the same row, also when it is replayed (line 1, column 1): put what it should give into the event where it is made, or derive it from fields"
        ],
    );
    check(
        "uuid()",
        expect![
            "`uuid` gives something else each time, and an expression must give the same for the same row, also when it is replayed (line 1, column 1): put what it should give into the event where it is made, or derive it from fields"
        ],
    );
    check(
        "arrow_typeof(amount) = 'Int64'",
        expect!["`arrow_typeof` says nothing about a row (line 1, column 1): use functions of the row's values"],
    );
}

#[test]
fn functions() {
    check("uper(country)", expect!["there is no function `uper` (line 1, column 1): did you mean `upper`?"]);
    check(
        "frobnicate(country)",
        expect![
            "there is no function `frobnicate` (line 1, column 1): use SQL's scalar functions (text, numbers, dates, regular expressions, coalesce, case)"
        ],
    );
    check(
        "upper(country, 1)",
        expect![
            "Function 'upper' expects 1 arguments but received 2: check types and arguments (country is string); `cast(… as bigint | double | varchar | timestamp)` changes a type"
        ],
    );
    check(
        "upper(distinct country)",
        expect![
            "`upper` takes values only, no `distinct`, `order by`, `filter` or the like (line 1, column 1): leave it out; what is over many rows belongs in a `window` step"
        ],
    );
    check(
        "my.fn(country)",
        expect![
            "there is no function `my.fn` (line 1, column 1): use SQL's scalar functions (text, numbers, dates, regular expressions, coalesce, case)"
        ],
    );
}

#[test]
fn types() {
    check(
        "ok > 3 and ok + 1",
        expect![
            "Cannot infer common argument type for comparison operation Boolean > Int64: check types and arguments (ok is bool); `cast(… as bigint | double | varchar | timestamp)` changes a type"
        ],
    );
    check(
        "_time > 'yesterday'",
        expect![
            "Error parsing timestamp from 'yesterday': timestamp must contain at least 10 characters: check types and arguments (_time is timestamp); `cast(… as bigint | double | varchar | timestamp)` changes a type"
        ],
    );
    check(
        "_time - at",
        expect![
            "a length of time is no value a stream can hold: for the µs between two times write `cast(a as bigint) - cast(b as bigint)`, for a part of a time `date_part('hour', a)`"
        ],
    );
    check("null", expect!["a bare null has no type: give it one: `cast(null as varchar)`"]);
    check(
        "interval '1 hour'",
        expect![
            "a length of time is no value a stream can hold: for the µs between two times write `cast(a as bigint) - cast(b as bigint)`, for a part of a time `date_part('hour', a)`"
        ],
    );
    check(
        "[amount]",
        expect![
            "there are no arrays and objects in expressions (line 1, column 2): declare what is inside as a field of its own (`user.country`); json is read as text"
        ],
    );
    check(
        "raw + 1",
        expect![
            "Cannot coerce arithmetic expression Binary + Int64 to valid types: check types and arguments (raw is bytes); `cast(… as bigint | double | varchar | timestamp)` changes a type"
        ],
    );
    check(
        "amount > 1 / 0",
        expect![
            "division by zero: check types and arguments (amount is int64); `cast(… as bigint | double | varchar | timestamp)` changes a type"
        ],
    );
    check(
        "9223372036854775807 + 1",
        expect!["overflow: 9223372036854775807 + 1: change the constants or the function's arguments"],
    );
    check(
        "cast('x' as bigint)",
        expect!["Cannot cast string 'x' to value of Int64 type: change the constants or the function's arguments"],
    );
    check(
        "cast(amount as uuid)",
        expect![
            "Unsupported SQL type UUID: check types and arguments (amount is int64); `cast(… as bigint | double | varchar | timestamp)` changes a type"
        ],
    );
}

#[test]
fn conditions_are_true_or_false() {
    let error = |sql: &str| Expression::parse_condition(sql, &common::scope()).map(|_| ()).expect_err("refused").to_string();
    expect!["a condition must be true or false, this is int64: compare it with something: `… > 0`, `… is not null`"]
        .assert_eq(&error("amount"));
    expect!["a condition must be true or false, this is string: compare it with something: `… > 0`, `… is not null`"]
        .assert_eq(&error("country || 'x'"));
    assert!(Expression::parse_condition("ok", &common::scope()).is_ok());
}

#[test]
fn bounds() {
    let error = |sql: &str| Expression::parse(sql, &common::scope()).map(|_| ()).expect_err("refused").to_string();
    let deep = format!("{}amount{} > 1", "(".repeat(5000), ")".repeat(5000));
    expect!["the expression has 10003 words and signs, at most 4096 are taken: split it into several steps (`extend` first, then `where`), or make it a component"].assert_eq(&error(&deep));
    expect!["the expression nests deeper than 64 levels: split it into several steps (`extend` first, then `where`)"]
        .assert_eq(&error(&format!("{}amount{} > 1", "(".repeat(100), ")".repeat(100))));
    expect!["the expression is more than 400 operators deep: use `in (…)` for long lists, or split it into several steps (`extend` first, then `where`)"].assert_eq(&error(&vec!["ok"; 2000].join(" or ")));
    expect!["the expression has 5999 words and signs, at most 4096 are taken: split it into several steps (`extend` first, then `where`), or make it a component"].assert_eq(&error(&vec!["amount"; 3000].join(" + ")));
    expect!["the expression has 70012 bytes, at most 65536 are taken: split it into several steps (`extend` first, then `where`), or make it a component"].assert_eq(&error(&format!("country = '{}'", "x".repeat(70_000))));
    // Within the bounds, and deep.
    let long = Expression::parse(&vec!["amount > 1"; 390].join(" and "), &common::scope()).expect("within the bounds");
    assert_eq!(long.evaluate(&common::rows("amount=2\namount=1")).failed.len(), 0);
}

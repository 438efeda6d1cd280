//! Texts and what is read of them.

use expect_test::{Expect, expect};

use super::*;
use crate::aggregates::Part;

fn show(pattern: &PatternText) -> String {
    let list = |parts: &[PatternText], between: &str| parts.iter().map(show).collect::<Vec<_>>().join(between);
    match &pattern.kind {
        PatternKind::Variable(name) => name.clone(),
        PatternKind::Empty => "()".to_owned(),
        PatternKind::Sequence(parts) => format!("({})", list(parts, " ")),
        PatternKind::Choice(parts) => format!("({})", list(parts, " | ")),
        PatternKind::Permute(parts) => format!("PERMUTE({})", list(parts, ", ")),
        PatternKind::Repeat { pattern, min, max, is_greedy } => {
            let max = max.map_or_else(String::new, |max| max.to_string());
            format!("{}{{{min},{max}}}{}", show(pattern), if *is_greedy { "" } else { "?" })
        }
        PatternKind::Exclude(inner) => format!("{{-{}-}}", show(inner)),
    }
}

fn check(sql: &str, expected: Expect) {
    let told = match MatchText::parse(sql) {
        Ok(text) => {
            let names = |names: &[NameText]| names.iter().map(|name| name.name.as_str()).collect::<Vec<_>>().join(", ");
            let order: Vec<String> = text.order_by.iter().map(|(name, desc)| format!("{} {desc}", name.name)).collect();
            let measures: Vec<String> =
                text.measures.iter().map(|measure| format!("{} = {}", measure.name.name, measure.expression)).collect();
            let subsets: Vec<String> = text.subsets.iter().map(|(name, of)| format!("{} = {}", name.name, names(of))).collect();
            let defines: Vec<String> =
                text.defines.iter().map(|define| format!("{}: {}", define.name.name, define.condition)).collect();
            format!(
                "by {}; order {}; measures {}; {:?}; {}; {}; within {:?}; subsets {}; {}",
                names(&text.partition_by),
                order.join(", "),
                measures.join(", "),
                text.rows,
                match &text.skip {
                    SkipText::PastLast => "past last".to_owned(),
                    SkipText::ToNext => "to next".to_owned(),
                    SkipText::ToFirst(name) => format!("to first {}", name.name),
                    SkipText::ToLast(name) => format!("to last {}", name.name),
                },
                show(&text.pattern),
                text.within,
                subsets.join(", "),
                defines.join(", "),
            )
        }
        Err(error) => error.to_string(),
    };
    expected.assert_eq(&told);
}

#[test]
fn all_clauses_are_read() {
    check(
        "MATCH_RECOGNIZE (PARTITION BY symbol, user.country ORDER BY _time
           MEASURES FIRST(A.price) AS begun, FINAL LAST(price) AS ended, count(*) as n
           ALL ROWS PER MATCH WITH UNMATCHED ROWS AFTER MATCH SKIP TO LAST B
           PATTERN (A B+? (C | {- D E -}){2,} PERMUTE(F, G)? ()) WITHIN INTERVAL '1.5' HOUR
           SUBSET U = (A, B), V = (C) DEFINE B AS B.price < PREV(B.price), C AS true)",
        expect![
            "by symbol, user.country; order _time false; measures begun = FIRST(A.price), ended = FINAL LAST(price), n = count(*); AllWithUnmatched; to last B; (A B{1,}? (C | {-(D E)-}){2,} PERMUTE(F, G){0,1} ()); within Some(5400s); subsets U = A, B, V = C; B: B.price < PREV(B.price), C: true"
        ],
    );
    check(
        "PATTERN (A*? B{3} C{,2}? D??)",
        expect!["by ; order ; measures ; One; past last; (A{0,}? B{3,3} C{0,2}? D{0,1}?); within None; subsets ; "],
    );
    check(
        "ALL ROWS PER MATCH SHOW EMPTY MATCHES AFTER MATCH SKIP TO NEXT ROW PATTERN (A|B) WITHIN INTERVAL '90 seconds'",
        expect!["by ; order ; measures ; AllShowEmpty; to next; (A | B); within Some(90s); subsets ; "],
    );
}

#[test]
fn what_is_no_such_clause_is_refused_where_it_stands() {
    let clauses = "the clauses are PARTITION BY, ORDER BY, MEASURES, ONE ROW or ALL ROWS PER MATCH, AFTER MATCH SKIP, PATTERN, WITHIN, SUBSET, DEFINE, in this order";
    let refused = |sql: &str, words: &str| {
        let error = MatchText::parse(sql).expect_err(sql).to_string();
        assert_eq!(error.strip_suffix(clauses).unwrap_or(&error).trim_end_matches(": "), words, "{sql}");
    };
    refused("DEFINE A AS true", "`DEFINE` stands where PATTERN, or a clause before it, should be (line 1, column 1)");
    refused("PATTERN (A", "the text ends where `)` behind the pattern should be");
    refused("PATTERN (A |)", "`)` stands where a variable of the pattern, or `()` for no row, should be (line 1, column 13)");
    refused(
        "PATTERN (^A)",
        "`^` (the start of the partition) is not supported (line 1, column 10): leave it out: a key of a stream has no first row that is known to be its first",
    );
    refused(
        "PATTERN (A $)",
        "`$` (the end of the partition) is not supported (line 1, column 12): leave it out: a stream has no last row; `WITHIN` ends a match",
    );
    refused(
        "PATTERN (A+*)",
        "a quantifier behind a quantifier (line 1, column 12): put parentheses around what is repeated twice: `(A+)*`",
    );
    refused("PATTERN (A{})", "`}` stands where a range such as `{2}`, `{2,}`, `{,3}` or `{2,3}` should be (line 1, column 12)");
    refused(
        "PATTERN (A) WITHIN INTERVAL '1' MONTH",
        "`MONTH` has no fixed length here (line 1, column 20): write `WITHIN INTERVAL '10' MINUTE`",
    );
    refused("MEASURES price PATTERN (A)", "`PATTERN` stands where AS and a name for the measure should be (line 1, column 16)");
    refused("PATTERN (A) DEFINE A AS true extra", "`extra` stands where the end should be (line 1, column 30)");
}

fn check_terms(sql: &str, own: Option<&str>, expected: Expect) {
    let of = TermsOf { variables: &["A", "B", "U"], aggregates: &["count", "sum", "avg"], own, has_final: own.is_none() };
    // Through the clauses, which join FINAL and the name behind it.
    let text = MatchText::parse(&format!("MEASURES {sql} AS x PATTERN (A)"));
    let told = match text.and_then(|text| text.measures[0].expression.match_terms(of)) {
        Ok((terms, rest)) => {
            let place = |place: &NavigationText| {
                let NavigationText { of, is_first, logical, physical, is_final } = place;
                format!(
                    "{}{}{} {logical} {physical:+}",
                    of.as_deref().unwrap_or("*"),
                    if *is_first { " first" } else { " last" },
                    if *is_final { " final" } else { "" }
                )
            };
            let term = |term: &TermText| {
                let kind = match &term.kind {
                    TermKind::Column(column, of) => format!("{column} of {}", place(of)),
                    TermKind::Classifier(of) => format!("classifier of {}", place(of)),
                    TermKind::MatchNumber => "number".to_owned(),
                    TermKind::Aggregate { call, of, is_final } => {
                        let arguments: Vec<String> = call.arguments.iter().map(Part::to_string).collect();
                        format!(
                            "{}({}) of {}{}",
                            call.function,
                            arguments.join(", "),
                            of.as_deref().unwrap_or("*"),
                            if *is_final { " final" } else { "" }
                        )
                    }
                };
                format!("{} = {kind}\n", term.name)
            };
            format!("{}{rest}", terms.iter().map(term).collect::<String>())
        }
        Err(error) => error.to_string(),
    };
    expected.assert_eq(&told);
}

#[test]
fn terms_are_taken_out() {
    check_terms(
        "A.price + price > prev(price) * 2",
        None,
        expect![[r#"
        A.price = price of A last 0 +0
        price = price of * last 0 +0
        PREV(price, 1) = price of * last 0 -1
        "A.price" + "price" > "PREV(price, 1)" * 2"#]],
    );
    check_terms(
        "LAST(B.user.country, 2) || NEXT(FIRST(A.x), 3) || FINAL LAST(A.x)",
        None,
        expect![[r#"
        LAST(B.user.country, 2) = user.country of B last 2 +0
        NEXT(FIRST(A.x), 3) = x of A first 0 +3
        FINAL LAST(A.x) = x of A last final 0 +0
        "LAST(B.user.country, 2)" || "NEXT(FIRST(A.x), 3)" || "FINAL LAST(A.x)""#]],
    );
    check_terms(
        "CLASSIFIER(U) = CLASSIFIER() and MATCH_NUMBER() > 1",
        None,
        expect![[r#"
        CLASSIFIER(U) = classifier of U last 0 +0
        CLASSIFIER() = classifier of * last 0 +0
        MATCH_NUMBER() = number
        "CLASSIFIER(U)" = "CLASSIFIER()" AND "MATCH_NUMBER()" > 1"#]],
    );
    check_terms(
        "count(*) + COUNT(B.*) + sum(U.price * U.qty) + FINAL avg(price)",
        None,
        expect![[r#"
        count(*) = count() of *
        count(B.*) = count() of B
        sum(U."price" * "qty") = sum("price" * "qty") of U
        FINAL avg(price) = avg(price) of * final
        "count(*)" + "count(B.*)" + "sum(U.""price"" * ""qty"")" + "FINAL avg(price)""#]],
    );
}

#[test]
fn the_last_row_of_the_variable_that_is_defined_is_the_row_itself() {
    check_terms(
        "A.price < PREV(A.price) and LAST(A.price) > FIRST(A.price) and LAST(A.price, 1) < B.price",
        Some("A"),
        expect![[r#"
        price = price of * last 0 +0
        PREV(price, 1) = price of * last 0 -1
        FIRST(A.price) = price of A first 0 +0
        LAST(A.price, 1) = price of A last 1 +0
        B.price = price of B last 0 +0
        "price" < "PREV(price, 1)" AND "price" > "FIRST(A.price)" AND "LAST(A.price, 1)" < "B.price""#]],
    );
}

#[test]
fn what_is_no_term_is_refused() {
    check_terms(
        "A > 1",
        None,
        expect!["`A` is a variable of the pattern and no column (line 1, column 10): name a column of its rows: `A.price`"],
    );
    check_terms(
        "PREV(price + 1)",
        None,
        expect![
            "`price + 1` is computed, and PREV, NEXT, FIRST and LAST take a column (line 1, column 15): move to one column at a time, `PREV(a) + PREV(b)`, or compute it in an `extend` step before"
        ],
    );
    check_terms(
        "LAST(PREV(price))",
        None,
        expect![
            "`PREV(price)` inside LAST (line 1, column 10): PREV and NEXT stand outside, `PREV(FIRST(A.price))`, and nothing else inside"
        ],
    );
    check_terms(
        "PREV(PREV(price))",
        None,
        expect![
            "`PREV(price)` inside PREV, NEXT, FIRST or LAST (line 1, column 15): move to one column at a time, `PREV(a) + PREV(b)`, or compute it in an `extend` step before"
        ],
    );
    check_terms(
        "PREV(price, x)",
        None,
        expect!["`x` is no number from 0 to 1000 (line 1, column 10): write `PREV(price)` or `PREV(price, 2)`"],
    );
    check_terms(
        "sum(A.price + B.price)",
        None,
        expect![
            "`sum(A.price + B.price)` mixes rows of several variables (line 1, column 10): give them a name together: `SUBSET U = (A, B)`, then `U.price`"
        ],
    );
    check_terms(
        "sum(PREV(price))",
        None,
        expect![
            "`PREV(price)` inside an aggregate (line 1, column 14): aggregate columns, or what an `extend` step before makes of them"
        ],
    );
    check_terms(
        "FINAL LAST(B.price)",
        Some("A"),
        expect!["FINAL in DEFINE: the rows that follow are not known yet (line 1, column 10): leave FINAL out"],
    );
    check_terms(
        "CLASSIFIER(C)",
        None,
        expect!["`C` is no variable of the pattern (line 1, column 10): write `CLASSIFIER()` or `CLASSIFIER(A)`"],
    );
}

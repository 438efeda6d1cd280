//! Sketches of real columns against exact answers (`tests/data/sketches`): each within the bound that the documentation states.

use std::path::PathBuf;

use serde_json::Value;

use super::{Frequent, HyperLogLog, Quantiles, stable_hash};

/// Counters of `top_k(x, 10)`.
const COUNTERS: usize = 100;

fn read(name: &str) -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/data/sketches").join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn exact() -> Value {
    serde_json::from_str(&read("exact.json")).expect("JSON")
}

/// The values of a column and how often each came.
fn column(name: &str) -> Vec<(u64, String)> {
    let line = |line: &str| line.split_once('\t').map(|(count, value)| (count.parse().expect("a count"), value.to_owned()));
    read(&format!("{name}.tsv")).lines().map(|text| line(text).expect("count, tab, value")).collect()
}

/// All of them, one value after another in turn, as long as it has some left: what comes often comes again and again.
fn in_turn(column: &[(u64, String)]) -> Vec<&str> {
    let most = column.iter().map(|(count, _)| *count).max().unwrap_or(0);
    (0..most).flat_map(|round| column.iter().filter(move |(count, _)| *count > round).map(|(_, value)| &**value)).collect()
}

#[test]
fn distinct_counts_are_within_three_standard_errors() {
    let exact = exact();
    for (name, answer) in [("web.ip", "web.ip"), ("web.path", "web.path"), ("flights.route", "flights.(origin,destination)")] {
        let truth = exact["distinct"][answer].as_f64().expect("a count");
        let mut parts = vec![HyperLogLog::default(); 7];
        for (place, value) in in_turn(&column(name)).into_iter().enumerate() {
            parts[place % 7].add(stable_hash(value.as_bytes()));
        }
        let mut whole = HyperLogLog::default();
        parts.iter().for_each(|part| whole.merge(part));
        let error = (whole.estimate() as f64 - truth).abs() / truth;
        assert!(error <= 3.0 * 1.04 / 128.0, "{name}: {} for {truth}", whole.estimate());
    }
}

#[test]
fn quantiles_are_within_a_hundredth_of_the_value() {
    let exact = exact();
    for name in ["web.bytes", "flights.delay_min"] {
        let column = column(name);
        let mut parts = vec![Quantiles::default(); 7];
        for (place, value) in in_turn(&column).into_iter().enumerate() {
            parts[place % 7].add(value.parse().expect("a number"));
        }
        let mut whole = Quantiles::default();
        parts.iter().for_each(|part| whole.merge(part));
        assert_eq!(Some(whole.count()), exact["quantiles"][name]["n"].as_u64());
        let answers = exact["quantiles"][name]["nearest_rank"].as_object().expect("answers");
        assert!(answers.len() > 5);
        for (q, answer) in answers {
            let (truth, told) =
                (answer.as_f64().expect("a number"), whole.quantile(q.parse().expect("a share")).expect("numbers"));
            assert!((told - truth).abs() <= truth.abs() * 0.010_000_1, "{name} at {q}: {told} for {truth}");
        }
    }
}

#[test]
fn the_most_frequent_are_there_with_their_bounds() {
    let exact = exact();
    for name in ["web.path", "flights.origin"] {
        let column = column(name);
        let rows = in_turn(&column);
        let mut parts = vec![Frequent::default(); 3];
        for (place, value) in rows.iter().enumerate() {
            parts[place % 3].add(value.as_bytes(), COUNTERS);
        }
        let mut merged = Frequent::default();
        parts.iter().for_each(|part| merged.merge(part, COUNTERS));
        let mut single = Frequent::default();
        rows.iter().for_each(|value| single.add(value.as_bytes(), COUNTERS));
        for sketch in [single, merged] {
            let counters = sketch.top(COUNTERS);
            let most_error = rows.len() as u64 / COUNTERS as u64;
            for counter in &counters {
                let truth = column.iter().find(|(_, value)| value.as_bytes() == &*counter.value).expect("a value that came").0;
                assert!((counter.count - counter.error..=counter.count).contains(&truth), "{counter:?} for {truth}");
                assert!(counter.error <= most_error, "{counter:?}, at most {most_error}");
            }
            for answer in exact["top10"][name].as_array().expect("answers") {
                let (value, count) = (answer[0].as_str().expect("a value"), answer[1].as_u64().expect("a count"));
                assert!(count > most_error, "only what came more often than that is promised");
                assert!(counters.iter().any(|counter| *counter.value == *value.as_bytes()), "{name}: {value}");
            }
        }
    }
}

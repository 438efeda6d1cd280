//! The grammar as JSON Schema, for editors and for the user book. Written by hand, because a parser with good messages is no
//! schema; the tests below ask that parser what it knows and compare.

/// JSON Schema (2020-12) of a pipeline document.
pub const PIPELINE_SCHEMA: &str = include_str!("schema.json");

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::Fault;

    fn faults_of(document: &Value) -> Vec<Fault> {
        let name = document["pipeline"].as_str().unwrap_or("any").parse().expect("a name");
        crate::pipeline::parse(&name, &document.to_string()).err().unwrap_or_default()
    }

    /// A key that no object knows, and that is like none that one does.
    const UNKNOWN: &str = "qqqqqqqqqqqq";

    fn schema() -> Value {
        serde_json::from_str(PIPELINE_SCHEMA).expect("it is JSON")
    }

    /// The keys that the parser says could stand where the unknown one stands.
    fn known_to_the_parser(document: &Value) -> Vec<String> {
        let faults = faults_of(document);
        let fault = faults.iter().find(|fault| fault.error.contains(UNKNOWN)).unwrap_or_else(|| panic!("{document}: {faults:?}"));
        let mut words: Vec<String> = fault.remedy.split('`').skip(1).step_by(2).map(str::to_owned).collect();
        words.sort();
        words
    }

    fn check(definition: &str, object: &mut Value, wrap: impl FnOnce(Value) -> Value) {
        object[UNKNOWN] = json!(1);
        let schema = schema();
        let properties = if definition.is_empty() { &schema["properties"] } else { &schema["$defs"][definition]["properties"] };
        let mut expected: Vec<String> = properties.as_object().expect("it has properties").keys().cloned().collect();
        expected.sort();
        assert_eq!(known_to_the_parser(&wrap(object.take())), expected, "`{definition}`");
    }

    #[test]
    fn every_object_has_the_keys_that_the_parser_knows() {
        let to = || json!(["stdout"]);
        check("", &mut json!({"from": "a", "to": ["stdout"]}), |document| document);
        check("source", &mut json!({"stream": "a"}), |source| json!({"from": source, "to": to()}));
        check("time", &mut json!({}), |time| json!({"from": "a", "time": time, "to": to()}));
        check(
            "function",
            &mut json!({"component": "a@1"}),
            |function| json!({"from": "a", "functions": {"f": function}, "to": to()}),
        );
        for (name, mut step) in [
            ("rule", json!({"rule": "a@1"})),
            ("transform", json!({"transform": "a@1"})),
            ("process", json!({"process": "a@1"})),
            ("pattern-component", json!({"pattern": "a@1"})),
        ] {
            check(name, &mut step, |step| json!({"from": "a", "steps": [step], "to": to()}));
        }
        let rule = |ttl| json!({"from": "a", "steps": [{"rule": "a@1", "ttl": ttl}], "to": to()});
        check("lifetime", &mut json!({"wall_clock": "1h"}), rule);
        let process = |side| json!({"from": "a", "steps": [{"process": "a@1", "outputs": {"b": side}}], "to": to()});
        check("side-stream", &mut json!({"stream": "b"}), process);
        let select = || json!({"n": "count(*)"});
        let window = |window| json!({"from": "a", "steps": [{"window": window}], "to": to()});
        check("windows", &mut json!({"tumbling": "1h", "select": select()}), window);
        check("hopping", &mut json!({"size": "1h", "every": "1m"}), |inner| {
            window(json!({"hopping": inner, "select": select()}))
        });
        check("cumulating", &mut json!({"size": "1h", "step": "1m"}), |inner| {
            window(json!({"cumulating": inner, "select": select()}))
        });
        check("session-gap", &mut json!({"gap_ms": "g"}), |inner| window(json!({"session": inner, "select": select()})));
        let early = |inner| window(json!({"tumbling": "1h", "select": select(), "early": inner}));
        check("early", &mut json!({"rows": 3}), early);
        let late = |inner| window(json!({"tumbling": "1h", "select": select(), "lateness": "1m", "late": inner}));
        check("late", &mut json!({"rows": 3}), late);
        let top = |inner| window(json!({"tumbling": "1h", "select": select(), "top": inner}));
        check("top", &mut json!({"n": 1, "order": ["n"]}), top);
        check(
            "rows-before",
            &mut json!({"rows": 3, "select": select()}),
            |over| json!({"from": "a", "steps": [{"over": over}], "to": to()}),
        );
        let join = |join| json!({"from": [{"stream": "a", "as": "a"}, {"stream": "b", "as": "b"}], "steps": [{"join": join}], "to": to()});
        check("sides", &mut json!({"within": "off"}), join);
        check("join-window", &mut json!({"tumbling": "1h"}), |window| join(json!({"window": window})));
        for (word, definition, mut inner) in [
            ("dedupe", "repeated", json!({"by": ["a"], "within": "1h"})),
            ("rate", "limited", json!({"limit": 3, "per": "1h"})),
            ("sample", "share", json!({"rate": 0.5})),
        ] {
            check(definition, &mut inner, |inner| json!({"from": "a", "steps": [{word: inner}], "to": to()}));
        }
        let pattern = |pattern| json!({"from": "a", "steps": [{"pattern": pattern}], "to": to()});
        check("followed", &mut json!({"stages": [{"begin": "b"}]}), pattern);
        check("stage", &mut json!({"begin": "b"}), |stage| pattern(json!({"stages": [stage]})));
        check(
            "patterns",
            &mut json!({"patterns": [{"name": "n", "stages": [{"begin": "b"}]}]}),
            |step| json!({"from": "a", "steps": [step], "to": to()}),
        );
        check(
            "pattern-of-list",
            &mut json!({"name": "n", "stages": [{"begin": "b"}]}),
            |one| json!({"from": "a", "steps": [{"patterns": [one]}], "to": to()}),
        );
        let several = |several| pattern(json!({"stages": [{"begin": several}]}));
        check("several", &mut json!({"any_order": [{"next": "b"}]}), several);
        check("skip-to", &mut json!({"last": "b"}), |skip| pattern(json!({"stages": [{"begin": "b"}], "skip": skip})));
        check("place", &mut json!({"stream": "s"}), |place| json!({"from": "a", "steps": [{"origin": place}], "to": to()}));
        let correlate = |correlate: Value| json!({"from": "a", "steps": [{"correlate": correlate}], "to": to()});
        let different = || json!({"of": "ip", "at_least": 2});
        check("together", &mut json!({"by": ["k"], "within": "1m", "distinct": different()}), correlate);
        check("different", &mut different(), |distinct| correlate(json!({"by": ["k"], "within": "1m", "distinct": distinct})));
        let base = || json!({"by": ["k"], "initial": "s", "states": {"s": {}}, "transitions": [{"on": "a = 1"}]});
        let machine = |machine: Value| json!({"from": "a", "steps": [{"machine": machine}], "to": to()});
        let with = |member: &str, value: Value| {
            let mut whole = base();
            whole[member] = value;
            machine(whole)
        };
        check("machine-of-key", &mut base(), machine);
        check("machine-state", &mut json!({}), |state| with("states", json!({"s": state})));
        check("machine-timeout", &mut json!({"after": "1m", "to": "s"}), |timeout| {
            with("states", json!({"s": {"timeout": timeout}}))
        });
        check("transition", &mut json!({"on": "a = 1"}), |transition| with("transitions", json!([transition])));
        let rules = |rule| json!({"from": "a", "steps": [{"rules": [rule]}], "to": to()});
        check("rules", &mut json!({"rules": [{"name": "r"}]}), |step| json!({"from": "a", "steps": [step], "to": to()}));
        check("rule-of-set", &mut json!({"name": "r", "rule": "a@1"}), rules);
        check("enabled", &mut json!({}), |enabled| rules(json!({"name": "r", "enabled": enabled})));
        let alert = |alert| json!({"from": "a", "steps": [{"alert": alert}], "to": to()});
        check("alert-of-row", &mut json!({"summary": "a"}), alert);
        check("to-stream", &mut json!({"stream": "s"}), |target| json!({"from": "a", "to": [target]}));
        let lookup = |lookup| json!({"from": "a", "steps": [{"lookup": lookup}], "to": ["stdout"]});
        check("looked-up", &mut json!({"table": "t", "on": "a = b", "take": ["c"]}), lookup);
        check(
            "meter",
            &mut json!({"counter": "a"}),
            |inner| json!({"from": "a", "steps": [{"metrics": {"n": inner}}], "to": to()}),
        );
        check("limits", &mut json!({}), |limits| json!({"from": "a", "steps": [{"rule": "a@1", "limits": limits}], "to": to()}));
        check("file", &mut json!({"path": "a"}), |file| json!({"from": "a", "to": [{"file": file}]}));
        check("roll", &mut json!({}), |roll| json!({"from": "a", "to": [{"file": {"path": "a", "roll": roll}}]}));
        let url = "https://example.com/hook";
        check("webhook", &mut json!({"url": url}), |webhook| json!({"from": "a", "to": [{"webhook": webhook}]}));
        check("batch", &mut json!({}), |batch| json!({"from": "a", "to": [{"webhook": {"url": url, "batch": batch}}]}));
    }

    #[test]
    fn every_step_and_target_has_a_definition() {
        let words = |document: Value| {
            let mut words = known_to_the_parser(&document);
            words.retain(|word| word != "stdout");
            words
        };
        let schema = schema();
        for step in words(json!({"from": "a", "steps": [{UNKNOWN: 1}], "to": ["stdout"]})) {
            assert!(schema["$defs"][&step]["properties"][&step].is_object(), "step `{step}`");
        }
        for target in words(json!({"from": "a", "to": [{UNKNOWN: 1}]})) {
            assert!(schema["$defs"][format!("to-{target}")]["properties"][&target].is_object(), "target `{target}`");
        }
    }

    #[test]
    fn every_example_is_a_pipeline() {
        fn walk(value: &Value, count: &mut usize) {
            for example in value["examples"].as_array().into_iter().flatten() {
                let faults = faults_of(example);
                assert!(faults.is_empty(), "{example}: {faults:?}");
                *count += 1;
            }
            for inner in value.as_object().into_iter().flat_map(|object| object.values()).filter(|inner| inner.is_object()) {
                walk(inner, count);
            }
        }
        let mut count = 0;
        walk(&schema(), &mut count);
        assert!(count >= 9, "{count} examples");
    }
}

//! Definitions as JSON: what is read, what is refused with which words, and what may follow what.

use expect_test::{Expect, expect};
use serde_json::Value;
use tidemill_event::definition_json::{self, Compatibility};
use tidemill_event::{Field, FieldType, SchemaVersion, StreamName};

/// The definition in its one form, or every fault of it.
fn check(text: &str, expect: Expect) {
    let shown = match definition_json::parse(text.as_bytes()) {
        Ok(definition) => {
            let json = definition_json::to_json(&definition, SchemaVersion(1));
            let again = definition_json::parse(json.to_string().as_bytes()).expect("what is written can be read");
            assert_eq!(again, definition);
            json.to_string()
        }
        Err(faults) => faults.0.iter().map(|fault| format!("{}: {}\n", fault.path, fault.error)).collect(),
    };
    expect.assert_eq(&shown);
}

#[test]
fn definitions_have_one_form() {
    check(
        r#"{"fields": [{"name": "ts", "type": "timestamp", "unit": "ms"}, {"name": "ip", "type": "string"},
            {"name": "amount", "type": "decimal(12, 2)", "nullable": false}], "time": {"field": "ts"}, "key": ["ip"], "partitions": 4,
            "unknown": "keep", "retention": {"age": "168h", "bytes": "10240MiB"}}"#,
        expect![[
            r#"{"compatibility":"backward","fields":[{"name":"ts","nullable":true,"type":"timestamp","unit":"ms"},{"name":"ip","nullable":true,"type":"string"},{"name":"amount","nullable":false,"type":"decimal(12,2)"}],"key":["ip"],"partitions":4,"retention":{"age":"7d","bytes":"10GiB"},"time":{"field":"ts","missing":"reject"},"unknown":"keep","version":1}"#
        ]],
    );
    check(
        r#"{"fields": []}"#,
        expect![[
            r#"{"compatibility":"backward","fields":[],"key":[],"partitions":1,"retention":{},"unknown":"keep","version":1}"#
        ]],
    );
    check(
        r#"{"schema": "infer"}"#,
        expect![[
            r#"{"compatibility":"backward","fields":[],"key":[],"partitions":1,"retention":{},"schema":"infer","unknown":"keep","version":1}"#
        ]],
    );
    check(
        r#"{"schema": "infer", "time": {"field": "ts_ms", "unit": "ms", "missing": "arrival"}, "key": ["user"]}"#,
        expect![[
            r#"{"compatibility":"backward","fields":[{"name":"ts_ms","nullable":true,"type":"int64"}],"key":["user"],"partitions":1,"retention":{},"schema":"infer","time":{"field":"ts_ms","missing":"arrival","unit":"ms"},"unknown":"keep","version":1}"#
        ]],
    );
    check(
        r#"{"schema": "infer", "time": {"field": "ts"}, "retention": {"bytes": "1001B"}}"#,
        expect![[
            r#"{"compatibility":"backward","fields":[{"name":"ts","nullable":true,"type":"timestamp"}],"key":[],"partitions":1,"retention":{"bytes":"1001B"},"schema":"infer","time":{"field":"ts","missing":"reject"},"unknown":"keep","version":1}"#
        ]],
    );
}

#[test]
fn every_fault_is_told_at_once() {
    check(
        "",
        expect![[r#"
        : the definition is not JSON: EOF while parsing a value at line 1 column 0
    "#]],
    );
    check(
        "[]",
        expect![[r#"
        : a definition is a JSON object: send {"fields": […]} or {"schema": "infer"}
    "#]],
    );
    check(
        "{}",
        expect![[r#"
        fields: fields are missing: list them, or write "schema": "infer"
    "#]],
    );
    check(
        r#"{"field": [], "fields": [{"name": "a", "type": "text"}, {"type": "int64"}, {"name": 5}, 7,
            {"name": "b", "type": "decimal(40,2)"}, {"name": "c", "type": "int64", "unit": "ms", "default": 0}, {"name": "d", "type": "timestamp", "unit": "ns", "nullable": 1}],
            "time": {"fields": "ts", "missing": "now"}, "key": "a", "partitions": 0, "unknown": "maybe", "retention": {"age": "7 days", "bytes": 5, "rows": 1},
            "schema": "auto", "version": "one", "name": 1}"#,
        expect![[r#"
            field: unknown key: leave it out, or write one of fields, schema, time, key, partitions, unknown, retention, compatibility, name, version
            schema: "auto" is no way to find a schema: write "infer", or leave it out and list "fields"
            fields[0].type: `text` is no type: write one of bool, int64, float64, decimal(p,s), string, bytes, timestamp, json
            fields[1].name: the name is missing
            fields[2].name: 5 is no name: write a text
            fields[2].type: the type is missing: write one of bool, int64, float64, decimal(p,s), string, bytes, timestamp, json
            fields[3]: 7 is no field: write {"name": …, "type": …}
            fields[4].type: `decimal(40,2)` is no type: write decimal(p,s) with p from 1 to 38 digits, s from 0 to p of them behind the point
            fields[5].default: unknown key: leave it out, or write one of name, type, unit, nullable, inferred
            fields[5].unit: only timestamps have a unit: leave it out; an int64 that is the event time has it in "time"
            fields[6].unit: "ns" is no unit of time: write "s", "ms" or "us"
            fields[6].nullable: 1 is neither true nor false
            time.fields: unknown key: leave it out, or write one of field, unit, missing
            time.missing: "now" is not known: write "reject" or "arrival"
            time.field: the name of the time field is missing: write it as a text
            key: "a" is no list of field names: write ["name"]
            partitions: 0 is no number of partitions: write 1 to 1024
            unknown: "maybe" is not known: write "keep", "drop" or "reject"
            retention.rows: unknown key: leave it out, or write one of age, bytes
            retention.age: "7 days" is no duration: write an integer and ms, s, m, h or d, like "7d"
            retention.bytes: 5 is no size: write an integer and KiB, MiB or GiB, like "10GiB"
            version: a version is a whole number, and the host's to choose: leave it out
            name: a name is a text: write it in quotes, or leave it out
        "#]],
    );
}

#[test]
fn names_paths_keys_and_times_must_hold() {
    check(
        r#"{"fields": [{"name": "a", "type": "int64"}, {"name": "a", "type": "int64"}, {"name": "a.b", "type": "int64"}, {"name": "_time", "type": "int64"},
            {"name": "_offset.x", "type": "int64"}, {"name": "", "type": "int64"}, {"name": "x..y", "type": "int64"}, {"name": "n\n", "type": "int64"}],
            "time": {"field": "ts"}, "key": ["k", "a", "a"]}"#,
        expect![[r#"
            fields[1].name: field `a` is declared twice: keep one of them
            fields[3].name: `_time` is the host's: choose another name
            fields[4].name: `_offset.x` lies inside a field of the host: choose another name
            fields[5].name: `` has an empty part: write names, with a dot between those of nested objects
            fields[6].name: `x..y` has an empty part: write names, with a dot between those of nested objects
            fields[7].name: "n\n" has a control character: choose another name
            fields[2].name: field `a.b` lies inside field `a`: declare the object as json, or only fields inside it
            key[0]: field `k` is not declared: add it to fields, or take it out of the key
            key[2]: field `a` stands twice in the key: keep one of them
            time.field: field `ts` is not declared: add it to fields
        "#]],
    );
    let time = |field: &str, time: &str| format!(r#"{{"fields": [{{"name": "t", {field}}}], "time": {{"field": "t"{time}}}}}"#);
    check(
        &time(r#""type": "timestamp", "unit": "ms""#, r#", "unit": "ms""#),
        expect![[
            r#"{"compatibility":"backward","fields":[{"name":"t","nullable":true,"type":"timestamp","unit":"ms"}],"key":[],"partitions":1,"retention":{},"time":{"field":"t","missing":"reject"},"unknown":"keep","version":1}"#
        ]],
    );
    check(
        &time(r#""type": "int64""#, ""),
        expect![[r#"
        time.unit: field `t` is int64: say what its numbers count, "unit": "s", "ms" or "us"
    "#]],
    );
    check(
        &time(r#""type": "string""#, ""),
        expect![[r#"
        time.field: field `t` is string, which is no time: declare it timestamp, or int64 with a unit
    "#]],
    );
    check(
        &time(r#""type": "timestamp", "unit": "ms""#, r#", "unit": "s""#),
        expect![[r#"
            time.unit: field `t` is a timestamp and has its unit beside its type: write "unit": "s" there instead
        "#]],
    );
}

#[test]
fn a_body_may_name_the_stream_of_its_path() {
    let name = StreamName::from_client("clicks").expect("a name");
    assert!(definition_json::parse_for(br#"{"name": "clicks", "fields": []}"#, &name).is_ok());
    assert!(definition_json::parse_for(br#"{"fields": []}"#, &name).is_ok());
    let faults = definition_json::parse_for(br#"{"name": "views", "fields": []}"#, &name).expect_err("another name");
    expect!["name: the body names `views` and the path `clicks`: make them the same, or leave it out of the body"]
        .assert_eq(&faults.to_string());
}

#[test]
fn stored_definitions_of_the_host_are_read_back() {
    let definition = tidemill_event::rejection_definition(3);
    let json = definition_json::to_json(&definition, SchemaVersion(1)).to_string();
    assert_eq!(definition_json::read(json.as_bytes()), Ok(definition.clone()));
    assert_eq!(definition_json::check(&definition), Ok(()));
}

/// What going from one definition to another means.
fn compare(old: &str, new: &str, expect: Expect) {
    let parse = |text: &str| definition_json::parse(text.as_bytes()).expect("a definition");
    let shown = match definition_json::compare(&parse(old), &parse(new)) {
        Compatibility::Same => "same".to_owned(),
        Compatibility::Compatible { definition, schema_changed } => {
            let json: Value = definition_json::to_json(&definition, SchemaVersion(2));
            format!("schema changed: {schema_changed}; {} retention {}", json["fields"], json["retention"])
        }
        Compatibility::Incompatible(differences) => differences.join("\n"),
    };
    expect.assert_eq(&shown);
}

#[test]
fn streams_change_as_their_mode_says() {
    let old = r#"{"fields": [{"name": "a", "type": "int64", "nullable": false}, {"name": "b", "type": "string"}], "key": ["b"], "partitions": 2}"#;
    compare(old, old, expect!["same"]);
    compare(
        old,
        r#"{"fields": [{"name": "c", "type": "json"}, {"name": "b", "type": "string"}, {"name": "a", "type": "int64"}], "key": ["b"], "partitions": 2}"#,
        expect![[
            r#"schema changed: true; [{"name":"a","nullable":true,"type":"int64"},{"name":"b","nullable":true,"type":"string"},{"name":"c","nullable":true,"type":"json"}] retention {}"#
        ]],
    );
    compare(
        old,
        r#"{"fields": [{"name": "a", "type": "int64", "nullable": false}, {"name": "b", "type": "string"}], "key": ["b"], "partitions": 2, "retention": {"age": "7d"}}"#,
        expect![[
            r#"schema changed: false; [{"name":"a","nullable":false,"type":"int64"},{"name":"b","nullable":true,"type":"string"}] retention {"age":"7d"}"#
        ]],
    );
    compare(
        old,
        r#"{"fields": [{"name": "a", "type": "float64"}, {"name": "b", "type": "string", "nullable": false}, {"name": "c", "type": "json", "nullable": false}],
            "time": {"field": "a", "unit": "s"}, "key": [], "partitions": 3}"#
            .replace("float64", "int64")
            .as_str(),
        expect![[r#"
            partitions: the stream has 2 and 3 are asked for, which would place keys elsewhere: make another stream
            key: the stream is keyed by [b] and [] is asked for: make another stream
            time: where rows have their event time cannot change: make another stream
            field `b` may be null in older rows, which `backward` does not take: leave it nullable, or set "compatibility" to `forward` or `none` first
            field `c` is new and may not be null, but older rows do not have it, which `backward` does not take: make it nullable, or set "compatibility" to `forward` or `none` first"#]],
    );
    compare(
        old,
        r#"{"fields": [{"name": "a", "type": "float64"}], "partitions": 2}"#,
        expect!["key: the stream is keyed by [b] and [] is asked for: make another stream"],
    );
    compare(
        old,
        r#"{"schema": "infer", "key": ["b"], "partitions": 2}"#,
        expect![[r#"schema: the stream's fields are declared: list them instead of "infer""#]],
    );
}

#[test]
fn each_mode_takes_its_changes() {
    let definition = |mode: &str, fields: &str| {
        format!(r#"{{"compatibility": "{mode}", "key": ["k"], "fields": [{{"name": "k", "type": "int64"}}, {fields}]}}"#)
    };
    let old = r#"{"name": "a", "type": "int64"}, {"name": "b", "type": "float64", "nullable": false}"#;
    let changes = [
        (
            "adds a nullable field",
            r#"{"name": "a", "type": "int64"}, {"name": "b", "type": "float64", "nullable": false}, {"name": "c", "type": "json"}"#,
        ),
        ("drops a nullable field", r#"{"name": "b", "type": "float64", "nullable": false}"#),
        (
            "adds a field that may not be null",
            r#"{"name": "a", "type": "int64"}, {"name": "b", "type": "float64", "nullable": false}, {"name": "c", "type": "json", "nullable": false}"#,
        ),
        (
            "makes a field not null",
            r#"{"name": "a", "type": "int64", "nullable": false}, {"name": "b", "type": "float64", "nullable": false}"#,
        ),
        ("drops a field that may not be null", r#"{"name": "a", "type": "int64"}"#),
        ("lets a field be null", r#"{"name": "a", "type": "int64"}, {"name": "b", "type": "float64"}"#),
        ("int64 to float64", r#"{"name": "a", "type": "float64"}, {"name": "b", "type": "float64", "nullable": false}"#),
        ("float64 to int64", r#"{"name": "a", "type": "int64"}, {"name": "b", "type": "int64", "nullable": false}"#),
        ("int64 to string", r#"{"name": "a", "type": "string"}, {"name": "b", "type": "float64", "nullable": false}"#),
    ];
    let parse = |text: &str| definition_json::parse(text.as_bytes()).expect("a definition");
    let mut shown = String::new();
    for (what, fields) in changes {
        let taken: Vec<&str> = ["backward", "forward", "full", "none"]
            .into_iter()
            .filter(|mode| {
                let found = definition_json::compare(&parse(&definition(mode, old)), &parse(&definition("backward", fields)));
                matches!(found, Compatibility::Compatible { .. })
            })
            .collect();
        shown.push_str(&format!("{what}: {}\n", taken.join(" ")));
    }
    expect![[r#"
        adds a nullable field: backward forward full none
        drops a nullable field: backward forward full none
        adds a field that may not be null: forward none
        makes a field not null: forward none
        drops a field that may not be null: backward none
        lets a field be null: backward none
        int64 to float64: backward none
        float64 to int64: forward none
        int64 to string: none
    "#]]
    .assert_eq(&shown);
    // Whatever the mode: rows are placed by the key.
    let placed = definition("none", old).replacen("int64", "string", 1);
    compare(
        &definition("none", old),
        &placed,
        expect![
            "field `k` is int64 and string is asked for, but rows are placed or timed by it: leave its type, or make another stream"
        ],
    );
    compare(
        &definition("none", old),
        &definition("full", old),
        expect![[
            r#"schema changed: false; [{"name":"k","nullable":true,"type":"int64"},{"name":"a","nullable":true,"type":"int64"},{"name":"b","nullable":false,"type":"float64"}] retention {}"#
        ]],
    );
}

#[test]
fn inferred_fields_widen() {
    let old = r#"{"schema": "infer", "fields": [{"name": "a", "type": "int64", "inferred": true}, {"name": "b", "type": "string", "inferred": true}]}"#;
    compare(old, r#"{"schema": "infer"}"#, expect!["same"]);
    compare(
        old,
        r#"{"fields": [{"name": "a", "type": "float64"}, {"name": "b", "type": "json"}]}"#,
        expect![[
            r#"schema changed: true; [{"name":"a","nullable":true,"type":"float64"},{"name":"b","nullable":true,"type":"json"}] retention {}"#
        ]],
    );
    compare(
        old,
        r#"{"fields": [{"name": "a", "type": "string"}, {"name": "b", "type": "string"}]}"#,
        expect![[
            r#"field `a` is int64 and string is asked for, which `backward` does not take: leave its type, add a field of another name, or set "compatibility" to `none` first"#
        ]],
    );
}

#[test]
fn fields_are_found_in_the_first_batch() {
    let infer = |definition: &str, rows: &[&str]| {
        let mut definition = definition_json::parse(definition.as_bytes()).expect("a definition");
        let mut shown = Vec::new();
        for row in rows {
            if let Some(schema) = tidemill_event::json::infer(&definition, &[row.as_bytes()]) {
                definition.schema = schema;
                let name = |field: &Field| {
                    let ty = match field.ty {
                        FieldType::Timestamp(_) => "timestamp".to_owned(),
                        ty => format!("{ty:?}").to_lowercase(),
                    };
                    format!("{}:{ty}{}", field.name, if field.inferred { "" } else { "!" })
                };
                shown.push(definition.schema.fields.iter().map(name).collect::<Vec<_>>().join(" "));
            } else {
                shown.push("-".to_owned());
            }
        }
        shown.join("\n")
    };
    expect![[r#"
        ts:int64! k:string! i:int64 f:float64 b:bool n:json o:json a:json
        -
        ts:int64! k:string! i:float64 f:float64 b:bool n:json o:json a:json
        ts:int64! k:string! i:float64 f:json b:json n:json o:json a:json
        -
        -"#]]
    .assert_eq(&infer(
        r#"{"schema": "infer", "time": {"field": "ts", "unit": "ms"}, "key": ["k"]}"#,
        &[
            r#"{"ts": 1, "k": "x", "i": 5, "f": 1.5, "b": true, "n": null, "o": {}, "a": [1], "_time": "x", "x.y": 1, "": 1}"#,
            r#"{"i": 6, "new": 1}"#,
            r#"{"i": 6.5, "k": 5, "ts": "x"}"#,
            r#"{"b": 0, "f": "x"}"#,
            "[]",
            "{",
        ],
    ));
    expect!["-"].assert_eq(&infer(r#"{"fields": []}"#, &[r#"{"a": 1}"#]));
}

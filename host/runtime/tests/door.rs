//! What is refused, with which words, and that nothing of it is compiled or crashes.

mod host;

use base64::Engine as _;
use expect_test::{Expect, expect};
use host::{RUNTIME, amount, refused};
use tidemill_event::{Field, FieldType};
use tidemill_runtime::testing::{TextGuest, component, threshold_rule};
use tidemill_runtime::{Compiler, Kind, Refused, Runtime, RuntimeSettings, ShapeLimits};

fn check(wasm: &[u8], expect: Expect) {
    expect.assert_eq(&refused(wasm).to_string());
}

fn binary(text: &str) -> Vec<u8> {
    wat::parse_str(text).expect("WebAssembly text")
}

#[test]
fn every_module_of_the_core_test_suite_is_refused() {
    let modules = include_str!("../../../tests/data/wasm_modules/modules.ndjson");
    let mut seen = 0;
    for line in modules.lines() {
        let module: serde_json::Value = serde_json::from_str(line).expect("a JSON object");
        let bytes = module["base64"].as_str().expect("base64");
        let bytes = base64::engine::general_purpose::STANDARD.decode(bytes).expect("base64");
        let refused = refused(&bytes);
        let name = module["name"].as_str().expect("a name");
        match module["expect"].as_str() {
            // Those that need a proposal we leave off are broken to us.
            Some("valid") if module.get("needs").is_some_and(|needs| !needs.is_null()) => {
                assert!(matches!(refused, Refused::CoreModule | Refused::Malformed { .. }), "{name}: {refused}");
            }
            Some("valid") => assert!(refused.to_string().contains("`tidemill build` makes a component"), "{name}: {refused}"),
            Some("malformed" | "invalid") => {
                assert!(matches!(refused, Refused::Malformed { .. } | Refused::NotWasm | Refused::Text), "{name}: {refused}");
            }
            other => panic!("{name}: {other:?}"),
        }
        seen += 1;
    }
    assert_eq!(seen, 395);
}

#[test]
fn what_is_no_component() {
    check(b"", expect!["this is no WebAssembly: it does not begin with `\\0asm` and a version that components have"]);
    check(
        b"\x7fELF and so on",
        expect!["this is no WebAssembly: it does not begin with `\\0asm` and a version that components have"],
    );
    check(b" (component)", expect!["this is WebAssembly text: translate it to a binary component first"]);
    check(
        &binary("(component)"),
        expect![
            "it exports nothing: a rule exports `describe`, `open` and `evaluate`, a transform `describe`, `open` and `apply`, a function `describe`, `open` and `compute`, an aggregate `describe`, `open`, `update`, `merge`, `retract` and `finish`, a process `describe`, `open`, `wants` and `process`"
        ],
    );
    let half = &threshold_rule()[..500];
    assert!(matches!(refused(half), Refused::Malformed { .. }));
    let small = ShapeLimits { component_bytes: 100, ..ShapeLimits::default() };
    let runtime = Runtime::new(RuntimeSettings { instances_max: 1, shape: small, ..RuntimeSettings::new(Compiler::InProcess) })
        .expect("a runtime");
    let message = runtime.prepare(&threshold_rule()).expect_err("too large").to_string();
    assert!(message.ends_with("and at most 100 are taken: build it with optimisation, strip debug information"), "{message}");
}

#[test]
fn every_prefix_and_many_changes_of_a_component_are_survived() {
    let good = threshold_rule();
    // Behind its exports come names of functions, without which it is whole.
    let whole = (0..good.len()).find(|end| RUNTIME.prepare(&good[..*end]).is_ok()).unwrap_or(good.len());
    assert!(whole > good.len() * 3 / 4, "cut at {whole} of {}", good.len());
    for at in (0..good.len()).step_by(11) {
        let mut changed = good.clone();
        changed[at] ^= 0x55;
        // Some changes are harmless, a name for example; none may do more than be refused.
        let _ = RUNTIME.prepare(&changed);
    }
}

#[test]
fn precompiled_code_is_refused() {
    let engine = wasmtime::Engine::default();
    let code = engine.precompile_component(&threshold_rule()).expect("compiled code");
    check(
        &code,
        expect!["this is precompiled machine code, which no host runs for a stranger: upload the component it was made of"],
    );
    let module = engine.precompile_module(&binary("(module)")).expect("compiled code");
    assert_eq!(refused(&module), Refused::Precompiled);
}

#[test]
fn imports_that_nobody_grants_are_named() {
    let wasi =
        binary(r#"(component (import "wasi:clocks/monotonic-clock@0.2.0" (instance (export "now" (func (result u64))))))"#);
    check(
        &wasi,
        expect![
            "it imports `wasi:clocks/monotonic-clock@0.2.0`, which is not granted: a component may import `tidemill:component/logging@1.0.0`, `tidemill:metrics/metrics@1.0.0` and types. Leave files, clocks, randomness, sockets and standard output alone: time comes from the events, words go to the log; or build with the SDK, which stubs what a toolchain imports by itself"
        ],
    );
    let function = binary(r#"(component (import "surprise" (func)))"#);
    check(
        &function,
        expect![
            "it imports `surprise`, which is not granted: a component may import `tidemill:component/logging@1.0.0`, `tidemill:metrics/metrics@1.0.0` and types. Remove what needs it"
        ],
    );
    let newer = binary(r#"(component (import "tidemill:component/logging@2.0.0" (instance)))"#);
    check(
        &newer,
        expect![
            "it is built for `tidemill:component/logging@2.0.0`, and this host serves tidemill:component 1.0: rebuild it with the SDK of this host"
        ],
    );
    // Interfaces of types only hold nothing to call.
    let types = binary(r#"(component (import "a:b/c@3.0.0" (instance (type $t u32) (export "t" (type (eq $t))))))"#);
    check(
        &types,
        expect![
            "it exports nothing: a rule exports `describe`, `open` and `evaluate`, a transform `describe`, `open` and `apply`, a function `describe`, `open` and `compute`, an aggregate `describe`, `open`, `update`, `merge`, `retract` and `finish`, a process `describe`, `open`, `wants` and `process`"
        ],
    );
    // Not granted by this runtime, unlike the one of the other tests.
    let strict =
        Runtime::new(RuntimeSettings { instances_max: 1, ..RuntimeSettings::new(Compiler::InProcess) }).expect("a runtime");
    let random = TextGuest::rule(vec![amount()]).random().call("(drop (call $random)) (i32.const 0)").build();
    assert!(RUNTIME.prepare(&random).is_ok());
    let message = strict.prepare(&random).expect_err("not granted").to_string();
    assert!(message.starts_with("it imports `tidemill:testing/random@1.0.0`, which is not granted"), "{message}");
}

#[test]
fn kinds_are_told_by_their_exports() {
    assert_eq!(RUNTIME.prepare(&threshold_rule()).expect("a rule").kind(), Kind::Rule);
    let transform = RUNTIME.prepare(&TextGuest::transform(vec![]).build()).expect("a transform");
    assert_eq!((transform.kind(), transform.kind().as_str()), (Kind::Transform, "transform"));
    let export = |names: &[&str]| {
        let exports: String = names.iter().map(|name| format!(r#"(export "{name}" (func $f))"#)).collect();
        binary(&format!(
            r#"(component (core module $m (func (export "f"))) (core instance $i (instantiate $m)) (func $f (canon lift (core func $i "f"))) {exports})"#
        ))
    };
    check(&export(&["evaluate"]), expect!["it exports `evaluate` but not `describe`: world `tidemill:rule/rule@1.0.0` has both"]);
    check(
        &export(&["describe", "apply"]),
        expect!["it exports `apply` but not `open`: world `tidemill:transform/transform@1.0.0` has both"],
    );
    check(
        &export(&["evaluate", "apply"]),
        expect!["it exports both `evaluate` and `apply`: a component is a rule or a transform, make two of it"],
    );
    check(
        &export(&["run"]),
        expect![
            "it exports `run`: a rule exports `describe`, `open` and `evaluate`, a transform `describe`, `open` and `apply`, a function `describe`, `open` and `compute`, an aggregate `describe`, `open`, `update`, `merge`, `retract` and `finish`, a process `describe`, `open`, `wants` and `process`"
        ],
    );
    let wrong = refused(&export(&["describe", "open", "evaluate"])).to_string();
    assert!(wrong.starts_with("its export `describe` is not the one of world `tidemill:rule/rule@1.0.0`:"), "{wrong}");
}

#[test]
fn shapes_that_take_long_to_compile_are_refused_before() {
    let shaped = |body: &str, fields: &str| {
        let core = TextGuest::rule(vec![]).fields(&format!("(func $bomb {body}) {fields}")).text();
        refused(&component(Kind::Rule, false, &core)).to_string()
    };
    let nested = |word: &str, count: usize| format!("{} {}", format!("({word} ").repeat(count), ")".repeat(count));
    expect!["loops inside loops of one function: it has 65, and at most 64 are taken"]
        .assert_eq(&shaped(&nested("loop", 300), ""));
    expect!["blocks inside blocks of one function: it has 1025, and at most 1024 are taken"]
        .assert_eq(&shaped(&nested("block", 2_000), ""));
    expect!["blocks of one function: it has 20001, and at most 20000 are taken"]
        .assert_eq(&shaped(&"(block)".repeat(30_000), ""));
    expect!["locals of one function: it has 5000, and at most 4000 are taken"]
        .assert_eq(&shaped(&format!("(local {})", "i32 ".repeat(5_000)), ""));
    let branches = format!("(block (br_table {} (i32.const 0)))", "0 ".repeat(5_000));
    expect!["targets of one br_table: it has 4999, and at most 4096 are taken"].assert_eq(&shaped(&branches, ""));
    expect!["functions: it has 70009, and at most 60000 are taken"].assert_eq(&shaped("", &"(func)".repeat(70_000)));
    let long = "(drop (i32.const 1000000))".repeat(200_000);
    let message = shaped(&long, "");
    assert!(message.starts_with("bytes of one function: it has "), "{message}");
}

#[test]
fn descriptions_are_checked() {
    let rule = |columns: Vec<Field>| TextGuest::rule(columns);
    check(&rule(vec![amount(), amount()]).build(), expect!["`describe` is not usable: two columns have the name `amount`"]);
    check(
        &rule(vec![Field::new("_time", FieldType::Int64, true)]).build(),
        expect!["`describe` is not usable: a column has the name `_time`, which is the host's own"],
    );
    check(
        &rule(vec![Field::new("", FieldType::Int64, true)]).build(),
        expect![[r#"`describe` is not usable: a column has the name "": 1 to 255 bytes, no control characters"#]],
    );
    let decimal = Field::new("d", FieldType::Decimal { precision: 39, scale: 2 }, true);
    check(
        &rule(vec![decimal]).build(),
        expect!["`describe` is not usable: column `d` is decimal(39,2): 1 to 38 digits, at most all of them behind the point"],
    );
    let counter = |first| rule(vec![]).state(vec![(Field::new("n", FieldType::Int64, false), first)]).build();
    check(
        &counter(None),
        expect!["`describe` is not usable: state field `n` starts as none: give it a first value, or declare it nullable"],
    );
    check(
        &counter(Some("x")),
        expect![
            "`describe` is not usable: state field `n` starts as x: that is not JSON (expected value at line 1 column 1); a text needs its quotes"
        ],
    );
    let mut transform = TextGuest::transform(vec![]).outputs(vec![Field::new("at", FieldType::Timestamp(None), true)]);
    transform.time = Some("at".to_owned());
    check(&transform.build(), expect!["`describe` is not usable: its event time `at` must be a timestamp that is never null"]);
    transform.time = Some("then".to_owned());
    check(&transform.build(), expect!["`describe` is not usable: its event time is `then`, which is no output"]);
    check(
        &rule(vec![]).describe("unreachable").build(),
        expect!["`describe` failed: trap: wasm trap: wasm `unreachable` instruction executed"],
    );
    let fickle = rule(vec![]).random().describe("(i64.store8 (i32.const 1032) (i64.const 8)) (i64.store8 (i32.const 1056) (call $random)) (i64.store8 (i32.const 1057) (call $random)) (i32.const 1024)");
    let refused = refused(&fickle.build());
    assert!(matches!(refused, Refused::DescribeVaries | Refused::Describe(_)), "{refused}");
}

#[test]
fn what_is_taken_is_described_and_named_by_its_bytes() {
    let wasm = TextGuest::transform(vec![Field::new("user.name", FieldType::String, false), amount()])
        .outputs(vec![
            Field::new("at", FieldType::Timestamp(None), false),
            Field::new("d", FieldType::Decimal { precision: 9, scale: 2 }, true),
        ])
        .state(vec![
            (Field::new("seen", FieldType::Int64, false), Some("3")),
            (Field::new("last", FieldType::String, true), None),
        ])
        .build();
    let component = RUNTIME.prepare(&wasm).expect("a component");
    let description = component.description();
    assert_eq!(description.doc, "A test.");
    assert_eq!(description.columns, [Field::new("user.name", FieldType::String, false), amount()]);
    assert_eq!(description.outputs[1], Field::new("d", FieldType::Decimal { precision: 9, scale: 2 }, true));
    assert_eq!((description.first_row().num_rows(), description.state.len()), (1, 2));
    assert_eq!(component.digest(), tidemill_runtime::Digest::of(&wasm));
    assert_eq!((component.size_bytes(), component.from_cache()), (wasm.len(), false));
    assert_eq!(RUNTIME.prepare(&wasm).expect("the same").description(), description);
}

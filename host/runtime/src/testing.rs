//! Components written as WebAssembly text, for tests of this crate and of those above it: no compiler, no SDK, and every way to be
//! broken. Only with feature `testing`.
//!
//! A [`TextGuest`] brings the boilerplate of a world (description, allocator, answer area) and takes the body of each export. Inside
//! a body these are there:
//!
//! ```text
//! $rows $columns $columns_length $keys $row_keys $state $state_length $data $data_length      the batch, as parameters of the call
//! (call $take n)                      n fresh bytes, at a multiple of 8
//! (call $answer verdicts length)      a rule's answer without columns; returns what the export returns
//! (call $fail text length)            an error of the component's own
//! (call $say level text length)       a log line, in a guest made with `logging()`
//! $ret                                64 bytes for an answer put together by hand
//! ```

pub mod bombs;

use std::fmt::Write as _;

use tidemill_event::{Field, FieldType};
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

use crate::Kind;

const COMPONENT_WIT: &str = include_str!("../../../wit/component/component.wit");
const METRICS_WIT: &str = include_str!("../../../wit/metrics/metrics.wit");
const TESTING_WIT: &str = include_str!("../../../wit/testing/testing.wit");
const RULE_WIT: &str = include_str!("../../../wit/rule/rule.wit");
const TRANSFORM_WIT: &str = include_str!("../../../wit/transform/transform.wit");
const FUNCTION_WIT: &str = include_str!("../../../wit/function/function.wit");
const AGGREGATE_WIT: &str = include_str!("../../../wit/aggregate/aggregate.wit");

/// Where an answer stands.
const RET: u32 = 16;
/// Where the description stands; the heap begins behind the first page.
const DESCRIPTION: u32 = 1024;

/// A component in the making.
#[derive(Debug, Clone)]
pub struct TextGuest {
    kind: Kind,
    /// What it says it is for.
    pub doc: String,
    /// Columns it reads.
    pub columns: Vec<Field>,
    /// Columns it makes.
    pub outputs: Vec<Field>,
    /// State fields with their first values.
    pub state: Vec<(Field, Option<String>)>,
    /// A transform's time field.
    pub time: Option<String>,
    /// Whether an aggregate says that it retracts.
    pub retracts: bool,
    logging: bool,
    random: bool,
    measuring: bool,
    fields: String,
    describe: String,
    open: String,
    call: String,
    /// Of an aggregate: the bodies of `merge`, `retract` and `finish`.
    further: [String; 3],
}

impl TextGuest {
    /// A rule of which every answer traps until it has a [`Self::call`].
    pub fn rule(columns: Vec<Field>) -> Self {
        Self::new(Kind::Rule, columns)
    }

    /// A transform, likewise.
    pub fn transform(columns: Vec<Field>) -> Self {
        Self::new(Kind::Transform, columns)
    }

    /// A function of these arguments, likewise.
    pub fn function(arguments: Vec<Field>, value: Field) -> Self {
        Self::new(Kind::Function, arguments).outputs(vec![value])
    }

    /// An aggregate of these arguments, likewise; [`Self::further`] has the bodies of its other exports.
    pub fn aggregate(arguments: Vec<Field>, value: Field) -> Self {
        Self::new(Kind::Aggregate, arguments).outputs(vec![value])
    }

    fn new(kind: Kind, columns: Vec<Field>) -> Self {
        Self {
            kind,
            doc: "A test.".to_owned(),
            columns,
            outputs: Vec::new(),
            state: Vec::new(),
            time: None,
            retracts: false,
            logging: false,
            random: false,
            measuring: false,
            fields: String::new(),
            describe: format!("(i32.const {DESCRIPTION})"),
            open: "(i32.store8 (global.get $ret) (i32.const 0)) (global.get $ret)".to_owned(),
            call: "unreachable".to_owned(),
            further: std::array::from_fn(|_| "unreachable".to_owned()),
        }
    }

    /// Columns it makes.
    #[must_use]
    pub fn outputs(mut self, outputs: Vec<Field>) -> Self {
        self.outputs = outputs;
        self
    }

    /// State it keeps, with first values as JSON text.
    #[must_use]
    pub fn state(mut self, state: Vec<(Field, Option<&str>)>) -> Self {
        self.state = state.into_iter().map(|(field, first)| (field, first.map(str::to_owned))).collect();
        self
    }

    /// The bodies of an aggregate's `merge`, `retract` and `finish`, with the parameters of `call`.
    #[must_use]
    pub fn further(mut self, merge: &str, retract: &str, finish: &str) -> Self {
        self.further = [merge.to_owned(), retract.to_owned(), finish.to_owned()];
        self
    }

    /// The body of `evaluate`, `apply`, `compute` or `update`: leaves the address of the result.
    #[must_use]
    pub fn call(mut self, body: &str) -> Self {
        self.call = body.to_owned();
        self
    }

    /// The body of `open`, with `$config` and `$config_length`.
    #[must_use]
    pub fn open(mut self, body: &str) -> Self {
        self.open = body.to_owned();
        self
    }

    /// The body of `describe`, instead of the description put together from the fields.
    #[must_use]
    pub fn describe(mut self, body: &str) -> Self {
        self.describe = body.to_owned();
        self
    }

    /// Further fields of the core module: globals, functions, data, a start function.
    #[must_use]
    pub fn fields(mut self, fields: &str) -> Self {
        self.fields = fields.to_owned();
        self
    }

    /// Imports logging: `$say`.
    #[must_use]
    pub fn logging(mut self) -> Self {
        self.logging = true;
        self
    }

    /// Imports metrics: `$measure`, which takes a list of measurements.
    #[must_use]
    pub fn measuring(mut self) -> Self {
        self.measuring = true;
        self
    }

    /// Imports the planted randomness: `$random`, which needs [`crate::Grant::TestRandom`].
    #[must_use]
    pub fn random(mut self) -> Self {
        self.random = true;
        self
    }

    /// The component.
    ///
    /// # Panics
    /// If the text is broken.
    pub fn build(&self) -> Vec<u8> {
        component(self.kind, self.random, &self.text())
    }

    /// The text of its core module.
    pub fn text(&self) -> String {
        let mut imports = String::new();
        if self.logging {
            imports += r#"(import "tidemill:component/logging@1.0.0" "log" (func $say (param i32 i32 i32)))"#;
        }
        if self.measuring {
            imports += r#"(import "tidemill:metrics/metrics@1.0.0" "measure" (func $measure (param i32 i32)))"#;
        }
        if self.random {
            imports += r#"(import "tidemill:testing/random@1.0.0" "random" (func $random (result i64)))"#;
        }
        let Self { fields, describe, open, call, .. } = self;
        let bodies: Vec<(&str, &String)> =
            std::iter::once((self.kind.call(), call)).chain(self.kind.further().iter().copied().zip(&self.further)).collect();
        let entries: String = bodies.iter().map(|(name, body)| entry(name, body)).collect();
        let description = escaped(&self.description());
        // Twelve fixed words of an answer: tag, verdicts, columns, state, data, notes.
        format!(
            r#"(module $guest
              {imports}
              (memory (export "memory") 2)
              (global $ret i32 (i32.const {RET}))
              (global $heap (mut i32) (i32.const 65536))
              (data (i32.const {DESCRIPTION}) "{description}")
              (func $take (param $bytes i32) (result i32) (local $at i32)
                (local.set $at (i32.and (i32.add (global.get $heap) (i32.const 7)) (i32.const -8)))
                (global.set $heap (i32.add (local.get $at) (local.get $bytes)))
                (if (i32.gt_u (global.get $heap) (i32.mul (memory.size) (i32.const 65536)))
                  (then (if (i32.eq (i32.const -1) (memory.grow (i32.add (i32.shr_u (local.get $bytes) (i32.const 16)) (i32.const 1))))
                    (then unreachable))))
                (local.get $at))
              (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (call $take (local.get 3)))
              (func $answer (param $verdicts i32) (param $length i32) (result i32)
                (memory.fill (global.get $ret) (i32.const 0) (i32.const 64))
                (i32.store offset=4 (global.get $ret) (local.get $verdicts))
                (i32.store offset=8 (global.get $ret) (local.get $length))
                (i32.store offset=12 (global.get $ret) (i32.const 8))
                (i32.store offset=20 (global.get $ret) (i32.const 8))
                (i32.store offset=28 (global.get $ret) (i32.const 8))
                (i32.store offset=36 (global.get $ret) (i32.const 8))
                (global.get $ret))
              (func $fail (param $text i32) (param $length i32) (result i32)
                (i32.store8 (global.get $ret) (i32.const 1))
                (i32.store offset=4 (global.get $ret) (local.get $text))
                (i32.store offset=8 (global.get $ret) (local.get $length))
                (global.get $ret))
              (func $describe (export "describe") (result i32) {describe})
              (func $open (export "open") (param $config i32) (param $config_length i32) (result i32) {open})
              {entries}
              {fields})"#
        )
    }

    /// The description as it stands in memory: the record first, then what it points to.
    fn description(&self) -> Vec<u8> {
        let mut memory = Memory { bytes: Vec::new() };
        let head = memory.room(match self.kind {
            Kind::Rule => 32,
            Kind::Transform => 44,
            Kind::Function => 28,
            Kind::Aggregate => 40,
            Kind::Process | Kind::Pattern => panic!("{BY_SDK}"),
        });
        memory.text(head, &self.doc);
        memory.fields(head + 8, &self.columns);
        match self.kind {
            Kind::Rule | Kind::Transform => {
                memory.fields(head + 16, &self.outputs);
                memory.state(head + 24, &self.state);
            }
            Kind::Process | Kind::Pattern => panic!("{BY_SDK}"),
            Kind::Function | Kind::Aggregate => memory.field(head + 16, &self.outputs[0]),
        }
        if self.kind == Kind::Transform {
            memory.option(head + 32, self.time.as_deref());
        }
        if self.kind == Kind::Aggregate {
            memory.state(head + 28, &self.state);
            memory.bytes[head + 36] = u8::from(self.retracts);
        }
        memory.bytes
    }
}

/// An export that takes a batch, and the function with its body.
fn entry(name: &str, body: &str) -> String {
    // What an answer points to stays until the next call writes over it, so there is nothing to do after a return.
    format!(
        r#"(func $entry_{name} (export "{name}") (param i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32)
             (call ${name} (local.get 0) (local.get 1) (local.get 2) (local.get 3) (local.get 4) (local.get 5) (local.get 6)
               (local.get 7) (local.get 8))
             (global.set $heap (i32.const 65536)))
           (func ${name} (param $rows i32) (param $columns i32) (param $columns_length i32) (param $keys i32)
             (param $row_keys i32) (param $state i32) (param $state_length i32) (param $data i32) (param $data_length i32) (result i32)
             {body})"#
    )
}

/// A process or a pattern by hand would be a page of text for every test.
const BY_SDK: &str = "processes and patterns for tests are written with the SDK, in `guests/`";

struct Memory {
    bytes: Vec<u8>,
}

impl Memory {
    fn room(&mut self, bytes: usize) -> usize {
        let at = self.bytes.len().next_multiple_of(8);
        self.bytes.resize(at + bytes, 0);
        at
    }

    fn word(&self, at: usize) -> u32 {
        u32::from_le_bytes([self.bytes[at], self.bytes[at + 1], self.bytes[at + 2], self.bytes[at + 3]])
    }

    fn set(&mut self, at: usize, word: usize) {
        self.bytes[at..at + 4].copy_from_slice(&(word as u32).to_le_bytes());
    }

    fn list(&mut self, at: usize, element: usize, count: usize) {
        let start = self.room(element * count);
        self.set(at, start + DESCRIPTION as usize);
        self.set(at + 4, count);
    }

    fn text(&mut self, at: usize, text: &str) {
        self.list(at, 1, text.len());
        let start = self.word(at) as usize - DESCRIPTION as usize;
        self.bytes[start..start + text.len()].copy_from_slice(text.as_bytes());
    }

    fn option(&mut self, at: usize, text: Option<&str>) {
        if let Some(text) = text {
            self.bytes[at] = 1;
            self.text(at + 4, text);
        }
    }

    fn fields(&mut self, at: usize, fields: &[Field]) {
        self.list(at, 12, fields.len());
        let start = self.word(at) as usize - DESCRIPTION as usize;
        for (place, field) in fields.iter().enumerate() {
            self.field(start + place * 12, field);
        }
    }

    fn state(&mut self, at: usize, fields: &[(Field, Option<String>)]) {
        self.list(at, 24, fields.len());
        let start = self.word(at) as usize - DESCRIPTION as usize;
        for (place, (field, first)) in fields.iter().enumerate() {
            self.field(start + place * 24, field);
            self.option(start + place * 24 + 12, first.as_deref());
        }
    }

    fn field(&mut self, at: usize, field: &Field) {
        self.text(at, &field.name);
        let (kind, precision, scale) = match field.ty {
            FieldType::Bool => (0, 0, 0),
            FieldType::Int64 => (1, 0, 0),
            FieldType::Float64 => (2, 0, 0),
            FieldType::Decimal { precision, scale } => (3, precision, scale),
            FieldType::String => (4, 0, 0),
            FieldType::Bytes => (5, 0, 0),
            FieldType::Timestamp(_) => (6, 0, 0),
            FieldType::Json => (7, 0, 0),
        };
        self.bytes[at + 8..at + 12].copy_from_slice(&[kind, precision, scale, u8::from(field.nullable)]);
    }
}

fn escaped(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "\\{byte:02x}");
        text
    })
}

/// Makes a component of a core module written as text. `random`: the world imports the planted randomness too.
///
/// # Panics
/// If the text is broken or does not have the exports of the world.
pub fn component(kind: Kind, random: bool, core: &str) -> Vec<u8> {
    let mut module = wat::parse_str(core).expect("WebAssembly text");
    let (resolve, world) = resolve(kind, random);
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).expect("a module");
    let encoder = ComponentEncoder::default().module(&module).expect("a module of this world");
    encoder.validate(true).encode().expect("a component")
}

fn resolve(kind: Kind, random: bool) -> (Resolve, wit_parser::WorldId) {
    let mut resolve = Resolve::default();
    resolve.push_source("component.wit", COMPONENT_WIT).expect("our WIT");
    resolve.push_source("metrics.wit", METRICS_WIT).expect("our WIT");
    resolve.push_source("testing.wit", TESTING_WIT).expect("our WIT");
    let (source, name) = match kind {
        Kind::Rule => (RULE_WIT, "rule"),
        Kind::Transform => (TRANSFORM_WIT, "transform"),
        Kind::Function => (FUNCTION_WIT, "function"),
        Kind::Aggregate => (AGGREGATE_WIT, "aggregate"),
        Kind::Process | Kind::Pattern => panic!("{BY_SDK}"),
    };
    let logging = "import tidemill:component/logging@1.0.0;";
    // What a module does not import is left out of its component.
    let random = if random { "import tidemill:testing/random@1.0.0;" } else { "" };
    let source = source.replace(logging, &format!("{logging} import tidemill:metrics/metrics@1.0.0; {random}"));
    let package = resolve.push_source("world.wit", &source).expect("our WIT");
    let world = resolve.select_world(&[package], Some(name)).expect("the world");
    (resolve, world)
}

/// A rule over one `number` column named `amount`: is it more than 1000? A null is no.
pub fn threshold_rule() -> Vec<u8> {
    TextGuest::rule(vec![Field::new("amount", FieldType::Float64, true)]).call(THRESHOLD).build()
}

/// A rule that answers yes to each row and counts, per key, in the state field `count`, an integer that starts at 0.
pub fn counter_rule() -> Vec<u8> {
    TextGuest::rule(vec![Field::new("amount", FieldType::Float64, true)])
        .state(vec![(Field::new("count", FieldType::Int64, false), Some("0"))])
        .call(&COUNTER.replace("YES", "(i32.const 1)"))
        .build()
}

/// [`counter_rule`], and it answers yes to every third row of a key: what comes out shows the state.
pub fn every_third_rule() -> Vec<u8> {
    TextGuest::rule(vec![Field::new("amount", FieldType::Float64, true)])
        .state(vec![(Field::new("count", FieldType::Int64, false), Some("0"))])
        .call(&COUNTER.replace("YES", "(i64.eqz (i64.rem_u (i64.load (local.get $at)) (i64.const 3)))"))
        .build()
}

/// A transform over one `text` column named `line`: each row twice, with the length of its text in bytes as `length`.
pub fn twice_transform() -> Vec<u8> {
    TextGuest::transform(vec![Field::new("line", FieldType::String, false)])
        .outputs(vec![Field::new("length", FieldType::Int64, false)])
        .call(TWICE)
        .build()
}

const THRESHOLD: &str = r#"
    (local $bits i32) (local $row i32) (local $values i32) (local $validity i32) (local $byte i32)
    (local.set $bits (call $take (i32.shr_u (i32.add (local.get $rows) (i32.const 7)) (i32.const 3))))
    (memory.fill (local.get $bits) (i32.const 0) (i32.shr_u (i32.add (local.get $rows) (i32.const 7)) (i32.const 3)))
    (local.set $values (i32.add (local.get $data) (i32.load offset=8 (local.get $columns))))
    (local.set $validity (i32.load offset=4 (local.get $columns)))
    (loop $next
      (if (f64.gt (f64.load (i32.add (local.get $values) (i32.shl (local.get $row) (i32.const 3)))) (f64.const 1000))
        (then
          (local.set $byte (i32.const 255))
          (if (i32.ne (local.get $validity) (i32.const -1))
            (then (local.set $byte (i32.load8_u (i32.add (i32.add (local.get $data) (local.get $validity)) (i32.shr_u (local.get $row) (i32.const 3)))))))
          (local.set $byte (i32.and (local.get $byte) (i32.shl (i32.const 1) (i32.and (local.get $row) (i32.const 7)))))
          (i32.store8 (i32.add (local.get $bits) (i32.shr_u (local.get $row) (i32.const 3)))
            (i32.or (local.get $byte) (i32.load8_u (i32.add (local.get $bits) (i32.shr_u (local.get $row) (i32.const 3))))))))
      (local.set $row (i32.add (local.get $row) (i32.const 1)))
      (br_if $next (i32.lt_u (local.get $row) (local.get $rows))))
    (call $answer (local.get $bits) (i32.shr_u (i32.add (local.get $rows) (i32.const 7)) (i32.const 3)))"#;

const COUNTER: &str = r#"
    (local $bits i32) (local $length i32) (local $row i32) (local $counts i32) (local $bytes i32) (local $at i32) (local $byte i32)
    (local.set $length (i32.shr_u (i32.add (local.get $rows) (i32.const 7)) (i32.const 3)))
    (local.set $bits (call $take (local.get $length)))
    (memory.fill (local.get $bits) (i32.const 0) (local.get $length))
    ;; The new state starts as the old one.
    (local.set $bytes (i32.shl (local.get $keys) (i32.const 3)))
    (local.set $counts (call $take (i32.add (local.get $bytes) (i32.const 32))))
    (memory.copy (local.get $counts) (i32.add (local.get $data) (i32.load offset=8 (local.get $state))) (local.get $bytes))
    (loop $next
      (local.set $at (i32.add (local.get $counts) (i32.shl
        (i32.load (i32.add (i32.add (local.get $data) (local.get $row_keys)) (i32.shl (local.get $row) (i32.const 2)))) (i32.const 3))))
      (i64.store (local.get $at) (i64.add (i64.load (local.get $at)) (i64.const 1)))
      (local.set $at (i32.shl YES (i32.and (local.get $row) (i32.const 7))))
      (local.set $byte (i32.add (local.get $bits) (i32.shr_u (local.get $row) (i32.const 3))))
      (i32.store8 (local.get $byte) (i32.or (local.get $at) (i32.load8_u (local.get $byte))))
      (local.set $row (i32.add (local.get $row) (i32.const 1)))
      (br_if $next (i32.lt_u (local.get $row) (local.get $rows))))
    (drop (call $answer (local.get $bits) (local.get $length)))
    ;; One state column: words from byte 0 of the buffer, no nulls.
    (local.set $at (i32.add (local.get $counts) (local.get $bytes)))
    (memory.fill (local.get $at) (i32.const 0) (i32.const 28))
    (i32.store8 (local.get $at) (i32.const 1))
    (i32.store offset=4 (local.get $at) (i32.const -1))
    (i32.store offset=20 (global.get $ret) (local.get $at))
    (i32.store offset=24 (global.get $ret) (i32.const 1))
    (i32.store offset=28 (global.get $ret) (local.get $counts))
    (i32.store offset=32 (global.get $ret) (local.get $bytes))
    (global.get $ret)"#;

const TWICE: &str = r#"
    (local $out i32) (local $made i32) (local $row i32) (local $offsets i32) (local $lengths i32) (local $layout i32)
    (local.set $made (i32.shl (local.get $rows) (i32.const 1)))
    ;; Sources, then lengths, then the layout.
    (local.set $out (call $take (i32.add (i32.mul (local.get $made) (i32.const 12)) (i32.const 32))))
    (local.set $lengths (i32.add (local.get $out) (i32.shl (local.get $made) (i32.const 2))))
    (local.set $layout (i32.add (local.get $lengths) (i32.shl (local.get $made) (i32.const 3))))
    (loop $next
      (i32.store (i32.add (local.get $out) (i32.shl (local.get $row) (i32.const 2))) (i32.shr_u (local.get $row) (i32.const 1)))
      (i64.store (i32.add (local.get $lengths) (i32.shl (local.get $row) (i32.const 3)))
        (i64.extend_i32_u (call $length (local.get $data) (local.get $columns) (i32.shr_u (local.get $row) (i32.const 1)))))
      (local.set $row (i32.add (local.get $row) (i32.const 1)))
      (br_if $next (i32.lt_u (local.get $row) (local.get $made))))
    (memory.fill (global.get $ret) (i32.const 0) (i32.const 64))
    (i32.store offset=4 (global.get $ret) (local.get $made))
    (memory.fill (local.get $layout) (i32.const 0) (i32.const 28))
    (i32.store8 (local.get $layout) (i32.const 1))
    (i32.store offset=4 (local.get $layout) (i32.const -1))
    (i32.store offset=8 (local.get $layout) (i32.sub (local.get $lengths) (local.get $out)))
    (i32.store offset=12 (global.get $ret) (local.get $layout))
    (i32.store offset=16 (global.get $ret) (i32.const 1))
    (i32.store offset=20 (global.get $ret) (i32.const 8))
    (i32.store offset=28 (global.get $ret) (local.get $out))
    (i32.store offset=32 (global.get $ret) (i32.mul (local.get $made) (i32.const 12)))
    (i32.store offset=36 (global.get $ret) (i32.const 8))
    (global.get $ret)
    ) (func $length (param $data i32) (param $column i32) (param $row i32) (result i32) (local $at i32)
    ;; Of a dictionary, the entry; of plain text, the row.
    (if (i32.eq (i32.load8_u (local.get $column)) (i32.const 4))
      (then
        (local.set $row (i32.load (i32.add (i32.add (local.get $data) (i32.load offset=8 (local.get $column))) (i32.shl (local.get $row) (i32.const 2)))))
        (local.set $at (i32.load offset=12 (local.get $column))))
      (else (local.set $at (i32.load offset=8 (local.get $column)))))
    (local.set $at (i32.add (i32.add (local.get $data) (local.get $at)) (i32.shl (local.get $row) (i32.const 2))))
    (i32.sub (i32.load offset=4 (local.get $at)) (i32.load (local.get $at)))"#;

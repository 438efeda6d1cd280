//! What a component costs over the same source compiled natively, and what it costs to have one.
//!
//! `cargo bench -p tidemill-runtime --bench call`. Groups:
//! - `bare`: what entering a component takes without anything of ours;
//! - `boundary`: a component that reads nothing and answers all no: what crossing costs, by columns and rows;
//! - `rule`: `guests/bench-rule` (a function over a row) and `guests/bench-batch` (one over columns) against the same natively;
//! - `heavy`: `guests/bench-heavy`, which works for its answer, against the same natively;
//! - `life`: compile in this process and in one of its own, load from the cache; `start`: instantiate and drop.
//!
//! Guests are taken from the target folder (`cargo xtask guests`); one that is not there is left out and said so.
//!
//! `fuel` and `fuel+deadline` are two engines: with and without epochs. All but `life` is CPU time of the thread.

#![allow(missing_docs, reason = "a bench")]

mod bare;
mod kernel;
mod thread_time;

use std::hint::black_box;
use std::path::PathBuf;
use std::sync::Arc;

use arrow_array::types::UInt32Type;
use arrow_array::{ArrayRef, DictionaryArray, Float64Array, RecordBatch, StringArray};
use arrow_schema::{Field as ArrowField, Schema};
use criterion::measurement::Measurement;
use criterion::{BenchmarkGroup, BenchmarkId, Criterion, Throughput, criterion_group};
use thread_time::ThreadTime;
use tidemill_event::{Field, FieldType, RuleCall};
use tidemill_runtime::testing::TextGuest;
use tidemill_runtime::{
    CompileLimits, Compiler, CompilerProcess, Component, Grants, Instance, InstanceSettings, Interruption, Limits, Runtime,
    RuntimeSettings, SilentLog, SilentMetrics, compile_one,
};

/// What makes this program a compiler.
const COMPILE: &str = "compile-component";
const SIZES: [usize; 4] = [1, 16, 256, 4_096];
/// Few, so that it can be profiled under valgrind, which has little address space to give.
const INSTANCES_MAX: u32 = 3;
const HOME: &str = "AT";
const COUNTRIES: [&str; 8] = ["AT", "DE", "IT", "US", "FR", "ES", "CH", "AT"];
const STATUSES: [&str; 4] = ["ok", "declined", "ok", "refunded"];

fn runtime(interruption: Interruption, cache_dir: Option<PathBuf>) -> Runtime {
    Runtime::new(RuntimeSettings {
        interruption,
        cache_dir,
        instances_max: INSTANCES_MAX,
        ..RuntimeSettings::new(Compiler::InProcess)
    })
    .expect("a runtime")
}

fn settings(component: &Component) -> InstanceSettings {
    // A rule that has no use for texts has no home either.
    let reads_texts = component.description().columns.iter().any(|column| column.ty == FieldType::String);
    InstanceSettings {
        config: if reads_texts { format!(r#"{{"home":"{HOME}"}}"#) } else { "{}".to_owned() },
        limits: Limits::default(),
        log: Arc::new(SilentLog),
        metrics: Arc::new(SilentMetrics),
        grants: Grants::none(),
    }
}

fn instance(runtime: &Runtime, wasm: &[u8]) -> Instance {
    let component = runtime.prepare(wasm).expect("a component");
    runtime.instantiate(&component, settings(&component)).expect("an instance")
}

struct Rows {
    amount: Float64Array,
    plain: [StringArray; 2],
    dictionary: [DictionaryArray<UInt32Type>; 2],
}

impl Rows {
    /// About one row in nine matches, in no order that a branch predictor could learn.
    fn new(rows: usize) -> Self {
        let mut seed = 0x9E37_79B9_7F4A_7C15_u64;
        let mut next = || {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            (seed >> 33) as usize
        };
        let picks: Vec<[usize; 3]> = (0..rows).map(|_| [next(), next(), next()]).collect();
        let text = |column: usize, of: &'static [&'static str]| -> Vec<&'static str> {
            picks.iter().map(|pick| of[pick[column] % of.len()]).collect()
        };
        let (countries, statuses) = (text(1, &COUNTRIES), text(2, &STATUSES));
        Self {
            amount: picks.iter().map(|pick| Some((pick[0] % 1_400) as f64)).collect(),
            plain: [StringArray::from(countries.clone()), StringArray::from(statuses.clone())],
            dictionary: [countries.into_iter().collect(), statuses.into_iter().collect()],
        }
    }

    fn call(&self, dictionary: bool) -> RuleCall {
        let texts = |at: usize| -> ArrayRef {
            if dictionary { Arc::new(self.dictionary[at].clone()) } else { Arc::new(self.plain[at].clone()) }
        };
        call(&[("amount", Arc::new(self.amount.clone())), ("country", texts(0)), ("status", texts(1))])
    }
}

fn call(columns: &[(&str, ArrayRef)]) -> RuleCall {
    let fields: Vec<ArrowField> =
        columns.iter().map(|(name, column)| ArrowField::new(*name, column.data_type().clone(), true)).collect();
    let columns = columns.iter().map(|(_, column)| Arc::clone(column)).collect();
    RuleCall { columns: RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).expect("a batch"), state: None }
}

fn boundary<M: Measurement + 'static>(criterion: &mut Criterion<M>) {
    // Bits that are always there, and clear.
    let no = "(call $answer (i32.const 4096) (i32.shr_u (i32.add (local.get $rows) (i32.const 7)) (i32.const 3)))";
    let stay = r#"(@custom "tidemill:arguments" "\01")"#;
    let amount = || Field::new("amount", FieldType::Float64, false);
    let text = |name: &str| Field::new(name, FieldType::String, false);
    let asked = TextGuest::rule(vec![amount()]).call(no).build();
    let one = TextGuest::rule(vec![amount()]).call(no).fields(stay).build();
    let three = TextGuest::rule(vec![amount(), text("country"), text("status")]).call(no).fields(stay).build();
    let runtime = runtime(Interruption::FuelAndDeadline, None);
    let [mut asked, mut one, mut three] = [&asked, &one, &three].map(|wasm| instance(&runtime, wasm));
    let mut group = criterion.benchmark_group("boundary");
    for size in SIZES {
        let rows = Rows::new(size);
        let single = call(&[("amount", Arc::new(rows.amount.clone()) as ArrayRef)]);
        group.bench_function(BenchmarkId::new("one number", size), |b| b.iter(|| black_box(one.judge(&single))));
        let name = "one number, memory asked for each time";
        group.bench_function(BenchmarkId::new(name, size), |b| b.iter(|| black_box(asked.judge(&single))));
        for dictionary in [false, true] {
            let call = rows.call(dictionary);
            let name = if dictionary { "number, two dictionaries" } else { "number, two texts" };
            group.bench_function(BenchmarkId::new(name, size), |b| b.iter(|| black_box(three.judge(&call))));
        }
    }
    group.finish();
}

/// A guest of the benches, where `cargo xtask guests` leaves it.
fn guest(name: &str) -> Option<Vec<u8>> {
    let bench = std::env::current_exe().ok()?;
    let target = bench.ancestors().find(|folder| folder.join("guests").is_dir());
    let wasm = target.and_then(|target| std::fs::read(target.join(format!("guests/{name}.wasm"))).ok());
    if wasm.is_none() {
        eprintln!("guests/{name}.wasm is not in the target folder: run `cargo xtask guests`; leaving it out");
    }
    wasm
}

fn rule<M: Measurement + 'static>(criterion: &mut Criterion<M>) {
    let components = [
        ("component", "fuel", "bench-rule", Interruption::Fuel),
        ("component", "fuel+deadline", "bench-rule", Interruption::FuelAndDeadline),
        ("batch component", "fuel+deadline", "bench-batch", Interruption::FuelAndDeadline),
    ];
    let made = components.into_iter().filter_map(|(form, limits, name, interruption)| {
        Some((form, limits, instance(&runtime(interruption, None), &guest(name)?)))
    });
    let mut instances: Vec<(&str, &str, Instance)> = made.collect();
    let mut group = criterion.benchmark_group("rule");
    for size in SIZES {
        let rows = Rows::new(size);
        group.throughput(Throughput::Elements(size as u64));
        native(&mut group, &rows, size);
        for dictionary in [false, true] {
            let call = rows.call(dictionary);
            let form = if dictionary { "dictionary" } else { "text" };
            for (component, limits, instance) in &mut instances {
                let mut bits = Vec::new();
                kernel::rows_plain(&rows.amount, &rows.plain[0], &rows.plain[1], HOME, &mut bits);
                let answer = instance.judge(&call).expect("an answer");
                assert_eq!(answer.verdicts.values().values(), bits, "the component and the native rule agree");
                let id = BenchmarkId::new(format!("{component}, {form}, {limits}"), size);
                group.bench_function(id, |b| b.iter(|| black_box(instance.judge(&call))));
            }
        }
    }
    group.finish();
}

fn heavy<M: Measurement + 'static>(criterion: &mut Criterion<M>) {
    let Some(wasm) = guest("bench-heavy") else { return };
    let mut instance = instance(&runtime(Interruption::FuelAndDeadline, None), &wasm);
    let mut group = criterion.benchmark_group("heavy");
    for size in SIZES {
        let rows = Rows::new(size);
        let call = call(&[("amount", Arc::new(rows.amount.clone()) as ArrayRef)]);
        let mut bits = Vec::with_capacity(size / 8 + 1);
        kernel::rows_heavy(&rows.amount, &mut bits);
        let answer = instance.judge(&call).expect("an answer");
        assert_eq!(answer.verdicts.values().values(), bits, "the component and the native rule agree");
        group.bench_function(BenchmarkId::new("native", size), |b| {
            b.iter(|| kernel::rows_heavy(black_box(&rows.amount), black_box(&mut bits)));
        });
        group.bench_function(BenchmarkId::new("component", size), |b| b.iter(|| black_box(instance.judge(&call))));
    }
    group.finish();
}

fn native<M: Measurement>(group: &mut BenchmarkGroup<'_, M>, rows: &Rows, size: usize) {
    let mut bits = Vec::with_capacity(size / 8 + 1);
    let home = black_box(HOME);
    let [country, status] = [&rows.dictionary[0], &rows.dictionary[1]].map(kernel::Texts::of);
    group.bench_function(BenchmarkId::new("native, text, rows", size), |b| {
        b.iter(|| kernel::rows_plain(black_box(&rows.amount), &rows.plain[0], &rows.plain[1], home, black_box(&mut bits)));
    });
    group.bench_function(BenchmarkId::new("native, dictionary, rows", size), |b| {
        b.iter(|| kernel::rows_dictionary(black_box(&rows.amount), country, status, home, black_box(&mut bits)));
    });
    group.bench_function(BenchmarkId::new("native, dictionary, columns", size), |b| {
        b.iter(|| kernel::columns_dictionary(black_box(&rows.amount), country, status, home, black_box(&mut bits)));
    });
}

fn life(criterion: &mut Criterion) {
    let text = tidemill_runtime::testing::threshold_rule();
    let components = [("text", Some(text)), ("bench-rule", guest("bench-rule"))];
    let mut group = criterion.benchmark_group("life");
    group.sample_size(10);
    for (name, wasm) in components {
        let Some(wasm) = wasm else { continue };
        let folder = tempfile::tempdir().expect("a folder");
        let bare = runtime(Interruption::FuelAndDeadline, None);
        let cached = runtime(Interruption::FuelAndDeadline, Some(folder.path().to_owned()));
        assert!(!cached.prepare(&wasm).expect("a component").from_cache());
        group.bench_function(BenchmarkId::new("compile", name), |b| b.iter(|| black_box(bare.prepare(&wasm))));
        let apart = Runtime::new(RuntimeSettings { instances_max: INSTANCES_MAX, ..RuntimeSettings::new(compiler()) })
            .expect("a runtime");
        group.bench_function(BenchmarkId::new("compile in a process", name), |b| b.iter(|| black_box(apart.prepare(&wasm))));
        group.bench_function(BenchmarkId::new("load from cache", name), |b| b.iter(|| black_box(cached.prepare(&wasm))));
    }
    group.finish();
}

fn start<M: Measurement + 'static>(criterion: &mut Criterion<M>) {
    let text = tidemill_runtime::testing::threshold_rule();
    let runtime = runtime(Interruption::FuelAndDeadline, None);
    let mut group = criterion.benchmark_group("start");
    for (name, wasm) in [("text", Some(text)), ("bench-rule", guest("bench-rule"))] {
        let Some(wasm) = wasm else { continue };
        let component = runtime.prepare(&wasm).expect("a component");
        group.bench_function(BenchmarkId::new("instantiate and drop", name), |b| {
            b.iter(|| black_box(runtime.instantiate(&component, settings(&component))));
        });
    }
    group.finish();
}

/// This program as a compiler.
fn compiler() -> Compiler {
    let program = std::env::current_exe().expect("this program");
    Compiler::Process(CompilerProcess { program, arguments: vec![COMPILE.into()], limits: CompileLimits::default() })
}

criterion_group! {
    name = calls;
    config = Criterion::default().with_measurement(ThreadTime);
    targets = bare::bare, boundary, rule, heavy, start
}
criterion_group! {
    name = profiled;
    config = Criterion::default();
    targets = bare::bare, boundary, rule, heavy, start
}
criterion_group!(lives, life);

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [command, cpu_seconds, memory_bytes] = arguments.as_slice()
        && command == COMPILE
    {
        let number = |text: &str| text.parse().expect("a number");
        compile_one(number(cpu_seconds), number(memory_bytes)).expect("a compiler");
        return;
    }
    // Whoever profiles wants no clock of threads, which valgrind does not have.
    if arguments.iter().any(|argument| argument == "--profile-time") {
        profiled()
    } else {
        calls()
    }
    lives();
    Criterion::default().configure_from_args().final_summary();
}

//! What wasmtime itself takes for entering a component, with the limits of our calls and nothing of ours: the floor under `boundary`.
//!
//! ```text
//! empty            nothing in, nothing out: one entry of the guest
//! a list           bytes in: its `realloc` is a second entry
//! two lists, one back     what a rule's call is made of: three entries; the answer is read where it stands
//! ```

use std::hint::black_box;

use criterion::{Criterion, measurement::Measurement};
use wasmtime::component::{Component, Linker, TypedFunc, WasmList};
use wasmtime::{Config, Engine, Store};

const GUEST: &str = r#"(component
  (core module $guest
    (memory (export "memory") 1)
    (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 1024))
    (func (export "empty"))
    (func (export "list") (param i32 i32))
    (func (export "lists") (param i32 i32 i32 i32) (result i32)
      (i32.store (i32.const 16) (i32.const 1024)) (i32.store (i32.const 20) (i32.const 1)) (i32.const 16)))
  (core instance $core (instantiate $guest))
  (alias core export $core "memory" (core memory $memory))
  (alias core export $core "realloc" (core func $realloc))
  (func (export "empty") (canon lift (core func $core "empty")))
  (func (export "list") (param "a" (list u8)) (canon lift (core func $core "list") (memory $memory) (realloc $realloc)))
  (func (export "lists") (param "a" (list u8)) (param "b" (list u8)) (result (list u8))
    (canon lift (core func $core "lists") (memory $memory) (realloc $realloc))))"#;

/// The layout and the data of a call.
type Lists<'a> = (&'a [u8], &'a [u8]);

/// Fuel and deadline, as a call of one row is granted them.
fn grant(store: &mut Store<()>) {
    store.set_fuel(20_050_000).expect("an engine with fuel");
    store.set_epoch_deadline(101);
    store.set_hostcall_fuel(1 << 20);
}

pub(crate) fn bare<M: Measurement + 'static>(criterion: &mut Criterion<M>) {
    let mut config = Config::new();
    config.consume_fuel(true).epoch_interruption(true).concurrency_support(false);
    let engine = Engine::new(&config).expect("an engine");
    let component = Component::new(&engine, wat::parse_str(GUEST).expect("WebAssembly text")).expect("a component");
    let mut store = Store::new(&engine, ());
    grant(&mut store);
    let instance = Linker::new(&engine).instantiate(&mut store, &component).expect("an instance");
    let empty: TypedFunc<(), ()> = instance.get_typed_func(&mut store, "empty").expect("a function");
    let list: TypedFunc<(&[u8],), ()> = instance.get_typed_func(&mut store, "list").expect("a function");
    let lists: TypedFunc<Lists<'_>, (WasmList<u8>,)> = instance.get_typed_func(&mut store, "lists").expect("a function");

    let (layout, data) = ([0_u8; 28], [0_u8; 8]);
    let mut group = criterion.benchmark_group("bare");
    group.bench_function("empty", |b| {
        b.iter(|| {
            grant(&mut store);
            empty.call(&mut store, ()).expect("an answer");
        });
    });
    group.bench_function("a list", |b| {
        b.iter(|| {
            grant(&mut store);
            list.call(&mut store, (black_box(&data),)).expect("an answer");
        });
    });
    group.bench_function("two lists, one back", |b| {
        b.iter(|| {
            grant(&mut store);
            let (answer,) = lists.call(&mut store, (black_box(&layout), black_box(&data))).expect("an answer");
            black_box(answer.as_le_slice(&store)[0]);
        });
    });
    group.finish();
}

//! The macros of `tidemill-sdk`, which documents them. They write what is tedious and nothing that is clever: loops, layouts and
//! the component ABI are ordinary code in the SDK.

mod aggregate;
mod config;
mod event;
mod field;
mod function;
mod output;
mod pattern;
mod process;
mod scalar;
mod state;
mod table;
mod words;

use proc_macro::TokenStream;
use syn::{DeriveInput, ItemFn, ItemImpl, parse_macro_input};

/// Makes a struct an event: each field is a column the component reads, `#[event(name = "user.country")]` names one that is called
/// otherwise. Fields are `bool`, `i64`, `f64`, `&str`, `&[u8]`, `Timestamp`, `Decimal`, `Json`, or an `Option` of these.
#[proc_macro_derive(Event, attributes(event))]
pub fn event(input: TokenStream) -> TokenStream {
    event::derive(parse_macro_input!(input as DeriveInput)).unwrap_or_else(syn::Error::into_compile_error).into()
}

/// Makes a struct a row of output columns; `#[output(name = "..")]` renames one, `#[output(time)]` marks a transform's event time.
/// Fields as in an event, and `String`, `Vec<u8>`.
#[proc_macro_derive(Output, attributes(output))]
pub fn output(input: TokenStream) -> TokenStream {
    output::derive(parse_macro_input!(input as DeriveInput)).unwrap_or_else(syn::Error::into_compile_error).into()
}

/// Makes a struct what a component remembers per key of the pipeline's `by`. A new key has zeros, empty texts and `None`, or what
/// `#[state(first = 7)]` says. Fields are owned: `String`, `Vec<u8>`, `Vec<i64>`, `Vec<f64>`, `Vec<Timestamp>` besides the others.
#[proc_macro_derive(State, attributes(state))]
pub fn state(input: TokenStream) -> TokenStream {
    state::derive(parse_macro_input!(input as DeriveInput)).unwrap_or_else(syn::Error::into_compile_error).into()
}

/// Makes a struct a component's configuration; `#[config(default = 3)]` makes a key optional. Unknown keys are refused.
#[proc_macro_derive(Config, attributes(config))]
pub fn config(input: TokenStream) -> TokenStream {
    config::derive(parse_macro_input!(input as DeriveInput)).unwrap_or_else(syn::Error::into_compile_error).into()
}

/// Makes a function a rule: `fn(event: &E)`, then any of `state: &mut S` and `config: &C`, giving a `bool`, an `Option` of output
/// columns, `(bool, columns)`, or a `Result` of these. `#[rule(batch)]` is for `fn(batch: &Batch<E>) -> Mask`. The function stays as
/// it is; a type of its name stands beside it, for tests: `testing::rule::<name>()`. Its doc comment is the component's description.
#[proc_macro_attribute]
pub fn rule(arguments: TokenStream, function: TokenStream) -> TokenStream {
    let function = parse_macro_input!(function as ItemFn);
    function::rule(arguments.into(), function).unwrap_or_else(syn::Error::into_compile_error).into()
}

/// Makes a function a transform: `fn(event: &E)`, then any of `state: &mut S`, `config: &C` and `emit: &mut Emit<O>`, giving a row,
/// an `Option` or `Vec` of rows, or a `Result` of these; with `emit`, nothing or a `Result` of nothing.
#[proc_macro_attribute]
pub fn transform(arguments: TokenStream, function: TokenStream) -> TokenStream {
    let function = parse_macro_input!(function as ItemFn);
    function::transform(arguments.into(), function).unwrap_or_else(syn::Error::into_compile_error).into()
}

/// Makes a function callable in expressions: its arguments are values (`f64`, `&str`, `Option<i64>`, …), then `config: &C` if wanted, and
/// it gives a value, an `Option` of one, or a `Result` of these. The function stays as it is; a type of its name stands beside it, for
/// tests: `testing::function::<name>()`. Its doc comment is the component's description.
#[proc_macro_attribute]
pub fn function(arguments: TokenStream, function: TokenStream) -> TokenStream {
    let function = parse_macro_input!(function as ItemFn);
    scalar::function(arguments.into(), function).unwrap_or_else(syn::Error::into_compile_error).into()
}

/// Makes a struct with `#[derive(State)]` an aggregate, from an `impl` of it with `fn update(&mut self, value: T, ..)`,
/// `fn merge(&mut self, other: &Self)`, `fn finish(&self) -> V` and, if it can, `fn retract(&mut self, other: &Self)`. `update` and `finish`
/// may take `config: &C` last. The doc comment of the `impl` is the component's description.
#[proc_macro_attribute]
pub fn aggregate(arguments: TokenStream, item: TokenStream) -> TokenStream {
    let item = parse_macro_input!(item as ItemImpl);
    aggregate::aggregate(arguments.into(), item).unwrap_or_else(syn::Error::into_compile_error).into()
}

/// Makes a struct the entry of a table: `#[table(key)]` marks the fields of its key (`bool`, `i64`, `String`, `Vec<u8>`, `Timestamp`), the
/// others are what it holds. On the struct: `#[table(name = "lines")]`, else the struct's name in lower case; `#[table(ttl = "30d")]`,
/// with `wall_clock` by the host's clock and with `on_read` also put off by being wanted.
#[proc_macro_derive(Table, attributes(table))]
pub fn table(input: TokenStream) -> TokenStream {
    table::derive(parse_macro_input!(input as DeriveInput)).unwrap_or_else(syn::Error::into_compile_error).into()
}

/// Makes an `impl Process for T` a component. Its doc comment is the component's description; `#[process(state_ttl = "1h")]`, with
/// `wall_clock` by the host's clock, says how long state lives after a row of its key.
#[proc_macro_attribute]
pub fn process(arguments: TokenStream, item: TokenStream) -> TokenStream {
    let item = parse_macro_input!(item as ItemImpl);
    process::process(arguments.into(), item).unwrap_or_else(syn::Error::into_compile_error).into()
}

/// Makes an `impl Detector for T` a component that finds rows which follow each other. Its doc comment is the component's description.
#[proc_macro_attribute]
pub fn pattern(arguments: TokenStream, item: TokenStream) -> TokenStream {
    let item = parse_macro_input!(item as ItemImpl);
    pattern::pattern(&arguments.into(), &item).unwrap_or_else(syn::Error::into_compile_error).into()
}

//! Valid components that are cheap to send and dear to compile: what each makes a compiler of optimised code do.
//!
//! | bomb | what it costs |
//! |---|---|
//! | [`nested_loops`] | time, by the square of the depth: 10,000 are 70 KB and 18 s |
//! | [`flat_blocks`] | time, by more than the number of blocks of one function |
//! | [`many_locals`] | time: every block joins every local |
//! | [`many_functions`] | time and memory for each function, however short |
//! | [`straight_line`] | memory: one block of hundreds of thousands of instructions |
//! | [`all_alive`] | time, by the square of the values: 20,000 are 160 KB and 12 s |
//!
//! Each is a rule that would answer if it were ever called.

use std::fmt::Write as _;

use tidemill_event::{Field, FieldType};

use super::TextGuest;

/// One function of so many loops, each inside the one before.
pub fn nested_loops(loops: usize) -> Vec<u8> {
    let body = format!("{} {}", "loop local.get 0 br_if 0 ".repeat(loops), "end ".repeat(loops));
    bomb(&format!("(func (param i32) {body})"))
}

/// So many functions of so many blocks, one behind the other.
pub fn flat_blocks(functions: usize, blocks: usize) -> Vec<u8> {
    let block = "block local.get 0 br_if 0 local.get 0 i32.const 1 i32.add local.set 0 end ";
    bomb(&format!("(func (param i32) {}) ", block.repeat(blocks)).repeat(functions))
}

/// So many functions of so many locals and blocks; each block sets one of them, so that each joins all.
pub fn many_locals(functions: usize, locals: usize, blocks: usize) -> Vec<u8> {
    let mut body = format!("(local {}) ", "i32 ".repeat(locals));
    for block in 0..blocks {
        let (from, to) = (1 + block * 7 % locals, 1 + (block * 13 + 5) % locals);
        // Writing to a String cannot fail.
        let _ = write!(body, "block local.get 0 br_if 0 local.get {from} i32.const {block} i32.add local.set {to} end ");
    }
    let used: String = (1..=locals).map(|local| format!("local.get {local} i32.add ")).collect();
    bomb(&format!("(func (param i32) (result i32) {body} i32.const 0 {used}) ").repeat(functions))
}

/// So many functions of one addition.
pub fn many_functions(functions: usize) -> Vec<u8> {
    bomb(&"(func (param i32) (result i32) local.get 0 i32.const 1 i32.add) ".repeat(functions))
}

/// So many functions of so many loads and stores without a branch.
pub fn straight_line(functions: usize, steps: usize) -> Vec<u8> {
    let step = "local.get 0 local.get 0 i32.load local.get 0 i32.load offset=8 i32.mul i32.store ";
    bomb(&format!("(func (param i32) {}) ", step.repeat(steps)).repeat(functions))
}

/// So many functions that load so many values before they add them up.
pub fn all_alive(functions: usize, values: usize) -> Vec<u8> {
    let loads = (0..values).fold(String::new(), |mut text, at| {
        // Writing to a String cannot fail.
        let _ = write!(text, "local.get 0 i32.load offset={} ", at * 4);
        text
    });
    let adds = "i32.add ".repeat(values.saturating_sub(1));
    bomb(&format!("(func (param i32) (result i32) {loads} {adds}) ").repeat(functions))
}

fn bomb(functions: &str) -> Vec<u8> {
    TextGuest::rule(vec![Field::new("amount", FieldType::Float64, true)]).fields(functions).build()
}

//! What `tidemill new` writes compiles, and its own tests pass.

#[path = "../template/src/lib.rs"]
mod template;

#[path = "../template/function/src/lib.rs"]
mod function;

#[path = "../template/aggregate/src/lib.rs"]
mod aggregate;

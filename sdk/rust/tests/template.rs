//! What `tidemill new` writes compiles, and its own tests pass.

#[path = "../template/src/lib.rs"]
mod template;

//! Builds components: `tidemill build` and `cargo xtask guests` are thin over this.
//!
//! ```text
//! crate ──cargo──► core module ──[component]──► component (the WIT embedded, everything checked)
//!         [toolchain] says which cargo
//! ```
//! It knows the WIT packages and no host crate. [`bindings`] writes the SDK's ABI types from the same WIT, so that the two
//! cannot drift apart unnoticed.

pub mod bindings;
mod cargo;
mod component;
pub mod template;
mod toolchain;
mod wit;

pub use cargo::{CrateBuild, build};
pub use component::{ComponentKind, componentize};
pub use toolchain::{Installing, MissingToolchain, Toolchain};

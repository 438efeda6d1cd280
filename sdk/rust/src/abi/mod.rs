//! Where the host's calls come in: the canonical ABI of the worlds, by hand, over [`bindings`] generated from the WIT.
//! By hand because the hot path then copies nothing and allocates nothing, and a guest stays small. This module alone is
//! unsafe.

#![cfg_attr(
    target_arch = "wasm32",
    expect(unsafe_code, reason = "the component ABI is raw pointers; nothing else of the SDK touches them")
)]

pub mod bindings;
#[cfg(target_arch = "wasm32")]
pub mod guest;
pub mod trusted;

/// A list, a string: what the canonical ABI makes of them.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct List {
    /// Where it starts.
    pub pointer: usize,
    /// How many elements.
    pub length: usize,
}

/// An optional list or string.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct OptionalList {
    /// 0: there is none.
    pub present: u8,
    /// It, if there is one.
    pub list: List,
}

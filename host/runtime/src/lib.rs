//! Components: check, compile, cache, instantiate, limit, call; the only crate that knows wasmtime.

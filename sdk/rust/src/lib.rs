//! Write Tidemill components in Rust.

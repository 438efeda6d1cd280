//! Whole-host tests by behaviour.

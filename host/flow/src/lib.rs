//! Operators as pure synchronous values.

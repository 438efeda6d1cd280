//! Keyed state and checkpoints.

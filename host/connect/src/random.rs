//! Randomness of the system, handed to whoever starts sinks.

/// A number nobody can guess.
///
/// # Panics
/// If the system has no randomness to give: then nothing that has to be unique can be made.
pub fn system_random() -> u64 {
    getrandom::u64().expect("the system gives randomness")
}

//! How many crash states a run goes through, and which: `TIDEMILL_CRASH_STATES` says about how many, `SEED` repeats one.

#![expect(clippy::disallowed_methods, reason = "how long a test may take, and what it repeats, is its runner's business")]

/// Crash states of a short run, all tests of this crate together: most seeds have several.
const SHORT_RUN: u64 = 3000;

/// The seeds of a test that wants `default` in a short run.
pub fn seeds(default: u64) -> Vec<u64> {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    if let Some(seed) = number("SEED") {
        return vec![seed];
    }
    let times = number("TIDEMILL_CRASH_STATES").map_or(1, |states| states.div_ceil(SHORT_RUN));
    (1..=default * times).collect()
}

/// Whether the run has time.
pub fn is_long() -> bool {
    seeds(1).len() > 1
}

/// Runs every seed; a broken promise names the one to repeat.
pub fn each(default: u64, mut run: impl FnMut(u64) -> Result<(), String>) {
    let seeds = seeds(default);
    for seed in &seeds {
        if let Err(broken) = run(*seed) {
            panic!("{broken}\nrepeat it with SEED={seed}");
        }
    }
    println!("{} seeds, {} to {}", seeds.len(), seeds[0], seeds[seeds.len() - 1]);
}

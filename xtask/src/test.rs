//! `cargo xtask test`: everything that has to pass. The last lines are those of `cargo test`, which a CI reads.

use anyhow::Result;

use crate::run::{cargo, root, run};

/// Guests and variants first, since tests of the whole host need them; then every test of the workspace.
pub(crate) fn test(long: bool) -> Result<()> {
    crate::guests::guests()?;
    crate::build::variants()?;
    let mut natively = cargo();
    natively.args(["test", "--release", "--manifest-path"]).arg(root().join(crate::guests::WORKSPACE));
    run("testing the components, natively", &mut natively)?;
    let mut command = cargo();
    // Every failure in one run: a later one may explain an earlier one.
    command.args(["test", "--release", "--workspace", "--no-fail-fast"]);
    if long {
        command.env("TIDEMILL_CRASH_CYCLES", "500").env("TIDEMILL_CRASH_STATES", "20000").env("PROPTEST_CASES", "4096");
    }
    run("testing the workspace", &mut command)
}

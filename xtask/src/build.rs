//! Builds of the host: the real one, and the ones broken on purpose that show a check failing.
//!
//! Every invocation names the whole workspace: cargo unifies features over the packages it is given, and a build of a part of
//! them would compile the large dependencies a second time with other features.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::run::{cargo, run, target_dir};

/// Binaries for tests only: the name in `variants/`, and the features that make it. Each is a build of half the host's crates, so
/// there is one: which bug it has is a value, `--planted NAME`, and none unless that is said.
const VARIANTS: [(&str, &str); 1] = [("planted", "tidemill/planted")];

/// Builds `tidemill` as it is used, and says where it is.
pub(crate) fn host() -> Result<PathBuf> {
    run("building the host (the first time takes a while)", cargo().args(["build", "--release", "--workspace", "--bins"]))?;
    Ok(target_dir()?.join("release/tidemill"))
}

/// Builds the variants into `TARGET/variants/NAME`. Cargo keeps their crates beside the real ones, so this is slow only once;
/// what it does replace is `release/tidemill`, so the real build comes after it.
pub(crate) fn variants() -> Result<()> {
    let target = target_dir()?;
    let folder = target.join("variants");
    fs::create_dir_all(&folder).with_context(|| format!("cannot make `{}`", folder.display()))?;
    for (name, features) in VARIANTS {
        let what = format!("building the variant {name} (for tests)");
        run(&what, cargo().args(["build", "--release", "--workspace", "--bins", "--features", features]))?;
        let (from, to) = (target.join("release/tidemill"), folder.join(name));
        // Beside first, then over it: a test of another run may be executing the old one.
        let new = folder.join(format!("{name}.new"));
        fs::copy(&from, &new).with_context(|| format!("cannot copy `{}`", from.display()))?;
        fs::rename(&new, &to).with_context(|| format!("cannot write `{}`", to.display()))?;
    }
    Ok(())
}

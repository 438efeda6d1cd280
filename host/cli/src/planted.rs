//! What a build for tests can do wrong: the disk under the log, what components may import, and one planted bug.
//!
//! Everything here is a constant right answer without feature `planted`, which no release has. With it, the log's disk loses what was
//! not synced when the process is killed, as in a power cut, and `--planted NAME` chooses a bug of the log or of the engine.

use std::sync::Arc;

use tidemill_engine::EngineSettings;
use tidemill_log::{Disk, LogSettings, RealDisk};
use tidemill_runtime::Grants;

use crate::args::ServeArgs;
use crate::exit::Failure;

/// The disk under the log.
pub(crate) fn disk() -> Arc<dyn Disk> {
    let disk = Arc::new(RealDisk);
    #[cfg(feature = "planted")]
    let disk = Arc::new(tidemill_log::PowerCutDisk::new(disk));
    disk
}

/// What components may import beyond logging: nothing, but in a build for tests.
pub(crate) fn grants() -> Grants {
    #[cfg(feature = "planted")]
    return [tidemill_runtime::Grant::TestRandom].into_iter().collect();
    #[cfg(not(feature = "planted"))]
    Grants::none()
}

/// Plants the bug that was asked for.
#[cfg(feature = "planted")]
pub(crate) fn plant(args: &ServeArgs, log: &mut LogSettings, engine: &mut EngineSettings) -> Result<(), Failure> {
    let Some(name) = &args.planted else { return Ok(()) };
    log.planted = tidemill_log::Planted::ALL.iter().copied().find(|bug| bug.name() == name);
    engine.planted = tidemill_engine::Planted::ALL.iter().copied().find(|bug| bug.name() == name);
    if log.planted.is_some() || engine.planted.is_some() {
        return Ok(());
    }
    Err(Failure::wrong_use(format!("there is no bug `{name}`")))
}

/// There is none.
#[cfg(not(feature = "planted"))]
#[expect(clippy::unnecessary_wraps, reason = "asked in the same way with the feature")]
pub(crate) fn plant(_: &ServeArgs, _: &mut LogSettings, _: &mut EngineSettings) -> Result<(), Failure> {
    Ok(())
}

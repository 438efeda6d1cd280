//! Kill, restart, judge: the life of a host under a crash test. The load and the judge are processes of their own.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use crate::Host;

/// The longest time under load before a kill.
const LOAD_MS_MAX: u64 = 300;
/// The longest time under load after a restart.
const RETRY_MS_MAX: u64 = 60;

/// Kills of one host, with the ledger of what it acknowledged.
#[derive(Debug)]
pub struct Cycles {
    ledger: TempDir,
    kills: u32,
    random: u64,
}

/// What the judge said.
#[derive(Debug)]
pub struct Judged {
    /// Whether every promise was kept.
    pub is_right: bool,
    /// Why not, and counts.
    pub text: String,
}

/// Asks the judge about a host, by the ledger in a folder.
///
/// # Panics
/// If it could not tell.
pub fn judged(host: &Host, ledger: &Path) -> Judged {
    let mut check = Command::new(crate::judge());
    check.arg("check").arg(host.url()).arg(ledger).arg(host.data().join("files"));
    let output = check.stdin(Stdio::null()).output().expect("the judge");
    let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    match output.status.code() {
        Some(0) => Judged { is_right: true, text },
        Some(1) => Judged { is_right: false, text },
        other => {
            panic!("the judge ended with {other:?}: {}; the host's log:\n{}", String::from_utf8_lossy(&output.stderr), host.log())
        }
    }
}

impl Cycles {
    /// With kill times drawn from `seed`.
    pub fn new(seed: u64) -> Self {
        let ledger = tempfile::Builder::new().prefix("tidemill-judge-").tempdir().expect("a folder for the judge");
        Self { ledger, kills: 0, random: seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1 }
    }

    /// How many cycles to run: `TIDEMILL_CRASH_CYCLES`, or `default`.
    #[expect(clippy::disallowed_methods, reason = "how long a test may take is its runner's business")]
    pub fn wanted(default: u32) -> u32 {
        std::env::var("TIDEMILL_CRASH_CYCLES").ok().and_then(|cycles| cycles.parse().ok()).unwrap_or(default)
    }

    /// How often the host was killed.
    pub fn kills(&self) -> u32 {
        self.kills
    }

    /// Starts the load, kills the host at some moment, starts it again, and ends the load a little later, when whatever has a name
    /// was sent until it was answered; now and then the host is killed while it comes up, too.
    ///
    /// # Panics
    /// If the load got an answer that cannot be right, or the host does not come back.
    pub fn kill_under_load(&mut self, host: &mut Host) {
        let mut load = Command::new(crate::judge());
        load.arg("load").arg(host.url()).arg(self.ledger.path()).arg(self.kills.to_string());
        let mut load = load.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("the load program");
        std::thread::sleep(Duration::from_millis(self.below(LOAD_MS_MAX)));
        host.kill();
        self.kills += 1;
        if self.kills.is_multiple_of(5) {
            host.launch_and_kill_after(Duration::from_millis(self.below(100)));
            self.kills += 1;
        }
        host.launch();
        std::thread::sleep(Duration::from_millis(self.below(RETRY_MS_MAX)));
        drop(load.stdin.take());
        let ended = load.wait_with_output().expect("its end");
        assert!(ended.status.success(), "the load around kill {}: {}", self.kills, String::from_utf8_lossy(&ended.stdout));
    }

    /// Asks the judge.
    ///
    /// # Panics
    /// If it could not tell.
    pub fn judge(&self, host: &Host) -> Judged {
        judged(host, self.ledger.path())
    }

    /// xorshift: the same seed, the same times.
    fn below(&mut self, end: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random % end
    }
}

//! Finds a Rust that compiles for WebAssembly: the one cargo would take anyway if it has the target, else Debian's packages, else
//! the target through rustup. Nothing is downloaded while something installed will do.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The target components are compiled for: no WASI, no imports but ours.
pub(crate) const TARGET: &str = "wasm32-unknown-unknown";

/// Debian's packages, in one line to paste.
const DEBIAN_PACKAGES: [&str; 4] = ["rustc-web", "cargo-web", "rust-web-src", "lld-22"];

/// A way to compile for WebAssembly.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Toolchain {
    /// `cargo` as found, which has the target.
    Cargo,
    /// Debian's compiler, which builds the standard library from its sources.
    Debian {
        /// The linker, `/usr/bin/wasm-ld-22` or another version of it.
        linker: PathBuf,
    },
}

/// What may be installed to get a toolchain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Installing {
    /// Nothing.
    Nothing,
    /// The target, through rustup.
    Target,
    /// That, or Debian's packages, if we are root on a Debian-like system.
    Packages,
}

/// No toolchain; the text says how to get one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MissingToolchain {
    tried: String,
}

impl fmt::Display for MissingToolchain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "no Rust compiler for {TARGET}{}\nget one by `rustup target add {TARGET}`, or on Debian by `apt-get install {}`",
            self.tried,
            DEBIAN_PACKAGES.join(" ")
        )
    }
}

impl std::error::Error for MissingToolchain {}

impl Toolchain {
    /// Finds one for the crate in `folder` (its `rust-toolchain.toml` counts), installing what may be installed.
    pub fn find(folder: &Path, installing: Installing) -> Result<Self, MissingToolchain> {
        if cargo_has_target(folder) {
            return Ok(Self::Cargo);
        }
        if let Some(debian) = debian() {
            return Ok(debian);
        }
        let mut tried = String::new();
        if installing != Installing::Nothing {
            match run(Command::new("rustup").args(["target", "add", TARGET]).current_dir(folder)) {
                Ok(()) if cargo_has_target(folder) => return Ok(Self::Cargo),
                Ok(()) => tried.push_str("\nrustup added the target, but not to the toolchain cargo uses here"),
                Err(error) => tried.push_str(&format!("\nrustup: {error}")),
            }
        }
        if installing == Installing::Packages && Path::new("/usr/bin/apt-get").exists() {
            let install = ["install", "--yes", "--no-install-recommends"];
            let apt_get =
                |arguments: &[&str]| run(Command::new("apt-get").args(arguments).env("DEBIAN_FRONTEND", "noninteractive"));
            match apt_get(&["update"]).and_then(|()| apt_get(&[&install[..], &DEBIAN_PACKAGES].concat())) {
                Ok(()) => match debian() {
                    Some(debian) => return Ok(debian),
                    None => tried.push_str("\napt-get installed the packages, but they are not where Debian has them"),
                },
                Err(error) => tried.push_str(&format!("\napt-get: {error}")),
            }
        }
        Err(MissingToolchain { tried })
    }

    /// `cargo build` of this toolchain, without what a surrounding cargo or rustup left in the environment.
    pub fn cargo_build(&self) -> Command {
        let mut command = match self {
            Self::Cargo => Command::new("cargo"),
            Self::Debian { .. } => Command::new("/usr/bin/cargo"),
        };
        command.arg("build");
        for variable in
            ["CARGO", "CARGO_BUILD_TARGET", "CARGO_ENCODED_RUSTFLAGS", "CARGO_TARGET_DIR", "RUSTFLAGS", "RUSTC", "RUSTDOC"]
        {
            command.env_remove(variable);
        }
        if let Self::Debian { linker } = self {
            command
                .args(["-Zbuild-std=std,panic_abort"])
                .env("RUSTC", "/usr/bin/rustc")
                // Lets the packaged compiler build its own standard library.
                .env("RUSTC_BOOTSTRAP", "1")
                .env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER", linker)
                .env_remove("RUSTUP_TOOLCHAIN")
                .env_remove("RUSTC_WRAPPER")
                .env_remove("RUSTC_WORKSPACE_WRAPPER");
        }
        command
    }
}

impl fmt::Display for Toolchain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cargo => write!(f, "cargo with {TARGET}"),
            Self::Debian { linker } => write!(f, "Debian's Rust with {}", linker.display()),
        }
    }
}

fn cargo_has_target(folder: &Path) -> bool {
    let output =
        Command::new("rustc").args(["--print", "sysroot"]).current_dir(folder).env_remove("RUSTC").stderr(Stdio::null()).output();
    let Ok(output) = output else { return false };
    let sysroot = String::from_utf8_lossy(&output.stdout);
    output.status.success() && Path::new(sysroot.trim()).join("lib/rustlib").join(TARGET).join("lib").is_dir()
}

/// Debian's compiler, sources and linker, if all are there.
fn debian() -> Option<Toolchain> {
    let there =
        ["/usr/bin/rustc", "/usr/bin/cargo", "/usr/lib/rustlib/src/rust/library/std"].iter().all(|path| Path::new(path).exists());
    let mut linkers: Vec<(u32, PathBuf)> = std::fs::read_dir("/usr/bin")
        .ok()?
        .filter_map(|entry| {
            let path = entry.ok()?.path();
            let version = path.file_name()?.to_str()?.strip_prefix("wasm-ld-")?.parse().ok()?;
            Some((version, path))
        })
        .collect();
    linkers.sort();
    let (_, linker) = linkers.pop().filter(|_| there)?;
    Some(Toolchain::Debian { linker })
}

/// Runs a command to its end; its words are the error.
fn run(command: &mut Command) -> Result<(), String> {
    let output = command.stdin(Stdio::null()).output().map_err(|error| error.to_string())?;
    if output.status.success() {
        return Ok(());
    }
    let words = String::from_utf8_lossy(&output.stderr);
    Err(words.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("failed without a word").trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_a_line_to_paste() {
        let text = MissingToolchain { tried: "\nrustup: no network".to_owned() }.to_string();
        assert_eq!(
            text,
            "no Rust compiler for wasm32-unknown-unknown\nrustup: no network\nget one by `rustup target add wasm32-unknown-unknown`, \
             or on Debian by `apt-get install rustc-web cargo-web rust-web-src lld-22`"
        );
    }

    #[test]
    fn a_surrounding_cargo_does_not_leak_in() {
        let command = Toolchain::Debian { linker: "/usr/bin/wasm-ld-22".into() }.cargo_build();
        let set = |name: &str| command.get_envs().find(|(key, _)| *key == name).map(|(_, value)| value.is_some());
        assert_eq!(set("RUSTUP_TOOLCHAIN"), Some(false));
        assert_eq!(set("RUSTFLAGS"), Some(false));
        assert_eq!(set("RUSTC"), Some(true));
        assert_eq!(command.get_program(), "/usr/bin/cargo");
    }
}

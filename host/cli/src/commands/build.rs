//! `tidemill build`: a component project becomes one WebAssembly component. Thin over `tidemill-build`, which finds the compiler.

use std::path::{Path, PathBuf};

use serde_json::json;
use tidemill_build::{CrateBuild, Installing, Toolchain};

use crate::args::BuildArgs;
use crate::exit::Failure;
use crate::output::{Output, bytes};

/// Builds the project, and says where the component is and how large.
pub(crate) fn run(args: &BuildArgs, output: Output) -> Result<(), Failure> {
    let folder = args.dir.canonicalize().map_err(|error| Failure::wrong_use(format!("`{}`: {error}", args.dir.display())))?;
    if !folder.join("Cargo.toml").is_file() {
        return Err(Failure::wrong_use(format!(
            "`{}` has no Cargo.toml: go to a component's folder, or make one with `tidemill new NAME`",
            folder.display()
        )));
    }
    // rustup may add the target to a toolchain of the user's own; packages of the system are not for a build to install.
    let toolchain = Toolchain::find(&folder, Installing::Target).map_err(|missing| Failure::failed(missing.to_string()))?;
    let target_dir = folder.join("target/tidemill");
    let output_dir = target_dir.join("components");
    let request = CrateBuild { folder: folder.clone(), packages: Vec::new(), target_dir, output_dir, locked: false };
    let built = tidemill_build::build(&toolchain, &request)?;
    let [component] = built.as_slice() else {
        let names: Vec<String> = built.iter().map(|file| file.display().to_string()).collect();
        return Err(Failure::wrong_use(format!(
            "{} components were built: build one of them: {}",
            built.len(),
            names.join(", ")
        )));
    };
    let out = args.out.clone().unwrap_or_else(|| beside(&args.dir, component));
    let size_bytes =
        std::fs::copy(component, &out).map_err(|error| Failure::failed(format!("cannot write `{}`: {error}", out.display())))?;
    let value = json!({"component": out.display().to_string(), "size_bytes": size_bytes});
    output.result(&value, || format!("{} ({})", out.display(), bytes(size_bytes)))
}

/// In the project's folder, as the user named it.
fn beside(folder: &Path, component: &Path) -> PathBuf {
    let name = Path::new(component.file_name().unwrap_or_default());
    if folder == Path::new(".") { name.to_owned() } else { folder.join(name) }
}

//! `tidemill new`: a component project that builds, tests and runs as it is. The template belongs to `tidemill-build`.

use std::fs;
use std::path::Path;

use serde_json::json;
use tidemill_build::template::{self, SdkSource, project};
use tidemill_event::ComponentName;

use crate::args::{NewArgs, ProjectKind};
use crate::exit::Failure;
use crate::output::Output;

/// Makes a folder of the component's name in the current one.
pub(crate) fn run(args: &NewArgs, output: Output) -> Result<(), Failure> {
    // The name pipelines will call it by: better refused now than at its upload.
    let name: ComponentName = args.name.parse().map_err(|error| Failure::wrong_use(format!("{error}")))?;
    let sdk = match &args.sdk {
        None => SdkSource::found(),
        Some(folder) => {
            let sdk = folder.canonicalize().ok().filter(|sdk| sdk.join("Cargo.toml").is_file());
            SdkSource::Path(sdk.ok_or_else(|| {
                Failure::wrong_use(format!(
                    "`{}` is not the SDK: name the folder sdk/rust of a clone of Tidemill",
                    folder.display()
                ))
            })?)
        }
    };
    let folder = Path::new(name.as_str());
    fs::create_dir(folder)
        .map_err(|error| Failure::wrong_use(format!("cannot make the folder `{}`: {error}", folder.display())))?;
    let kind = match args.kind {
        ProjectKind::Rule => template::ProjectKind::Rule,
        ProjectKind::Transform => template::ProjectKind::Transform,
        ProjectKind::Process => template::ProjectKind::Process,
        ProjectKind::Function => template::ProjectKind::Function,
        ProjectKind::Aggregate => template::ProjectKind::Aggregate,
        ProjectKind::Pattern => template::ProjectKind::Pattern,
    };
    for file in project(kind, name.as_str(), &sdk) {
        write(&folder.join(file.path), &file.text)?;
    }
    let value = json!({"name": name.as_str(), "folder": folder.display().to_string()});
    output.result(&value, || {
        format!(
            "made {name}/\n\n  cd {name}\n  cargo test          # the code, without a host\n  tidemill build      # makes {name}.wasm\n\nREADME.md in it says how to go on"
        )
    })
}

fn write(path: &Path, text: &str) -> Result<(), Failure> {
    let folder = path.parent().map_or(Ok(()), fs::create_dir_all);
    folder
        .and_then(|()| fs::write(path, text))
        .map_err(|error| Failure::failed(format!("cannot write `{}`: {error}", path.display())))
}

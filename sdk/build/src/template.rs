//! What `tidemill new` writes: `sdk/rust/template/` with the project's name and the place of the SDK put in.

use std::fmt;
use std::path::{Path, PathBuf};

/// Where the new project finds the SDK.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SdkSource {
    /// A folder: `sdk/rust` of a checkout.
    Path(PathBuf),
    /// A git repository.
    Git(String),
}

impl SdkSource {
    /// The checkout this program was built from if it is still there, else the repository.
    pub fn found() -> Self {
        let checkout = Path::new(env!("CARGO_MANIFEST_DIR")).join("../rust");
        match checkout.canonicalize() {
            Ok(folder) => Self::Path(folder),
            Err(_) => Self::Git(env!("CARGO_PKG_REPOSITORY").to_owned()),
        }
    }
}

/// As a dependency in `Cargo.toml`.
impl fmt::Display for SdkSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            // TOML's literal strings take everything but the quote itself.
            Self::Path(folder) => write!(f, "path = '{}'", folder.display()),
            Self::Git(url) => write!(f, "git = '{url}'"),
        }
    }
}

/// A file of the new project.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProjectFile {
    /// Its path in the project.
    pub path: &'static str,
    /// What is in it.
    pub text: String,
}

/// Path in the project, and text with `{{name}}` and `{{sdk}}`.
type File = (&'static str, &'static str);

/// What all kinds of projects have.
const SHARED: [File; 2] = [
    ("Cargo.toml", include_str!("../../rust/template/Cargo.toml.in")),
    (".gitignore", include_str!("../../rust/template/gitignore")),
];
const RULE: [File; 5] = [
    ("README.md", include_str!("../../rust/template/README.md.in")),
    ("src/lib.rs", include_str!("../../rust/template/src/lib.rs")),
    ("events.ndjson", include_str!("../../rust/template/events.ndjson")),
    ("pipeline.yaml", include_str!("../../rust/template/pipeline.yaml.in")),
    ("stream.json", include_str!("../../rust/template/stream.json")),
];
const TRANSFORM: [File; 5] = [
    ("README.md", include_str!("../../rust/template/transform/README.md.in")),
    ("src/lib.rs", include_str!("../../rust/template/transform/src/lib.rs")),
    ("events.ndjson", include_str!("../../rust/template/transform/events.ndjson")),
    ("pipeline.yaml", include_str!("../../rust/template/transform/pipeline.yaml.in")),
    ("stream.json", include_str!("../../rust/template/transform/stream.json")),
];
const PROCESS: [File; 5] = [
    ("README.md", include_str!("../../rust/template/process/README.md.in")),
    ("src/lib.rs", include_str!("../../rust/template/process/src/lib.rs")),
    ("events.ndjson", include_str!("../../rust/template/process/events.ndjson")),
    ("pipeline.yaml", include_str!("../../rust/template/process/pipeline.yaml.in")),
    ("stream.json", include_str!("../../rust/template/process/stream.json")),
];
const FUNCTION: [File; 5] = [
    ("README.md", include_str!("../../rust/template/function/README.md.in")),
    ("src/lib.rs", include_str!("../../rust/template/function/src/lib.rs")),
    ("events.ndjson", include_str!("../../rust/template/function/events.ndjson")),
    ("pipeline.yaml", include_str!("../../rust/template/function/pipeline.yaml.in")),
    ("stream.json", include_str!("../../rust/template/function/stream.json")),
];
const AGGREGATE: [File; 5] = [
    ("README.md", include_str!("../../rust/template/aggregate/README.md.in")),
    ("src/lib.rs", include_str!("../../rust/template/aggregate/src/lib.rs")),
    ("events.ndjson", include_str!("../../rust/template/aggregate/events.ndjson")),
    ("pipeline.yaml", include_str!("../../rust/template/aggregate/pipeline.yaml.in")),
    ("stream.json", include_str!("../../rust/template/aggregate/stream.json")),
];

const PATTERN: [File; 5] = [
    ("README.md", include_str!("../../rust/template/pattern/README.md.in")),
    ("src/lib.rs", include_str!("../../rust/template/pattern/src/lib.rs")),
    ("events.ndjson", include_str!("../../rust/template/pattern/events.ndjson")),
    ("pipeline.yaml", include_str!("../../rust/template/pattern/pipeline.yaml.in")),
    ("stream.json", include_str!("../../rust/template/pattern/stream.json")),
];

/// What a new project is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProjectKind {
    /// A rule with state.
    Rule,
    /// A transform of lines.
    Transform,
    /// A process with a table, timers and an output beside the main one.
    Process,
    /// A function for expressions.
    Function,
    /// An aggregate for windows.
    Aggregate,
    /// A pattern.
    Pattern,
}

/// The files of a new project. `name` is a component's name, which is a crate's name too.
pub fn project(kind: ProjectKind, name: &str, sdk: &SdkSource) -> Vec<ProjectFile> {
    let sdk = sdk.to_string();
    let own = match kind {
        ProjectKind::Rule => RULE,
        ProjectKind::Transform => TRANSFORM,
        ProjectKind::Process => PROCESS,
        ProjectKind::Function => FUNCTION,
        ProjectKind::Aggregate => AGGREGATE,
        ProjectKind::Pattern => PATTERN,
    };
    let file = |(path, text): File| ProjectFile { path, text: text.replace("{{name}}", name).replace("{{sdk}}", &sdk) };
    SHARED.into_iter().chain(own).map(file).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_is_filled_in() {
        let files = |kind| project(kind, "too-many", &SdkSource::Path("/sdk".into()));
        use ProjectKind::{Aggregate, Function, Pattern, Process, Rule, Transform};
        for kind in [Rule, Transform, Process, Function, Aggregate, Pattern] {
            assert!(files(kind).iter().all(|file| !file.text.contains("{{name") && !file.text.contains("{{sdk")), "{kind:?}");
        }
        let files = files(ProjectKind::Rule);
        let manifest = &files[0].text;
        assert!(manifest.contains("name = \"too-many\"") && manifest.contains("tidemill-sdk = { path = '/sdk' }"), "{manifest}");
        assert_eq!(SdkSource::Git("https://x/y".to_owned()).to_string(), "git = 'https://x/y'");
        assert!(matches!(SdkSource::found(), SdkSource::Path(folder) if folder.join("Cargo.toml").is_file()));
    }
}

//! Components: make, build, try and upload one; look at and delete those there are.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

/// What `tidemill new` makes a project of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ProjectKind {
    /// A rule, with state.
    Rule,
    /// A transform: rows out of rows.
    Transform,
    /// A process, with tables, timers and an output beside the main one.
    Process,
    /// A function for expressions.
    Function,
    /// An aggregate for windows.
    Aggregate,
    /// A pattern: which events follow each other.
    Pattern,
}

/// `tidemill new`.
#[derive(Debug, Args)]
pub(crate) struct NewArgs {
    /// The component's name; a folder of that name is made.
    pub name: String,
    /// What it is: judges rows, makes rows of rows, remembers and waits, computes a value in expressions, or sums up groups in windows.
    #[arg(long, value_enum, default_value_t = ProjectKind::Rule)]
    pub kind: ProjectKind,
    /// The folder of the SDK for Rust in a clone of Tidemill; found by itself when you are inside one.
    #[arg(long, value_name = "DIR")]
    pub sdk: Option<PathBuf>,
}

/// `tidemill build`.
#[derive(Debug, Args)]
pub(crate) struct BuildArgs {
    /// The project's folder.
    #[arg(default_value = ".")]
    pub dir: PathBuf,
    /// Where to put the component; NAME.wasm in the project's folder unless said.
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
}

/// `tidemill test`.
#[derive(Debug, Args)]
pub(crate) struct TestArgs {
    /// The component.
    pub component: PathBuf,
    /// The events, one JSON object a line.
    pub events: PathBuf,
    /// The step's config.
    #[arg(long, value_name = "JSON", default_value = "{}")]
    pub config: String,
    /// The fields that key the component's state, as a step's `by`; repeat it or separate with commas.
    #[arg(long, value_name = "FIELD", value_delimiter = ',')]
    pub by: Vec<String>,
    /// The field that is the rows' time, for what waits for time; what a host gave out has its own (`_time`).
    #[arg(long, value_name = "FIELD", default_value = "_time")]
    pub time: String,
    /// Rows per call in the first cut.
    #[arg(long, value_name = "N", default_value_t = 4096)]
    pub rows: usize,
    /// Print what came out, one JSON object a line.
    #[arg(long)]
    pub print: bool,
}

/// `tidemill push`.
#[derive(Debug, Args)]
pub(crate) struct PushArgs {
    /// The component, as `tidemill build` made it.
    pub file: PathBuf,
    /// The name pipelines call it by.
    #[arg(long)]
    pub name: String,
    /// Its semantic version; a published version never changes.
    #[arg(long)]
    pub version: semver::Version,
}

/// `tidemill components`.
#[derive(Debug, Args)]
pub(crate) struct ComponentsArgs {
    /// What to do; list them unless said.
    #[command(subcommand)]
    pub action: Option<ComponentsAction>,
}

/// What to do with components.
#[derive(Debug, Subcommand)]
pub(crate) enum ComponentsAction {
    /// Show a version: what it needs, gives and keeps.
    Show {
        /// The component.
        name: String,
        /// Its version.
        #[arg(value_name = "VERSION")]
        of: semver::Version,
    },
    /// Delete a version that no pipeline uses.
    Delete {
        /// The component.
        name: String,
        /// Its version.
        #[arg(value_name = "VERSION")]
        of: semver::Version,
        /// Do not ask.
        #[arg(long, short)]
        yes: bool,
    },
}

/// `tidemill compile-component`.
#[derive(Debug, Args)]
pub(crate) struct CompileArgs {
    /// CPU time it may take.
    pub cpu_seconds: u64,
    /// Address space it may take.
    pub memory_bytes: u64,
}

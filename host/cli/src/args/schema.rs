//! `tidemill schema`.

use clap::{Args, ValueEnum};

/// `tidemill schema`.
#[derive(Debug, Args)]
pub(crate) struct SchemaArgs {
    /// Of what.
    pub of: SchemaOf,
}

/// What there are schemas of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum SchemaOf {
    /// Pipeline documents, as JSON Schema for editors.
    Pipeline,
    /// The settings of `serve`: keys, variables, flags.
    Settings,
}

//! Tables: put, look at and delete what lookups look up.

use std::path::PathBuf;

use clap::{Subcommand, ValueEnum};

/// What to do with tables.
#[derive(Debug, Subcommand)]
pub(crate) enum TableCommand {
    /// Make or replace a table from a file.
    Put {
        /// Its name.
        table: String,
        /// CSV, NDJSON, Parquet or MaxMind DB (GeoIP); `-` is standard input.
        file: PathBuf,
        /// What the file is; by its ending unless said.
        #[arg(long)]
        format: Option<TableForm>,
        /// A column by which no two rows may be alike; repeat it or separate with commas.
        #[arg(long, value_name = "COLUMN", value_delimiter = ',')]
        key: Vec<String>,
        /// A file with the columns as a stream definition writes them: `[{"name": "zip", "type": "string"}]`. Types are found in the
        /// rows unless said.
        #[arg(long, value_name = "FILE")]
        schema: Option<PathBuf>,
    },
    /// Make a table that is kept up to date from a stream: the last row of each key.
    Keep {
        /// Its name.
        table: String,
        /// The stream.
        #[arg(long, value_name = "STREAM")]
        from: String,
        /// A field of the key; repeat it or separate with commas. The stream's own key unless said.
        #[arg(long, value_name = "FIELD", value_delimiter = ',')]
        key: Vec<String>,
        /// A bool field: a row in which it is true takes its key away. Without it a row that is null beside its key and time does.
        #[arg(long, value_name = "FIELD")]
        delete: Option<String>,
    },
    /// List tables.
    List,
    /// Show a table: its columns, version, size, and who looks it up.
    Show {
        /// Its name.
        table: String,
    },
    /// Print rows of a table, one JSON object a line.
    Rows {
        /// Its name.
        table: String,
        /// At most so many.
        #[arg(long, value_name = "N", default_value_t = 1000)]
        limit: usize,
        /// Without so many before them.
        #[arg(long, value_name = "N", default_value_t = 0)]
        offset: usize,
    },
    /// Delete a table that no pipeline looks up.
    Delete {
        /// Its name.
        table: String,
        /// Do not ask.
        #[arg(long)]
        yes: bool,
    },
}

/// The form of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum TableForm {
    /// A header row, then records.
    Csv,
    /// A JSON object a line.
    Ndjson,
    /// A Parquet file, packed with snappy, zstd or not at all.
    Parquet,
    /// A MaxMind DB file.
    Mmdb,
}

impl TableForm {
    /// By the ending of a file's name.
    pub(crate) fn of(file: &std::path::Path) -> Option<Self> {
        match file.extension()?.to_str()?.to_ascii_lowercase().as_str() {
            "csv" => Some(Self::Csv),
            "ndjson" | "jsonl" => Some(Self::Ndjson),
            "parquet" => Some(Self::Parquet),
            "mmdb" => Some(Self::Mmdb),
            _ => None,
        }
    }

    /// As a request says it.
    pub(crate) fn content_type(self) -> &'static str {
        match self {
            Self::Csv => "text/csv",
            Self::Ndjson => "application/x-ndjson",
            Self::Parquet => "application/vnd.apache.parquet",
            Self::Mmdb => "application/x-maxmind-db",
        }
    }
}

//! What the user typed. Nothing here reads a file or opens a connection; [`crate::settings`] turns it into what `serve` needs.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use tidemill_server::Role;

use crate::commands::send::Packing;
use crate::exit::Failure;
use crate::secret::Secret;
use crate::settings::parse_duration;

/// An event processing host: send events in, judge them with your own components, get results out.
#[derive(Debug, Parser)]
#[command(name = "tidemill", version, propagate_version = true, disable_help_subcommand = true)]
#[command(after_help = "Exit codes: 0 done, 1 failed, 2 wrong use, 3 host not reached, 4 host refused.")]
pub(crate) struct Tidemill {
    /// What every command takes.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What every command takes.
#[derive(Debug, Clone, Args)]
pub(crate) struct Global {
    /// The host to talk to.
    #[arg(long, global = true, value_name = "URL", env = "TIDEMILL_HOST", default_value = "http://127.0.0.1:8642")]
    pub host: String,
    /// The token to show the host; better in the environment or a file than typed.
    #[arg(long, global = true, value_name = "TOKEN", env = "TIDEMILL_TOKEN", hide_env_values = true)]
    pub token: Option<Secret>,
    /// A file with the token.
    #[arg(long, global = true, value_name = "FILE", env = "TIDEMILL_TOKEN_FILE", conflicts_with = "token")]
    pub token_file: Option<PathBuf>,
    /// Print one JSON document (or one a line) for programs instead of text for people.
    #[arg(long, global = true)]
    pub json: bool,
}

impl Global {
    /// The token, from wherever it stands.
    pub(crate) fn token(&self) -> Result<Option<Secret>, Failure> {
        match (&self.token, &self.token_file) {
            (Some(token), _) => Ok(Some(token.clone())),
            (None, Some(file)) => Secret::read(file).map(Some),
            (None, None) => Ok(None),
        }
    }
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the host.
    Serve(ServeArgs),
    /// Make, list and revoke access tokens, while the host is stopped.
    #[command(subcommand)]
    Token(TokenCommand),
    /// Look after the log of a data directory, while the host is stopped.
    #[command(subcommand)]
    Log(LogCommand),
    /// Show what a cut at damage in the journal would lose, and cut there if told so; while the host is stopped.
    Repair(RepairArgs),
    /// Make a component project of your own.
    New(NewArgs),
    /// Build a component project into one WebAssembly component.
    Build(BuildArgs),
    /// Run a component on a file of events, here, with the host's own sandbox and limits.
    Test(TestArgs),
    /// Upload a component under a name and a version.
    Push(PushArgs),
    /// Create or change pipelines from YAML or JSON files.
    Apply(ApplyArgs),
    /// Send a file of events to a stream.
    Send(SendArgs),
    /// Print a stream's events, one JSON object a line.
    Tail(TailArgs),
    /// Show and move the committed offsets of a stream's consumers.
    #[command(subcommand)]
    Consumers(ConsumersCommand),
    /// Show how pipelines are doing.
    Status(StatusArgs),
    /// Look at rows that a pipeline could not handle, and send them through again.
    DeadLetters(DeadLettersArgs),
    /// Stop pipelines behind a checkpoint.
    Pause(PipelinesArgs),
    /// Let paused, held or failed pipelines go on where they stopped.
    Resume(PipelinesArgs),
    /// Stop pipelines and forget them; the streams they wrote stay.
    Delete(DeleteArgs),
    /// Run a pipeline again over earlier rows, beside itself, and let that run take over.
    Replay(ReplayArgs),
    /// Show what the components of a pipeline said.
    Logs(LogsArgs),
    /// List streams, show one, or delete one.
    Streams(StreamsArgs),
    /// List components and their versions, show one, or delete one.
    Components(ComponentsArgs),
    /// Compile one component from standard input, under limits: the host runs this itself.
    #[command(hide = true)]
    CompileComponent(CompileArgs),
    /// Print what a pipeline document or the settings may say.
    Schema(SchemaArgs),
}

/// `tidemill serve`. Each of these may stand in the settings file or the environment too; flags win over both.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct ServeArgs {
    /// Serve without asking for tokens, to this machine only.
    #[arg(long)]
    pub dev: bool,
    /// Where the host keeps everything; made if missing.
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Where to listen; port 0 takes a free one and prints it.
    #[arg(long, value_name = "ADDRESS")]
    pub listen: Option<SocketAddr>,
    /// Settings file (TOML).
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Worker threads for pipelines; as many as processors unless said.
    #[arg(long, value_name = "N")]
    pub workers: Option<usize>,
    /// How long a stop may take to finish what was begun, such as 10s.
    #[arg(long, value_name = "DURATION")]
    pub drain: Option<String>,
    /// How log lines look; text on a terminal and JSON elsewhere unless said.
    #[arg(long, value_name = "FORM")]
    pub log: Option<LogForm>,
    /// Which log lines to write, such as `info` or `info,tidemill_engine=debug`.
    #[arg(long, value_name = "FILTER")]
    pub log_filter: Option<String>,
    /// Let webhooks go to addresses and ports that are not public; with --dev they may.
    #[arg(long)]
    pub webhooks_private: bool,
    /// Room on the disk that is kept to finish what was taken, such as 64MiB: new events are refused (507) before it is needed.
    #[arg(long, value_name = "SIZE")]
    pub disk_reserve: Option<String>,
    /// Stop when standard input closes: for programs that start a host and must not leave it behind.
    #[arg(long, hide = true)]
    pub stop_with_stdin: bool,
    /// A bug to have, by name: in a build for tests.
    #[cfg(feature = "planted")]
    #[arg(long, hide = true, value_name = "NAME")]
    pub planted: Option<String>,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogForm {
    /// For people.
    Text,
    /// For programs: one object a line.
    Json,
}

/// `tidemill new`.
#[derive(Debug, Args)]
pub(crate) struct NewArgs {
    /// The component's name; a folder of that name is made.
    pub name: String,
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

/// `tidemill apply`.
#[derive(Debug, Args)]
pub(crate) struct ApplyArgs {
    /// Pipeline files, YAML or JSON.
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Only say what would change.
    #[arg(long)]
    pub dry_run: bool,
}

/// `tidemill send`.
#[derive(Debug, Args)]
pub(crate) struct SendArgs {
    /// The stream.
    pub stream: String,
    /// The file: NDJSON, one JSON array, CSV, an Arrow stream, or lines of text; `-` reads standard input.
    pub file: PathBuf,
    /// Send each line as `{"line": …}`.
    #[arg(long, conflicts_with = "format")]
    pub text: bool,
    /// What the file holds; by its name (`.json`, `.csv`, `.arrow`, `.arrows`) or its beginning unless said.
    #[arg(long, value_enum)]
    pub format: Option<SendFormat>,
    /// How bodies are packed on their way: zstd unless said, and not at all to a host on this machine.
    #[arg(long, value_enum)]
    pub compress: Option<Packing>,
    /// Goes on with an earlier run of this name: what the host has taken of the file is not sent again, rows that were added to its end
    /// are. A run without it has a name of its own, which it says when it fails.
    #[arg(long, value_name = "NAME")]
    pub producer: Option<String>,
    /// How long a request is sent again while the host has no room, or is away. Nothing is taken twice.
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "2m")]
    pub retry_for: Duration,
}

fn duration(text: &str) -> Result<Duration, String> {
    parse_duration(text).ok_or_else(|| "write an integer and `ms`, `s`, `m`, `h` or `d`".to_owned())
}

/// What a file of events holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum SendFormat {
    /// One event a line.
    Ndjson,
    /// One event or an array of them.
    Json,
    /// A table whose first line names the columns.
    Csv,
    /// An Arrow IPC stream.
    Arrow,
    /// A CloudEvent in JSON, or an array of them.
    Cloudevents,
    /// Lines of text.
    Text,
}

/// `tidemill tail`.
#[derive(Debug, Args)]
pub(crate) struct TailArgs {
    /// The stream, the host's own (`clicks.rejected`, `fraud.dead-letters`) too.
    pub stream: String,
    /// `earliest`, `latest`, an offset (with --partition where there are several) or an RFC 3339 time.
    #[arg(long, value_name = "PLACE", default_value = "earliest")]
    pub from: String,
    /// Where to end: `latest`, an offset or an RFC 3339 time, exclusive; the end as it is now unless said.
    #[arg(long, value_name = "PLACE", conflicts_with = "follow")]
    pub until: Option<String>,
    /// Only this partition.
    #[arg(long, value_name = "N")]
    pub partition: Option<u32>,
    /// Keep printing what arrives, until Ctrl-C.
    #[arg(long, short)]
    pub follow: bool,
    /// Stop after that many rows.
    #[arg(long, short = 'n', value_name = "N")]
    pub limit: Option<u64>,
    /// Begin where this consumer's commits ended; --from counts where it has none.
    #[arg(long, value_name = "NAME")]
    pub consumer: Option<String>,
    /// Commit for the consumer what was printed: a crash prints rows again, never skips one.
    #[arg(long, requires = "consumer")]
    pub commit: bool,
}

/// `tidemill token`.
#[derive(Debug, Subcommand)]
pub(crate) enum TokenCommand {
    /// Make a token and print it: the way back in when the last one was lost.
    New {
        /// The data directory of the host, which must be stopped.
        #[arg(long, value_name = "DIR", env = "TIDEMILL_DATA")]
        data: PathBuf,
        /// What it allows: admin, developer (all but the host itself), ingest (send events) or reader.
        #[arg(long, default_value = "admin")]
        role: Role,
    },
    /// List the tokens there are: ids and roles, never the tokens themselves.
    List {
        /// The data directory of the host, which must be stopped.
        #[arg(long, value_name = "DIR", env = "TIDEMILL_DATA")]
        data: PathBuf,
    },
    /// Take a token back.
    Revoke {
        /// Its id, as the list shows it.
        id: String,
        /// The data directory of the host, which must be stopped.
        #[arg(long, value_name = "DIR", env = "TIDEMILL_DATA")]
        data: PathBuf,
    },
}

/// `tidemill log`.
#[derive(Debug, Subcommand)]
pub(crate) enum LogCommand {
    /// Read everything and check every checksum; nothing is changed.
    Verify {
        /// The data directory of the host, which must be stopped.
        #[arg(long, value_name = "DIR", env = "TIDEMILL_DATA")]
        data: PathBuf,
    },
}

/// `tidemill repair`.
#[derive(Debug, Args)]
pub(crate) struct RepairArgs {
    /// The data directory of the host, which must be stopped.
    #[arg(long, value_name = "DIR", env = "TIDEMILL_DATA")]
    pub data: PathBuf,
    /// Cut here, as it was shown, such as 000003.journal:8192. What lies behind is lost.
    #[arg(long, value_name = "FILE:BYTE")]
    pub cut_at: Option<CutPlace>,
}

/// A byte of a journal file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CutPlace {
    /// The file's name.
    pub file: PathBuf,
    /// Counted from 0.
    pub at_byte: u64,
}

impl std::str::FromStr for CutPlace {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let place = text.rsplit_once(':').and_then(|(file, byte)| Some(Self { file: file.into(), at_byte: byte.parse().ok()? }));
        place.ok_or_else(|| format!("`{text}` is no place: write it as it was shown, such as 000003.journal:8192"))
    }
}

/// `tidemill consumers`.
#[derive(Debug, Subcommand)]
pub(crate) enum ConsumersCommand {
    /// List the consumers of a stream, with their lag.
    List {
        /// The stream.
        stream: String,
    },
    /// Show one consumer, partition by partition.
    Show {
        /// The stream.
        stream: String,
        /// Its name.
        consumer: String,
    },
    /// Move a consumer; the first commit makes it.
    Commit {
        /// The stream.
        stream: String,
        /// Its name.
        consumer: String,
        /// By partition, the first offset that is not done, such as 0:123,1:99.
        offsets: Offsets,
        /// Go back too, to take rows again.
        #[arg(long)]
        force: bool,
    },
    /// Forget a consumer.
    Delete {
        /// The stream.
        stream: String,
        /// Its name.
        consumer: String,
    },
}

/// Places in a stream: partition and offset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Offsets(pub Vec<(u32, u64)>);

impl std::str::FromStr for Offsets {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let place = |part: &str| {
            let (partition, offset) = part.trim().split_once(':')?;
            Some((partition.parse().ok()?, offset.parse().ok()?))
        };
        let parse = |part| place(part).ok_or_else(|| format!("`{part}` is no partition:offset: write them like 0:123,1:99"));
        text.split(',').map(parse).collect::<Result<_, _>>().map(Self)
    }
}

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

/// `tidemill status`.
#[derive(Debug, Args)]
pub(crate) struct StatusArgs {
    /// One pipeline; all of them unless said.
    pub pipeline: Option<String>,
    /// Ask again every two seconds, until Ctrl-C.
    #[arg(long, short)]
    pub watch: bool,
}

/// `tidemill pause` and `tidemill resume`.
#[derive(Debug, Args)]
pub(crate) struct PipelinesArgs {
    /// The pipelines.
    #[arg(required = true, value_name = "PIPELINE")]
    pub pipelines: Vec<String>,
}

/// `tidemill delete`.
#[derive(Debug, Args)]
pub(crate) struct DeleteArgs {
    /// The pipelines.
    #[arg(required = true, value_name = "PIPELINE")]
    pub pipelines: Vec<String>,
    /// Do not ask.
    #[arg(long, short)]
    pub yes: bool,
}

/// `tidemill replay`.
#[derive(Debug, Args)]
#[command(
    after_help = "Without --from it shows how the replay does. Its output goes to streams called like the pipeline's, with @RUN behind."
)]
pub(crate) struct ReplayArgs {
    /// The pipeline.
    pub pipeline: String,
    /// Begin one: `earliest`, an RFC 3339 time, an offset, offsets with commas (one for each partition), or STREAM=PLACE for each stream.
    #[arg(long, value_name = "PLACE", conflicts_with = "action")]
    pub from: Vec<String>,
    /// What to do with the one there is.
    #[arg(value_enum)]
    pub action: Option<ReplayAction>,
}

/// What to do with a replay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ReplayAction {
    /// Put it in place of the pipeline's run: from there on it writes the pipeline's own targets.
    Promote,
    /// Forget it, and delete the streams it wrote.
    Discard,
}

/// `tidemill logs`.
#[derive(Debug, Args)]
pub(crate) struct LogsArgs {
    /// The pipeline.
    pub pipeline: String,
    /// Keep printing what they say, until Ctrl-C.
    #[arg(long, short)]
    pub follow: bool,
    /// Only this step, such as `steps[2].rule`.
    #[arg(long)]
    pub step: Option<String>,
    /// Only this level and above: debug, info, warn or error.
    #[arg(long)]
    pub level: Option<String>,
    /// At most that many of the last lines.
    #[arg(long, short = 'n', value_name = "N", default_value_t = 100)]
    pub limit: usize,
}

/// `tidemill streams`.
#[derive(Debug, Args)]
pub(crate) struct StreamsArgs {
    /// What to do; list them unless said.
    #[command(subcommand)]
    pub action: Option<StreamsAction>,
}

/// What to do with streams.
#[derive(Debug, Subcommand)]
pub(crate) enum StreamsAction {
    /// Show one: its columns, its partitions, where they begin and end.
    Show {
        /// The stream.
        stream: String,
    },
    /// Delete one with its rows, and what was rejected at its door.
    Delete {
        /// The stream.
        stream: String,
        /// Do not ask.
        #[arg(long, short)]
        yes: bool,
    },
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

/// `tidemill dead-letters`.
#[derive(Debug, Args)]
pub(crate) struct DeadLettersArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: DeadLettersCommand,
}

/// What to do with dead letters.
#[derive(Debug, Subcommand)]
pub(crate) enum DeadLettersCommand {
    /// A line for each, the last ones.
    List {
        /// The pipeline.
        pipeline: String,
        /// Which.
        #[command(flatten)]
        filter: DeadLetterFilter,
    },
    /// One with its event, its component and the backtrace.
    Show {
        /// The pipeline.
        pipeline: String,
        /// `partition:offset`, as listed.
        id: String,
    },
    /// Send them through the step they failed in again, and on, by the pipeline as it is now. Each once.
    Replay {
        /// The pipeline.
        pipeline: String,
        /// `partition:offset`, as listed.
        ids: Vec<String>,
        /// Which.
        #[command(flatten)]
        filter: DeadLetterFilter,
        /// Every one.
        #[arg(long)]
        all: bool,
        /// Those too that were replayed before: what they do is done twice then.
        #[arg(long)]
        force: bool,
    },
}

/// Which dead letters.
#[derive(Debug, Args)]
pub(crate) struct DeadLetterFilter {
    /// Only those with this reason, such as `trap`.
    #[arg(long)]
    pub reason: Option<String>,
    /// Only those of this step, such as `steps[1].rule`.
    #[arg(long)]
    pub step: Option<String>,
    /// Only those of this component.
    #[arg(long)]
    pub component: Option<String>,
    /// Only those whose event has this time or a later one (RFC 3339).
    #[arg(long, value_name = "TIME")]
    pub since: Option<String>,
    /// Only those that were not replayed.
    #[arg(long)]
    pub open: bool,
    /// At most that many, the last ones.
    #[arg(long, short = 'n', value_name = "N")]
    pub limit: Option<u64>,
}

impl DeadLetterFilter {
    /// Whether it says nothing.
    pub(crate) fn is_empty(&self) -> bool {
        self.query().as_object().is_none_or(serde_json::Map::is_empty)
    }

    /// What was said, as the host takes it.
    pub(crate) fn query(&self) -> serde_json::Value {
        let Self { reason, step, component, since, open, limit } = self;
        let mut members = serde_json::Map::new();
        for (name, value) in [("reason", reason), ("step", step), ("component", component), ("since", since)] {
            members.extend(value.as_ref().map(|value| (name.to_owned(), value.as_str().into())));
        }
        members.extend(limit.map(|limit| ("limit".to_owned(), limit.into())));
        members.extend(open.then(|| ("open".to_owned(), true.into())));
        serde_json::Value::Object(members)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_grammar_of_the_command_line_holds() {
        Tidemill::command().debug_assert();
    }

    #[test]
    fn offsets_are_partition_and_offset() {
        assert_eq!("0:123, 1:99".parse(), Ok(Offsets(vec![(0, 123), (1, 99)])));
        for text in ["", "7", "0:x", "0:1,,"] {
            assert!(text.parse::<Offsets>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_version_flag_means_the_components_version() {
        let args = Tidemill::try_parse_from(["tidemill", "push", "a.wasm", "--name", "a", "--version", "1.2.3"]).expect("parses");
        let Command::Push(push) = args.command else { panic!("not push: {args:?}") };
        assert_eq!(push.version.to_string(), "1.2.3");
    }
}

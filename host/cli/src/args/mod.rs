//! What the user typed. Nothing here reads a file or opens a connection; [`crate::settings`] turns it into what `serve` needs.
//!
//! Here is what every command takes, and the list of commands; what each of them takes stands in a file with its neighbours.

mod backup;
mod checkpoint;
mod component;
mod connections;
mod consumers;
mod dead_letters;
mod explain;
mod log;
mod pipeline;
mod schema;
mod serve;
mod stream;
mod tables;
mod token;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

pub(crate) use self::backup::{BackupArgs, RestoreArgs};
pub(crate) use self::checkpoint::CheckpointCommand;
pub(crate) use self::component::{
    BuildArgs, CompileArgs, ComponentsAction, ComponentsArgs, NewArgs, ProjectKind, PushArgs, TestArgs,
};
use self::connections::ConnectionArgs;
pub(crate) use self::consumers::ConsumersCommand;
pub(crate) use self::dead_letters::{DeadLetterFilter, DeadLettersArgs, DeadLettersCommand};
pub(crate) use self::explain::{ExplainCommand, ExplainKeyArgs, ExplainMatchArgs};
pub(crate) use self::log::{LogCommand, RepairArgs};
pub(crate) use self::pipeline::{
    ApplyArgs, BacktestArgs, BetweenArgs, DeleteArgs, LogsArgs, PipelinesArgs, ReplayAction, ReplayArgs, StateArgs, StatusArgs,
};
pub(crate) use self::schema::{SchemaArgs, SchemaOf};
pub(crate) use self::serve::{LogForm, ServeArgs};
pub(crate) use self::stream::{SendArgs, SendFormat, StreamsAction, StreamsArgs, TailArgs};
pub(crate) use self::tables::{TableCommand, TableForm};
pub(crate) use self::token::{CreateTokenArgs, TokenCommand};
use crate::exit::Failure;
use crate::secret::Secret;

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
    Serve(Box<ServeArgs>),
    /// Make, list and revoke access tokens.
    #[command(subcommand)]
    Token(TokenCommand),
    /// Look after the log of a data directory, while the host is stopped.
    #[command(subcommand)]
    Log(LogCommand),
    /// Show what a cut at damage in the journal would lose, and cut there if told so; while the host is stopped.
    Repair(RepairArgs),
    /// Copy everything a running host has into one file.
    Backup(BackupArgs),
    /// Make a data directory from a backup.
    Restore(RestoreArgs),
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
    /// Show what a step of a pipeline holds of a key: its machine's state, its partial matches.
    State(StateArgs),
    /// Show why a match was told, and what is open of a key.
    #[command(subcommand)]
    Explain(ExplainCommand),
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
    /// Show what another text of a pipeline would have made of the rows there are, and what differs from the one that runs.
    Backtest(BacktestArgs),
    /// Keep the state of a pipeline under a name, and begin runs with it.
    #[command(subcommand)]
    Checkpoint(CheckpointCommand),
    /// Show what the components of a pipeline said.
    Logs(LogsArgs),
    /// List streams, show one, or delete one.
    Streams(StreamsArgs),
    /// List components and their versions, show one, or delete one.
    Components(ComponentsArgs),
    /// Put, list, show and delete tables, which lookups look up.
    #[command(subcommand)]
    Table(TableCommand),
    /// Compile one component from standard input, under limits: the host runs this itself.
    #[command(hide = true)]
    CompileComponent(CompileArgs),
    /// Print what a pipeline document or the settings may say.
    Schema(SchemaArgs),
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
    fn a_version_flag_means_the_components_version() {
        let args = Tidemill::try_parse_from(["tidemill", "push", "a.wasm", "--name", "a", "--version", "1.2.3"]).expect("parses");
        let Command::Push(push) = args.command else { panic!("not push: {args:?}") };
        assert_eq!(push.version.to_string(), "1.2.3");
    }
}

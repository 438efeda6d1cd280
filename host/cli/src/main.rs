//! The `tidemill` binary: `serve` runs the host, every other command is a client of its public API or works on local files.
//!
//! Reads the environment, the clock and the settings file, and hands them in; nothing below this crate does. Everything a
//! command has to say goes through [`output`], and every way to end through [`exit`].

mod args;
mod client;
mod clock;
mod commands;
mod compiler;
mod data_dir;
mod difference;
mod exit;
mod logs;
mod new_data_dir;
mod output;
mod paint;
mod plan;
mod planted;
mod secret;
mod settings;
mod table;
mod trial;
mod trial_pattern;
mod trial_step;

use std::process::ExitCode;

use clap::Parser;

use crate::args::{Command, Tidemill};
use crate::client::Client;
use crate::exit::Failure;
use crate::output::Output;

/// Rows are made on one thread and dropped on another: that is what it is good at.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // clap ends with 2 by itself where the line cannot be parsed, and with 0 after --help.
    let typed = Tidemill::parse();
    let output = Output::new(typed.global.json);
    match run(&typed, output) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            output.failure(&failure);
            ExitCode::from(failure.code)
        }
    }
}

fn run(typed: &Tidemill, output: Output) -> Result<(), Failure> {
    let client = || Client::new(&typed.global.host, typed.global.token()?);
    match &typed.command {
        Command::Serve(args) => commands::serve::run(args, output),
        Command::New(args) => commands::new::run(args, output),
        Command::Build(args) => commands::build::run(args, output),
        Command::Test(args) => commands::test::run(args, output),
        Command::Token(command) => commands::token::run(command, client, output),
        Command::Log(command) => commands::verify::run(command, output),
        Command::Repair(args) => commands::repair::run(args, output),
        Command::Backup(args) => commands::backup::run(args, &client()?, output),
        Command::Restore(args) => commands::restore::run(args, output),
        Command::Push(args) => commands::push::run(args, &client()?, output),
        Command::Apply(args) => commands::apply::run(args, &client()?, output),
        Command::Send(args) => commands::send::run(args, &client()?, output),
        Command::Tail(args) => commands::tail::run(args, &client()?),
        Command::Consumers(command) => commands::consumers::run(command, &client()?, output),
        Command::Table(command) => commands::tables::run(command, &client()?, output),
        Command::Status(args) => commands::status::run(args, &client()?, output),
        Command::State(args) => commands::state::run(args, &client()?, output),
        Command::Explain(command) => commands::explain::run(command, &client()?, output),
        Command::DeadLetters(args) => commands::dead_letters::run(args, &client()?, output),
        Command::Schema(args) => commands::schema::run(args, output),
        Command::Pause(args) => commands::control::pause(args, &client()?, output),
        Command::Resume(args) => commands::control::resume(args, &client()?, output),
        Command::Delete(args) => commands::control::delete(args, &client()?, output),
        Command::Replay(args) => commands::replay::run(args, &client()?, output),
        Command::Backtest(args) => commands::backtest::run(args, &client()?, output),
        Command::Checkpoint(command) => commands::checkpoint::run(command, &client()?, output),
        Command::Logs(args) => commands::logs::run(args, &client()?, output),
        Command::Streams(args) => commands::list::streams(args, &client()?, output),
        Command::Components(args) => commands::list::components(args, &client()?, output),
        Command::CompileComponent(args) => compiler::run(args),
    }
}

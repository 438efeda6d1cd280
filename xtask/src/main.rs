//! Builds, checks, demos and measures Tidemill: every script of the repository, in Rust. Links no host crate, so that it is up in
//! seconds; what it needs of the host it asks the real binary over HTTP.

mod bench;
mod book;
mod build;
mod ci;
mod demo;
mod duckdb;
mod generate;
mod guests;
mod host;
mod links;
mod oracle;
mod reference;
mod run;
mod test;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

const USAGE: &str = "\
cargo xtask COMMAND

  demo [--once] [--data DIR]  see real events go through components: builds, starts the host, sends, prints
  test [--long]               every test
  ci                          formatting, lints, generated files, links, every test
  bench [NAME [ARGUMENT]]     every bench, or one; `http` for those of a whole host; `restart 4` with 4 GiB instead of 10
  oracle streams DIR          puts the queries of a folder to a real host, and compares its answers with the folder's
  oracle nexmark DIR          the same for the queries of examples/nexmark over a folder's events
  oracle patterns [--core] FILE…  the same for vectors of patterns; `--core` plays them through the matcher alone
  guests                      builds the components that ship with the host into TARGET/guests
  variants                    builds the broken hosts that tests need into TARGET/variants
  generate [--check]          writes the files that are made from the code, or says which are not as it would make them
  book                        builds the user book (docs/book) as HTML

Exit codes: 0 done, 1 failed, 2 wrong use.";

const WRONG_USE: u8 = 2;

fn main() -> ExitCode {
    let typed: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = typed.iter().map(String::as_str).collect();
    let done = match words.as_slice() {
        ["demo", options @ ..] => match demo_options(options) {
            Ok((once, data)) => demo::demo(once, data),
            Err(message) => return wrong_use(&message),
        },
        ["test"] => test::test(false),
        ["test", "--long"] => test::test(true),
        ["ci"] => ci::ci(),
        ["bench"] => bench::bench(None, &[]),
        ["bench", name, arguments @ ..] if !name.starts_with('-') => bench::bench(Some(name), arguments),
        ["guests"] => guests::guests().map(|_| ()),
        ["variants"] => build::variants(),
        ["generate"] => generate::generate(false),
        ["generate", "--check"] => generate::generate(true),
        ["book"] => book::book(),
        ["oracle", name @ ("streams" | "nexmark"), folder] => match oracle::oracle(name, Path::new(folder)) {
            Ok(true) => Ok(()),
            // What failed stands above, case by case.
            Ok(false) => return ExitCode::FAILURE,
            Err(error) => Err(error),
        },
        ["oracle", "patterns", typed @ ..] if typed.iter().any(|word| *word != "--core") => match oracle::patterns(typed) {
            Ok(true) => Ok(()),
            Ok(false) => return ExitCode::FAILURE,
            Err(error) => Err(error),
        },
        ["oracle", ..] => return wrong_use("`oracle` knows `streams DIR`, `nexmark DIR` and `patterns [--core] FILE…`"),
        [] | ["help" | "--help" | "-h"] => {
            println!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        other => return wrong_use(&format!("cannot make sense of `{}`\n\n{USAGE}", other.join(" "))),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn demo_options(options: &[&str]) -> Result<(bool, Option<PathBuf>), String> {
    let (mut once, mut data) = (false, None);
    let mut options = options.iter();
    while let Some(option) = options.next() {
        match (*option, options.as_slice().first()) {
            ("--once", _) => once = true,
            ("--data", Some(folder)) => {
                data = Some(PathBuf::from(folder));
                options.next();
            }
            ("--data", None) => return Err("say which folder: --data DIR".to_owned()),
            (other, _) => return Err(format!("`demo` knows --once and --data DIR, not `{other}`")),
        }
    }
    Ok((once, data))
}

fn wrong_use(message: &str) -> ExitCode {
    eprintln!("error: {message}");
    ExitCode::from(WRONG_USE)
}

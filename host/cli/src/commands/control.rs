//! `tidemill pause`, `resume` and `delete`: what a person does to a pipeline that is applied.

use std::io::{self, BufRead, IsTerminal, Write};

use serde_json::json;
use ureq::SendBody;
use ureq::http::Method;

use crate::args::{DeleteArgs, PipelinesArgs};
use crate::client::{Client, encoded};
use crate::exit::Failure;
use crate::output::Output;

/// Pauses each pipeline, in order; the first refusal ends it.
pub(crate) fn pause(args: &PipelinesArgs, client: &Client, output: Output) -> Result<(), Failure> {
    each(args, client, output, "pause", |name| format!("{name} is paused: `tidemill resume {name}` lets it go on"))
}

/// Resumes each pipeline.
pub(crate) fn resume(args: &PipelinesArgs, client: &Client, output: Output) -> Result<(), Failure> {
    each(args, client, output, "resume", |name| format!("{name} goes on where it stopped"))
}

fn each(
    args: &PipelinesArgs,
    client: &Client,
    output: Output,
    action: &str,
    told: impl Fn(&str) -> String,
) -> Result<(), Failure> {
    for name in &args.pipelines {
        let path = format!("/v1/pipelines/{}/{action}", encoded(name));
        let status = client.ask(Method::POST, &path, &[], SendBody::none())?.expect_success()?;
        output.result(&status, || told(name))?;
    }
    Ok(())
}

/// Deletes each pipeline, after asking a person whether that is meant.
pub(crate) fn delete(args: &DeleteArgs, client: &Client, output: Output) -> Result<(), Failure> {
    let names = args.pipelines.join(", ");
    sure(args.yes, &format!("delete {names}, with the state of the components? What was written stays."))?;
    for name in &args.pipelines {
        gone(client, output, &format!("/v1/pipelines/{}", encoded(name)), name)?;
    }
    Ok(())
}

/// Deletes what is at `path`, and says so.
pub(crate) fn gone(client: &Client, output: Output, path: &str, what: &str) -> Result<(), Failure> {
    client.ask(Method::DELETE, path, &[], SendBody::none())?.expect_success()?;
    output.result(&json!({"deleted": what}), || format!("deleted {what}"))
}

/// Asks a person; a program must say `--yes`.
pub(crate) fn sure(yes: bool, question: &str) -> Result<(), Failure> {
    if yes {
        return Ok(());
    }
    if !io::stdin().is_terminal() {
        return Err(Failure::wrong_use(format!("{question} Say --yes where nobody can be asked.")));
    }
    let mut line = String::new();
    let asked = write!(io::stderr(), "{question} [y/N] ").and_then(|()| io::stdin().lock().read_line(&mut line));
    match asked {
        Ok(_) if matches!(line.trim(), "y" | "Y" | "yes") => Ok(()),
        Ok(_) => Err(Failure::failed("nothing was done")),
        Err(error) => Err(Failure::failed(format!("cannot ask: {error}"))),
    }
}

//! `cargo xtask bench [NAME]`: criterion benches of the crates, and programs that measure a whole host.

use std::fs;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::duckdb;
use crate::host::Host;
use crate::run::{cargo, root, run, target_dir};

/// What measures a whole host, by the load program's name for it.
const HOST_BENCHES: [&str; 11] =
    ["ingest", "single", "path", "latency", "idle", "soak", "backup", "restart", "state", "nexmark", "transactions"];

/// All of them, or those of that name: `http` is all that measure a whole host.
/// `arguments` go to a bench of a whole host.
pub(crate) fn bench(name: Option<&str>, arguments: &[&str]) -> Result<()> {
    let criterion = criterion_benches()?;
    match name {
        None => {
            for bench in &criterion {
                run_criterion(bench)?;
            }
            run_host(&HOST_BENCHES, &[])
        }
        Some("http") => run_host(&HOST_BENCHES, &[]),
        Some(name) if HOST_BENCHES.contains(&name) => run_host(&[name], arguments),
        Some(name) if criterion.iter().any(|bench| bench == name) => run_criterion(name),
        Some(name) => bail!("there is no bench `{name}`: choose http, {}, or {}", HOST_BENCHES.join(", "), criterion.join(", ")),
    }
}

fn run_criterion(name: &str) -> Result<()> {
    run(&format!("bench {name}"), cargo().args(["bench", "--workspace", "--bench", name]))
}

fn run_host(names: &[&str], arguments: &[&str]) -> Result<()> {
    let binary = crate::build::host()?;
    crate::guests::guests()?;
    let target = target_dir()?;
    let guests = target.join("guests");
    for name in names {
        let folder = target.join("bench").join(name);
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).with_context(|| format!("cannot make `{}`", folder.display()))?;
        let mut load = Command::new(target.join("release/tidemill-load"));
        load.arg(name);
        let what = format!("bench {name} (a whole host)");
        // These start hosts of their own. Beside our builds, since a system's folder for short-lived files may be memory.
        if *name == "state" {
            run(&what, load.args(arguments).env("TMPDIR", &folder))?;
            continue;
        }
        let own = match *name {
            "restart" => Some(guests.clone()),
            "nexmark" => Some(root().join("examples/nexmark")),
            _ => None,
        };
        if let Some(from) = own {
            run(&what, load.arg(from).args(arguments).env("TMPDIR", &folder))?;
            continue;
        }
        let host = Host::start(&binary, &folder.join("data"))?;
        // What a bench of files writes stands beside the host's data, on the same disk.
        let from = if *name == "transactions" { &folder } else { &guests };
        load.args([host.url(), &host.process_id().to_string()]).arg(from);
        match *name {
            "ingest" => load.args(duckdb::script(duckdb::PARSE_AND_FILTER)?),
            "transactions" => load.args(duckdb::script(duckdb::TRANSACTIONS)?),
            "single" => load.arg(target.join("release/tidemill-echo")),
            _ => load.args(arguments),
        };
        run(&what, &mut load)?;
    }
    Ok(())
}

/// The names of the benches in the crates' `benches` folders.
fn criterion_benches() -> Result<Vec<String>> {
    let mut names = Vec::new();
    let host = root().join("host");
    for krate in fs::read_dir(&host).with_context(|| format!("cannot read `{}`", host.display()))? {
        let Ok(benches) = fs::read_dir(krate?.path().join("benches")) else { continue };
        for bench in benches {
            let path = bench?.path();
            if path.extension().is_some_and(|extension| extension == "rs") {
                names.extend(path.file_stem().and_then(|stem| stem.to_str()).map(str::to_owned));
            }
        }
    }
    names.sort();
    Ok(names)
}

//! This program as a compiler: `tidemill compile-component`, which nobody types. The host and `tidemill test` start it once for each
//! component they do not have compiled; see `tidemill_runtime::Compiler`.

use tidemill_runtime::{CompileLimits, Compiler, CompilerProcess, compile_one};

use crate::args::CompileArgs;
use crate::exit::Failure;

/// The command's name.
const COMMAND: &str = "compile-component";

/// This very program, even if its file was replaced since it started.
pub(crate) fn own() -> Compiler {
    Compiler::Process(CompilerProcess {
        program: "/proc/self/exe".into(),
        arguments: vec![COMMAND.into()],
        limits: CompileLimits::default(),
    })
}

/// Compiles one component from standard input to standard output.
pub(crate) fn run(args: &CompileArgs) -> Result<(), Failure> {
    compile_one(args.cpu_seconds, args.memory_bytes).map_err(|error| Failure::failed(format!("the compiler: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::{Command, Tidemill};
    use clap::Parser;

    #[test]
    fn what_the_host_types_is_understood() {
        let typed = Tidemill::try_parse_from(["tidemill", COMMAND, "10", "1073741824"]).expect("parses");
        let Command::CompileComponent(args) = typed.command else { panic!("another command: {typed:?}") };
        assert_eq!((args.cpu_seconds, args.memory_bytes), (10, 1 << 30));
    }
}

//! Why a component is not taken. Each message says what to change; none but [`Refused::NotNow`] is of the host.

use std::time::Duration;

use tidemill_event::CallFailure;

/// An upload that is refused.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Refused {
    /// Too many bytes.
    #[error(
        "the component has {bytes} bytes, and at most {bytes_max} are taken: build it with optimisation, strip debug information"
    )]
    TooLarge {
        /// What it has.
        bytes: usize,
        /// What it may have.
        bytes_max: usize,
    },
    /// Code compiled for a machine, which would run outside the sandbox.
    #[error("this is precompiled machine code, which no host runs for a stranger: upload the component it was made of")]
    Precompiled,
    /// WebAssembly text.
    #[error("this is WebAssembly text: translate it to a binary component first")]
    Text,
    /// No WebAssembly at all.
    #[error("this is no WebAssembly: it does not begin with `\\0asm` and a version that components have")]
    NotWasm,
    /// A core module.
    #[error(
        "this is a core WebAssembly module, not a component: `tidemill build` makes a component of your crate, or run `wasm-tools component new` on a module that embeds the Tidemill world"
    )]
    CoreModule,
    /// Broken.
    #[error("the WebAssembly is broken at byte {at_byte}: {reason}")]
    Malformed {
        /// What is wrong.
        reason: String,
        /// Where.
        at_byte: usize,
    },
    /// So large or deep that compiling it would take too long.
    #[error("{what}: it has {found}, and at most {allowed} are taken")]
    Shape {
        /// Of what.
        what: &'static str,
        /// How many there are.
        found: u64,
        /// How many there may be.
        allowed: u64,
    },
    /// An import that is not granted.
    #[error("it imports `{name}`, which is not granted: a component may import `{granted}` and types. {remedy}")]
    Import {
        /// The import.
        name: String,
        /// What is granted.
        granted: String,
        /// What to do.
        remedy: &'static str,
    },
    /// Built for packages of another version.
    #[error("it is built for `{name}`, and this host serves {served}: rebuild it with the SDK of this host")]
    Version {
        /// The interface with its version.
        name: String,
        /// What this host has.
        served: &'static str,
    },
    /// No kind of component has these exports.
    #[error("{0}")]
    Exports(String),
    /// An export has another type.
    #[error("its export `{export}` is not the one of world `{world}`: {reason}")]
    ExportType {
        /// Which one.
        export: &'static str,
        /// The world it should come from.
        world: &'static str,
        /// What differs.
        reason: String,
    },
    /// Valid, and yet the compiler gave up on it.
    #[error("it cannot be compiled: {0}")]
    Compile(String),
    /// It takes the compiler longer than an upload of its size may take.
    #[error(
        "compiling it took more than its {} s of CPU time: make its largest functions smaller, nest blocks and loops less, or build it for size (`opt-level = \"s\"`)", cpu.as_secs()
    )]
    CompileTime {
        /// What it may take.
        cpu: Duration,
    },
    /// It takes the compiler more memory than any upload may take.
    #[error(
        "compiling it took more than {} MiB of memory: make its largest functions smaller, or build it for size (`opt-level = \"s\"`)", bytes_max >> 20
    )]
    CompileMemory {
        /// What it may take.
        bytes_max: u64,
    },
    /// Its machine code is far larger than it is itself.
    #[error("its machine code is larger than {} MiB, too much for its size: build it for size (`opt-level = \"s\"`)", bytes_max >> 20)]
    CodeTooLarge {
        /// How much there may be.
        bytes_max: usize,
    },
    /// Not its fault: the same upload may be taken a little later.
    #[error("it cannot be compiled just now: {0}")]
    NotNow(String),
    /// An import has another type than the host's.
    #[error("its imports do not fit this host: {0}")]
    Link(String),
    /// Its start functions did not return.
    #[error("it could not be instantiated: {0}")]
    Start(CallFailure),
    /// `describe` did not return.
    #[error("`describe` failed: {0}")]
    Describe(CallFailure),
    /// Two fresh instances described themselves differently.
    #[error("`describe` answers differently each time: it must depend on nothing, pipelines are planned against it")]
    DescribeVaries,
    /// `describe` returned something that cannot be.
    #[error("`describe` is not usable: {0}")]
    Description(String),
}

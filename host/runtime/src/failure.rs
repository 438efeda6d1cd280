//! How a call ended that did not return: which of wasmtime's errors means what, and what people are told.

use std::fmt::Write as _;

use tidemill_event::{CallFailure, Ending, Usage};
use wasmtime::{Error, PoolConcurrencyLimitError, Trap, WasmBacktrace};

use crate::answer::OutputTooLarge;
use crate::limits::{Limits, MESSAGE_BYTES_MAX};
use crate::sandbox::{Sandbox, TooManyHostCalls};
use crate::text::clean;

/// The failure that an error of wasmtime's stands for. `sandbox` knows what was refused and what was said before.
pub(crate) fn failure(error: &Error, sandbox: &Sandbox, limits: &Limits, usage: Usage) -> CallFailure {
    let trap = error.downcast_ref::<Trap>();
    let (ending, message) = if let Some(storm) = error.downcast_ref::<TooManyHostCalls>() {
        (Ending::TooManyHostCalls, storm.to_string())
    } else if let Some(too_large) = error.downcast_ref::<OutputTooLarge>() {
        (Ending::TooMuchOutput, too_large.to_string())
    } else if trap == Some(&Trap::OutOfFuel) {
        (Ending::OutOfFuel, format!("more than its {} units of fuel", usage.fuel))
    } else if trap == Some(&Trap::Interrupt) {
        (Ending::Deadline, format!("still running after its deadline of {:?}", limits.deadline))
    } else if let Some(refused) = &sandbox.growth.refused {
        (Ending::OutOfMemory, refused.clone())
    } else if let Some(full) = error.downcast_ref::<PoolConcurrencyLimitError>() {
        (Ending::OutOfMemory, format!("the host has no room for another instance: {full}"))
    } else if let Some(trap) = trap {
        (Ending::Trap, said(sandbox, &trap.to_string()))
    } else {
        // Not in the guest's code, so in what it handed over: a list outside its memory, a text that is not UTF-8, a case that is none.
        let root = error.root_cause().to_string();
        // Lists and texts other than ours are counted by wasmtime, whose error has no public type.
        let ending = if root.contains("fuel allocated for hostcalls") { Ending::TooMuchOutput } else { Ending::InvalidOutput };
        (ending, root)
    };
    CallFailure { ending, message: clean(&message, MESSAGE_BYTES_MAX), backtrace: backtrace(error), usage }
}

/// A failure of the answer itself.
pub(crate) fn invalid(message: &str, usage: Usage) -> CallFailure {
    CallFailure { ending: Ending::InvalidOutput, message: clean(message, MESSAGE_BYTES_MAX), backtrace: String::new(), usage }
}

/// The component's own error.
pub(crate) fn guest_error(message: &str, usage: Usage) -> CallFailure {
    CallFailure { ending: Ending::GuestError, message: clean(message, MESSAGE_BYTES_MAX), backtrace: String::new(), usage }
}

/// What the component said last, which a panic hook makes the reason, and what the machine says.
fn said(sandbox: &Sandbox, trap: &str) -> String {
    match &sandbox.last_error {
        Some(line) => format!("{line} ({trap})"),
        None => trap.to_owned(),
    }
}

/// The longest name of a function or module in a backtrace.
const NAME_BYTES_MAX: usize = 200;

/// A function's name as its author wrote it: a module's names are as its compiler mangled them.
fn readable(name: &str) -> String {
    let mut short = Short(String::new());
    // Whatever is beyond the bound is not wanted; and a stranger's name may stand for a very long one.
    let _ = write!(short, "{:#}", rustc_demangle::demangle(name));
    short.0
}

/// Takes so much and refuses the rest.
struct Short(String);

impl std::fmt::Write for Short {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        let fits = text.floor_char_boundary(4 * NAME_BYTES_MAX - self.0.len());
        self.0.push_str(&text[..fits]);
        if fits < text.len() { Err(std::fmt::Error) } else { Ok(()) }
    }
}

/// Names of frames, innermost first, one a line.
fn backtrace(error: &Error) -> String {
    let mut text = String::new();
    let Some(backtrace) = error.downcast_ref::<WasmBacktrace>() else { return text };
    for frame in backtrace.frames() {
        if text.len() > MESSAGE_BYTES_MAX {
            break;
        }
        let module = frame.module().name();
        let symbol = frame.symbols().first().and_then(|symbol| symbol.name()).or_else(|| frame.func_name());
        let name = match symbol {
            Some(name) => clean(&readable(name), NAME_BYTES_MAX),
            None => format!("function {}", frame.func_index()),
        };
        let place = frame.module_offset().map(|offset| format!(" at byte {offset:#x}")).unwrap_or_default();
        let of = module.map(|module| format!(" of {}", clean(module, NAME_BYTES_MAX / 2))).unwrap_or_default();
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{name}{place}{of}");
    }
    text.truncate(text.trim_end().len());
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_as_their_author_wrote_them() {
        assert_eq!(readable("_RNvCs1Xs4kHC41y3_12hostile_rule7recurse"), "hostile_rule::recurse");
        assert_eq!(readable("_ZN4core9panicking5panic17h0123456789abcdefE"), "core::panicking::panic");
        assert_eq!(readable("memcpy"), "memcpy");
        assert_eq!(readable(&"é".repeat(100_000)), "é".repeat(2 * NAME_BYTES_MAX));
    }
}

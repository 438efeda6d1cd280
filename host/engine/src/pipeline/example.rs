//! A pipeline's text, and what is made of it; for tests.

use crate::pipeline::PipelineDefinition;
use crate::pipeline::parse::parse;

/// What a text is read as, or a line for each of its faults.
pub(crate) fn read_as(text: &str, shown: impl FnOnce(&PipelineDefinition) -> String) -> String {
    match parse(&"p".parse().expect("a name"), text) {
        Ok(definition) => shown(&definition),
        Err(faults) => {
            faults.iter().map(|fault| format!("{}: {}: {} -> {}\n", fault.line, fault.path, fault.error, fault.remedy)).collect()
        }
    }
}

//! The WIT packages, as text inside the program: `tidemill build` works without a checkout.

use anyhow::{Context, Result};
use wit_parser::{PackageId, Resolve};

/// What components of every kind share.
const COMPONENT: &str = include_str!("../../../wit/component/component.wit");
const METRICS: &str = include_str!("../../../wit/metrics/metrics.wit");
const RULE: &str = include_str!("../../../wit/rule/rule.wit");
const TRANSFORM: &str = include_str!("../../../wit/transform/transform.wit");
const FUNCTION: &str = include_str!("../../../wit/function/function.wit");
const AGGREGATE: &str = include_str!("../../../wit/aggregate/aggregate.wit");
const PROCESS: &str = include_str!("../../../wit/process/process.wit");
const PATTERN: &str = include_str!("../../../wit/pattern/pattern.wit");
/// Imports for tests of the host; no pipeline can be granted them.
const TESTING: &str = include_str!("../../../wit/testing/testing.wit");

/// The packages, resolved.
pub(crate) struct Packages {
    pub(crate) resolve: Resolve,
    pub(crate) component: PackageId,
    pub(crate) metrics: PackageId,
    pub(crate) rule: PackageId,
    pub(crate) transform: PackageId,
    pub(crate) function: PackageId,
    pub(crate) aggregate: PackageId,
    pub(crate) process: PackageId,
    pub(crate) pattern: PackageId,
}

impl Packages {
    pub(crate) fn load() -> Result<Self> {
        let mut resolve = Resolve::default();
        let component = push(&mut resolve, "component.wit", COMPONENT)?;
        let metrics = push(&mut resolve, "metrics.wit", METRICS)?;
        let rule = push(&mut resolve, "rule.wit", RULE)?;
        let transform = push(&mut resolve, "transform.wit", TRANSFORM)?;
        let function = push(&mut resolve, "function.wit", FUNCTION)?;
        let aggregate = push(&mut resolve, "aggregate.wit", AGGREGATE)?;
        let process = push(&mut resolve, "process.wit", PROCESS)?;
        let pattern = push(&mut resolve, "pattern.wit", PATTERN)?;
        push(&mut resolve, "testing.wit", TESTING)?;
        Ok(Self { resolve, component, metrics, rule, transform, function, aggregate, process, pattern })
    }
}

/// Adds one more package, whose dependencies are there.
pub(crate) fn push(resolve: &mut Resolve, name: &str, text: &str) -> Result<PackageId> {
    resolve.push_source(name, text).with_context(|| format!("{name} does not parse"))
}

//! `alert`: which rows are told of in `{pipeline}.alerts`, and what is said.
//!
//! ```yaml
//! - alert: {name: card-testing, when: n > 3, severity: critical, summary: "card || ': ' || cast(n as varchar)", labels: {card: card}}
//! ```

use crate::Fault;
use crate::pipeline::Text;
use crate::pipeline::document::Node;
use crate::pipeline::object::Object;
use crate::pipeline::parse::columns;

/// An `alert` step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AlertText {
    /// What its alerts are called; as the pipeline, unless said.
    pub(crate) name: Option<Text>,
    /// A condition; every row unless said.
    pub(crate) when: Option<Text>,
    pub(crate) severity: Severity,
    /// An expression.
    pub(crate) summary: Text,
    /// Names, and expressions.
    pub(crate) labels: Vec<(Text, Text)>,
}

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Severity {
    Info,
    Warning,
    Critical,
}

impl Severity {
    /// Its word.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }
}

/// More labels are refused.
const LABELS_MAX: usize = 32;

/// Reads what stands behind `alert:`.
pub(super) fn alert(node: &Node, path: &str, faults: &mut Vec<Fault>) -> Option<AlertText> {
    let faults_before = faults.len();
    let mut object = Object::of(node, path, "{severity: critical, summary: \"user || ' is locked'\"}", faults)?;
    let name = object.text("name", faults);
    let when = object.text("when", faults);
    let severities = [Severity::Info, Severity::Warning, Severity::Critical].map(|severity| (severity.as_str(), severity));
    let severity = object.choice("severity", &severities, faults).unwrap_or(Severity::Warning);
    if object.peek("summary").is_none() {
        object.missing("summary", "summary: \"user || ' is locked'\"", faults);
    }
    let summary = object.text("summary", faults);
    let labels = object.take("labels").map_or(Some(Vec::new()), |node| columns(node, &object.member("labels"), faults));
    object.finish(&["name", "when", "severity", "summary", "labels"], faults);
    let labels = labels?;
    if labels.len() > LABELS_MAX {
        let error = format!("{} labels", labels.len());
        faults.push(Fault::new(format!("{path}.labels"), node.line, error, format!("at most {LABELS_MAX} are possible")));
    }
    (faults.len() == faults_before).then_some(AlertText { name, when, severity, summary: summary?, labels })
}

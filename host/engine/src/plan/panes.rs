//! Windows that speak beside their end, checked against the columns there are.

use std::time::Duration;

use tidemill_event::Field;
use tidemill_flow::{Early, Late, PaneSettings, Said};

use crate::pipeline::{WindowKind, WindowStep};
use crate::plan::check::Checker;
use crate::plan::describe::length;

/// How its panes are, if the window has any: a session that takes late rows has, though nobody asked for them.
pub(super) fn panes_of(wanted: &WindowStep) -> Option<PaneSettings> {
    let is_session = matches!(wanted.kind, WindowKind::Session(..));
    let needs_panes = is_session && (!wanted.lateness.is_zero() || longest_of(wanted).is_some());
    wanted.panes.or_else(|| needs_panes.then(PaneSettings::default))
}

/// How long a session may be.
pub(super) fn longest_of(wanted: &WindowStep) -> Option<Duration> {
    match wanted.kind {
        WindowKind::Session(_, longest) => longest,
        WindowKind::Tumbling { .. }
        | WindowKind::Hopping { .. }
        | WindowKind::Cumulating { .. }
        | WindowKind::Calendar { .. }
        | WindowKind::Count(_)
        | WindowKind::Global => None,
    }
}

/// `, early each, late each, retracting`; nothing where nobody asked for panes.
pub(super) fn panes_described(panes: &PaneSettings) -> String {
    if !panes.shows {
        return String::new();
    }
    let rows = |rows: u64| if rows == 1 { "each".to_owned() } else { format!("{rows} rows") };
    let early = match panes.early {
        None => String::new(),
        Some(Early::Rows(count)) => format!(", early {}", rows(count)),
        Some(Early::EventTime(every)) => format!(", early every {}", length(Some(every))),
        Some(Early::Clock(delay)) => format!(", early {} by the clock", length(Some(delay))),
    };
    let late = match panes.late {
        Late::Rows(count) => format!(", late {}", rows(count)),
        Late::Clock(delay) => format!(", late {} by the clock", length(Some(delay))),
    };
    let said = match panes.said {
        Said::Accumulating => "accumulating",
        Said::Discarding => "discarding",
        Said::Retracting => "retracting",
    };
    format!("{early}{late}, {said}")
}

impl Checker<'_> {
    /// A step by event time behind one by the clock: nothing would tell it which rows are late.
    pub(super) fn refuse_clock_times(&mut self, path: &str, line: usize) {
        if self.has_clock_times {
            let error = "the rows that come to it have the clock's times, of which no watermark speaks";
            let remedy = "a window behind one by `time: processing` takes `time: processing`, too; or write what comes to a stream, and read that";
            self.fault(path, line, error, remedy);
        }
    }

    /// Columns that are called as those that say which pane a row is.
    pub(super) fn refuse_pane_columns(
        &mut self,
        by: &[Field],
        selected: &[Field],
        of_panes: &[Field],
        path: &str,
        wanted: &WindowStep,
    ) {
        let is_taken = |name: &str| of_panes.iter().any(|field| *field.name == *name);
        let keys = by.iter().zip(&wanted.by).map(|(field, text)| (field, "by".to_owned(), text.line));
        let results = selected.iter().zip(&wanted.select);
        let results = results.map(|(field, (name, _))| (field, format!("select.{}", name.text), name.line));
        let taken: Vec<(String, String, usize)> = keys
            .chain(results)
            .filter(|(field, ..)| is_taken(&field.name))
            .map(|(field, place, line)| (field.name.to_string(), place, line))
            .collect();
        for (name, place, line) in taken {
            let error = format!("`{name}` is what says which pane a result is");
            self.fault(format!("{path}.{place}"), line, error, "give the column another name");
        }
    }
}

//! What windows hold of a key, for people who ask: those that are open, and what their aggregates would say now.

use arrow_array::{ArrayRef, Int64Array, RecordBatch};
use tidemill_event::{Field, FieldType};

use crate::KeyState;
use crate::aggregate::Aggregates;
use crate::group::KeyIndex;
use crate::key_state::{column, times_of};
use crate::window::Bounds;
use crate::window::pane::Pane;

/// Windows of a key that somebody is told of; one with more has a slide that is tiny beside its size.
pub(crate) const WINDOWS_MAX: usize = 1_000;
/// The column of rows that a window has so far, where it counts them.
const ROWS: &str = "rows";

/// A row for each open window: its bounds, and the aggregates under their names. One that cannot be said now (an array with too many values) is left out.
pub(crate) fn open_windows(panes: &[Pane], aggregates: &Aggregates, bounds: Bounds) -> KeyState {
    let groups: Vec<u32> = panes.iter().map(|pane| pane.group).collect();
    let results = aggregates.finish(&groups);
    let mut columns: Vec<(Field, ArrayRef)> = bounds
        .names()
        .iter()
        .zip([|pane: &Pane| pane.start, |pane: &Pane| pane.end])
        .map(|(name, of)| match bounds {
            Bounds::Number => column(name, FieldType::Int64, panes.iter().map(|pane| Some(of(pane))).collect::<Int64Array>()),
            Bounds::Times | Bounds::None => {
                column(name, FieldType::Timestamp(None), times_of(panes.iter().map(|pane| Some(of(pane)))))
            }
        })
        .collect();
    let named = |(field, values): (arrow_schema::Field, ArrayRef)| Some((Field::from_arrow(&field)?, values));
    columns.extend(results.columns.into_iter().filter_map(named));
    let state = KeyState::new(columns, panes.iter().map(|pane| pane.time.0).collect());
    if results.failed.is_empty() { state } else { state.without(results.failed.iter().map(|(place, ..)| *place)) }
}

/// The same with how many rows each has.
pub(crate) fn counted(mut state: KeyState, rows: i64) -> KeyState {
    let count = state.rows.num_rows();
    state.prepend(column(ROWS, FieldType::Int64, Int64Array::from(vec![rows; count])));
    state
}

/// The slot of a key that somebody asks for, with what is kept of it read by `warm`; nobody holds it if there is nothing.
pub(crate) fn asked<S>(
    state: &mut S,
    key: &RecordBatch,
    index: impl Fn(&mut S) -> &mut KeyIndex,
    warm: impl FnOnce(&mut S, &[u32]),
) -> u32 {
    let mut slots = Vec::new();
    index(state).slots_of(key, &mut slots);
    warm(state, &slots);
    index(state).forget_unheld(&slots);
    slots[0]
}

//! Rows of a join that wait for others, for people who ask.

use arrow_array::{BooleanArray, StringArray};
use tidemill_event::FieldType;

use crate::KeyState;
use crate::evidence::rows_shown;
use crate::join::Side;
use crate::key_state::{column, times_of};
use crate::rows::Rows;

/// One of them.
pub(crate) struct WaitingRow {
    pub(crate) side: Side,
    /// Its number among the rows of its side.
    pub(crate) row: u32,
    pub(crate) time: i64,
    /// Whether it had a partner already; `None`: that is known when its window ends.
    pub(crate) has_match: Option<bool>,
}

/// A row for each: its side, its time, whether it had a partner, and its columns. `kept`: the rows of the left side, and of the right one.
pub(crate) fn waiting_rows(rows: &[WaitingRow], kept: (&Rows, &Rows)) -> KeyState {
    let of = |side: Side| rows.iter().filter(move |row| row.side == side).map(|row| row.row).collect::<Vec<u32>>();
    let mut left = rows_shown(kept.0, &of(Side::Left)).into_iter();
    let mut right = rows_shown(kept.1, &of(Side::Right)).into_iter();
    let shown: StringArray = rows.iter().map(|row| if row.side == Side::Left { left.next() } else { right.next() }).collect();
    let side = |row: &WaitingRow| Some(if row.side == Side::Left { "left" } else { "right" });
    let columns = vec![
        column("side", FieldType::String, rows.iter().map(side).collect::<StringArray>()),
        column("at", FieldType::Timestamp(None), times_of(rows.iter().map(|row| Some(row.time)))),
        column("matched", FieldType::Bool, rows.iter().map(|row| row.has_match).collect::<BooleanArray>()),
        column("row", FieldType::Json, shown),
    ];
    KeyState::new(columns, rows.iter().map(|row| row.time).collect())
}

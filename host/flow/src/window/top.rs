//! `top`: of each window the first keys in an order, with their rank from 1; all of a window together, or those that share a part of the
//! key.

use std::ops::Range;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::TimestampMicrosecondType;
use arrow_array::{ArrayRef, Int64Array, RecordBatch};
use tidemill_event::{Field, FieldType};

use crate::FlowBatch;
use crate::keys::KeyColumn;
use crate::window::WINDOW_END;

/// One column to order by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// A column that the window makes.
    pub column: Arc<str>,
    /// The greatest first.
    pub is_descending: bool,
    /// Null before all values; else behind them.
    pub nulls_first: bool,
}

/// What becomes of keys that are equal in all they are ordered by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Ties {
    /// They stand in the order of their keys, each with a rank of its own.
    #[default]
    Apart,
    /// They share a rank, as many as there are; the next rank is one behind all of them (SQL's `rank()`).
    All,
}

/// What to keep of each window.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Top {
    /// The last rank that is kept.
    pub n: usize,
    /// Columns of the key: keys are ranked among those that are equal in them. Empty: all of a window.
    pub per: Vec<Arc<str>>,
    /// Column by column.
    pub order: Vec<Order>,
    /// Of keys that are equal in the order.
    pub ties: Ties,
    /// The column of the rank.
    pub rank: Arc<str>,
}

impl Top {
    /// `rows` are panes window by window, each window's in the order of their keys.
    pub(crate) fn of(&self, rows: FlowBatch) -> FlowBatch {
        let windows = windows_of(&rows.rows);
        let writer = |name: &Arc<str>| {
            let column = rows.rows.column_by_name(name);
            KeyColumn::new(column.unwrap_or_else(|| panic!("no column `{name}` to order by")).as_ref())
        };
        let groups: Vec<KeyColumn<'_>> = self.per.iter().map(writer).collect();
        let columns: Vec<(KeyColumn<'_>, &Order)> = self.order.iter().map(|order| (writer(&order.column), order)).collect();
        let mut keys = Vec::with_capacity(rows.len());
        let mut bytes = Vec::new();
        for row in 0..rows.len() {
            let start = bytes.len();
            groups.iter().for_each(|column| column.put_ordered(row, &mut bytes));
            let middle = bytes.len();
            for (column, order) in &columns {
                let at = bytes.len();
                column.put_ordered(row, &mut bytes);
                // A value begins with 1; what is descending is turned around, null with it.
                if bytes[at] == 0 && order.nulls_first == order.is_descending {
                    bytes[at] = 2;
                }
                if order.is_descending {
                    bytes[at..].iter_mut().for_each(|byte| *byte = !*byte);
                }
            }
            keys.push(SortKey { group: start..middle, order: middle..bytes.len() });
        }
        let (mut kept, mut ranks) = (Vec::new(), Vec::new());
        let mut from = 0;
        for window in windows.chunk_by(|a, b| a == b) {
            let mut of_window: Vec<u32> = (from as u32..(from + window.len()) as u32).collect();
            from += window.len();
            let key = |row: &u32| {
                let SortKey { group, order } = &keys[*row as usize];
                (&bytes[group.clone()], &bytes[order.clone()])
            };
            // Stable: what is equal stays in the order of its key.
            of_window.sort_by(|a, b| key(a).cmp(&key(b)));
            for group in of_window.chunk_by(|a, b| key(a).0 == key(b).0) {
                let mut rank = 0;
                for (place, row) in group.iter().enumerate() {
                    let is_tied = self.ties == Ties::All && place > 0 && key(row) == key(&group[place - 1]);
                    if !is_tied {
                        rank = place + 1;
                    }
                    if rank > self.n {
                        break;
                    }
                    kept.push(*row);
                    ranks.push(rank as i64);
                }
            }
        }
        let ranks: ArrayRef = Arc::new(Int64Array::from(ranks));
        rows.picked(&kept).with_columns(vec![(Field::new(&self.rank, FieldType::Int64, false).arrow(), ranks)])
    }
}

/// The window of each row, by its end; without bounds there is only one.
fn windows_of(rows: &RecordBatch) -> Vec<i64> {
    match rows.column_by_name(WINDOW_END) {
        // Windows of one step that end together begin together.
        Some(ends) => ends.as_primitive::<TimestampMicrosecondType>().values().to_vec(),
        None => vec![0; rows.num_rows()],
    }
}

/// Where a row's bytes are by which it is ranked.
struct SortKey {
    group: Range<usize>,
    order: Range<usize>,
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::{ArrayRef, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};

    use super::{Order, Ties, Top};
    use crate::FlowBatch;
    use crate::window::WINDOW_END;

    /// Rows are `window key n`, in the order of windows and keys; answers `window key rank`.
    #[track_caller]
    fn check(top: Top, rows: &str, expected: &str) {
        let rows: Vec<Vec<&str>> = rows.split(", ").map(|row| row.split(' ').collect()).collect();
        let text = |at: usize| -> ArrayRef { Arc::new(rows.iter().map(|row| Some(row[at])).collect::<StringArray>()) };
        let n: ArrayRef = Arc::new(rows.iter().map(|row| row[2].parse::<i64>().ok()).collect::<Int64Array>());
        let ends = TimestampMicrosecondArray::from_iter_values(rows.iter().map(|row| i64::from(row[0].as_bytes()[0])));
        let columns = [("w", text(0)), ("k", text(1)), ("n", n), (WINDOW_END, Arc::new(ends) as ArrayRef)];
        let batch = RecordBatch::try_from_iter(columns);
        let kept = top.of(FlowBatch::new(batch.expect("columns"))).rows;
        let ranks = kept.column(4).as_any().downcast_ref::<Int64Array>().expect("ranks").clone();
        let of =
            |at: usize, row: usize| kept.column(at).as_any().downcast_ref::<StringArray>().expect("texts").value(row).to_owned();
        let told: Vec<String> =
            (0..kept.num_rows()).map(|row| format!("{} {} {}", of(0, row), of(1, row), ranks.value(row))).collect();
        assert_eq!(told.join(", "), expected);
    }

    fn top(n: usize, per: &[&str], ties: Ties) -> Top {
        let order = vec![Order { column: "n".into(), is_descending: true, nulls_first: true }];
        Top { n, per: per.iter().map(|column| Arc::from(*column)).collect(), order, ties, rank: "rank".into() }
    }

    #[test]
    fn ties_stand_apart_or_share_a_rank() {
        let rows = "A a 3, A b 5, A c 3, A d 1, B a 1, B b 1";
        check(top(2, &[], Ties::Apart), rows, "A b 1, A a 2, B a 1, B b 2");
        check(top(2, &[], Ties::All), rows, "A b 1, A a 2, A c 2, B a 1, B b 1");
        // Two that share the first rank leave none for the second.
        check(top(2, &[], Ties::All), "A a 5, A b 5, A c 4, A d 4", "A a 1, A b 1");
        check(top(1, &[], Ties::All), "A a 5, A b 5, A c 5", "A a 1, A b 1, A c 1");
    }

    #[test]
    fn nulls_stand_where_they_are_said_to() {
        let rows = "A a 3, A b -, A c 5";
        for (is_descending, nulls_first, expected) in [
            (true, true, "A b 1, A c 2, A a 3"),
            (true, false, "A c 1, A a 2, A b 3"),
            (false, true, "A b 1, A a 2, A c 3"),
            (false, false, "A a 1, A c 2, A b 3"),
        ] {
            let order = vec![Order { column: "n".into(), is_descending, nulls_first }];
            check(Top { order, ..top(3, &[], Ties::Apart) }, rows, expected);
        }
    }

    #[test]
    fn keys_are_ranked_among_those_that_share_a_part() {
        check(top(1, &["k"], Ties::Apart), "A x 3, A x 5, A y 1, B x 2, B y 9, B y 9", "A x 1, A y 1, B x 1, B y 1");
        check(top(1, &["k"], Ties::All), "A x 3, A x 5, A y 1, B y 9, B y 9", "A x 1, A y 1, B y 1, B y 1");
    }
}

//! `top`: of each window the first keys in an order, with their rank from 1.

use std::sync::Arc;

use arrow_array::{ArrayRef, Int64Array};
use tidemill_event::{Field, FieldType};

use crate::FlowBatch;
use crate::group::KeyWriter;

/// One column to order by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// A column that the window makes.
    pub column: Arc<str>,
    /// The greatest first. Null is the greatest of all.
    pub is_descending: bool,
}

/// What to keep of each window.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Top {
    /// How many keys.
    pub n: usize,
    /// Column by column; what is equal in all of them stands in the order of its key.
    pub order: Vec<Order>,
    /// The column of the rank.
    pub rank: Arc<str>,
}

impl Top {
    /// `rows` are panes window by window, each window's in the order of their keys; `windows` names the window of each row.
    pub(crate) fn of(&self, rows: FlowBatch, windows: &[(i64, i64)]) -> FlowBatch {
        let columns: Vec<(KeyWriter<'_>, bool)> = self
            .order
            .iter()
            .map(|order| {
                let column = rows.rows.column_by_name(&order.column);
                let column = column.unwrap_or_else(|| panic!("no column `{}` to order by", order.column));
                (KeyWriter::new(column.as_ref()), order.is_descending)
            })
            .collect();
        let mut places = Vec::new();
        let mut sort_key = Vec::new();
        for row in 0..rows.len() {
            let start = sort_key.len();
            for (column, is_descending) in &columns {
                let at = sort_key.len();
                column.put(row, &mut sort_key);
                if sort_key[at] == 0 {
                    sort_key[at] = 2;
                }
                if *is_descending {
                    sort_key[at..].iter_mut().for_each(|byte| *byte = !*byte);
                }
            }
            places.push(start..sort_key.len());
        }
        let (mut kept, mut ranks) = (Vec::new(), Vec::new());
        let mut from = 0;
        for window in windows.chunk_by(|a, b| a == b) {
            let mut of_window: Vec<u32> = (from as u32..(from + window.len()) as u32).collect();
            from += window.len();
            of_window.sort_by(|a, b| sort_key[places[*a as usize].clone()].cmp(&sort_key[places[*b as usize].clone()]));
            of_window.truncate(self.n);
            ranks.extend(1..=of_window.len() as i64);
            kept.extend(of_window);
        }
        let ranks: ArrayRef = Arc::new(Int64Array::from(ranks));
        rows.picked(&kept).with_columns(vec![(Field::new(&self.rank, FieldType::Int64, false).arrow(), ranks)])
    }
}

//! What a join holds of a key, for people who ask: the rows that wait for others, of each side.

use std::collections::{BTreeSet, VecDeque};

use arrow_array::RecordBatch;

use super::Joined;
use crate::KeyState;
use crate::group::KeyIndex;
use crate::join::Side;
use crate::join::asked::{WaitingRow, waiting_rows};
use crate::window::asked::asked;

impl Joined {
    /// Its rows by side and time. Those that left memory come back.
    pub(super) fn asked(&mut self, key: &RecordBatch) -> KeyState {
        let slot = asked(self, key, index, |joined, slots| {
            let room = joined.index.slots();
            joined.left.lists.resize(room, VecDeque::new());
            joined.right.lists.resize(room, VecDeque::new());
            joined.warm_key(slots[0]);
        });
        let of = |side: Side| {
            let state = if side == Side::Left { &self.left } else { &self.right };
            let rows = state.lists.get(slot as usize).into_iter().flatten();
            rows.map(move |row| {
                let kept = state.kept[*row as usize];
                WaitingRow { side, row: *row, time: kept.time, has_match: Some(kept.has_match) }
            })
        };
        let rows: Vec<WaitingRow> = of(Side::Left).chain(of(Side::Right)).collect();
        waiting_rows(&rows, (&self.left.rows, &self.right.rows))
    }

    /// Reads what left of a key, of both sides.
    fn warm_key(&mut self, slot: u32) {
        let mut key = Vec::new();
        self.index.put_key(slot, &mut key);
        for side in [Side::Left, Side::Right] {
            let of = self.side(side);
            if of.cold.is_empty() {
                continue;
            }
            let cells: BTreeSet<Vec<u8>> = of.cold.cells_of(&key, ..).collect();
            let mut cold = std::mem::take(&mut of.cold);
            cold.take(&cells, |key, value, save| self.come_back(key, value, save));
            self.side(side).cold = cold;
        }
    }
}

fn index(joined: &mut Joined) -> &mut KeyIndex {
    &mut joined.index
}

//! What a process holds of a key, for people who ask: its state row, the entries of its tables, and its timers.

use std::sync::Arc;

use arrow_array::{RecordBatch, StringArray};
use serde_json::{Map, Value};
use tidemill_event::FieldType;

use crate::KeyState;
use crate::evidence::encoded;
use crate::key_state::{column, times_of};
use crate::keyed::KeyedTable;
use crate::keys::{KeyColumn, shown};
use crate::process::remembered::Remembered;

/// One thing that is held.
#[derive(Default)]
struct Held {
    /// `state`, `entry` or `timer`.
    is: &'static str,
    /// The table's name, or the timer's.
    name: Option<Arc<str>>,
    /// The entry's key.
    key: Option<String>,
    value: Option<String>,
    /// When a timer fires, or an entry is over.
    until: Option<i64>,
}

impl Remembered {
    /// The state row first, then entries by table and key, then timers by time. Entries that are over and have not been looked at since are among them.
    pub(super) fn asked(&mut self, key: &RecordBatch) -> Option<KeyState> {
        let mut of = Vec::new();
        KeyColumn::of(key, &self.by).iter().for_each(|column| column.write(0, &mut of));
        let mut held = Vec::new();
        if self.keeps_state {
            let state = crate::StepState::of_key(&mut self.rows, key)?;
            held.extend(encoded(state).into_iter().map(|value| Held { is: "state", value: Some(value), ..Held::default() }));
        }
        for table in &mut self.tables {
            let mut entries: Vec<(Box<[u8]>, u32)> = with_prefix(&table.entries, &of);
            entries.sort_unstable();
            let slots: Vec<u32> = entries.iter().map(|(_, slot)| *slot).collect();
            let values = encoded(table.entries.rows_of(&slots));
            for ((bytes, slot), value) in entries.into_iter().zip(values) {
                held.push(Held {
                    is: "entry",
                    name: Some(table.name.clone()),
                    key: shown(&table.fields, &bytes[of.len()..]).map(|key: Map<String, Value>| Value::Object(key).to_string()),
                    value: Some(value),
                    until: table.entries.expiries.as_ref().map(|expiries| expiries.of(slot)).filter(|until| *until < i64::MAX),
                });
            }
        }
        let timers = self.timers.of_key(&of);
        held.extend(timers.iter().map(|timer| Held {
            is: "timer",
            name: Some(timer.name.clone()),
            until: Some(timer.at),
            ..Held::default()
        }));
        let texts = |of: &dyn Fn(&Held) -> Option<String>| held.iter().map(of).collect::<StringArray>();
        let columns = vec![
            column("is", FieldType::String, texts(&|held| Some(held.is.to_owned()))),
            column("name", FieldType::String, texts(&|held| held.name.as_deref().map(str::to_owned))),
            column("key", FieldType::Json, texts(&|held| held.key.clone())),
            column("value", FieldType::Json, texts(&|held| held.value.clone())),
            column("until", FieldType::Timestamp(None), times_of(held.iter().map(|held| held.until))),
        ];
        // Since when it is held is not known.
        let times = vec![0; held.len()];
        Some(KeyState::new(columns, times))
    }
}

/// Entries whose key begins with that of a row: bytes of keys say themselves where they end.
fn with_prefix(entries: &KeyedTable, prefix: &[u8]) -> Vec<(Box<[u8]>, u32)> {
    let of_row = (0u32..).zip(&entries.keys).filter(|(_, key)| key.starts_with(prefix));
    of_row.filter(|(slot, key)| entries.find(key) == Some(*slot)).map(|(slot, key)| (key.clone(), slot)).collect()
}

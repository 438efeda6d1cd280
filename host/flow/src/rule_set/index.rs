//! One column that rules compare with constants: each value that any rule names has a number, and the rules that are looked at for it.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Int64Type, UInt32Type};
use arrow_array::{Array, RecordBatch};
use arrow_schema::DataType;
use hashbrown::HashMap;

use crate::rule_set::Constant;

/// The number of a value that no rule names, and of null.
pub(crate) const OTHER: u32 = u32::MAX;

/// The values of one column.
pub(crate) struct ColumnIndex {
    pub(crate) column: Arc<str>,
    texts: HashMap<Box<str>, u32, ahash::RandomState>,
    ints: HashMap<i64, u32, ahash::RandomState>,
    bools: [u32; 2],
    /// By the number of a value: the rules to look at for it, ascending.
    rules: Vec<Vec<u32>>,
}

impl ColumnIndex {
    pub(crate) fn new(column: Arc<str>) -> Self {
        Self { column, texts: HashMap::default(), ints: HashMap::default(), bools: [OTHER; 2], rules: Vec::new() }
    }

    /// The number of a value, new if no rule named it before.
    pub(crate) fn number(&mut self, value: &Constant) -> u32 {
        let next = self.rules.len() as u32;
        let number = match value {
            Constant::Text(text) => *self.texts.entry(text.clone()).or_insert(next),
            Constant::Int(int) => *self.ints.entry(*int).or_insert(next),
            Constant::Bool(bool) => {
                let number = &mut self.bools[usize::from(*bool)];
                if *number == OTHER {
                    *number = next;
                }
                *number
            }
        };
        if number == next {
            self.rules.push(Vec::new());
        }
        number
    }

    /// The rule is looked at for rows of that value. Rules come ascending.
    pub(crate) fn add(&mut self, number: u32, rule: u32) {
        self.rules[number as usize].push(rule);
    }

    /// Whether any rule is found by it.
    pub(crate) fn leads_to_rules(&self) -> bool {
        self.rules.iter().any(|rules| !rules.is_empty())
    }

    /// The rules to look at for a value.
    pub(crate) fn rules(&self, number: u32) -> &[u32] {
        self.rules.get(number as usize).map_or(&[], Vec::as_slice)
    }

    /// The number of each row's value.
    ///
    /// # Panics
    /// If the column is not in the batch, or of another type than its constants: both were checked when the pipeline was applied.
    pub(crate) fn numbers(&self, rows: &RecordBatch) -> Vec<u32> {
        let column = rows.column_by_name(&self.column).unwrap_or_else(|| panic!("no column `{}` in the batch", self.column));
        let text = |value: &str| self.texts.get(value).copied().unwrap_or(OTHER);
        match column.data_type() {
            DataType::Int64 => {
                let int = |value: i64| self.ints.get(&value).copied().unwrap_or(OTHER);
                column.as_primitive::<Int64Type>().iter().map(|value| value.map_or(OTHER, int)).collect()
            }
            DataType::Boolean => {
                column.as_boolean().iter().map(|value| value.map_or(OTHER, |value| self.bools[usize::from(value)])).collect()
            }
            DataType::Dictionary(..) => {
                let column = column.as_dictionary::<UInt32Type>();
                let values = column.values().as_string::<i32>();
                if values.len() > column.len() {
                    // A large dictionary of which this batch uses little: each row for itself.
                    let value = |key: Option<u32>| key.map(|key| key as usize).filter(|key| values.is_valid(*key));
                    return column.keys().iter().map(|key| value(key).map_or(OTHER, |key| text(values.value(key)))).collect();
                }
                let known: Vec<u32> = values.iter().map(|value| value.map_or(OTHER, text)).collect();
                column.keys().iter().map(|key| key.map_or(OTHER, |key| known[key as usize])).collect()
            }
            DataType::Utf8 => column.as_string::<i32>().iter().map(|value| value.map_or(OTHER, text)).collect(),
            other => panic!("no rule compares a column of {other} with constants by their hash"),
        }
    }
}

//! An aggregate for windows: how far apart are the values of a group?

use tidemill_sdk::{State, aggregate};

/// What is remembered of a group. Of one that has seen no row, all fields are 0.
#[derive(State)]
struct Range {
    rows: i64,
    least: f64,
    greatest: f64,
}

/// The greatest value less the least; null of no rows.
#[aggregate]
impl Range {
    fn update(&mut self, value: f64) {
        self.merge(&Range { rows: 1, least: value, greatest: value });
    }

    /// What `other` has seen counts here too. Windows merge in any tree: the order must not show.
    fn merge(&mut self, other: &Self) {
        match (self.rows, other.rows) {
            (_, 0) => {}
            (0, _) => *self = Range { ..*other },
            _ => {
                self.rows += other.rows;
                self.least = self.least.min(other.least);
                self.greatest = self.greatest.max(other.greatest);
            }
        }
    }

    fn finish(&self) -> Option<f64> {
        (self.rows > 0).then_some(self.greatest - self.least)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidemill_sdk::testing;

    #[test]
    fn the_kitchen_changes_most() {
        let values = testing::aggregate::<Range>().by(&["room"]).run(include_str!("../events.ndjson"));
        assert_eq!(values.of[r#"["kitchen"]"#], "6.5");
        assert_eq!(values.of[r#"["cellar"]"#], "0");
    }
}

//! The watermark along one batch of a task's input.
//!
//! ```text
//! input rows      0        1        2        3
//! task      W0        W1       W2       W3       end       before each row, and behind the last
//! ```
//! Marks stand beside the rows, not in them: a row between two steps knows its input row (`origin`), and through that its watermark. A row
//! that an operator made has as its origin the input row whose watermark let it out; that watermark comes *behind* it, so for the
//! next operator it is on time. A batch without rows whose end is further on is time that went by.

use crate::time::Watermark;

/// The watermark before each row of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Marks {
    start: Watermark,
    task: Vec<i64>,
    /// The watermarks of the rows' own lanes where they are others than the task's.
    lane: Option<Vec<i64>>,
    end: Watermark,
}

impl Marks {
    /// No row of the batch moves the watermark.
    pub fn steady(watermark: Watermark, rows: usize) -> Self {
        Self { start: watermark, task: vec![watermark.0; rows], lane: None, end: watermark }
    }

    /// Time went by, and no row came.
    pub fn passing(start: Watermark, end: Watermark) -> Self {
        Self::new(start, Vec::new(), None, end)
    }

    /// `task`: before each row. `lane`: of each row's own lane, by which the row is judged; `None`: there is only one lane.
    ///
    /// # Panics
    /// If the task's watermark falls, or a lane is behind it: the task's is the least of all.
    pub fn new(start: Watermark, task: Vec<i64>, lane: Option<Vec<i64>>, end: Watermark) -> Self {
        assert!(task.first().is_none_or(|first| *first >= start.0) && task.is_sorted(), "a watermark never falls");
        assert!(task.last().is_none_or(|last| *last <= end.0) && start <= end, "a watermark never falls");
        if let Some(lane) = &lane {
            assert_eq!(lane.len(), task.len(), "a lane's watermark for each row");
            assert!(lane.iter().zip(&task).all(|(lane, task)| lane >= task), "the task's watermark is the least");
        }
        Self { start, task, lane, end }
    }

    /// Batches behind one another, as one. Each begins where the one before it ended.
    pub fn joined(parts: &[Self], watermark: Watermark) -> Self {
        let [first, .., last] = parts else { return parts.first().cloned().unwrap_or_else(|| Self::steady(watermark, 0)) };
        let task = parts.iter().flat_map(|part| part.task.iter().copied()).collect();
        let lane = parts.iter().flat_map(|part| part.lane.as_ref().unwrap_or(&part.task).iter().copied()).collect();
        Self::new(first.start, task, Some(lane), last.end)
    }

    /// The task's watermark before an input row, as operators in the middle of a chain see it. Of a row that time let out: before the batch.
    pub fn before(&self, origin: u32) -> Watermark {
        self.task.get(origin as usize).map_or(self.start, |before| Watermark(*before))
    }

    /// The task's watermark behind an input row. Of a row that time let out: behind the batch.
    pub(crate) fn after(&self, origin: u32) -> Watermark {
        self.task.get(origin as usize + 1).map_or(self.end, |after| Watermark(*after))
    }

    /// What an input row is judged by: the watermark of its own lane before it.
    pub fn judge(&self, origin: u32) -> Watermark {
        let lane = self.lane.as_ref().unwrap_or(&self.task);
        lane.get(origin as usize).map_or(self.start, |before| Watermark(*before))
    }

    /// The first input row behind which `last` has passed; for time that went by without rows, one behind the last row. `None`: it has not.
    pub fn lets_out(&self, last: i64) -> Option<u32> {
        if self.end.0 <= last {
            return None;
        }
        // Row i lets out what the watermark before row i + 1 has passed.
        let after = self.task.get(1..).unwrap_or_default();
        Some(after.partition_point(|watermark| *watermark <= last) as u32)
    }

    /// How many rows the batch has.
    pub(crate) fn len(&self) -> usize {
        self.task.len()
    }

    /// Before the batch.
    pub fn start(&self) -> Watermark {
        self.start
    }

    /// Behind the last row.
    pub fn end(&self) -> Watermark {
        self.end
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    #[test]
    fn a_row_lets_out_what_the_watermark_behind_it_has_passed() {
        let marks = Marks::new(Watermark(0), vec![0, 5, 5, 9], None, Watermark(12));
        let told: Vec<String> = (-1..13)
            .map(|last| format!("{last}:{}", marks.lets_out(last).map_or("-".to_owned(), |row| row.to_string())))
            .collect();
        expect!["-1:0 0:0 1:0 2:0 3:0 4:0 5:2 6:2 7:2 8:2 9:3 10:3 11:3 12:-"].assert_eq(&told.join(" "));
        assert_eq!(Marks::passing(Watermark(3), Watermark(7)).lets_out(6), Some(0));
        assert_eq!(Marks::passing(Watermark(3), Watermark(7)).before(0), Watermark(3));
        assert_eq!(Marks::steady(Watermark(3), 2).lets_out(3), None);
    }
}

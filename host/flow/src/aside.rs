//! Rows with trouble of their own: those a component rejects, sends to wait, or answers with what cannot be. They do not go on; the rows
//! around them do.

use std::collections::BTreeMap;
use std::time::Duration;

use tidemill_event::{NoteKind, Reason, RowNote};

use crate::{FlowBatch, Outcome, StepId, Wait};

/// How often a component may ask for a row to come back; then it is dead.
pub const ATTEMPTS_MAX: u32 = 5;
/// The shortest and the longest time a row waits, whatever the component asks for.
pub const WAIT_MIN: Duration = Duration::from_millis(10);
/// See [`WAIT_MIN`].
pub const WAIT_MAX: Duration = Duration::from_secs(3600);
/// A batch's rows that a component sends to wait come back in so many groups, by when; asked for more different times, it gets some of
/// them a little later.
const TIMES_MAX: usize = 64;
/// Buries rows that were rejected, puts those back that shall come again. `faults` are rows that the host finds wrong. Answers with the
/// rows that do not go on, ascending.
pub(crate) fn set_aside(
    input: &FlowBatch,
    step: StepId,
    notes: Vec<RowNote>,
    mut faults: Vec<(usize, Reason, String)>,
    output: &mut Outcome,
) -> Vec<usize> {
    if notes.is_empty() && faults.is_empty() {
        return Vec::new();
    }
    let before = output.attempts(step);
    let mut gone: Vec<usize> = Vec::with_capacity(notes.len() + faults.len());
    let mut again: BTreeMap<Duration, Vec<u32>> = BTreeMap::new();
    // What a row's note says counts more than what it answered.
    faults.retain(|(row, ..)| notes.binary_search_by_key(row, |note| note.row as usize).is_err());
    for RowNote { row, kind, text } in notes {
        gone.push(row as usize);
        match kind {
            NoteKind::Reject => faults.push((row as usize, Reason::RejectedByComponent, text)),
            NoteKind::RetryAfter(_) if before >= ATTEMPTS_MAX => {
                let error = format!("still to be tried again after {before} times: {text}");
                faults.push((row as usize, Reason::RejectedByComponent, error));
            }
            NoteKind::RetryAfter(wait) => {
                again.entry(wait.clamp(WAIT_MIN, WAIT_MAX)).or_default().push(row);
            }
        }
    }
    gone.extend(faults.iter().map(|(row, ..)| *row));
    gone.sort_unstable();
    gone.dedup();
    faults.sort_by_key(|(row, ..)| *row);
    faults.dedup_by_key(|(row, ..)| *row);
    output.bury(input, step, faults);
    if again.len() > TIMES_MAX {
        again = fewer(again);
    }
    for (wait, rows) in again {
        output.put_back(step, input.picked(&rows), Wait::For(wait), before + 1);
    }
    gone
}

/// The same rows at fewer times, none earlier: four to each doubling, so that thousands of times become some 75.
fn fewer(times: BTreeMap<Duration, Vec<u32>>) -> BTreeMap<Duration, Vec<u32>> {
    let mut fewer: BTreeMap<Duration, Vec<u32>> = BTreeMap::new();
    for (wait, rows) in times {
        let millis = wait.as_millis().max(1) as u64;
        let step = (1 << millis.ilog2()) / 4;
        let later = Duration::from_millis(millis.next_multiple_of(step.max(1))).max(wait).min(WAIT_MAX);
        fewer.entry(later).or_default().extend(rows);
    }
    fewer.values_mut().for_each(|rows| rows.sort_unstable());
    fewer
}

#[cfg(test)]
mod tests {
    use tidemill_event::EventTime;

    use super::*;
    use crate::example::batch;

    /// The waits, in milliseconds, of the groups that rows come back in when each asks for its own.
    fn waits(rows: u64, asked: impl Fn(u64) -> u64) -> Vec<u64> {
        let input = batch(&vec!["a:1"; rows as usize].join(" "));
        let note = |row: u64| {
            let kind = NoteKind::RetryAfter(Duration::from_millis(asked(row)));
            RowNote { row: row as u32, kind, text: String::new() }
        };
        let mut output = Outcome::new(EventTime(0));
        let gone = set_aside(&input, StepId(1), (0..rows).map(note).collect(), Vec::new(), &mut output);
        assert_eq!(gone.len() as u64, rows);
        let mut waits = Vec::new();
        for back in &output.put_back {
            let Wait::For(wait) = back.wait else { panic!("{:?}", back.wait) };
            let wait = wait.as_millis() as u64;
            assert!(back.rows.origin.is_sorted());
            for row in &back.rows.origin {
                let asked = asked(u64::from(*row)).clamp(10, 3_600_000);
                assert!((asked..=asked + asked / 4).contains(&wait), "{wait} ms where {asked} were asked for");
            }
            waits.push(wait);
        }
        assert_eq!(output.put_back.iter().map(|back| back.rows.len() as u64).sum::<u64>(), rows);
        waits
    }

    #[test]
    fn rows_wait_as_long_as_they_ask_for() {
        assert_eq!(waits(4, |row| [500, 7, 500, u64::from(u32::MAX)][row as usize]), [10, 500, 3_600_000]);
    }

    #[test]
    fn rows_that_all_ask_for_times_of_their_own_share_a_few() {
        assert_eq!(waits(64, |row| 100 + row).len(), 64);
        assert!(waits(4_096, |row| 10 + row * 878).len() <= 75);
        assert_eq!(waits(100, |row| 1_000 + row), [1_024, 1_280]);
    }
}

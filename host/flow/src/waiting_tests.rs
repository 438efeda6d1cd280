//! Rows that come back: in which order, when, how many, and what a checkpoint is told of them.

use std::time::Duration;

use expect_test::{Expect, expect};

use tidemill_event::{EventTime, Offset, PartitionId};

use crate::example::{batch, show};
use crate::{Group, Outcome, Place, Sources, StepId, Wait, Waiting};

fn sources(text: &str) -> Sources {
    let first = Place { stream: "s".into(), partition: PartitionId(2), offset: Offset(100) };
    Sources::block(batch(text).rows, first)
}

/// `origin:k=v` of a group, and the offsets of its events.
fn shown(group: Option<Group>) -> String {
    let Some(group) = group else { return "none".to_owned() };
    let rows = show(&group.rows, &Outcome::new(EventTime(0)));
    let offsets: Vec<String> = group.rows.origin.iter().map(|origin| group.sources.place(*origin).offset.to_string()).collect();
    format!("step {}, {} times: {} at {}", group.step, group.attempts, rows.trim_end_matches(" | "), offsets.join(" "))
}

#[test]
fn of_two_steps_the_later_ones_rows_are_ahead() {
    let mut waiting = Waiting::default();
    let mut output = Outcome::new(EventTime(5));
    output.put_back(StepId(1), batch("a:1 b:2").picked(&[1]), Wait::Not, 0);
    output.put_back(StepId(3), batch("a:1 b:2").picked(&[0]), Wait::Not, 0);
    waiting.take_over(&mut output, &sources("a:1 b:2"), EventTime(5), None);
    assert_eq!(waiting.lines(), [StepId(3), StepId(1)]);
}

#[test]
fn what_comes_back_to_a_line_stands_at_its_front() {
    let mut waiting = Waiting::default();
    back(&mut waiting, "a:1 b:2 c:3 d:4", &[0, 1, 2, 3], Wait::Not, 0, 0);
    let group = waiting.take_line(StepId(1), 3).expect("three rows");
    let mut output = Outcome::new(EventTime(0));
    output.put_back(StepId(1), group.rows.picked(&[1]), Wait::Held, 0);
    output.put_back(StepId(1), group.rows.picked(&[2]), Wait::Not, 0);
    waiting.take_over(&mut output, &group.sources, EventTime(0), Some(StepId(1)));
    assert_eq!(shown(waiting.take_line(StepId(1), 9)), "step 1, 0 times: 0:b=2 1:c=3 5:d=4 at 101 102 103");
}

fn back(waiting: &mut Waiting, text: &str, rows: &[u32], wait: Wait, attempts: u32, clock: i64) {
    let mut output = Outcome::new(EventTime(clock));
    output.put_back(StepId(1), batch(text).picked(rows), wait, attempts);
    waiting.take_over(&mut output, &sources(text), EventTime(clock), None);
    assert!(output.put_back.is_empty());
}

#[expect(clippy::needless_pass_by_value, reason = "expect! is written in place")]
fn check(waiting: &mut Waiting, now: i64, rows_max: usize, expected: Expect) {
    expected.assert_eq(&shown(waiting.take_due(EventTime(now), rows_max)));
}

#[test]
fn rows_come_back_by_time_then_number() {
    let mut waiting = Waiting::default();
    back(&mut waiting, "a:1 b:2 c:3", &[0, 2], Wait::For(Duration::from_micros(50)), 1, 10);
    back(&mut waiting, "d:4 e:5", &[1], Wait::For(Duration::from_micros(20)), 1, 20);
    back(&mut waiting, "f:6", &[0], Wait::For(Duration::from_micros(40)), 2, 20);
    assert_eq!((waiting.rows(), waiting.next_due()), (4, Some(EventTime(40))));
    check(&mut waiting, 39, 10, expect!["none"]);
    // What joins comes together, up to the rows wanted; other attempts are another batch.
    check(&mut waiting, 60, 2, expect!["step 1, 1 times: 0:e=5 1:a=1 at 101 100"]);
    check(&mut waiting, 60, 2, expect!["step 1, 1 times: 1:c=3 at 102"]);
    check(&mut waiting, 60, 2, expect!["step 1, 2 times: 0:f=6 at 100"]);
    assert!(waiting.is_empty());
}

#[test]
fn rows_in_line_keep_their_order_and_are_not_due() {
    let mut waiting = Waiting::default();
    back(&mut waiting, "a:1 b:2", &[0, 1], Wait::Held, 0, 0);
    back(&mut waiting, "c:3", &[0], Wait::Held, 0, 0);
    check(&mut waiting, i64::MAX, 10, expect!["none"]);
    assert_eq!(waiting.lines(), [StepId(1)]);
    assert_eq!(shown(waiting.take_line(StepId(1), 10)), "step 1, 0 times: 0:a=1 1:b=2 2:c=3 at 100 101 100");
    assert_eq!(shown(waiting.take_line(StepId(1), 10)), "none");
}

#[test]
fn thousands_of_single_rows_come_back_together() {
    let mut waiting = Waiting::default();
    for row in 0..5000 {
        back(&mut waiting, "a:1 b:2", &[1], Wait::For(Duration::from_micros(50)), 1, row);
    }
    let group = waiting.take_due(EventTime(i64::MAX), 4096).expect("rows are due");
    assert_eq!((group.rows.len(), waiting.rows()), (4096, 904));
    assert!(group.rows.origin.iter().copied().eq(0..4096));
    assert_eq!(group.sources.place(4095).offset, Offset(101));
}

#[test]
fn changes_are_what_came_and_went() {
    let mut waiting = Waiting::default();
    back(&mut waiting, "a:1 b:2", &[0, 1], Wait::Not, 0, 5);
    let before = waiting.checksum();
    let stored: Vec<(i64, Group)> =
        waiting.take_changes().into_iter().map(|change| (change.number, change.group.expect("there").clone())).collect();
    let mut again = Waiting::default();
    for (number, group) in stored {
        again.restore(number, group);
    }
    assert_eq!((again.checksum(), again.take_changes().len()), (before, 0));
    assert_eq!(shown(again.take_line(StepId(1), 1)), "step 1, 0 times: 0:a=1 at 100");
    assert_ne!(again.checksum(), before);
    assert_eq!(shown(again.take_line(StepId(1), 1)), "step 1, 0 times: 1:b=2 at 101");
    let changes = again.take_changes();
    assert_eq!((changes.len(), changes[0].number, changes[0].group.is_none()), (1, 0, true));
    assert_eq!(again.checksum(), 0);
}

#[test]
fn more_rows_than_may_wait_are_dead() {
    let mut waiting = Waiting::default();
    let many = vec!["a:1"; 6000].join(" ");
    let all: Vec<u32> = (0..6000).collect();
    back(&mut waiting, &many, &all, Wait::For(Duration::from_secs(1)), 1, 0);
    let mut output = Outcome::new(EventTime(0));
    output.put_back(StepId(1), batch(&many).picked(&all), Wait::For(Duration::from_secs(1)), 1);
    waiting.take_over(&mut output, &sources(&many), EventTime(0), None);
    assert_eq!((waiting.rows(), output.dead.len()), (6000, 6000));
    assert_eq!(output.dead[5999].origin, 5999);
    // Who is gone makes room.
    assert_eq!(waiting.take_due(EventTime(i64::MAX), 2500).map_or(0, |group| group.rows.len()), 2500);
    back(&mut waiting, &many, &all, Wait::For(Duration::from_secs(1)), 1, 0);
    assert_eq!(waiting.rows(), 9500);
}

//! One key's group: its events of the last while, and how many of each kind and value are among them.

use std::collections::VecDeque;

use hashbrown::HashMap;

use crate::correlate::Needed;
use crate::pattern::Moment;

/// An event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Event {
    pub(crate) moment: Moment,
    /// A bit for each kind that it is of.
    pub(crate) kinds: u64,
    /// A hash of the value that counts.
    pub(crate) value: u64,
    /// Its number among the rows that are kept.
    pub(crate) row: u32,
}

/// What became of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Added {
    /// It waits for others.
    Waits,
    /// It makes the group a match.
    IsEnough,
}

/// The events of a key.
#[derive(Debug, Default)]
pub(crate) struct Group {
    /// In the order of their moments.
    pub(crate) events: VecDeque<Event>,
    /// Until then nothing is gathered.
    pub(crate) quiet_until: Option<i64>,
    /// Events of each kind, as far as there were any.
    kinds: Vec<u32>,
    values: HashMap<u64, u32, ahash::RandomState>,
}

impl Group {
    /// No event yet.
    pub(crate) fn quiet(quiet_until: Option<i64>) -> Self {
        Self { quiet_until, ..Self::default() }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.events.is_empty() && self.quiet_until.is_none()
    }

    /// When nothing of it means anything any more.
    pub(crate) fn until(&self, within: i64) -> i64 {
        let of_events = self.events.back().map(|event| event.moment.time.saturating_add(within));
        of_events.max(self.quiet_until).unwrap_or(i64::MIN)
    }

    /// Events that no later one can be with go; they are the caller's to forget. Quiet ends.
    pub(crate) fn pass(&mut self, now: i64, within: i64, gone: &mut Vec<u32>) {
        self.quiet_until = self.quiet_until.filter(|until| *until > now);
        while self.events.front().is_some_and(|event| event.moment.time.saturating_add(within) <= now) {
            gone.extend(self.take_first().map(|event| event.row));
        }
    }

    /// The first event goes.
    pub(crate) fn take_first(&mut self) -> Option<Event> {
        let event = self.events.pop_front()?;
        for (kind, count) in self.kinds.iter_mut().enumerate() {
            *count -= u32::from(event.kinds >> kind & 1 == 1);
        }
        if let Some(count) = self.values.get_mut(&event.value) {
            *count -= 1;
            if *count == 0 {
                self.values.remove(&event.value);
            }
        }
        Some(event)
    }

    /// An event comes behind all others.
    pub(crate) fn add(&mut self, event: Event, needed: Needed) -> Added {
        let highest = (64 - event.kinds.leading_zeros()) as usize;
        if self.kinds.len() < highest {
            self.kinds.resize(highest, 0);
        }
        for (kind, count) in self.kinds.iter_mut().enumerate() {
            *count += u32::from(event.kinds >> kind & 1 == 1);
        }
        *self.values.entry(event.value).or_default() += 1;
        self.events.push_back(event);
        if self.is_enough(needed) { Added::IsEnough } else { Added::Waits }
    }

    fn is_enough(&self, needed: Needed) -> bool {
        let kinds = self.kinds.iter().filter(|count| **count > 0).count() as u32;
        kinds >= needed.kinds
            && self.values.len() >= needed.values as usize
            && (!needed.in_order || self.are_in_order(needed.kinds))
    }

    /// Whether each kind has an event of its own behind that of the kind before: the first that fits is as good as any.
    fn are_in_order(&self, kinds: u32) -> bool {
        let next = |next: u32, event: &Event| next + u32::from(next < kinds && event.kinds >> next & 1 == 1);
        self.events.iter().fold(0, next) == kinds
    }

    /// What is there about it for a match: the kinds, and how many different values.
    pub(crate) fn told(&self) -> (u64, u32) {
        let kinds = self.events.iter().fold(0, |kinds, event| kinds | event.kinds);
        (kinds, self.values.len() as u32)
    }

    /// It is a match: its events are the caller's, and the key is quiet.
    pub(crate) fn end(&mut self, within: i64) -> Vec<Event> {
        let first = self.events.front().map(|event| event.moment.time);
        let events = std::mem::take(self).events.into();
        self.quiet_until = first.map(|first| first.saturating_add(within));
        events
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(needed: Needed, kinds: &[u64], enough_at: Option<usize>) {
        let mut group = Group::default();
        let event = |(at, kinds): (usize, &u64)| Event {
            moment: Moment { time: at as i64, number: at as u64 },
            kinds: *kinds,
            value: *kinds,
            row: at as u32,
        };
        let at = kinds.iter().enumerate().map(event).position(|event| group.add(event, needed) == Added::IsEnough);
        assert_eq!(at, enough_at, "{needed:?} {kinds:?}");
    }

    #[test]
    fn kinds_values_and_their_order_are_what_is_needed() {
        let all = Needed { kinds: 3, in_order: false, values: 0 };
        check(all, &[1, 1, 4, 2, 2], Some(3));
        check(Needed { kinds: 2, ..all }, &[1, 1, 4], Some(2));
        let ordered = Needed { in_order: true, ..all };
        check(ordered, &[4, 2, 1, 2, 1, 4], Some(5));
        // One event is not two, though it is of two kinds.
        check(ordered, &[1, 6, 1], None);
        check(ordered, &[1, 6, 4], Some(2));
        check(Needed { kinds: 0, in_order: false, values: 3 }, &[1, 2, 1, 8], Some(3));
        check(Needed { kinds: 1, in_order: false, values: 2 }, &[1, 1, 2], Some(2));
    }

    #[test]
    fn what_passes_is_not_counted_any_more() {
        let needed = Needed { kinds: 2, in_order: false, values: 0 };
        let event = |time, kinds| Event { moment: Moment { time, number: 0 }, kinds, value: 0, row: time as u32 };
        let (mut group, mut gone) = (Group::default(), Vec::new());
        assert_eq!(group.add(event(1, 1), needed), Added::Waits);
        group.pass(10, 10, &mut gone);
        assert!(gone.is_empty(), "less than ten have passed since");
        group.pass(11, 10, &mut gone);
        assert_eq!((gone, group.is_empty()), (vec![1], true));
        assert_eq!(group.add(event(12, 2), needed), Added::Waits);
        assert_eq!(group.add(event(13, 1), needed), Added::IsEnough);
        assert_eq!(group.end(10).len(), 2);
        assert_eq!((group.quiet_until, group.until(10)), (Some(22), 22));
    }
}

//! Where a sink stands, for targets that cannot be asked.
//!
//! ```text
//!      next     sending      rest[0]        rest[1]
//!  ─────┼──────────┼────────────┼──────────────┼────────►  offsets
//!  taken│ may have │  pieces of a batch that   │ not cut into batches yet
//!       │ been sent│  was refused and halved   │
//! ```
//! A batch that is refused is cut in two, and the pieces are noted before the first of them is sent: after a crash the same pieces
//! go under the same keys, and the whole is never sent again.

use tidemill_event::Offset;

use crate::SinkError;

/// The place of one partition's sink.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark {
    /// The first row it does not have for certain.
    pub next: Offset,
    /// The end of the batch that begins at `next` and may have been sent already.
    pub sending: Option<Offset>,
    /// The ends of the pieces behind it, ascending; empty unless a batch was halved.
    pub rest: Vec<Offset>,
    /// The random part of this sink's batch keys.
    pub life: String,
    /// The one of batches behind those that may have been sent: a host that was restored from a backup gives offsets again to other
    /// rows, and their keys must be others too. `None`: the same.
    pub then: Option<String>,
}

impl Mark {
    /// A sink that begins at `next`.
    pub fn new(next: Offset, life: String) -> Self {
        Self { next, sending: None, rest: Vec::new(), life, then: None }
    }

    /// The same sink, with nothing that may have been sent behind `next`.
    #[must_use]
    pub fn anew(&self, next: Offset) -> Self {
        Self::new(next, self.then.as_ref().unwrap_or(&self.life).clone())
    }

    /// For a host that goes on from a backup, under keys of its own. What may have been sent keeps its keys.
    #[must_use]
    pub fn reborn(self, life: String) -> Self {
        match self.sending {
            Some(_) => Self { then: Some(life), ..self },
            None => Self { life, ..self },
        }
    }

    /// The batch under way, which ends at `end`, as two: the first half is sent next. `None`: it is one row.
    pub(crate) fn halved(&self, end: Offset) -> Option<Self> {
        let middle = Offset(self.next.0 + (end.0 - self.next.0) / 2);
        if middle == self.next {
            return None;
        }
        let rest = [end].into_iter().chain(self.rest.iter().copied()).collect();
        Some(Self { sending: Some(middle), rest, ..self.clone() })
    }

    /// Behind the batch that ends at `end`: the next piece is due, if there is one.
    pub(crate) fn behind(&self, end: Offset) -> Self {
        match self.rest.split_first() {
            Some((first, rest)) => Self { next: end, sending: Some(*first), rest: rest.to_vec(), ..self.clone() },
            None => self.anew(end),
        }
    }
}

/// Keeps the mark of one sink and partition.
pub trait MarkStore: Send {
    /// The last mark that was stored.
    fn load(&self) -> Option<Mark>;

    /// Replaces it. Durable when it returns. Blocking.
    fn store(&self, mark: &Mark) -> Result<(), SinkError>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_of_a_batch_are_sent_in_order_and_end_where_it_ended() {
        let whole = Mark { sending: Some(Offset(7)), ..Mark::new(Offset(2), "life".to_owned()) };
        let halved = whole.halved(Offset(7)).expect("five rows");
        assert_eq!((halved.next, halved.sending, &*halved.rest), (Offset(2), Some(Offset(4)), &[Offset(7)][..]));
        let quartered = halved.halved(Offset(4)).expect("two rows");
        assert_eq!((quartered.sending, &*quartered.rest), (Some(Offset(3)), &[Offset(4), Offset(7)][..]));
        assert_eq!(quartered.halved(Offset(3)), None);
        let mut ends = Vec::new();
        let mut mark = quartered;
        while let Some(end) = mark.sending {
            ends.push(end.0);
            mark = mark.behind(end);
        }
        assert_eq!((ends, mark), (vec![3, 4, 7], Mark::new(Offset(7), "life".to_owned())));
    }

    #[test]
    fn what_may_have_been_sent_keeps_its_key_and_nothing_else_does() {
        let calm = Mark::new(Offset(2), "old".to_owned()).reborn("new".to_owned());
        assert_eq!(calm, Mark::new(Offset(2), "new".to_owned()));
        let sending = Mark { sending: Some(Offset(7)), ..Mark::new(Offset(2), "old".to_owned()) };
        let halved = sending.halved(Offset(7)).expect("five rows").reborn("between".to_owned()).reborn("new".to_owned());
        let second = halved.behind(Offset(4));
        assert_eq!((&*halved.life, &*second.life, second.sending), ("old", "old", Some(Offset(7))));
        assert_eq!(second.behind(Offset(7)), Mark::new(Offset(7), "new".to_owned()));
    }
}

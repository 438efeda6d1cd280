//! The events that runs have taken, each once for all runs of all keys, and the chains that say which run took which for what stage.
//!
//! ```text
//! run 1 ──► node (b2, stage b) ──► node (b1, stage b) ──► node (a1, stage a)
//! run 2 ──────────────────────────►─┘                          each node and each event knows how many hold it
//! ```
//! A node never changes, so runs that part share all they have in common. What nobody holds is gone at once.

use crate::aggregate::bytes::{take_i64, take_u64};
use crate::pattern::automaton::StageId;

/// No node: a chain's end, a run that has taken nothing.
pub(crate) const NO_NODE: u32 = u32::MAX;

/// Where an event stands among those of its key: its time, then its number in the order of arrival.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Moment {
    /// Its time, in µs.
    pub time: i64,
    /// Which event of all it is.
    pub number: u64,
}

impl Moment {
    /// Appends both, little-endian.
    pub(crate) fn encode(self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.time.to_le_bytes());
        out.extend_from_slice(&self.number.to_le_bytes());
    }

    /// Takes both off the front.
    pub(crate) fn decode(rest: &mut &[u8]) -> Option<Self> {
        Some(Self { time: take_i64(rest)?, number: take_u64(rest)? })
    }
}

/// An event that somebody took.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Taken {
    pub(crate) moment: Moment,
    /// What the caller calls it.
    pub(crate) row: u32,
    holders: u32,
}

/// One event in one stage of a run.
#[derive(Debug, Clone, Copy)]
struct Node {
    event: u32,
    previous: u32,
    holders: u32,
    /// How many events the chain has up to here.
    length: u32,
    stage: StageId,
}

/// All of them.
#[derive(Debug, Default)]
pub(crate) struct Buffer {
    nodes: Vec<Node>,
    free_nodes: Vec<u32>,
    events: Vec<Taken>,
    free_events: Vec<u32>,
    /// Rows of events that nobody holds any more, for the caller to forget.
    gone: Vec<u32>,
    /// Events since the caller last asked.
    fresh: Vec<u32>,
}

impl Buffer {
    /// What an event in one run costs, beside its row.
    #[cfg(test)]
    pub(crate) const BYTES_PER_EVENT: usize = size_of::<Node>() + size_of::<Taken>();

    /// An event that the caller holds until `let_go`: it may be taken, given back and taken again in between.
    pub(crate) fn event(&mut self, moment: Moment, row: u32) -> u32 {
        let taken = Taken { moment, row, holders: 1 };
        if let Some(free) = self.free_events.pop() {
            self.events[free as usize] = taken;
            self.fresh.push(free);
            return free;
        }
        self.events.push(taken);
        let event = self.events.len() as u32 - 1;
        self.fresh.push(event);
        event
    }

    /// Puts an event behind a chain. The chain stays the caller's as well; the new node is the caller's alone.
    pub(crate) fn take(&mut self, event: u32, stage: StageId, previous: u32) -> u32 {
        self.events[event as usize].holders += 1;
        let length = if previous == NO_NODE {
            1
        } else {
            self.hold(previous);
            self.nodes[previous as usize].length + 1
        };
        let node = Node { event, previous, holders: 1, length, stage };
        if let Some(free) = self.free_nodes.pop() {
            self.nodes[free as usize] = node;
            return free;
        }
        self.nodes.push(node);
        self.nodes.len() as u32 - 1
    }

    /// One more holder of a chain.
    pub(crate) fn hold(&mut self, node: u32) {
        self.nodes[node as usize].holders += 1;
    }

    /// One holder less.
    pub(crate) fn release(&mut self, node: u32) {
        let mut at = node;
        while at != NO_NODE {
            let node = &mut self.nodes[at as usize];
            node.holders -= 1;
            if node.holders > 0 {
                return;
            }
            let Node { event, previous, .. } = *node;
            self.free_nodes.push(at);
            self.let_go(event);
            at = previous;
        }
    }

    /// One holder of an event less.
    pub(crate) fn let_go(&mut self, event: u32) {
        let taken = &mut self.events[event as usize];
        taken.holders -= 1;
        if taken.holders == 0 {
            self.gone.push(taken.row);
            self.free_events.push(event);
        }
    }

    /// How many events a chain has.
    pub(crate) fn length(&self, node: u32) -> u32 {
        if node == NO_NODE { 0 } else { self.nodes[node as usize].length }
    }

    /// The events of a chain with their stages, the last one first.
    pub(crate) fn chain(&self, node: u32) -> impl Iterator<Item = (StageId, &Taken)> {
        let mut at = node;
        std::iter::from_fn(move || {
            let node = self.nodes.get(at as usize)?;
            at = node.previous;
            Some((node.stage, &self.events[node.event as usize]))
        })
    }

    /// The node and event numbers of a chain, the last one first.
    pub(crate) fn links(&self, node: u32) -> impl Iterator<Item = (u32, u32)> {
        let mut at = node;
        std::iter::from_fn(move || {
            let number = at;
            let node = self.nodes.get(at as usize)?;
            at = node.previous;
            Some((number, node.event))
        })
    }

    pub(crate) fn stage(&self, node: u32) -> StageId {
        self.nodes[node as usize].stage
    }

    /// The event before which a chain was no longer: its node's `previous`.
    pub(crate) fn previous(&self, node: u32) -> u32 {
        self.nodes[node as usize].previous
    }

    /// The event a node is of.
    pub(crate) fn event_of(&self, node: u32) -> u32 {
        self.nodes[node as usize].event
    }

    pub(crate) fn taken(&self, event: u32) -> &Taken {
        &self.events[event as usize]
    }

    /// The caller calls it something else from now on.
    pub(crate) fn rename(&mut self, event: u32, row: u32) {
        self.events[event as usize].row = row;
    }

    /// Events that came since the last time, that somebody holds and whose row has this mark; each once.
    pub(crate) fn take_fresh(&mut self, mark: u32) -> Vec<u32> {
        let mut fresh = std::mem::take(&mut self.fresh);
        let events = &self.events;
        fresh.retain(|event| events[*event as usize].holders > 0 && events[*event as usize].row & mark != 0);
        // A number that was given back in between may be there twice.
        fresh.sort_unstable();
        fresh.dedup();
        fresh
    }

    /// The rows of all events that somebody holds.
    pub(crate) fn rows(&self) -> impl Iterator<Item = u32> {
        self.events.iter().filter(|taken| taken.holders > 0).map(|taken| taken.row)
    }

    /// Rows of events that are gone.
    pub(crate) fn take_gone(&mut self) -> Vec<u32> {
        std::mem::take(&mut self.gone)
    }

    /// Events that somebody holds, and nodes.
    pub(crate) fn len(&self) -> (usize, usize) {
        (self.events.len() - self.free_events.len(), self.nodes.len() - self.free_nodes.len())
    }
}

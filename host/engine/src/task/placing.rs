//! What a task writes for the stage behind its own: rows placed by that stage's key, and how far its time is, in one entry with its commit.
//!
//! A mark goes to every partition when the task's watermark has moved or the task fell silent: a reader whose partition got no row learns so that
//! time goes by. Nothing here is state: what was told last is not known after a start, and is told once more with the next commit.

use std::sync::Arc;

use tidemill_event::batch::{concat, times};
use tidemill_event::{PartitionId, Placement, StreamDefinition};
use tidemill_flow::{FlowBatch, Judged, Marks, Side, Watermark};
use tidemill_log::{FrameRows, Stream};

use crate::plan::Inner;
use crate::planted::{Planted, Plants};
use crate::task::between::{encode, mark};

/// How far a task's time is, and whether nothing is expected of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) watermark: Watermark,
    pub(super) is_idle: bool,
}

/// The streams that the next stage reads, as one task writes them.
pub(super) struct Placing {
    /// One, or one for each side of a join.
    streams: Vec<(Arc<Stream>, Inner, Arc<StreamDefinition>)>,
    /// The task's number in its stage.
    lane: u32,
    judged: Judged,
    told: Head,
}

impl Placing {
    pub(super) fn new(streams: Vec<(Arc<Stream>, Inner)>, lane: PartitionId, judged: Judged) -> Self {
        let streams = streams.into_iter().map(|(stream, inner)| {
            let definition = stream.definition();
            (stream, inner, definition)
        });
        let told = Head { watermark: Watermark::NONE, is_idle: false };
        Self { streams: streams.collect(), lane: lane.0, judged, told }
    }

    /// Whether readers do not know yet how far time is.
    pub(super) fn has_news(&self, head: Head) -> bool {
        head != self.told
    }

    /// The rows of a batch that came of `side`, and where time is behind them: among `frames` or, if they are to be apart, in `apart`. Answers how
    /// many go into each partition of each stream.
    #[expect(clippy::too_many_arguments, reason = "a batch's rows, side, marks and head are told by different parts of the task")]
    pub(super) fn frames(
        &mut self,
        output: &FlowBatch,
        side: Side,
        marks: &Marks,
        head: Head,
        plants: Plants,
        frames: &mut Vec<FrameRows>,
        mut apart: Option<&mut Vec<FrameRows>>,
    ) -> Vec<(usize, PartitionId, u64)> {
        let of_side = usize::from(side == Side::Right && self.streams.len() > 1);
        let (mut written, mut marks_written) = (Vec::new(), Vec::new());
        let tells = self.has_news(head);
        self.told = head;
        for (number, (stream, inner, definition)) in self.streams.iter().enumerate() {
            let partitions = definition.partitions as usize;
            let mut parts: Vec<Vec<_>> = vec![Vec::new(); partitions];
            if number == of_side && !output.is_empty() {
                let rows = encode(&output.rows, inner, self.lane, behind(output, marks, self.judged));
                // A new one each time: rows without a key go where they always go, and not to the next in turn.
                for (partition, rows) in Placement::new(definition).split(rows) {
                    parts[partition.0 as usize].push(rows);
                }
            }
            let version = stream.version();
            let frame = |partition, rows| FrameRows { stream: stream.clone(), version, partition, rows };
            if tells {
                let time = times_of(output, head);
                let told = mark(inner, self.lane, head.watermark, head.is_idle, time);
                if let Some(apart) = apart.as_deref_mut() {
                    let all = (0..definition.partitions).map(PartitionId);
                    apart.extend(all.clone().map(|partition| frame(partition, told.clone())));
                    marks_written.extend(all.map(|partition| (number, partition, 1)));
                }
                for part in parts.iter_mut().filter(|_| apart.is_none()) {
                    let at = if plants.has(Planted::HeadTooEarly) { 0 } else { part.len() };
                    part.insert(at, told.clone());
                }
            }
            for (partition, parts) in (0..).map(PartitionId).zip(parts).filter(|(_, parts)| !parts.is_empty()) {
                let rows = concat(&parts);
                written.push((number, partition, rows.num_rows() as u64));
                frames.push(frame(partition, rows));
            }
        }
        // In the order of the frames.
        written.append(&mut marks_written);
        written
    }
}

/// For each row what it is behind, by what judges it where it leaves the stage; nothing for rows in order.
fn behind(output: &FlowBatch, marks: &Marks, judged: Judged) -> Vec<Option<i64>> {
    let judge = |origin: u32| match judged {
        Judged::ByLane => marks.judge(origin),
        Judged::ByTask => marks.before(origin),
    };
    let rows = times(&output.rows).values().iter().zip(&output.origin);
    rows.map(|(time, origin)| Some(judge(*origin).0).filter(|judge| time < judge)).collect()
}

/// A time for a mark: its watermark if that is one, else that of a row.
fn times_of(output: &FlowBatch, head: Head) -> i64 {
    let is_time = head.watermark > Watermark::NONE && head.watermark < Watermark::END;
    let newest = || times(&output.rows).values().iter().copied().max().unwrap_or(0);
    if is_time { head.watermark.0 } else { newest() }
}

//! The recent rows of one partition, in memory, in blocks that all its readers share.

use std::collections::VecDeque;

use arrow_array::RecordBatch;

use crate::store::TailMemory;

/// Runs of small blocks are joined up to this size.
const JOINED_BYTES_MAX: usize = 1 << 20;

/// How blocks of a tail are joined.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Joined {
    /// The most rows of a joined block.
    block_rows: usize,
    /// The most rows of one that is joined with others.
    small_rows: usize,
}

impl Joined {
    /// For a reader: what it does with the rows costs it more than joining them.
    pub(crate) fn to_read(block_rows: usize) -> Self {
        Self { block_rows, small_rows: block_rows / 4 }
    }

    /// For memory's sake: only what is mostly overhead. Copying larger blocks would cost more than all that was done with them before.
    pub(crate) fn to_keep(block_rows: usize) -> Self {
        Self { block_rows, small_rows: (block_rows / 32).max(1) }
    }
}

/// Rows that were appended together, or were joined since.
#[derive(Debug, Clone)]
pub(crate) struct TailBlock {
    pub(crate) start: u64,
    pub(crate) version: u32,
    pub(crate) rows: RecordBatch,
    pub(crate) bytes: usize,
    pub(crate) time_max: i64,
    /// When retention takes its rows to have come: their latest time, or when they came, if that was earlier.
    pub(crate) age_time: i64,
}

impl TailBlock {
    pub(crate) fn end(&self) -> u64 {
        self.start + self.rows.num_rows() as u64
    }
}

/// Blocks ascending by offset. Every change keeps the totals of all tails right; rows below `rolled` count as rolled.
#[derive(Debug, Default)]
pub(crate) struct Tail {
    blocks: VecDeque<TailBlock>,
    rolled: u64,
}

impl Tail {
    pub(crate) fn rolled(&self) -> u64 {
        self.rolled
    }

    pub(crate) fn blocks(&self) -> impl Iterator<Item = &TailBlock> {
        self.blocks.iter()
    }

    pub(crate) fn push(&mut self, block: TailBlock, memory: &TailMemory) {
        self.count(&block, memory);
        self.blocks.push_back(block);
    }

    /// It is `now`: no row came later.
    pub(crate) fn came_by(&mut self, now: i64) {
        for block in &mut self.blocks {
            block.age_time = block.age_time.min(now);
        }
    }

    /// Rows below `to` are in segments, or not needed any more.
    pub(crate) fn roll(&mut self, to: u64, memory: &TailMemory) {
        if to <= self.rolled {
            return;
        }
        for block in &self.blocks {
            if block.end() > self.rolled && block.end() <= to {
                memory.rolled(block.bytes);
            }
        }
        self.rolled = to;
    }

    /// Lets go of whole blocks below `offset`, which must not be above what is rolled. The caller drops them when it holds no lock:
    /// freeing the buffers of thousands takes milliseconds, in which the writer would wait.
    pub(crate) fn evict(&mut self, offset: u64, memory: &TailMemory) -> VecDeque<TailBlock> {
        debug_assert!(offset <= self.rolled, "rows that are in no segment were evicted");
        let count = self.blocks.partition_point(|block| block.end() <= offset);
        let left = self.blocks.split_off(count);
        let gone = std::mem::replace(&mut self.blocks, left);
        memory.sub(gone.iter().map(|block| block.bytes).sum());
        gone
    }

    /// Forgets every row; as [`Tail::evict`].
    pub(crate) fn clear(&mut self, memory: &TailMemory) -> VecDeque<TailBlock> {
        for block in &self.blocks {
            memory.sub(block.bytes);
            if block.end() > self.rolled {
                memory.rolled(block.bytes);
            }
        }
        std::mem::take(&mut self.blocks)
    }

    /// The run of blocks that belongs with the row at `from`, looking no further than `end`: one block, or ones of one version in a row
    /// that are small, `joined` saying how small. `None` if the row is not in the tail.
    pub(crate) fn run(&self, from: u64, end: u64, joined: Joined) -> Option<Vec<TailBlock>> {
        let first = self.blocks.partition_point(|block| block.end() <= from);
        let block = self.blocks.get(first).filter(|block| block.start <= from)?;
        let Joined { block_rows, small_rows } = joined;
        let small = |block: &TailBlock| block.rows.num_rows() <= small_rows && block.bytes * 4 <= JOINED_BYTES_MAX;
        let mut run = vec![block.clone()];
        if !small(block) {
            return Some(run);
        }
        let (mut rows, mut bytes) = (block.rows.num_rows(), block.bytes);
        for next in self.blocks.range(first + 1..) {
            rows += next.rows.num_rows();
            bytes += next.bytes;
            let follows = run.last().is_some_and(|last| last.end() == next.start && last.version == next.version);
            if !follows || !small(next) || next.start >= end || rows > block_rows || bytes > 4 * JOINED_BYTES_MAX {
                break;
            }
            run.push(next.clone());
        }
        Some(run)
    }

    /// Puts a joined block in the place of the blocks it was made of, unless they have moved meanwhile.
    pub(crate) fn replace(&mut self, joined: TailBlock, memory: &TailMemory) {
        let first = self.blocks.partition_point(|block| block.start < joined.start);
        let count = self.blocks.range(first..).take_while(|block| block.end() <= joined.end()).count();
        let fits = count > 0
            && self.blocks[first].start == joined.start
            && self.blocks[first + count - 1].end() == joined.end()
            && count > 1;
        if !fits {
            return;
        }
        for block in self.blocks.range(first..first + count) {
            memory.sub(block.bytes);
            if block.end() > self.rolled {
                memory.rolled(block.bytes);
            }
        }
        self.count(&joined, memory);
        self.blocks[first] = joined;
        self.blocks.drain(first + 1..first + count);
    }

    fn count(&self, block: &TailBlock, memory: &TailMemory) {
        memory.add(block.bytes, block.end() > self.rolled);
    }
}

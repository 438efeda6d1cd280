//! JSON to columns and back, against `arrow-json` on the same bytes.
//!
//! ```text
//! cargo bench -p tidemill-event --bench json [-- PART-OF-A-NAME]
//! ```
//! `ours` decodes a body's lines with [`RowDecoder::lines`] into columns, texts that repeat into dictionaries; `arrow-json` decodes the
//! same bytes into numbers, flags and plain texts. `placed` is what splitting the columns by key costs besides, `encode`
//! the way back to lines.
//!
//! CPU time of this thread, every figure the fastest of many rounds that go through all of them in turn: on a machine that does
//! other work too, ratios hold where times do not.

use std::hint::black_box;
use std::time::Duration;

use arrow_json::ReaderBuilder;
use rustix::time::{ClockId, clock_gettime};
use tidemill_event::json::{DecodeLimits, Place, RowDecoder, RowEncoder, utf8_start};
use tidemill_event::{EventTime, Offset, PartitionId, Placement};

#[path = "json/events.rs"]
mod events;

use events::{CASES, Case};

/// Every figure is the fastest of so many runs, and a run decodes about so many rows.
const ROUNDS: usize = 40;
const RUN_ROWS: usize = 16_384;

/// The fastest run of one way so far, per row.
struct Fastest(f64);

impl Fastest {
    fn new() -> Self {
        Self(f64::INFINITY)
    }

    fn run(&mut self, rows: usize, work: &mut dyn FnMut()) {
        let runs = (RUN_ROWS / rows).max(1);
        let start = thread_time();
        for _ in 0..runs {
            work();
        }
        let took = thread_time().saturating_sub(start);
        self.0 = self.0.min(took.as_nanos() as f64 / (runs * rows) as f64);
    }
}

fn thread_time() -> Duration {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
}

fn decode(decoder: &mut RowDecoder, body: &[u8]) -> arrow_array::RecordBatch {
    let lines = utf8_start(black_box(body));
    assert_eq!(decoder.lines(lines, EventTime(0), usize::MAX, usize::MAX), body.len());
    decoder.finish()
}

fn measure(case: &Case, rows: usize) {
    let definition = case.definition();
    // Several bodies in turn, as a host sees them: one body again and again would be learned by heart by the branch predictor.
    let all = (case.make)(8 * rows);
    let lines: Vec<&[u8]> = all.split_inclusive(|byte| *byte == b'\n').collect();
    let bodies: Vec<Vec<u8>> = lines.chunks(rows).map(<[&[u8]]>::concat).collect();
    let mut next = 0;
    let mut body = || {
        next = (next + 1) % bodies.len();
        &bodies[next]
    };

    let mut decoder = RowDecoder::new(definition.clone(), DecodeLimits::default());
    let mut theirs = ReaderBuilder::new(case.arrow_schema()).with_batch_size(rows).build_decoder().expect("a decoder");
    let mut placement = Placement::new(&definition);
    let batch = decode(&mut decoder, body());
    assert_eq!(batch.num_rows(), rows);
    let encoder = RowEncoder::new(&definition.schema, Some(Place { partition: PartitionId(0) }));
    let mut out = Vec::new();

    let (mut ours, mut arrow, mut placed, mut encode) = (Fastest::new(), Fastest::new(), Fastest::new(), Fastest::new());
    for _ in 0..ROUNDS {
        ours.run(rows, &mut || {
            black_box(decode(&mut decoder, body()));
        });
        arrow.run(rows, &mut || {
            let body = body();
            assert_eq!(theirs.decode(black_box(body)).expect("rows"), body.len());
            black_box(theirs.flush().expect("a batch"));
        });
        placed.run(rows, &mut || {
            black_box(placement.split(batch.clone()));
        });
        encode.run(rows, &mut || {
            out.clear();
            encoder.encode(black_box(&batch), 0..rows, Offset(7), &mut out);
        });
    }
    let ratio = arrow.0 / ours.0;
    println!(
        "| {} | {rows} | {} | {:.0} | {:.0} | **{ratio:.2}** ({}) | {:.0} | {:.0} |",
        case.name,
        all.len() / (8 * rows),
        ours.0,
        arrow.0,
        case.goal,
        placed.0,
        encode.0,
    );
}

fn main() {
    let wanted = std::env::args().skip(1).find(|typed| !typed.starts_with('-')).unwrap_or_default();
    println!("| event | rows | bytes | ours, ns | arrow-json, ns | ratio (goal) | placed, ns | encode, ns |");
    println!("|---|---|---|---|---|---|---|---|");
    for case in CASES.iter().filter(|case| case.name.contains(&wanted)) {
        for rows in [1_000, 8_192] {
            measure(case, rows);
        }
    }
}

//! A standard output as a target, whose writes fail on demand, also in the middle of a line.

use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use tidemill_connect::{OutputSink, SharedOutput, Sink};

use super::disk::{Fault, Faults};
use super::{Marks, Target};

#[derive(Clone, Default)]
pub(crate) struct Terminal {
    pub(crate) shown: Arc<Mutex<Vec<u8>>>,
    faults: Faults,
    marks: Marks,
}

impl Write for Terminal {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = match self.faults.next() {
            None => bytes,
            Some(Fault::Before) => return Err(io::ErrorKind::BrokenPipe.into()),
            // The next write finds the pipe broken, with a torn line in it.
            Some(Fault::After) => {
                self.faults.plan(0, Fault::Before);
                &bytes[..3]
            }
        };
        self.shown.lock().expect("unpoisoned").extend_from_slice(taken);
        Ok(taken.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Target for Terminal {
    fn open(&self, _partition: u32) -> Box<dyn Sink> {
        Box::new(OutputSink::new(SharedOutput::new(self.clone())))
    }

    fn marks(&self, _partition: u32) -> Marks {
        self.marks.clone()
    }

    fn fail(&self, calls: u64, fault: Fault) {
        self.faults.plan(calls, fault);
    }

    fn seen(&self, _partition: u32) -> Vec<i64> {
        numbers(std::str::from_utf8(&self.shown.lock().expect("unpoisoned")).expect("text"))
    }
}

/// The rows of whole lines.
pub(crate) fn numbers(ndjson: &str) -> Vec<i64> {
    let number = |line: &str| line.strip_prefix("{\"n\":")?.strip_suffix('}')?.parse().ok();
    ndjson.lines().filter_map(number).collect()
}

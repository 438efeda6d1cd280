//! What components measure: handed over when, and only when, the call returned; bounded; and one host call like any other.

mod host;

use std::sync::{Arc, Mutex};

use tidemill_event::Ending;
use tidemill_runtime::testing::TextGuest;
use tidemill_runtime::{GuestMetrics, InstanceSettings, Measurement, MetricFault};

use host::{amount, call, instance_with, limits, settings};

/// Measurements as they came, in words.
#[derive(Default)]
struct Seen(Mutex<Vec<String>>);

impl Seen {
    fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock().expect("no panic while one is added"))
    }
}

impl GuestMetrics for Seen {
    fn measured(&self, measurement: &Measurement) {
        let Measurement { kind, name, labels, amounts } = measurement;
        self.0.lock().expect("no panic").push(format!("{kind:?} {name} {labels:?} {amounts:?}"));
    }

    fn dropped(&self, fault: MetricFault, count: u64) {
        self.0.lock().expect("no panic").push(format!("dropped {fault:?} {count}"));
    }
}

/// At 4096 stand a counter with a label and a gauge whose name is none; `body` goes on from there.
fn guest(body: &str) -> Vec<u8> {
    let words =
        |words: &[u32]| words.iter().flat_map(|word| word.to_le_bytes()).map(|byte| format!("\\{byte:02x}")).collect::<String>();
    let measurements = words(&[0, 4200, 4, 4304, 1, 4400, 2, 1, 4210, 4, 8, 0, 4400, 1]);
    let label = words(&[4220, 7, 4230, 2]);
    let amounts: String =
        [1.5_f64, 2.0].iter().flat_map(|amount| amount.to_le_bytes()).map(|byte| format!("\\{byte:02x}")).collect();
    let fields = format!(
        r#"(data (i32.const 4096) "{measurements}") (data (i32.const 4200) "hits") (data (i32.const 4210) "NONE")
           (data (i32.const 4220) "country") (data (i32.const 4230) "IT") (data (i32.const 4304) "{label}")
           (data (i32.const 4400) "{amounts}")"#
    );
    TextGuest::rule(vec![amount()]).measuring().fields(&fields).call(body).build()
}

const MEASURE: &str = "(call $measure (i32.const 4096) (i32.const 2))";
const ANSWER: &str = "(call $answer (i32.const 0) (i32.const 1))";

#[test]
fn what_a_call_measured_counts_once_it_returned_and_never_otherwise() {
    let seen = Arc::new(Seen::default());
    let with = |body: String| {
        let metrics = Arc::clone(&seen) as Arc<dyn GuestMetrics>;
        instance_with(&guest(&body), InstanceSettings { metrics, ..settings(limits()) }).expect("an instance")
    };
    let mut well = with(format!("{MEASURE} {ANSWER}"));
    for _ in 0..2 {
        well.judge(&call(5)).expect("an answer");
        assert_eq!(seen.take(), [r#"Counter hits [("country", "IT")] [1.5, 2.0]"#, "dropped Invalid 1"]);
    }
    let endings = [
        (format!("{MEASURE} unreachable"), Ending::Trap),
        (format!("{MEASURE} (call $fail (i32.const 4200) (i32.const 4))"), Ending::GuestError),
        (format!("{MEASURE} (call $answer (i32.const 0) (i32.const 99))"), Ending::InvalidOutput),
        (format!("(loop $again {MEASURE} (br $again)) unreachable"), Ending::TooManyHostCalls),
        ("(call $measure (i32.const 4096) (i32.const 100000000)) unreachable".to_owned(), Ending::InvalidOutput),
    ];
    for (body, ending) in endings {
        let failure = with(body.clone()).judge(&call(5)).expect_err("it fails");
        assert_eq!(failure.ending, ending, "{body}: {failure}");
        assert_eq!(seen.take(), Vec::<String>::new(), "{body}");
    }
    // An error of its own leaves the instance open; what it measured is not there at the next call.
    let mut moody = with(format!(
        "{MEASURE} (if (result i32) (i32.eq (local.get $rows) (i32.const 1)) (then (call $fail (i32.const 4200) (i32.const 4))) (else {ANSWER}))"
    ));
    moody.judge(&call(1)).expect_err("it fails");
    moody.judge(&call(5)).expect("an answer");
    assert_eq!(seen.take().len(), 2);
}

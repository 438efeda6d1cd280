//! A power cut: unlike `kill -9`, it takes what was written and not synced. These hosts keep such bytes in their own memory, so
//! that killing them is a power cut. A right host loses nothing that it acknowledged, and a host that acknowledges before the sync is
//! found out: the judge would see a missing fsync.

use tidemill_tests::judging::prepare;
use tidemill_tests::{Cycles, Host, HostOptions, Judged, variant};

const CYCLES_RIGHT: u32 = 10;
/// A planted early acknowledgement has to show in far fewer.
const CYCLES_PLANTED: u32 = 20;

fn host(binary: &str) -> Host {
    let host = Host::with(HostOptions { binary: variant(binary), ..HostOptions::default() });
    prepare(&host.url(), None).expect("stream and pipeline");
    host
}

#[test]
fn a_power_cut_takes_nothing_that_was_acknowledged() {
    let mut host = host("power-cut");
    let mut cycles = Cycles::new(1);
    for _ in 0..Cycles::wanted(CYCLES_RIGHT) {
        cycles.kill_under_load(&mut host);
        let judged = cycles.judge(&host);
        assert!(judged.is_right, "after {} cuts:\n{}", cycles.kills(), judged.text);
    }
}

#[test]
fn an_acknowledgement_before_the_sync_is_found_out() {
    let mut host = host("power-cut-early-ack");
    let mut cycles = Cycles::new(2);
    let mut last = None;
    for _ in 0..CYCLES_PLANTED {
        cycles.kill_under_load(&mut host);
        let judged = cycles.judge(&host);
        if !judged.is_right {
            assert!(judged.text.contains("was acknowledged and is lost"), "found, but for another reason:\n{}", judged.text);
            println!("found after {} cuts: {}", cycles.kills(), judged.text);
            return;
        }
        last = Some(judged);
    }
    panic!("{CYCLES_PLANTED} cuts and nothing found: {:?}", last.map(|judged: Judged| judged.text));
}

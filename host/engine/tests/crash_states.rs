//! Power cuts under pipelines with state, chained through streams: log, state and files on one platter, of which a random subset of what
//! was not synced survives. What comes out is what comes out of a host that never lost its power, and every replay agrees.

mod support;

use std::time::Duration;

use support::Setup;
use support::chained::{Outcome, ROWS, compare, fell_back, outcome, prepared, send_on, uninterrupted};
use tidemill_engine::{PipelineState, Planted};
use tidemill_log::simulated::Random;

/// A story with more lives than this goes nowhere.
const LIVES_MAX: u64 = 200;

/// Lives of one host, each ended by a power cut, until the sender has sent all; compared with what came out of `calm`. How many.
fn lives(planted: Option<Planted>, seed: u64, calm: &Outcome) -> Result<u64, String> {
    let mut random = Random::new(seed);
    let checkpoint_after = Duration::from_micros(100 + random.below(1500));
    let mut host = prepared(Setup { batch_rows: 3 + random.below(9) as usize, checkpoint_after, planted, ..Setup::default() });
    let mut count = 0;
    loop {
        host.disk.fail_after(3 + random.below(60));
        let done = send_on(&host, ROWS, &mut random);
        if let Some(told) = fell_back(&host) {
            return Err(format!("after {count} cuts: {told}"));
        }
        host = host.try_power_cut(random.next())?;
        count += 1;
        if done || count >= LIVES_MAX {
            break;
        }
    }
    if !send_on(&host, ROWS, &mut random) {
        return Err("the log stopped with the power on".to_owned());
    }
    let (found, states) = outcome(&host)?;
    compare(calm, &found).map_err(|differs| format!("after {count} cuts: {differs}"))?;
    // The state itself, not only what it said: a life from checkpoints, and one that was never interrupted, go on alike.
    host = host.restart();
    if !send_on(&host, ROWS + 60, &mut random) {
        return Err("the log stopped with the power on".to_owned());
    }
    let (_, later) = outcome(&host)?;
    let whole = uninterrupted(ROWS + 60);
    compare(&whole.0, &outcome(&host)?.0).map_err(|differs| format!("after {count} cuts and a restart: {differs}"))?;
    if later != whole.1 {
        return Err(format!("after {count} cuts the state differs: {later:?}, and should be {:?} (it was {states:?})", whole.1));
    }
    Ok(count)
}

#[test]
fn chained_pipelines_do_not_notice_power_cuts() {
    let calm = uninterrupted(ROWS).0;
    let mut cuts = 0;
    for seed in support::seeds(12) {
        cuts += lives(None, seed, &calm).unwrap_or_else(|broken| panic!("{broken}\nrepeat it with SEED={seed}"));
    }
    println!("{cuts} power cuts");
    assert!(cuts > 60 || support::seeds(12).len() == 1, "only {cuts} power cuts");
}

/// A disk that takes no state stops the tasks that it is asked for, and nothing that they committed is lost or taken twice.
#[test]
fn a_state_store_that_fails_costs_nothing_but_time() {
    let calm = uninterrupted(ROWS).0;
    for calls in 1..12 {
        let host = prepared(Setup { batch_rows: 5, checkpoint_after: Duration::ZERO, ..Setup::default() });
        host.fail_state_after(calls);
        let mut random = Random::new(calls);
        // Row after row, so that there are as many checkpoints as it takes, however fast the machine is.
        let failed = (1..=ROWS).find_map(|sent| {
            assert!(send_on(&host, sent, &mut random), "the log takes on what comes");
            let status = host.wait("p1", "the rows so far", |status| {
                status.state == PipelineState::Failed || status.lag_records == 0 && !status.tasks.is_empty()
            });
            (status.state == PipelineState::Failed).then_some(status)
        });
        let error = failed.expect("a task that failed").last_error;
        assert!(error.is_some_and(|error| error.contains("checkpoint could not be written")));
        let host = host.try_power_cut(calls).expect("a log");
        assert!(send_on(&host, ROWS, &mut random), "the log takes on what comes");
        compare(&calm, &outcome(&host).expect("it goes on").0).unwrap_or_else(|differs| panic!("call {calls}: {differs}"));
    }
}

/// Every bug that can be planted in the engine is caught by the story above.
#[test]
fn every_planted_bug_is_caught() {
    let calm = uninterrupted(ROWS).0;
    let mut holes = Vec::new();
    // A backup's bug is caught by the story of backups, those of time by that of windows, that of heads by that of stages.
    let elsewhere = [
        Planted::StateBehindCut,
        Planted::ClockNotRecorded,
        Planted::TimeNotKept,
        Planted::ReplayWithoutTime,
        Planted::HeadTooEarly,
        Planted::PartsForgotten,
    ];
    for bug in Planted::ALL.iter().filter(|bug| !elsewhere.contains(bug)) {
        match (1..=20).find_map(|seed| lives(Some(*bug), seed, &calm).err().map(|broken| (seed, broken))) {
            Some((seed, broken)) => println!("{}: seed {seed}: {}", bug.name(), broken.chars().take(300).collect::<String>()),
            None => holes.push(bug.name()),
        }
    }
    assert!(holes.is_empty(), "not caught: {}", holes.join(", "));
}

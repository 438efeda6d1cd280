//! Draws a random number for each row, from an import that only a host under test grants. After a restart the replay draws others,
//! which the host must notice.

use tidemill_sdk::{Event, Output, State, rule};

/// Needs no column.
#[derive(Event)]
struct Row {}

#[derive(State)]
struct Drawn {
    sum: i64,
}

#[derive(Output)]
struct Draw {
    draw: i64,
    sum: i64,
}

/// Adds a random number per row and the sum per key.
#[rule]
fn random(_row: &Row, state: &mut Drawn) -> (bool, Draw) {
    let draw = (draw() >> 40) as i64;
    state.sum += draw;
    (true, Draw { draw, sum: state.sum })
}

#[cfg(target_arch = "wasm32")]
fn draw() -> u64 {
    #[link(wasm_import_module = "tidemill:testing/random@1.0.0")]
    unsafe extern "C" {
        #[link_name = "random"]
        safe fn host_random() -> u64;
    }
    host_random()
}

#[cfg(not(target_arch = "wasm32"))]
fn draw() -> u64 {
    7 << 40
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_what_was_drawn() {
        let report = tidemill_sdk::testing::rule::<random>().run("{}\n{}");
        assert_eq!(report.rows[1], r#"{"draw":7,"sum":14}"#);
    }
}

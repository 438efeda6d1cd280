//! Does what the row's `do` asks for, so that a test chooses per row how a call ends: `loop`, `recurse`, `memory`, `panic`,
//! `reject`, `log`; anything else is judged yes.

use tidemill_sdk::{Event, Reject, log, rule};

#[derive(Event)]
struct Order<'a> {
    #[event(name = "do")]
    what: Option<&'a str>,
}

/// Misbehaves on request.
#[rule]
fn hostile(order: &Order) -> Result<bool, Reject> {
    match order.what.unwrap_or_default() {
        "loop" => loop {
            std::hint::black_box(0);
        },
        "recurse" => Ok(recurse(1) > 0),
        "memory" => {
            // Taken and not touched, so that memory runs out before fuel does.
            let mut hoard: Vec<Vec<u8>> = Vec::new();
            loop {
                hoard.push(std::hint::black_box(Vec::with_capacity(1 << 20)));
            }
        }
        "panic" => panic!("asked to panic"),
        "log" => loop {
            log::info!("again");
        },
        "reject" => Err(Reject::new("asked to reject")),
        _ => Ok(true),
    }
}

#[expect(unconditional_recursion, reason = "that is what it is for")]
fn recurse(depth: u64) -> u64 {
    std::hint::black_box(recurse(std::hint::black_box(depth + 1)) + depth)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn harmless_rows_are_judged() {
        let report = tidemill_sdk::testing::rule::<hostile>().run("{}\n{\"do\": \"reject\"}\n{\"do\": \"nothing\"}");
        assert_eq!(report.verdicts, [true, false, true]);
        assert_eq!(report.notes, [(1, "asked to reject".to_owned())]);
    }
}

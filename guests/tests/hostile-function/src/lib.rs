//! Does what its argument asks for, so that a test chooses per row how a call ends: `loop`, `panic`, `reject`, `retry`, `null`; of
//! anything else it gives the length.

use std::time::Duration;

use tidemill_sdk::{Reject, function};

/// Misbehaves on request.
#[function]
fn hostile(what: &str) -> Result<Option<i64>, Reject> {
    match what {
        "loop" => loop {
            std::hint::black_box(0);
        },
        "panic" => panic!("asked to panic"),
        "reject" => Err(Reject::new("asked to reject")),
        "retry" => Err(Reject::retry_after(Duration::from_millis(20), "asked to retry")),
        "null" => Ok(None),
        other => Ok(Some(other.len() as i64)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn harmless_rows_have_a_length() {
        let rows = "{\"what\": \"four\"}\n{\"what\": \"reject\"}\n{\"what\": \"null\"}";
        let report = tidemill_sdk::testing::function::<hostile>().run(rows);
        assert_eq!([&*report.rows[0], &*report.rows[2]], ["4", "null"]);
        assert_eq!(report.notes, [(1, "asked to reject".to_owned())]);
    }
}

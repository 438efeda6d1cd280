//! Sums, and does what a value asks for: 13 is rejected, 66 panics, 77 spins. A sum over 1000 panics when it is finished, one over
//! 10000 when it is merged.

use tidemill_sdk::{State, aggregate};

/// What is remembered of a group.
#[derive(State)]
struct Hostile {
    sum: i64,
}

/// Misbehaves on request.
#[aggregate]
impl Hostile {
    fn update(&mut self, value: i64) -> Result<(), &'static str> {
        match value {
            13 => return Err("unlucky"),
            66 => panic!("asked to panic"),
            77 => loop {
                std::hint::black_box(0);
            },
            _ => self.sum += value,
        }
        Ok(())
    }

    fn merge(&mut self, other: &Self) {
        assert!(self.sum + other.sum <= 10_000, "too much to merge");
        self.sum += other.sum;
    }

    fn finish(&self) -> Result<i64, &'static str> {
        assert!(self.sum <= 1_000, "too much to finish");
        if self.sum < 0 { Err("less than nothing") } else { Ok(self.sum) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn harmless_rows_are_summed() {
        let values = tidemill_sdk::testing::aggregate::<Hostile>().run("{\"value\": 1}\n{\"value\": 13}\n{\"value\": 2}");
        assert_eq!((&*values.of["[]"], values.notes.len()), ("3", 1));
    }
}

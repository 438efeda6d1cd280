//! A mean of whole numbers with weights. Its accumulators are exact, so that it may retract.

use tidemill_sdk::{State, aggregate};

/// What is remembered of a group.
#[derive(State)]
struct WeightedMean {
    sum: i64,
    weight: i64,
}

/// The mean of `value`, each as often as `weight` says (once, if that is null).
#[aggregate]
impl WeightedMean {
    fn update(&mut self, value: i64, weight: Option<i64>) {
        let weight = weight.unwrap_or(1);
        self.sum += value * weight;
        self.weight += weight;
    }

    fn merge(&mut self, other: &Self) {
        self.sum += other.sum;
        self.weight += other.weight;
    }

    fn retract(&mut self, other: &Self) {
        self.sum -= other.sum;
        self.weight -= other.weight;
    }

    fn finish(&self) -> Option<f64> {
        (self.weight != 0).then(|| self.sum as f64 / self.weight as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidemill_sdk::testing;

    #[test]
    fn weights_count() {
        let rows = "{\"value\": 1, \"weight\": 3}\n{\"value\": 5, \"weight\": 1}\n{\"weight\": 9}";
        assert_eq!(testing::aggregate::<WeightedMean>().run(rows).of["[]"], "2");
    }
}

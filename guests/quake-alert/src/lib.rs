//! `std-quake-alert`: tells which earthquakes matter, with what went before in the same region (the pipeline's `by`).

use tidemill_sdk::{Config, Event, Output, State, rule};

#[derive(Event)]
struct Quake {
    mag: Option<f64>,
    tsunami: Option<i64>,
}

/// What a region has seen.
#[derive(State)]
struct Region {
    quakes: i64,
    strongest: Option<f64>,
}

#[derive(Config)]
struct Limits {
    /// Weaker ones are counted and nothing else.
    #[config(default = 4.5)]
    magnitude: f64,
    /// From here on it is critical.
    #[config(default = 6.0)]
    critical: f64,
}

#[derive(Output)]
struct Alert {
    severity: &'static str,
    /// The strongest of its region so far.
    record: bool,
    /// Which one of its region it is, from 1.
    number: i64,
}

/// Yes for earthquakes of at least `magnitude` and for those with a tsunami warning; says how severe it is, and whether it is the
/// region's strongest so far. Needs `by: [region]` or another key.
#[rule]
fn quake_alert(quake: &Quake, region: &mut Region, config: &Limits) -> Option<Alert> {
    let mag = quake.mag?;
    let record = region.strongest.is_none_or(|strongest| mag > strongest);
    region.quakes += 1;
    if record {
        region.strongest = Some(mag);
    }
    let tsunami = quake.tsunami == Some(1);
    let severity = if tsunami || mag >= config.critical { "critical" } else { "warning" };
    (tsunami || mag >= config.magnitude).then_some(Alert { severity, record, number: region.quakes })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alerts_know_their_region() {
        let report = tidemill_sdk::testing::rule::<quake_alert>().config(r#"{"magnitude": 4}"#).by(&["region"]).run(
            r#"
            {"mag": 4.5, "tsunami": 0, "region": "Alaska"}
            {"mag": 1.5, "tsunami": 0, "region": "Alaska"}
            {"mag": 4.0, "tsunami": 0, "region": "Alaska"}
            {"mag": 6.5, "tsunami": 0, "region": "Peru"}
            {"mag": 3.0, "tsunami": 1, "region": "Peru"}
            {"tsunami": 1, "region": "Peru"}
        "#,
        );
        assert_eq!(report.verdicts, [true, false, true, true, true, false]);
        assert_eq!(report.rows[2], r#"{"severity":"warning","record":false,"number":3}"#);
        assert_eq!(report.rows[3], r#"{"severity":"critical","record":true,"number":1}"#);
        assert_eq!(report.rows[4], r#"{"severity":"critical","record":false,"number":2}"#);
        assert_eq!(report.state[r#"["Alaska"]"#], r#"{"quakes":3,"strongest":4.5}"#);
    }
}

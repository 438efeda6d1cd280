//! `std-quake-place`: the place of an earthquake as the USGS writes it, taken apart: `81km WNW of Skagway, Alaska`.

use tidemill_sdk::{Event, Output, transform};

#[derive(Event)]
struct Quake<'a> {
    place: Option<&'a str>,
}

/// A place in parts.
#[derive(Output)]
struct Place<'a> {
    /// How far from `near`, in km.
    distance_km: Option<i64>,
    /// In which direction from it: `WNW`.
    direction: Option<&'a str>,
    /// The place it is measured from: `Skagway`.
    near: Option<&'a str>,
    /// State or country: `Alaska`; the whole text where nothing is named.
    region: Option<&'a str>,
}

/// Takes `place` apart: `distance_km`, `direction`, `near`, `region`. A row for each row.
#[transform]
fn quake_place<'a>(quake: &Quake<'a>) -> Place<'a> {
    let place = quake.place.unwrap_or_default().trim();
    let (near, region) = place.rsplit_once(", ").map_or((place, place), |(near, region)| (near, region));
    let offset = near.split_once(" of ").and_then(|(offset, near)| {
        let (distance, direction) = offset.split_once("km ")?;
        Some((distance.parse().ok()?, direction, near))
    });
    let some = |text: &'a str| (!text.is_empty()).then_some(text);
    match offset {
        Some((distance_km, direction, near)) => {
            Place { distance_km: Some(distance_km), direction: some(direction), near: some(near), region: some(region) }
        }
        None => Place { distance_km: None, direction: None, near: some(near), region: some(region) },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_places_apart() {
        let report = tidemill_sdk::testing::transform::<quake_place>().run(
            r#"
            {"place": "81km WNW of Skagway, Alaska"}
            {"place": "Reykjanes Ridge"}
            {"place": "off the coast of Oregon"}
            {}
        "#,
        );
        assert_eq!(
            report.rows,
            [
                r#"{"distance_km":81,"direction":"WNW","near":"Skagway","region":"Alaska"}"#,
                r#"{"distance_km":null,"direction":null,"near":"Reykjanes Ridge","region":"Reykjanes Ridge"}"#,
                r#"{"distance_km":null,"direction":null,"near":"off the coast of Oregon","region":"off the coast of Oregon"}"#,
                r#"{"distance_km":null,"direction":null,"near":null,"region":null}"#,
            ]
        );
    }
}

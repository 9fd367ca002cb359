//! Travel: how far apart two places on Earth are, with basic arithmetic only, so that every machine agrees.

/// A place in hundredths of a degree (1.1 km): latitude, longitude.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    pub latitude: i16,
    pub longitude: i16,
}

const EARTH_RADIUS_KM: f64 = 6_371.0;

impl Place {
    /// From OCSF `coordinates`: longitude first, then latitude, in degrees. `None` for anything else, NaN included.
    pub fn of(coordinates: &[f64]) -> Option<Self> {
        let [longitude, latitude] = *coordinates else { return None };
        let on_earth = longitude.abs() <= 180.0 && latitude.abs() <= 90.0;
        on_earth.then(|| Place {
            latitude: (latitude * 100.0).round() as i16,
            longitude: (longitude * 100.0).round() as i16,
        })
    }

    /// Great-circle distance, in kilometres. Exact to a thousandth up to a quarter of the globe, a sixth short at most
    /// between opposite points.
    pub fn distance_km(self, other: Place) -> f64 {
        if self == other {
            return 0.0;
        }
        let (a, b) = (self.unit(), other.unit());
        let square: f64 = a.iter().zip(&b).map(|(a, b)| (a - b) * (a - b)).sum();
        let half = square.sqrt() / 2.0;
        let half2 = half * half;
        // The series of the arcsine.
        let arc = half
            * (1.0
                + half2
                    * (1.0 / 6.0
                        + half2 * (3.0 / 40.0 + half2 * (15.0 / 336.0 + half2 * (105.0 / 3_456.0)))));
        2.0 * EARTH_RADIUS_KM * arc
    }

    /// The point on the unit sphere.
    fn unit(self) -> [f64; 3] {
        let (latitude, longitude) = (f64::from(self.latitude) / 100.0, f64::from(self.longitude) / 100.0);
        let (north, across) = (sine(latitude), sine(90.0 - latitude.abs()));
        let east = if longitude.abs() <= 90.0 { sine(longitude) } else { sine(turned(longitude)) };
        [north, across * sine(90.0 - longitude.abs()), across * east]
    }
}

/// The angle between -90 and 90 degrees with the same sine.
fn turned(degrees: f64) -> f64 {
    if degrees > 0.0 { 180.0 - degrees } else { -180.0 - degrees }
}

/// The sine of -90 to 90 degrees by its Taylor series, off by less than one in ten million.
fn sine(degrees: f64) -> f64 {
    let x = degrees * (std::f64::consts::PI / 180.0);
    let x2 = x * x;
    let series = [1.0 / 39_916_800.0, 1.0 / 362_880.0, 1.0 / 5_040.0, 1.0 / 120.0, 1.0 / 6.0, 1.0];
    x * series.iter().fold(0.0, |sum, term| term - sum * x2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_are_those_of_the_atlas() {
        let place = |longitude: f64, latitude: f64| Place::of(&[longitude, latitude]).expect("on Earth");
        let (berlin, sydney, tokyo) = (place(13.40, 52.52), place(151.21, -33.87), place(139.69, 35.69));
        let (fiji, samoa) = (place(179.9, -17.0), place(-179.9, -17.0));
        for (from, to, want) in [
            (berlin, berlin, 0.0),
            (berlin, place(2.35, 48.86), 878.0),
            (berlin, tokyo, 8_918.0),
            (berlin, sydney, 16_094.0),
            (fiji, samoa, 21.3),
            (place(0.0, 90.0), place(77.0, 90.0), 0.0),
        ] {
            let got = from.distance_km(to);
            assert!((got - want).abs() <= want * 0.06 + 0.2, "{from:?} {to:?}: {got} {want}");
        }
        assert!(place(0.0, 0.0).distance_km(place(180.0, 0.0)) > 16_000.0);
    }

    #[test]
    fn what_is_not_on_earth_is_no_place() {
        for bad in [
            &[][..],
            &[1.0],
            &[1.0, 2.0, 3.0],
            &[f64::NAN, 0.0],
            &[0.0, f64::INFINITY],
            &[181.0, 0.0],
            &[0.0, -90.1],
            &[f64::MIN, f64::MAX],
        ] {
            assert_eq!(Place::of(bad), None, "{bad:?}");
        }
    }
}

//! Usual: a principal's habits in words, for the reasons of a finding.

use super::Behaviour;
use crate::detectors::words;
use crate::features::{
    DEVICE, FAN_OUT, GAP, HOUR, NETWORK, OPERATION, RATE, RATE_RISE, SIZE, SIZE_DEVIATION, TRAVEL,
};
use crate::log2::exp2_m1;

/// Of its active hours, how many the usual range holds, in percent.
const HOURS_PERCENT: u32 = 90;

impl Behaviour {
    /// The principal's usual range of a feature in the feature's own unit, where it is known.
    pub fn usual(&self, feature: usize) -> Option<String> {
        match feature {
            HOUR => self.usual_hours(),
            SIZE | SIZE_DEVIATION => self.usual_size(),
            GAP | RATE | RATE_RISE => (self.events > 0).then(|| match self.events_per_hour() {
                0 => "less than an event an hour".to_owned(),
                count => format!("{} an hour", counted(count as usize, "event")),
            }),
            NETWORK => some_counted(self.networks.len(), "network"),
            DEVICE => some_counted(self.devices.len(), "device"),
            OPERATION => {
                let known = self.streams.operations();
                let kinds = (0..=u8::MAX).filter(|symbol| known.count(*symbol) > 0).count();
                let of = counted(known.len(), "call");
                some_counted(kinds, "operation").map(|kinds| format!("{kinds} in its last {of}"))
            }
            TRAVEL => self.place().map(|(place, _)| {
                let degrees = |hundredths: i16| f64::from(hundredths) / 100.0;
                format!("near {:.1}, {:.1}", degrees(place.latitude), degrees(place.longitude))
            }),
            FAN_OUT => {
                let things = self.fan_out(self.last, 0) >> 16;
                (self.events > 0).then(|| format!("{} in ten minutes", counted(things as usize, "thing")))
            }
            _ => None,
        }
    }

    /// The shortest stretch of the day that holds nine of ten active hours.
    fn usual_hours(&self) -> Option<String> {
        let total: u32 = self.hours.iter().map(|count| u32::from(*count)).sum();
        if total == 0 {
            return None;
        }
        let weight = |from: usize, length: usize| -> u32 {
            self.hours.iter().cycle().skip(from).take(length).map(|count| u32::from(*count)).sum()
        };
        let holds = |from: &usize, length| weight(*from, length) * 100 >= total * HOURS_PERCENT;
        let (from, length) =
            (1..=24).find_map(|length| Some(((0..24).find(|from| holds(from, length))?, length)))?;
        Some(match length {
            21.. => "any hour".to_owned(),
            _ => format!("{from:02}:00-{:02}:00 UTC", (from + length) % 24),
        })
    }

    /// Two standard deviations around the mean.
    fn usual_size(&self) -> Option<String> {
        let (mean, deviation) = self.size()?;
        let (low, high) = (mean.saturating_sub(2 * deviation), mean.saturating_add(2 * deviation));
        let [low, high] = [low, high].map(|bits| words::bytes(exp2_m1(bits)));
        Some(if low == high { low } else { format!("{low} to {high}") })
    }
}

fn some_counted(count: usize, what: &str) -> Option<String> {
    (count > 0).then(|| counted(count, what))
}

fn counted(count: usize, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}

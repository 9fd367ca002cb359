//! The catalog of detectors. One more is one more file and one more line in each of the two lists here.

use crate::detector::Detector;
use crate::sighting::Sighting;
use prunella_schemas::finding::Analytic;
use serde::{Deserialize, Serialize};

pub mod audit_log;
pub mod destruction;
pub mod download;
pub mod enumeration;
pub mod exposure;
pub mod hostile_record;
pub mod ioc;
pub mod privilege;
pub mod sensitive_api;
pub mod sign_in;
pub mod two_networks;

macro_rules! detectors {
    ($($module:ident :: $detector:ident,)*) => {
        /// Every detector with its thresholds. As configuration: one section per detector.
        #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
        #[serde(default, deny_unknown_fields)]
        pub struct Detectors {
            $(pub $module: $module::$detector,)*
        }

        impl Detectors {
            pub fn all(&self) -> [&dyn Detector; [$(stringify!($module)),*].len()] {
                [$(&self.$module),*]
            }
        }
    };
}

detectors! {
    sign_in::SignIn,
    sensitive_api::SensitiveApi,
    enumeration::Enumeration,
    audit_log::AuditLog,
    privilege::Privilege,
    exposure::Exposure,
    two_networks::TwoNetworks,
    download::Download,
    destruction::Destruction,
    hostile_record::HostileRecord,
    ioc::Ioc,
}

/// What can be found, by whom: the analytics of all detectors.
pub fn catalog() -> Vec<Analytic> {
    Detectors::default().all().iter().map(|detector| detector.analytic()).collect()
}

/// A table of calls, sorted by operation and service.
pub(crate) type Table<T> = &'static [(&'static str, &'static str, T)];

/// The row of the event's call. An event that names no service matches by operation alone.
fn find<T>(table: Table<T>, seen: &Sighting<'_>) -> Option<&'static T> {
    let start = table.partition_point(|(operation, _, _)| *operation < seen.operation);
    let rows = table.iter().skip(start).take_while(|(operation, _, _)| *operation == seen.operation);
    let mut rows = rows.filter(|(_, service, _)| *service == seen.service || seen.service.is_empty());
    rows.next().map(|(_, _, row)| row)
}

#[cfg(test)]
fn assert_sorted<T>(table: Table<T>) {
    let keys: Vec<_> = table.iter().map(|(operation, service, _)| (operation, service)).collect();
    assert!(keys.is_sorted_by(|a, b| a < b), "{keys:?}");
}

/// Text for people.
pub(crate) mod words {
    use prunella_schemas::Timestamp;

    /// `4 min`, or `30 s` below one minute.
    pub fn span(ms: i64) -> String {
        match ms.max(0) / 1_000 {
            0 => "1 s".to_owned(),
            seconds @ 1..60 => format!("{seconds} s"),
            seconds @ 60..7_200 => format!("{} min", (seconds + 30) / 60),
            seconds => format!("{} h", (seconds + 1_800) / 3_600),
        }
    }

    pub fn between(marks: &[crate::Mark]) -> String {
        let ends = marks.first().zip(marks.last());
        span(ends.map_or(0, |(first, last)| last.time.since_ms(first.time)))
    }

    /// `512.0 MiB`.
    pub fn bytes(n: u64) -> String {
        let units = [("GiB", 30), ("MiB", 20), ("KiB", 10)];
        match units.iter().find(|(_, shift)| n >> shift > 0) {
            Some((unit, shift)) => {
                let tenths = (u128::from(n) * 10) >> shift;
                format!("{}.{} {unit}", tenths / 10, tenths % 10)
            }
            None => format!("{n} B"),
        }
    }

    /// `03:00 UTC`.
    pub fn clock(time: Timestamp) -> String {
        let minute = time.0.div_euclid(60_000).rem_euclid(1_440);
        format!("{:02}:{:02} UTC", minute / 60, minute % 60)
    }

    /// `a, b and c`, at most `max` of them.
    pub fn list(items: &[&str], max: usize) -> String {
        let shown = items.get(..max.min(items.len())).unwrap_or(items);
        match (shown, items.len() - shown.len()) {
            ([], _) => String::new(),
            ([one], 0) => (*one).to_owned(),
            (shown, 0) => {
                let (last, head) = shown.split_last().map_or(("", shown), |(last, head)| (*last, head));
                format!("{} and {last}", head.join(", "))
            }
            (shown, more) => format!("{} and {more} more", shown.join(", ")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_read_well() {
        assert_eq!([0, 900, 61_000, 7_200_000].map(words::span), ["1 s", "1 s", "1 min", "2 h"]);
        assert_eq!(
            [5, 1 << 10, 500 << 20, 3 << 29].map(words::bytes),
            ["5 B", "1.0 KiB", "500.0 MiB", "1.5 GiB"]
        );
        assert_eq!(words::list(&["a", "b", "c"], 3), "a, b and c");
        assert_eq!(words::list(&["a", "b", "c"], 2), "a, b and 1 more");
        assert_eq!(words::list(&["a"], 2), "a");
    }

    #[test]
    fn ids_are_unique_and_match_their_analytic() {
        let all = Detectors::default();
        let ids: std::collections::BTreeSet<_> = all.all().iter().map(|d| d.id()).collect();
        assert_eq!(ids.len(), all.all().len());
        assert!(all.all().iter().all(|d| d.analytic().uid == d.id()));
    }
}

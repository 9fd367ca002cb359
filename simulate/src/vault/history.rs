//! History: what a user of the vault did in the two days before, as the vault would have written it.
//!
//! The user works by day. It is night there when the attack begins ([`crate::Traffic::live`]), but for the program that
//! goes unnoticed among the day's work.

use super::Resident;
use crate::background::Traffic;
use crate::cast::OFFICE_NETWORK;
use crate::operation::log_normal;
use crate::scenario::Scenario;
use crate::{Rng, stream};
use prunella_schemas::ocsf::{
    API_ACTIVITY, AUTHENTICATION, Account, Actor, Api, Class, DATASTORE_ACTIVITY, Endpoint, FILE_HOSTING,
    File, HttpRequest, Metadata, OCSF_VERSION, Product, STATUS_SUCCESS, Service, Session, Traffic as Bytes,
    User,
};
use prunella_schemas::{Event, Timestamp};
use rand::RngExt;
use rand_distr::{Distribution, Gamma};

/// Where the user works.
pub fn home() -> String {
    format!("{OFFICE_NETWORK}.21")
}

/// The user's client.
pub const AGENT: &str = "prunella-vault/0.1";

const HOUR_MS: i64 = 3_600_000;
const DAY_MS: i64 = 24 * HOUR_MS;
/// Days of work before this one.
const DAYS: i64 = 2;
/// The hours of the day at which work begins and ends.
const WORK: (i64, i64) = (8, 18);
/// Events of a day: enough that something is known of the user, and so many that the order and pace of their work are.
const EVENTS: usize = 200;
const EVENTS_OF_HABIT: usize = 2_200;
/// Median of a download, in bytes, and the sigma of the log-normal.
const BYTES: (f64, f64) = (65_000.0, 0.15);
/// Shape of the gamma distribution of gaps: people act in bursts, below 1.
const BURSTS: f64 = 0.6;
/// How much later it is where a scraper is than where everybody else sleeps: then it is two in the afternoon.
const BY_DAY_MS: i64 = 11 * HOUR_MS;

/// What users do, by weight: operation, class and activity, weight.
const HABITS: [(&str, Class, u8, u32); 8] = [
    ("list", DATASTORE_ACTIVITY, 8, 6),
    ("inspect", FILE_HOSTING, 17, 6),
    ("open", FILE_HOSTING, 14, 4),
    ("download", FILE_HOSTING, 2, 4),
    ("upload", FILE_HOSTING, 1, 2),
    ("shares", DATASTORE_ACTIVITY, 8, 1),
    ("me", API_ACTIVITY, 2, 1),
    ("login", AUTHENTICATION, 1, 1),
];

/// One line of JSON for each event, oldest first.
pub fn of(resident: &Resident, scenario: Scenario, seed: u64, now: Timestamp) -> Vec<Vec<u8>> {
    let is_day = scenario == Scenario::PredictableScraper;
    let a_day = if is_day { EVENTS_OF_HABIT } else { EVENTS };
    let mut rng = stream(seed, "vault history", now.millis().unsigned_abs());
    let zone_ms = Traffic::live(seed, now).zone_ms + if is_day { BY_DAY_MS } else { 0 };
    let midnight = (now.0 + zone_ms).div_euclid(DAY_MS) * DAY_MS - zone_ms;
    let mut events = Vec::with_capacity(a_day * (DAYS as usize + 1));
    for day in (0..=DAYS).rev() {
        let begin = Timestamp(midnight - day * DAY_MS + WORK.0 * HOUR_MS);
        let until = Timestamp(midnight - day * DAY_MS + WORK.1 * HOUR_MS);
        let session = format!("{:032x}", rng.random::<u128>());
        let desk = Desk { resident, session, began: begin };
        let gaps: Vec<f64> = (0..a_day).map(|_| gap(&mut rng)).collect();
        let unit_ms = until.since_ms(begin) as f64 / gaps.iter().sum::<f64>();
        events.push(desk.event(begin, "login", AUTHENTICATION, 1, &mut rng));
        let mut passed = 0.0_f64;
        for gap in gaps {
            passed += gap;
            let (operation, class, activity, _) = habit(&mut rng);
            let time = begin.plus_ms((passed * unit_ms) as i64);
            events.push(desk.event(time, operation, class, activity, &mut rng));
        }
    }
    // What has not come yet has not happened.
    events.retain(|event| event.time < now);
    let line = |event: &Event| {
        let mut value = serde_json::to_value(event).unwrap_or_default();
        // Facts of the pipeline are the pipeline's to add.
        value.as_object_mut().map(|fields| fields.remove("prunella"));
        let mut line = value.to_string().into_bytes();
        line.push(b'\n');
        line
    };
    events.iter().map(line).collect()
}

/// In no unit: the day decides.
fn gap(rng: &mut Rng) -> f64 {
    Gamma::new(BURSTS, 1.0).map_or(1.0, |gaps| gaps.sample(rng))
}

fn habit(rng: &mut Rng) -> (&'static str, Class, u8, u32) {
    let mut left = rng.random_range(0..HABITS.iter().map(|habit| habit.3).sum::<u32>());
    for habit in HABITS {
        if left < habit.3 {
            return habit;
        }
        left -= habit.3;
    }
    HABITS[0]
}

/// Where the user sits for a day.
struct Desk<'a> {
    resident: &'a Resident,
    session: String,
    began: Timestamp,
}

impl Desk<'_> {
    fn event(&self, time: Timestamp, operation: &str, class: Class, activity: u8, rng: &mut Rng) -> Event {
        let mut event = Event::new(class, activity, STATUS_SUCCESS, 1);
        let some = |text: &str| Some(text.to_owned());
        event.time = time;
        event.metadata = Metadata {
            uid: Some(format!("{:032x}", rng.random::<u128>())),
            version: OCSF_VERSION.into(),
            product: Product { name: "Prunella Vault".into(), vendor_name: "Prunella".into(), feature: None },
            event_code: some(operation),
            ..Metadata::default()
        };
        event.actor = Some(Actor {
            user: Some(User {
                uid: Some(self.resident.id.clone()),
                name: Some(self.resident.username.clone()),
                account: Some(Account { uid: some("vault"), ..Account::default() }),
                credential_uid: Some(self.session.clone()),
                ..User::default()
            }),
            session: Some(Session {
                uid: Some(self.session.clone()),
                created_time: Some(self.began),
                credential_uid: Some(self.session.clone()),
                ..Session::default()
            }),
            ..Actor::default()
        });
        event.src_endpoint = Some(Endpoint { ip: Some(home()), ..Endpoint::default() });
        event.http_request = Some(HttpRequest { user_agent: some(AGENT), ..HttpRequest::default() });
        event.api = Some(Api {
            operation: operation.to_owned(),
            service: Some(Service { name: some("prunella-vault"), uid: None }),
            ..Api::default()
        });
        if class.uid == FILE_HOSTING.uid && !self.resident.files.is_empty() {
            let file = &self.resident.files[rng.random_range(0..self.resident.files.len())];
            event.file = Some(File { name: file.clone(), uid: Some(file.clone()), ..File::default() });
        }
        let bytes = log_normal(BYTES.0, BYTES.1, rng) as u64;
        event.traffic = match operation {
            "download" => Some(Bytes { bytes_out: Some(bytes), ..Bytes::default() }),
            "upload" => Some(Bytes { bytes_in: Some(bytes), ..Bytes::default() }),
            _ => None,
        };
        event
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_works_by_day_and_the_same_seed_gives_the_same_days() {
        let files = vec!["f1".to_owned(), "f2".to_owned()];
        let resident = Resident { id: "u1".into(), username: "u".into(), secret: String::new(), files };
        let now = Timestamp(1_795_000_000_000);
        let lines = of(&resident, Scenario::InsiderBulkDownload, 7, now);
        assert_eq!(lines, of(&resident, Scenario::InsiderBulkDownload, 7, now));
        assert_eq!(lines.len(), DAYS as usize * (EVENTS + 1));
        let times: Vec<i64> = lines
            .iter()
            .map(|line| serde_json::from_slice::<serde_json::Value>(line).unwrap()["time"].as_i64().unwrap())
            .collect();
        assert!(times.is_sorted() && times.iter().all(|time| now.0 - time > 6 * HOUR_MS), "it is night");
        assert!(now.0 - times[0] > 30 * HOUR_MS);
    }
}

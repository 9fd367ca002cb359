//! Background: what a small company's account does when nobody attacks it, late and out of order as the provider delivers it.

use crate::Rng;
use crate::call::{Call, SIGN_IN, Token};
use crate::cast::{
    ADMIN_USER, BACKUP_ROLE, CI_ROLE, GATEWAY_NETWORK, Identity, JANITOR_ROLE, MEMBERS, Member,
    OFFICE_NETWORK, Profile, letters,
};
use crate::operation::{Habit, Seat, call, failing, habits, log_normal, object_call};
use crate::record::{Verdict, Written, write};
use crate::{ATTACK_HOUR, stream};
use prunella_schemas::Timestamp;
use rand::RngExt;
use rand_distr::{Distribution, Pareto, Poisson};
use serde_json::json;

const MINUTE_MS: i64 = 60_000;
const HOUR_MS: i64 = 60 * MINUTE_MS;
const DAY_MS: i64 = 24 * HOUR_MS;

/// What the background looks like. The defaults come from what can be observed in public:
///
/// - *Errors*: 310 of 999 public CloudTrail records carry an `errorCode` (840 of opensearch-project/opensearch-catalog,
///   135 of DataDog/stratus-red-team, 24 of cloud-custodian; Apache-2.0), most of them from a configuration recorder
///   that asks buckets for settings they do not have. Error shares per operation are in [`crate::operation`]; together
///   they give 10 to 35 %.
/// - *Who*: in the largest of those samples one role made 704 of 840 calls. Activity by rank follows Zipf's law.
/// - *When*: people and programs call in bursts with heavy-tailed gaps (Barabasi, "The origin of bursts and heavy tails
///   in human dynamics", Nature 435, 2005). Sessions arrive; within a session gaps are Pareto.
/// - *Sizes* of S3 objects are log-normal (Downey, MASCOTS 2001).
/// - *Delivery*: "CloudTrail typically delivers logs within an average of about 5 minutes of an API call. This time is
///   not guaranteed", and log files are "not an ordered stack trace" (AWS CloudTrail user guide).
///
/// It is night where the company is when the history ends, since `zone_ms` says where that is. Every day is a working day, so that the history does not depend on the weekday on which it is made.
#[derive(Clone, Debug, PartialEq)]
pub struct Traffic {
    pub seed: u64,
    /// When the attack begins; every background event is earlier.
    pub end: Timestamp,
    /// The company's time zone: its local time minus UTC, in milliseconds.
    pub zone_ms: i64,
    /// Length of the history. It is held within [`HISTORY_HOURS_MIN`] and [`HISTORY_HOURS_MAX`].
    pub history_hours: u32,
    /// 1.0 is about 3,000 events a day. It is held within 0.02 and [`SCALE_MAX`].
    pub scale: f64,
    /// Exponent of Zipf's law over the ranks of the principals.
    pub zipf_exponent: f64,
    /// Median calls of a session, and the sigma of the log-normal they are drawn from.
    pub session_calls: (f64, f64),
    /// Scale in milliseconds and shape of the Pareto gaps within a session.
    pub gap_ms: (f64, f64),
    /// Median delay of delivery in milliseconds, and the sigma of the log-normal it is drawn from.
    pub delivery_ms: (f64, f64),
    /// Share of sign-ins before which the password is mistyped once.
    pub mistyped: f64,
}

pub const HISTORY_HOURS_MIN: u32 = 24;
pub const HISTORY_HOURS_MAX: u32 = 72;
pub const SCALE_MAX: f64 = 100.0;
/// The longest delay of delivery, in milliseconds.
pub const DELIVERY_MS_MAX: f64 = 30.0 * MINUTE_MS as f64;
/// The longest gap within a session, in milliseconds.
const GAP_MS_MAX: f64 = 3.0 * MINUTE_MS as f64;
/// Most calls of one session.
const SESSION_CALLS_MAX: f64 = 80.0;
/// The browser of the company's laptops.
const BROWSER: &str = "Mozilla/5.0 (X11; Linux x86_64; rv:144.0) Gecko/20100101 Firefox/144.0";
/// Calls drawn from habits per day at scale 1; sign-ins and routines come on top.
const CALLS_PER_DAY: f64 = 2_800.0;

impl Traffic {
    /// A history that ends at `end`, in a company that lives by UTC.
    pub fn new(seed: u64, end: Timestamp) -> Self {
        Traffic {
            seed,
            end,
            zone_ms: 0,
            history_hours: 48,
            scale: 1.0,
            zipf_exponent: 1.05,
            session_calls: (9.0, 0.8),
            gap_ms: (350.0, 1.2),
            delivery_ms: (150_000.0, 0.8),
            mistyped: 0.12,
        }
    }

    /// A history that ends now, in a company that lives where it is three in the morning now. Its times are real, so that
    /// what comes next can be compared with the wall clock.
    pub fn live(seed: u64, now: Timestamp) -> Self {
        let zone_ms =
            (ATTACK_HOUR * HOUR_MS - now.0.rem_euclid(DAY_MS) + DAY_MS / 2).rem_euclid(DAY_MS) - DAY_MS / 2;
        Traffic { zone_ms, ..Traffic::new(seed, now) }
    }

    fn begin(&self) -> Timestamp {
        let hours = self.history_hours.clamp(HISTORY_HOURS_MIN, HISTORY_HOURS_MAX);
        self.end.plus_ms(-i64::from(hours) * HOUR_MS)
    }

    /// The local midnights from which the history's days count.
    fn days(&self) -> impl Iterator<Item = i64> + use<> {
        let (zone, day) = (self.zone_ms, |time: Timestamp| (time.0 + self.zone_ms).div_euclid(DAY_MS));
        (day(self.begin())..=day(self.end)).map(move |day| day * DAY_MS - zone)
    }
}

/// One background record on its way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    pub time: Timestamp,
    /// When the provider would deliver it; the order of delivery.
    pub delivered: Timestamp,
    pub principal: String,
    pub written: Written,
}

/// The whole background, in the order of its delivery.
pub fn background(traffic: &Traffic) -> Vec<Delivery> {
    let mut all = Vec::new();
    for (rank, member) in MEMBERS.iter().enumerate() {
        let part = rank as u64;
        let mut calls = activity(traffic, rank, member, &mut stream(traffic.seed, "activity", part));
        calls.extend(routine(traffic, member, &mut stream(traffic.seed, "routine", part)));
        calls.retain(|(time, _)| (traffic.begin()..traffic.end).contains(time));
        calls.sort_by_key(|(time, _)| *time);
        // Ids belong to one seed and one time: another history must not repeat them.
        let mut rng = stream(traffic.seed, &format!("record {}", traffic.end.0), part);
        all.extend(calls.iter().map(|(time, call)| deliver(traffic, *time, call, &mut rng)));
    }
    all.sort_by(|a, b| (a.delivered, &a.written.event_id).cmp(&(b.delivered, &b.written.event_id)));
    all
}

type Timed = (Timestamp, Call);

fn deliver(traffic: &Traffic, time: Timestamp, call: &Call, rng: &mut Rng) -> Delivery {
    let failed = call.is_sign_in() && call.failure.is_some();
    let verdict = if failed { Verdict::Failed } else { Verdict::Accepted };
    let written = write(call, time, verdict, rng);
    let (median, sigma) = traffic.delivery_ms;
    let delay = log_normal(median, sigma, rng).min(DELIVERY_MS_MAX);
    Delivery { time, delivered: time.plus_ms(delay as i64), principal: call.identity.principal(), written }
}

/// What the member does by habit: sessions, each a burst of calls.
fn activity(traffic: &Traffic, rank: usize, member: &Member, rng: &mut Rng) -> Vec<Timed> {
    let weight = |rank: usize| (rank as f64 + 1.0).powf(-traffic.zipf_exponent);
    let share = weight(rank) / (0..MEMBERS.len()).map(weight).sum::<f64>();
    let days = traffic.end.since_ms(traffic.begin()) as f64 / DAY_MS as f64;
    let wanted = (share * CALLS_PER_DAY * days * traffic.scale.clamp(0.02, SCALE_MAX)).max(4.0) as usize;
    let places = places(traffic, member, rng);
    let mut calls = Vec::with_capacity(wanted);
    let mut made = 0;
    while made < wanted && !places.is_empty() {
        let place = &places[rng.random_range(0..places.len())];
        let (median, sigma) = traffic.session_calls;
        let length = log_normal(median, sigma, rng).clamp(1.0, SESSION_CALLS_MAX) as usize;
        let length = length.min(wanted - made);
        let mut time = Timestamp(rng.random_range(place.from.0..place.until.0));
        for _ in 0..length {
            // A session that outlasts its place ends there; the calls not made count, so that this always ends.
            made += 1;
            if time < place.until {
                calls.push((time, habitual(&place.seat, draw(habits(member.profile), rng), rng)));
            }
            time = time.plus_ms(gap(traffic, rng));
        }
    }
    if member.profile.is_human() {
        calls.extend(places.iter().flat_map(|place| sign_in(traffic, place, rng)));
    }
    calls
}

fn gap(traffic: &Traffic, rng: &mut Rng) -> i64 {
    let (scale, shape) = traffic.gap_ms;
    Pareto::new(scale, shape).map_or(scale, |gaps| gaps.sample(rng)).min(GAP_MS_MAX) as i64
}

fn draw<'a>(habits: &'a [Habit], rng: &mut Rng) -> &'a Habit {
    let mut left = rng.random_range(0..habits.iter().map(|habit| habit.weight).sum::<u32>());
    for habit in habits {
        if left < habit.weight {
            return habit;
        }
        left -= habit.weight;
    }
    &habits[0]
}

fn habitual(seat: &Seat, habit: &Habit, rng: &mut Rng) -> Call {
    let call = call(seat, habit.service, habit.operation, rng);
    if rng.random_bool(habit.failing) { failing(call, habit.code, habit.message) } else { call }
}

/// Where a member sits for some hours.
struct Place {
    seat: Seat,
    from: Timestamp,
    until: Timestamp,
    /// Whether the member signs in to the console on arrival.
    signs_in: bool,
}

fn places(traffic: &Traffic, member: &Member, rng: &mut Rng) -> Vec<Place> {
    if !member.profile.is_human() {
        return vec![workplace(traffic, member)];
    }
    let home = format!("198.{}.{}", 18 + rng.random_range(0..2), rng.random_range(1..250));
    // One laptop in four keeps a session when it moves; on the others every place has its own.
    let carries = rng.random_bool(0.25);
    let mut places = Vec::new();
    for (number, midnight) in traffic.days().enumerate() {
        let hours = |from: f64, until: f64| {
            (
                Timestamp(midnight + (from * HOUR_MS as f64) as i64),
                Timestamp(midnight + (until * HOUR_MS as f64) as i64),
            )
        };
        let offset = rng.random_range(-0.4..0.4);
        let mut stay =
            |network: &str, host: u32, (from, until): (Timestamp, Timestamp), weight: usize, word: &str| {
                let session = if carries { format!("{number}") } else { format!("{number} {word}") };
                let issued = if carries { midnight + 6 * HOUR_MS } else { from.0 };
                for _ in 0..weight {
                    let seat = human_seat(member, &format!("{network}.{host}"), &session, Timestamp(issued));
                    let signs_in = places.last().is_none_or(|last: &Place| last.from != from);
                    places.push(Place { seat, from, until, signs_in });
                }
            };
        // Being drawn five times out of eight, the office holds most of the day's work.
        stay(&home, 17, hours(6.8 + offset, 7.9 + offset), 2, "morning");
        stay(OFFICE_NETWORK, 10 + host(member) % 20, hours(8.7 + offset, 17.4 + offset), 5, "office");
        stay(&home, 17, hours(19.6 + offset, 21.8 + offset), 1, "evening");
    }
    places.retain(|place| place.until <= traffic.end && place.from >= traffic.begin());
    places
}

fn host(member: &Member) -> u32 {
    member.name.bytes().map(u32::from).sum()
}

fn human_seat(member: &Member, source_ip: &str, session: &str, issued_at: Timestamp) -> Seat {
    let identity = member.identity();
    let credential =
        format!("ASIA{}", letters("credential", &format!("{} {session} {}", member.name, issued_at.0), 16));
    let user_agent = match member.profile {
        Profile::Analyst => {
            "aws-cli/2.31.4 md/awscrt#0.27.6 ua/2.1 os/macos#25.0.0 md/arch#arm64 lang/python#3.13.7"
        }
        _ => BROWSER,
    };
    Seat {
        token: Some(Token { principal: identity.principal(), credential, issued_at, stepped_up_at: None }),
        identity,
        source_ip: source_ip.to_owned(),
        user_agent: user_agent.to_owned(),
        vpc_endpoint: None,
    }
}

/// A workload is always in the same place: behind the gateway or an endpoint, or inside the provider.
fn workplace(traffic: &Traffic, member: &Member) -> Place {
    let identity = member.identity();
    let inside = member.profile == Profile::Service || identity.is_service_linked();
    let issued_at = traffic.end.plus_ms(-traffic.end.0.rem_euclid(DAY_MS) - 3 * DAY_MS);
    let token = (member.profile != Profile::Service).then(|| Token {
        principal: identity.principal(),
        credential: format!("ASIA{}", letters("credential", member.name, 16)),
        issued_at,
        stepped_up_at: None,
    });
    let source_ip = match inside {
        true => identity.linked_service().to_owned(),
        false if member.profile == Profile::Backend => {
            format!("10.0.{}.{}", host(member) % 16, 10 + host(member) % 200)
        }
        false => format!("{GATEWAY_NETWORK}.{}", 4 + host(member) % 8),
    };
    let user_agent = match inside {
        true => source_ip.clone(),
        false => "aws-sdk-rust/1.3.9 os/linux lang/rust/1.90.0".to_owned(),
    };
    let vpc_endpoint = (member.profile == Profile::Backend).then(|| "vpce-0a61638908b2c4d7e".to_owned());
    let seat = Seat { identity, token, source_ip, user_agent, vpc_endpoint };
    Place { seat, from: traffic.begin(), until: traffic.end, signs_in: false }
}

fn sign_in(traffic: &Traffic, place: &Place, rng: &mut Rng) -> Vec<Timed> {
    if !place.signs_in || !matches!(place.seat.identity, Identity::User { .. }) {
        return Vec::new();
    }
    // Who works at the command line signs in with a browser all the same.
    let seat = Seat { token: None, user_agent: BROWSER.to_owned(), ..place.seat.clone() };
    let success = (place.from, call(&seat, "signin", SIGN_IN, rng));
    let mistyped = rng.random_bool(traffic.mistyped).then(|| {
        let failed = failing(call(&seat, "signin", SIGN_IN, rng), "", "Failed authentication");
        (place.from.plus_ms(-rng.random_range(8_000..40_000)), failed)
    });
    mistyped.into_iter().chain([success]).collect()
}

/// What happens by the clock, every day.
fn routine(traffic: &Traffic, member: &Member, rng: &mut Rng) -> Vec<Timed> {
    let mut calls = Vec::new();
    for midnight in traffic.days() {
        match member.name {
            CI_ROLE => deployments(traffic, member, midnight, rng, &mut calls),
            ADMIN_USER => administration(traffic, member, midnight, rng, &mut calls),
            BACKUP_ROLE => backup(traffic, member, midnight, rng, &mut calls),
            JANITOR_ROLE => clean_up(traffic, member, midnight, rng, &mut calls),
            _ => {}
        }
    }
    calls
}

/// Infrastructure as code changes roles and policies a few times a day, and always has.
fn deployments(traffic: &Traffic, member: &Member, midnight: i64, rng: &mut Rng, out: &mut Vec<Timed>) {
    let seat = workplace(traffic, member).seat;
    let count: f64 = Poisson::new(4.0).map_or(4.0, |deployments| deployments.sample(rng));
    for number in 0..count.clamp(2.0, 8.0) as i64 {
        let mut time = Timestamp(midnight + (4 + number * 2) * HOUR_MS + rng.random_range(0..HOUR_MS));
        let role = format!("svc-{}", ["search", "mail", "orders", "carts"][rng.random_range(0..4)]);
        let policy = format!("arn:aws:iam::{}:policy/{role}-runtime", crate::cast::ACCOUNT);
        for (operation, request) in [
            ("GetRole", json!({"roleName": role})),
            (
                "CreatePolicyVersion",
                json!({"policyArn": policy, "setAsDefault": true, "policyDocument": "{\"Version\":\"2012-10-17\",\"Statement\":[{\"Effect\":\"Allow\",\"Action\":[\"s3:GetObject\"],\"Resource\":\"arn:aws:s3:::acme-app-logs/*\"}]}"}),
            ),
            ("AttachRolePolicy", json!({"roleName": role, "policyArn": policy})),
            (
                "TagRole",
                json!({"roleName": role, "tags": [{"key": "deployment", "value": format!("{:08x}", rng.random::<u32>())}]}),
            ),
        ] {
            let mut deployment = call(&seat, "iam", operation, rng);
            deployment.request = request;
            out.push((time, deployment));
            time = time.plus_ms(rng.random_range(300..2_500));
        }
    }
}

/// An administrator welcomes a colleague every morning, from the office.
fn administration(traffic: &Traffic, member: &Member, midnight: i64, rng: &mut Rng, out: &mut Vec<Timed>) {
    let Some(place) = places(traffic, member, &mut stream(traffic.seed, "activity", rank(member)))
        .into_iter()
        .find(|place| place.from.0 > midnight + 8 * HOUR_MS && place.from.0 < midnight + 10 * HOUR_MS)
    else {
        return;
    };
    let user = format!("new.colleague{}", midnight.div_euclid(DAY_MS) % 1_000);
    let mut time = place.from.plus_ms(HOUR_MS);
    for (operation, request) in [
        ("CreateUser", json!({"userName": user, "path": "/"})),
        ("AddUserToGroup", json!({"userName": user, "groupName": "developers"})),
        ("TagUser", json!({"userName": user, "tags": [{"key": "team", "value": "web"}]})),
    ] {
        let mut welcome = call(&place.seat, "iam", operation, rng);
        welcome.request = request;
        out.push((time, welcome));
        time = time.plus_ms(rng.random_range(10_000..60_000));
    }
}

fn rank(member: &Member) -> u64 {
    MEMBERS.iter().position(|other| other.name == member.name).unwrap_or_default() as u64
}

/// The nightly backup reads much, and the same every night.
fn backup(traffic: &Traffic, member: &Member, midnight: i64, rng: &mut Rng, out: &mut Vec<Timed>) {
    let seat = workplace(traffic, member).seat;
    for number in 0..24i64 {
        let key = format!("snapshots/orders/volume-{number:02}.img.zst");
        let bytes = 301_989_888 + rng.random_range(0..2_000_000);
        let time = Timestamp(midnight + HOUR_MS + number * 20_000 + rng.random_range(0..5_000));
        out.push((time, object_call(&seat, "GetObject", "acme-backups", &key, bytes, rng)));
    }
}

/// The daily clean-up deletes a few old log objects.
fn clean_up(traffic: &Traffic, member: &Member, midnight: i64, rng: &mut Rng, out: &mut Vec<Timed>) {
    let seat = workplace(traffic, member).seat;
    for number in 0..8i64 {
        let key = format!("expired/{}/{number:03}.log.gz", midnight.div_euclid(DAY_MS) - 90);
        let time =
            Timestamp(midnight + 4 * HOUR_MS + 10 * MINUTE_MS + number * 4_000 + rng.random_range(0..2_000));
        out.push((time, object_call(&seat, "DeleteObject", "acme-app-logs", &key, 0, rng)));
    }
}

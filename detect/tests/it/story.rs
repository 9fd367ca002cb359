//! Stories: events written as lines of text, so that a test reads like what happened.
//!
//! ```text
//! past ann 203.0.113.10 s3:GetObject,ec2:DescribeInstances days=2 bytes=20K
//! 09:00:00 ann 198.51.100.7 signin:ConsoleLogin fail=Failure x=9 every=25s
//! ```
//!
//! `past` gives somebody `days` working days, 08:00 to 18:00, that end `ago` days before day 0; other lines start with the time on day 0 (or
//! `1d03:00:00` for a later day). Options: `fail=CODE bytes=N cred=ID target=NAME policy=NAME resource=ARN raw=JSON`
//! (no blanks), `flag=duplicate_key service=NAME mfa=no x=TIMES every=SECONDS id=NATIVE`.

use prunella_schemas::event::Flag;
use prunella_schemas::ocsf::{
    ACCOUNT_CHANGE, API_ACTIVITY, AUTHENTICATION, Account, Actor, Api, Cloud, Endpoint, HttpRequest, Policy,
    Resource, Service, Traffic, User,
};
use prunella_schemas::{Event, Principal, Timestamp};
use std::collections::BTreeMap;

/// 2026-03-03T00:00:00Z.
pub const DAY_ZERO: Timestamp = Timestamp(1_772_496_000_000);
const HOUR_MS: i64 = 3_600_000;

/// The events of a story, in order of time.
pub fn events(story: &str) -> Vec<Event> {
    let mut events = Vec::new();
    for line in story.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            ["past", who, ip, operations, options @ ..] => {
                past(who, ip, operations, &parse(options), &mut events);
            }
            [time, who, ip, operation, options @ ..] => {
                let options = parse(options);
                let times: i64 = options.get("x").map_or(1, |n| n.parse().expect("x is a number"));
                let every = options.get("every").map_or(1_000, |every| seconds(every) * 1_000);
                for n in 0..times {
                    events.push(event(clock(time).plus_ms(n * every), who, ip, operation, &options, n));
                }
            }
            _ => panic!("a line of a story has a time, a name, an address and an operation: {line}"),
        }
    }
    events.sort_by_key(|event| (event.time, event.prunella.event_uid));
    events
}

fn past(who: &str, ip: &str, operations: &str, options: &BTreeMap<&str, &str>, events: &mut Vec<Event>) {
    let days: i64 = options.get("days").map_or(3, |days| days.parse().expect("days is a number"));
    let ago: i64 = options.get("ago").map_or(0, |ago| ago.parse().expect("ago is a number"));
    let operations: Vec<&str> = operations.split(',').collect();
    for day in ago + 1..=ago + days {
        for slot in 0..20 {
            let operation = operations[(slot as usize) % operations.len()];
            let time = DAY_ZERO.plus_ms(-day * 24 * HOUR_MS + 8 * HOUR_MS + slot * HOUR_MS / 2 + 60_000);
            events.push(event(time, who, ip, operation, options, day * 100 + slot));
        }
    }
}

fn parse<'a>(options: &[&'a str]) -> BTreeMap<&'a str, &'a str> {
    options
        .iter()
        .map(|option| option.split_once('=').unwrap_or_else(|| panic!("an option is key=value: {option}")))
        .collect()
}

/// One event.
pub fn event(
    time: Timestamp,
    who: &str,
    ip: &str,
    call: &str,
    options: &BTreeMap<&str, &str>,
    n: i64,
) -> Event {
    let (service, operation) = call.split_once(':').expect("service:operation");
    let class = match service {
        "signin" => AUTHENTICATION,
        "iam" => ACCOUNT_CHANGE,
        _ => API_ACTIVITY,
    };
    let fail = options.get("fail");
    let mut event = Event::new(class, 1, if fail.is_some() { 2 } else { 1 }, 1);
    event.time = time;
    event.status_code = fail.map(|code| (*code).to_owned());
    let account = Account { uid: Some("111122223333".to_owned()), ..Account::default() };
    event.cloud = Some(Cloud { provider: "AWS".into(), account: Some(account), ..Cloud::default() });
    let user = User {
        name: Some(who.to_owned()),
        uid: Some(format!("arn:aws:iam::111122223333:user/{who}")),
        credential_uid: Some(
            options.get("cred").map_or_else(|| format!("AKIA{who}"), |cred| (*cred).to_owned()),
        ),
        ..User::default()
    };
    let invoked_by = options.get("service").map(|service| (*service).to_owned());
    event.actor = Some(Actor { user: Some(user), invoked_by: invoked_by.clone(), ..Actor::default() });
    let (ip, domain) = if ip == "-" { (None, invoked_by) } else { (Some(ip.to_owned()), None) };
    event.src_endpoint = Some(Endpoint { ip, domain, ..Endpoint::default() });
    let service = Service { name: Some(format!("{service}.amazonaws.com")), uid: None };
    event.api = Some(Api { operation: operation.to_owned(), service: Some(service), ..Api::default() });
    let agent = options.get("agent").map_or("aws-cli/2.15", |agent| *agent);
    event.http_request = Some(HttpRequest { user_agent: Some(agent.to_owned()), ..HttpRequest::default() });
    details(&mut event, options);
    event.prunella.source = "aws.cloudtrail".into();
    event.prunella.principal = Principal::from_key(principal(who));
    let native =
        options.get("id").map_or_else(|| format!("{who}-{operation}-{}-{n}", time.0), |id| (*id).to_owned());
    event.metadata.uid = Some(native);
    event.identify();
    event
}

fn details(event: &mut Event, options: &BTreeMap<&str, &str>) {
    let owned = |key: &str| options.get(key).map(|value| (*value).to_owned());
    event.user = owned("target").map(|name| User { name: Some(name), ..User::default() });
    event.policy = owned("policy").map(|name| Policy { name: Some(name), uid: None });
    event.resources =
        owned("resource").map(|uid| Resource { uid: Some(uid), ..Resource::default() }).into_iter().collect();
    event.raw_data = options.get("raw").map(|raw| (*raw).into());
    event.is_mfa = options.get("mfa").map(|mfa| *mfa == "yes");
    event.traffic =
        options.get("bytes").map(|bytes| Traffic { bytes_out: Some(size(bytes)), ..Traffic::default() });
    if let Some(flag) = options.get("flag") {
        let flag: Flag = serde_json::from_value((*flag).into()).expect("a flag");
        event.flag(flag);
    }
}

/// `ann` is a user; `role/deploy` and `service/config.amazonaws.com` are what they say.
fn principal(who: &str) -> String {
    match who.split_once('/') {
        Some(("service", name)) => format!("aws:service:{name}"),
        Some((form, name)) => format!("aws:{form}:arn:aws:iam::111122223333:{form}/{name}"),
        None => format!("aws:user:arn:aws:iam::111122223333:user/{who}"),
    }
}

/// `03:00:00` or `1d03:00:00`.
fn clock(text: &str) -> Timestamp {
    let (days, time) = text.split_once('d').unwrap_or(("0", text));
    let parts: Vec<i64> = time.split(':').map(|part| part.parse().expect("hh:mm:ss")).collect();
    let [hours, minutes, seconds] = parts[..] else { panic!("a time is hh:mm:ss: {text}") };
    let days: i64 = days.parse().expect("days");
    DAY_ZERO.plus_ms((((days * 24 + hours) * 60 + minutes) * 60 + seconds) * 1_000)
}

fn seconds(text: &str) -> i64 {
    text.trim_end_matches('s').parse().expect("seconds, such as 25s")
}

fn size(text: &str) -> u64 {
    let shift = match text.chars().last() {
        Some('K') => 10,
        Some('M') => 20,
        Some('G') => 30,
        _ => 0,
    };
    text.trim_end_matches(['K', 'M', 'G']).parse::<u64>().expect("bytes") << shift
}

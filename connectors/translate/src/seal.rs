//! What the event of every provider record ends with: its time, flags, tenant, the record itself and its identity.

use crate::bounded::{Copier, flag_time};
use prunella_schemas::{Event, Flag, Record, Timestamp};

/// Longest text that is tried as a time.
const TIME_BYTES_MAX: usize = 64;

/// Takes the time of receipt where the record holds none that can be read.
pub fn set_time(event: &mut Event, text: Option<&str>, received: Timestamp, copy: &Copier) {
    match text.and_then(read_time) {
        Some(time) => event.time = time,
        None => {
            event.time = received;
            event.metadata.original_time = copy.option(text);
            event.flag(Flag::MissingTime);
        }
    }
    flag_time(event, received);
}

/// RFC 3339; a time without a zone is UTC, which is what log stores drop when they write one anew.
pub fn read_time(text: &str) -> Option<Timestamp> {
    if text.len() > TIME_BYTES_MAX {
        return None;
    }
    read_fraction(text).or_else(|| Timestamp::parse(text)).or_else(|| {
        text.ends_with(|c: char| c.is_ascii_digit()).then(|| Timestamp::parse(&format!("{text}Z")))?
    })
}

/// `2024-07-31T12:29:16.1234567Z`, the form that Azure and Google Cloud write, without the general parser's cost.
fn read_fraction(text: &str) -> Option<Timestamp> {
    let (whole, rest) = text.split_at_checked(19)?;
    let digits = rest
        .strip_prefix('.')?
        .strip_suffix('Z')
        .or_else(|| rest.strip_prefix('.')?.strip_suffix("+00:00"))?;
    if digits.is_empty() || digits.len() > 9 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let mut plain = [b'Z'; 20];
    plain.get_mut(..19)?.copy_from_slice(whole.as_bytes());
    let ms = digits.bytes().chain(*b"00").take(3).fold(0, |ms, digit| ms * 10 + i64::from(digit - b'0'));
    Some(Timestamp::parse(std::str::from_utf8(&plain).ok()?)?.plus_ms(ms))
}

/// What stands for a name that the record does not give.
pub const UNKNOWN: &str = "Unknown";

/// OCSF wants users, groups, endpoints and the like to have some name or id, also where the record says nothing of them.
fn name_objects(event: &mut Event) {
    let unknown = || Some(UNKNOWN.to_owned());
    let actor = event.actor.as_mut().and_then(|actor| actor.user.as_mut());
    for user in actor.into_iter().chain(event.user.as_mut()) {
        if user.uid.is_none() && user.name.is_none() && user.account.is_none() {
            user.name = unknown();
        }
    }
    for endpoint in event.src_endpoint.iter_mut().chain(&mut event.dst_endpoint) {
        let names =
            [&endpoint.ip, &endpoint.uid, &endpoint.hostname, &endpoint.svc_name, &endpoint.interface_uid];
        if names.into_iter().chain([&endpoint.domain]).all(Option::is_none) {
            endpoint.svc_name = unknown();
        }
    }
    if let Some(group) = event.group.as_mut().filter(|group| group.uid.is_none() && group.name.is_none()) {
        group.name = unknown();
    }
    if let Some(table) = event.table.as_mut().filter(|table| table.uid.is_none() && table.name.is_none()) {
        table.name = unknown();
    }
    if let Some(bucket) =
        event.databucket.as_mut().filter(|bucket| bucket.uid.is_none() && bucket.name.is_none())
    {
        bucket.name = unknown();
    }
    event.policy.take_if(|policy| policy.uid.is_none() && policy.name.is_none());
    event.resources.retain(|resource| resource.uid.is_some() || resource.name.is_some());
}

/// Completes an event of a record. `raw` is the event's own part of the record's body.
pub fn seal(event: &mut Event, record: &Record, source: &'static str, raw: &str, copy: &Copier) {
    name_objects(event);
    if copy.was_cut() {
        event.flag(Flag::TruncatedField);
    }
    event.set_tenant(&record.tenant);
    event.prunella.source = source.into();
    event.prunella.received = record.received;
    event.raw_data = Some(raw.into());
    event.identify();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_without_a_zone_is_utc() {
        let check = |text: &str, want: Option<i64>| assert_eq!(read_time(text).map(|t| t.0), want, "{text}");
        check("2024-07-31T12:29:16.1234567Z", Some(1_722_428_956_123));
        check("2024-07-31 12:29:16.123456789", Some(1_722_428_956_123));
        check("2024-07-31T14:29:16.123+02:00", Some(1_722_428_956_123));
        check("2024-07-31T12:29:16.1Z", Some(1_722_428_956_100));
        check("2024-07-31T12:29:16.12+00:00", Some(1_722_428_956_120));
        check("2024-07-31T12:29:16.Z", None);
        check("2024-07-31T12:29:16.1é", None);
        check("2024-07-31T12:29:1é.1Z", None);
        check("1969-12-31T23:59:59.9Z", Some(-100));
        check("11/3/2020 9:06:42 AM +00:00", None);
        check(&"1".repeat(100), None);
        check("", None);
    }
}

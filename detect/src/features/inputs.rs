//! Inputs: what features and behaviour read from an event, each checked once and in one place.

use super::travel::Place;
use crate::behaviour::{cell, print};
use crate::network::fingerprint;
use crate::sighting::Sighting;
use prunella_schemas::event::Flag;
use prunella_schemas::ocsf::AUTHENTICATION;

/// Resources of one event that count for the fan-out.
const RESOURCES_MAX: usize = 64;
/// Event times outside 2000 to 2100 are absurd.
const TIMES_MS: std::ops::Range<i64> = 946_684_800_000..4_102_444_800_000;

/// Whether the event's own time can be believed.
pub fn has_time(seen: &Sighting<'_>) -> bool {
    let odd = |flag: &Flag| matches!(flag, Flag::MissingTime | Flag::FutureTime | Flag::AncientTime);
    seen.time == seen.event.time
        && TIMES_MS.contains(&seen.time.0)
        && !seen.event.prunella.flags.iter().any(odd)
}

/// Bytes that left the provider, else bytes moved, else the size of the file.
pub fn bytes(seen: &Sighting<'_>) -> Option<u64> {
    let traffic = seen.event.traffic.as_ref();
    let moved = traffic.and_then(|traffic| traffic.bytes_out.or(traffic.bytes).or(traffic.bytes_in));
    moved.or_else(|| seen.event.file.as_ref()?.size)
}

pub fn network(seen: &Sighting<'_>) -> Option<u16> {
    seen.network.map(|network| print(network.key()))
}

/// The autonomous system the network belongs to.
pub fn system(seen: &Sighting<'_>) -> Option<u16> {
    let system = seen.event.src_endpoint.as_ref()?.autonomous_system.as_ref()?;
    system.number.map(|number| print(u64::from(number) + 1))
}

pub fn device(seen: &Sighting<'_>) -> Option<u16> {
    seen.user_agent_key().map(print)
}

/// Where the call came from; an error if it names a place that is not on Earth.
pub fn place(seen: &Sighting<'_>) -> Result<Option<Place>, ()> {
    let location = seen.event.src_endpoint.as_ref().and_then(|from| from.location.as_ref());
    match location.and_then(|location| location.coordinates.as_deref()) {
        None => Ok(None),
        Some(coordinates) => Place::of(coordinates).map(Some).ok_or(()),
    }
}

/// Fingerprint of the operation; without one, of the class and activity.
pub fn operation(seen: &Sighting<'_>) -> u64 {
    match seen.operation {
        "" => fingerprint(&seen.event.type_uid.to_le_bytes()),
        _ => seen.operation_key,
    }
}

/// The operation as a symbol.
pub fn symbol(seen: &Sighting<'_>) -> u8 {
    (print(operation(seen)) >> 8) as u8
}

pub fn is_sign_in(seen: &Sighting<'_>) -> bool {
    seen.event.class_uid == AUTHENTICATION.uid
}

/// A failed sign-in, or a call the caller may not make.
pub fn refused(seen: &Sighting<'_>) -> bool {
    seen.denied() || (is_sign_in(seen) && seen.event.failed())
}

/// The cells of the things the event touches.
pub fn cells(seen: &Sighting<'_>) -> u64 {
    let names =
        seen.event.resources.iter().filter_map(|thing| thing.uid.as_deref().or(thing.name.as_deref()));
    names.take(RESOURCES_MAX).fold(0, |cells, name| cells | cell(fingerprint(name.as_bytes())))
}

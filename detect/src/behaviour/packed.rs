//! Packed: a behaviour as bytes, little-endian and always of the same length.

use super::{Actor, Behaviour, DEVICES_MAX, Familiar, FanOut, NETWORKS_MAX, SIZES_MAX, SYSTEMS_MAX};
use crate::entropy::Streams;
use crate::features::travel::Place;
use prunella_schemas::Timestamp;

/// Takes fields off the front.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take<const N: usize>(&mut self) -> Option<&'a [u8; N]> {
        let (field, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(field)
    }

    fn u16(&mut self) -> Option<u16> {
        self.take().map(|bytes| u16::from_le_bytes(*bytes))
    }

    fn u32(&mut self) -> Option<u32> {
        self.take().map(|bytes| u32::from_le_bytes(*bytes))
    }
}

const NETWORKS: usize = Familiar::<NETWORKS_MAX>::BYTES;
const DEVICES: usize = Familiar::<DEVICES_MAX>::BYTES;

impl Behaviour {
    /// Of the saved form.
    pub const BYTES: usize = 8
        + FanOut::BYTES
        + Streams::BYTES
        + 8 * 4
        + 2 * 2
        + NETWORKS
        + DEVICES
        + 2 * SYSTEMS_MAX
        + 2 * 2
        + 24
        + 2;

    pub fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.last.0.to_le_bytes());
        self.fan_out.write(out);
        self.streams.write(out);
        for word in [
            self.first_s,
            self.events,
            self.failures,
            self.minute,
            self.hour,
            self.size_mean,
            self.size_variance,
            self.place_s,
        ] {
            out.extend_from_slice(&word.to_le_bytes());
        }
        out.extend_from_slice(&self.place.latitude.to_le_bytes());
        out.extend_from_slice(&self.place.longitude.to_le_bytes());
        self.networks.write(out);
        self.devices.write(out);
        for word in self.systems.into_iter().chain([self.group, self.surprise]) {
            out.extend_from_slice(&word.to_le_bytes());
        }
        out.extend_from_slice(&self.hours);
        out.extend_from_slice(&[self.sizes, self.actor as u8]);
    }

    /// Refuses what [`Behaviour::write`] cannot have written.
    pub fn read(bytes: &[u8; Self::BYTES]) -> Option<Self> {
        let mut fields = Fields(bytes);
        let last = Timestamp(i64::from_le_bytes(*fields.take()?));
        let fan_out = FanOut::read(fields.take::<{ FanOut::BYTES }>()?)?;
        let streams = Streams::read(fields.take()?)?;
        let mut words = [0; 8];
        for word in &mut words {
            *word = fields.u32()?;
        }
        let [first_s, events, failures, minute, hour, size_mean, size_variance, place_s] = words;
        let place = Place { latitude: fields.u16()? as i16, longitude: fields.u16()? as i16 };
        let networks = Familiar::read(fields.take::<NETWORKS>()?)?;
        let devices = Familiar::read(fields.take::<DEVICES>()?)?;
        let mut systems = [0; SYSTEMS_MAX];
        for system in &mut systems {
            *system = fields.u16()?;
        }
        let (group, surprise) = (fields.u16()?, fields.u16()?);
        let hours = *fields.take()?;
        let [sizes, actor] = *fields.take()?;
        let actor = match actor {
            0 => Actor::Human,
            1 => Actor::Service,
            2 => Actor::Root,
            _ => return None,
        };
        let fits = sizes <= SIZES_MAX && place.latitude.unsigned_abs() <= 9_000;
        (fits && place.longitude.unsigned_abs() <= 18_000).then_some(Behaviour {
            last,
            fan_out,
            streams,
            first_s,
            events,
            failures,
            minute,
            hour,
            size_mean,
            size_variance,
            place,
            place_s,
            networks,
            devices,
            systems,
            group,
            surprise,
            hours,
            sizes,
            actor,
        })
    }
}

//! MMDB: what a MaxMind database says about an address, as far as OCSF has a place for it.

use super::{Position, Table, TableError};
use maxminddb::{MaxMindDbError, Reader};
use prunella_schemas::ocsf::{AutonomousSystem, Location};
use serde::Deserialize;
use std::net::IpAddr;

const HINT: &str = "give the `.mmdb` file itself, unpacked and whole";

/// A database that was checked from end to end when it was loaded.
pub struct Mmdb(Reader<Vec<u8>>);

/// What the databases say together: what one leaves out another may tell.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Told {
    pub country: Option<String>,
    pub region: Option<String>,
    pub city: Option<String>,
    /// Longitude, latitude.
    pub coordinates: Option<Vec<f64>>,
    pub number: Option<u32>,
    pub name: Option<String>,
    pub is_hosting: bool,
}

impl Mmdb {
    pub fn read(table: Table) -> Result<Self, TableError> {
        let Table { name, bytes } = table;
        let named = Table { name, bytes: Vec::new() };
        let reader = Reader::from_source(bytes).map_err(|e| refused(&named, &e))?;
        reader.verify().map_err(|e| refused(&named, &e))?;
        Ok(Mmdb(reader))
    }

    pub fn tell(&self, address: IpAddr, told: &mut Told) {
        let Ok(found) = self.0.lookup(address) else { return };
        // A row of another shape, such as one of a company's own making, tells nothing.
        let Ok(Some(row)) = found.decode::<Row<'_>>() else { return };
        let country = row.country.iso_code.or(row.registered_country.iso_code);
        fill(&mut told.country, country);
        fill(&mut told.region, row.subdivisions.first().and_then(|s| s.names.en.or(s.iso_code)));
        fill(&mut told.city, row.city.names.en);
        fill(
            &mut told.name,
            row.autonomous_system_organization.or(row.traits.autonomous_system_organization),
        );
        told.number = told.number.or(row.autonomous_system_number).or(row.traits.autonomous_system_number);
        told.is_hosting |= row.is_hosting_provider || row.traits.user_type == Some("hosting");
        if let (None, Some(longitude), Some(latitude)) =
            (&told.coordinates, row.location.longitude, row.location.latitude)
        {
            told.coordinates = Some(vec![longitude, latitude]);
        }
    }
}

impl Told {
    pub fn location(&mut self) -> Option<Location> {
        let location = Location {
            country: self.country.take(),
            region: self.region.take(),
            city: self.city.take(),
            coordinates: self.coordinates.take(),
        };
        let named = location.country.is_some() || location.region.is_some() || location.city.is_some();
        named.then_some(location)
    }

    pub fn system(&mut self) -> Option<AutonomousSystem> {
        let system = AutonomousSystem { number: self.number, name: self.name.take() };
        (system.number.is_some() || system.name.is_some()).then_some(system)
    }
}

fn fill(into: &mut Option<String>, from: Option<&str>) {
    if into.is_none() {
        *into = from.filter(|text| !text.is_empty()).map(str::to_owned);
    }
}

fn refused(table: &Table, error: &MaxMindDbError) -> TableError {
    use MaxMindDbError::{Decoding, InvalidDatabase, ResourceLimit};
    let offset = match error {
        InvalidDatabase { offset, .. } | Decoding { offset, .. } | ResourceLimit { offset, .. } => *offset,
        _ => None,
    };
    let detail = match error {
        InvalidDatabase { message, .. } | Decoding { message, .. } | ResourceLimit { message, .. } => {
            format!("not a MaxMind database: {message}")
        }
        other => format!("not a MaxMind database: {other}"),
    };
    table.refuse(offset.map_or(Position::None, Position::Byte), detail, HINT)
}

/// The columns of City, Country, ASN, ISP, Anonymous-IP and Enterprise databases that are read.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Row<'a> {
    #[serde(borrow)]
    country: Country<'a>,
    registered_country: Country<'a>,
    subdivisions: Vec<Subdivision<'a>>,
    city: City<'a>,
    location: Coordinates,
    autonomous_system_number: Option<u32>,
    autonomous_system_organization: Option<&'a str>,
    is_hosting_provider: bool,
    traits: Traits<'a>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Country<'a> {
    iso_code: Option<&'a str>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Subdivision<'a> {
    iso_code: Option<&'a str>,
    #[serde(borrow)]
    names: Names<'a>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct City<'a> {
    #[serde(borrow)]
    names: Names<'a>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Names<'a> {
    en: Option<&'a str>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Coordinates {
    latitude: Option<f64>,
    longitude: Option<f64>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Traits<'a> {
    autonomous_system_number: Option<u32>,
    autonomous_system_organization: Option<&'a str>,
    user_type: Option<&'a str>,
}

//! The gate: an outer envelope around the signed blob, under a key that is split over independent stores.
//!
//! The server makes it and can renew it while the user is away, without being able to read what is inside. The gate key
//! has no name in this interface. [`seal`] draws a fresh one, splits it, seals and forgets it; [`open`] joins it, opens
//! and forgets it. So a split can never be renewed under the old key: whoever kept parts of an older epoch keeps nothing.
//!
//! What the gate is for: leaks of storage, immediate revocation, custody that follows risk, all by an honest server. It
//! does not protect from the operator, who may have kept the blob; against that, only the stanzas inside count.

mod part;
mod split;

pub use part::{DomainKey, Point};

use crate::stream;
use crate::{Error, FileId};
use rand_core::CryptoRng;
use zeroize::Zeroizing;

pub const HEADER: usize = 33;
/// Longest blob inside an envelope, in bytes.
pub const INNER_MAX: usize = crate::manifest::BYTES_MAX;

const MAGIC: &[u8; 4] = b"VENV";
pub(crate) const COBBLESTONE_256: u16 = 1;

/// A place that keeps one part, with credentials of its own. Its number is the x of its Shamir point.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Domain {
    Objects = 1,
    Database = 2,
    /// Sealed to each authorised user.
    User = 3,
    /// A second key-management service, under other credentials.
    Service = 4,
    /// A second person or a second device.
    Approver = 5,
    /// Offline, sealed to a recovery key; fetched by a ceremony.
    Cold = 6,
}

/// How dangerous it is to open the file now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Tier {
    Low = 1,
    Medium = 2,
    High = 3,
}

impl Tier {
    /// Who keeps a part: 2, 3 or 5 hot domains and the cold one.
    #[must_use]
    pub fn domains(self) -> &'static [Domain] {
        use Domain::{Approver, Cold, Database, Objects, Service, User};
        match self {
            Self::Low => &[Objects, Database, Cold],
            Self::Medium => &[Objects, Database, User, Cold],
            Self::High => &[Objects, Database, User, Service, Approver, Cold],
        }
    }

    /// How many parts open the gate: fewer than there are, so that no loss of one destroys a file.
    #[must_use]
    pub fn threshold(self) -> usize {
        match self {
            Self::Low => 2,
            Self::Medium => 3,
            Self::High => 4,
        }
    }
}

/// Which split of which file. An epoch is used for one split only; who gives out epochs sees to that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Epoch {
    pub file: FileId,
    pub epoch: u64,
    pub tier: Tier,
}

impl Epoch {
    /// The fields that envelopes and parts have in common, in the order of the format.
    pub(crate) fn header(&self, magic: &[u8; 4]) -> [u8; HEADER] {
        let mut header = [0; HEADER];
        let domains = self.tier.domains().len() as u8;
        let fields = magic
            .iter()
            .copied()
            .chain(COBBLESTONE_256.to_be_bytes())
            .chain(self.file.0)
            .chain(self.epoch.to_be_bytes())
            .chain([self.tier as u8, self.tier.threshold() as u8, domains]);
        header.iter_mut().zip(fields).for_each(|(to, from)| *to = from);
        header
    }
}

/// Seals the blob under a fresh gate key, and gives the envelope and one point for each domain of the tier.
///
/// This is a first upload, a rotation, a hardening and a relaxing: each has a new epoch and a new key.
pub fn seal(inner: &[u8], at: Epoch, rng: &mut impl CryptoRng) -> Result<(Vec<u8>, Vec<Point>), Error> {
    if inner.len() > INNER_MAX {
        return Err(Error::TooLarge("the blob of an envelope"));
    }
    let mut key = Zeroizing::new([0; 32]);
    rng.fill_bytes(&mut *key);
    let points = split::split(&*key, at.tier.threshold(), at.tier.domains(), rng)?
        .into_iter()
        .zip(at.tier.domains())
        .map(|(value, domain)| Point::new(at, *domain, &value))
        .collect::<Result<_, _>>()?;
    let header = at.header(MAGIC);
    let mut envelope = header.to_vec();
    envelope.extend(stream::seal(&key, &header, inner, rng)?);
    Ok((envelope, points))
}

/// Opens an envelope with the points of its epoch; what is inside is as closed as before to who holds no stanza.
pub fn open(envelope: &[u8], at: Epoch, points: &[Point]) -> Result<Zeroizing<Vec<u8>>, Error> {
    let longest = HEADER as u64 + stream::sealed_len(INNER_MAX as u64);
    if envelope.len() as u64 > longest {
        return Err(Error::TooLarge("envelope"));
    }
    let (header, sealed) = envelope.split_first_chunk::<HEADER>().ok_or(Error::Malformed("envelope"))?;
    if *header != at.header(MAGIC) || points.iter().any(|point| point.epoch() != at) {
        return Err(Error::Refused);
    }
    let key = split::join(at.tier.threshold(), points)?;
    stream::open(&key, header, sealed)
}

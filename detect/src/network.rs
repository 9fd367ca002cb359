//! Networks as detectors compare them: the /24 of an IPv4 address, the /48 of an IPv6 address, in eight bytes.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A network. All private address space is one network: its numbers mean something else in every VPC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Network(u64);

const TAG_SHIFT: u32 = 56;
const V4: u64 = 1;
const V6: u64 = 2;
const PRIVATE: u64 = 3;
const NAMED: u64 = 4;

impl Network {
    /// The network of an address as the provider wrote it. What is not an address is a network of its own.
    pub fn of(address: &str) -> Self {
        match address.parse::<IpAddr>().map(|ip| ip.to_canonical()) {
            Ok(IpAddr::V4(v4)) if is_private_v4(v4) => Network(PRIVATE << TAG_SHIFT),
            Ok(IpAddr::V6(v6)) if is_private_v6(v6) => Network(PRIVATE << TAG_SHIFT),
            Ok(IpAddr::V4(v4)) => Network(V4 << TAG_SHIFT | u64::from(v4.to_bits() >> 8)),
            Ok(IpAddr::V6(v6)) => Network(V6 << TAG_SHIFT | (v6.to_bits() >> 80) as u64),
            Err(_) => Network(NAMED << TAG_SHIFT | fingerprint(address.as_bytes()) >> 8),
        }
    }

    pub fn key(self) -> u64 {
        self.0
    }

    /// Whether two networks cannot be neighbours: another /16 (IPv4) or /32 (IPv6). Between families nobody can tell,
    /// since one host often speaks both.
    pub fn is_distant(self, other: Network) -> bool {
        match (self.tag(), other.tag()) {
            (V4, V4) => self.0 >> 8 != other.0 >> 8,
            (V6, V6) => self.0 >> 16 != other.0 >> 16,
            _ => false,
        }
    }

    /// Whether it is an address of the internet.
    pub fn is_public(self) -> bool {
        matches!(self.tag(), V4 | V6)
    }

    fn tag(self) -> u64 {
        self.0 >> TAG_SHIFT
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bits = self.0 & ((1 << TAG_SHIFT) - 1);
        match self.tag() {
            V4 => write!(f, "{}/24", Ipv4Addr::from_bits((bits as u32) << 8)),
            V6 => write!(f, "{}/48", Ipv6Addr::from_bits(u128::from(bits) << 80)),
            PRIVATE => f.write_str("the private network"),
            _ => f.write_str("an unreadable address"),
        }
    }
}

fn is_private_v4(ip: Ipv4Addr) -> bool {
    let shared = ip.octets()[0] == 100 && (64..128).contains(&ip.octets()[1]);
    ip.is_private() || ip.is_loopback() || ip.is_link_local() || ip.is_unspecified() || shared
}

fn is_private_v6(ip: Ipv6Addr) -> bool {
    ip.is_loopback() || ip.is_unspecified() || ip.is_unique_local() || ip.is_unicast_link_local()
}

/// A fast 64-bit fingerprint, the same on every machine. It names things in bounded state and guards nothing.
pub fn fingerprint(bytes: &[u8]) -> u64 {
    const K: u64 = 0x9E37_79B9_7F4A_7C15;
    let mix = |hash: u64, word: u64| {
        let wide = u128::from(hash ^ word) * u128::from(K);
        (wide as u64) ^ ((wide >> 64) as u64)
    };
    let (words, rest) = bytes.as_chunks::<8>();
    let mut hash = mix(K, bytes.len() as u64);
    for word in words {
        hash = mix(hash, u64::from_le_bytes(*word));
    }
    let mut last = [0; 8];
    last.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
    mix(mix(hash, u64::from_le_bytes(last)), K)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_are_those_of_the_schema() {
        for ip in ["203.0.113.7", "8.8.8.8", "2001:db8:1:2::3", "::ffff:0:1:2"] {
            assert_eq!(Network::of(ip).to_string(), prunella_schemas::principal::network(ip), "{ip}");
        }
        assert_eq!(Network::of("10.1.2.3"), Network::of("192.168.9.9"));
        assert_eq!(Network::of("fe80::1"), Network::of("100.64.0.1"));
        assert_eq!(Network::of("::ffff:203.0.113.7"), Network::of("203.0.113.9"));
        assert_ne!(Network::of("08.1.250.216"), Network::of("08.1.250.217"));
    }

    #[test]
    fn distance_is_judged_within_one_family_only() {
        let distant = |a, b| Network::of(a).is_distant(Network::of(b));
        assert!(distant("203.0.113.7", "198.51.100.1") && distant("2001:db8::1", "2a00::1"));
        assert!(!distant("203.0.113.7", "203.0.1.7") && !distant("2001:db8:1::1", "2001:db8:2::1"));
        assert!(
            !distant("203.0.113.7", "2001:db8::1")
                && !distant("203.0.113.7", "10.0.0.1")
                && !distant("x", "y")
        );
    }

    #[test]
    fn fingerprints_differ_by_content_and_length() {
        let all = ["", "a", "b", "a\0", "abcdefgh", "abcdefgi", "abcdefgh\0"];
        let distinct: std::collections::BTreeSet<u64> =
            all.iter().map(|s| fingerprint(s.as_bytes())).collect();
        assert_eq!(distinct.len(), all.len());
    }
}

//! Prefixes: blocks of addresses with a value each, looked up by the longest one that holds an address.

use std::net::{IpAddr, Ipv6Addr};

/// A block of addresses. IPv4 lies inside IPv6, as in `::ffff:203.0.113.0/120`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Block {
    first: u128,
    last: u128,
}

impl Block {
    /// Reads `203.0.113.0/24`, `2001:db8::/32`, or one address. Bits beyond the length are taken as zero.
    pub fn parse(text: &str) -> Option<Self> {
        let (address, length) = match text.split_once('/') {
            Some((address, length)) => (address.parse().ok()?, Some(length.parse::<u32>().ok()?)),
            None => (text.parse().ok()?, None),
        };
        let width = if matches!(address, IpAddr::V4(_)) { 32 } else { 128 };
        let free: u32 = u32::checked_sub(width, length.unwrap_or(width))?;
        let host = u128::MAX.checked_shr(128 - free).unwrap_or(0);
        let first = bits(address) & !host;
        Some(Block { first, last: first | host })
    }

    /// How many addresses, less one.
    fn span(self) -> u128 {
        self.last - self.first
    }

    /// How many leading bits are the same in all of it, in its own family.
    pub fn fixed_bits(self) -> u32 {
        let free = 128 - self.span().leading_zeros();
        if self.is_v4() { 32u32.saturating_sub(free) } else { 128 - free }
    }

    pub fn is_v4(self) -> bool {
        self.first >> 32 == 0xFFFF
    }

    /// Whether it is a block of IPv6 that holds all of IPv4.
    pub fn is_around_v4(self) -> bool {
        const MAPPED: u128 = 0xFFFF << 32;
        !self.is_v4() && self.first <= MAPPED && MAPPED <= self.last
    }

    pub fn first_address(self) -> IpAddr {
        Ipv6Addr::from_bits(self.first).to_canonical()
    }
}

/// Disjoint ranges in order, each with the value of the longest prefix around it.
#[derive(Clone, Debug)]
pub struct Prefixes<T> {
    /// Where each range starts; it ends before the next one.
    starts: Vec<u128>,
    /// Index into `values`, or none where no block reaches.
    owners: Vec<Option<u32>>,
    values: Vec<T>,
}

impl<T> Default for Prefixes<T> {
    fn default() -> Self {
        Prefixes { starts: Vec::new(), owners: Vec::new(), values: Vec::new() }
    }
}

impl<T> Prefixes<T> {
    /// Of the same block given twice the first counts.
    pub fn new(blocks: Vec<(Block, T)>) -> Self {
        let mut order: Vec<(Block, u32)> = (0u32..).zip(&blocks).map(|(n, (block, _))| (*block, n)).collect();
        order.sort_by(|(a, m), (b, n)| {
            a.first.cmp(&b.first).then_with(|| b.span().cmp(&a.span())).then_with(|| m.cmp(n))
        });
        order.dedup_by_key(|(block, _)| *block);
        let mut made = Prefixes {
            starts: Vec::with_capacity(order.len() * 2),
            owners: Vec::with_capacity(order.len() * 2),
            values: blocks.into_iter().map(|(_, value)| value).collect(),
        };
        // Blocks nest or are apart: a stack of those that are open tells whose each stretch is.
        let mut open: Vec<(Block, u32)> = Vec::new();
        for (block, owner) in order {
            made.close(&mut open, Some(block.first));
            made.begin(block.first, Some(owner));
            open.push((block, owner));
        }
        made.close(&mut open, None);
        made
    }

    pub fn get(&self, address: IpAddr) -> Option<&T> {
        let at = self.starts.partition_point(|start| *start <= bits(address)).checked_sub(1)?;
        self.values.get((*self.owners.get(at)?)? as usize)
    }

    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// Ends the open blocks that end before `next`, or all of them.
    fn close(&mut self, open: &mut Vec<(Block, u32)>, next: Option<u128>) {
        while let Some((block, _)) = open.last().copied()
            && next.is_none_or(|next| block.last < next)
        {
            open.pop();
            if let Some(after) = block.last.checked_add(1) {
                self.begin(after, open.last().map(|(_, owner)| *owner));
            }
        }
    }

    fn begin(&mut self, start: u128, owner: Option<u32>) {
        // A stretch of no length says nothing.
        if self.starts.last() == Some(&start) {
            self.starts.pop();
            self.owners.pop();
        }
        self.starts.push(start);
        self.owners.push(owner);
    }
}

fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().to_bits(),
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_longest_prefix_counts() {
        let blocks = [
            ("10.0.0.0/8", "a"),
            ("10.1.0.0/16", "b"),
            ("10.1.2.0/24", "c"),
            ("10.1.2.0/24", "twice"),
            ("10.1.2.255", "d"),
            ("255.255.255.255/32", "end"),
            ("2001:db8::/32", "six"),
            ("ffff::/16", "last"),
        ];
        let blocks = blocks.iter().map(|(text, name)| (Block::parse(text).unwrap(), *name)).collect();
        let prefixes = Prefixes::new(blocks);
        for (address, want) in [
            ("9.255.255.255", None),
            ("10.0.0.0", Some("a")),
            ("10.1.1.255", Some("b")),
            ("10.1.2.3", Some("c")),
            ("10.1.2.255", Some("d")),
            ("10.1.3.0", Some("b")),
            ("10.2.0.0", Some("a")),
            ("11.0.0.0", None),
            ("255.255.255.255", Some("end")),
            ("::ffff:10.1.2.3", Some("c")),
            ("2001:db8:ffff::1", Some("six")),
            ("2001:db9::", None),
            ("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", Some("last")),
        ] {
            assert_eq!(prefixes.get(address.parse().unwrap()).copied(), want, "{address}");
        }
        assert!(Prefixes::<u8>::default().get("::1".parse().unwrap()).is_none());
    }

    #[test]
    fn what_is_no_block_is_refused() {
        for text in ["", "10.0.0.0/33", "::/129", "10.0.0/8", "10.0.0.0/", "10.0.0.0/-1", "x/8", "/8"] {
            assert_eq!(Block::parse(text), None, "{text}");
        }
        assert_eq!(Block::parse("10.1.2.3/8"), Block::parse("10.0.0.0/8"));
        assert_eq!(Block::parse("0.0.0.0/0").map(Block::span), Some(u128::from(u32::MAX)));
        assert_eq!(Block::parse("::/0").map(Block::span), Some(u128::MAX));
        let is_around = |text| Block::parse(text).is_some_and(Block::is_around_v4);
        assert!(is_around("::fffe:0:0/95") && is_around("::/80"));
        assert!(!is_around("0.0.0.0/0") && !is_around("2001:db8::/32"));
    }

    proptest! {
        #[test]
        fn agrees_with_looking_at_every_block(
            blocks in proptest::collection::vec((any::<u8>(), 24u32..=32), 0..40), asked in any::<u8>()
        ) {
            let text = |(host, length): &(u8, u32)| format!("192.0.2.{host}/{length}");
            let parsed: Vec<(Block, usize)> =
                blocks.iter().enumerate().map(|(n, b)| (Block::parse(&text(b)).unwrap(), n)).collect();
            let address: IpAddr = format!("192.0.2.{asked}").parse().unwrap();
            let holds = |block: &Block| block.first <= bits(address) && bits(address) <= block.last;
            let want = parsed.iter().filter(|(b, _)| holds(b)).min_by_key(|(b, n)| (b.span(), *n));
            let prefixes = Prefixes::new(parsed.clone());
            prop_assert_eq!(prefixes.get(address), want.map(|(_, n)| n));
        }
    }
}

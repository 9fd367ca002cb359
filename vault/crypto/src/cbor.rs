//! The part of CBOR (RFC 8949) that manifests and grants need, in its one deterministic form.
//!
//! The reader takes only what the writer writes: shortest numbers, definite lengths, keys in order. So there is one
//! encoding of each value, and nothing to disagree about.

use crate::Error;

const UINT: u8 = 0;
const BYTES: u8 = 2;
const ARRAY: u8 = 4;
const MAP: u8 = 5;

#[derive(Default)]
pub struct Writer(pub Vec<u8>);

impl Writer {
    pub fn map(entries: u64) -> Self {
        let mut writer = Self::default();
        writer.head(MAP, entries);
        writer
    }

    pub fn uint(&mut self, value: u64) -> &mut Self {
        self.head(UINT, value);
        self
    }

    pub fn bytes(&mut self, value: &[u8]) -> &mut Self {
        self.head(BYTES, value.len() as u64);
        self.0.extend_from_slice(value);
        self
    }

    pub fn array(&mut self, len: usize) -> &mut Self {
        self.head(ARRAY, len as u64);
        self
    }

    fn head(&mut self, major: u8, value: u64) {
        let major = major << 5;
        let be = value.to_be_bytes();
        let (info, len) = match value {
            0..=23 => {
                self.0.push(major | value as u8);
                return;
            }
            24..=0xff => (24, 1),
            0x100..=0xffff => (25, 2),
            0x1_0000..=0xffff_ffff => (26, 4),
            _ => (27, 8),
        };
        self.0.push(major | info);
        self.0.extend(be.iter().skip(8 - len));
    }
}

pub struct Reader<'a> {
    rest: &'a [u8],
    what: &'static str,
}

impl<'a> Reader<'a> {
    /// Reads a map of exactly so many entries; `what` names it in errors.
    pub fn map(bytes: &'a [u8], entries: u64, what: &'static str) -> Result<Self, Error> {
        let mut reader = Self { rest: bytes, what };
        if reader.head(MAP)? == entries { Ok(reader) } else { Err(reader.malformed()) }
    }

    /// The next key of a map must be this one.
    pub fn key(&mut self, key: u64) -> Result<(), Error> {
        if self.uint()? == key { Ok(()) } else { Err(self.malformed()) }
    }

    pub fn uint(&mut self) -> Result<u64, Error> {
        self.head(UINT)
    }

    pub fn byte(&mut self) -> Result<u8, Error> {
        self.uint()?.try_into().map_err(|_| self.malformed())
    }

    pub fn bytes(&mut self) -> Result<&'a [u8], Error> {
        let len = self.head(BYTES)?;
        self.take(usize::try_from(len).map_err(|_| self.malformed())?)
    }

    pub fn fixed<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        self.bytes()?.try_into().map_err(|_| self.malformed())
    }

    pub fn array(&mut self, max: usize) -> Result<usize, Error> {
        let len = usize::try_from(self.head(ARRAY)?).map_err(|_| self.malformed())?;
        if len <= max { Ok(len) } else { Err(Error::TooLarge(self.what)) }
    }

    pub fn end(&self) -> Result<(), Error> {
        if self.rest.is_empty() { Ok(()) } else { Err(self.malformed()) }
    }

    fn malformed(&self) -> Error {
        Error::Malformed(self.what)
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8], Error> {
        let (taken, rest) = self.rest.split_at_checked(len).ok_or(self.malformed())?;
        self.rest = rest;
        Ok(taken)
    }

    fn head(&mut self, major: u8) -> Result<u64, Error> {
        let first = self.take(1)?.first().copied().unwrap_or_default();
        let info = first & 31;
        let len = match info {
            0..=23 => 0,
            24 => 1,
            25 => 2,
            26 => 4,
            27 => 8,
            _ => return Err(self.malformed()),
        };
        let start = if len == 0 { u64::from(info) } else { 0 };
        let value = self.take(len)?.iter().fold(start, |value, byte| value << 8 | u64::from(*byte));
        let mut shortest = Writer::default();
        shortest.head(major, value);
        let is_shortest = shortest.0.len() == 1 + len && shortest.0.first() == Some(&first);
        if is_shortest { Ok(value) } else { Err(self.malformed()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The numbers of RFC 8949, appendix A.
    #[test]
    fn numbers_have_one_encoding() {
        let cases = [
            (0, "00"),
            (23, "17"),
            (24, "1818"),
            (100, "1864"),
            (1_000, "1903e8"),
            (1_000_000, "1a000f4240"),
            (1_000_000_000_000, "1b000000e8d4a51000"),
            (u64::MAX, "1bffffffffffffffff"),
        ];
        for (value, want) in cases {
            let mut writer = Writer::default();
            writer.uint(value);
            assert_eq!(hex::encode(&writer.0), want);
            let mut reader = Reader { rest: &writer.0, what: "number" };
            assert_eq!(reader.uint(), Ok(value));
            assert_eq!(reader.end(), Ok(()));
        }
        for longer in ["1817", "190018", "1900ff", "1a00000000", "1b00000000ffffffff", "1f", "20", "18", ""] {
            let bytes = hex::decode(longer).unwrap();
            assert!(Reader { rest: &bytes, what: "number" }.uint().is_err(), "{longer}");
        }
    }
}

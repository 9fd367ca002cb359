//! Bodies: bound to their file, version and suite; opened whole, in spans, or not at all.

use crate::chance::{Chance, Same};
use prunella_vault_crypto::body::{self, HEAD, HEADER, Place, Reader};
use prunella_vault_crypto::stream::{CHUNK, SEALED};
use prunella_vault_crypto::{Dek, Error, FileId};
use zeroize::Zeroizing;

const PLACE: Place = Place { file: FileId([9; 16]), version: 3 };

fn dek(first: u8) -> Dek {
    Dek::from_bytes(Zeroizing::new(std::array::from_fn(|i| first + i as u8)))
}

fn sealed(message: &[u8]) -> Vec<u8> {
    let mut object = Vec::new();
    let mut sealer = body::seal(&dek(32), PLACE, &mut Same(0x5a), &mut object).unwrap();
    sealer.write(message, &mut object).unwrap();
    sealer.finish(&mut object).unwrap();
    object
}

fn reader(dek: &Dek, place: Place, object: &[u8]) -> Result<Reader, Error> {
    let head: &[u8; HEAD] = object.first_chunk().ok_or(Error::Malformed("test"))?;
    let last = body::last_chunk(object.len() as u64)?;
    let last = &object[last.start as usize..last.end as usize];
    Reader::new(dek, place, head, object.len() as u64, last)
}

/// As in `stream.rs`, from the independent implementation.
#[test]
fn vector_of_another_implementation() {
    let want = "564c543100010909090909090909090909090909090900000000000000035a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a\
                5a5a5a5a5a5a4ffbfb47369d5aa40b58ae0e6af45c08a1547fcb99faad9a904d2214f9832c863d8d096bebcfeb5856c3\
                734102eebd141d4b119072";
    let object = sealed(b"hello");
    assert_eq!(hex::encode(&object), want);
    assert_eq!(object.len() as u64, body::object_len(5));
    let reader = reader(&dek(32), PLACE, &object).unwrap();
    let span = reader.span(&(0..5));
    assert_eq!(&*reader.read(&(0..5), &object[span.start as usize..span.end as usize]).unwrap(), b"hello");
}

#[test]
fn a_body_opens_at_its_place_only() {
    let object = sealed(&[1; 100]);
    let check = |what: &str, dek: &Dek, place: Place, object: &[u8], want: Option<Error>| {
        assert_eq!(reader(dek, place, object).err(), want, "{what}");
        let opened = object.first_chunk().map(|head| body::open(dek, place, head).map(|_| ()));
        assert_eq!(opened.and_then(Result::err), want, "{what}, as a pipe");
    };
    check("right", &dek(32), PLACE, &object, None);
    check("wrong key", &dek(33), PLACE, &object, Some(Error::Refused));
    check("other file", &dek(32), Place { file: FileId([8; 16]), ..PLACE }, &object, Some(Error::Refused));
    check("rolled back", &dek(32), Place { version: 4, ..PLACE }, &object, Some(Error::Refused));
    // Who alters the header too is stopped by the commitment.
    let mut older = object.clone();
    older[HEADER - 1] = 4;
    check("relabelled", &dek(32), Place { version: 4, ..PLACE }, &older, Some(Error::Refused));
    let mut suite = object.clone();
    suite[5] = 2;
    check("other suite", &dek(32), PLACE, &suite, Some(Error::Malformed("header of a body")));
    let mut magic = object;
    magic[0] = b'X';
    check("no body", &dek(32), PLACE, &magic, Some(Error::Malformed("header of a body")));
}

#[test]
fn a_cut_or_extended_body_ends_before_a_byte_is_released() {
    let object = sealed(&vec![1; 2 * CHUNK + 50]);
    for cut in (0..object.len()).step_by(61).chain([HEAD + SEALED, HEAD + 2 * SEALED, object.len() - 1]) {
        assert!(reader(&dek(32), PLACE, &object[..cut]).is_err(), "cut at {cut}");
    }
    for more in [1, 16, SEALED] {
        let long: Vec<u8> = object.iter().copied().chain(std::iter::repeat_n(0, more)).collect();
        assert!(reader(&dek(32), PLACE, &long).is_err(), "{more} more");
    }
}

#[test]
fn two_seals_of_one_message_share_nothing_but_the_header() {
    let seal = |seed| {
        let mut object = Vec::new();
        let sealer = body::seal(&dek(1), PLACE, &mut Chance(seed), &mut object).unwrap();
        sealer.finish(&mut object).unwrap();
        object
    };
    let (a, b) = (seal(1), seal(2));
    assert_eq!(a[..HEADER], b[..HEADER]);
    assert_ne!(a[HEADER..HEADER + 24], b[HEADER..HEADER + 24], "salts");
    assert_ne!(a[HEADER + 24..HEAD], b[HEADER + 24..HEAD], "commitments");
}

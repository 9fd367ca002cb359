//! Cobblestone-256: vectors of an independent implementation, and every way to alter a stream.

use crate::chance::{Chance, Same};
use aws_lc_rs::digest::{SHA256, digest};
use proptest::prelude::*;
use prunella_vault_crypto::Error;
use prunella_vault_crypto::stream::{self, CHUNK, Opener, PREFIX, Reader, SEALED, Sealer, TAG};
use std::ops::Range;

const KEY: [u8; 32] = *b"0123456789abcdef0123456789abcdef";

fn message(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i * 7 % 251) as u8).collect()
}

fn sealed(len: usize) -> Vec<u8> {
    stream::seal(&KEY, b"context", &message(len), &mut Chance(len as u64)).unwrap()
}

fn reader(stream: &[u8]) -> Result<Reader, Error> {
    let last = Reader::last_chunk(stream.len() as u64)?;
    let last = &stream[last.start as usize..last.end as usize];
    Reader::new(&KEY, b"context", stream::split_prefix(stream)?.0, stream.len() as u64, last)
}

fn read(stream: &[u8], span: Range<u64>) -> Result<Vec<u8>, Error> {
    let reader = reader(stream)?;
    let at = reader.span(&span);
    reader.read(&span, &stream[at.start as usize..at.end as usize]).map(|bytes| bytes.to_vec())
}

/// Neither way to open it gives a byte that is not the message's; only what was proven before comes out of a pipe.
fn check_refused(what: &str, stream: &[u8], message: &[u8]) {
    assert!(stream::open(&KEY, b"context", stream).is_err(), "{what}: opened");
    assert!(read(stream, 0..u64::MAX).is_err(), "{what}: read");
    let Ok((prefix, chunks)) = stream::split_prefix(stream) else { return };
    let Ok(mut opener) = Opener::new(&KEY, b"context", prefix) else { return };
    let mut out = Vec::new();
    let ended = opener.write(chunks, &mut out).and_then(|()| opener.finish(&mut out));
    assert!(ended.is_err(), "{what}: a pipe ended well");
    assert!(message.starts_with(&out), "{what}: released what is not in the message");
}

/// The expected bytes come from 20 lines of Python over `hmac` and `cryptography`, written from the specification.
#[test]
fn vectors_of_another_implementation() {
    let key: [u8; 32] = std::array::from_fn(|i| i as u8);
    let seal =
        |context: &[u8], message: &[u8]| stream::seal(&key, context, message, &mut Same(0x5a)).unwrap();
    let short = [
        (
            &b"context"[..],
            &b""[..],
            "5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a729e172677101afa4d26d0c2aede3b0e23612a0082cd24ad\
             571af9dcddf1068fb75fc5f0cb5ba8761b21a5385797cfd1",
        ),
        (
            b"",
            b"hello",
            "5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a281876a3f90acdc224013ed52ba343a0396e93b88724440b\
             e3e8f937d389549e0c72acf82b3f3a2848855116a71267d54d137336dc",
        ),
    ];
    for (context, message, want) in short {
        assert_eq!(hex::encode(seal(context, message)), want);
    }
    let long = [
        (0, "54f00725131e610a0d4257ce7aa39dbe23ea071a8325cc3ef3f8c79662547922"),
        (1, "8603e89118706f6768017970ea2d94f0a3bbd8a0f46439c7f8c43c1c40f8fc2a"),
        (1_000, "201f2cba23841521b34be603ff680433f64e6b74366d4a9607b221cd9fa85a16"),
        (16_383, "95c9354cd869de4160c9d7ab9492507b39147d8071b1d8a6cac384b46e97538e"),
        (16_384, "5386d72a99a33ad0273fa6655ccf6bd16ff5837e4d48931a0f991b5c43a91aae"),
        (16_385, "31c78e03af9e13febd457422eb66f50edce3aa5abca987cdf8b9c25adbca1951"),
        (32_768, "bee79f875869c9d8861c0bf68638b4a433d33b91f32f96990c9728c151bf28e5"),
        (40_000, "10a301bc3e8b1592f035fcb7ca035476b4f4990a885dd90ba2f06cfc379a9312"),
    ];
    for (len, want) in long {
        let stream = seal(b"context", &message(len));
        assert_eq!(stream.len() as u64, stream::sealed_len(len as u64));
        assert_eq!(hex::encode(digest(&SHA256, &stream)), want, "{len} bytes");
    }
}

#[test]
fn every_single_bit_matters() {
    let (message, stream) = (message(40), sealed(40));
    for bit in 0..stream.len() * 8 {
        let mut bad = stream.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        check_refused(&format!("bit {bit}"), &bad, &message);
    }
}

#[test]
fn every_shorter_and_every_longer_stream_is_refused() {
    let (message, stream) = (message(2 * CHUNK + 9), sealed(2 * CHUNK + 9));
    let cuts = (0..PREFIX + 40).chain((PREFIX..stream.len()).step_by(97));
    let edges = (1..=2).flat_map(|n| {
        let edge = PREFIX + n * SEALED;
        edge - 20..edge + 25
    });
    for cut in cuts.chain(edges).chain(stream.len() - 30..stream.len()) {
        check_refused(&format!("cut at {cut}"), &stream[..cut], &message);
    }
    for more in [1, TAG, SEALED - 1, SEALED, SEALED + 1, 2 * SEALED] {
        let long: Vec<u8> = stream.iter().copied().chain(std::iter::repeat_n(0, more)).collect();
        check_refused(&format!("{more} more"), &long, &message);
        let again: Vec<u8> = stream.iter().chain(&stream[PREFIX..]).copied().collect();
        check_refused("twice", &again, &message);
    }
}

#[test]
fn chunks_keep_their_place_and_their_stream() {
    let (message, stream) = (message(3 * CHUNK + 5), sealed(3 * CHUNK + 5));
    let chunk = |n: usize| PREFIX + n * SEALED..PREFIX + (n + 1) * SEALED;
    for (a, b) in [(0, 1), (1, 2), (0, 2)] {
        let mut swapped = stream.clone();
        swapped[chunk(a)].copy_from_slice(&stream[chunk(b)]);
        check_refused(&format!("{b} over {a}"), &swapped, &message);
        swapped[chunk(b)].copy_from_slice(&stream[chunk(a)]);
        check_refused(&format!("{a} and {b} swapped"), &swapped, &message);
    }
    let mut dropped = stream.clone();
    dropped.drain(chunk(1));
    check_refused("a chunk dropped", &dropped, &message);
    let other = stream::seal(&KEY, b"context", &message, &mut Chance(99)).unwrap();
    let mut spliced = stream;
    spliced[chunk(1)].copy_from_slice(&other[chunk(1)]);
    check_refused("a chunk of another stream", &spliced, &message);
}

#[test]
fn commitment_refuses_other_keys_and_contexts_before_any_chunk() {
    let stream = sealed(100);
    let prefix = stream::split_prefix(&stream).unwrap().0;
    let mut wrong = KEY;
    wrong[31] ^= 1;
    for (key, context) in [(&wrong, &b"context"[..]), (&KEY, b"contexu"), (&KEY, b""), (&KEY, b"context\0")] {
        assert!(matches!(Opener::new(key, context, prefix), Err(Error::Refused)));
    }
    assert!(Opener::new(&KEY, b"context", prefix).is_ok());
}

#[test]
fn a_pipe_releases_nothing_after_an_error() {
    let mut stream = sealed(3 * CHUNK);
    stream[PREFIX + SEALED] ^= 1;
    let (prefix, chunks) = stream::split_prefix(&stream).unwrap();
    let mut opener = Opener::new(&KEY, b"context", prefix).unwrap();
    let mut out = Vec::new();
    let results: Vec<_> = chunks.chunks(SEALED).map(|chunk| opener.write(chunk, &mut out)).collect();
    assert_eq!(results, [Ok(()), Err(Error::Refused), Err(Error::Refused), Ok(())]);
    assert_eq!(opener.finish(&mut out), Err(Error::Refused));
    assert_eq!(out, message(CHUNK));
}

#[test]
fn sealing_holds_one_chunk_and_no_more() {
    let mut out = Vec::new();
    let mut sealer = Sealer::new(&KEY, b"", &mut Chance(1), &mut out).unwrap();
    let piece = vec![1; 3 * CHUNK + 1];
    let mut most = 0;
    for _ in 0..200 {
        out.clear();
        sealer.write(&piece, &mut out).unwrap();
        most = most.max(out.capacity());
    }
    assert!(most <= 2 * 4 * SEALED, "{most} bytes for pieces of {}", piece.len());
}

/// Lengths around the borders of chunks, where mistakes live.
fn lengths() -> impl Strategy<Value = usize> {
    (0_usize..4, -20_isize..20).prop_map(|(n, off)| (n * CHUNK).saturating_add_signed(off))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_is_sealed_in_pieces_opens_in_pieces(len in lengths(), step in 1_usize..40_000, seed: u64) {
        let message = message(len);
        let mut stream = Vec::new();
        let mut sealer = Sealer::new(&KEY, b"c", &mut Chance(seed), &mut stream).unwrap();
        for piece in message.chunks(step) {
            sealer.write(piece, &mut stream).unwrap();
        }
        sealer.finish(&mut stream).unwrap();
        prop_assert_eq!(&stream, &stream::seal(&KEY, b"c", &message, &mut Chance(seed)).unwrap());
        let (prefix, chunks) = stream::split_prefix(&stream).unwrap();
        let mut opener = Opener::new(&KEY, b"c", prefix).unwrap();
        let mut out = Vec::new();
        for piece in chunks.chunks(step) {
            opener.write(piece, &mut out).unwrap();
        }
        opener.finish(&mut out).unwrap();
        prop_assert_eq!(out, message);
    }

    #[test]
    fn any_span_is_that_span_of_the_whole(len in lengths(), a in 0_u64..70_000, b in 0_u64..70_000) {
        let (message, stream) = (message(len), sealed(len));
        prop_assert_eq!(reader(&stream).unwrap().message_len(), len as u64);
        let (start, end) = (a.min(len as u64), b.min(len as u64).max(a.min(len as u64)));
        prop_assert_eq!(read(&stream, a..b.max(a)).unwrap(), &message[start as usize..end as usize]);
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), a: u64, b: u64) {
        prop_assert!(stream::open(&KEY, b"context", &bytes).is_err());
        prop_assert!(read(&bytes, a..b).is_err());
    }

    #[test]
    fn a_flip_anywhere_is_refused(at in 0_usize..3 * SEALED, bit in 0_u8..8) {
        let mut stream = sealed(3 * CHUNK);
        stream[at] ^= 1 << bit;
        check_refused("flip", &stream, &message(3 * CHUNK));
    }
}

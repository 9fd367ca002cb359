//! How fast the vault seals, beside raw AES-256-GCM and memcpy in the same run. `cargo bench -p prunella-vault-crypto`.

#![allow(clippy::unwrap_used, reason = "a benchmark stops at the first thing that is wrong")]
#![allow(clippy::print_stdout, reason = "the numbers are the output")]
#![allow(clippy::disallowed_methods, reason = "measuring needs a clock")]

#[path = "../tests/it/chance.rs"]
#[allow(dead_code, reason = "the tests need both kinds")]
mod chance;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use chance::Chance;
use prunella_vault_crypto::body::{self, HEAD};
use prunella_vault_crypto::forward::{Grant, ScopeKey, Terms};
use prunella_vault_crypto::gate::{self, Epoch, Tier};
use prunella_vault_crypto::identity::{PrivateKey, SigningKey, Suite};
use prunella_vault_crypto::manifest::{Expected, Floor, Manifest, Mode, Verified};
use prunella_vault_crypto::stanza::{Kind, Stanza};
use prunella_vault_crypto::stream::{CHUNK, SEALED};
use prunella_vault_crypto::{Dek, FileId, Place};
use std::hint::black_box;
use std::time::Instant;
use zeroize::Zeroizing;

const PLACE: Place = Place { file: FileId([9; 16]), version: 1 };
/// What is in memory at once: a piece of the file and what it becomes.
const PIECE: usize = 16 * CHUNK;

fn main() {
    // Under `cargo test` the benchmark only has to run.
    let is_bench = std::env::args().any(|arg| arg == "--bench");
    let (file, rounds) = if is_bench { (64 << 20, 9) } else { (4 << 20, 1) };
    bodies(file, rounds);
    keys(if is_bench { 2_000 } else { 3 });
}

/// All four read the whole file from memory. Their rounds take turns, so that what else the machine does meets them alike.
fn bodies(file: usize, rounds: usize) {
    let whole = vec![0x5a_u8; file];
    let dek = Dek::generate(&mut Chance(1));
    let mut object = Vec::with_capacity(body::object_len(file as u64) as usize);
    let mut sealer = body::seal(&dek, PLACE, &mut Chance(2), &mut object).unwrap();
    sealer.write(&whole, &mut object).unwrap();
    sealer.finish(&mut object).unwrap();
    let head: [u8; HEAD] = *object.first_chunk().unwrap();
    let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &[7; 32]).unwrap());
    let (mut out, mut copied) = (Vec::with_capacity(2 * PIECE), vec![0; PIECE]);

    let mut copy = || {
        for piece in whole.chunks_exact(PIECE) {
            copied.copy_from_slice(black_box(piece));
            black_box(&mut copied);
        }
    };
    let mut in_place = whole.clone();
    let mut aes = || {
        for chunk in in_place.chunks_exact_mut(CHUNK) {
            let nonce = Nonce::assume_unique_for_key([0; 12]);
            let _ = black_box(key.seal_in_place_separate_tag(nonce, Aad::empty(), chunk).unwrap());
        }
    };
    let mut seal = || {
        out.clear();
        let mut sealer = body::seal(&dek, PLACE, &mut Chance(2), &mut out).unwrap();
        for piece in whole.chunks(PIECE) {
            out.clear();
            sealer.write(piece, &mut out).unwrap();
        }
        sealer.finish(&mut out).unwrap();
    };
    let mut opened = Vec::with_capacity(2 * PIECE);
    let mut open = || {
        let mut opener = body::open(&dek, PLACE, &head).unwrap();
        for sealed in object[HEAD..].chunks(PIECE / CHUNK * SEALED) {
            opened.clear();
            opener.write(sealed, &mut opened).unwrap();
        }
        opener.finish(&mut opened).unwrap();
    };
    let mut seconds = [const { Vec::new() }; 4];
    for _ in 0..rounds {
        let works: [&mut dyn FnMut(); 4] = [&mut copy, &mut aes, &mut seal, &mut open];
        for (seconds, work) in seconds.iter_mut().zip(works) {
            let start = Instant::now();
            work();
            seconds.push(start.elapsed().as_secs_f64());
        }
    }
    let best = seconds.map(|seconds| seconds.into_iter().fold(f64::INFINITY, f64::min));
    println!("{} MiB in pieces of {} KiB, best of {rounds}", file >> 20, PIECE >> 10);
    for (name, best_s) in
        ["memcpy", "raw AES-256-GCM, in place", "seal a body", "open a body"].iter().zip(best)
    {
        let (rate, share) = (file as f64 / best_s / 1e9, 100.0 * best[1] / best_s);
        println!("{name:<44} {rate:>10.2} GB/s {share:>8.0} % of raw");
    }
}

/// Prints the time of one round of `work`: best of five runs.
fn measure(name: &str, rounds: u32, mut work: impl FnMut()) {
    let run = |_| {
        let start = Instant::now();
        (0..rounds).for_each(|_| work());
        start.elapsed().as_secs_f64() / f64::from(rounds)
    };
    let best = (0..5).map(run).fold(f64::INFINITY, f64::min);
    println!("{name:<44} {:>10.1} us", best * 1e6);
}

fn keys(rounds: u32) {
    let rng = &mut Chance(3);
    let dek = Dek::generate(rng);
    let owner = SigningKey::from_seed(&Zeroizing::new([7; 32])).unwrap();
    let scope = ScopeKey::generate(rng);
    for suite in [Suite::X25519, Suite::XWing] {
        let person = PrivateKey::generate(suite, rng).unwrap();
        let stanza = Stanza::seal(&dek, Kind::Owner, person.public(), PLACE, rng).unwrap();
        measure(&format!("seal a stanza, {suite:?}"), rounds, || {
            black_box(Stanza::seal(&dek, Kind::Owner, person.public(), PLACE, rng).unwrap());
        });
        measure(&format!("open a stanza, {suite:?}"), rounds, || {
            black_box(stanza.open(&person, PLACE).unwrap());
        });
    }
    let manifest = Manifest {
        mode: Mode::EndToEnd,
        place: PLACE,
        previous: [0; 32],
        size_bucket: 26,
        name: vec![0; 80],
        body_commitment: [1; 32],
        body_sha256: [2; 32],
        created_ms: 1,
        floor: Floor::Classical,
        stanzas: vec![scope.scope().seal(&dek, PLACE, rng).unwrap()],
    };
    let blob = manifest.sign(&owner).unwrap();
    for tier in [Tier::Low, Tier::Medium, Tier::High] {
        let at = Epoch { file: PLACE.file, epoch: 1, tier };
        let (envelope, points) = gate::seal(&blob, at, rng).unwrap();
        measure(&format!("new gate key, split and seal, {tier:?}"), rounds, || {
            drop(black_box(gate::seal(&blob, at, rng).unwrap()));
        });
        measure(&format!("join and open, {tier:?}"), rounds, || {
            drop(black_box(gate::open(&envelope, at, &points).unwrap()));
        });
    }
    let (low, high) = (
        Epoch { file: PLACE.file, epoch: 1, tier: Tier::Low },
        Epoch { file: PLACE.file, epoch: 2, tier: Tier::High },
    );
    let (envelope, points) = gate::seal(&blob, low, rng).unwrap();
    measure("harden LOW to HIGH, without sealing parts", rounds, || {
        let inner = gate::open(&envelope, low, &points).unwrap();
        drop(black_box(gate::seal(&inner, high, rng).unwrap()));
    });
    let bob = PrivateKey::generate(Suite::X25519, rng).unwrap();
    let terms = Terms { grant: [1; 16], scope: [2; 16], expires_ms: 1 };
    let (grant, rekey) = scope.grant(bob.public(), terms, &owner, rng).unwrap();
    let grant = Grant::open(&grant, &owner.verifying().unwrap()).unwrap();
    let expected = Expected { file: PLACE.file, version_min: 1, floor: Floor::Classical };
    let file = Verified::open(&blob, &owner.verifying().unwrap(), &expected).unwrap();
    measure("check a manifest's signature", rounds, || {
        drop(black_box(Verified::open(&blob, &owner.verifying().unwrap(), &expected).unwrap()));
    });
    measure("re-encrypt by the proxy", rounds, || {
        black_box(rekey.transform(&grant, &file, 0).unwrap());
    });
}

//! The fuzz targets over their seeds, over everything they ever found, and over seeded mutations of both.
//!
//! Method: the functions of `native/fuzz` are compiled into this test, so that no fuzzer is needed; `make fuzz` searches.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use std::fs;
use std::path::Path;

#[path = "../../fuzz/src/lib.rs"]
mod targets;

/// Mutations of each seed; a few seconds together.
const ROUNDS: usize = 300;

/// xorshift64*: the seed of a failing case is printed with it.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) as usize % limit.max(1)
    }
}

fn seeds(target: &str) -> Vec<(String, Vec<u8>)> {
    let home = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz");
    let mut found = Vec::new();
    for folder in ["seeds", "found"] {
        let Ok(entries) = fs::read_dir(home.join(folder).join(target)) else {
            continue;
        };
        for path in entries.map(|entry| entry.unwrap().path()) {
            found.push((path.display().to_string(), fs::read(&path).unwrap()));
        }
    }
    assert!(!found.is_empty(), "no seeds of {target}");
    found.sort();
    found
}

fn mutate(bytes: &mut Vec<u8>, others: &[(String, Vec<u8>)], random: &mut Random) {
    for _ in 0..=random.below(3) {
        let at = random.below(bytes.len() + 1);
        let len = random.below(bytes.len().min(24) + 1);
        let end = (at + len).min(bytes.len());
        match random.below(6) {
            0 => bytes.insert(at, random.below(256) as u8),
            1 => drop(bytes.drain(at..end)),
            2 => bytes.extend_from_within(at.min(end)..end),
            3 if at < bytes.len() => bytes[at] = random.below(256) as u8,
            4 if at < bytes.len() => bytes[at] ^= 1 << random.below(8),
            _ => {
                let (_, other) = &others[random.below(others.len())];
                let from = random.below(other.len());
                let to = (from + 1 + random.below(64)).min(other.len());
                bytes.splice(at..at, other[from.min(to)..to].iter().copied());
            }
        }
    }
}

fn run(target: &str, check: fn(&[u8])) {
    let seeds = seeds(target);
    for (at, (name, seed)) in seeds.iter().enumerate() {
        println!("{name}");
        check(seed);
        for round in 1..ROUNDS {
            println!("{name}, round {round}");
            let mut random = Random((at as u64) << 32 | round as u64);
            let mut bytes = seed.clone();
            mutate(&mut bytes, &seeds, &mut random);
            check(&bytes);
        }
    }
}

#[test]
fn decode_holds() {
    run("decode", targets::decode);
}

#[test]
fn records_hold() {
    run("records", targets::records);
}

#[test]
fn decimals_hold() {
    run("decimal", targets::decimals);
}

#[test]
fn control_holds() {
    run("control", targets::control);
}

#[test]
fn checkpoint_holds() {
    run("checkpoint", targets::checkpoint);
}

#[test]
fn blocks_hold() {
    run("blocks", targets::blocks);
}

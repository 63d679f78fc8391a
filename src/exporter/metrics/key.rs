//! The identity of a series, as bytes: a known series is found without building its name or its labels.

use super::sample::Subject;
use std::{
    collections::HashMap,
    hash::{BuildHasher, Hasher},
};
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// Longer keys are not kept.
const MAX_BYTES: usize = 1024;

/// A key, in a buffer that is used again.
#[derive(Debug, Default)]
pub struct Key(Vec<u8>);

impl Key {
    /// Makes it the key of a subject, without labels.
    pub fn start(&mut self, subject: Subject<'_>) {
        self.0.clear();
        self.0.shrink_to(MAX_BYTES);
        match subject {
            Subject::Event(name) => self.part(0, name),
            Subject::Duration { operation, failed } => self.part(1 + u8::from(failed), operation),
            Subject::Measurement { operation, key } => {
                self.part(3, operation);
                self.part(0, key);
            }
        }
    }

    /// Adds a label.
    pub fn label(&mut self, name: &str, value: &str) {
        self.part(0, name);
        self.part(0, value);
    }

    /// Adds a text. No text has the byte 0xFF.
    fn part(&mut self, kind: u8, text: &str) {
        self.0.push(kind);
        self.0.extend_from_slice(text.as_bytes());
        self.0.push(0xff);
    }
}

/// Values of known series, by their keys.
#[derive(Debug)]
pub struct Known<V> {
    by_key: HashMap<Box<[u8]>, V, Seeded>,
    bytes: usize,
}

impl<V> Default for Known<V> {
    fn default() -> Self {
        Self { by_key: HashMap::default(), bytes: 0 }
    }
}

impl<V: Copy> Known<V> {
    /// The value of a key.
    pub fn get(&self, key: &Key) -> Option<V> {
        self.by_key.get(key.0.as_slice()).copied()
    }

    /// Keeps the value of a key, unless the key is very long.
    pub fn add(&mut self, key: &Key, value: V) {
        if key.0.len() <= MAX_BYTES && self.by_key.insert(key.0.as_slice().into(), value).is_none() {
            self.bytes += key.0.len();
        }
    }

    /// The number of keys.
    pub fn count(&self) -> usize {
        self.by_key.len()
    }

    /// The length of all keys together.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Removes all keys.
    pub fn clear(&mut self) {
        *self = Self::default();
    }
}

/// Hashes differ from process to process, so that a worker cannot choose keys with the same one.
#[derive(Debug, Clone)]
struct Seeded(u64);

impl Default for Seeded {
    fn default() -> Self {
        Self(fastrand::u64(..))
    }
}

impl BuildHasher for Seeded {
    type Hasher = Hash;

    fn build_hasher(&self) -> Hash {
        Hash(self.0)
    }
}

/// The hash of a slice of bytes.
struct Hash(u64);

impl Hasher for Hash {
    fn write(&mut self, bytes: &[u8]) {
        self.0 = xxh3_64_with_seed(bytes, self.0);
    }

    /// The length: the bytes have it.
    fn write_usize(&mut self, _: usize) {}

    fn finish(&self) -> u64 {
        self.0
    }
}

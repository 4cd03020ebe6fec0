//! A number for a configuration, by which the instances of a fleet can be compared.

use sha2::{Digest, Sha256};

use super::differences::own_secrets;
use crate::config::{Config, Key, keys::hex, print_effective};

/// Bytes of the hash that are told: a gauge is a double, which holds 53 bits.
const BYTES: usize = 6;

impl Config {
    /// The first 48 bits of a hash of every setting but the passwords of other systems. Of the instance's own secrets their
    /// hashes are hashed, so that another secret makes another number, and the number tells nothing about a secret that is
    /// random. Of a secret that can be guessed it would tell whether a guess is right, and whoever reads metrics may know
    /// the rest of the configuration: so passwords, which others choose, have no part in it.
    pub fn fingerprint(&self) -> u64 {
        let mut hash = Sha256::new();
        hash.update(print_effective(self));
        for (setting, secret) in own_secrets(self) {
            hash.update(format!("{setting} {}\n", hex(&Sha256::digest(secret.expose()))));
        }
        for key in self.all_keys() {
            let Key { name, key: _, key_hash: _, streams, browser, quota } = key;
            let digest = key.digest().map_or_else(String::new, |digest| hex(&digest));
            hash.update(format!("{name} {digest} {streams:?} {browser} {quota:?}\n"));
        }
        hash.finalize().iter().take(BYTES).fold(0, |number, byte| number << 8 | u64::from(*byte))
    }
}

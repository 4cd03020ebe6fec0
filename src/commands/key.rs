//! `logweir key new`: a fresh key, shown once, and what the configuration keeps of it.

use std::{
    fmt::Write as _,
    io::{self, Write},
    process::ExitCode,
};

use super::{EXIT_CONFIG, EXIT_UNAVAILABLE, fail};
use crate::{
    batch::StreamName,
    cli::KeyNewArgs,
    config::{is_key_name, key_hash},
};

/// Random bytes of a key.
const KEY_BYTES: usize = 32;
/// What every key begins with, so that one is recognised for what it is where it should not be.
const PREFIX: &str = "lw_";

/// `logweir key new`: the key goes to standard error, and its section, which may be kept, to standard output.
pub fn new_key(asked: &KeyNewArgs) -> ExitCode {
    if !is_key_name(&asked.name) {
        return fail(EXIT_CONFIG, &"--name: choose 1 to 64 lower-case letters, digits, `_` or `-`");
    }
    if let Some(rule) = asked.stream.iter().find_map(|name| StreamName::new(name).err()) {
        return fail(EXIT_CONFIG, &format!("--stream: {rule}"));
    }
    let mut random = [0; KEY_BYTES];
    if let Err(error) = getrandom::fill(&mut random) {
        return fail(EXIT_UNAVAILABLE, &format!("there are no random numbers to be had: {error}"));
    }
    let key = random.iter().fold(PREFIX.to_owned(), |mut key, byte| {
        // Writing to a string cannot fail.
        let _ = write!(key, "{byte:02x}");
        key
    });
    let told = io::stdout().write_all(section(asked, &key).as_bytes()).and_then(|()| {
        let shown = format!("# The key, which is shown this once; the section has its hash alone:\n{key}\n");
        io::stderr().write_all(shown.as_bytes())
    });
    told.map_or(ExitCode::FAILURE, |()| ExitCode::SUCCESS)
}

/// What the configuration, or its keys file, is to say. It begins with an empty line, since what it is put behind may not
/// end in one: `logweir key new … >> keys.toml`.
fn section(asked: &KeyNewArgs, key: &str) -> String {
    let mut section = format!("\n[[keys]]\nname = \"{}\"\nkey_hash = \"{}\"\n", asked.name, key_hash(key));
    if !asked.stream.is_empty() {
        let names: Vec<String> = asked.stream.iter().map(|name| format!("\"{name}\"")).collect();
        let _ = writeln!(section, "streams = [{}]", names.join(", "));
    }
    if asked.browser {
        section.push_str("browser = true\n");
    }
    section
}

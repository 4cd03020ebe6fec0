//! What a server left on disk is what it was sent: without that there is nothing to compare.

use std::{
    collections::HashSet,
    fs::File,
    io::{BufRead, BufReader, Read, Write},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use flate2::bufread::MultiGzDecoder;

use crate::{events::Bodies, servers::NGINX_LOG};

/// Of how many bytes of lines GNU gzip is asked what it makes of them.
const SAMPLE_BYTES: u64 = 96 << 20;

/// What a server stored.
#[derive(Default, Clone, serde::Serialize)]
pub(crate) struct Stored {
    pub(crate) files: u64,
    pub(crate) lines: u64,
    /// Of the lines.
    pub(crate) plain_bytes: u64,
    /// Of the files.
    pub(crate) bytes: u64,
    pub(crate) sample: Option<Sample>,
}

/// The same lines, as they are stored and as `gzip -1` makes them.
#[derive(Clone, Copy, serde::Serialize)]
pub(crate) struct Sample {
    pub(crate) plain_bytes: u64,
    pub(crate) bytes: u64,
    pub(crate) gzip_bytes: u64,
}

impl Stored {
    /// What nginx logged: each body that was `taken` once, and nothing else.
    pub(crate) fn by_nginx(dir: &Path, bodies: &Bodies, taken: &[u64]) -> Self {
        let mut due = Due::new(bodies, taken);
        let mut stored = Self::default();
        stored.read(&dir.join(NGINX_LOG), |line| {
            due.begin(line);
            assert!(line == due.body, "a body is logged as it was sent");
        });
        due.end();
        stored
    }

    /// What logweir stored: each event of each body that was `taken` once, and nothing else. Some of it is given to `gzip -1`,
    /// if `weigh`.
    pub(crate) fn by_logweir(dir: &Path, bodies: &Bodies, taken: &[u64], weigh: bool) -> Self {
        let mut due = Due::new(bodies, taken);
        let mut stored = Self::default();
        let mut place = bodies.a_batch;
        for path in objects(&dir.join("data/objects/heard")) {
            let (bytes_before, mut lines) = (stored.bytes, Vec::new());
            let wanted = weigh && stored.sample.is_none_or(|sample| sample.plain_bytes < SAMPLE_BYTES);
            stored.read(&path, |line| {
                if place == bodies.a_batch {
                    due.begin(line);
                    place = 0;
                }
                // The server's fields stand before those of the event.
                assert!(line.ends_with(&Bodies::event(&due.body, place)[1..]), "an event is stored as it was sent");
                place += 1;
                if wanted {
                    lines.extend_from_slice(line);
                    lines.push(b'\n');
                }
            });
            if let Some(gzip_bytes) = (!lines.is_empty()).then(|| gzip_1(&lines)).flatten() {
                let so_far = stored.sample.unwrap_or(Sample { plain_bytes: 0, bytes: 0, gzip_bytes: 0 });
                stored.sample = Some(Sample {
                    plain_bytes: so_far.plain_bytes + lines.len() as u64,
                    bytes: so_far.bytes + stored.bytes - bytes_before,
                    gzip_bytes: so_far.gzip_bytes + gzip_bytes,
                });
            }
        }
        assert_eq!(place, bodies.a_batch, "the last batch is whole");
        due.end();
        stored
    }

    /// Counts a file, and shows each of its lines.
    fn read(&mut self, path: &Path, mut see: impl FnMut(&[u8])) {
        let file = File::open(path).expect("what was stored can be opened");
        self.files += 1;
        self.bytes += file.metadata().expect("it has a length").len();
        let mut lines = BufReader::with_capacity(1 << 18, MultiGzDecoder::new(BufReader::with_capacity(1 << 18, file)));
        let mut line = Vec::new();
        while lines.read_until(b'\n', &mut line).expect("what was stored can be decompressed") > 0 {
            self.lines += 1;
            self.plain_bytes += line.len() as u64;
            assert_eq!(line.pop(), Some(b'\n'), "the last line is whole");
            see(&line);
            line.clear();
        }
    }
}

/// The bodies that have not been seen yet, and the one at hand.
struct Due<'b> {
    bodies: &'b Bodies,
    numbers: HashSet<u64>,
    body: Vec<u8>,
}

impl<'b> Due<'b> {
    fn new(bodies: &'b Bodies, taken: &[u64]) -> Self {
        Self { bodies, numbers: taken.iter().copied().collect(), body: Vec::new() }
    }

    /// Takes the body that `line` is of, which must be due.
    fn begin(&mut self, line: &[u8]) {
        let number = Bodies::number(line).expect("a batch has an id");
        assert!(self.numbers.remove(&number), "what is stored was sent, and is stored once");
        self.body.clear();
        self.bodies.write(number, &mut self.body);
    }

    fn end(self) {
        assert!(self.numbers.is_empty(), "{} bodies that were taken are not stored", self.numbers.len());
    }
}

/// The files below `dir`.
fn objects(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).expect("the objects are there").flatten() {
        if entry.path().is_dir() { found.extend(objects(&entry.path())) } else { found.push(entry.path()) }
    }
    found.sort();
    found
}

/// How many bytes GNU gzip makes of `lines` at level 1; `None` without it.
fn gzip_1(lines: &[u8]) -> Option<u64> {
    let mut child = Command::new("gzip").arg("-1c").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().ok()?;
    let (mut input, mut output) = (child.stdin.take()?, child.stdout.take()?);
    let mut compressed = Vec::new();
    std::thread::scope(|scope| {
        // Its input ends where the thread does.
        scope.spawn(move || input.write_all(lines).expect("gzip reads"));
        output.read_to_end(&mut compressed).expect("gzip writes");
    });
    assert!(child.wait().expect("gzip can be waited for").success(), "gzip ends well");
    Some(compressed.len() as u64)
}

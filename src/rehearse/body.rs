//! What devices send: bodies made before the rehearsal begins, so that sending costs no more than it must.
//!
//! An event has [`EVENT_BYTES`], as those of a real SDK do, and the events differ, so that what is stored compresses like
//! real data. A body is an array of events; the batch's id comes in a header, so that a body serves many batches.

use std::io::{self, Write};

use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};

/// The length of an event, in bytes.
pub const EVENT_BYTES: usize = 470;
/// How many different bodies are sent in turn.
const BODIES: usize = 256;
/// What the bodies may take together, in bytes: large ones are fewer.
const ALL_BYTES: usize = 64 * 1024 * 1024;
/// The fewest different bodies.
const MIN_BODIES: usize = 4;

/// Bodies, sent in turn.
#[derive(Debug, Clone)]
pub struct Bodies {
    bodies: Vec<Bytes>,
    /// Whether they are compressed with gzip.
    pub gzip: bool,
}

impl Bodies {
    /// Bodies of `events` events each, the same for the same `seed`.
    ///
    /// # Errors
    /// None is expected: compressing into memory does not fail.
    pub fn new(events: usize, gzip: bool, seed: u64) -> io::Result<Self> {
        let mut random = fastrand::Rng::with_seed(seed);
        let count = (ALL_BYTES / (events.max(1) * EVENT_BYTES)).clamp(MIN_BODIES, BODIES);
        let mut bodies = Vec::with_capacity(count);
        for _ in 0..count {
            let events: Vec<String> = (0..events).map(|_| event(&mut random)).collect();
            let text = format!("[{}]", events.join(",")).into_bytes();
            bodies.push(if gzip { compressed(&text)? } else { text }.into());
        }
        Ok(Self { bodies, gzip })
    }

    /// The body of the batch with this number: the same at each try.
    pub fn of(&self, batch: u64) -> Bytes {
        self.bodies[(batch % self.bodies.len() as u64) as usize].clone()
    }

    /// Their mean length as they are sent, in bytes.
    pub fn mean_bytes(&self) -> f64 {
        self.bodies.iter().map(Bytes::len).sum::<usize>() as f64 / self.bodies.len() as f64
    }
}

/// As a device compresses: the level that most libraries have without being asked.
fn compressed(text: &[u8]) -> io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(text)?;
    encoder.finish()
}

/// An event as an SDK reports what it heard.
fn event(random: &mut fastrand::Rng) -> String {
    const MODELS: [&str; 6] = ["SM-S928N", "SM-A546S", "iPhone15,2", "iPhone14,5", "Pixel 8", "LM-V500N"];
    const CHANNELS: [&str; 5] = ["tv-01", "tv-07", "cable-112", "ott-3", "radio-9"];
    const PROGRAMS: [&str; 4] = ["evening-news", "weekend-drama", "baseball-live", "shopping-hour"];
    const NOTE: &str = "ambient level normal; no interference detected; microphone shared with one other application";
    let mut pick = |choices: &[&'static str]| choices[random.usize(..choices.len())];
    let (model, channel, program) = (pick(&MODELS), pick(&CHANNELS), pick(&PROGRAMS));
    let (carrier, network, foreground) =
        (pick(&["SKT", "KT", "LGU+"]), pick(&["wifi", "lte"]), pick(&["true", "false"]));
    let mut text = format!(
        "{{\"device_id\":\"{:08x}-{:04x}-4{:03x}-a{:03x}-{:012x}\",\"session\":\"{:016x}\",\
         \"app\":\"com.example.reader\",\"app_version\":\"{}.{}.{}\",\"sdk\":\"heard-android/2.11.0\",\"os\":\"android\",\
         \"os_version\":\"{}\",\"model\":\"{model}\",\"carrier\":\"{carrier}\",\"sequence\":{},\"tone\":{},\
         \"channel\":\"{channel}\",\"program\":\"{program}\",\"confidence\":{:.4},\"snr_db\":{:.1},\"battery\":{:.2},\
         \"network\":\"{network}\",\"foreground\":{foreground},\"rehearsal\":true,\"note\":\"",
        random.u32(..),
        random.u16(..),
        random.u16(..0x1000),
        random.u16(..0x1000),
        random.u64(..0x1_0000_0000_0000),
        random.u64(..),
        random.u8(1..9),
        random.u8(..20),
        random.u8(..50),
        random.u8(9..16),
        random.u32(..1_000_000),
        random.u32(18_000..20_000),
        random.f64(),
        30.0 * random.f64(),
        random.f64(),
    );
    let room = EVENT_BYTES.saturating_sub(text.len() + "\"}".len());
    text.extend(NOTE.chars().cycle().take(room));
    text.push_str("\"}");
    text
}

#[cfg(test)]
mod tests {
    use std::{collections::HashSet, io::Read};

    use flate2::read::GzDecoder;

    use super::*;

    #[test]
    fn bodies_are_arrays_of_different_events_of_the_length_of_real_ones() {
        for gzip in [false, true] {
            let bodies = Bodies::new(10, gzip, 1).unwrap();
            let mut seen = HashSet::new();
            for body in &bodies.bodies {
                let mut text = String::new();
                #[expect(clippy::disallowed_methods, reason = "the test made what it reads")]
                if gzip {
                    GzDecoder::new(&body[..]).read_to_string(&mut text).unwrap();
                } else {
                    text = String::from_utf8(body.to_vec()).unwrap();
                }
                assert_eq!(text.len(), 10 * EVENT_BYTES + 11);
                let events: Vec<serde_json::Value> = serde_json::from_str(&text).unwrap();
                assert!(events.iter().all(|event| event["rehearsal"] == true && seen.insert(event.to_string())));
            }
            assert_eq!(seen.len(), 10 * BODIES);
            assert_eq!(bodies.of(3), bodies.of(3 + BODIES as u64));
            assert_ne!(bodies.of(3), bodies.of(4));
            let mean = bodies.mean_bytes();
            assert!(if gzip { mean < 3_500.0 } else { (mean - 4_711.0).abs() < 1e-9 }, "{mean}");
        }
        assert_eq!(Bodies::new(100_000, false, 1).unwrap().bodies.len(), MIN_BODIES);
    }
}

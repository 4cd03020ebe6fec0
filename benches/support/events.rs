//! Events and batches as SDKs send them.

#![allow(dead_code, reason = "a benchmark of a stage works on a few batches, one of servers on many")]

/// The length of an event, in bytes.
pub(crate) const EVENT_BYTES: usize = 467;
/// How many different events there are but for their ids: 7.6 MB. Of the fifty that gzip looks back on, one in three hundred
/// is like the one at hand.
const EVENTS: usize = 16_384;
/// Where an event's ids stand, and how many hexadecimal digits of them are drawn anew for each that is sent: of the device
/// the first eight and twelve of the last, of the session all.
const DEVICE: (usize, usize) = (14, 38);
const SESSION: usize = 63;
/// What stands around the batch's id and the events.
const BEFORE_ID: &[u8] = b"{\"batch_id\":\"";
const BEHIND_ID: &[u8] = b"\",\"events\":[";
const BEHIND_EVENTS: &[u8] = b"]}";

/// Bodies of which no two are alike, and no two of their events: what repeats is what repeats in the reports of different
/// devices. Making one costs some 100 ns an event.
pub(crate) struct Bodies {
    events: Vec<[u8; EVENT_BYTES]>,
    /// How many of them a batch has.
    pub(crate) a_batch: usize,
}

impl Bodies {
    pub(crate) fn new(a_batch: usize) -> Self {
        let mut random = fastrand::Rng::with_seed(0);
        let event = |_| event(&mut random).into_bytes().try_into().expect("every event has this length");
        let events: Vec<[u8; EVENT_BYTES]> = (0..EVENTS).map(event).collect();
        assert!(events[0][..DEVICE.0].ends_with(b"\"device_id\":\"") && events[0][DEVICE.1 - 1] == b'-');
        assert!(events[0][..SESSION].ends_with(b"\"session\":\""));
        Self { events, a_batch }
    }

    /// The length of each body.
    pub(crate) fn len(&self) -> usize {
        let between = self.a_batch.saturating_sub(1);
        BEFORE_ID.len() + 32 + BEHIND_ID.len() + self.a_batch * EVENT_BYTES + between + BEHIND_EVENTS.len()
    }

    /// Writes body `number` behind what is in `into`; the same number gives the same body, and is found in its batch's id.
    pub(crate) fn write(&self, number: u64, into: &mut Vec<u8>) {
        let mut random = fastrand::Rng::with_seed(number);
        into.extend_from_slice(BEFORE_ID);
        into.extend_from_slice(&hex(number));
        into.extend_from_slice(&hex(random.u64(..)));
        into.extend_from_slice(BEHIND_ID);
        for place in 0..self.a_batch {
            if place > 0 {
                into.push(b',');
            }
            let begin = into.len();
            into.extend_from_slice(&self.events[random.usize(..EVENTS)]);
            let event = &mut into[begin..];
            let (device, session) = (hex(random.u64(..)), hex(random.u64(..)));
            event[DEVICE.0..DEVICE.0 + 8].copy_from_slice(&device[..8]);
            event[DEVICE.1..DEVICE.1 + 8].copy_from_slice(&device[8..]);
            event[SESSION..SESSION + 16].copy_from_slice(&session);
        }
        into.extend_from_slice(BEHIND_EVENTS);
    }

    /// An event of `body`.
    pub(crate) fn event(body: &[u8], place: usize) -> &[u8] {
        let begin = BEFORE_ID.len() + 32 + BEHIND_ID.len() + place * (EVENT_BYTES + 1);
        &body[begin..begin + EVENT_BYTES]
    }

    /// The number of the body whose batch has the id that is found in `line`: of a body, or of what is stored of one.
    pub(crate) fn number(line: &[u8]) -> Option<u64> {
        let key = &BEFORE_ID[1..];
        let begin = line.windows(key.len()).position(|window| window == key)? + key.len();
        let digits = line.get(begin..begin + 16)?;
        u64::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
    }
}

fn hex(number: u64) -> [u8; 16] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    std::array::from_fn(|place| DIGITS[(number >> (60 - 4 * place)) as usize & 15])
}

/// The body of batch `number`, with `events` events; the same number gives the same body.
pub(crate) fn body(number: usize, events: usize) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(number as u64);
    let events: Vec<String> = (0..events).map(|_| event(&mut random)).collect();
    format!("{{\"batch_id\":\"{:032x}\",\"events\":[{}]}}", random.u128(..), events.join(",")).into_bytes()
}

/// An event as an SDK reports what it heard. Stored, these lines compress with GNU gzip -1 to about a fifth.
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
         \"os_version\":\"{}\",\"model\":\"{model}\",\"carrier\":\"{carrier}\",\
         \"heard_at\":\"2026-11-22T{:02}:{:02}:{:02}.{:03}+09:00\",\"sequence\":{},\"tone\":{},\"channel\":\"{channel}\",\
         \"program\":\"{program}\",\"confidence\":{:.4},\"snr_db\":{:.1},\"battery\":{:.2},\"network\":\"{network}\",\
         \"foreground\":{foreground},\"note\":\"",
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
        random.u8(..24),
        random.u8(..60),
        random.u8(..60),
        random.u16(..1000),
        random.u32(..1_000_000),
        random.u32(18_000..20_000),
        random.f64(),
        30.0 * random.f64(),
        random.f64(),
    );
    let room = EVENT_BYTES - 2 - text.len();
    text.push_str(&NOTE[..room]);
    text.push_str("\"}");
    assert_eq!(text.len(), EVENT_BYTES);
    text
}

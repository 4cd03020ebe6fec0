//! Events and batches as SDKs send them.

/// The length of an event, in bytes.
const EVENT_BYTES: usize = 467;

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

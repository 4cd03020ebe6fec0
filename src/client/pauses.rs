//! The pauses that outlive the process: an application that is started a hundred times a day must not ask a hundred times.
//!
//! They are kept as text: a line with the wall clock's time and the device's pause, and a line with its name and its pause
//! for each stream that the key may not write to. Times are in milliseconds.

use std::{collections::BTreeMap, fmt::Write as _, time::Duration};

use super::contract::{KEY_WAIT, MAX_NAMED_WAIT};
use crate::batch::{Millis, StreamName};

/// The longest text that is read, in bytes: more than [`MAX_STREAMS`] take.
pub(super) const MAX_TEXT_BYTES: usize = 8 * 1024;
/// For how many streams a pause is kept. The others are tried once more when the application starts.
const MAX_STREAMS: usize = 64;

/// For how long nothing is sent, from now.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Pauses {
    /// Of any stream.
    pub(super) device: Duration,
    /// Of these streams.
    pub(super) streams: BTreeMap<StreamName, Duration>,
}

impl Pauses {
    /// What to keep, if it is `now`.
    pub(super) fn to_text(&self, now: Millis) -> String {
        let mut text = format!("{} {}\n", now.get(), self.device.as_millis());
        for (stream, pause) in self.streams.iter().take(MAX_STREAMS) {
            let _ = writeln!(text, "{stream} {}", pause.as_millis());
        }
        text
    }

    /// What is left `now` of what was kept, never more than it was; and whether it was kept by a clock that ran ahead of
    /// this one, so that nobody knows how much has passed. `None` if the text is none that was kept.
    pub(super) fn parse(text: &str, now: Millis) -> Option<(Self, bool)> {
        let (first, rest) = text.split_once('\n')?;
        let (began, device) = first.split_once(' ')?;
        let began: i64 = began.parse().ok()?;
        let passed = Duration::from_millis(u64::try_from(now.get().saturating_sub(began)).unwrap_or(0));
        let left = |pause: &str, max: Duration| {
            Some(Duration::from_millis(pause.parse().ok()?).saturating_sub(passed).min(max))
        };
        let stream = |line: &str| {
            let (name, pause) = line.split_once(' ')?;
            Some((StreamName::new(name).ok()?, left(pause, KEY_WAIT).filter(|left| !left.is_zero())?))
        };
        let streams = rest.lines().filter_map(stream).collect();
        Some((Self { device: left(device, MAX_NAMED_WAIT)?, streams }, began > now.get()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WALL: i64 = 1_795_338_000_000;

    fn at(seconds: i64) -> Millis {
        Millis::new(WALL + seconds * 1_000).unwrap()
    }

    fn pauses(device: u64, streams: &[(&str, u64)]) -> Pauses {
        let stream = |(name, pause): &(&str, u64)| (StreamName::new(name).unwrap(), Duration::from_secs(*pause));
        Pauses { device: Duration::from_secs(device), streams: streams.iter().map(stream).collect() }
    }

    #[test]
    fn what_is_left_is_what_has_not_passed() {
        let text = pauses(100, &[("a", 20), ("b", 3_600)]).to_text(at(10));
        let left = |seconds| Pauses::parse(&text, at(seconds)).unwrap();
        assert_eq!(left(10), (pauses(100, &[("a", 20), ("b", 3_600)]), false));
        assert_eq!(left(40), (pauses(70, &[("b", 3_570)]), false));
        assert_eq!(left(1_010), (pauses(0, &[("b", 2_600)]), false));
        assert_eq!(left(3_610), (Pauses::default(), false));
        // A clock that was set back does not make it longer.
        assert_eq!(left(0), (pauses(100, &[("a", 20), ("b", 3_600)]), true));
    }

    #[test]
    fn what_was_not_kept_is_nothing_and_no_pause_is_longer_than_one_can_be() {
        for bad in ["", "x", "1", "1 x\n", "1 2 3\n", "1 2", &"9".repeat(100)] {
            assert_eq!(Pauses::parse(bad, at(0)), None, "{bad}");
        }
        let text = format!("{WALL} {0}\na {0}\nB 1\nc\nd -1\n", u64::MAX);
        let streams = [(StreamName::new("a").unwrap(), KEY_WAIT)].into();
        assert_eq!(Pauses::parse(&text, at(0)), Some((Pauses { device: MAX_NAMED_WAIT, streams }, false)));
    }

    #[test]
    fn the_longest_text_is_read() {
        let names = (0..100).map(|n| format!("s{n:062}")).collect::<Vec<_>>();
        let streams: Vec<_> = names.iter().map(|name| (name.as_str(), 3_600)).collect();
        let text = pauses(86_400, &streams).to_text(Millis::MAX);
        assert!(text.len() <= MAX_TEXT_BYTES, "{}", text.len());
        assert_eq!(Pauses::parse(&text, at(0)).unwrap().0.streams.len(), MAX_STREAMS);
    }
}

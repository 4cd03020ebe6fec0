//! Mute: devices that could not be stopped can be told to be silent for hours.

use std::time::Duration;

use super::RetryAfter;

/// Which requests are muted, and for how long. A selector that is absent matches everything.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Mute {
    /// Those that come with the key of this name.
    pub key: Option<String>,
    /// Those for this stream.
    pub stream: Option<String>,
    /// Those of SDKs that say this of themselves.
    pub sdk: Option<SdkPattern>,
    /// The part of the devices, from 0 to 1. A device is in or out by its id, the same on every instance, and one that is
    /// muted at some part is muted at every larger one; a request that tells no device is muted by chance.
    pub devices: f64,
    /// Muted devices are told to come back within the last half of this.
    pub retry_after: Duration,
}

/// What an SDK says of itself: exactly this, or what begins with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SdkPattern {
    text: String,
    is_prefix: bool,
}

impl SdkPattern {
    /// The pattern that `text` spells: a `*` at its end stands for any rest.
    pub fn new(text: &str) -> Self {
        match text.strip_suffix('*') {
            Some(prefix) => Self { text: prefix.to_owned(), is_prefix: true },
            None => Self { text: text.to_owned(), is_prefix: false },
        }
    }

    fn matches(&self, sdk: &[u8]) -> bool {
        if self.is_prefix { sdk.starts_with(self.text.as_bytes()) } else { sdk == self.text.as_bytes() }
    }
}

/// Who sends, as far as mutes can tell.
#[derive(Debug, Clone, Copy, Default)]
pub struct Sender<'a> {
    /// The key's name.
    pub key: &'a str,
    /// The stream's name.
    pub stream: &'a str,
    /// What the SDK says of itself.
    pub sdk: Option<&'a [u8]>,
    /// A hash of the device's id.
    pub device: Option<u64>,
}

/// When the first of `mutes` that matches `sender` lets it come back; `chance` lies between 0 and 1.
pub fn muted(mutes: &[Mute], sender: Sender<'_>, chance: f64) -> Option<RetryAfter> {
    let mute = mutes.iter().find(|mute| mute.matches(sender, chance))?;
    // Which devices chance has chosen must not decide when they come back.
    let spread = (chance * 4_096.0).fract();
    Some(RetryAfter::within_last_half(mute.retry_after, spread))
}

impl Mute {
    fn matches(&self, sender: Sender<'_>, chance: f64) -> bool {
        let place = sender.device.map_or(chance, |hash| hash as f64 / u64::MAX as f64);
        self.key.as_ref().is_none_or(|key| key == sender.key)
            && self.stream.as_ref().is_none_or(|stream| stream == sender.stream)
            && self.sdk.as_ref().is_none_or(|pattern| sender.sdk.is_some_and(|sdk| pattern.matches(sdk)))
            && (self.devices >= 1.0 || place < self.devices)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOURS: Duration = Duration::from_hours(6);

    fn all() -> Mute {
        Mute { devices: 1.0, retry_after: HOURS, ..Mute::default() }
    }

    const SENDER: Sender<'_> = Sender { key: "sdk", stream: "heard", sdk: Some(b"android/2.3.1"), device: Some(7) };

    #[test]
    fn a_mute_matches_what_all_of_its_selectors_say() {
        let matches = |mute: &Mute| muted(std::slice::from_ref(mute), SENDER, 0.5).is_some();
        let mutes = [
            (all(), true),
            (Mute { key: Some("sdk".into()), stream: Some("heard".into()), ..all() }, true),
            (Mute { key: Some("web".into()), stream: Some("heard".into()), ..all() }, false),
            (Mute { stream: Some("seen".into()), ..all() }, false),
            (Mute { sdk: Some(SdkPattern::new("android/2.3.1")), ..all() }, true),
            (Mute { sdk: Some(SdkPattern::new("android/2.*")), ..all() }, true),
            (Mute { sdk: Some(SdkPattern::new("*")), ..all() }, true),
            (Mute { sdk: Some(SdkPattern::new("android/2.3")), ..all() }, false),
            (Mute { sdk: Some(SdkPattern::new("ios/*")), ..all() }, false),
        ];
        for (mute, expected) in mutes {
            assert_eq!(matches(&mute), expected, "{mute:?}");
        }
        let silent = Sender { sdk: None, ..SENDER };
        assert_eq!(muted(&[Mute { sdk: Some(SdkPattern::new("*")), ..all() }], silent, 0.5), None);
        assert_eq!(muted(&[], SENDER, 0.5), None);
    }

    #[test]
    fn a_share_of_devices_is_muted_the_same_ones_always() {
        let count = |devices: f64, chance: f64| {
            let mutes = [Mute { devices, ..all() }];
            let device = |n: u64| Some(n.wrapping_mul(0x9E37_79B9_7F4A_7C15));
            (0..10_000).filter(|n| muted(&mutes, Sender { device: device(*n), ..SENDER }, chance).is_some()).count()
        };
        assert!((2_400..2_600).contains(&count(0.25, 0.0)), "{}", count(0.25, 0.0));
        assert_eq!(count(0.25, 0.0), count(0.25, 1.0), "chance decides nothing about a device that is known");
        let unknown = Sender { device: None, ..SENDER };
        let mutes = [Mute { devices: 0.25, ..all() }];
        assert!(muted(&mutes, unknown, 0.2).is_some() && muted(&mutes, unknown, 0.3).is_none());
    }

    #[test]
    fn the_muted_come_back_spread_over_the_last_half() {
        let told = |chance| muted(&[all()], SENDER, chance).unwrap().seconds();
        let mut told: Vec<u64> = (0..1_000).map(|n| told(f64::from(n) / 1_000.0)).collect();
        told.sort_unstable();
        assert!((3 * 3_600..3 * 3_600 + 60).contains(&told[0]), "{}", told[0]);
        assert!((6 * 3_600 - 120..=6 * 3_600).contains(&told[999]), "{}", told[999]);
    }
}

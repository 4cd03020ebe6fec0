//! What devices do with an answer: pure, for real and virtual fleets alike.
//!
//! Each device behaves in one way all the time, drawn from its number by a [`Mix`]. A [`Delivery`] is a batch that its
//! device has not got rid of; told of an answer, it says what comes [`Next`]. Batches of one device go independently: a
//! device that reports once, as most do in a flood, has one.
//!
//! Whoever behaves keeps the [client's contract](crate::client::contract). The others exist, too, and are what a server
//! must stand.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::client::contract::{Answer, Fate, Verdict, fate};

/// How long a careless device waits, whatever it is told.
pub const CARELESS_WAIT: Duration = Duration::from_secs(1);
/// How often a careless device tries before it gives a batch up.
pub const CARELESS_TRIES: u32 = 10;
/// How long lies between two tries of a stubborn device at least. Longer is no try at once, and shorter is more than a
/// phone's radio and its connections make.
pub const STUBBORN_PACE: Duration = Duration::from_millis(500);

/// How a device behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Behaviour {
    /// It keeps the client's contract: it comes back when told, and else backs off.
    Behave,
    /// It comes back after [`CARELESS_WAIT`], whatever it is told, and gives up after [`CARELESS_TRIES`].
    Careless,
    /// It comes back at once, no oftener than its [`STUBBORN_PACE`], and never gives up.
    Stubborn,
}

impl Behaviour {
    /// Every behaviour, in the order of the declaration.
    pub const ALL: [Self; 3] = [Self::Behave, Self::Careless, Self::Stubborn];

    /// Its name on the command line and in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Behave => "behave",
            Self::Careless => "careless",
            Self::Stubborn => "stubborn",
        }
    }
}

/// Which part of the devices behaves how. The parts are weights: they need not sum to 1.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Mix {
    /// The weight of [`Behaviour::Behave`].
    pub behave: f64,
    /// The weight of [`Behaviour::Careless`].
    pub careless: f64,
    /// The weight of [`Behaviour::Stubborn`].
    pub stubborn: f64,
}

impl Mix {
    /// Whether devices can be drawn from it: no weight is negative or endless, and not all are 0.
    pub fn is_sound(&self) -> bool {
        let weights = [self.behave, self.careless, self.stubborn];
        weights.iter().all(|weight| weight.is_finite() && *weight >= 0.0) && weights.iter().sum::<f64>() > 0.0
    }

    /// How the device with this number behaves: the same each time it is asked.
    pub fn of(&self, device: u64) -> Behaviour {
        let sum = self.behave + self.careless + self.stubborn;
        let place = spread(device) * sum;
        if place < self.behave {
            Behaviour::Behave
        } else if place < self.behave + self.careless || self.stubborn <= 0.0 {
            // Rounding may put the last place behind the end of all weights.
            if self.careless > 0.0 { Behaviour::Careless } else { Behaviour::Behave }
        } else {
            Behaviour::Stubborn
        }
    }
}

/// A number from 0 up to 1 that looks like chance and is the same for the same device: the finaliser of `SplitMix64`.
fn spread(device: u64) -> f64 {
    let mut bits = device.wrapping_add(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((bits ^ (bits >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
}

/// A batch that its device has not got rid of. Times count from the start of the rehearsal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Delivery {
    /// The device's number.
    pub device: u64,
    /// The batch's number.
    pub batch: u64,
    /// How the device behaves.
    pub behaviour: Behaviour,
    /// Which try this is; the first is 1.
    pub try_number: u32,
    /// When the first try was due.
    pub made: Duration,
    /// When this try is due.
    pub due: Duration,
    /// Whether the first try was refused with 429, so that the second shows how well the server told the time.
    pub refused_first: bool,
}

/// What comes of a batch after an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// The server has it.
    Done,
    /// It can never be taken.
    Dropped,
    /// Its device gave it up.
    GivenUp,
    /// This is its next try.
    Again(Delivery),
}

impl Delivery {
    /// A new batch, due at `due`.
    pub fn new(device: u64, batch: u64, behaviour: Behaviour, due: Duration) -> Self {
        Self { device, batch, behaviour, try_number: 1, made: due, due, refused_first: false }
    }

    /// Whether it was tried before.
    pub fn is_return(&self) -> bool {
        self.try_number > 1
    }

    /// What comes of it after `answer`, which came at `now`; `chance` lies between 0 and 1.
    ///
    /// Whoever behaves backs off by the number of the try: unlike a real client, which remembers failures in a row and does
    /// not count waits that were named, so that after a refusal a failure makes it wait longer than a real one would.
    pub fn answered(&self, answer: &Answer, now: Duration, chance: f64) -> Next {
        match answer.verdict() {
            Verdict::Forget => return Next::Done,
            Verdict::Drop => return Next::Dropped,
            Verdict::TryHourly | Verdict::RetryLater => {}
        }
        let due = match self.behaviour {
            Behaviour::Behave => match fate(answer, now.saturating_sub(self.made), self.try_number, chance) {
                Fate::Forgotten => return Next::Done,
                Fate::Refused => return Next::Dropped,
                Fate::TooOld => return Next::GivenUp,
                Fate::Again(wait) => now + wait,
            },
            Behaviour::Careless if self.try_number >= CARELESS_TRIES => return Next::GivenUp,
            Behaviour::Careless => now + CARELESS_WAIT,
            Behaviour::Stubborn => now.max(self.due + STUBBORN_PACE),
        };
        let refused_first = self.refused_first || (!self.is_return() && answer.status == Some(429));
        Next::Again(Self { due, try_number: self.try_number + 1, refused_first, ..*self })
    }
}

/// `answer` as devices see it that take `constant` for every Retry-After of a refusal, as if the server had told it.
pub fn as_if_told(answer: Answer, constant: Option<Duration>) -> Answer {
    match constant {
        Some(_) if answer.status == Some(429) => Answer { retry_after: constant, retry_after_ms: None, ..answer },
        _ => answer,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    fn refused(millis: u64) -> Answer {
        Answer { retry_after_ms: Some(millis), ..Answer::of(429) }
    }

    fn delivery(behaviour: Behaviour) -> Delivery {
        Delivery::new(7, 9, behaviour, ms(1_000))
    }

    /// When the next try is due, if there is one.
    fn due(next: Next) -> Option<Duration> {
        match next {
            Next::Again(delivery) => Some(delivery.due),
            _ => None,
        }
    }

    #[test]
    fn a_mix_gives_each_behaviour_its_share_and_each_device_one_behaviour() {
        let mix = Mix { behave: 7.0, careless: 2.0, stubborn: 1.0 };
        let mut counts = [0_u32; 3];
        for device in 0..100_000 {
            counts[mix.of(device) as usize] += 1;
            assert_eq!(mix.of(device), mix.of(device));
        }
        for (count, expected) in counts.iter().zip([70_000.0, 20_000.0, 10_000.0]) {
            assert!((f64::from(*count) - expected).abs() < 700.0, "{counts:?}");
        }
        let only = |behave, careless, stubborn| Mix { behave, careless, stubborn };
        for device in 0..1_000 {
            assert_eq!(only(1.0, 0.0, 0.0).of(device), Behaviour::Behave);
            assert_eq!(only(0.0, 0.1, 0.0).of(device), Behaviour::Careless);
            assert_eq!(only(0.0, 0.0, 3.0).of(device), Behaviour::Stubborn);
        }
    }

    #[test]
    fn a_mix_of_nothing_is_not_sound() {
        let sound = |behave, careless| Mix { behave, careless, stubborn: 0.0 }.is_sound();
        assert!(sound(0.5, 0.0) && sound(0.0, 3.0));
        assert!(!sound(0.0, 0.0) && !sound(1.0, -0.1) && !sound(f64::NAN, 1.0) && !sound(f64::INFINITY, 1.0));
    }

    #[test]
    fn whoever_behaves_comes_back_when_told_and_else_backs_off() {
        let first = delivery(Behaviour::Behave);
        assert_eq!(due(first.answered(&refused(4_321), ms(1_500), 0.9)), Some(ms(5_821)));
        assert_eq!(due(first.answered(&Answer::default(), ms(1_500), 0.5)), Some(ms(2_000)));
        let Next::Again(second) = first.answered(&Answer::of(503), ms(1_500), 0.5) else { panic!("no second try") };
        assert_eq!((second.try_number, second.batch, second.device, second.refused_first), (2, 9, 7, false));
        assert_eq!(due(second.answered(&Answer::of(503), ms(2_000), 0.5)), Some(ms(3_000)), "the bound doubles");
        let week = Duration::from_hours(7 * 24);
        assert_eq!(first.answered(&refused(1_000), ms(1_000) + week, 0.5), Next::GivenUp);
    }

    #[test]
    fn the_careless_come_back_after_a_second_whatever_they_are_told_and_give_up() {
        let mut current = delivery(Behaviour::Careless);
        for number in 2..=CARELESS_TRIES {
            let now = current.due + ms(3);
            let Next::Again(next) = current.answered(&refused(60_000), now, 0.5) else { panic!("given up early") };
            assert_eq!((next.due, next.try_number, next.refused_first), (now + CARELESS_WAIT, number, true));
            current = next;
        }
        assert_eq!(current.answered(&refused(60_000), current.due, 0.5), Next::GivenUp);
    }

    #[test]
    fn the_stubborn_come_back_at_once_at_a_bounded_pace_without_end() {
        let mut current = delivery(Behaviour::Stubborn);
        for _ in 0..10_000 {
            let Next::Again(next) = current.answered(&refused(60_000), current.due + ms(2), 0.5) else {
                panic!("given up")
            };
            assert_eq!(next.due, current.due + STUBBORN_PACE);
            current = next;
        }
        let late = current.due + ms(9_000);
        assert_eq!(due(current.answered(&Answer::default(), late, 0.5)), Some(late), "after a slow answer: at once");
    }

    #[test]
    fn nobody_sends_again_what_is_taken_or_can_never_be() {
        for behaviour in Behaviour::ALL {
            let answered = |status| delivery(behaviour).answered(&Answer::of(status), ms(1_001), 0.5);
            assert_eq!([200, 202, 422].map(answered), [Next::Done; 3]);
            assert_eq!([400, 404, 413, 415].map(answered), [Next::Dropped; 4]);
        }
    }

    #[test]
    fn only_a_refused_first_try_counts_as_a_return_that_was_told() {
        let first = delivery(Behaviour::Stubborn);
        let Next::Again(failed) = first.answered(&Answer::default(), ms(1_001), 0.5) else { panic!("no try") };
        let Next::Again(third) = failed.answered(&refused(1), ms(1_002), 0.5) else { panic!("no try") };
        assert!(!failed.refused_first && !third.refused_first && !first.is_return() && failed.is_return());
    }

    #[test]
    fn a_constant_stands_for_what_a_refusal_told_and_for_nothing_else() {
        let constant = Some(Duration::from_secs(1));
        let told = as_if_told(Answer { retry_after: Some(ms(9_000)), ..refused(8_500) }, constant);
        assert_eq!(told.wait(), constant);
        assert_eq!(as_if_told(refused(8_500), None).wait(), Some(ms(8_500)));
        assert_eq!(as_if_told(Answer::of(503), constant).wait(), None);
    }
}

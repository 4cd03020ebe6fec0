//! Fairness: under pressure, who takes more than a fair share is refused first.
//!
//! A *flow* is what one key's SDK release sends; a device is a flow of its own beside that. Of the flows that send most
//! it is remembered how much each has lately offered; the rest is small by definition and never refused here. Under
//! pressure the share is found that lets through, of each flow the smaller of what it offers and the share, as much as
//! can be taken in all: max-min fairness, as a router's fair queues have it, without the queues. A flow that offers `n`
//! times the share is let in once in `n` times, by chance.
//!
//! Each worker keeps its own books: a load balancer spreads every flow over all of them. Memory is bounded: a flow that
//! is not remembered takes the place of the one that sends least and inherits what that had sent, as an upper bound
//! ("Space-Saving", Metwally et al. 2005); what it has inherited is not held against it.

use std::time::Duration;

use super::Moment;

/// Flows that are remembered, and as many devices.
const REMEMBERED: usize = 128;
/// How often the share is found anew.
const INTERVAL: Duration = Duration::from_millis(100);
/// What is left after an interval of what was remembered: half after a second.
const KEPT: f64 = 0.933;
/// What a steady rate comes to in the books, in seconds of it: 0.1 / (1 - KEPT).
const WINDOW: f64 = 1.4925;
/// What a request costs beside its bytes, in bytes: a flood of empty requests is a flood.
const REQUEST_BYTES: f64 = 2_048.0;
/// From which pressure on shares are enforced: 1 is where everything is refused.
const PRESSURE: f64 = 0.5;
/// At which pressure as much is let through as was before; the share grows below, and shrinks above. It lies between
/// where shares are enforced and where everybody is refused, so that those within their share do not notice.
const SETPOINT: f64 = 0.7;
/// By how much it grows or shrinks for each unit of pressure that it is off the mark.
const RESPONSE: f64 = 0.5;
/// What sends less than this part of all is not worth a place.
const FORGOTTEN: f64 = 1e-6;
/// A flow that offers no more than so many times the mean is one of many: it is not to blame for the pressure.
const BLAMED: f64 = 1.5;

/// Who sends: each as a hash.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Flow {
    /// The key and the SDK's release.
    pub release: u64,
    /// The device, if it tells one.
    pub device: Option<u64>,
}

/// A worker's books of who offers how much.
#[derive(Debug, Default)]
pub struct FairShare {
    releases: Offers,
    devices: Offers,
    /// What was let through.
    through: f64,
    since: Moment,
}

impl FairShare {
    /// Whether a request of `bytes` by `flow` is within its share. `capacity` is what this worker's part of the instance
    /// can take, in bytes of bodies a second; under little `pressure` everybody is within their share. `chance` lies
    /// between 0 and 1.
    pub fn allows(
        &mut self,
        flow: Flow,
        bytes: u64,
        (pressure, capacity): (f64, f64),
        now: Moment,
        chance: f64,
    ) -> bool {
        if now.since(self.since) >= INTERVAL {
            self.turn(now, pressure, capacity);
        }
        let amount = bytes as f64 + REQUEST_BYTES;
        let release = self.releases.offer(flow.release, amount);
        let device = flow.device.map_or(1.0, |device| self.devices.offer(device, amount));
        pressure < PRESSURE || chance < release.min(device)
    }

    /// A request of `bytes` was let in.
    pub fn passed(&mut self, bytes: u64) {
        self.through += bytes as f64 + REQUEST_BYTES;
    }

    /// Ends an interval: finds the shares, and forgets.
    fn turn(&mut self, now: Moment, pressure: f64, capacity: f64) {
        // Before there was pressure, what got through says little about what could.
        let most = if pressure < SETPOINT { self.through.max(capacity * WINDOW) } else { self.through };
        let most = most * (1.0 + RESPONSE * (SETPOINT - pressure.min(1.0)));
        self.releases.share_out(most);
        self.devices.share_out(most);
        // What lies further back than a few seconds is gone after so many intervals.
        let intervals = (now.since(self.since).as_secs_f64() / INTERVAL.as_secs_f64()).min(1_000.0);
        let kept = KEPT.powf(intervals);
        self.through *= kept;
        self.releases.age(kept);
        self.devices.age(kept);
        self.since = now;
    }
}

/// What the flows that offer most have offered, each interval counting a little less than the one behind it.
#[derive(Debug)]
struct Offers {
    flows: Vec<Offered>,
    all: f64,
    /// What is let through of each flow.
    share: f64,
}

#[derive(Debug, Clone, Copy)]
struct Offered {
    flow: u64,
    /// At most so much.
    most: f64,
    /// So much of that was another's.
    inherited: f64,
}

impl Offered {
    /// At least so much.
    fn least(&self) -> f64 {
        self.most - self.inherited
    }
}

impl Default for Offers {
    fn default() -> Self {
        Self { flows: Vec::with_capacity(REMEMBERED), all: 0.0, share: f64::INFINITY }
    }
}

impl Offers {
    /// Notes that `flow` offers `amount`: which part of what it offers is within its share.
    fn offer(&mut self, flow: u64, amount: f64) -> f64 {
        self.all += amount;
        if let Some(known) = self.flows.iter_mut().find(|known| known.flow == flow) {
            known.most += amount;
            let offers = known.least();
            return if offers <= self.blameless() { 1.0 } else { (self.share / offers).min(1.0) };
        }
        let new = Offered { flow, most: amount, inherited: 0.0 };
        if self.flows.len() < REMEMBERED {
            self.flows.push(new);
        } else if let Some(least) = self.flows.iter_mut().min_by(|one, other| one.most.total_cmp(&other.most)) {
            *least = Offered { flow, most: least.most + amount, inherited: least.most };
        }
        1.0
    }

    /// Finds the share by which all flows together are let through `most`.
    fn share_out(&mut self, most: f64) {
        self.share = f64::INFINITY;
        if self.all <= most || self.flows.len() < 2 {
            return;
        }
        // The largest first: finding them again is a step or two.
        self.flows.sort_unstable_by(|one, other| other.least().total_cmp(&one.least()));
        let known: f64 = self.flows.iter().map(Offered::least).sum();
        // What is left for those above the share, when everybody below it has had what they want.
        let mut left = most - (self.all - known).max(0.0);
        for (place, flow) in self.flows.iter().enumerate().rev() {
            let share = left / (place + 1) as f64;
            if flow.least() > share {
                self.share = share.max(0.0);
                return;
            }
            left -= flow.least();
        }
    }

    /// What a flow offers at most that is not to blame.
    fn blameless(&self) -> f64 {
        // Of a flow that sends less than the least that is remembered nothing is known.
        BLAMED * self.all / self.flows.len().max(1) as f64
    }

    fn age(&mut self, kept: f64) {
        self.all *= kept;
        for flow in &mut self.flows {
            flow.most *= kept;
            flow.inherited *= kept;
        }
        let least = self.all * FORGOTTEN;
        self.flows.retain(|flow| flow.most > least);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Offers `rates` (bytes a second, each in requests of 1,000 bytes) for `seconds` to a worker that can take
    /// `capacity`, and refuses at random beyond that; which part of what each flow offered was let through in the second half.
    fn shares(rates: &[f64], capacity: f64, seconds: u64, as_device: bool) -> Vec<f64> {
        let mut fair = FairShare::default();
        let mut random = fastrand::Rng::with_seed(7);
        let mut counts = vec![(0_u32, 0_u32); rates.len()];
        let (each, mut backlog) = (1_000.0 + REQUEST_BYTES, 0.0_f64);
        for step in 0..seconds * 1_000 {
            let now = Moment::default() + Duration::from_millis(step);
            backlog = (backlog - capacity / 1_000.0).max(0.0);
            for (flow, rate) in rates.iter().enumerate() {
                if random.f64() >= rate / each / 1_000.0 {
                    continue;
                }
                let hash = flow as u64;
                let flow_of = if as_device {
                    Flow { release: 1, device: Some(hash) }
                } else {
                    Flow { release: hash, device: None }
                };
                let fits = fair.allows(flow_of, 1_000, (backlog / capacity, capacity), now, random.f64())
                    && backlog < capacity;
                if fits {
                    backlog += each;
                    fair.passed(1_000);
                }
                if step > seconds * 500 {
                    counts[flow].0 += 1;
                    counts[flow].1 += u32::from(fits);
                }
            }
        }
        counts.iter().map(|(offered, let_in)| f64::from(*let_in) / f64::from(*offered).max(1.0)).collect()
    }

    #[test]
    fn a_broken_release_does_not_starve_the_others() {
        // Ten times the capacity, of which one release makes all but a half of it.
        for as_device in [false, true] {
            let parts = shares(&[950_000.0, 20_000.0, 20_000.0, 10_000.0], 100_000.0, 20, as_device);
            assert!(parts[1..].iter().all(|part| *part > 0.95), "{parts:?}");
            assert!((0.03..0.08).contains(&parts[0]), "{parts:?}");
        }
    }

    #[test]
    fn equals_are_not_told_apart_and_one_alone_has_nobody_to_be_fair_to() {
        let parts = shares(&[250_000.0; 4], 100_000.0, 20, false);
        assert!(parts.iter().all(|part| (0.07..0.14).contains(part)), "{parts:?}");
        let parts = shares(&[1_000_000.0], 100_000.0, 20, false);
        assert!((0.08..0.12).contains(&parts[0]), "{parts:?}");
        let parts = shares(&[80_000.0, 1_000.0], 100_000.0, 10, false);
        assert!(parts.iter().all(|part| *part > 0.999), "without pressure nobody is refused: {parts:?}");
    }

    #[test]
    fn however_many_flows_there_are_memory_is_bounded_and_the_loudest_is_found() {
        let mut fair = FairShare::default();
        let mut random = fastrand::Rng::with_seed(7);
        let (mut loud, mut innocent) = ((0, 0), (0, 0));
        for step in 0..200_000_u64 {
            let now = Moment::default() + Duration::from_micros(step * 50);
            let device = if step % 4 == 0 { 42 } else { 1_000 + step };
            let allowed = fair.allows(Flow { release: 1, device: Some(device) }, 500, (0.6, 1e6), now, random.f64());
            let count = if device == 42 { &mut loud } else { &mut innocent };
            count.0 += 1;
            count.1 += u32::from(allowed);
            if allowed && random.bool() {
                fair.passed(500);
            }
        }
        assert!(fair.devices.flows.len() <= REMEMBERED && fair.devices.flows.capacity() == REMEMBERED);
        assert!(f64::from(loud.1) < 0.2 * f64::from(loud.0), "{loud:?}");
        assert!(f64::from(innocent.1) > 0.99 * f64::from(innocent.0), "{innocent:?}");
    }
}

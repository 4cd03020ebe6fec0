//! Fairness: under pressure, who takes more than a fair share is refused first.
//!
//! A *flow* is what one key's SDK release sends; a device is a flow of its own beside that. Of the flows that send most
//! it is remembered how much each has lately offered; the rest is small by definition and never refused here. Under
//! pressure the share is found that lets through, of each flow the smaller of what it offers and the share, as much as
//! can be taken in all: max-min fairness, as a router's fair queues have it, without the queues. A flow that offers `n`
//! times the share is let in once in `n` times, by chance.
//!
//! Each worker keeps its own books, and some times a second puts them on a common [`Board`] and reads there who is above
//! the share of the instance: a flow may have all of its connections on one worker. Memory is bounded: a flow that is
//! not remembered takes the place of the one that sends least and inherits what that had sent, as an upper bound
//! ("Space-Saving", Metwally et al. 2005); what it has inherited is not held against it.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use super::Moment;

/// Flows that a worker remembers, and as many devices.
const REMEMBERED: usize = 128;
/// How often the shares are found anew.
const INTERVAL: Duration = Duration::from_millis(100);
/// In which time half of what was remembered is forgotten, in seconds.
const HALF: f64 = 1.0;
/// What a steady rate comes to in the books, in seconds of it: `HALF` / ln 2, and half an interval.
const WINDOW: f64 = 1.4925;
/// What a request costs beside its bytes, in bytes: a flood of empty requests is a flood.
const REQUEST_BYTES: f64 = 2_048.0;
/// Below this pressure nobody needs to know who is above the share: 1 is where everything is refused.
const PRESSURE: f64 = 0.3;
/// At which pressure as much is let through as was before; the share grows below, and shrinks above. It lies between
/// where shares are enforced and where everybody is refused, so that those within their share do not notice.
const SETPOINT: f64 = 0.7;
/// By how much it grows or shrinks for each unit of pressure that it is off the mark.
const RESPONSE: f64 = 0.5;
/// What sends less than this part of all is not worth a place.
const FORGOTTEN: f64 = 1e-6;
/// A flow that offers no more than so many times the mean of the others is one of many: it is not to blame for the
/// pressure.
const BLAMED: f64 = 1.5;

/// Who sends: each as a hash.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Flow {
    /// The key and the SDK's release.
    pub release: u64,
    /// The device, if it tells one.
    pub device: Option<u64>,
}

/// Where a request stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Share {
    /// Within its share.
    Within,
    /// Above that of its key's SDK release.
    ReleaseAbove,
    /// Above that of its device.
    DeviceAbove,
}

/// Where the workers of an instance tell each other who offers how much.
#[derive(Debug)]
pub struct Board(Mutex<Vec<Books>>);

/// What one worker has on the board.
#[derive(Debug, Clone, Default)]
struct Books {
    at: Moment,
    releases: Vec<(u64, f64)>,
    devices: Vec<(u64, f64)>,
    /// What was offered in all.
    offered: f64,
    /// What was let through.
    through: f64,
}

impl Board {
    /// A board for so many workers.
    pub fn new(workers: usize) -> Arc<Self> {
        Arc::new(Self(Mutex::new(vec![Books::default(); workers])))
    }

    /// Puts up the books of `worker`.
    fn put_up(&self, worker: usize, books: Books) -> MutexGuard<'_, Vec<Books>> {
        let mut board = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(place) = board.get_mut(worker) {
            *place = books;
        }
        board
    }

    /// Puts up the books of `worker`, and adds up everybody's as they are by then.
    fn exchange(&self, worker: usize, books: Books) -> Books {
        let now = books.at;
        let board = self.put_up(worker, books);
        let mut sum = Books::default();
        let mut flows = [HashMap::new(), HashMap::new()];
        for books in board.iter() {
            // A worker that has had nothing to do has not looked.
            let kept = kept(now.since(books.at));
            sum.offered += books.offered * kept;
            sum.through += books.through * kept;
            for (sums, of_worker) in flows.iter_mut().zip([&books.releases, &books.devices]) {
                for (flow, amount) in of_worker {
                    *sums.entry(*flow).or_insert(0.0) += amount * kept;
                }
            }
        }
        let [releases, devices] = flows.map(|sums| sums.into_iter().collect());
        Books { releases, devices, at: now, ..sum }
    }
}

/// The part of what was remembered that is left after `time`.
fn kept(time: Duration) -> f64 {
    (-time.as_secs_f64() / HALF).exp2()
}

/// A worker's books of who offers how much.
#[derive(Debug)]
pub struct FairShare {
    board: Arc<Board>,
    worker: usize,
    releases: Offers,
    devices: Offers,
    offered: f64,
    /// What was let through.
    through: f64,
    since: Moment,
}

impl Default for FairShare {
    /// For the only worker of an instance.
    fn default() -> Self {
        Self::new(Board::new(1), 0)
    }
}

impl FairShare {
    /// The books of `worker`, which has a place on `board`.
    pub fn new(board: Arc<Board>, worker: usize) -> Self {
        let (releases, devices) = (Offers::default(), Offers::default());
        Self { board, worker, releases, devices, offered: 0.0, through: 0.0, since: Moment::default() }
    }

    /// Whether a request of `bytes` by `flow` is within its share, as chance has it. `capacity` is what the instance can
    /// take, in bytes of bodies a second; `chance` lies between 0 and 1.
    pub fn share(
        &mut self,
        flow: Flow,
        bytes: u64,
        (pressure, capacity): (f64, f64),
        now: Moment,
        chance: f64,
    ) -> Share {
        if now.since(self.since) >= INTERVAL {
            self.turn(now, pressure, capacity);
        }
        let amount = bytes as f64 + REQUEST_BYTES;
        self.offered += amount;
        let release = self.releases.offer(flow.release, amount);
        // Devices are too many to be remembered for nothing: a loud one is found within a second of pressure.
        let device = flow.device.filter(|_| pressure >= PRESSURE);
        let device = device.map_or(1.0, |device| self.devices.offer(device, amount));
        if chance >= device {
            Share::DeviceAbove
        } else if chance >= release {
            Share::ReleaseAbove
        } else {
            Share::Within
        }
    }

    /// A request of `bytes` was let in.
    pub fn passed(&mut self, bytes: u64) {
        self.through += bytes as f64 + REQUEST_BYTES;
    }

    /// Ends an interval: finds who is above the share, and forgets.
    fn turn(&mut self, now: Moment, pressure: f64, capacity: f64) {
        let kept = kept(now.since(self.since));
        self.since = now;
        self.offered *= kept;
        self.through *= kept;
        self.releases.age(kept, self.offered);
        self.devices.age(kept, self.offered);
        let books = Books {
            at: now,
            releases: self.releases.known(),
            devices: self.devices.known(),
            offered: self.offered,
            through: self.through,
        };
        if pressure < PRESSURE {
            drop(self.board.put_up(self.worker, books));
            self.releases.blamed.clear();
            self.devices.blamed.clear();
            return;
        }
        let all = self.board.exchange(self.worker, books);
        // Before there was pressure, what got through says little about what could.
        let most = if pressure < SETPOINT { all.through.max(capacity * WINDOW) } else { all.through };
        let most = most * (1.0 + RESPONSE * (SETPOINT - pressure.min(1.0)));
        self.releases.blamed = blamed(all.releases, all.offered, most);
        self.devices.blamed = blamed(all.devices, all.offered, most);
    }
}

/// Which of `flows` are above the share by which `most` of what all have `offered` is let through, and which part of
/// what they offer is within it.
fn blamed(mut flows: Vec<(u64, f64)>, offered: f64, most: f64) -> HashMap<u64, f64> {
    if offered <= most || flows.len() < 2 {
        return HashMap::new();
    }
    flows.sort_unstable_by(|(_, one), (_, other)| other.total_cmp(one));
    let known: f64 = flows.iter().map(|(_, amount)| amount).sum();
    // What is left for those above the share, when everybody below it has had what they want.
    let mut left = most - (offered - known).max(0.0);
    let mut share = f64::INFINITY;
    for (place, (_, amount)) in flows.iter().enumerate().rev() {
        share = (left / (place + 1) as f64).max(0.0);
        if *amount > share {
            break;
        }
        left -= amount;
    }
    let others = (flows.len() - 1) as f64;
    let to_blame = |amount: f64| amount > share && amount > BLAMED * (offered - amount) / others;
    flows.into_iter().filter(|(_, amount)| to_blame(*amount)).map(|(flow, amount)| (flow, share / amount)).collect()
}

/// What the flows that offer most to one worker have offered.
#[derive(Debug)]
struct Offers {
    flows: Vec<Offered>,
    /// Who is above the share of the instance, and which part of what they offer is within it.
    blamed: HashMap<u64, f64>,
}

#[derive(Debug, Clone, Copy)]
struct Offered {
    flow: u64,
    /// At most so much.
    most: f64,
    /// So much of that was another's.
    inherited: f64,
}

impl Default for Offers {
    fn default() -> Self {
        Self { flows: Vec::with_capacity(REMEMBERED), blamed: HashMap::new() }
    }
}

impl Offers {
    /// Notes that `flow` offers `amount`: which part of what it offers is within its share.
    fn offer(&mut self, flow: u64, amount: f64) -> f64 {
        if let Some(known) = self.flows.iter_mut().find(|known| known.flow == flow) {
            known.most += amount;
        } else if self.flows.len() < REMEMBERED {
            self.flows.push(Offered { flow, most: amount, inherited: 0.0 });
        } else if let Some(least) = self.flows.iter_mut().min_by(|one, other| one.most.total_cmp(&other.most)) {
            *least = Offered { flow, most: least.most + amount, inherited: least.most };
        }
        if self.blamed.is_empty() { 1.0 } else { self.blamed.get(&flow).copied().unwrap_or(1.0) }
    }

    /// What each flow has offered at least.
    fn known(&self) -> Vec<(u64, f64)> {
        self.flows.iter().map(|known| (known.flow, known.most - known.inherited)).collect()
    }

    /// Forgets; of all flows `offered` is left.
    fn age(&mut self, kept: f64, offered: f64) {
        for flow in &mut self.flows {
            flow.most *= kept;
            flow.inherited *= kept;
        }
        self.flows.retain(|flow| flow.most > offered * FORGOTTEN);
        // The largest first: finding them again is a step or two.
        self.flows.sort_unstable_by(|one, other| other.most.total_cmp(&one.most));
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
                let pressure = backlog / capacity;
                let share = fair.share(flow_of, 1_000, (pressure, capacity), now, random.f64());
                let fits = (pressure < 0.5 || share == Share::Within) && backlog < capacity;
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
    fn a_worker_that_sees_one_flow_only_knows_of_the_others() {
        let board = Board::new(2);
        let (mut loud, mut quiet) = (FairShare::new(Arc::clone(&board), 0), FairShare::new(board, 1));
        let mut refused = 0;
        for step in 0..4_000_u64 {
            let now = Moment::default() + Duration::from_millis(step);
            let of = |release| Flow { release, device: None };
            // Each takes a thousand a second of which a tenth fits, and one is the only one with its worker.
            let chance = (step as f64 * 0.618_034).fract();
            let allowed = loud.share(of(1), 10_000, (0.8, 1e6), now, chance) == Share::Within;
            refused += u32::from(!allowed);
            if allowed && step.is_multiple_of(5) {
                loud.passed(10_000);
            }
            if step.is_multiple_of(20) {
                assert_eq!(quiet.share(of(2), 10_000, (0.8, 1e6), now, 0.999), Share::Within);
                quiet.passed(10_000);
            }
        }
        assert!(refused > 2_000, "{refused} of 4,000");
    }

    #[test]
    fn of_two_releases_the_one_that_takes_more_yields() {
        let parts = shares(&[150_000.0, 50_000.0], 100_000.0, 20, false);
        assert!(parts[1] > 0.9, "{parts:?}");
        assert!((0.2..0.45).contains(&parts[0]), "{parts:?}");
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
            let flow = Flow { release: 1, device: Some(device) };
            let allowed = fair.share(flow, 500, (0.6, 1e6), now, random.f64()) == Share::Within;
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

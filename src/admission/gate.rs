//! The gate: one decision, before a body is read.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use super::{ByteBudget, Capacity, Cause, FairShare, Flow, Moment, Pacing, Quota, Reservation, RetryAfter, Share};
use crate::schema::Priority;

/// What the gate guards.
#[derive(Debug, Clone, Copy)]
pub struct GateLimits {
    /// Bytes that all batches in memory may occupy.
    pub budget: usize,
    /// Bytes of disk that the spool may use.
    pub disk_quota: u64,
    /// Within which time what was let in must be done.
    pub target: Duration,
    /// Bytes a second that can be taken, until that is measured and never less.
    pub capacity_floor: u64,
    /// The longest time that anybody is sent away for.
    pub retry_after_cap: Duration,
}

/// What asks to be let in.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// Bytes that are reserved for its body: what it announces, or a first step for one of unknown length.
    pub reserve: usize,
    /// Bytes of its body, or of a typical one if it announces none.
    pub bytes: u64,
    /// That of its stream.
    pub priority: Priority,
    /// Who sends it.
    pub flow: Flow,
    /// What its key may send, if that is limited.
    pub quota: Option<&'a Quota>,
}

/// What the durable path looks like in this moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Signals {
    /// Disk that the spool uses, in bytes.
    pub spool_bytes: u64,
    /// Whether a write found the disk full.
    pub disk_full: bool,
    /// Whether the worker's queue has no place.
    pub queue_full: bool,
    /// How late the worker is with what it has to do.
    pub lag: Duration,
}

/// A request was refused: 429.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refused {
    /// Why.
    pub cause: Cause,
    /// When to come back.
    pub retry_after: RetryAfter,
}

/// The part of the target and of the budget that a stream may use.
fn part(priority: Priority) -> f64 {
    match priority {
        Priority::Low => 0.5,
        Priority::Normal => 0.9,
        Priority::High => 1.0,
    }
}

/// From which pressure on a stream's senders are held to their shares. Shares keep the pressure below what lets normal
/// streams in, so that they must leave high ones alone, or priority would mean nothing.
fn shares_from(priority: Priority) -> f64 {
    match priority {
        Priority::Low => 0.4,
        Priority::Normal => 0.5,
        Priority::High => 0.8,
    }
}

/// Why a request is not let in.
enum Denied {
    /// Its device takes more than its share. It is given no slot: it would book whole minutes for itself, and come when it
    /// likes.
    Device,
    /// For this.
    For(Cause),
}

/// Decides whether a request may try. Shared by all workers; none waits for another.
#[derive(Debug)]
pub struct Gate {
    limits: GateLimits,
    budget: Arc<ByteBudget>,
    capacity: Capacity,
    pacing: Pacing,
    full: Option<FullSince>,
}

/// Since when what waits for the sinks is at its quota, in nanoseconds; [`FullSince::NEVER`] if it is not.
#[derive(Debug)]
struct FullSince(AtomicU64);

impl FullSince {
    const NEVER: u64 = u64::MAX;

    /// A request found it full, or room in it.
    fn found(&self, full: bool, now: Moment) {
        // Nearly always it is as it was, and then nothing is written.
        let known = self.0.load(Ordering::Relaxed);
        if full && known == Self::NEVER {
            let _ = self.0.compare_exchange(known, now.nanos(), Ordering::Relaxed, Ordering::Relaxed);
        } else if !full && known != Self::NEVER {
            self.0.store(Self::NEVER, Ordering::Relaxed);
        }
    }

    fn lasts(&self, now: Moment) -> Duration {
        match self.0.load(Ordering::Relaxed) {
            Self::NEVER => Duration::ZERO,
            since => now.since(Moment::from_nanos(since)),
        }
    }
}

impl Gate {
    /// A gate in front of what `limits` says.
    pub fn new(limits: GateLimits) -> Self {
        let capacity = Capacity::new(limits.capacity_floor);
        Self {
            budget: ByteBudget::new(limits.budget),
            pacing: Pacing::new(limits.retry_after_cap, capacity.bodies_per_second()),
            capacity,
            limits,
            full: None,
        }
    }

    /// The same where the quota is one of memory, which the sinks empty within seconds: it is full whenever they are slow
    /// for a moment, and not only in an outage.
    #[must_use]
    pub fn in_memory(self) -> Self {
        Self { full: Some(FullSince(AtomicU64::new(FullSince::NEVER))), ..self }
    }

    /// Takes what `asked` needs of the budget, or refuses it. `fair` is the worker's own; `chance` lies between 0 and 1.
    ///
    /// # Errors
    /// [`Refused`] with the first cause there is, in the order of the [module](super)'s documentation.
    pub fn admit(
        &self,
        fair: &mut FairShare,
        asked: &Asked<'_>,
        signals: Signals,
        now: Moment,
        chance: f64,
    ) -> Result<Reservation, Refused> {
        let Asked { bytes, quota, .. } = *asked;
        if let Some(quota) = quota {
            // What a key's own quota keeps out is no load of the instance: it is not offered to it.
            quota.check(now, chance).map_err(|retry_after| Refused { cause: Cause::Quota, retry_after })?;
        }
        self.pacing.offer(bytes);
        // Whether chance has refused it must not decide when it comes back.
        let spread = (chance * 4_096.0).fract();
        let reservation = self.let_in(fair, asked, signals, now, chance).map_err(|denied| match denied {
            Denied::Device => Refused { cause: Cause::Share, retry_after: self.pacing.long(spread) },
            Denied::For(cause) => self.refuse(cause, bytes, now, spread),
        })?;
        fair.passed(bytes);
        if let Some(quota) = quota {
            quota.charge_request(now);
        }
        Ok(reservation)
    }

    fn let_in(
        &self,
        fair: &mut FairShare,
        asked: &Asked<'_>,
        signals: Signals,
        now: Moment,
        chance: f64,
    ) -> Result<Reservation, Denied> {
        let Asked { reserve, bytes, priority, flow, .. } = *asked;
        let target = self.limits.target.as_secs_f64();
        let (used, limit) = (self.budget.used(), self.budget.limit());
        let lag = signals.lag.as_secs_f64() / target;
        let backlog = self.budget.backlog() as f64 / self.capacity.bytes_per_second() / target;
        let pressure = (lag + backlog).max(used as f64 / limit as f64);
        let capacity = self.capacity.bodies_per_second();
        let share = fair.share(flow, bytes, (pressure, capacity), now, chance);
        if pressure >= shares_from(priority) {
            match share {
                Share::Within => {}
                Share::ReleaseAbove => return Err(Denied::For(Cause::Share)),
                Share::DeviceAbove => return Err(Denied::Device),
            }
        }
        let part = part(priority);
        let cause = if lag + backlog > part {
            Some(if lag > backlog { Cause::Cpu } else { Cause::Backlog })
        } else if used > 0 && (used + reserve) as f64 > limit as f64 * part {
            // The largest batch must get in somehow: alone, if need be.
            Some(Cause::Memory)
        } else if signals.queue_full {
            Some(Cause::Queue)
        } else if signals.disk_full || signals.spool_bytes + (used + reserve) as u64 > self.limits.disk_quota {
            // What is in memory is on its way to the disk. What inflates there may still exceed the quota, by no more
            // than the budget.
            Some(Cause::Disk)
        } else {
            None
        };
        if let Some(full) = &self.full
            && matches!(cause, None | Some(Cause::Disk))
        {
            full.found(cause.is_some(), now);
        }
        match cause {
            Some(cause) => Err(Denied::For(cause)),
            None => self.budget.reserve(reserve).map_err(|_| Denied::For(Cause::Memory)),
        }
    }

    /// The refusal for `cause` of what came with `bytes`; `chance` lies between 0 and 1.
    pub fn refuse(&self, cause: Cause, bytes: u64, now: Moment, chance: f64) -> Refused {
        let retry_after = match (cause, &self.full) {
            // As long as the whole of it takes at the capacity that is believed, or as long again as it has lasted: so a
            // hiccup costs seconds, and in an outage clients come ever more seldom.
            (Cause::Disk, Some(full)) => {
                let all = self.limits.disk_quota as f64 / self.limits.capacity_floor.max(1) as f64;
                let drain = Duration::try_from_secs_f64(all).unwrap_or(Duration::MAX).max(full.lasts(now));
                self.pacing.after(bytes, drain, now, chance)
            }
            // How long an outage of the sinks lasts nobody knows, and nothing is gained by asking before.
            (Cause::Disk, None) => self.pacing.longest(),
            // Until an operator raises a limit.
            (Cause::Streams, _) => self.pacing.long(chance),
            _ => {
                let drain = self.budget.backlog() as f64 / self.capacity.bytes_per_second();
                let drain = Duration::try_from_secs_f64(drain).unwrap_or(Duration::MAX);
                self.pacing.after(bytes, drain, now, chance)
            }
        };
        Refused { cause, retry_after }
    }

    /// So much was refused without being asked here: it is offered, too.
    pub fn offer(&self, bytes: u64) {
        self.pacing.offer(bytes);
    }

    /// Learns how much arrives. To be called several times a second, by one thread.
    pub fn learn_arrivals(&self, now: Moment) {
        self.pacing.learn(now, self.capacity.bodies_per_second());
    }

    /// The byte budget.
    pub fn budget(&self) -> &Arc<ByteBudget> {
        &self.budget
    }

    /// What the instance can take.
    pub fn capacity(&self) -> &Capacity {
        &self.capacity
    }

    /// What it guards.
    pub fn limits(&self) -> &GateLimits {
        &self.limits
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admission::{Allowance, Done, Work};

    const LIMITS: GateLimits = GateLimits {
        budget: 1_000,
        disk_quota: 10_000,
        target: Duration::from_secs(1),
        capacity_floor: 100_000,
        retry_after_cap: Duration::from_mins(5),
    };

    const NOW: Moment = Moment::from_nanos(5_500_000_000);

    fn asked(bytes: usize) -> Asked<'static> {
        Asked { reserve: bytes, bytes: bytes as u64, priority: Priority::High, flow: Flow::default(), quota: None }
    }

    fn cause(gate: &Gate, asked: &Asked<'_>, signals: Signals) -> Option<Cause> {
        gate.admit(&mut FairShare::default(), asked, signals, NOW, 0.0).err().map(|refused| refused.cause)
    }

    fn hold(gate: &Gate, bytes: usize) -> Reservation {
        let mut held = gate.admit(&mut FairShare::default(), &asked(bytes), Signals::default(), NOW, 0.0).unwrap();
        held.arrive();
        held
    }

    #[test]
    fn a_request_is_refused_for_the_first_cause_there_is() {
        let gate = Gate::new(GateLimits { capacity_floor: 1_000, ..LIMITS });
        let bad = Signals { spool_bytes: 9_999, disk_full: true, queue_full: true, lag: Duration::from_millis(600) };
        let used_up = Quota::new(
            Allowance { requests: Some(0.001), bytes: None, events: None, burst: Duration::from_secs(1) },
            LIMITS.retry_after_cap,
        );
        used_up.charge_request(NOW);
        let over_quota = Asked { quota: Some(&used_up), ..asked(1) };
        let _held = hold(&gate, 500);
        assert_eq!(cause(&gate, &over_quota, bad), Some(Cause::Quota));
        assert_eq!(cause(&gate, &asked(501), bad), Some(Cause::Cpu));
        let bad = Signals { lag: Duration::from_millis(501), ..bad };
        assert_eq!(cause(&gate, &asked(501), bad), Some(Cause::Cpu));
        let bad = Signals { lag: Duration::from_millis(400), ..bad };
        assert_eq!(cause(&gate, &Asked { priority: Priority::Low, ..asked(1) }, bad), Some(Cause::Backlog));
        assert_eq!(cause(&gate, &asked(501), bad), Some(Cause::Memory));
        assert_eq!(cause(&gate, &asked(500), bad), Some(Cause::Queue));
        let bad = Signals { queue_full: false, ..bad };
        assert_eq!(cause(&gate, &asked(500), bad), Some(Cause::Disk));
        let bad = Signals { disk_full: false, ..bad };
        assert_eq!(cause(&gate, &asked(500), bad), Some(Cause::Disk));
        assert_eq!(cause(&gate, &asked(500), Signals { spool_bytes: 9_000, ..bad }), None);
    }

    #[test]
    fn a_sender_above_its_share_is_refused_before_anything_else_is_looked_at() {
        let gate = Gate::new(GateLimits { capacity_floor: 1_000, ..LIMITS });
        let mut fair = FairShare::default();
        let _held = hold(&gate, 600);
        let by = |release: u64| Asked { flow: Flow { release, device: None }, priority: Priority::Normal, ..asked(1) };
        let full = Signals { queue_full: true, ..Signals::default() };
        let mut causes = Vec::new();
        for n in 0..2_000_u32 {
            let now = NOW + Duration::from_millis(n.into());
            let refused = gate.admit(&mut fair, &by(u64::from(n % 20 == 0)), full, now, 0.9).unwrap_err();
            causes.push((n % 20 == 0, refused.cause));
        }
        assert!(
            causes[1_000..].iter().all(|(quiet, cause)| *cause == if *quiet { Cause::Queue } else { Cause::Share })
        );
    }

    #[test]
    fn low_is_shed_before_normal_before_high() {
        for (held, shed) in [(400, 0), (600, 1), (920, 2)] {
            let by_budget = Gate::new(LIMITS);
            let by_target = Gate::new(GateLimits { budget: 1_000_000, capacity_floor: 1_000, ..LIMITS });
            for (gate, cause_of_it) in [(by_budget, Cause::Memory), (by_target, Cause::Backlog)] {
                let _held = hold(&gate, held);
                let causes = [Priority::Low, Priority::Normal, Priority::High]
                    .map(|priority| cause(&gate, &Asked { priority, ..asked(10) }, Signals::default()));
                assert_eq!(causes.iter().filter(|cause| **cause == Some(cause_of_it)).count(), shed, "{causes:?}");
                assert!(causes[shed..].iter().all(Option::is_none), "{causes:?}");
            }
        }
    }

    #[test]
    fn what_is_announced_and_does_not_come_keeps_nobody_out() {
        let gate = Gate::new(GateLimits { budget: 1_000_000, disk_quota: 1_000_000, capacity_floor: 1_000, ..LIMITS });
        let mut fair = FairShare::default();
        let announced = gate.admit(&mut fair, &asked(400_000), Signals::default(), NOW, 0.0).unwrap();
        assert_eq!(cause(&gate, &asked(10), Signals::default()), None, "no disk is busy with it");
        let mut come = announced;
        come.arrive();
        assert_eq!(cause(&gate, &asked(10), Signals::default()), Some(Cause::Backlog));
    }

    #[test]
    fn a_release_above_its_share_still_gets_its_high_streams_in() {
        let gate = Gate::new(GateLimits { capacity_floor: 1_000, ..LIMITS });
        let mut fair = FairShare::default();
        let _held = hold(&gate, 600);
        let mut last = [None, None];
        for n in 0..2_000_u32 {
            let now = NOW + Duration::from_millis(n.into());
            let flow = Flow { release: u64::from(n % 20 == 0), device: None };
            let full = Signals { queue_full: true, ..Signals::default() };
            for (place, priority) in [Priority::Normal, Priority::High].into_iter().enumerate() {
                let refused = gate.admit(&mut fair, &Asked { priority, flow, ..asked(1) }, full, now, 0.9).unwrap_err();
                last[place] = (n % 20 == 1).then_some(refused.cause).or(last[place]);
            }
        }
        assert_eq!(last, [Some(Cause::Share), Some(Cause::Queue)]);
    }

    #[test]
    fn the_largest_batch_gets_in_alone_whatever_its_priority() {
        let gate = Gate::new(LIMITS);
        assert_eq!(cause(&gate, &Asked { priority: Priority::Low, ..asked(1_000) }, Signals::default()), None);
        assert_eq!(cause(&gate, &asked(1_001), Signals::default()), Some(Cause::Memory));
    }

    #[test]
    fn what_is_let_in_drains_within_the_target_at_the_measured_capacity() {
        let gate = Gate::new(GateLimits { budget: 1 << 30, disk_quota: u64::MAX, capacity_floor: 1_000, ..LIMITS });
        let let_in = |gate: &Gate| {
            let mut held = Vec::new();
            while let Ok(mut more) = gate.admit(&mut FairShare::default(), &asked(10), Signals::default(), NOW, 0.0) {
                more.arrive();
                held.push(more);
            }
            held.len() * 10
        };
        assert_eq!(let_in(&gate), 1_010, "what the floor says, and the one that exceeds it");
        let second = Duration::from_secs(1);
        let done =
            Done { spool: Work { bytes: 50_000, busy: second }, workers: second / 10, bodies: 25_000, lines: 50_000 };
        (0..100).for_each(|_| gate.capacity().learn(done));
        assert!((49_000..51_000).contains(&let_in(&gate)), "{}", let_in(&gate));
    }

    #[test]
    fn a_refusal_says_when_the_backlog_has_drained() {
        let gate = Gate::new(GateLimits {
            budget: 10_000,
            capacity_floor: 1_000,
            target: Duration::from_mins(1),
            disk_quota: 100_000,
            ..LIMITS
        });
        let _held = hold(&gate, 10_000);
        assert_eq!(gate.refuse(Cause::Memory, 10, NOW, 0.0).retry_after.seconds(), 11);
        assert_eq!(gate.refuse(Cause::Disk, 10, NOW, 0.3).retry_after.seconds(), 300);
        let long = [0.0, 1.0].map(|chance| gate.refuse(Cause::Streams, 10, NOW, chance).retry_after.seconds());
        assert_eq!(long, [150, 300]);
    }

    #[test]
    fn who_finds_no_room_in_memory_comes_back_soon_and_ever_later_while_it_stays_so() {
        let gate = Gate::new(GateLimits { disk_quota: 500_000, ..LIMITS }).in_memory();
        let full = Signals { spool_bytes: 500_000, ..Signals::default() };
        let ask = |second: u64, signals| {
            let now = NOW + Duration::from_secs(second);
            let refused = gate.admit(&mut FairShare::default(), &asked(10), signals, now, 0.0).err();
            refused.map(|refused| (refused.cause, refused.retry_after.seconds()))
        };
        assert_eq!(ask(0, full), Some((Cause::Disk, 6)), "it is emptied within five seconds");
        assert_eq!(ask(20, full), Some((Cause::Disk, 21)));
        assert_eq!(ask(100, full), Some((Cause::Disk, 101)));
        assert_eq!(ask(1_000, full), Some((Cause::Disk, 300)), "no longer than anybody is sent away for");
        assert_eq!(ask(1_001, Signals::default()), None);
        assert_eq!(ask(1_002, full), Some((Cause::Disk, 6)));
    }
}

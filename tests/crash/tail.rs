//! A sink that follows the spool: what it was given, and what that says of the promises.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use logweir::spool::{Mark, MaxLag, Need, Start, Stretch, Terms};

use crate::{disk::Sabotage, world::event_of};

/// The sink's name.
pub(crate) const TAIL: &str = "tail";
/// How far the one lags at the most that is not required: some groups, and some of the hours that the world knows.
const MAX_LAG: MaxLag = MaxLag { bytes: 60_000, age: std::time::Duration::from_mins(100) };

/// On which terms it follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// There is none.
    None,
    Required,
    Kept,
    BestEffort,
}

impl Kind {
    pub(crate) const ALL: [Self; 4] = [Self::None, Self::Required, Self::Kept, Self::BestEffort];

    pub(crate) fn terms(self) -> Option<Terms> {
        match self {
            Self::None => None,
            Self::Required => Some(Terms::REQUIRED),
            Self::Kept => Some(Terms::KEPT),
            Self::BestEffort => Some(Terms { need: Need::BestEffort(MAX_LAG), start: Start::Oldest }),
        }
    }
}

/// Events that the spool went on without, by number: those between two that are known.
#[derive(Debug)]
struct Skip {
    /// The last one that was done.
    after: Option<u32>,
    /// The first one that was given then.
    before: Option<u32>,
    /// How many the spool counted.
    counted: u64,
    /// Whether both are known, with no crash in between.
    exact: bool,
}

/// What the sink was given. Events are numbered as they were sent, which is the order of the spool.
#[derive(Debug)]
pub(crate) struct Tail {
    sabotage: Sabotage,
    given: BTreeSet<u32>,
    /// Given, and to be noted with what is given next: a sink that says too early that it has something.
    late: Vec<u32>,
    /// Everything up to this was done, and the cursor was durable.
    safe: u32,
    skips: Vec<Skip>,
    // Since the process began:
    first: Option<u32>,
    last: Option<u32>,
    done: Option<u32>,
    not_done: VecDeque<(Mark, u32)>,
    counted: u64,
    skipped: bool,
}

impl Tail {
    pub(crate) fn new(sabotage: Sabotage) -> Self {
        Self {
            sabotage,
            given: BTreeSet::new(),
            late: Vec::new(),
            safe: 0,
            skips: Vec::new(),
            first: None,
            last: None,
            done: None,
            not_done: VecDeque::new(),
            counted: 0,
            skipped: false,
        }
    }

    /// A process ends, however.
    pub(crate) fn end_process(&mut self) {
        self.skips.iter_mut().filter(|skip| skip.before.is_none()).for_each(|skip| skip.exact = false);
        (self.first, self.last, self.done, self.counted) = (None, None, None, 0);
        self.skipped = false;
        self.not_done.clear();
        self.late.clear();
    }

    /// It is given lines. The spool was damaged if `damaged`: cursors may have been too.
    pub(crate) fn take(&mut self, stretch: &Stretch, damaged: bool) -> Result<(), String> {
        let mut events = Vec::new();
        for piece in &stretch.pieces {
            let text = std::str::from_utf8(&piece.text).map_err(|_| "a line is not text")?;
            if !text.ends_with('\n') {
                return Err(format!("a piece ends within a line: {text:.40}"));
            }
            for line in text.lines() {
                events.push(event_of(line).ok_or_else(|| format!("a line that nobody sent: {line:.40}"))?);
            }
        }
        events.sort_unstable();
        let (Some(first), Some(last)) = (events.first().copied(), events.last().copied()) else {
            return Err("a stretch without a line".into());
        };
        if self.last.is_some_and(|before| before >= first) || events.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err(format!("the events {first} to {last} came after {:?}, or twice", self.last));
        }
        if let Some(again) = events.iter().find(|event| **event <= self.safe && self.given.contains(event))
            && !damaged
        {
            return Err(format!("the event {again} came again, and everything up to {} was done", self.safe));
        }
        self.skips.iter_mut().filter(|skip| skip.before.is_none()).for_each(|skip| skip.before = Some(first));
        self.first = self.first.or(Some(first));
        self.last = Some(last);
        self.not_done.push_back((stretch.end, last));
        let noted =
            if self.sabotage == Sabotage::DoneTooEarly { std::mem::replace(&mut self.late, events) } else { events };
        self.given.extend(noted);
        Ok(())
    }

    /// What it can say that it has done: the first of what it was given and has not, or all.
    pub(crate) fn next_done(&mut self, all: bool) -> Option<Mark> {
        let (mark, last) = if all { self.not_done.drain(..).next_back() } else { self.not_done.pop_front() }?;
        self.done = Some(last);
        Some(mark)
    }

    /// Its cursor is durable where it stands.
    pub(crate) fn saved(&mut self) {
        self.safe = self.safe.max(self.done.unwrap_or(0));
    }

    /// The spool has counted so many events as skipped since the process began.
    pub(crate) fn look(&mut self, counted: u64) {
        let more = counted - self.counted;
        self.counted = counted;
        if more == 0 {
            return;
        }
        self.not_done.clear();
        if let Some(skip) = self.skips.last_mut().filter(|skip| self.skipped && skip.before.is_none()) {
            // Nothing was given since: it is one skip, in two parts.
            skip.counted += more;
            return;
        }
        // Everything before what was given behind the last skip was done, or is that skip's.
        let skipped = self.skips.last().filter(|_| self.skipped).and_then(|skip| skip.before).map(|before| before - 1);
        // Whatever was given first, everything before it was done.
        let after = self.done.max(skipped).or(self.first.map(|first| first - 1));
        self.skips.push(Skip { after, before: None, counted: more, exact: after.is_some() });
        self.skipped = true;
    }

    /// The end: `kept` is what the required store has.
    pub(crate) fn judge(
        &mut self,
        acknowledged: &BTreeSet<u32>,
        excused: &BTreeSet<u32>,
        kept: &BTreeMap<u32, String>,
        damaged: bool,
    ) -> Result<(), String> {
        self.given.extend(self.late.drain(..));
        let skipped = |event: u32| {
            let within = |skip: &Skip| {
                skip.after.is_none_or(|after| event > after) && skip.before.is_none_or(|before| event < before)
            };
            self.skips.iter().any(within)
        };
        let lost = acknowledged
            .iter()
            .find(|event| !self.given.contains(event) && !excused.contains(event) && !skipped(**event));
        if let Some(event) = lost {
            return Err(format!("the event {event} was acknowledged and never given"));
        }
        if damaged {
            return Ok(());
        }
        if let Some(event) = self.given.iter().find(|event| !kept.contains_key(event)) {
            return Err(format!("the event {event} was given and is not in the spool: it was not durable"));
        }
        for Skip { after, before, counted, .. } in self.skips.iter().filter(|skip| skip.exact) {
            let (after, before) = (after.unwrap_or(0), before.unwrap_or(u32::MAX));
            let lacked = kept.keys().filter(|event| **event > after && **event < before).count() as u64;
            if lacked != *counted {
                return Err(format!("between {after} and {before} {lacked} were skipped, and {counted} counted"));
            }
        }
        Ok(())
    }
}

//! When batches come: in turn, or by chance.

use std::{
    rc::Rc,
    thread,
    time::{Duration, Instant},
};

use tokio::sync::{
    Mutex,
    mpsc::{Receiver, Sender, channel},
};

/// How many batches may wait for a connection. That is a minute of what one core can send.
const MOST_WAITING: usize = 1_000_000;

/// When the next batch comes that a connection is to send.
#[derive(Clone)]
pub(crate) enum Arrivals {
    /// When the last one is answered.
    InTurn {
        /// None begins later.
        end: Instant,
    },
    /// By chance, for whichever connection is free.
    ByChance(Rc<Mutex<Receiver<Instant>>>),
}

impl Arrivals {
    /// `rate` batches a second on the average, each independent of the others, in this time. They come from a thread of
    /// their own: the timers of Tokio would let them come by the millisecond.
    pub(crate) fn by_chance(rate: f64, (start, end): (Instant, Instant)) -> Self {
        let (sender, receiver) = channel(MOST_WAITING);
        let pacer = thread::Builder::new().name("arrivals".into()).spawn(move || come(rate, (start, end), &sender));
        pacer.expect("a thread for the arrivals");
        Self::ByChance(Rc::new(Mutex::new(receiver)))
    }

    /// Waits for the next: when it came; `None` if none will come any more.
    pub(crate) async fn next(&self) -> Option<Instant> {
        match self {
            Self::InTurn { end } => Some(Instant::now()).filter(|now| now < end),
            // Whoever has waited longest is next.
            Self::ByChance(coming) => coming.lock().await.recv().await,
        }
    }

    /// Whether a batch counts that is answered now: of those that come by chance all do, since the slowest would be missed.
    pub(crate) fn counts(&self, now: Instant) -> bool {
        match self {
            Self::InTurn { end } => now <= *end,
            Self::ByChance(_) => true,
        }
    }
}

fn come(rate: f64, (start, end): (Instant, Instant), sender: &Sender<Instant>) {
    let mut random = fastrand::Rng::with_seed(0);
    let mut due = start;
    loop {
        due += Duration::from_secs_f64(-(1.0 - random.f64()).ln() / rate);
        if due >= end {
            return;
        }
        thread::sleep(due.saturating_duration_since(Instant::now()));
        sender.try_send(due).expect("no more batches wait than a minute's");
    }
}

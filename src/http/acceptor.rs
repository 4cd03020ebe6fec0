//! The acceptor: one listening socket, whose connections go to the worker that has the fewest.
//!
//! A load balancer keeps few connections and keeps them long. Where every worker listened on its own (`SO_REUSEPORT`),
//! chance would decide once and for hours that one worker has most of them; counting spreads them evenly.
//!
//! When the workers spend more than a configured part of their time on refusing, they get no new connection for a
//! moment: clients that connect anew for each attempt wait then, instead of costing what could be stored. They wait
//! behind the lobby, which goes on answering for health, each in a place of its own among those that may be open; one
//! for which there is none is refused as ever.
//!
//! At the end whoever is connected is handed over. Who waits in the listening socket's queue is, too, unless somebody else
//! has the socket: then nobody here touches the queue any more.

use std::{
    io,
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{Arc, atomic::Ordering},
    thread::{self, JoinHandle},
};

use ::metrics::Counter;
use tokio::{
    sync::{mpsc::error::TrySendError, watch},
    time::timeout_at,
};

use super::{
    Ending, Problem, Service, WorkerHandle,
    leaving::{Leaving, Parting},
    listener::Listener,
    lobby::{HealthDesk, Lobby},
    pause::Pauses,
};
use crate::{
    admission::Cause,
    metrics::{self, Metrics},
    queue::Published,
};

/// How many connections may wait in the listening socket's queue to be accepted: what Linux allows by default
/// (net.core.somaxconn).
pub const BACKLOG: u16 = 4_096;

/// The one listening socket and the workers behind it.
#[derive(Debug)]
pub struct Acceptor {
    /// The socket.
    pub listener: TcpListener,
    /// The workers.
    pub workers: Vec<WorkerHandle>,
    /// What they serve from.
    pub service: Arc<Service>,
    /// What the spool tells everybody.
    pub published: Arc<Published>,
    /// The part of the workers' time that may go into refusing.
    pub refusing_share: f64,
    /// How many connections there may be.
    pub most: usize,
}

/// What the acceptor remembers from one connection to the next.
struct Memory {
    accepted: Counter,
    refused: Counter,
    /// Refusals are counted in one place whatever they are of.
    refusals: Counter,
    offered: Counter,
    /// Whose turn it is between equals.
    turn: usize,
    /// Those who wait for the end of a pause.
    held: Vec<TcpStream>,
    /// Those who were refused last.
    parting: Parting,
}

impl Memory {
    fn new(metrics: &Metrics) -> Self {
        Self {
            accepted: metrics.counter(&metrics::CONNECTIONS_ACCEPTED, &[]),
            refused: metrics.counter(&metrics::CONNECTIONS_REFUSED, &[]),
            refusals: metrics.counter(&metrics::REFUSALS, &[Cause::Connections.as_str()]),
            offered: metrics.counter(&metrics::OFFERED_BYTES, &[]),
            turn: 0,
            held: Vec::new(),
            parting: Parting::default(),
        }
    }
}

/// An acceptor that runs.
#[derive(Debug)]
pub struct AcceptorHandle {
    /// Where it listens.
    pub address: SocketAddr,
    thread: JoinHandle<Vec<WorkerHandle>>,
}

impl Acceptor {
    /// Starts the acceptor's thread. It ends when `stop` is told; then it has handed over whatever was connected.
    ///
    /// # Errors
    /// The operating system's, if there is no thread or no runtime to be had.
    pub fn spawn(self, stop: watch::Receiver<Option<Ending>>) -> io::Result<AcceptorHandle> {
        let address = self.listener.local_addr()?;
        self.listener.set_nonblocking(true)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let listener = {
            let _inside = runtime.enter();
            let errors = self.service.metrics.counter(&metrics::ACCEPT_ERRORS, &[]);
            Listener::new(self.listener.try_clone()?, errors)?
        };
        let thread =
            thread::Builder::new().name("acceptor".into()).spawn(move || runtime.block_on(self.run(listener, stop)))?;
        Ok(AcceptorHandle { address, thread })
    }

    async fn run(self, mut listener: Listener, mut stop: watch::Receiver<Option<Ending>>) -> Vec<WorkerHandle> {
        let mut memory = Memory::new(&self.service.metrics);
        let desk = HealthDesk { health: Arc::clone(&self.service.health), published: Arc::clone(&self.published) };
        let mut lobby = Lobby::new(desk);
        let strains = self.workers.iter().map(|worker| Arc::clone(&worker.strain)).collect();
        let mut pauses = Pauses::new(strains, self.refusing_share, &self.service.metrics);
        loop {
            tokio::select! {
                stream = listener.accept(|| self.refusal(&memory)), if lobby.has_place() => {
                    memory.accepted.increment(1);
                    lobby.enter(stream);
                }
                stream = lobby.next() => {
                    if pauses.paused() {
                        self.hold(stream, &mut memory);
                    } else {
                        self.hand_over(stream, &mut memory);
                    }
                }
                () = pauses.look() => {
                    if !pauses.paused() {
                        self.hand_over_held(&mut memory);
                    }
                    let now = std::time::Instant::now();
                    memory.parting.tidy(now);
                    self.service.health.observe(self.workers.iter().all(|worker| worker.strain.turns(now)));
                }
                _ = stop.wait_for(Option::is_some) => break,
            }
        }
        self.hand_over_held(&mut memory);
        // Whoever would tell has gone without a word: the process ends.
        let Some(ending) = *stop.borrow() else { return self.workers };
        lobby.call_all();
        while let Ok(Some(stream)) = timeout_at(ending.cut, lobby.next_of_all()).await {
            self.hand_over(stream, &mut memory);
        }
        // What was connected before the socket closes would be reset: it is handed over, and told to go when answered.
        for _ in 0..if ending.queue_stays { 0 } else { BACKLOG } {
            match self.listener.accept() {
                Ok((stream, _)) if stream.set_nonblocking(true).is_ok() => self.hand_over(stream, &mut memory),
                Ok(_) => {}
                Err(_) => break,
            }
        }
        self.workers
    }

    /// Whether there are as many connections as there may be.
    fn is_full(&self, memory: &Memory) -> bool {
        let open: usize = self.workers.iter().map(|worker| worker.open.load(Ordering::Relaxed)).sum();
        open + memory.held.len() >= self.most
    }

    /// Keeps `stream` until the pause ends.
    fn hold(&self, stream: TcpStream, memory: &mut Memory) {
        if self.is_full(memory) {
            return self.refuse(stream, memory);
        }
        memory.held.push(stream);
    }

    fn hand_over_held(&self, memory: &mut Memory) {
        for stream in std::mem::take(&mut memory.held) {
            self.hand_over(stream, memory);
        }
    }

    /// Gives `stream` to the worker with the fewest connections; between equals, in turn.
    fn hand_over(&self, stream: TcpStream, memory: &mut Memory) {
        if self.is_full(memory) {
            return self.refuse(stream, memory);
        }
        memory.turn += 1;
        // One whose thread has ended has the fewest of all, for ever.
        let loads = |worker: &WorkerHandle| (!worker.incoming.is_closed()).then(|| worker.open.load(Ordering::Relaxed));
        let loads: Vec<_> = self.workers.iter().map(loads).collect();
        let Some(worker) = fewest(&loads, memory.turn).map(|place| &self.workers[place]) else {
            return self.refuse(stream, memory);
        };
        worker.open.fetch_add(1, Ordering::Relaxed);
        match worker.incoming.try_send(stream) {
            Ok(()) => {}
            Err(TrySendError::Full(stream) | TrySendError::Closed(stream)) => {
                worker.open.fetch_sub(1, Ordering::Relaxed);
                self.refuse(stream, memory);
            }
        }
    }

    /// Answers 429 without reading the request, and closes the connection.
    fn refuse(&self, stream: TcpStream, memory: &mut Memory) {
        let leaving = Leaving::tell(stream, &self.refusal(memory));
        memory.parting.keep(leaving);
    }

    /// Counts a connection for which there is no place or no descriptor: what its client is told.
    fn refusal(&self, memory: &Memory) -> Vec<u8> {
        let service = &self.service;
        memory.refused.increment(1);
        memory.refusals.increment(1);
        // What it came with nobody knows: it counts as one body of the usual size.
        let typical = service.demand.typical();
        memory.offered.increment(typical);
        service.demand.refuse(typical);
        service.gate.offer(typical);
        let now = service.moment(std::time::Instant::now());
        let refused = service.gate.refuse(Cause::Connections, typical, now, fastrand::f64());
        Problem::Refused(refused).last_words(&service.policies.current().hints)
    }
}

impl AcceptorHandle {
    /// Waits until the acceptor has ended, as it was told, and closes the listening socket.
    pub fn join(self) -> Vec<WorkerHandle> {
        self.thread.join().unwrap_or_else(|_| {
            tracing::error!("the acceptor panicked");
            Vec::new()
        })
    }
}

/// The place in `loads` that has the least, of those that have any; between equals, the first from `turn` on.
fn fewest(loads: &[Option<usize>], turn: usize) -> Option<usize> {
    let places = (0..loads.len()).map(|place| (place + turn) % loads.len());
    places.filter_map(|place| Some((loads[place]?, place))).min_by_key(|(load, _)| *load).map(|(_, place)| place)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worker_with_the_fewest_is_next_if_it_still_runs() {
        assert_eq!(fewest(&[Some(2), Some(1), Some(3)], 0), Some(1));
        assert_eq!((0..3).map(|turn| fewest(&[Some(1); 3], turn)).collect::<Vec<_>>(), [Some(0), Some(1), Some(2)]);
        assert_eq!(fewest(&[Some(2), None, Some(3)], 1), Some(0), "one that has ended gets nothing");
        assert_eq!(fewest(&[None, None], 0), None);
    }
}

//! A worker: a thread with a runtime, connections and queue of its own.

use std::{
    cell::RefCell,
    collections::HashMap,
    io,
    net::TcpStream,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use ::metrics::Gauge;
use axum::Router;
use http::{Method, Request};
use hyper::body::Incoming;
use tokio::{
    runtime::{Builder, LocalOptions, RuntimeMetrics},
    sync::{mpsc, watch},
    time::{sleep, sleep_until},
};
use tower::ServiceExt;

use super::{
    Ending, Problem, Service,
    connection::{self, ConnectionLimits, Draining},
    decode::Decoders,
    growth::Growth,
    ingest::ingest,
    outcome::{Counts, StreamCounts},
    policy::{InForce, Seen},
    respond::{self, Answer, AnswerBody},
    routes::{self, Instance},
    strain::{Strain, StrainGauges},
};
use crate::{
    admission::{Cause, FairShare, Moment},
    batch::{Nonces, StreamName},
    metrics,
    queue::{Published, Submitter, Unbound},
    schema::{CatalogFull, Stream},
    validate::Validator,
};

/// The path of the hot route, before the stream's name.
pub(super) const INGEST_PREFIX: &str = "/v1/logs/";
/// How often a draining worker looks whether its last connection has gone.
const DRAIN_POLL: Duration = Duration::from_millis(5);

/// A stream as this worker knows it.
#[derive(Debug)]
pub(super) struct Route {
    pub(super) stream: Arc<Stream>,
    pub(super) counts: StreamCounts,
    growth: Growth,
}

/// Where a batch is sent.
#[derive(Debug)]
pub(super) enum Target {
    /// To a stream that is known.
    Known(Rc<Route>),
    /// To one that is not yet. There may only be so many: it takes a place, and is a label in the metrics, once a batch
    /// for it can be stored. A request that invents a name and sends nothing of use must take none from the others.
    New(Arc<Stream>, Growth),
}

impl Target {
    pub(super) fn stream(&self) -> &Stream {
        match self {
            Self::Known(route) => &route.stream,
            Self::New(stream, _) => stream,
        }
    }

    /// How much longer its lines are than the bodies that they come in.
    pub(super) fn growth(&self) -> &Growth {
        match self {
            Self::Known(route) => &route.growth,
            Self::New(_, growth) => growth,
        }
    }
}

/// What one worker has: nothing here is touched by another thread.
#[derive(Debug)]
pub(super) struct WorkerState {
    pub(super) service: Arc<Service>,
    pub(super) submitter: Rc<Submitter>,
    pub(super) validator: RefCell<Validator>,
    pub(super) decoders: RefCell<Decoders>,
    pub(super) nonces: RefCell<Nonces>,
    pub(super) counts: Rc<Counts>,
    pub(super) fair: RefCell<FairShare>,
    pub(super) strain: Strain,
    policy: Seen,
    /// How the instance ends, once it does.
    stop: watch::Receiver<Option<Ending>>,
    routes: RefCell<HashMap<StreamName, Rc<Route>>>,
    others: Router,
}

impl WorkerState {
    fn new(
        number: usize,
        service: Arc<Service>,
        published: Arc<Published>,
        lane: Unbound,
        nonces: Nonces,
        (strain, stop): (Strain, watch::Receiver<Option<Ending>>),
    ) -> Self {
        Self {
            fair: RefCell::new(FairShare::new(Arc::clone(&service.shares), number)),
            strain,
            policy: Seen::new(&service.policies),
            stop,
            submitter: lane.bind(),
            validator: RefCell::new(Validator::new(service.limits)),
            decoders: RefCell::new(Decoders::new()),
            nonces: RefCell::new(nonces),
            counts: Rc::new(Counts::new(&service.metrics)),
            routes: RefCell::default(),
            others: routes::public(Instance { service: Arc::clone(&service), published }),
            service,
        }
    }

    /// The stream called `name`, if it is known here.
    pub(super) fn known(&self, name: &str) -> Option<Target> {
        self.routes.borrow().get(name).map(|route| Target::Known(Rc::clone(route)))
    }

    /// The stream called `name`, which is not [`Self::known`]: it is looked up in the catalog.
    pub(super) fn target(&self, name: &StreamName) -> Result<Target, Problem> {
        if let Some(stream) = self.service.catalog.get(name) {
            return Ok(Target::Known(self.know(stream, Growth::default())));
        }
        let candidate = self.service.catalog.candidate(name).map_err(|full| self.no_place(full))?;
        candidate.map(|stream| Target::New(stream, Growth::default())).ok_or(Problem::UnknownStream)
    }

    /// The way to `target`, which is a known stream from now on: a batch for it was read and can be stored.
    pub(super) fn route(&self, target: &Target) -> Result<Rc<Route>, Problem> {
        match target {
            Target::Known(route) => Ok(Rc::clone(route)),
            Target::New(stream, growth) => {
                let stream = self.service.catalog.take_up(stream).map_err(|full| self.no_place(full))?;
                Ok(self.know(stream, growth.clone()))
            }
        }
    }

    /// Keeps a stream of the catalog at hand, with its counters.
    fn know(&self, stream: Arc<Stream>, growth: Growth) -> Rc<Route> {
        // Bounded by the catalog, which every name here came from.
        let mut routes = self.routes.borrow_mut();
        let route = routes.entry(stream.name.clone()).or_insert_with(|| {
            let counts = StreamCounts::new(&self.service.metrics, stream.name.as_str());
            Rc::new(Route { stream, counts, growth })
        });
        Rc::clone(route)
    }

    fn no_place(&self, full: CatalogFull) -> Problem {
        self.refuse(Cause::from(full), 0)
    }

    /// The refusal for `cause` of what came with a body of `bytes`.
    pub(super) fn refuse(&self, cause: Cause, bytes: u64) -> Problem {
        self.service.gate.refuse(cause, bytes, self.now(), self.chance()).into()
    }

    /// The policy in force. With a new one the streams may be others.
    pub(super) fn policy(&self) -> InForce {
        let (policy, is_new) = self.policy.look(&self.service.policies);
        if is_new {
            self.let_go_of_replaced();
        }
        policy
    }

    /// Lets go of the streams that are not those of the catalog any more.
    fn let_go_of_replaced(&self) {
        self.routes.borrow_mut().retain(|name, route| {
            let stays = self.service.catalog.get(name).is_some_and(|stream| Arc::ptr_eq(&stream, &route.stream));
            if !stays {
                self.validator.borrow_mut().forget(route.stream.schema.id());
            }
            stays
        });
    }

    /// What time it is, for admission.
    pub(super) fn now(&self) -> Moment {
        self.service.moment(std::time::Instant::now())
    }

    /// A number between 0 and 1.
    #[expect(clippy::unused_self, reason = "chance is the worker's, as its clock and its nonces are")]
    pub(super) fn chance(&self) -> f64 {
        fastrand::f64()
    }

    /// Waits until the last answers are to be given, if the instance ever ends.
    pub(super) async fn last_moment(&self) {
        let mut stop = self.stop.clone();
        let ending = stop.wait_for(Option::is_some).await.ok().and_then(|ending| *ending);
        match ending.and_then(|ending| ending.last_answers) {
            Some(last) => sleep_until(last).await,
            // They are not told; or whoever would tell has gone without a drain, and the process ends.
            None => std::future::pending().await,
        }
    }

    async fn answer(self: Rc<Self>, request: Request<Incoming>) -> Answer {
        let path = request.uri().path();
        match path.strip_prefix(INGEST_PREFIX) {
            Some(stream) if !stream.is_empty() => {
                if request.method() == Method::OPTIONS && self.policy().keys.has_browser_keys() {
                    return respond::preflight();
                }
                ingest(&self, request).await
            }
            _ => {
                // A router has no error of its own to give.
                let response: axum::response::Response = match self.others.clone().oneshot(request).await {
                    Ok(response) => response,
                    Err(never) => match never {},
                };
                response.map(AnswerBody::Right)
            }
        }
    }
}

/// A worker that has not been started.
#[derive(Debug)]
pub struct Worker {
    /// Which one, from 0.
    pub number: usize,
    /// What it serves from.
    pub service: Arc<Service>,
    /// What the spool tells everybody.
    pub published: Arc<Published>,
    /// Its end of its queue.
    pub lane: Unbound,
    /// What its connections may do.
    pub connections: ConnectionLimits,
}

/// A worker that runs.
#[derive(Debug)]
pub struct WorkerHandle {
    pub(super) incoming: mpsc::Sender<TcpStream>,
    /// Its open connections, those on their way to it included.
    pub(super) open: Arc<AtomicUsize>,
    runtime: RuntimeMetrics,
    pub(super) strain: Arc<StrainGauges>,
    thread: JoinHandle<()>,
}

/// How a worker's time goes by, for those who look on.
#[derive(Debug, Clone)]
pub struct WorkerTimes {
    runtime: RuntimeMetrics,
    strain: Arc<StrainGauges>,
}

impl WorkerTimes {
    /// How long it was busy since it started.
    pub fn busy(&self) -> Duration {
        self.runtime.worker_total_busy_duration(0)
    }

    /// Whether it runs: one that hangs, or has ended, has not for very long.
    pub fn turns(&self) -> bool {
        self.strain.turns(std::time::Instant::now())
    }

    /// How much of that it spent on refusals.
    pub fn refusing(&self) -> Duration {
        self.strain.refusing()
    }

    /// How long what it has to do waits for its turn.
    pub fn lag(&self) -> Duration {
        self.strain.lag()
    }
}

impl Worker {
    /// Starts the worker's thread. It drains when `stop` is told how the instance ends.
    ///
    /// # Errors
    /// The operating system's, if there is no thread, no runtime or no random number to be had.
    pub fn spawn(self, stop: watch::Receiver<Option<Ending>>) -> io::Result<WorkerHandle> {
        let (sender, receiver) = mpsc::channel(self.connections.most);
        let open = Arc::new(AtomicUsize::new(0));
        let nonces = Nonces::from_os()?;
        let count = Arc::clone(&open);
        let strain = Arc::new(StrainGauges::default());
        let gauges = Arc::clone(&strain);
        // The runtime cannot leave the thread that makes it, so that it says whether it could be made.
        let (ready, made) = std::sync::mpsc::sync_channel(1);
        let thread = thread::Builder::new().name(format!("worker-{}", self.number)).spawn(move || {
            let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default());
            match runtime {
                Ok(runtime) => {
                    let _ = ready.send(Ok(runtime.handle().metrics()));
                    runtime.block_on(self.run((nonces, gauges), receiver, count, stop));
                }
                Err(error) => {
                    let _ = ready.send(Err(error));
                }
            }
        })?;
        let runtime = made.recv().map_err(io::Error::other)??;
        Ok(WorkerHandle { incoming: sender, open, runtime, strain, thread })
    }

    async fn run(
        self,
        (nonces, gauges): (Nonces, Arc<StrainGauges>),
        mut incoming: mpsc::Receiver<TcpStream>,
        open: Arc<AtomicUsize>,
        mut stop: watch::Receiver<Option<Ending>>,
    ) {
        let gauge = self.service.metrics.gauge(&metrics::CONNECTIONS, &[&self.number.to_string()]);
        let state = Rc::new(WorkerState::new(
            self.number,
            self.service,
            self.published,
            self.lane,
            nonces,
            (Strain::new(gauges), stop.clone()),
        ));
        tokio::task::spawn_local(Rc::clone(&state.submitter).deliver());
        let strained = Rc::clone(&state);
        tokio::task::spawn_local(async move { strained.strain.probe().await });
        let submitter = Rc::clone(&state.submitter);
        let draining = Rc::new(Draining::new(Arc::clone(&state.service.health)));
        let limits = Rc::new(self.connections);
        let take_up = |stream: TcpStream| {
            let guard = OpenGuard::new(&open, &gauge);
            let (state, limits, draining) = (Rc::clone(&state), Rc::clone(&limits), Rc::clone(&draining));
            tokio::task::spawn_local(async move {
                let _guard = guard;
                let metrics = Arc::clone(&state.service.metrics);
                let served = Rc::clone(&state);
                let answer = move |request| Rc::clone(&served).answer(request);
                connection::serve(stream, answer, &limits, &draining, (&state.strain, &metrics)).await;
            });
        };
        loop {
            tokio::select! {
                accepted = incoming.recv() => match accepted {
                    Some(stream) => take_up(stream),
                    None => break,
                },
                _ = stop.wait_for(Option::is_some) => break,
            }
        }
        // Both happen when the instance ends, and either may be noticed first.
        let ending = *stop.borrow();
        // The acceptor has ended: what it handed over last is served too.
        incoming.close();
        while let Some(stream) = incoming.recv().await {
            take_up(stream);
        }
        draining.begin();
        // Batches that nobody waits for have their place in the books, too.
        let all_closed = async {
            while open.load(Ordering::Relaxed) > 0 || !submitter.is_idle() {
                sleep(DRAIN_POLL).await;
            }
        };
        tokio::select! {
            () = all_closed => {}
            () = until_cut(ending) => {
                let open = open.load(Ordering::Relaxed);
                tracing::warn!(open, "connections were still open at the end of the drain and are cut");
            }
        }
    }
}

/// Waits until connections are to be cut: at once, if nobody ever told how the instance ends.
async fn until_cut(ending: Option<Ending>) {
    if let Some(ending) = ending {
        sleep_until(ending.cut).await;
    }
}

impl WorkerHandle {
    /// How its time goes by.
    pub fn times(&self) -> WorkerTimes {
        WorkerTimes { runtime: self.runtime.clone(), strain: Arc::clone(&self.strain) }
    }

    /// Waits until the thread has ended.
    pub fn join(self) {
        drop(self.incoming);
        if self.thread.join().is_err() {
            tracing::error!("a worker panicked");
        }
    }
}

/// Counts a connection for as long as it lives.
struct OpenGuard {
    open: Arc<AtomicUsize>,
    gauge: Gauge,
}

impl OpenGuard {
    /// The acceptor has counted the connection in `open` already.
    fn new(open: &Arc<AtomicUsize>, gauge: &Gauge) -> Self {
        gauge.increment(1.0);
        Self { open: Arc::clone(open), gauge: gauge.clone() }
    }
}

impl Drop for OpenGuard {
    fn drop(&mut self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
        self.gauge.decrement(1.0);
    }
}

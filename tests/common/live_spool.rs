//! A spool that is written to while it is followed.
//!
//! Its submitters live on one thread, which is its own; whoever puts lines need not.

use std::{
    path::Path,
    rc::Rc,
    sync::{Arc, mpsc},
    thread::{self, JoinHandle},
    time::Duration,
};

use logweir::{
    admission::ByteBudget,
    batch::{Book, FrameBuilder, InstanceId, StreamName},
    metrics::Metrics,
    queue::{self, Submission},
    spool::{Settings, Shelf, Spool},
};
use tokio::{
    runtime::{Builder, LocalOptions},
    sync::{mpsc as channel, oneshot},
    task::JoinSet,
};

/// How many batches wait to be submitted at the most.
const WAITING: usize = 64;

/// Lines to put, and whom to tell when they are durable.
struct Put {
    stream: StreamName,
    book: Book,
    lines: String,
    durable: oneshot::Sender<()>,
}

/// The spool.
pub(crate) struct LiveSpool {
    /// What it keeps.
    pub(crate) shelf: Arc<Shelf>,
    /// Its metrics, for sinks to add to.
    pub(crate) metrics: Arc<Metrics>,
    /// Its identity.
    pub(crate) instance: InstanceId,
    puts: Option<channel::Sender<Put>>,
    thread: Option<JoinHandle<()>>,
}

impl LiveSpool {
    /// Opens the spool at `dir`, which seals segments of so many bytes.
    pub(crate) fn open(dir: &Path, segment_size: u64) -> Self {
        let settings = Settings {
            dir: dir.to_owned(),
            disk_quota: 4 << 30,
            segment_size,
            object_size: None,
            seal_after: Duration::from_hours(1),
            seal_jitter: 0.0,
            early_seal_interval: Duration::from_millis(50),
            sync_interval: Duration::ZERO,
            max_rate: None,
            destinations: Vec::new(),
        };
        let (puts, wanted) = channel::channel(WAITING);
        let (tell, told) = mpsc::sync_channel(1);
        let thread = thread::Builder::new().name("live-spool".into()).spawn(move || {
            let runtime = Builder::new_current_thread().enable_time().build_local(LocalOptions::default()).unwrap();
            runtime.block_on(serve(settings, wanted, &tell));
        });
        let (shelf, metrics, instance) = told.recv().unwrap();
        Self { shelf, metrics, instance, puts: Some(puts), thread: Some(thread.unwrap()) }
    }

    /// Puts lines, each of which ends in a line feed; what it returns resolves once they are durable.
    pub(crate) async fn put(&self, stream: &StreamName, book: Book, lines: String) -> oneshot::Receiver<()> {
        let (durable, told) = oneshot::channel();
        let put = Put { stream: stream.clone(), book, lines, durable };
        assert!(self.puts.as_ref().unwrap().send(put).await.is_ok(), "the spool lives");
        told
    }

    /// Seals what there is, and ends. Blocks.
    pub(crate) fn close(&mut self) {
        self.puts = None;
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

impl Drop for LiveSpool {
    fn drop(&mut self) {
        self.puts = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

async fn serve(
    settings: Settings,
    mut wanted: channel::Receiver<Put>,
    tell: &mpsc::SyncSender<(Arc<Shelf>, Arc<Metrics>, InstanceId)>,
) {
    let (mut lanes, intake) = queue::queues(1, 1_000);
    let metrics = Arc::new(Metrics::new().unwrap());
    let spool = Spool::open(settings, intake, &metrics).unwrap();
    let submitter = lanes.pop().unwrap().bind();
    tokio::task::spawn_local(Rc::clone(&submitter).deliver());
    tell.send((spool.shelf(), metrics, spool.instance())).unwrap();
    let (budget, clock) = (ByteBudget::new(1 << 30), spool.clock());
    let mut receipts = JoinSet::new();
    while let Some(Put { stream, book, lines, durable }) = wanted.recv().await {
        let mut builder = FrameBuilder::new(stream, book, lines.len());
        builder.lines().extend_from_slice(lines.as_bytes());
        let now = clock.now();
        let accepted = builder.finish(lines.lines().count() as u32, now, now, now);
        let reservation = budget.reserve(0).unwrap();
        let receipt = submitter.submit(Submission { accepted, rejected: None, reservation }).unwrap();
        receipts.spawn_local(async move {
            receipt.await.unwrap();
            let _ = durable.send(());
        });
        while receipts.try_join_next().is_some() {}
    }
    while receipts.join_next().await.is_some() {}
    spool.close();
}

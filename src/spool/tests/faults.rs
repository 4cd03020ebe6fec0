//! What the spool makes of a disk that fails, is full, or takes its time.

use std::{
    io,
    sync::{Mutex, mpsc},
    thread,
};

use super::{segment::Name, *};

/// Asked before each call of the kind and the file that it is given: whether it fails, or when it returns.
type Hook = Arc<dyn Fn(&str, &str) -> io::Result<()> + Send + Sync>;

/// A disk whose calls can be made to fail, or to wait.
#[derive(Clone)]
struct Faulty {
    disk: SharedDisk,
    hook: Arc<Mutex<Hook>>,
}

struct FaultyFile {
    file: Box<dyn DiskFile>,
    name: String,
    disk: Faulty,
}

impl Faulty {
    fn new(dir: &Path) -> Self {
        let disk: SharedDisk = Arc::new(RealDisk::open(dir).unwrap());
        Self { disk, hook: Arc::new(Mutex::new(Arc::new(|_, _| Ok(())))) }
    }

    fn shared(&self) -> SharedDisk {
        Arc::new(self.clone())
    }

    fn on_call(&self, hook: impl Fn(&str, &str) -> io::Result<()> + Send + Sync + 'static) {
        *self.hook.lock().unwrap() = Arc::new(hook);
    }

    fn work_again(&self) {
        self.on_call(|_, _| Ok(()));
    }

    fn ask(&self, call: &str, name: &str) -> io::Result<()> {
        let hook = Arc::clone(&*self.hook.lock().unwrap());
        hook(call, name)
    }

    fn file(&self, name: &str, file: Box<dyn DiskFile>) -> Box<dyn DiskFile> {
        Box::new(FaultyFile { file, name: name.into(), disk: self.clone() })
    }
}

impl std::fmt::Debug for Faulty {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Faulty")
    }
}

impl std::fmt::Debug for FaultyFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.name)
    }
}

impl Disk for Faulty {
    fn list(&self) -> io::Result<Vec<(String, u64)>> {
        self.disk.list()
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        self.ask("create", name)?;
        Ok(self.file(name, self.disk.create(name)?))
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        self.ask("open", name)?;
        Ok(self.file(name, self.disk.open(name)?))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.ask("rename", from)?;
        self.disk.rename(from, to)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.ask("remove", name)?;
        self.disk.remove(name)
    }

    fn sync_dir(&self) -> io::Result<()> {
        self.disk.sync_dir()
    }

    fn sync_quarantine(&self) -> io::Result<()> {
        self.disk.sync_quarantine()
    }

    fn free_bytes(&self) -> io::Result<u64> {
        self.disk.free_bytes()
    }
}

impl DiskFile for FaultyFile {
    fn write_at(&self, parts: &[&[u8]], offset: u64) -> io::Result<()> {
        self.disk.ask("write", &self.name)?;
        self.file.write_at(parts, offset)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.disk.ask("read", &self.name)?;
        self.file.read_at(buffer, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync()
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }
}

/// A spool whose writer makes its steps by hand.
struct ByHand {
    spool: TakenUp,
    shelf: Arc<Shelf>,
    submitter: Rc<Submitter>,
    metrics: Arc<Metrics>,
    budget: Arc<ByteBudget>,
}

impl ByHand {
    fn open(disk: &SharedDisk, dir: &Path) -> Self {
        let (mut lanes, intake) = queue::queues(1, 1_000);
        let metrics = Arc::new(Metrics::new().unwrap());
        let spool = TakenUp::new(disk, settings(dir), intake, &metrics).unwrap();
        let submitter = lanes.pop().unwrap().bind();
        tokio::task::spawn_local(Rc::clone(&submitter).deliver());
        Self { shelf: spool.shelf(), spool, submitter, metrics, budget: ByteBudget::new(1 << 30) }
    }

    async fn line(&mut self, text: &str) -> Result<Durable, Lost> {
        let mut builder = FrameBuilder::new(StreamName::new("heard").unwrap(), Book::Accepted, 100);
        builder.lines().extend_from_slice(text.as_bytes());
        builder.lines().push(b'\n');
        let accepted = builder.finish(1, at(NOW), at(NOW), at(NOW));
        let submission = Submission { accepted, rejected: None, reservation: self.budget.reserve(0).unwrap() };
        let receipt = self.submitter.submit(submission).unwrap();
        self.spool.step();
        receipt.await
    }

    fn seal(&mut self) {
        self.submitter.request_seal();
        while self.shelf.kept().0 > self.shelf.sealed().0 {
            self.spool.step();
        }
    }

    fn end(&mut self) {
        self.spool.request_stop();
        while self.spool.step() != Step::Ended {}
    }
}

fn at(millis: i64) -> Millis {
    Millis::new(millis).unwrap()
}

const NOW_REQUIRED: Terms = Terms { need: Need::Required, start: Start::Now };

fn is_cursor(name: &str) -> bool {
    name.starts_with("cursor-") || name.starts_with("retired-")
}

#[test]
fn a_cursor_that_cannot_be_opened_is_no_new_sinks() {
    run(async {
        for retired in [false, true] {
            let dir = tempfile::tempdir().unwrap();
            let faulty = Faulty::new(dir.path());
            let mut spool = ByHand::open(&faulty.shared(), dir.path());
            let sink = spool.shelf.consumer("sink", NOW_REQUIRED);
            spool.shelf.all_joined();
            spool.line("a").await.unwrap();
            spool.end();
            assert_eq!(sink.next().await, Some(SegmentId(1)));
            if retired {
                faulty.disk.rename("cursor-sink", "retired-sink").unwrap();
            }
            drop((sink, spool));

            faulty.on_call(|_, name| if is_cursor(name) { Err(io::Error::other("bad")) } else { Ok(()) });
            let spool = ByHand::open(&faulty.shared(), dir.path());
            let sink = spool.shelf.consumer("sink", NOW_REQUIRED);
            spool.shelf.all_joined();
            assert_eq!((spool.shelf.sealed().0, sink.next().await), (1, Some(SegmentId(1))), "retired: {retired}");
        }
    });
}

#[test]
fn nothing_is_acknowledged_before_it_is_durable_where_a_new_required_sink_begins() {
    run(async {
        let dir = tempfile::tempdir().unwrap();
        let faulty = Faulty::new(dir.path());
        let full = |call: &str, name: &str| match call {
            "write" | "create" if is_cursor(name) => Err(io::ErrorKind::StorageFull.into()),
            _ => Ok(()),
        };
        let mut spool = ByHand::open(&faulty.shared(), dir.path());
        faulty.on_call(full);
        let sink = spool.shelf.consumer("sink", NOW_REQUIRED);
        spool.shelf.all_joined();
        assert_eq!(spool.line("a").await, Err(Lost::DiskFull));
        faulty.work_again();
        spool.line("b").await.unwrap();
        drop((sink, spool));

        // It was killed before the sink had anything.
        let mut spool = ByHand::open(&faulty.shared(), dir.path());
        let sink = spool.shelf.consumer("sink", NOW_REQUIRED);
        spool.shelf.all_joined();
        spool.end();
        let segment = sink.next().await.expect("what was acknowledged");
        assert_eq!(read(sink.open(segment, &[]).unwrap().unwrap()).unwrap()[0].1, "b\n");
    });
}

#[test]
fn nothing_is_let_go_before_it_is_durable_where_a_new_best_effort_sink_begins() {
    run(async {
        let dir = tempfile::tempdir().unwrap();
        let faulty = Faulty::new(dir.path());
        let full = |call: &str, name: &str| match call {
            "write" | "create" if name == "cursor-new" => Err(io::ErrorKind::StorageFull.into()),
            _ => Ok(()),
        };
        let mut spool = ByHand::open(&faulty.shared(), dir.path());
        let mut required = spool.shelf.consumer("required", Terms::REQUIRED);
        spool.line("a").await.unwrap();
        spool.seal();
        faulty.on_call(full);
        let _new = spool.shelf.consumer("new", Terms { start: Start::Now, ..Terms::KEPT });
        spool.shelf.all_joined();
        required.pass(SegmentId(1), at(NOW)).unwrap();
        spool.shelf.keep_up(at(NOW));
        assert_eq!(spool.shelf.sealed().0, 1);
        spool.line("b").await.unwrap();
        faulty.work_again();
        spool.shelf.keep_up(at(NOW));
        assert_eq!(cursor::read(&*faulty.disk, "new").unwrap().position.unwrap().segment, SegmentId(2));
        assert_eq!(spool.shelf.sealed().0, 0);
    });
}

/// The writer looks how much the spares are for each group, and takes one for each segment.
#[test]
fn nobody_waits_for_a_file_that_becomes_a_spare() {
    let dir = tempfile::tempdir().unwrap();
    let faulty = Faulty::new(dir.path());
    faulty.create("passed").unwrap();
    let (entered, enters) = mpsc::sync_channel(1);
    let (release, released) = mpsc::sync_channel::<()>(1);
    let released = Mutex::new(released);
    faulty.on_call(move |call, name| {
        if (call, name) == ("rename", "passed") {
            entered.send(()).unwrap();
            let _ = released.lock().unwrap().recv();
        }
        Ok(())
    });
    let room = (Arc::default(), 1 << 30);
    let spares = Arc::new(spares::Spares::new(faulty.shared(), vec![], 1 << 20, room));
    let giver = Arc::clone(&spares);
    let other = thread::Builder::new().spawn(move || giver.give("passed", 10, false)).unwrap();
    enters.recv().unwrap();
    let (tell, told) = mpsc::sync_channel(1);
    let writer = Arc::clone(&spares);
    let meanwhile = thread::Builder::new().spawn(move || {
        let bytes = writer.bytes();
        tell.send((bytes, writer.take("new").is_ok())).unwrap();
    });
    let seen = told.recv_timeout(Duration::from_secs(30));
    drop(release);
    assert_eq!(seen, Ok((0, true)));
    other.join().unwrap().unwrap();
    meanwhile.unwrap().join().unwrap();
    assert_eq!(spares.bytes(), 10);
    spares.take("newer").unwrap();
    assert_eq!(spares.bytes(), 0);
}

#[test]
fn what_the_spool_uses_is_what_its_files_have() {
    run(async {
        let dir = tempfile::tempdir().unwrap();
        let faulty = Faulty::new(dir.path());
        let mut spool = ByHand::open(&faulty.shared(), dir.path());
        let mut sink = spool.shelf.consumer("sink", Terms::REQUIRED);
        spool.shelf.all_joined();
        let submitter = Rc::clone(&spool.submitter);
        for n in 1..=6 {
            spool.line("a").await.unwrap();
            spool.seal();
            if n % 2 == 0 {
                sink.pass(SegmentId(n), at(NOW)).unwrap();
            }
            spool.shelf.tidy();
            let files = faulty.disk.list().unwrap();
            let used: u64 = files.iter().filter(|(name, _)| Name::parse(name).is_some()).map(|(_, len)| len).sum();
            assert_eq!(submitter.published().spool_bytes(), used, "{files:?}");
        }
    });
}

#[test]
fn a_segment_that_one_sink_finds_unreadable_is_told_once() {
    run(async {
        let dir = tempfile::tempdir().unwrap();
        let faulty = Faulty::new(dir.path());
        let mut spool = ByHand::open(&faulty.shared(), dir.path());
        let sinks = ["one", "other"].map(|name| spool.shelf.consumer(name, Terms::REQUIRED));
        spool.shelf.all_joined();
        spool.line("a").await.unwrap();
        spool.end();
        fs::write(dir.path().join("0000000001.sealed"), vec![7; 10_000]).unwrap();
        for mut sink in sinks {
            assert!(sink.open(SegmentId(1), &[]).unwrap().is_none());
            sink.pass(SegmentId(1), at(NOW)).unwrap();
        }
        let mut quarantined = spool.metrics.counts(&[&crate::metrics::QUARANTINED]);
        quarantined.retain(|count| count.value > 0);
        let quarantined: Vec<_> = quarantined.into_iter().map(|count| count.labels).collect();
        assert_eq!(quarantined, [["segment"]]);
        assert_eq!(spool.shelf.sealed(), (0, 0));
    });
}

#[test]
fn what_the_oldest_is_that_a_sink_lacks_is_told_without_a_file_call() {
    run(async {
        let dir = tempfile::tempdir().unwrap();
        let faulty = Faulty::new(dir.path());
        let mut spool = ByHand::open(&faulty.shared(), dir.path());
        for _ in 0..2 {
            spool.line("a").await.unwrap();
            spool.seal();
        }
        spool.end();
        drop(spool);
        let spool = ByHand::open(&faulty.shared(), dir.path());
        let mut sink = spool.shelf.consumer("sink", Terms::REQUIRED);
        spool.shelf.all_joined();
        let calls = Arc::new(Mutex::new(0));
        let count = Arc::clone(&calls);
        faulty.on_call(move |_, _| {
            *count.lock().unwrap() += 1;
            Ok(())
        });
        assert_eq!(spool.shelf.oldest_unstored(), Some(at(NOW)), "of what was there at the start, it is known");
        assert_eq!(*calls.lock().unwrap(), 0);
        sink.pass(SegmentId(1), at(NOW)).unwrap();
        *calls.lock().unwrap() = 0;
        assert_eq!(spool.shelf.oldest_unstored(), Some(at(NOW)), "what it was before is not younger");
        assert_eq!(*calls.lock().unwrap(), 0);
        spool.shelf.keep_up(at(NOW));
        assert!(*calls.lock().unwrap() > 0);
        assert_eq!(spool.shelf.oldest_unstored(), Some(at(NOW)));
    });
}

/// What a log says.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(text);
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn what_was_skipped_is_said_at_the_latest_when_the_shelf_is_closed() {
    run(async {
        let dir = tempfile::tempdir().unwrap();
        let mut spool = ByHand::open(&Faulty::new(dir.path()).shared(), dir.path());
        let lag = MaxLag { bytes: 1, age: Duration::MAX };
        let _sink = spool.shelf.consumer("sink", Terms { need: Need::BestEffort(lag), start: Start::Oldest });
        spool.shelf.all_joined();
        let log = Log::default();
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
        let _log = tracing::subscriber::set_default(subscriber);
        let said = || String::from_utf8(log.0.lock().unwrap().clone()).unwrap().matches("lagged too far").count();
        for _ in 0..2 {
            spool.line("a").await.unwrap();
            spool.seal();
            spool.shelf.keep_up(at(NOW));
        }
        assert_eq!(said(), 1, "not again within a minute");
        spool.end();
        assert_eq!(said(), 2);
        spool.shelf.keep_up(at(NOW));
        assert_eq!(said(), 2);
    });
}

use std::io;

use super::*;

/// What is logged at INFO and above.
#[derive(Clone, Default)]
pub(in crate::sink) struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Log {
    /// Listens on this thread.
    pub(in crate::sink) fn listen() -> (Self, tracing::subscriber::DefaultGuard) {
        let log = Self::default();
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::INFO)
            .with_ansi(false)
            .without_time()
            .with_target(false)
            .with_writer(move || writer.clone())
            .finish();
        (log, tracing::subscriber::set_default(subscriber))
    }

    /// What was logged since it was asked last.
    pub(in crate::sink) fn take(&self) -> Vec<String> {
        let text = String::from_utf8(std::mem::take(&mut *self.0.lock().unwrap())).unwrap();
        text.lines().map(|line| line.trim().to_owned()).collect()
    }
}

fn fail(outage: &Outage, attempt: u64, now: Instant) {
    let stream = StreamName::new("heard").unwrap();
    outage.failed(&Failed { what: What::Lines(&stream), error: &"no", wait: Duration::from_secs(1), attempt }, now);
}

/// Instants from the first on, in seconds.
fn clock() -> impl Fn(u64) -> Instant {
    let began = Instant::now();
    move |seconds| began + Duration::from_secs(seconds)
}

#[test]
fn an_outage_that_begins_within_a_minute_of_the_last_warning_is_told_once_the_minute_is_over() {
    let (log, _listening) = Log::listen();
    let (outage, at) = (Outage::new("firehose"), clock());
    fail(&outage, 1, at(0));
    let first = log.take();
    assert!(first[0].starts_with("WARN lines could not be delivered; trying again"), "{first:?}");
    assert!(first[0].contains("stream=heard") && first.len() == 1, "{first:?}");
    assert!(outage.succeeded(at(1)));
    assert!(log.take()[0].starts_with("INFO the sink works again"));
    fail(&outage, 1, at(2));
    fail(&outage, 2, at(59));
    assert_eq!(log.take(), [""; 0]);
    fail(&outage, 3, at(60));
    assert!(log.take()[0].starts_with("WARN lines could not be delivered; trying again"));
    assert!(outage.succeeded(at(62)));
    let end = log.take();
    assert!(end[0].contains("lasted=60s calls=1 retries=2"), "{end:?}");
    assert!(!outage.succeeded(at(63)), "it was over");
}

#[test]
fn an_outage_that_goes_on_is_told_again_every_few_minutes() {
    let (log, _listening) = Log::listen();
    let (outage, at) = (Outage::new("firehose"), clock());
    let mut warned = Vec::new();
    for second in 0..=900_u64 {
        fail(&outage, second + 1, at(second));
        if let [line] = &log.take()[..] {
            warned.push((second, line.contains("since=") && line.contains(&format!("calls=1 retries={second}"))));
        }
    }
    assert_eq!(warned, [(0, false), (300, true), (600, true), (900, true)]);
}

#[test]
fn an_outage_that_nobody_was_told_of_ends_in_silence_and_not_before_nothing_is_to_be_tried_again() {
    let (outage, at) = (Arc::new(Outage::new("firehose")), clock());
    fail(&outage, 1, at(0));
    assert!(outage.succeeded(at(1)));
    let (log, _listening) = Log::listen();
    fail(&outage, 1, at(2));
    let failing = Failing::of(&outage);
    assert!(!outage.succeeded(at(3)));
    drop(failing);
    assert!(outage.succeeded(at(4)));
    assert_eq!(log.take(), [""; 0]);
}

//! The queue's invariants, with a writer on another thread.

use std::{
    cell::RefCell,
    collections::VecDeque,
    future::Future,
    pin::pin,
    rc::Rc,
    task::{Context, Poll, Wake, Waker},
};

use proptest::{collection::vec, prelude::*};

use super::*;
use crate::{
    admission::ByteBudget,
    batch::{Book, FrameBuilder, Millis, StreamName},
};

fn submission(budget: &Arc<ByteBudget>, bytes: usize) -> Submission {
    let mut builder = FrameBuilder::new(StreamName::new("heard").unwrap(), Book::Accepted, bytes);
    builder.lines().extend(std::iter::repeat_n(b'x', bytes));
    let at = Millis::new(0).unwrap();
    let frame = builder.finish(1, at, at, at);
    Submission { accepted: frame, rejected: None, reservation: budget.reserve(bytes).unwrap() }
}

fn block_on<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build_local(tokio::runtime::LocalOptions::default())
        .unwrap();
    runtime.block_on(async { tokio::time::timeout(Duration::from_secs(30), test).await.expect("the test ends") })
}

async fn poll_once<T>(mut future: std::pin::Pin<&mut impl Future<Output = T>>) -> Poll<T> {
    std::future::poll_fn(|context| Poll::Ready(future.as_mut().poll(context))).await
}

fn bound() -> (Rc<Submitter>, Intake) {
    let (mut lanes, intake) = queues(1, 4);
    (lanes.pop().unwrap().bind(), intake)
}

#[test]
fn a_receipt_is_ready_only_after_its_group_was_settled() {
    block_on(async {
        let (submitter, mut intake) = bound();
        tokio::task::spawn_local(Rc::clone(&submitter).deliver());
        let budget = ByteBudget::new(1_000);
        let mut first = pin!(submitter.submit(submission(&budget, 10)).unwrap());
        let mut second = pin!(submitter.submit(submission(&budget, 10)).unwrap());
        let mut group = Vec::new();
        intake.take(1, &mut group);
        assert_eq!(group.len(), 1, "one at least, and no more than fits");
        assert!(poll_once(first.as_mut()).await.is_pending());
        intake.settle(Ok(SegmentId(7)));
        assert_eq!(first.await, Ok(Durable { segment: SegmentId(7) }));
        assert!(poll_once(second.as_mut()).await.is_pending());
        assert_eq!(budget.used(), 20);
        group.clear();
        assert_eq!(budget.used(), 10, "the reservation goes with the group");
        intake.take(1, &mut group);
        intake.settle(Err(Lost::DiskFailed));
        assert_eq!(second.await, Err(Lost::DiskFailed));
        assert!(submitter.submit(submission(&budget, 10)).is_ok());
    });
}

#[test]
fn a_failure_is_told_to_those_it_met_and_to_nobody_else() {
    block_on(async {
        let (submitter, mut intake) = bound();
        tokio::task::spawn_local(Rc::clone(&submitter).deliver());
        let budget = ByteBudget::new(1_000);
        let receipts: Vec<_> = (0..4).map(|_| submitter.submit(submission(&budget, 10)).unwrap()).collect();
        let mut group = Vec::new();
        for outcome in [Ok(SegmentId(1)), Err(Lost::DiskFull), Err(Lost::DiskFailed), Ok(SegmentId(2))] {
            intake.take(1, &mut group);
            intake.settle(outcome);
        }
        let mut outcomes = Vec::new();
        for receipt in receipts {
            outcomes.push(receipt.await.map(|_| ()));
        }
        assert_eq!(outcomes, [Ok(()), Err(Lost::DiskFull), Err(Lost::DiskFailed), Ok(())]);
    });
}

/// Notes what it is told.
#[derive(Debug, Default)]
struct Told(RefCell<Vec<Result<(), Lost>>>);

impl Witness for Told {
    fn settled(&self, outcome: Result<(), Lost>) {
        self.0.borrow_mut().push(outcome);
    }
}

#[test]
fn a_witness_is_told_once_whoever_waits() {
    block_on(async {
        let (submitter, mut intake) = bound();
        let budget = ByteBudget::new(1_000);
        let witnesses: Vec<Rc<Told>> = (0..4).map(|_| Rc::default()).collect();
        let submit =
            |n: usize| submitter.submit_before(Rc::clone(&witnesses[n]) as _, submission(&budget, 10)).unwrap();
        let told = || witnesses.iter().map(|witness| witness.0.borrow().clone()).collect::<Vec<_>>();
        // Nobody waits for the first and the third, and the fourth is never settled by the writer.
        drop(submit(0));
        let (awaited, third) = (submit(1), submit(2));
        let mut group = Vec::new();
        for outcome in [Err(Lost::DiskFull), Err(Lost::DiskFailed)] {
            intake.take(1, &mut group);
            intake.settle(outcome);
        }
        submitter.deliver_once();
        assert_eq!(told(), [vec![Err(Lost::DiskFull)], vec![Err(Lost::DiskFailed)], vec![], vec![]]);
        assert_eq!(submitter.losses(), 1, "only what somebody may ask for is kept");
        assert_eq!(awaited.await, Err(Lost::DiskFailed));
        intake.take(1, &mut group);
        drop(third);
        intake.settle(Ok(SegmentId(1)));
        let fourth = submit(3);
        assert!(!submitter.is_idle());
        drop(intake);
        for _ in 0..2 {
            submitter.deliver_once();
        }
        let once = [Err(Lost::DiskFull), Err(Lost::DiskFailed), Ok(()), Err(Lost::Closed)];
        assert_eq!(told(), once.map(|outcome| vec![outcome]));
        drop(fourth);
        assert!(submitter.is_idle() && submitter.losses() == 0);
    });
}

proptest! {
    /// However batches are submitted, settled and forgotten, each witness is told once what its receipt would say, and
    /// nothing is kept for a receipt that is gone.
    #[test]
    fn witnesses_and_receipts_agree(steps in vec(0_u8..6, 0..200)) {
        let (submitter, mut intake) = bound();
        let budget = ByteBudget::new(10_000);
        let (mut witnesses, mut receipts, mut group) = (Vec::new(), Vec::new(), Vec::new());
        let mut context = Context::from_waker(Waker::noop());
        let settle = |intake: &mut Intake, group: &mut Vec<Submission>, outcome| {
            intake.take(usize::MAX, group);
            intake.settle(outcome);
            group.clear();
        };
        for (number, step) in steps.into_iter().enumerate() {
            match step {
                0 | 1 => {
                    let witness = Rc::<Told>::default();
                    let submitted = submitter.submit_before(Rc::clone(&witness) as _, submission(&budget, 1));
                    if let Ok(receipt) = submitted {
                        receipts.push((receipt, Rc::clone(&witness)));
                        witnesses.push(witness);
                    }
                }
                2 => settle(&mut intake, &mut group, Ok(SegmentId(1))),
                3 => settle(&mut intake, &mut group, Err(Lost::DiskFull)),
                4 => submitter.deliver_once(),
                _ if receipts.is_empty() => {}
                _ => drop(receipts.swap_remove(number % receipts.len())),
            }
        }
        drop(intake);
        submitter.deliver_once();
        prop_assert!(submitter.losses() <= receipts.len());
        for (mut receipt, witness) in receipts {
            let Poll::Ready(outcome) = pin!(&mut receipt).poll(&mut context) else { panic!("it is settled") };
            prop_assert_eq!(&*witness.0.borrow(), &[outcome.map(|_| ())]);
        }
        prop_assert!(witnesses.iter().all(|witness| witness.0.borrow().len() == 1));
        prop_assert!(submitter.is_idle() && submitter.losses() == 0);
    }
}

/// On a slow disk the lane of a worker in a flood is always full.
#[test]
fn a_lane_that_is_always_full_does_not_starve_the_others() {
    let (lanes, mut intake) = queues(2, 4);
    let [loud, quiet] = <[Unbound; 2]>::try_from(lanes).unwrap().map(Unbound::bind);
    let budget = ByteBudget::new(1_000);
    let _waiting = quiet.submit(submission(&budget, 1)).unwrap();
    let mut group = Vec::new();
    let taken = (1..=4).find(|_| {
        while loud.submit(submission(&budget, 10)).is_ok() {}
        group.clear();
        intake.take(20, &mut group);
        intake.settle(Ok(SegmentId(1)));
        loud.deliver_once();
        group.iter().any(|taken| taken.frames().map(|frame| frame.payload().len()).sum::<usize>() == 1)
    });
    assert!(taken.is_some(), "a batch waited for four groups");
}

#[test]
fn a_full_lane_gives_the_submission_back() {
    let (submitter, mut intake) = bound();
    let budget = ByteBudget::new(1_000);
    let receipts: Vec<_> = (0..4).map(|_| submitter.submit(submission(&budget, 1)).unwrap()).collect();
    assert!(!submitter.has_room());
    let Full(back) = *submitter.submit(submission(&budget, 1)).unwrap_err();
    assert_eq!(back.reservation.bytes(), 1);
    let mut group = Vec::new();
    intake.take(usize::MAX, &mut group);
    assert_eq!(group.len(), 4);
    assert!(submitter.has_room());
    drop(receipts);
}

#[test]
fn nobody_waits_for_a_writer_that_has_ended() {
    block_on(async {
        let (submitter, mut intake) = bound();
        tokio::task::spawn_local(Rc::clone(&submitter).deliver());
        let budget = ByteBudget::new(1_000);
        let taken = submitter.submit(submission(&budget, 1)).unwrap();
        let mut group = Vec::new();
        intake.take(1, &mut group);
        let queued = submitter.submit(submission(&budget, 1)).unwrap();
        let waiter = tokio::task::spawn_local(queued);
        tokio::task::yield_now().await;
        drop(intake);
        assert_eq!(taken.await, Err(Lost::Closed));
        assert_eq!(waiter.await.unwrap(), Err(Lost::Closed));
        assert!(submitter.submit(submission(&budget, 1)).is_err());
    });
}

#[test]
fn who_waits_for_stored_segments_is_told() {
    block_on(async {
        let (submitter, intake) = bound();
        tokio::task::spawn_local(Rc::clone(&submitter).deliver());
        let news = intake.stored_news();
        let waiter = Rc::clone(&submitter);
        let waiter = tokio::task::spawn_local(async move { waiter.stored(SegmentId(3)).await });
        tokio::task::yield_now().await;
        news.publish(SegmentId(3));
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
        assert!(!waiter.is_finished(), "segments before 3 are stored, 3 is not");
        news.publish(SegmentId(4));
        waiter.await.unwrap();
        submitter.stored(SegmentId(3)).await;
    });
}

/// While a sink is away nobody is woken: whoever gave up must not be remembered until it is back.
#[test]
fn who_gave_up_waiting_for_a_sink_is_forgotten() {
    struct Waiter;
    impl Wake for Waiter {
        fn wake(self: Arc<Self>) {}
    }
    let (submitter, _intake) = bound();
    let waiter = Arc::new(Waiter);
    let waker = Waker::from(Arc::clone(&waiter));
    for _ in 0..3 {
        let mut stored = pin!(submitter.stored(SegmentId(1)));
        for _ in 0..3 {
            assert!(stored.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        }
    }
    drop(waker);
    assert_eq!(Arc::strong_count(&waiter), 1);
}

#[test]
fn a_writer_thread_settles_every_ticket_of_every_lane() {
    const EACH: usize = 20_000;
    let (lanes, mut intake) = queues(2, 16);
    let (signal, stop) = (intake.signal(), intake.signal());
    let writer = std::thread::Builder::new()
        .spawn(move || {
            intake.bind();
            let (mut group, mut total) = (Vec::new(), 0);
            while !(signal.stopping() && intake.is_empty()) {
                intake.take(usize::MAX, &mut group);
                if group.is_empty() {
                    intake.sleep(Duration::from_secs(5));
                    continue;
                }
                total += group.len();
                group.clear();
                intake.settle(Ok(SegmentId(total as u64)));
            }
            total
        })
        .unwrap();
    let started = std::time::Instant::now();
    let workers: Vec<_> = lanes
        .into_iter()
        .map(|lane| {
            std::thread::Builder::new().spawn(move || {
                block_on(async move {
                    let submitter = lane.bind();
                    tokio::task::spawn_local(Rc::clone(&submitter).deliver());
                    let budget = ByteBudget::new(1_000_000);
                    let (mut sent, mut pending) = (0, VecDeque::new());
                    while sent < EACH {
                        if let Ok(receipt) = submitter.submit(submission(&budget, 8)) {
                            sent += 1;
                            pending.push_back(receipt);
                        } else {
                            let receipt: Receipt = pending.pop_front().unwrap();
                            receipt.await.unwrap();
                        }
                    }
                    for receipt in pending {
                        receipt.await.unwrap();
                    }
                });
            })
        })
        .collect();
    for worker in workers {
        worker.unwrap().join().unwrap();
    }
    stop.request_stop();
    assert_eq!(writer.join().unwrap(), 2 * EACH);
    assert!(started.elapsed() < Duration::from_secs(20), "no wake-up was missed");
}

/// In memory the writer holds a segment back for as long as the sinks have enough to do.
#[test]
fn the_writer_is_woken_when_the_sinks_have_stored_what_it_waits_for() {
    let (_lanes, intake) = queues(1, 1);
    let (signal, news) = (intake.signal(), intake.stored_news());
    let (ready, is_ready) = std::sync::mpsc::sync_channel(1);
    let writer = std::thread::Builder::new().spawn(move || {
        intake.bind();
        signal.wait_for_stored(true);
        ready.send(()).unwrap();
        let began = std::time::Instant::now();
        intake.sleep(Duration::from_mins(1));
        began.elapsed()
    });
    is_ready.recv().unwrap();
    news.publish(SegmentId(2));
    assert!(writer.unwrap().join().unwrap() < Duration::from_secs(40));
}

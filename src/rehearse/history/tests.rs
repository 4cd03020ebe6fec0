use super::*;

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn refused(millis: u64) -> Answer {
    Answer { retry_after_ms: Some(millis), ..Answer::of(429) }
}

/// Plays one try and returns what comes of it.
fn play(history: &mut History, delivery: &Delivery, answer: &Answer, what: &str, took: Duration) -> Next {
    let now = delivery.due + took;
    let next = delivery.answered(answer, now, 0.5);
    history.due(delivery);
    history.sent(delivery, delivery.due + ms(1));
    history.answered(delivery, now, answer, what, 100, &next);
    next
}

fn again(next: Next) -> Delivery {
    let Next::Again(delivery) = next else { panic!("{next:?} is no other try") };
    delivery
}

fn report(history: History) -> Report {
    history.report(Setup::default(), Generator::default(), Vec::new(), Vec::new())
}

/// Both equations of [`crate::rehearse::report`].
fn balances(totals: &Totals) {
    assert_eq!(totals.new + totals.returns, totals.sent + totals.unsent, "{totals:?}");
    let answered = totals.accepted + totals.all_refused() + totals.dropped + totals.all_failed();
    assert_eq!(totals.sent, answered, "{totals:?}");
    let batches = totals.accepted + totals.dropped + totals.given_up + totals.unsent + totals.waiting;
    assert_eq!(totals.new, batches, "{totals:?}");
}

#[test]
fn the_share_let_in_at_the_first_return_is_that_of_the_batches_refused_first() {
    let mut history = History::new();
    let delivery = |batch, behaviour| Delivery::new(batch, batch, behaviour, ms(100 * batch));
    // Of four that behave and are refused, three are let in at their first return, and one only at its second.
    for batch in 0..4 {
        let first = delivery(batch, Behaviour::Behave);
        let second = again(play(&mut history, &first, &refused(2_000), "backlog", ms(5)));
        if batch == 3 {
            let third = again(play(&mut history, &second, &refused(2_000), "backlog", ms(5)));
            assert_eq!(play(&mut history, &third, &Answer::of(200), "", ms(5)), Next::Done);
        } else {
            assert_eq!(play(&mut history, &second, &Answer::of(200), "", ms(5)), Next::Done);
        }
    }
    // One that failed first was told nothing; one that was taken at once does not return.
    let failed = again(play(&mut history, &delivery(4, Behaviour::Behave), &Answer::default(), "cut", ms(5)));
    play(&mut history, &failed, &Answer::of(200), "", ms(5));
    play(&mut history, &delivery(5, Behaviour::Behave), &Answer::of(200), "", ms(5));
    // The careless have a row of their own, and one that has not come back is in no row.
    let early = again(play(&mut history, &delivery(6, Behaviour::Careless), &refused(9_000), "backlog", ms(5)));
    let early = again(play(&mut history, &early, &refused(9_000), "memory", ms(5)));
    history.still_waiting(1);
    assert_eq!(early.try_number, 3);
    let report = report(history);
    let expected = [("behave", 4, 3), ("careless", 1, 0)];
    let expected = expected.map(|(name, returned, let_in)| (name.to_owned(), FirstReturns { returned, let_in }));
    assert_eq!(report.first_returns, BTreeMap::from(expected));
    balances(&report.totals);
    assert_eq!(report.totals.refused, BTreeMap::from([("backlog".to_owned(), 6), ("memory".to_owned(), 1)]));
    assert_eq!(report.totals.failed, BTreeMap::from([("cut".to_owned(), 1)]));
    assert_eq!(report.told.seconds, BTreeMap::from([(2, 5), (9, 2)]));
}

#[test]
fn each_second_has_what_was_due_sent_and_answered_in_it() {
    let mut history = History::new();
    let late = Delivery::new(1, 1, Behaviour::Behave, ms(1_900));
    let next = play(&mut history, &late, &refused(1_000), "backlog", ms(200));
    play(&mut history, &again(next), &Answer::of(200), "", ms(30));
    let lost = Delivery::new(2, 2, Behaviour::Behave, ms(3_500));
    history.due(&lost);
    history.unsent(ms(3_600));
    let report = report(history);
    balances(&report.totals);
    let row = |second: &Second| (second.new, second.returns, second.sent, second.accepted, second.all_refused());
    let rows: Vec<_> = report.seconds.iter().map(row).collect();
    assert_eq!(rows, [(0, 0, 0, 0, 0), (1, 0, 1, 0, 0), (0, 0, 0, 0, 1), (1, 1, 1, 1, 0)]);
    assert_eq!(report.seconds.iter().map(|second| second.unsent).collect::<Vec<_>>(), [0, 0, 0, 1]);
    assert_eq!(report.seconds[3].accepted_bytes, 100);
    assert_eq!(report.seconds[2].p50, None);
    assert!((report.seconds[3].p99.unwrap() - 0.030).abs() < 0.001, "{:?}", report.seconds[3]);
    assert!((report.generator.lag.p50 - 0.001).abs() < 1e-4, "{:?}", report.generator);
}

#[test]
fn percentiles_are_those_of_the_sorted_durations() {
    let mut durations = Durations::new(LONGEST, 3);
    assert_eq!(durations.percentiles(), Percentiles::default());
    (1..=10_000).for_each(|n| durations.record(ms(n)));
    let found = durations.percentiles();
    assert_eq!(found.count, 10_000);
    for (found, expected) in
        [(found.p50, 5.0), (found.p90, 9.0), (found.p99, 9.9), (found.p999, 9.99), (found.max, 10.0)]
    {
        assert!((found - expected).abs() < expected * 2e-3, "{found} and {expected}");
    }
    durations.record(Duration::MAX);
    assert!((durations.percentiles().max - LONGEST.as_secs_f64()).abs() < 1.0, "what is longer is the longest");
}

#[test]
fn names_and_rows_are_bounded() {
    let mut history = History::new();
    for n in 0..100 {
        let delivery = Delivery::new(n, n, Behaviour::Careless, ms(n));
        play(&mut history, &delivery, &Answer::of(429), &format!("cause {n}"), ms(1));
    }
    history.still_waiting(100);
    let far = Delivery::new(0, 100, Behaviour::Careless, Duration::from_secs(1_000_000));
    play(&mut history, &far, &Answer::of(200), "", ms(1));
    let report = report(history);
    assert_eq!(report.totals.refused.len(), MAX_NAMES + 1);
    assert_eq!(report.totals.refused[OTHER], 100 - MAX_NAMES as u64);
    assert_eq!((report.told.untold, report.told.spread.count), (100, 0));
    assert_eq!(report.seconds.len(), MAX_SECONDS);
    balances(&report.totals);
}

//! The client's table is the server's.

use logweir::{
    client::contract::{Answer, Verdict},
    http::{Action, Problem},
};

/// What the server means an SDK to do, in the client's words.
fn meant(action: Action) -> Verdict {
    match action {
        Action::Drop => Verdict::Drop,
        Action::TryHourly => Verdict::TryHourly,
        Action::RetryLater => Verdict::RetryLater,
    }
}

#[test]
fn client_and_server_agree_on_every_problem() {
    let mut seen = Vec::new();
    for problem in Problem::examples() {
        let verdict = Answer::of(problem.status().as_u16()).verdict();
        assert_eq!(verdict, meant(problem.action()), "{problem:?}");
        seen.push(verdict);
    }
    for verdict in [Verdict::Drop, Verdict::TryHourly, Verdict::RetryLater] {
        assert!(seen.contains(&verdict), "no problem asks for {verdict:?}");
    }
}

#[test]
fn client_and_server_agree_on_a_refusal() {
    use logweir::admission::{Cause, Refused, RetryAfter};

    let retry_after = RetryAfter::exactly(std::time::Duration::from_secs(7));
    let refusal = Problem::from(Refused { cause: Cause::Memory, retry_after });
    assert_eq!(Answer::of(refusal.status().as_u16()).verdict(), meant(refusal.action()));
}

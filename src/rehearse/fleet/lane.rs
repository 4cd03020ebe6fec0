//! A lane: a task with a connection of its own, which sends one try after the other.

use std::rc::Rc;

use tokio::time::timeout;

use super::{ANSWER_PATIENCE, Fleet};
use crate::{
    client::contract::Answer,
    rehearse::{
        device::Delivery,
        line::{Line, NoReply},
        schedule::Outcome,
    },
};

/// The longest answer, in bytes.
const MAX_ANSWER: usize = 256 * 1024;

impl Fleet {
    /// A lane: sends one try after the other until the fleet closes.
    pub(super) async fn lane(self: Rc<Self>) {
        let mut line = Line::to(self.template.address);
        let mut head = Vec::new();
        while let Some(delivery) = self.next().await {
            self.attempt(&mut line, &delivery, &mut head).await;
        }
        self.lanes.set(self.lanes.get() - 1);
        if self.lanes.get() == 0 {
            self.ended.notify_one();
        }
    }

    /// The next try to send; `None` when the fleet closes.
    async fn next(&self) -> Option<Delivery> {
        loop {
            if self.closing.get() {
                return None;
            }
            let now = self.now();
            let next = self.schedule.borrow_mut().take(now);
            if next.is_some() {
                return next;
            }
            self.idle.set(self.idle.get() + 1);
            self.due.notified().await;
            self.idle.set(self.idle.get() - 1);
        }
    }

    /// Sends one try, its head written into `head`, and records what comes of it.
    async fn attempt(&self, line: &mut Line, delivery: &Delivery, head: &mut Vec<u8>) {
        let taken = self.now();
        let mut sent = false;
        let exchange = async {
            line.open().await?;
            let body = self.template.write(delivery, head);
            self.schedule.borrow_mut().sent(delivery, taken);
            sent = true;
            line.exchange(head, &body, MAX_ANSWER).await.map(|reply| (reply, body.len() as u64))
        };
        let result = tokio::select! {
            biased;
            result = timeout(ANSWER_PATIENCE, exchange) => result.map_err(|_| "no answer in time"),
            () = self.cut.notified() => Err("unanswered at the end"),
        };
        let now = self.now();
        let mut schedule = self.schedule.borrow_mut();
        if result.is_err() {
            line.close();
        }
        if matches!(result, Ok(Err(NoReply::NoSocket))) && !sent {
            schedule.unsent(now);
            return;
        }
        if !sent {
            // It was sent as far as the generator is concerned: there was nobody to take it.
            schedule.sent(delivery, taken);
        }
        match result {
            Ok(Ok((reply, bytes))) => {
                let (answer, what) = reply.read();
                schedule.answered(delivery, &Outcome { answer, what: &what, bytes }, now);
            }
            Ok(Err(no_reply)) => schedule.answered(delivery, &Outcome::nothing(no_reply.name()), now),
            Err(what) => schedule.answered(delivery, &Outcome::nothing(what), now),
        }
        if schedule.next_due().is_some_and(|due| due < self.sleeps_until.get()) {
            self.sooner.notify_one();
        }
    }
}

impl Outcome<'static> {
    /// No answer, for this reason.
    fn nothing(what: &'static str) -> Self {
        Self { answer: Answer::default(), what, bytes: 0 }
    }
}

//! What operations people may change while the server runs: who may send, and what; who is muted; what SDKs are told.

use std::{
    cell::RefCell,
    collections::HashSet,
    rc::Rc,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use http::{HeaderName, HeaderValue};

use super::{Keyring, respond::Answer};
use crate::admission::{Moment, Mute};

const SEND_INTERVAL: HeaderName = HeaderName::from_static("logweir-send-interval");
const SAMPLING: HeaderName = HeaderName::from_static("logweir-sampling");

/// The most keys whose requests are counted by their names while a process runs: a series once shown is shown until its end,
/// whatever became of the key. Twice as many as one list of keys may have.
const MAX_KEY_SERIES: usize = 20_000;
/// What the requests of further keys are counted under. No key has such a name.
const OTHER_KEYS: &str = "(others)";

/// What may be changed while the server runs. It is replaced as a whole.
#[derive(Debug, Default)]
pub struct Policy {
    /// Who may send, and what each key may send.
    pub keys: Keyring,
    /// Who is muted; the first that matches decides for how long.
    pub mutes: Vec<Mute>,
    /// What SDKs are told.
    pub hints: Hints,
}

impl Policy {
    /// Lets each quota learn how much comes. To be called several times a second, by one thread.
    pub fn learn_arrivals(&self, now: Moment) {
        self.keys.keys().filter_map(|key| key.quota.as_deref()).for_each(|quota| quota.learn(now));
    }
}

/// What SDKs are told with each answer to a request to store a batch, and when their connection is refused: nothing by
/// default. Answers for others, and to a head that never came as a whole, are without.
#[derive(Debug, Default)]
pub struct Hints {
    send_interval: Option<HeaderValue>,
    sampling: Option<HeaderValue>,
}

impl Hints {
    /// To let at least `send_interval` seconds pass between two batches, and to keep the part `sampling` of the events.
    pub fn new(send_interval: Option<u64>, sampling: Option<f64>) -> Self {
        Self {
            send_interval: send_interval.map(HeaderValue::from),
            // A number has no character that a header could not carry.
            sampling: sampling.and_then(|part| HeaderValue::from_str(&part.to_string()).ok()),
        }
    }

    /// Tells them in `answer`.
    pub(super) fn tell(&self, answer: &mut Answer) {
        for (name, hint) in self.headers() {
            answer.headers_mut().insert(name, hint.clone());
        }
    }

    /// They as lines of a head that is written by hand.
    pub(super) fn lines(&self) -> String {
        let line = |(name, hint): (HeaderName, &HeaderValue)| Some(format!("{name}: {}\r\n", hint.to_str().ok()?));
        self.headers().filter_map(line).collect()
    }

    fn headers(&self) -> impl Iterator<Item = (HeaderName, &HeaderValue)> {
        let hints = [(SEND_INTERVAL, &self.send_interval), (SAMPLING, &self.sampling)];
        hints.into_iter().filter_map(|(name, hint)| Some((name, hint.as_ref()?)))
    }
}

/// The policy in force. Workers look at one atomic number for each request, and at the policy itself when that has
/// changed; and then at the streams too, which are declared anew before the policy is replaced. So a request is served
/// by the keys and the streams of one configuration.
#[derive(Debug, Default)]
pub struct Policies {
    version: AtomicU64,
    current: Mutex<Arc<Policy>>,
    /// The keys whose requests are counted by their names, whether or not they are still there.
    counted: Mutex<HashSet<String>>,
}

impl Policies {
    /// With `policy` in force.
    pub fn new(policy: Policy) -> Self {
        Self { version: AtomicU64::new(0), current: Mutex::new(Arc::new(policy)), counted: Mutex::default() }
    }

    /// Puts `policy` in force: for every request that comes from now on.
    pub fn replace(&self, policy: Policy) {
        *self.current.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(policy);
        self.version.fetch_add(1, Ordering::Release);
    }

    /// What the requests of the key called `name` are counted under. To be asked once for each key of a policy.
    pub(super) fn series<'n>(&self, name: &'n str) -> &'n str {
        let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        if counted.contains(name) {
            return name;
        }
        if counted.len() == MAX_KEY_SERIES {
            return OTHER_KEYS;
        }
        counted.insert(name.to_owned());
        name
    }

    /// The policy in force.
    pub fn current(&self) -> Arc<Policy> {
        Arc::clone(&self.current.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The policy in force as one worker holds it. Each request holds it while it is served; counting those must not be
/// what workers wait for each other for, so that the count is the worker's own.
pub(super) type InForce = Rc<Arc<Policy>>;

/// The policy as one worker last saw it.
#[derive(Debug)]
pub(super) struct Seen(RefCell<(u64, InForce)>);

impl Seen {
    pub(super) fn new(policies: &Policies) -> Self {
        let version = policies.version.load(Ordering::Acquire);
        Self(RefCell::new((version, Rc::new(policies.current()))))
    }

    /// The policy in force, and whether it is another one than at the last look.
    pub(super) fn look(&self, policies: &Policies) -> (InForce, bool) {
        let version = policies.version.load(Ordering::Acquire);
        let mut seen = self.0.borrow_mut();
        let is_new = seen.0 != version;
        if is_new {
            *seen = (version, Rc::new(policies.current()));
        }
        (Rc::clone(&seen.1), is_new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_keys_are_counted_by_name_than_there_may_be_series() {
        let policies = Policies::default();
        for number in 0..MAX_KEY_SERIES {
            let name = number.to_string();
            assert_eq!(policies.series(&name), name);
        }
        assert_eq!((policies.series("one more"), policies.series("two more")), (OTHER_KEYS, OTHER_KEYS));
        assert_eq!(policies.series("7"), "7", "one that is counted is counted on");
    }

    #[test]
    fn a_worker_sees_a_new_policy_with_its_next_request() {
        let policies = Policies::default();
        let seen = Seen::new(&policies);
        let (first, _) = seen.look(&policies);
        let (again, is_new) = seen.look(&policies);
        assert!(Rc::ptr_eq(&first, &again) && !is_new, "nothing is made anew while nothing changes");
        policies.replace(Policy { mutes: vec![Mute::default()], ..Policy::default() });
        let (second, is_new) = seen.look(&policies);
        assert_eq!((second.mutes.len(), is_new, seen.look(&policies).1), (1, true, false));
        assert!(first.mutes.is_empty(), "what is being served is served as it began");
    }
}

//! The hot route: `POST /v1/logs/{stream}`.
//!
//! Admit, read, decode, validate, submit, wait for the receipt, answer. Everything between the body's last byte and the
//! submission is done in one go on the worker's thread.

use std::{rc::Rc, sync::Arc};

use http::{
    HeaderMap, HeaderValue, Method, Request, StatusCode,
    header::{CONNECTION, CONTENT_ENCODING, CONTENT_TYPE, EXPECT, ORIGIN},
};
use hyper::body::{Body as _, Incoming};
use tokio::time::sleep;
use xxhash_rust::xxh3::xxh3_64;

use super::{
    Problem,
    auth::Key,
    body::{self, RawBody},
    decode::Encoding,
    outcome::{Books, Outcome, Tally},
    policy::Policy,
    problem::Stopped,
    respond::{self, Answer},
    worker::{INGEST_PREFIX, Target, WorkerState},
};
use crate::{
    admission::{Asked, Cause, Flow, Moment, Quota, Refused, Reservation, STEP_BYTES, Sender, Signals, muted},
    batch::{BatchId, Book, Frame, FrameBuilder, Millis, StreamName},
    queue::{Durable, Lost, Receipt, Submission, Witness},
    schema::Ack,
    validate::{Batch, Format, Output, Room, SentAt, Validated},
};

/// What the lines of a batch are believed to take beyond what those of its stream usually make of a body, in bytes: more
/// than the last line's place must have before it is written.
const LINES_HEADROOM: usize = 1_024;

/// What a request's head says.
struct Head {
    key: Arc<Key>,
    flow: Flow,
    target: Target,
    format: Format,
    encoding: Encoding,
    idempotency_key: Option<BatchId>,
    sent_at: SentAt,
}

/// Answers a request to store a batch into the stream that its path names behind [`INGEST_PREFIX`].
pub(super) async fn ingest(worker: &Rc<WorkerState>, request: Request<Incoming>) -> Answer {
    let began = worker.strain.now().into_std();
    let tally = Tally::new(&worker.counts);
    let (parts, mut incoming) = request.into_parts();
    let stream = parts.uri.path().strip_prefix(INGEST_PREFIX).unwrap_or_default();
    let mut offer = Offer::new(worker);
    let policy = worker.policy();
    // The preflight lets a page send its key in a header too.
    let from_page = parts.uri.query().is_some_and(|query| query.contains("key="))
        || parts.headers.contains_key(ORIGIN) && policy.keys.has_browser_keys();
    let now = worker.service.moment(began);
    let result = match head(worker, &policy, stream, &parts.method, &parts.headers, parts.uri.query()) {
        Ok(head) => take(worker, &head, now, &mut incoming, &mut offer).await,
        Err(problem) => Err(Stopped::Problem(problem)),
    };
    let mut response = match result {
        Ok((outcome, response)) => {
            worker.counts.seconds.record(began.elapsed().as_secs_f64());
            tally.tell(outcome);
            response
        }
        Err(stopped) => {
            let problem = match stopped {
                Stopped::Problem(problem) => problem,
                Stopped::NoMemory => worker.refuse(Cause::Memory, offer.bytes()),
                Stopped::Gone => {
                    tally.tell(Outcome::Gone);
                    Problem::IncompleteBody
                }
            };
            tell(worker, &tally, &problem, &mut offer);
            let at_end = match problem {
                Problem::IncompleteBody => false,
                // Reading the body would invite it, where the client asks first.
                _ if parts.headers.contains_key(EXPECT) => incoming.is_end_stream(),
                _ => worker.strain.refusing(body::drain(&mut incoming, worker.service.body.rest())).await,
            };
            worker.strain.refuse();
            let mut response = respond::problem(&problem);
            if !at_end {
                // hyper closes the connection then; who is not told may send the next request into it.
                response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            response
        }
    };
    policy.hints.tell(&mut response);
    if from_page {
        respond::allow_origin(&mut response);
    }
    response
}

/// The bytes that a request offers, for the demand: counted once its head and its size are found good, since anybody can
/// announce a large body. One of unknown length counts as it was read, or if it was refused before, as a typical one.
struct Offer<'w> {
    worker: &'w WorkerState,
    state: Offered,
}

/// What is known of an offer.
#[derive(Clone, Copy)]
enum Offered {
    /// It is none, or it was counted as taken.
    Nothing,
    /// A body of unknown length may come.
    Unknown,
    /// A body of this length, in bytes, which is counted as offered.
    Known(u64),
}

impl<'w> Offer<'w> {
    fn new(worker: &'w WorkerState) -> Self {
        Self { worker, state: Offered::Nothing }
    }

    /// Bytes that it comes with, as far as they are known.
    fn bytes(&self) -> u64 {
        match self.state {
            Offered::Nothing => 0,
            Offered::Unknown => self.worker.service.demand.typical(),
            Offered::Known(bytes) => bytes,
        }
    }

    /// A body may come.
    fn open(&mut self, told: Option<u64>) {
        match told {
            Some(bytes) => self.count(bytes),
            None => self.state = Offered::Unknown,
        }
    }

    /// The body has come.
    fn read(&mut self, bytes: u64) {
        if let Offered::Unknown = self.state {
            self.count(bytes);
        }
    }

    /// The batch was submitted as so many bytes of `lines`.
    fn taken(&mut self, lines: u64) {
        if let Offered::Known(bytes) = self.state {
            self.worker.service.demand.take(bytes, lines);
        }
        self.state = Offered::Nothing;
    }

    /// The request was refused with 429.
    fn refused(&mut self) {
        if let Offered::Unknown = self.state {
            self.count(self.bytes());
        }
        if let Offered::Known(bytes) = self.state {
            self.worker.service.demand.refuse(bytes);
        }
        self.state = Offered::Nothing;
    }

    fn count(&mut self, bytes: u64) {
        self.worker.counts.offered_bytes.increment(bytes);
        self.state = Offered::Known(bytes);
    }
}

fn tell(worker: &WorkerState, tally: &Tally<'_>, problem: &Problem, offer: &mut Offer<'_>) {
    tally.tell(Outcome::Problem(problem.name()));
    if let Problem::Refused(Refused { cause, .. }) = problem {
        worker.counts.refusal(*cause);
        // Another instance would not mend an outage of the sinks, nor a limit.
        if !matches!(cause, Cause::Disk | Cause::Streams) {
            offer.refused();
        }
    }
    // A batch that was not stored is the outage of a sink, of which the sink tells: not each request of it.
    if problem.status().is_server_error() && !matches!(problem, Problem::NotStored { .. }) {
        tracing::error!(problem = problem.name(), "a request could not be served");
    } else {
        tracing::debug!(problem = problem.name(), "a request was not taken");
    }
}

/// Everything that the head of a request decides, in the order of [`admission`](crate::admission)'s documentation.
fn head(
    worker: &WorkerState,
    policy: &Policy,
    stream: &str,
    method: &Method,
    headers: &HeaderMap,
    query: Option<&str>,
) -> Result<Head, Problem> {
    if method != Method::POST {
        return Err(Problem::MethodNotAllowed);
    }
    if worker.submitter.is_closed() {
        return Err(closed(worker));
    }
    let key = policy.keys.find(headers, query)?;
    worker.counts.key(&key, &worker.service.policies);
    if !StreamName::is_valid(stream) {
        return Err(Problem::InvalidStreamName);
    }
    if !key.allows(stream) {
        return Err(Problem::StreamNotAllowed);
    }
    let device = headers.get("x-device-id").map(|id| xxh3_64(id.as_bytes()));
    let sdk = headers.get("x-sdk-version").map(HeaderValue::as_bytes);
    if !policy.mutes.is_empty()
        && let Some(retry_after) = muted(&policy.mutes, Sender { key: &key.name, stream, sdk, device }, worker.chance())
    {
        return Err(Refused { cause: Cause::Mute, retry_after }.into());
    }
    // Of a key: nobody makes the device of another one look loud.
    let of_key = |hash: u64| hash ^ xxh3_64(key.name.as_bytes());
    let flow = Flow { release: of_key(xxh3_64(sdk.unwrap_or_default())), device: device.map(of_key) };
    let target = match worker.known(stream) {
        Some(known) => known,
        None => worker.target(&StreamName::new(stream).map_err(|_| Problem::InvalidStreamName)?)?,
    };
    let format = headers.get(CONTENT_TYPE).and_then(format).ok_or(Problem::UnsupportedContentType)?;
    let encoding = match headers.get(CONTENT_ENCODING) {
        None => Encoding::Identity,
        Some(value) => Encoding::parse(value.as_bytes()).ok_or(Problem::UnsupportedEncoding)?,
    };
    let idempotency_key = headers.get("idempotency-key").map(idempotency_key).transpose()?;
    let sent_at = headers
        .get("x-sent-at")
        .map_or(SentAt::Absent, |value| SentAt::from(value.to_str().ok().and_then(|text| Millis::parse(text.trim()))));
    Ok(Head { key, flow, target, format, encoding, idempotency_key, sent_at })
}

/// The format that a Content-Type names; its parameters do not matter, since JSON is UTF-8.
fn format(content_type: &HeaderValue) -> Option<Format> {
    let essence = content_type.as_bytes().split(|byte| *byte == b';').next()?.trim_ascii();
    if essence.eq_ignore_ascii_case(b"application/json") {
        Some(Format::Json)
    } else if essence.eq_ignore_ascii_case(b"application/x-ndjson") {
        Some(Format::Lines)
    } else {
        None
    }
}

/// The header's value is a string with or without its quotes.
fn idempotency_key(value: &HeaderValue) -> Result<BatchId, Problem> {
    let text = std::str::from_utf8(value.as_bytes()).map_err(|_| Problem::InvalidIdempotencyKey)?.trim();
    let bare = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text);
    BatchId::new(bare).map_err(|_| Problem::InvalidIdempotencyKey)
}

/// Takes the batch: reads, encodes, makes durable.
async fn take(
    worker: &Rc<WorkerState>,
    head: &Head,
    now: Moment,
    incoming: &mut Incoming,
    offer: &mut Offer<'_>,
) -> Result<(Outcome, Answer), Stopped> {
    let quota = head.key.quota.as_deref();
    let mut reservation = admit(worker, head, (quota, now), incoming, offer)?;
    let limits = worker.service.body;
    let raw = body::read(incoming, limits.encoded, limits.pace(), &mut reservation).await?;
    reservation.arrive();
    worker.counts.body_bytes.increment(raw.bytes().len() as u64);
    offer.read(raw.bytes().len() as u64);
    let mut content = Content { bytes: raw.bytes().len(), events: 0 };
    let encoded = encode(worker, head, raw, reservation, &mut content);
    if let Some(quota) = quota {
        quota.charge_content(now, content.bytes, content.events);
    }
    let (validated, submission, room) = encoded?;
    if let Some(skew) = validated.skew {
        worker.counts.skew(skew);
    }
    let route = worker.route(&head.target)?;
    let books = Books::new(&worker.counts, &route, validated, room);
    let lines = submission.frames().map(|frame| frame.bytes().len() as u64).sum();
    let receipt = submit(worker, &books, submission, offer)?;
    offer.taken(lines);
    let wanted = worker.service.ack(route.stream.ack);
    let ack = match wanted {
        Ack::Memory => {
            drop(receipt);
            Ack::Memory
        }
        Ack::Spooled | Ack::Stored => {
            let durable = receipt.await.map_err(|lost| lost_problem(worker, lost))?;
            if wanted == Ack::Stored && stored_in_time(worker, durable).await {
                Ack::Stored
            } else if worker.service.keeps {
                Ack::Spooled
            } else {
                return Err(not_stored(worker).into());
            }
        }
    };
    let (outcome, status) = if books.validated.accepted == 0 {
        (Outcome::AllRejected, StatusCode::UNPROCESSABLE_ENTITY)
    } else if ack == wanted {
        (Outcome::Accepted, StatusCode::OK)
    } else {
        (Outcome::Pending, StatusCode::ACCEPTED)
    };
    Ok((outcome, respond::taken(status, ack, &books.validated, books.room.take())))
}

/// Whether the body may come, by what its Content-Length says.
fn admit(
    worker: &WorkerState,
    head: &Head,
    (quota, now): (Option<&Quota>, Moment),
    incoming: &Incoming,
    offer: &mut Offer<'_>,
) -> Result<Reservation, Problem> {
    let limit = worker.service.body.encoded;
    let told = incoming.size_hint().exact();
    if told.is_some_and(|len| len > limit as u64) {
        return Err(Problem::BodyTooLarge { limit });
    }
    let published = worker.submitter.published();
    if published.disk_failed() {
        return Err(Problem::DiskFailed);
    }
    let signals = Signals {
        spool_bytes: published.spool_bytes(),
        disk_full: published.disk_full(),
        queue_full: !worker.submitter.has_room(),
        lag: worker.strain.lag(),
    };
    let asked = Asked {
        reserve: told.map_or(STEP_BYTES, |len| len as usize),
        bytes: told.unwrap_or_else(|| worker.service.demand.typical()),
        priority: head.target.stream().priority,
        flow: head.flow,
        quota,
    };
    let admitted = worker.service.gate.admit(&mut worker.fair.borrow_mut(), &asked, signals, now, worker.chance());
    // What a key may not send is offered to nobody, and is no reason for another instance.
    if !matches!(admitted, Err(Refused { cause: Cause::Quota, .. })) {
        offer.open(told);
    }
    Ok(admitted?)
}

/// What a body turned out to hold, for the quota of its key.
struct Content {
    /// Bytes decoded, or as they came if they could not be.
    bytes: usize,
    /// Events, if it could be parsed.
    events: u64,
}

/// Lets validation write as far as the reservation can grow.
struct Reserved<'a>(&'a mut Reservation);

impl Room for Reserved<'_> {
    fn grant(&mut self, bytes: usize) -> bool {
        self.0.grow(bytes).is_ok()
    }

    fn give_back(&mut self, bytes: usize) {
        self.0.shrink_to(self.0.bytes().saturating_sub(bytes));
    }
}

/// Decodes and validates: the body becomes frames, and the reservation becomes theirs. The last is what the answer
/// holds.
fn encode(
    worker: &WorkerState,
    head: &Head,
    raw: RawBody,
    mut reservation: Reservation,
    content: &mut Content,
) -> Result<(Validated, Submission, Option<Reservation>), Stopped> {
    let limits = worker.service.body;
    let decoded;
    let body = if head.encoding == Encoding::Identity {
        raw.bytes()
    } else {
        let caps = (limits.decoded, limits.ratio);
        let encoded_len = raw.bytes().len();
        decoded = worker.decoders.borrow_mut().decode(head.encoding, raw.bytes(), caps, &mut reservation)?;
        drop(raw);
        reservation.shrink_to(reservation.bytes() - encoded_len);
        &decoded
    };
    content.bytes = body.len();
    let received_at = worker.service.clock.now();
    let batch = Batch {
        body,
        format: head.format,
        stream: head.target.stream(),
        key_name: &head.key.name,
        idempotency_key: head.idempotency_key.as_ref(),
        sent_at: head.sent_at,
        received_at,
        nonce: worker.nonces.borrow_mut().next_nonce(),
    };
    // Lines beyond the limit are refused, so that no memory is asked for to write them.
    let growth = head.target.growth();
    let expected = growth.lines_of(body.len()).min(worker.service.limits.output_bytes) + LINES_HEADROOM;
    // What is expected is no reason to refuse what may fit.
    let room = if reservation.grow(expected).is_ok() {
        expected
    } else {
        reservation.grow(LINES_HEADROOM)?;
        LINES_HEADROOM
    };
    let name = &batch.stream.name;
    let mut accepted = FrameBuilder::new(name.clone(), Book::Accepted, room);
    let mut rejected = FrameBuilder::new(name.clone(), Book::Rejected, 0);
    let before = accepted.lines().len();
    let mut output =
        Output { accepted: accepted.lines(), rejected: rejected.lines(), room: &mut Reserved(&mut reservation) };
    let mut validator = worker.validator.borrow_mut();
    let validated = validator.validate(&batch, &mut output);
    if matches!(head.target, Target::New(..)) {
        // It may come to nothing, and its keys must not take the place of those of streams that there are.
        validator.forget(batch.stream.schema.id());
    }
    let mut validated = validated?;
    growth.learn(body.len(), accepted.lines().len().saturating_sub(before));
    content.events = u64::from(validated.accepted) + u64::from(validated.rejected.total());
    let (first, last) = validated.event_times.unwrap_or((received_at, received_at));
    let submission = Submission {
        accepted: accepted.finish(validated.accepted, received_at, first, last),
        rejected: rejected.finish(validated.rejected.total(), received_at, received_at, received_at),
        reservation,
    };
    let submission = settle_reservation(submission);
    let room = room_to_list(worker, &mut validated);
    Ok((validated, submission, room))
}

/// What the list of rejections and its answer take of the budget, if any were rejected. A batch is not refused for
/// want of that: the list is left out then.
fn room_to_list(worker: &WorkerState, validated: &mut Validated) -> Option<Reservation> {
    if validated.rejected.listed().is_empty() {
        return None;
    }
    let room = worker.service.gate.budget().reserve(respond::bytes_to_list(&validated.rejected)).ok();
    if room.is_none() {
        validated.rejected.unlist();
    }
    room
}

/// From here on the frames are all that the batch holds.
fn settle_reservation(mut submission: Submission) -> Submission {
    let held = submission.frames().map(Frame::capacity).sum();
    submission.reservation.shrink_to(held);
    submission
}

fn submit(
    worker: &WorkerState,
    books: &Rc<Books>,
    submission: Submission,
    offer: &Offer<'_>,
) -> Result<Receipt, Problem> {
    let witness: Rc<dyn Witness> = Rc::<Books>::clone(books);
    worker.submitter.submit_before(witness, submission).map_err(|_| {
        books.refused();
        if worker.submitter.is_closed() {
            return closed(worker);
        }
        worker.refuse(Cause::Queue, offer.bytes())
    })
}

/// The writer has ended: with the instance, or because it panicked.
fn closed(worker: &WorkerState) -> Problem {
    if worker.service.health.draining() { Problem::Draining } else { Problem::DiskFailed }
}

fn lost_problem(worker: &WorkerState, lost: Lost) -> Problem {
    match lost {
        Lost::DiskFull => worker.refuse(Cause::Disk, 0),
        Lost::DiskFailed => Problem::DiskFailed,
        Lost::Closed => closed(worker),
    }
}

/// Nothing here keeps the batch, and the sinks do not have it yet. Its events are in the books as accepted, and may still
/// come: the client's next attempt gives them the same ids.
fn not_stored(worker: &WorkerState) -> Problem {
    let refused = worker.service.gate.refuse(Cause::Disk, 0, worker.now(), worker.chance());
    Problem::NotStored { retry_after: refused.retry_after }
}

/// Whether the required sinks have the batch before the answer must be given.
async fn stored_in_time(worker: &WorkerState, durable: Durable) -> bool {
    worker.submitter.request_seal();
    tokio::select! {
        biased;
        () = worker.submitter.stored(durable.segment) => true,
        () = sleep(worker.service.stored_timeout) => false,
        () = worker.last_moment() => false,
    }
}

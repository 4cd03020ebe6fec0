//! A Firehose server in this process, with faults on demand.
//!
//! It listens on loopback in a thread of its own, so that tests without a runtime can use it, and speaks `PutRecordBatch` of
//! the JSON 1.1 protocol. It holds calls to the real limits: 500 records, 1,000 KiB a record before base64, 4 MiB a call, which
//! it takes for the whole body. What arrives it keeps in memory. A script says which calls meet which [`Fault`], the n-th
//! call the n-th; what no script takes may meet one at random, or always the same. It ends, with its connections, when it is
//! dropped. Connections are limited to [`MAX_CONNECTIONS`], silence to [`SILENCE`].

#![allow(dead_code, reason = "not every crate of tests asks for everything")]

use std::{
    borrow::Cow,
    collections::VecDeque,
    fmt,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, mpsc},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{Method, Request, Response, request::Parts};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use socket2::{SockRef, Socket};
use tokio::{net::TcpListener, sync::watch, task::JoinSet, time::sleep};

/// The most records of a call.
pub(crate) const MAX_RECORDS: usize = 500;
/// The longest record, before base64.
pub(crate) const MAX_RECORD_BYTES: usize = 1_024_000;
/// The longest body of a call.
pub(crate) const MAX_BODY_BYTES: usize = 4 << 20;

const MAX_CONNECTIONS: usize = 64;
const SILENCE: Duration = Duration::from_mins(1);
/// How long something that has to happen may take.
const PATIENCE: Duration = Duration::from_mins(1);
/// What every record is billed as a multiple of.
const BILLED_BYTES: usize = 5 << 10;
const TARGET: &str = "Firehose_20150804.PutRecordBatch";

/// What a call meets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Nothing: it is taken.
    None,
    /// The records at these positions fail with these codes; the others are taken.
    Partly(Vec<(usize, &'static str)>),
    /// Each record fails with this code as often as this many in a hundred, as their order has it; the others are taken.
    PartlyAtRandom(u8, &'static str),
    /// It has no effect and is answered with this status and AWS's code.
    Refuse(u16, &'static str),
    /// The same, and the answer asks to be left alone for so many seconds.
    RefuseFor(u16, &'static str, u64),
    /// It has no effect and is answered with this status and nothing else, as by a balancer.
    Bare(u16),
    /// It has effect and is answered with this status and nothing else.
    TakeAndBare(u16),
    /// It has no effect and gets no answer.
    Hang,
    /// It has effect and gets no answer.
    TakeAndHang,
    /// It has no effect; the connection is reset before the body is read.
    CutEarly,
    /// It has no effect; the connection is reset instead of an answer.
    Cut,
    /// It has effect; the connection is reset instead of an answer.
    TakeAndCut,
    /// Its body is read at so many bytes a second, and taken.
    Slow(usize),
    /// It is taken, and answered so much later.
    Delay(Duration),
    /// It is taken, and answered with 200 and this body.
    TakeAndSay(&'static str),
}

impl Fault {
    /// Every record fails as it does when a delivery stream is over its quota.
    pub(crate) const THROTTLED: Self = Self::PartlyAtRandom(100, "ServiceUnavailableException");
    /// The call fails as it does when a delivery stream is over its quota.
    pub(crate) const UNAVAILABLE: Self = Self::Refuse(503, "ServiceUnavailableException");

    /// Whether whoever called cannot know what became of the call.
    pub(crate) fn is_ambiguous(&self) -> bool {
        match self {
            Self::Bare(status) | Self::TakeAndBare(status) => *status >= 500,
            Self::Refuse(status, code) | Self::RefuseFor(status, code, _) => {
                *status >= 500 && !code.starts_with("ServiceUnavailable")
            }
            Self::Hang | Self::TakeAndHang | Self::Cut | Self::CutEarly | Self::TakeAndCut | Self::TakeAndSay(_) => {
                true
            }
            Self::None | Self::Partly(_) | Self::PartlyAtRandom(..) | Self::Slow(_) | Self::Delay(_) => false,
        }
    }

    /// Whether the call is taken, as far as it is within the limits.
    fn takes(&self) -> bool {
        !matches!(
            self,
            Self::Refuse(..) | Self::RefuseFor(..) | Self::Bare(_) | Self::Hang | Self::Cut | Self::CutEarly
        )
    }
}

/// What a call meets, and how likely it is, from 0 to 1.
pub(crate) type Chance = (f64, Fault);

/// What is known of Firehose on a bad day. All together are well below 1.
pub(crate) fn bad_day() -> Vec<Chance> {
    vec![
        (0.15, Fault::PartlyAtRandom(40, "ServiceUnavailableException")),
        (0.05, Fault::PartlyAtRandom(40, "InternalFailure")),
        (0.08, Fault::UNAVAILABLE),
        (0.04, Fault::Refuse(400, "ThrottlingException")),
        (0.03, Fault::Refuse(400, "ExpiredTokenException")),
        (0.04, Fault::Refuse(500, "InternalFailure")),
        (0.04, Fault::Bare(502)),
        (0.04, Fault::TakeAndBare(504)),
        (0.04, Fault::Cut),
        (0.06, Fault::TakeAndCut),
        (0.04, Fault::TakeAndSay("{\"FailedPutCount\":0,\"RequestResponses\":[]}")),
    ]
}

/// A call that came.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    /// When its body had been read.
    pub(crate) at: Instant,
    /// The delivery stream that it names; empty if it was cut before that.
    pub(crate) delivery_stream: String,
    /// Its records, and whether each was taken.
    pub(crate) records: Vec<(Bytes, bool)>,
    /// The length of its body in bytes.
    pub(crate) body_bytes: usize,
    /// What it met.
    pub(crate) fault: Fault,
    /// The code of the error that it was answered with, if it broke a limit.
    pub(crate) refused: Option<&'static str>,
    /// The headers `authorization`, `content-type` and `user-agent`.
    pub(crate) headers: [String; 3],
}

/// What arrived in all, which is counted also where nothing is kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    /// Calls of which something was taken.
    pub(crate) calls: u64,
    /// Records that were taken.
    pub(crate) records: u64,
    /// Their bytes, before base64.
    pub(crate) bytes: u64,
    /// Their bytes as they are billed: each record rounded up to 5 KiB.
    pub(crate) billed_bytes: u64,
    /// Line feeds in them, and records without one.
    pub(crate) lines: u64,
}

/// The server.
pub(crate) struct FirehoseServer {
    address: SocketAddr,
    state: Arc<State>,
    /// Whether connections are accepted; without a sender the server ends.
    open: Option<watch::Sender<bool>>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct State {
    script: Mutex<VecDeque<Fault>>,
    random: Mutex<Option<(fastrand::Rng, Vec<Chance>)>>,
    always: Mutex<Option<Fault>>,
    /// The delivery streams that there are; all, if that is not said.
    known: Mutex<Option<Vec<String>>>,
    calls: Mutex<Vec<Call>>,
    totals: Mutex<Totals>,
    /// Only totals are kept.
    counting: bool,
}

/// The connection is to be cut without an answer.
#[derive(Debug)]
struct Cut;

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("cut")
    }
}

impl std::error::Error for Cut {}

impl FirehoseServer {
    /// Starts one on a free port of 127.0.0.1, whose n-th call meets the n-th fault of `script`; those behind it are taken.
    pub(crate) fn start(script: impl IntoIterator<Item = Fault>) -> Self {
        Self::with(State { script: Mutex::new(script.into_iter().collect()), ..State::default() })
    }

    /// Starts one that keeps nothing but [`Totals`].
    pub(crate) fn start_counting() -> Self {
        Self::with(State { counting: true, ..State::default() })
    }

    fn with(state: State) -> Self {
        let state = Arc::new(state);
        let (open, opened) = watch::channel(true);
        let (tell, told) = mpsc::sync_channel(1);
        let served = Arc::clone(&state);
        let thread = thread::Builder::new().name("firehose-server".into()).spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(serve(opened, served, &tell));
        });
        Self { address: told.recv().unwrap(), state, open: Some(open), thread: Some(thread.unwrap()) }
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where it listens, as an endpoint.
    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The next call that no earlier fault waits for meets `fault`.
    pub(crate) fn fault(&self, fault: Fault) {
        lock(&self.state.script).push_back(fault);
    }

    /// How many faults of the script have not been met yet.
    pub(crate) fn faults_left(&self) -> usize {
        lock(&self.state.script).len()
    }

    /// From now on calls may meet one of `chances`, as numbers from `seed` have it; with none, nothing does.
    pub(crate) fn fault_at_random(&self, seed: u64, chances: Vec<Chance>) {
        *lock(&self.state.random) = Some((fastrand::Rng::with_seed(seed), chances));
    }

    /// From now on every call that the script has nothing for meets `fault`.
    pub(crate) fn fault_always(&self, fault: Fault) {
        *lock(&self.state.always) = Some(fault);
    }

    /// From now on only these delivery streams are there.
    pub(crate) fn know_only(&self, delivery_streams: &[&str]) {
        *lock(&self.state.known) = Some(delivery_streams.iter().map(|&name| name.to_owned()).collect());
    }

    /// Refuses connections, and cuts those that there are.
    pub(crate) fn refuse_connections(&self) {
        self.turn(false);
        let deadline = Instant::now() + PATIENCE;
        while std::net::TcpStream::connect(self.address).is_ok() {
            assert!(Instant::now() < deadline, "connections are refused");
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Accepts connections again, at the same address.
    pub(crate) fn accept_connections(&self) {
        self.turn(true);
        let deadline = Instant::now() + PATIENCE;
        while std::net::TcpStream::connect(self.address).is_err() {
            assert!(Instant::now() < deadline, "connections are accepted");
            thread::sleep(Duration::from_millis(5));
        }
    }

    fn turn(&self, open: bool) {
        self.open.as_ref().unwrap().send_replace(open);
    }

    /// The calls that came, in the order in which their bodies were read.
    pub(crate) fn calls(&self) -> Vec<Call> {
        lock(&self.state.calls).clone()
    }

    /// What arrived in all.
    pub(crate) fn totals(&self) -> Totals {
        *lock(&self.state.totals)
    }

    /// The records that `delivery_stream` has taken, in their order.
    pub(crate) fn records(&self, delivery_stream: &str) -> Vec<Bytes> {
        let calls = lock(&self.state.calls);
        let of_it = calls.iter().filter(|call| call.delivery_stream == delivery_stream);
        of_it.flat_map(|call| &call.records).filter(|(_, taken)| *taken).map(|(bytes, _)| bytes.clone()).collect()
    }

    /// The lines that `delivery_stream` has taken, in their order and without their line feeds.
    pub(crate) fn lines(&self, delivery_stream: &str) -> Vec<String> {
        let records = self.records(delivery_stream);
        records.iter().flat_map(|record| std::str::from_utf8(record).unwrap().lines()).map(str::to_owned).collect()
    }

    /// Waits until `what` is so.
    pub(crate) async fn until(&self, what: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !what(self) {
            assert!(Instant::now() < deadline, "it is so, within {PATIENCE:?}");
            sleep(Duration::from_millis(5)).await;
        }
    }
}

impl Drop for FirehoseServer {
    fn drop(&mut self) {
        self.open = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap()
}

/// Serves until `open` has no sender any more.
async fn serve(mut open: watch::Receiver<bool>, state: Arc<State>, tell: &mpsc::SyncSender<SocketAddr>) {
    let mut address: SocketAddr = ([127, 0, 0, 1], 0).into();
    loop {
        if *open.borrow_and_update() {
            let listener = TcpListener::bind(address).await.unwrap();
            address = listener.local_addr().unwrap();
            let _ = tell.try_send(address);
            tokio::select! {
                () = accept(listener, &state) => {}
                changed = open.changed() => if changed.is_err() { return },
            }
        } else if open.changed().await.is_err() {
            return;
        }
    }
}

/// Accepts for ever; cuts all connections when it is dropped.
async fn accept(listener: TcpListener, state: &Arc<State>) {
    let mut connections = JoinSet::new();
    loop {
        while connections.len() >= MAX_CONNECTIONS {
            connections.join_next().await;
        }
        while connections.try_join_next().is_some() {}
        let Ok((stream, _)) = listener.accept().await else { continue };
        stream.set_nodelay(true).unwrap();
        // A second handle, to reset the connection while hyper holds the first.
        let socket: Arc<Socket> = Arc::new(SockRef::from(&stream).try_clone().unwrap());
        let state = Arc::clone(state);
        let service = service_fn(move |request| handle(Arc::clone(&state), Arc::clone(&socket), request));
        connections
            .spawn(async move { drop(http1::Builder::new().serve_connection(TokioIo::new(stream), service).await) });
    }
}

async fn handle(
    state: Arc<State>,
    socket: Arc<Socket>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Cut> {
    let (head, body) = request.into_parts();
    let fault = state.meet();
    if fault == Fault::CutEarly {
        state.keep(&head, 0, String::new(), Vec::new(), fault, None);
        return Err(reset(&socket));
    }
    let rate = if let Fault::Slow(rate) = fault { Some(rate) } else { None };
    let Some(body) = read(body, rate).await? else {
        return Ok(error(413, "RequestEntityTooLarge", "the body is longer than anything that could be meant"));
    };
    let answer = state.call(&head, &body, &fault);
    match fault {
        Fault::Refuse(status, code) => Ok(error(status, code, "as told")),
        Fault::RefuseFor(status, code, seconds) => {
            let mut response = error(status, code, "as told");
            response.headers_mut().insert("retry-after", seconds.into());
            Ok(response)
        }
        Fault::Bare(status) | Fault::TakeAndBare(status) => Ok(answered(status, Bytes::new())),
        Fault::Hang | Fault::TakeAndHang => {
            sleep(SILENCE).await;
            Err(Cut)
        }
        Fault::CutEarly | Fault::Cut | Fault::TakeAndCut => Err(reset(&socket)),
        Fault::Delay(time) => {
            sleep(time).await;
            Ok(answer)
        }
        Fault::TakeAndSay(text) => Ok(answered(200, text.into())),
        Fault::None | Fault::Partly(_) | Fault::PartlyAtRandom(..) | Fault::Slow(_) => Ok(answer),
    }
}

/// What a call brings.
#[derive(Deserialize)]
struct Asked<'a> {
    #[serde(rename = "DeliveryStreamName", borrow)]
    name: Cow<'a, str>,
    #[serde(rename = "Records", borrow)]
    records: Vec<Record<'a>>,
}

#[derive(Deserialize)]
struct Record<'a> {
    #[serde(rename = "Data", borrow)]
    data: Cow<'a, str>,
}

impl State {
    fn meet(&self) -> Fault {
        let scripted = lock(&self.script).pop_front();
        scripted.or_else(|| self.meet_random()).or_else(|| lock(&self.always).clone()).unwrap_or(Fault::None)
    }

    fn meet_random(&self) -> Option<Fault> {
        let mut random = lock(&self.random);
        let (random, chances) = random.as_mut()?;
        let mut drawn = random.f64();
        let met = chances.iter().find(|(chance, _)| {
            drawn -= chance;
            drawn < 0.0
        });
        met.map(|(_, fault)| fault.clone())
    }

    /// Checks and takes a call: its answer, if it gets one.
    fn call(&self, head: &Parts, body: &[u8], fault: &Fault) -> Response<Full<Bytes>> {
        let asked = match self.check(head, body) {
            Ok(asked) => asked,
            Err((code, why, name)) => {
                self.keep(head, body.len(), name, Vec::new(), fault.clone(), Some(code));
                return error(400, code, &why);
            }
        };
        let mut random = fastrand::Rng::with_seed(body.len() as u64);
        let codes: Vec<Option<&str>> = (0..asked.1.len())
            .map(|place| match fault {
                Fault::Partly(places) => places.iter().find(|(failed, _)| *failed == place).map(|(_, code)| *code),
                Fault::PartlyAtRandom(share, code) => (random.u8(..100) < *share).then_some(*code),
                _ => None,
            })
            .collect();
        let entry = |code: Option<&str>| match code {
            None => serde_json::json!({"RecordId": format!("{:032x}", random.u128(..))}),
            Some(code) => serde_json::json!({"ErrorCode": code, "ErrorMessage": "Slow down."}),
        };
        let failed = codes.iter().flatten().count();
        let entries: Vec<_> = codes.iter().copied().map(entry).collect();
        let (name, records) = asked;
        let taken = codes.iter().map(|code| fault.takes() && code.is_none());
        self.keep(head, body.len(), name, records.into_iter().zip(taken).collect(), fault.clone(), None);
        let text = serde_json::json!({"FailedPutCount": failed, "Encrypted": false, "RequestResponses": entries});
        answered(200, text.to_string().into())
    }

    /// The delivery stream and the records of a call, or a code, the reason, and the delivery stream if it is known.
    fn check(&self, head: &Parts, body: &[u8]) -> Result<(String, Vec<Bytes>), (&'static str, String, String)> {
        const INVALID: &str = "ValidationException";
        let header = |name: &str| head.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let refuse = |code: &'static str, why: String| (code, why, String::new());
        if head.method != Method::POST || header("x-amz-target") != TARGET {
            return Err(refuse("UnknownOperationException", "only PutRecordBatch is known".into()));
        }
        if !header("authorization").starts_with("AWS4-HMAC-SHA256 ") {
            return Err(refuse("MissingAuthenticationTokenException", "the request is not signed".into()));
        }
        if header("content-type") != "application/x-amz-json-1.1" {
            return Err(refuse("SerializationException", "another content type".into()));
        }
        let asked: Asked<'_> =
            serde_json::from_slice(body).map_err(|error| refuse("SerializationException", error.to_string()))?;
        let name = asked.name.into_owned();
        let refuse = |code: &'static str, why: String| Err((code, why, name.clone()));
        if !(1..=64).contains(&name.len()) || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b)) {
            return refuse(INVALID, "the name must satisfy [a-zA-Z0-9_.-]+".into());
        }
        if !(1..=MAX_RECORDS).contains(&asked.records.len()) {
            return refuse(INVALID, "'records': Member must have length less than or equal to 500".into());
        }
        let mut records = Vec::with_capacity(asked.records.len());
        for (place, record) in asked.records.iter().enumerate() {
            match unbase64(&record.data) {
                Some(data) if data.len() <= MAX_RECORD_BYTES => records.push(data.into()),
                Some(_) => {
                    let why = format!(
                        "'records.{}.member.data': Member must have length less than or equal to 1024000",
                        place + 1
                    );
                    return refuse(INVALID, why);
                }
                None => return refuse("SerializationException", "no base64".into()),
            }
        }
        if body.len() > MAX_BODY_BYTES {
            return refuse("InvalidArgumentException", "Records size exceeds 4 MB limit".into());
        }
        if lock(&self.known).as_ref().is_some_and(|known| !known.contains(&name)) {
            return refuse(
                "ResourceNotFoundException",
                format!("Firehose {name} under account 123456789012 not found."),
            );
        }
        Ok((name, records))
    }

    fn keep(
        &self,
        head: &Parts,
        body_bytes: usize,
        delivery_stream: String,
        records: Vec<(Bytes, bool)>,
        fault: Fault,
        refused: Option<&'static str>,
    ) {
        let mut totals = lock(&self.totals);
        totals.calls += u64::from(records.iter().any(|(_, taken)| *taken));
        for (record, _) in records.iter().filter(|(_, taken)| *taken) {
            totals.records += 1;
            totals.bytes += record.len() as u64;
            totals.billed_bytes += record.len().next_multiple_of(BILLED_BYTES) as u64;
            totals.lines += (record.split(|byte| *byte == b'\n').count() as u64 - 1).max(1);
        }
        drop(totals);
        if self.counting {
            return;
        }
        let header = |name: &str| head.headers.get(name).map_or("", |value| value.to_str().unwrap()).to_owned();
        let headers = ["authorization", "content-type", "user-agent"].map(header);
        let at = Instant::now();
        lock(&self.calls).push(Call { at, delivery_stream, records, body_bytes, fault, refused, headers });
    }
}

/// Reads a body, at so many bytes a second if that is said; none if it is much too long.
async fn read(mut body: Incoming, rate: Option<usize>) -> Result<Option<Vec<u8>>, Cut> {
    let mut bytes = Vec::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|_| Cut)?.into_data() else { continue };
        if bytes.len() + data.len() > 2 * MAX_BODY_BYTES {
            return Ok(None);
        }
        bytes.extend_from_slice(&data);
        if let Some(rate) = rate {
            sleep(Duration::from_secs_f64(data.len() as f64 / rate as f64)).await;
        }
    }
    Ok(Some(bytes))
}

/// The connection is reset as soon as it is closed, whatever is on its way.
fn reset(socket: &Socket) -> Cut {
    socket.set_linger(Some(Duration::ZERO)).unwrap();
    Cut
}

fn error(status: u16, code: &str, message: &str) -> Response<Full<Bytes>> {
    let text = serde_json::json!({"__type": code, "message": message}).to_string();
    let mut response = answered(status, text.into());
    response.headers_mut().insert("x-amzn-errortype", code.parse().unwrap());
    response
}

fn answered(status: u16, body: Bytes) -> Response<Full<Bytes>> {
    let builder = Response::builder().status(status).header("content-type", "application/x-amz-json-1.1");
    builder.body(Full::new(body)).unwrap()
}

/// The bytes that `text` is base64 of, with padding.
pub(crate) fn unbase64(text: &str) -> Option<Vec<u8>> {
    let text = text.as_bytes();
    let padding = text.iter().rev().take_while(|byte| **byte == b'=').count();
    if !text.len().is_multiple_of(4) || padding > 2 {
        return None;
    }
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    for four in text[..text.len() - padding].chunks(4) {
        let mut group = 0_u32;
        for place in 0..4 {
            let value = match four.get(place) {
                Some(byte @ b'A'..=b'Z') => byte - b'A',
                Some(byte @ b'a'..=b'z') => byte - b'a' + 26,
                Some(byte @ b'0'..=b'9') => byte - b'0' + 52,
                Some(b'+') => 62,
                Some(b'/') => 63,
                None => 0,
                Some(_) => return None,
            };
            group = group << 6 | u32::from(value);
        }
        bytes.extend_from_slice(&group.to_be_bytes()[1..four.len()]);
    }
    Some(bytes)
}

//! An S3 server in this process, with faults on demand.
//!
//! It listens on loopback, checks signatures and checksums, and keeps objects below a directory of its own by s3s-fs. A
//! script says which requests meet which fault, and what no script takes may meet one at random; everything else is
//! served. It ends, with its connections, when it is dropped. Bodies are limited to [`MAX_BODY_BYTES`], connections to
//! [`MAX_CONNECTIONS`], silence to [`SILENCE`].

use std::{
    collections::VecDeque,
    fmt, fs, io,
    net::SocketAddr,
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode, request::Parts};
use http_body_util::{BodyExt, Limited};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use s3s::{
    Body,
    auth::SimpleAuth,
    service::{S3Service, S3ServiceBuilder},
};
use socket2::{SockRef, Socket};
use tokio::{
    net::TcpListener,
    sync::Mutex as AsyncMutex,
    task::{JoinHandle, JoinSet},
    time::sleep,
};

/// The access key that the server knows.
pub(crate) const ACCESS_KEY: &str = "AKIALOGWEIRTESTS";
/// Its secret.
pub(crate) const SECRET_KEY: &str = "a secret that must not be found in a log";
/// The bucket that is there.
pub(crate) const BUCKET: &str = "logs";

const MAX_BODY_BYTES: usize = 64 * 1024 * 1024;
const MAX_CONNECTIONS: usize = 64;
const SILENCE: Duration = Duration::from_mins(1);

/// What a request asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operation {
    /// `PutObject`.
    Put,
    /// `CreateMultipartUpload`.
    Create,
    /// `UploadPart`.
    Part,
    /// `CompleteMultipartUpload`.
    Complete,
    /// `AbortMultipartUpload`.
    Abort,
    /// `HeadObject`.
    Head,
    /// Anything else.
    Other,
}

impl Operation {
    fn of(request: &Parts) -> Self {
        let query = request.uri.query().unwrap_or_default();
        match request.method {
            Method::PUT if query.contains("partNumber=") => Self::Part,
            Method::PUT => Self::Put,
            Method::POST if query.contains("uploadId=") => Self::Complete,
            Method::POST if query.contains("uploads") => Self::Create,
            Method::DELETE if query.contains("uploadId=") => Self::Abort,
            Method::HEAD => Self::Head,
            _ => Self::Other,
        }
    }
}

/// What goes wrong with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It is read, has no effect, and is answered with this status and code.
    Answer(u16, &'static str),
    /// The same, but only if it carries `If-None-Match`, which the answer names.
    RefuseCondition(u16, &'static str),
    /// It has effect, and is answered with this status and code.
    AnswerAfter(u16, &'static str),
    /// It is answered with this status and code before its body is read, and the connection is closed on the rest.
    AnswerEarly(u16, &'static str),
    /// The connection is reset once this many bytes of the body were read; it has no effect.
    ResetAt(usize),
    /// A bit of the body flips on the way.
    Corrupt,
    /// It has no effect and gets no answer.
    Silence,
    /// It has effect; the connection is reset instead of an answer.
    LoseAnswer,
    /// It has effect and gets no answer.
    SilenceAfter,
    /// `If-None-Match` is ignored: what is there is overwritten.
    IgnoreCondition,
}

/// What a request meets, and how likely it is, from 0 to 1.
pub(crate) type Chance = (f64, Fault);

/// What is known of S3 on a bad day. All together are well below 1.
pub(crate) const BAD_DAY: [Chance; 9] = [
    (0.06, Fault::Answer(500, "InternalError")),
    (0.08, Fault::Answer(503, "SlowDown")),
    (0.05, Fault::Answer(403, "AccessDenied")),
    (0.05, Fault::RefuseCondition(409, "ConditionalRequestConflict")),
    // Taken, says the answer: by nobody, and by the very request that is answered so.
    (0.08, Fault::RefuseCondition(412, "PreconditionFailed")),
    (0.04, Fault::AnswerAfter(412, "PreconditionFailed")),
    (0.04, Fault::AnswerAfter(500, "InternalError")),
    (0.06, Fault::LoseAnswer),
    (0.03, Fault::SilenceAfter),
];

/// A request that came.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    /// What it asked for.
    pub(crate) operation: Operation,
    /// The path of its bucket and key, as it was sent.
    pub(crate) path: String,
    /// Its headers.
    pub(crate) headers: HeaderMap,
    /// The length of its body in bytes, as far as it was read.
    pub(crate) body_bytes: usize,
}

impl Seen {
    /// A header's value.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }
}

/// The server.
pub(crate) struct S3Server {
    address: SocketAddr,
    root: tempfile::TempDir,
    state: Arc<State>,
    accepting: JoinHandle<()>,
}

struct State {
    service: S3Service,
    root: PathBuf,
    script: Mutex<VecDeque<(Operation, usize, Fault)>>,
    random: Mutex<Option<(fastrand::Rng, &'static [Chance])>>,
    /// How many requests met a fault at random.
    met_at_random: AtomicUsize,
    seen: Mutex<Vec<Seen>>,
    /// Held while a request has its effect: s3s-fs checks a condition, writes an object and writes its metadata in three
    /// steps, which S3 takes in one.
    effect: AsyncMutex<()>,
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

impl S3Server {
    /// Starts one on a free port of 127.0.0.1, with an empty [`BUCKET`].
    pub(crate) async fn start() -> Self {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join(BUCKET)).unwrap();
        let mut builder = S3ServiceBuilder::new(s3s_fs::FileSystem::new(root.path()).unwrap());
        builder.set_auth(SimpleAuth::from_single(ACCESS_KEY, SECRET_KEY));
        let state = Arc::new(State {
            service: builder.build(),
            root: root.path().to_owned(),
            script: Mutex::default(),
            random: Mutex::default(),
            met_at_random: AtomicUsize::default(),
            seen: Mutex::default(),
            effect: AsyncMutex::default(),
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let accepting = tokio::spawn(accept(listener, Arc::clone(&state)));
        Self { address, root, state, accepting }
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where it listens, as an endpoint.
    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}", self.address())
    }

    /// The directory that holds the objects of [`BUCKET`].
    pub(crate) fn objects(&self) -> PathBuf {
        self.root.path().join(BUCKET)
    }

    /// The next `times` requests for `operation` that no earlier fault takes meet `fault`.
    pub(crate) fn fault(&self, operation: Operation, times: usize, fault: Fault) {
        self.state.script.lock().unwrap().push_back((operation, times, fault));
    }

    /// From now on any request may meet one of `chances`, as numbers from `seed` have it; with none, nothing does.
    pub(crate) fn fault_at_random(&self, seed: u64, chances: &'static [Chance]) {
        *self.state.random.lock().unwrap() = Some((fastrand::Rng::with_seed(seed), chances));
    }

    /// How many requests met a fault at random.
    pub(crate) fn met_at_random(&self) -> usize {
        self.state.met_at_random.load(Ordering::Relaxed)
    }

    /// How many faults have not been met yet.
    pub(crate) fn faults_left(&self) -> usize {
        self.state.script.lock().unwrap().iter().map(|(_, times, _)| times).sum()
    }

    /// The requests that came since this was last asked, in the order in which their bodies were read.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        std::mem::take(&mut self.state.seen.lock().unwrap())
    }

    /// What the requests asked for that came since this was last asked.
    pub(crate) fn operations(&self) -> Vec<Operation> {
        self.seen().into_iter().map(|seen| seen.operation).collect()
    }

    /// The keys of all objects but the books', sorted.
    pub(crate) fn keys(&self) -> Vec<String> {
        self.all_keys().into_iter().filter(|key| !key.contains("_ledger/")).collect()
    }

    /// The keys of all objects, sorted.
    pub(crate) fn all_keys(&self) -> Vec<String> {
        let bucket = self.objects();
        let mut keys = Vec::new();
        let mut dirs = vec![bucket.clone()];
        while let Some(dir) = dirs.pop() {
            for entry in fs::read_dir(dir).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    dirs.push(path);
                } else {
                    keys.push(path.strip_prefix(&bucket).unwrap().to_str().unwrap().to_owned());
                }
            }
        }
        keys.sort();
        keys
    }

    /// An object's bytes.
    pub(crate) fn object(&self, key: &str) -> Vec<u8> {
        fs::read(self.path(key)).unwrap()
    }

    /// Removes an object, as somebody else might.
    pub(crate) fn remove(&self, key: &str) {
        fs::remove_file(self.path(key)).unwrap();
    }

    /// The file behind an object: what is done to it is done to the object, behind the server's back.
    pub(crate) fn path(&self, key: &str) -> PathBuf {
        self.objects().join(key)
    }

    /// How many multipart uploads are neither completed nor aborted, and how many parts they have.
    pub(crate) fn open_uploads(&self) -> (usize, usize) {
        let names: Vec<_> = fs::read_dir(self.root.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        let count = |prefix: &str| names.iter().filter(|name| name.to_str().unwrap().starts_with(prefix)).count();
        (count(".upload-"), count(".upload_id-"))
    }
}

impl Drop for S3Server {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(listener: TcpListener, state: Arc<State>) {
    let mut connections = JoinSet::new();
    loop {
        while connections.len() >= MAX_CONNECTIONS {
            connections.join_next().await;
        }
        let Ok((stream, _)) = listener.accept().await else { continue };
        // A second handle, to reset the connection while hyper holds the first.
        let socket: Arc<Socket> = Arc::new(SockRef::from(&stream).try_clone().unwrap());
        let state = Arc::clone(&state);
        let service = service_fn(move |request| handle(Arc::clone(&state), Arc::clone(&socket), request));
        connections
            .spawn(async move { drop(http1::Builder::new().serve_connection(TokioIo::new(stream), service).await) });
    }
}

async fn handle(state: Arc<State>, socket: Arc<Socket>, request: Request<Incoming>) -> Result<Response<Body>, Cut> {
    let (head, body) = request.into_parts();
    let operation = Operation::of(&head);
    let fault = state.meet(operation, &head.headers);
    let saw = |body_bytes| {
        let (path, headers) = (head.uri.path().to_owned(), head.headers.clone());
        state.seen.lock().unwrap().push(Seen { operation, path, headers, body_bytes });
    };
    match fault {
        Some(Fault::AnswerEarly(status, code)) => {
            saw(0);
            return Ok(error(status, code, ""));
        }
        Some(Fault::ResetAt(bytes)) => {
            saw(read_some(body, bytes).await?);
            return Err(reset(&socket));
        }
        _ => {}
    }
    let body = Limited::new(body, MAX_BODY_BYTES).collect().await.map_err(|_| Cut)?.to_bytes();
    saw(body.len());
    match fault {
        Some(Fault::Answer(status, code)) => Ok(error(status, code, "")),
        Some(Fault::RefuseCondition(status, code)) => Ok(error(status, code, "<Header>If-None-Match</Header>")),
        Some(Fault::AnswerAfter(status, code)) => {
            state.serve(head, body).await?;
            Ok(error(status, code, ""))
        }
        Some(Fault::Silence) => Err(silence().await),
        Some(Fault::Corrupt) => {
            let mut bytes = body.to_vec();
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            state.serve(head, bytes.into()).await
        }
        Some(Fault::LoseAnswer) => {
            state.serve(head, body).await?;
            Err(reset(&socket))
        }
        Some(Fault::SilenceAfter) => {
            state.serve(head, body).await?;
            Err(silence().await)
        }
        Some(Fault::IgnoreCondition) => {
            // The header is signed and cannot be taken away: the object is.
            match fs::remove_file(state.root.join(decoded(head.uri.path()).trim_start_matches('/'))) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => panic!("{error}"),
                _ => state.serve(head, body).await,
            }
        }
        Some(Fault::AnswerEarly(..) | Fault::ResetAt(_)) | None => state.serve(head, body).await,
    }
}

impl State {
    fn meet(&self, operation: Operation, headers: &HeaderMap) -> Option<Fault> {
        let can_meet = |fault: &Fault| {
            !matches!(fault, Fault::RefuseCondition(..) | Fault::AnswerAfter(409 | 412, _))
                || headers.contains_key("if-none-match")
        };
        let scripted = self.meet_scripted(|(on, _, fault)| *on == operation && can_meet(fault));
        scripted.or_else(|| {
            let fault = self.meet_random().filter(can_meet)?;
            self.met_at_random.fetch_add(1, Ordering::Relaxed);
            Some(fault)
        })
    }

    fn meet_random(&self) -> Option<Fault> {
        let mut random = self.random.lock().unwrap();
        let (random, chances) = random.as_mut()?;
        let mut drawn = random.f64();
        chances.iter().find_map(|(chance, fault)| {
            drawn -= chance;
            (drawn < 0.0).then_some(*fault)
        })
    }

    fn meet_scripted(&self, meets: impl Fn(&(Operation, usize, Fault)) -> bool) -> Option<Fault> {
        let mut script = self.script.lock().unwrap();
        let place = script.iter().position(meets)?;
        let (_, times, fault) = &mut script[place];
        let fault = *fault;
        *times -= 1;
        if *times == 0 {
            script.remove(place);
        }
        Some(fault)
    }

    /// Serves a request to its end, also if nobody waits for the answer any more.
    async fn serve(self: &Arc<Self>, head: Parts, body: Bytes) -> Result<Response<Body>, Cut> {
        let state = Arc::clone(self);
        let served = tokio::spawn(async move {
            let _alone = state.effect.lock().await;
            state.take_effect(head, body).await
        });
        served.await.map_err(|_| Cut)?
    }

    async fn take_effect(&self, head: Parts, body: Bytes) -> Result<Response<Body>, Cut> {
        // s3s-fs checks the checksums of objects, but not those of parts.
        if let Some(told) = head.headers.get("x-amz-checksum-crc32")
            && told.as_bytes() != base64(&crc32fast::hash(&body).to_be_bytes()).as_bytes()
        {
            return Ok(error(400, "BadDigest", ""));
        }
        self.service.call(Request::from_parts(head, Body::from(body))).await.map_err(|_| Cut)
    }
}

/// Reads at least `least` bytes of a body, or all: how many they were.
async fn read_some(mut body: Incoming, least: usize) -> Result<usize, Cut> {
    let mut read = 0;
    while read < least {
        let Some(frame) = body.frame().await else { break };
        read += frame.map_err(|_| Cut)?.data_ref().map_or(0, Bytes::len);
    }
    Ok(read)
}

/// The connection is reset as soon as it is closed, whatever is on its way.
fn reset(socket: &Socket) -> Cut {
    socket.set_linger(Some(Duration::ZERO)).unwrap();
    Cut
}

async fn silence() -> Cut {
    sleep(SILENCE).await;
    Cut
}

fn error(status: u16, code: &str, more: &str) -> Response<Body> {
    let text = format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>as told</Message>{more}</Error>");
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = StatusCode::from_u16(status).unwrap();
    response
}

/// A path without its percent signs.
fn decoded(path: &str) -> String {
    let mut pieces = path.split('%');
    let mut text = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let (code, rest) = piece.split_at(2);
        text.push(char::from(u8::from_str_radix(code, 16).unwrap()));
        text.push_str(rest);
    }
    text
}

/// Base64 with padding, of a few bytes.
pub(crate) fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for three in bytes.chunks(3) {
        let group = three.iter().chain([&0, &0]).take(3).fold(0, |group, byte| group << 8 | usize::from(*byte));
        for place in 0..4 {
            let letter = char::from(LETTERS[group >> (18 - 6 * place) & 63]);
            text.push(if place <= three.len() { letter } else { '=' });
        }
    }
    text
}

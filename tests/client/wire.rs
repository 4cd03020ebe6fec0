//! The client's HTTP against servers that do as they are told, byte by byte; and TLS.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{Request, Response};
use logweir::client::{HttpTransport, MAX_ANSWER_BYTES, NoAnswer, Roots, Timeouts, Transport};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpListener,
    sync::{Semaphore, watch},
    task::JoinHandle,
    time::timeout,
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ServerConfig,
        crypto::ring,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    },
};

const AUTHORITY: &[u8] = include_bytes!("tls/ca.pem");
const CERTIFICATE: &[u8] = include_bytes!("tls/server.pem");
const KEY: &[u8] = include_bytes!("tls/server.key");

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
const SHORT: Timeouts = Timeouts { connect: Duration::from_millis(300), answer: Duration::from_millis(300) };

/// How long anything may take that must happen at all.
const PATIENCE: Duration = Duration::from_secs(30);

/// A server whose every connection does what a script says: an answer a request; where the script ends, the end, as soon as
/// it is allowed.
struct Scripted {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
    /// How many connections may be ended.
    ends: Arc<Semaphore>,
    /// How many have ended, on both sides.
    ended: watch::Receiver<usize>,
    task: JoinHandle<()>,
}

impl Scripted {
    async fn start(scripts: &[&[&str]], tls: Option<TlsAcceptor>) -> Self {
        Self::ending(scripts.len(), scripts, tls).await
    }

    /// One that ends no more than `ends` connections, until it is told to.
    async fn ending(ends: usize, scripts: &[&[&str]], tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let scripts: Vec<Vec<String>> =
            scripts.iter().map(|script| script.iter().map(|answer| (*answer).to_owned()).collect()).collect();
        let connections = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&connections);
        let ends = Arc::new(Semaphore::new(ends));
        let may_end = Arc::clone(&ends);
        let (over, ended) = watch::channel(0);
        let task = tokio::spawn(async move {
            for script in scripts {
                let Ok((stream, _)) = listener.accept().await else { return };
                counted.fetch_add(1, Ordering::Relaxed);
                let result = match &tls {
                    None => follow(stream, script, &may_end).await,
                    Some(tls) => match tls.accept(stream).await {
                        Ok(stream) => follow(stream, script, &may_end).await,
                        Err(error) => Err(error),
                    },
                };
                drop(result);
                over.send_modify(|ended| *ended += 1);
            }
            std::future::pending::<()>().await;
        });
        Self { address, connections, ends, ended, task }
    }

    fn transport(&self, timeouts: Timeouts) -> HttpTransport {
        HttpTransport::new(&format!("http://{}", self.address), &Roots::System, timeouts).unwrap()
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    /// Ends one connection more, and waits until the client has noticed that.
    async fn end_one(&mut self) {
        let wanted = *self.ended.borrow() + 1;
        self.ends.add_permits(1);
        let ended = self.ended.wait_for(|ended| *ended == wanted);
        timeout(PATIENCE, ended).await.expect("the client closes its side, too").unwrap();
    }
}

impl Drop for Scripted {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn follow(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    script: Vec<String>,
    may_end: &Semaphore,
) -> io::Result<()> {
    for answer in script {
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\nbody") {
            if stream.read_buf(&mut request).await? == 0 {
                return Ok(());
            }
        }
        stream.write_all(answer.as_bytes()).await?;
    }
    may_end.acquire().await.unwrap().forget();
    stream.shutdown().await?;
    while stream.read_buf(&mut Vec::new()).await? > 0 {}
    Ok(())
}

async fn ask(transport: &HttpTransport) -> Result<Response<Bytes>, NoAnswer> {
    transport.send(Request::post("/v1/logs/heard").body(Bytes::from_static(b"body")).unwrap()).await
}

#[tokio::test]
async fn a_connection_is_kept_and_one_that_the_server_closed_is_made_anew_without_a_failed_attempt() {
    let mut server = Scripted::ending(0, &[&[OK, OK], &[OK]], None).await;
    let transport = server.transport(Timeouts::default());
    for connections in [1, 1] {
        assert_eq!(ask(&transport).await.unwrap().status(), 200);
        assert_eq!(server.connections(), connections);
    }
    server.end_one().await;
    assert_eq!(ask(&transport).await.unwrap().status(), 200);
    assert_eq!(server.connections(), 2);
}

#[tokio::test]
async fn a_connection_that_the_server_closes_is_not_used_again() {
    let close = "HTTP/1.1 503 X\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
    let server = Scripted::start(&[&[close], &[OK]], None).await;
    let transport = server.transport(Timeouts::default());
    assert_eq!(ask(&transport).await.unwrap().status(), 503);
    assert_eq!(ask(&transport).await.unwrap().status(), 200);
    assert_eq!(server.connections(), 2);
}

#[tokio::test]
async fn what_the_head_says_holds_when_the_body_is_cut_or_never_ends() {
    let long = format!("HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n{}", "x".repeat(MAX_ANSWER_BYTES + 10));
    let cut = "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf";
    let server = Scripted::start(&[&[cut], &[&long], &[OK]], None).await;
    let transport = server.transport(Timeouts::default());
    assert_eq!(ask(&transport).await.unwrap().into_parts().0.status, 200);
    let answer = ask(&transport).await.unwrap();
    assert_eq!((answer.status().as_u16(), answer.body().len()), (200, MAX_ANSWER_BYTES));
    assert_eq!(ask(&transport).await.unwrap().body(), "ok");
}

#[tokio::test]
async fn no_answer_and_half_an_answer_are_none() {
    let server = Scripted::start(&[&[""], &["HTTP/1.1 200"], &["nonsense\r\n\r\n"]], None).await;
    let transport = server.transport(Timeouts::default());
    for _ in 0..3 {
        assert!(matches!(ask(&transport).await, Err(NoAnswer::Cut(_))));
    }
}

#[tokio::test]
async fn an_answer_that_does_not_come_is_not_waited_for_long() {
    // Nobody takes what comes, so that the connection stands and nothing is ever said.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let transport = HttpTransport::new(&address, &Roots::System, SHORT).unwrap();
    let began = Instant::now();
    assert!(matches!(ask(&transport).await, Err(NoAnswer::TimedOut)));
    assert!(began.elapsed() >= SHORT.answer);
    drop(listener);
    assert!(matches!(ask(&transport).await, Err(NoAnswer::Connect(_))));
}

#[tokio::test]
async fn head_and_body_of_an_answer_have_one_deadline() {
    const ANSWER: Duration = Duration::from_secs(2);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        tokio::time::sleep(ANSWER * 3 / 4).await;
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n").await.unwrap();
        (stream, Instant::now())
    });
    let transport =
        HttpTransport::new(&address, &Roots::System, Timeouts { answer: ANSWER, ..Timeouts::default() }).unwrap();
    let answer = ask(&transport).await.unwrap();
    let returned = Instant::now();
    assert_eq!((answer.status().as_u16(), answer.body().len()), (200, 0));
    let (_open, head_came) = server.await.unwrap();
    // A quarter was left when the head came.
    assert!(returned - head_came < ANSWER * 3 / 4, "{:?}", returned - head_came);
}

#[tokio::test]
async fn an_early_answer_is_not_held_back_by_a_server_that_reads_no_more() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let server = tokio::spawn(async move {
        let mut open = Vec::new();
        for _ in 0..2 {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.read_buf(&mut Vec::new()).await.unwrap();
            stream.write_all(OK.as_bytes()).await.unwrap();
            open.push(stream);
        }
        open
    });
    let transport = HttpTransport::new(&address, &Roots::System, Timeouts::default()).unwrap();
    // More than any socket's buffer takes.
    let large = Request::post("/v1/logs/heard").body(Bytes::from(vec![b'x'; 64 * 1024 * 1024])).unwrap();
    let answer = timeout(PATIENCE, transport.send(large)).await.expect("it was answered").unwrap();
    assert_eq!(answer.body(), "ok");
    // The next request does not stand behind what was never sent.
    assert_eq!(ask(&transport).await.unwrap().body(), "ok");
    assert_eq!(server.await.unwrap().len(), 2);
}

fn acceptor() -> TlsAcceptor {
    let certificates = CertificateDer::pem_slice_iter(CERTIFICATE).map(Result::unwrap).collect();
    let key = PrivateKeyDer::from_pem_slice(KEY).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(certificates, key)
        .unwrap();
    TlsAcceptor::from(Arc::new(config))
}

#[tokio::test]
async fn tls_is_spoken_with_servers_that_the_roots_vouch_for() {
    let server = Scripted::start(&[&[OK, OK], &[OK, OK]], Some(acceptor())).await;
    for (host, connections) in [("localhost", 1), ("127.0.0.1", 2)] {
        let address = format!("https://{host}:{}", server.address.port());
        let transport = HttpTransport::new(&address, &Roots::Pem(AUTHORITY.to_vec()), Timeouts::default()).unwrap();
        for _ in 0..2 {
            assert_eq!(ask(&transport).await.unwrap().body(), "ok");
        }
        assert_eq!(server.connections(), connections);
    }
}

#[tokio::test]
async fn tls_is_not_spoken_with_strangers() {
    let server = Scripted::start(&[&[OK], &[OK]], Some(acceptor())).await;
    let port = server.address.port();
    // A root that did not sign it; and a name that it is not for.
    let unknown = Roots::Pem(CERTIFICATE.to_vec());
    let known = Roots::Pem(AUTHORITY.to_vec());
    for (host, roots) in [("localhost", unknown), ("127.0.0.2", known)] {
        let transport = HttpTransport::new(&format!("https://{host}:{port}"), &roots, Timeouts::default()).unwrap();
        assert!(matches!(ask(&transport).await, Err(NoAnswer::Connect(_))), "{host}");
    }
}

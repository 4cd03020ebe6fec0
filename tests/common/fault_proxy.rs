//! A network that can be bad: a TCP proxy on loopback.
//!
//! It forwards what comes to one address, as the [`Weather`] has it. When the weather changes, every connection is reset.
//! Connections are limited to [`MAX_CONNECTIONS`], and each holds [`PIECE_BYTES`] in either direction. It ends, with its
//! connections, when it is dropped.

use std::{io, net::SocketAddr, time::Duration};

use socket2::SockRef;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{ReadHalf, WriteHalf},
    },
    sync::watch,
    task::{JoinHandle, JoinSet},
    time::sleep,
};

const MAX_CONNECTIONS: usize = 64;
const PIECE_BYTES: usize = 16 * 1024;
/// How much a connection of a storm forwards in a direction before it is cut there, in bytes: from nothing, to
/// several objects of a test.
const MOST_BEFORE_CUT: u64 = 512 * 1024;
/// The longest that a connection of a storm holds a piece back.
const LONGEST_DELAY: Duration = Duration::from_millis(300);

/// What becomes of connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Weather {
    /// Everything is forwarded at once.
    Clear,
    /// Every piece waits this long before it is forwarded.
    Slow(Duration),
    /// Of four connections one is good, one holds back every piece, and two are cut somewhere, by an end of the stream or
    /// by a reset, as numbers from this seed have it.
    Storm(u64),
    /// Every connection is reset as soon as it is made.
    Down,
}

/// The proxy.
pub(crate) struct FaultProxy {
    address: SocketAddr,
    weather: watch::Sender<Weather>,
    accepting: JoinHandle<()>,
}

impl FaultProxy {
    /// Starts one in front of `target`, on a free port of 127.0.0.1, in clear weather.
    pub(crate) async fn start(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (weather, changes) = watch::channel(Weather::Clear);
        let accepting = tokio::spawn(accept(listener, target, changes));
        Self { address, weather, accepting }
    }

    /// Where it listens, as an endpoint.
    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Changes the weather.
    pub(crate) fn turn(&self, weather: Weather) {
        self.weather.send_replace(weather);
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// What happens to one connection.
#[derive(Debug, Clone, Copy)]
struct Fate {
    /// How long each piece waits.
    delay: Duration,
    /// How many bytes are forwarded to the target and from it before the end.
    limits: [u64; 2],
    /// Whether the end is a reset.
    reset: bool,
}

impl Fate {
    const GOOD: Self = Self { delay: Duration::ZERO, limits: [u64::MAX; 2], reset: false };

    fn of(weather: Weather, random: &mut fastrand::Rng) -> Self {
        match weather {
            Weather::Clear => Self::GOOD,
            Weather::Slow(delay) => Self { delay, ..Self::GOOD },
            Weather::Down => Self { limits: [0; 2], reset: true, ..Self::GOOD },
            Weather::Storm(_) => match random.u8(..4) {
                0 => Self::GOOD,
                1 => Self { delay: LONGEST_DELAY.mul_f64(random.f64()), ..Self::GOOD },
                _ => Self { limits: [cut(random), cut(random)], reset: random.bool(), ..Self::GOOD },
            },
        }
    }
}

/// Where a connection is cut: as likely within a head as within a body, so the exponent is what is drawn.
fn cut(random: &mut fastrand::Rng) -> u64 {
    MOST_BEFORE_CUT >> random.u32(..=MOST_BEFORE_CUT.ilog2())
}

async fn accept(listener: TcpListener, target: SocketAddr, mut weather: watch::Receiver<Weather>) {
    let mut connections = JoinSet::new();
    let mut random = fastrand::Rng::new();
    loop {
        while connections.len() >= MAX_CONNECTIONS {
            connections.join_next().await;
        }
        while connections.try_join_next().is_some() {}
        let Ok((stream, _)) = listener.accept().await else { continue };
        if weather.has_changed().unwrap_or(false)
            && let Weather::Storm(seed) = *weather.borrow_and_update()
        {
            random = fastrand::Rng::with_seed(seed);
        }
        let fate = Fate::of(*weather.borrow(), &mut random);
        connections.spawn(connection(stream, target, fate, weather.clone()));
    }
}

async fn connection(mut near: TcpStream, target: SocketAddr, fate: Fate, mut weather: watch::Receiver<Weather>) {
    let Ok(mut far) = TcpStream::connect(target).await else { return };
    let (near_socket, far_socket) = (reset_on_close(&near, fate.reset), reset_on_close(&far, fate.reset));
    if near_socket.and(far_socket).and(near.set_nodelay(true)).and(far.set_nodelay(true)).is_err() {
        return;
    }
    let turned = {
        let (near_read, near_write) = near.split();
        let (far_read, far_write) = far.split();
        tokio::select! {
            // HTTP's connections end as a whole: neither side closes one direction alone.
            () = forward(near_read, far_write, fate.delay, fate.limits[0]) => false,
            () = forward(far_read, near_write, fate.delay, fate.limits[1]) => false,
            _ = weather.changed() => true,
        }
    };
    if turned {
        let _ = reset_on_close(&near, true).and(reset_on_close(&far, true));
    }
}

/// Forwards up to `limit` bytes.
async fn forward(mut from: ReadHalf<'_>, mut to: WriteHalf<'_>, delay: Duration, mut limit: u64) {
    let mut piece = vec![0; PIECE_BYTES];
    while limit > 0 {
        let most = limit.min(PIECE_BYTES as u64) as usize;
        let Ok(read @ 1..) = from.read(&mut piece[..most]).await else { return };
        if !delay.is_zero() {
            sleep(delay).await;
        }
        if to.write_all(&piece[..read]).await.is_err() {
            return;
        }
        limit -= read as u64;
    }
}

/// Closing `stream` resets it, if `reset` says so, whatever is on its way.
fn reset_on_close(stream: &TcpStream, reset: bool) -> io::Result<()> {
    SockRef::from(stream).set_linger(reset.then_some(Duration::ZERO))
}

//! A successor: the process that takes an instance over from another one, with its listening sockets.
//!
//! The old process starts the new one with one end of a pair of sockets as its standard input, and sends the listening
//! sockets over it (`SCM_RIGHTS`). What goes over it, in this order:
//!
//! ```text
//! old ──► new   the estate: its flags, which spool it has, and with it the two listening sockets
//! old ◄── new   R: its configuration is sound, and it lacks nothing but the spool
//! old ──► new   G: take the spool, as soon as its lock is free
//! old ──► new   the end of the stream: the old process has ended
//! ```
//!
//! If the new one ends before G, the old one reads the end of the stream, and serves on. A successor that is not wanted is
//! killed, so if it reads the end of the stream, the old one has ended, by itself or by a crash: then it goes on, whatever it
//! was told by then. That nobody has the instance any more is proven by the spool's lock, and by nothing else. It waits for
//! the lock as long as the old process lives, whatever the configuration of either says, and [`RELEASE_LIMIT`] longer.
//!
//! # Why not by `LISTEN_FDS`
//!
//! Descriptors that are inherited have to have the numbers 3 and 4 in the new process, and `LISTEN_PID` has to be its
//! process id. Between a fork and an exec both can only be done by unsafe code, or by a shell that may not be there.
//! Sent over a socket, descriptors get whatever numbers are free, none of them is left open for another child, and the
//! same socket says how it goes on. `LISTEN_FDS` stays what a supervisor passes sockets by.
//!
//! # Limits
//!
//! [`MAX_ESTATE_BYTES`] for the estate; [`GO_LIMIT`] for how long a successor that is ready waits to be let. How long the
//! old process takes to end is its own to limit; that it is waited for is told every [`WAITING_TOLD`].

mod estate;

use std::{
    io::{self, IoSlice, IoSliceMut, Read, Write},
    mem::MaybeUninit,
    net::TcpListener,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::net::UnixStream,
    },
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
    recvmsg, sendmsg,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

pub use self::estate::{Estate, SpoolDir};
use crate::{
    config::{CommandLine, SUCCESSOR},
    spool::DiskId,
};

/// The longest estate, in bytes: a path has at most 4,096 on Linux.
const MAX_ESTATE_BYTES: usize = 4_096 + 64;
/// The longest that a successor which is ready waits to be let: longer than any `drain.handover`.
const GO_LIMIT: Duration = Duration::from_mins(5);
/// How long the kernel may take to release a lock of a process that has ended.
const RELEASE_LIMIT: Duration = Duration::from_secs(5);
/// How long a successor that has failed may take to end by itself, and how often it is looked whether it has.
const LAST_WORDS: Duration = Duration::from_secs(2);
const LAST_WORDS_POLL: Duration = Duration::from_millis(5);
/// How often a successor says that it still waits.
const WAITING_TOLD: Duration = Duration::from_secs(10);
const READY: u8 = b'R';
const GO: u8 = b'G';
/// What a supervisor sets for the process that it starts, and for no other.
const OF_ONE_PROCESS: [&str; 4] = ["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "WATCHDOG_PID"];

/// A succession cannot be, or is called off.
#[derive(Debug, thiserror::Error)]
pub enum SuccessionError {
    /// The successor cannot be started.
    #[error("cannot start {program}: {source}", program = program.display())]
    Start {
        /// The executable.
        program: PathBuf,
        /// The operating system's error.
        source: io::Error,
    },
    /// The successor has ended, or closed the channel: its log says why.
    #[error("it ended before it was ready; its own log says why")]
    Ended,
    /// The channel between the two cannot be used.
    #[error("the channel between a process and its successor cannot be used: {0}")]
    Channel(#[from] io::Error),
    /// What came over the channel is not what a process of this kind sends.
    #[error("{SUCCESSOR} is set, and standard input is no channel to a process that is to be succeeded; do not set it")]
    NoPredecessor,
    /// The process that was to be succeeded goes on.
    #[error("the process that was to be succeeded has not let it within {GO_LIMIT:?}")]
    CalledOff,
    /// The configuration names another spool than the one that is to be taken over.
    #[error(
        "the configuration names another spool than that of the process that is to be succeeded, {held}; to change it, \
         stop that process and start anew"
    )]
    OtherSpool {
        /// What that process has.
        held: String,
    },
}

/// A successor that was started: the old process's side.
#[derive(Debug)]
pub struct Successor {
    child: Child,
    channel: tokio::net::UnixStream,
}

impl Successor {
    /// Starts `command` once more, and sends it `estate` and `sockets`, the public one and the admin's. To be called
    /// within a runtime.
    ///
    /// # Errors
    /// [`SuccessionError`].
    pub fn start(
        command: &CommandLine,
        sockets: [BorrowedFd<'_>; 2],
        estate: &Estate,
    ) -> Result<Self, SuccessionError> {
        let (ours, theirs) = UnixStream::pair()?;
        let child = spawn(command, theirs)?;
        // From here on the child is ended with this, whatever fails.
        ours.set_nonblocking(true)?;
        let mut successor = Self { child, channel: tokio::net::UnixStream::from_std(ours)? };
        if let Err(error) = send(&successor.channel, &estate.encode(), sockets) {
            successor.end();
            return Err(error.into());
        }
        Ok(successor)
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits until it is ready, however long that takes.
    ///
    /// # Errors
    /// [`SuccessionError`] if it ends.
    pub async fn ready(&mut self) -> Result<(), SuccessionError> {
        match self.channel.read_u8().await {
            Ok(READY) => Ok(()),
            _ => Err(SuccessionError::Ended),
        }
    }

    /// Waits until it has ended.
    pub async fn ended(&mut self) {
        // It says nothing more, so whatever comes is an end.
        let _ = self.channel.read_u8().await;
    }

    /// Lets it take the spool.
    ///
    /// # Errors
    /// [`SuccessionError`] if it has ended.
    pub async fn let_go(&mut self) -> Result<(), SuccessionError> {
        self.channel.write_u8(GO).await.map_err(|_| SuccessionError::Ended)
    }

    /// Leaves everything to it. It learns that this process has ended when that is so, and not before.
    pub fn leave_to(self) {
        // Whoever closed the channel now would say so too early.
        std::mem::forget(self.channel);
    }

    /// Ends it, which has closed the channel, and so is about to end: it may say why before.
    pub async fn dismiss_after_its_words(mut self) {
        let asked = Instant::now();
        while asked.elapsed() < LAST_WORDS && matches!(self.child.try_wait(), Ok(None)) {
            tokio::time::sleep(LAST_WORDS_POLL).await;
        }
        self.end();
    }

    /// Ends it.
    pub fn dismiss(mut self) {
        self.end();
    }

    fn end(&mut self) {
        // It has nothing yet that could be lost.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn spawn(command: &CommandLine, channel: UnixStream) -> Result<Child, SuccessionError> {
    let mut successor = Command::new(&command.program);
    successor.args(&command.arguments).env(SUCCESSOR, "1").stdin(Stdio::from(OwnedFd::from(channel)));
    for name in OF_ONE_PROCESS {
        successor.env_remove(name);
    }
    successor.spawn().map_err(|source| SuccessionError::Start { program: command.program.clone(), source })
}

/// Sends `bytes`, and `descriptors` with them. The channel's buffer is empty, and they are few.
fn send(channel: impl AsFd, bytes: &[u8], descriptors: [BorrowedFd<'_>; 2]) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !control.push(SendAncillaryMessage::ScmRights(&descriptors)) {
        return Err(io::ErrorKind::OutOfMemory.into());
    }
    let sent = sendmsg(channel, &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL)?;
    if sent == bytes.len() { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) }
}

/// The process that is to be succeeded: the new process's side.
#[derive(Debug)]
pub struct Predecessor {
    channel: UnixStream,
    /// What it hands over.
    pub estate: Estate,
}

impl Predecessor {
    /// Takes what the process that started this one sends over standard input: its side, and its public and its admin
    /// socket. Blocks until it has come.
    ///
    /// # Errors
    /// [`SuccessionError::NoPredecessor`] if there is no such process.
    pub fn meet() -> Result<(Self, [TcpListener; 2]), SuccessionError> {
        let channel = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
        let met = Self::receive(channel)?;
        // What standard input is from now on has an end, and is nobody's channel: whoever reads it finds nothing.
        let (nothing, _) = io::pipe()?;
        rustix::stdio::dup2_stdin(&nothing).map_err(io::Error::from)?;
        Ok(met)
    }

    fn receive(channel: UnixStream) -> Result<(Self, [TcpListener; 2]), SuccessionError> {
        let mut bytes = vec![0; MAX_ESTATE_BYTES];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let received = recvmsg(&channel, &mut [IoSliceMut::new(&mut bytes)], &mut control, RecvFlags::CMSG_CLOEXEC)
            .map_err(|_| SuccessionError::NoPredecessor)?;
        let mut sockets = Vec::new();
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(descriptors) = message {
                sockets.extend(descriptors.map(TcpListener::from));
            }
        }
        let estate = Estate::decode(&bytes[..received.bytes]);
        match (estate, <[TcpListener; 2]>::try_from(sockets)) {
            (Some(estate), Ok(sockets)) => Ok((Self { channel, estate }, sockets)),
            _ => Err(SuccessionError::NoPredecessor),
        }
    }

    /// That it has another spool than the one that is configured here.
    pub fn other_spool(&self) -> SuccessionError {
        let held = self.estate.spool.as_ref().map_or("none".to_owned(), |spool| spool.path.display().to_string());
        SuccessionError::OtherSpool { held }
    }

    /// Says that nothing is lacking but the spool, and waits until it may be taken: it is let, or the other process has ended
    /// without a word. Blocks.
    ///
    /// # Errors
    /// [`SuccessionError::CalledOff`] if the other process goes on, and [`SuccessionError::OtherSpool`] if `spool`, which is
    /// configured here, is not the one that it has.
    pub fn take_over(mut self, spool: Option<DiskId>) -> Result<Leaving, SuccessionError> {
        if self.estate.spool.as_ref().map(|spool| spool.id) != spool {
            return Err(self.other_spool());
        }
        self.channel.set_read_timeout(Some(GO_LIMIT))?;
        let mut word = [0];
        let told = self.channel.write_all(&[READY]).and_then(|()| self.channel.read_exact(&mut word));
        let ended = match told {
            Ok(()) if word == [GO] => None,
            Err(error) if is_end(&error) => {
                tracing::warn!("the process that was to be succeeded has ended before it let go");
                Some(Instant::now())
            }
            _ => return Err(SuccessionError::CalledOff),
        };
        self.channel.set_nonblocking(true)?;
        Ok(Leaving { channel: self.channel, ended, told: Instant::now() })
    }
}

/// Whether `error` says that the other side has ended.
fn is_end(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset)
}

/// The process that gives an instance up, and is about to end.
#[derive(Debug)]
pub struct Leaving {
    channel: UnixStream,
    /// Since when it has ended.
    ended: Option<Instant>,
    /// When it was last told that it is waited for.
    told: Instant,
}

impl Leaving {
    /// Whether its lock may still come free: it lives, or has ended a moment ago.
    pub fn may_release(&mut self) -> bool {
        if let Some(ended) = self.ended {
            return ended.elapsed() < RELEASE_LIMIT;
        }
        match self.channel.read(&mut [0]) {
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {
                if self.told.elapsed() >= WAITING_TOLD {
                    tracing::warn!("waiting for the spool: the process that has it has not ended yet");
                    self.told = Instant::now();
                }
            }
            _ => self.ended = Some(Instant::now()),
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HELD: DiskId = DiskId { device: 1 << 40, inode: 7 };

    fn estate() -> Estate {
        Estate { supervised: false, spool: Some(SpoolDir { path: PathBuf::from("/spool"), id: HELD }) }
    }

    fn listener() -> TcpListener {
        TcpListener::bind("127.0.0.1:0").unwrap()
    }

    /// What a successor is told over a channel of its own.
    fn told(estate: &Estate) -> (UnixStream, Predecessor, [TcpListener; 2], [TcpListener; 2]) {
        let (old, new) = UnixStream::pair().unwrap();
        let sockets = [listener(), listener()];
        send(&old, &estate.encode(), sockets.each_ref().map(AsFd::as_fd)).unwrap();
        let (predecessor, received) = Predecessor::receive(new).unwrap();
        (old, predecessor, sockets, received)
    }

    #[test]
    fn the_sockets_and_the_estate_come_as_they_were_sent() {
        for (supervised, spool) in [(true, Some("/var/lib/logweir/spool")), (false, None)] {
            let estate = Estate { supervised, spool: spool.map(|path| SpoolDir { path: path.into(), id: HELD }) };
            let (_old, predecessor, sent, received) = told(&estate);
            assert_eq!(predecessor.estate, estate);
            for (sent, received) in sent.iter().zip(&received) {
                assert_eq!(sent.local_addr().unwrap(), received.local_addr().unwrap());
            }
        }
    }

    #[test]
    fn a_successor_that_is_let_waits_as_long_as_the_other_lives_and_a_little_longer() {
        let (mut old, predecessor, ..) = told(&estate());
        old.write_all(&[GO]).unwrap();
        let mut leaving = predecessor.take_over(Some(HELD)).unwrap();
        let mut word = [0];
        old.read_exact(&mut word).unwrap();
        assert_eq!(word, [READY]);
        assert!((0..100).all(|_| leaving.may_release()));
        assert_eq!(leaving.ended, None);
        drop(old);
        assert!(leaving.may_release() && leaving.may_release(), "its lock may be released a moment later");
        leaving.ended = leaving.ended.unwrap().checked_sub(RELEASE_LIMIT);
        assert!(!leaving.may_release());
    }

    #[test]
    fn a_successor_goes_on_if_the_other_has_ended_without_a_word() {
        let (old, predecessor, ..) = told(&estate());
        drop(old);
        let mut leaving = predecessor.take_over(Some(HELD)).unwrap();
        assert!(leaving.ended.is_some() && leaving.may_release());
    }

    #[test]
    fn another_spool_than_the_one_that_is_held_is_refused_before_anything_is_given_up() {
        for other in [Some(DiskId { inode: 8, ..HELD }), Some(DiskId { device: 1, ..HELD }), None] {
            let (mut old, predecessor, ..) = told(&estate());
            let error = predecessor.take_over(other).unwrap_err();
            assert!(matches!(error, SuccessionError::OtherSpool { .. }), "{error}");
            assert_eq!(old.read(&mut [0]).unwrap(), 0, "it never said that it is ready");
        }
    }

    #[test]
    fn what_is_no_channel_is_found_out() {
        let (mut old, new) = UnixStream::pair().unwrap();
        old.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
        assert!(matches!(Predecessor::receive(new), Err(SuccessionError::NoPredecessor)));
        let (old, new) = UnixStream::pair().unwrap();
        drop(old);
        assert!(matches!(Predecessor::receive(new), Err(SuccessionError::NoPredecessor)));
    }
}

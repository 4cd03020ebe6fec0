//! A successor: the process that takes an instance over from another one, with its listening sockets.
//!
//! The old process starts the new one with one end of a pair of sockets as its standard input, and sends the listening
//! sockets over it (`SCM_RIGHTS`). What goes over it, in this order:
//!
//! ```text
//! old ──► new   the estate: its flags, the spool's directory, and with them the two listening sockets
//! old ◄── new   R: its configuration is sound, and it lacks nothing but the spool
//! old ──► new   G: take the spool, as soon as its lock is free
//! ```
//!
//! If either ends before, the other reads the end of the stream: the old one serves on then, and the new one ends.
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
//! [`MAX_ESTATE_BYTES`] for the estate; [`GO_LIMIT`] for how long a successor that is ready waits to be let.

use std::{
    io::{self, IoSlice, IoSliceMut, Read, Write},
    mem::MaybeUninit,
    net::TcpListener,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::{ffi::OsStrExt, net::UnixStream},
    },
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
    recvmsg, sendmsg,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::config::{CommandLine, SUCCESSOR};

/// The longest estate, in bytes: a path is no longer on Linux.
const MAX_ESTATE_BYTES: usize = 4_096;
/// The longest that a successor which is ready waits to be let: longer than any `drain.handover`.
const GO_LIMIT: Duration = Duration::from_mins(5);
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
    /// The process that was to be succeeded goes on, or has ended without a word.
    #[error("the process that was to be succeeded has called it off")]
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

/// What is handed over, beside the sockets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Estate {
    /// Whether a supervisor has the public socket, too, and passes it to whomever it starts next.
    pub supervised: bool,
    /// The spool's directory; `None` without a disk.
    pub spool: Option<PathBuf>,
}

impl Estate {
    /// One flag for each, and the path.
    fn encode(&self) -> Vec<u8> {
        let path = self.spool.as_deref().map(|spool| spool.as_os_str().as_bytes());
        let mut bytes = vec![u8::from(self.supervised), u8::from(path.is_some())];
        bytes.extend_from_slice(path.unwrap_or_default());
        bytes
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let ([supervised @ (0 | 1), has_spool @ (0 | 1)], path) = bytes.split_first_chunk()? else { return None };
        let spool = (*has_spool == 1).then(|| Path::new(std::ffi::OsStr::from_bytes(path)).to_owned());
        Some(Self { supervised: *supervised == 1, spool })
    }
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
        Self::receive(channel)
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

    /// Says that nothing is lacking but the spool, and waits until it may be taken. Blocks.
    ///
    /// # Errors
    /// [`SuccessionError::CalledOff`] if the other process goes on, and [`SuccessionError::OtherSpool`] if `spool`, the
    /// directory that is configured here, is not the one that it has.
    pub fn take_over(mut self, spool: Option<&Path>) -> Result<(), SuccessionError> {
        if self.estate.spool.as_deref() != spool {
            let held = self.estate.spool.map_or("none".to_owned(), |spool| spool.display().to_string());
            return Err(SuccessionError::OtherSpool { held });
        }
        self.channel.write_all(&[READY])?;
        self.channel.set_read_timeout(Some(GO_LIMIT))?;
        let mut word = [0];
        match self.channel.read_exact(&mut word) {
            Ok(()) if word == [GO] => Ok(()),
            _ => Err(SuccessionError::CalledOff),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
            let estate = Estate { supervised, spool: spool.map(PathBuf::from) };
            let (_old, predecessor, sent, received) = told(&estate);
            assert_eq!(predecessor.estate, estate);
            for (sent, received) in sent.iter().zip(&received) {
                assert_eq!(sent.local_addr().unwrap(), received.local_addr().unwrap());
            }
        }
    }

    #[test]
    fn a_successor_takes_over_when_it_is_let_and_not_when_the_other_goes_on() {
        let estate = Estate { supervised: false, spool: Some(PathBuf::from("/spool")) };
        let (mut old, predecessor, ..) = told(&estate);
        old.write_all(&[GO]).unwrap();
        predecessor.take_over(Some(Path::new("/spool"))).unwrap();
        let mut word = [0];
        old.read_exact(&mut word).unwrap();
        assert_eq!(word, [READY]);

        let (old, predecessor, ..) = told(&estate);
        drop(old);
        let error = predecessor.take_over(Some(Path::new("/spool"))).unwrap_err();
        assert!(matches!(error, SuccessionError::CalledOff | SuccessionError::Channel(_)), "{error}");
    }

    #[test]
    fn another_spool_than_the_one_that_is_held_is_refused_before_anything_is_given_up() {
        let estate = Estate { supervised: false, spool: Some(PathBuf::from("/spool")) };
        for other in [Some(Path::new("/elsewhere")), None] {
            let (mut old, predecessor, ..) = told(&estate);
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

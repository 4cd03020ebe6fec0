//! A proxy on loopback that cuts a connection where the client says a certain thing. It ends, with its connections, when it
//! is dropped.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::{JoinHandle, JoinSet},
};

const PIECE_BYTES: usize = 16 * 1024;

/// Where a connection is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cut {
    /// Before the server hears it.
    Before(&'static str),
    /// When the server has answered, before the client hears that.
    After(&'static str),
}

pub(crate) struct Cutter {
    address: SocketAddr,
    cut: Arc<Mutex<Option<Cut>>>,
    accepting: JoinHandle<()>,
}

impl Cutter {
    /// Starts one in front of `port` of 127.0.0.1.
    pub(crate) async fn start(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let cut = Arc::new(Mutex::new(None));
        let shared = Arc::clone(&cut);
        let accepting = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let Ok((client, _)) = listener.accept().await else { continue };
                let Ok(server) = TcpStream::connect(("127.0.0.1", port)).await else { continue };
                connections.spawn(forward(client, server, Arc::clone(&shared)));
            }
        });
        Self { address, cut, accepting }
    }

    pub(crate) fn port(&self) -> u16 {
        self.address.port()
    }

    /// The next connection that says it is cut, and no other.
    pub(crate) fn cut(&self, cut: Cut) {
        *self.cut.lock().unwrap() = Some(cut);
    }

    /// Whether the cut was made.
    pub(crate) fn has_cut(&self) -> bool {
        self.cut.lock().unwrap().is_none()
    }
}

impl Drop for Cutter {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn forward(mut client: TcpStream, mut server: TcpStream, cut: Arc<Mutex<Option<Cut>>>) {
    let (mut said, mut answered) = (vec![0; PIECE_BYTES], vec![0; PIECE_BYTES]);
    let mut last = false;
    loop {
        tokio::select! {
            read = client.read(&mut said) => {
                let Ok(count @ 1..) = read else { return };
                let told = *cut.lock().unwrap();
                if let Some(Cut::Before(text) | Cut::After(text)) = told
                    && said[..count].windows(text.len()).any(|window| window == text.as_bytes())
                {
                    *cut.lock().unwrap() = None;
                    if matches!(told, Some(Cut::Before(_))) {
                        return;
                    }
                    last = true;
                }
                if server.write_all(&said[..count]).await.is_err() {
                    return;
                }
            }
            read = server.read(&mut answered) => {
                let Ok(count @ 1..) = read else { return };
                if last || client.write_all(&answered[..count]).await.is_err() {
                    return;
                }
            }
        }
    }
}

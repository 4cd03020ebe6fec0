use std::{future::pending, net::SocketAddr, thread};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    runtime::Builder,
    task::{LocalSet, spawn_local},
};

use super::*;
use crate::{
    batch::StreamName,
    rehearse::{profile::Profile, target::Target},
};

/// A second of a steady load against `address`.
fn plan(address: SocketAddr, metrics: SocketAddr) -> Plan {
    let target = |address: SocketAddr| Target::resolve(&format!("http://{address}"), false).unwrap();
    Plan {
        target: target(address),
        metrics: target(metrics),
        profile: Profile::Steady,
        peak: Some(200.0),
        duration: Duration::from_secs(1),
        mix: Profile::Steady.mix(),
        devices: 100,
        connections: 64,
        events: 1,
        gzip: false,
        stream: StreamName::new("rehearsal").unwrap(),
        key: None,
        seed: 1,
        constant_retry_after: None,
    }
}

fn run<F: Future>(test: F) -> F::Output {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    LocalSet::new().block_on(&runtime, test)
}

/// A server that takes every batch of one event.
async fn takes_all() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    spawn_local(async move {
        while let Ok((stream, _)) = listener.accept().await {
            spawn_local(take(stream));
        }
    });
    address
}

async fn take(mut stream: TcpStream) {
    let mut request = Vec::new();
    while stream.read_buf(&mut request).await.is_ok_and(|read| read > 0) {
        if request.ends_with(b"}]") {
            request.clear();
            if stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.is_err() {
                return;
            }
        }
    }
}

/// An address where nobody listens any more.
async fn nobody() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}

#[test]
fn a_generator_that_stands_still_at_the_end_does_not_hide_what_was_due() {
    run(async {
        let plan = plan(takes_all().await, nobody().await);
        // Behind half a second everything stands still until the end.
        let mut stand_still = |_: &Progress| thread::sleep(Duration::from_millis(700));
        let report = play(&plan, pending(), &mut stand_still).await.unwrap();
        let due = Arrivals::new(plan.flood(200.0), plan.seed).count() as u64;
        assert_eq!(report.totals.new, due, "{:?}", report.totals);
        assert_eq!(report.totals.sent + report.totals.unsent, due, "{:?}", report.totals);
    });
}

#[test]
fn a_rehearsal_is_stopped_while_it_still_asks() {
    run(async {
        // The metrics are asked for, and never told.
        let mute = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let plan = plan(takes_all().await, mute.local_addr().unwrap());
        let stop = async { drop(mute.accept().await) };
        let start = Instant::now();
        let stopped = play(&plan, stop, &mut |_| ()).await.unwrap_err();
        assert!(matches!(stopped, FleetError::Stopped), "{stopped}");
        assert!(start.elapsed() < Duration::from_secs(4), "{:?}", start.elapsed());
    });
}

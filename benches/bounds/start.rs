//! From the start of the process to its first 200.

use std::{
    io::{Read, Write},
    net::TcpStream,
    time::Instant,
};

use serde_json::json;
use tempfile::TempDir;

use crate::{
    EVENTS, events,
    figure::{Figure, Of},
    rig::Rig,
    servers::{Launch, Target, directory},
};

const LIMIT_MS: f64 = 100.0;
/// How many starts each.
const STARTS: usize = 20;

/// From fork and exec to the first batch that is answered 200, in ms: with a new spool, and with one that is there.
pub(crate) fn figures(rig: &Rig, _: usize) -> Vec<Figure> {
    println!("\nstart: from fork and exec to the first 200, {STARTS} times each, on one core");
    let figure = |name, rounds| Figure { name, unit: "ms", limit: LIMIT_MS, rounds, of: Of::Median, more: json!([]) };
    let new = (0..STARTS).map(|_| once(rig, directory()).0).collect();
    let mut dir = once(rig, directory()).1;
    let mut there = Vec::new();
    for _ in 0..STARTS {
        let (took, left) = once(rig, dir);
        there.push(took);
        dir = left;
    }
    vec![
        figure("start to the first accepted batch, a new spool", new),
        figure("start to the first accepted batch, an empty spool that is there", there),
    ]
}

/// Starts a server in `dir` and posts a batch: how long that took, in ms, and the directory.
fn once(rig: &Rig, dir: TempDir) -> (f64, TempDir) {
    let body = events::body(0, EVENTS);
    let head = format!(
        "POST /v1/logs/heard HTTP/1.1\r\nhost: logs.example.com\r\ncontent-type: application/json\r\n\
         connection: close\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    let began = Instant::now();
    let target = Target::launch(rig.server, Launch { dir: Some(dir), ..Launch::default() });
    let mut stream = TcpStream::connect(target.address).expect("the server accepts");
    stream.write_all(&[head.as_bytes(), &body].concat()).expect("the batch is sent");
    let mut status = [0; "HTTP/1.1 200".len()];
    stream.read_exact(&mut status).expect("the server answers");
    let took = began.elapsed().as_secs_f64() * 1e3;
    assert_eq!(&status, b"HTTP/1.1 200", "the batch is accepted");
    let ended = target.stop();
    assert!(ended.well, "the server stores everything and ends");
    (took, ended.dir.expect("logweir has a directory"))
}

//! Events that can be told apart: what was promised about each is kept, and compared with what the objects hold.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    net::SocketAddr,
    path::Path,
    thread::{self, JoinHandle},
};

use serde_json::{Value, json};

use crate::{
    client::{Client, Post},
    objects,
};

/// The stream that the events go to.
const STREAM: &str = "traced";

/// What was sent, and what was promised about it.
#[derive(Default)]
pub(crate) struct Book {
    /// Events whose batch was answered with success: each must be in exactly one object, once.
    pub(crate) acknowledged: BTreeSet<String>,
    /// Events whose batch got no answer, or another: each may be found, once.
    pub(crate) uncertain: BTreeSet<String>,
}

impl Book {
    pub(crate) fn merge(&mut self, other: Self) {
        self.acknowledged.extend(other.acknowledged);
        self.uncertain.extend(other.uncertain);
    }

    /// Sends a batch of `count` events whose names begin with `name`, and notes what came of it.
    pub(crate) fn send(&mut self, client: &mut Client, name: &str, count: usize) -> io::Result<u16> {
        let names: Vec<String> = (0..count).map(|number| format!("{name}-{number}")).collect();
        let events: Value = names.iter().map(|name| json!({ "trace": name, "padding": "x".repeat(200) })).collect();
        let answer = client.post(Post {
            stream: STREAM,
            headers: &[("content-type", "application/json"), ("idempotency-key", name)],
            body: events.to_string().as_bytes(),
        });
        match answer {
            Ok(answer) if answer.status == 200 => {
                assert_eq!(answer.json()["accepted"], count);
                self.acknowledged.extend(names);
                Ok(200)
            }
            other => {
                self.uncertain.extend(names);
                other.map(|answer| answer.status)
            }
        }
    }

    /// Sends one batch on a connection of its own, which must be taken.
    pub(crate) fn send_one(&mut self, address: SocketAddr, name: &str, count: usize) {
        assert_eq!(self.send(&mut Client::connect(address).unwrap(), name, count).unwrap(), 200);
    }

    /// Compares with the objects below `root`.
    pub(crate) fn compare(&self, root: &Path) {
        let mut found: BTreeMap<String, String> = BTreeMap::new();
        for object in objects::read(root) {
            assert_eq!((object.stream.as_str(), object.rejected), (STREAM, false), "{}", object.key);
            for line in &object.lines {
                let name = line.get("trace").and_then(Value::as_str).unwrap();
                if let Some(other) = found.insert(name.to_owned(), object.key.clone()) {
                    panic!("{name} is in {other} and in {}", object.key);
                }
            }
        }
        let lost: Vec<_> = self.acknowledged.iter().filter(|name| !found.contains_key(*name)).collect();
        assert!(
            lost.is_empty(),
            "{} of {} acknowledged events are lost: {lost:?}",
            lost.len(),
            self.acknowledged.len()
        );
        let sent = |name: &String| self.acknowledged.contains(name) || self.uncertain.contains(name);
        let invented: Vec<_> = found.keys().filter(|name| !sent(name)).collect();
        assert!(invented.is_empty(), "nobody sent {} of what is stored, such as {}", invented.len(), invented[0]);
    }
}

/// Connections that send batch after batch until the server is gone.
pub(crate) struct Load(Vec<JoinHandle<Book>>);

impl Load {
    /// Starts `connections` of them; the events' names begin with `name`.
    pub(crate) fn start(address: SocketAddr, connections: usize, name: &str) -> Self {
        let connection = |number| {
            let name = format!("{name}-{number}");
            thread::Builder::new().spawn(move || send_until_gone(address, &name)).unwrap()
        };
        Self((0..connections).map(connection).collect())
    }

    /// Waits until every connection has noticed that the server is gone.
    pub(crate) fn join(self) -> Book {
        let mut book = Book::default();
        for connection in self.0 {
            book.merge(connection.join().unwrap());
        }
        book
    }
}

fn send_until_gone(address: SocketAddr, name: &str) -> Book {
    let mut book = Book::default();
    let Ok(mut client) = Client::connect(address) else { return book };
    for number in 0.. {
        let count = 1 + number % 20;
        match book.send(&mut client, &format!("{name}-{number}"), count) {
            Ok(status) => assert!([200, 429, 503].contains(&status), "{status}"),
            Err(_) => break,
        }
    }
    book
}

//! The plain calls against moto. It runs no SQL, has no `BatchExecuteStatement`, and its statements never end by
//! themselves: what is seen here is that it takes what is sent.
//!
//! It tells times as text, where the protocol has seconds since 1970, and the SDK does not take that: they are set right on
//! the way.

use std::time::Duration;

use logweir::warehouse::load::{Failure, Script, Session, Step};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::{
    data_api::{session, settings},
    moto_server::Moto,
};

/// Sets the times right in what the server at `port` answers: the port where that is done.
async fn with_times_set_right(port: u16) -> u16 {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let here = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        loop {
            let (client, _) = listener.accept().await.unwrap();
            let server = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.unwrap();
            tokio::spawn(async move {
                let (mut asks, mut hears) = client.into_split();
                let (mut answers, mut takes) = server.into_split();
                tokio::spawn(async move { tokio::io::copy(&mut asks, &mut takes).await });
                // It closes the connection behind each answer.
                let mut answer = Vec::new();
                answers.read_to_end(&mut answer).await.unwrap();
                let mut answer = String::from_utf8(answer).unwrap();
                for name in ["\"CreatedAt\": ", "\"UpdatedAt\": "] {
                    if let Some(place) = answer.find(name) {
                        let at = place + name.len();
                        let text = "\"2026-11-24T19:33:25Z\"";
                        // As long as it was.
                        answer.replace_range(at..at + text.len(), &format!("{:<1$}", 1_795_548_805, text.len()));
                    }
                }
                let _ = hears.write_all(answer.as_bytes()).await;
            });
        }
    });
    here
}

#[tokio::test]
async fn moto_takes_a_statement_describes_it_and_cancels_it() {
    let Some(moto) = Moto::start() else { return };
    let port = with_times_set_right(moto.port).await;
    let mut settings = settings(&format!("http://127.0.0.1:{port}"));
    settings.statement_timeout = Duration::from_secs(1);
    settings.pacing.call_timeout = Duration::from_secs(10);
    let mut session = session(settings);
    // Only what was cancelled there ends here.
    let failure = session.rows("SELECT 1").await.unwrap_err();
    assert!(matches!(&failure, Failure::Unreachable(why) if why.contains("cancelled after 1s")), "{failure:?}");
    // What it does not know is not taken for done.
    let script = Script { steps: vec![Step::Sql { what: "a test", sql: "SELECT 1".to_owned() }] };
    assert!(session.run(&script).await.is_err());
}

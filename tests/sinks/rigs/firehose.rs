//! The Firehose sink over a server that holds it to the real limits, with a line a record: records fail one by one, and a
//! record of many lines is taken whole.

use std::{sync::Arc, time::Duration};

use aws_config::{Region, SdkConfig};
use aws_credential_types::{Credentials, provider::SharedCredentialsProvider};
use logweir::sink::{
    BoxFuture, CallLimits, FirehoseSettings, FirehoseSink, LineSink, Outcome, Packing, Parcel, Targets,
};

use crate::{
    firehose_server::{self, FirehoseServer},
    ground::STREAMS,
    rig::{Rig, Sink},
    script::{Fault, Script},
    segments::SINK,
};

/// Where rejected events go.
const REJECTED: &str = "logweir-rejected";

/// The Firehose sink over delivery streams.
pub(crate) struct Firehose {
    server: Arc<FirehoseServer>,
    script: Script,
}

impl Rig for Firehose {
    fn cannot(fault: Fault) -> Option<&'static str> {
        match fault {
            Fault::Never(_) => Some("Firehose refuses no line for ever but one that is longer than a record"),
            Fault::Panics => Some("a server's fault is no panic of the client"),
            _ => None,
        }
    }

    async fn start(script: Script) -> Self {
        Self { server: Arc::new(FirehoseServer::start([])), script }
    }

    fn sink(&self) -> Sink {
        let credentials = Credentials::new("AKIALOGWEIRTESTS", "a secret", None, None, "tests");
        let config = SdkConfig::builder()
            .credentials_provider(SharedCredentialsProvider::new(credentials))
            .region(Region::new("us-east-1"))
            .build();
        let settings = FirehoseSettings {
            sink: SINK.into(),
            region: None,
            endpoint: Some(self.server.endpoint()),
            connect_timeout: Duration::from_secs(3),
            targets: Targets {
                delivery_stream: Some("logweir-{stream}".into()),
                rejected_stream: Some(REJECTED.into()),
                ..Targets::default()
            },
            packing: Packing::Single,
        };
        let sink = FirehoseSink::with_config(&config, settings).unwrap();
        Sink::Lines(Arc::new(Scripted { sink, server: Arc::clone(&self.server), script: self.script.clone() }))
    }

    fn arrived(&self) -> Vec<String> {
        let streams = STREAMS.map(|stream| format!("logweir-{stream}"));
        let streams = streams.iter().map(String::as_str).chain([REJECTED]);
        streams.flat_map(|stream| self.server.lines(stream)).collect()
    }
}

/// Tells the server what the next call meets with, now that it is known how many records it has. Calls on their way at the
/// same time may take each other's faults, which is as good.
struct Scripted {
    sink: FirehoseSink,
    server: Arc<FirehoseServer>,
    script: Script,
}

impl LineSink for Scripted {
    fn limits(&self) -> CallLimits {
        self.sink.limits()
    }

    fn deliver<'a>(&'a self, parcel: &'a Parcel) -> BoxFuture<'a, Outcome> {
        self.server.fault(fault(self.script.next(), parcel.lines()));
        self.sink.deliver(parcel)
    }
}

fn fault(fault: Option<Fault>, records: usize) -> firehose_server::Fault {
    use firehose_server::Fault as Does;
    match fault {
        None => Does::None,
        Some(Fault::Refused) => Does::Refuse(400, "ExpiredTokenException"),
        Some(Fault::Throttled(None)) => Does::UNAVAILABLE,
        // In whole seconds, as the header has it.
        Some(Fault::Throttled(Some(_))) => Does::RefuseFor(400, "ThrottlingException", 1),
        Some(Fault::Part(part)) => {
            let failed = (0..records).filter(|record| part.has(*record, records));
            Does::Partly(failed.map(|record| (record, "ServiceUnavailableException")).collect())
        }
        Some(Fault::Lost) => Does::Cut,
        Some(Fault::AnswerLost) => Does::TakeAndCut,
        Some(Fault::Hangs) => Does::Hang,
        Some(Fault::HangsAfter) => Does::TakeAndHang,
        Some(fault @ (Fault::Never(_) | Fault::Panics)) => panic!("{fault:?} is nothing that Firehose meets with"),
    }
}

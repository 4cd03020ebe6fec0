//! The S3 sink over a server that speaks the real protocol. A script's attempts are its `PutObject` requests; those that
//! go well stand at the end.

use std::{sync::Arc, time::Duration};

use aws_config::{Region, SdkConfig};
use aws_sdk_s3::config::{Credentials, SharedCredentialsProvider};
use logweir::sink::{S3Encryption, S3Settings, S3Store};

use crate::{
    file::{WHOLE, destination, lines_below},
    rig::{Rig, Sink},
    s3_server::{self, ACCESS_KEY, BUCKET, Operation, S3Server, SECRET_KEY},
    script::{Fault, Script},
};

/// The S3 sink over a bucket.
pub(crate) struct Bucket(S3Server);

impl Rig for Bucket {
    fn cannot(fault: Fault) -> Option<&'static str> {
        match fault {
            Fault::Part(_) | Fault::Never(_) => Some(WHOLE),
            Fault::Throttled(Some(_)) => Some("S3 does not say when to come again"),
            Fault::Panics => Some("a driver of objects is not held to it: it stores pages of the books itself"),
            _ => None,
        }
    }

    async fn start(script: Script) -> Self {
        let server = S3Server::start().await;
        while script.left() > 0 {
            let fault = match script.next() {
                None => continue,
                Some(Fault::Refused) => s3_server::Fault::Answer(500, "InternalError"),
                Some(Fault::Throttled(_)) => s3_server::Fault::Answer(503, "SlowDown"),
                Some(Fault::Lost) => s3_server::Fault::ResetAt(1),
                Some(Fault::AnswerLost) => s3_server::Fault::LoseAnswer,
                Some(Fault::Hangs) => s3_server::Fault::Silence,
                Some(Fault::HangsAfter) => s3_server::Fault::SilenceAfter,
                Some(fault) => panic!("{fault:?} is nothing that S3 meets with"),
            };
            server.fault(Operation::Put, 1, fault);
        }
        Self(server)
    }

    fn sink(&self) -> Sink {
        let config = SdkConfig::builder()
            .credentials_provider(SharedCredentialsProvider::new(Credentials::new(
                ACCESS_KEY, SECRET_KEY, None, None, "tests",
            )))
            .region(Region::new("ap-northeast-2"))
            .build();
        let settings = S3Settings {
            region: None,
            endpoint: Some(self.0.endpoint()),
            path_style: true,
            storage_class: None,
            encryption: S3Encryption::Bucket,
            connect_timeout: Duration::from_secs(3),
        };
        let store = S3Store::with_config(&config, settings).unwrap();
        Sink::Objects(Arc::new(store), destination("s3", BUCKET))
    }

    fn arrived(&self) -> Vec<String> {
        lines_below(&self.0.objects(), "")
    }
}

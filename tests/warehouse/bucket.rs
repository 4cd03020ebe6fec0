//! Objects of a bucket, over S3's protocol.

use std::{path::Path, sync::Arc, time::Duration};

use aws_config::{Region, SdkConfig};
use aws_sdk_s3::config::{Credentials, SharedCredentialsProvider};
use logweir::{
    sink::{S3Encryption, S3Settings, S3Store},
    warehouse::{
        Place,
        load::{Loader, PostgresSession, Report, Stop},
    },
};

use crate::{
    postgres::{self, Postgres},
    s3_server::{ACCESS_KEY, BUCKET, Fault, Operation, S3Server, SECRET_KEY},
    segments::RECEIVED,
    world::{HOUR, World, address, batch, events},
};

fn copy(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let copied = to.join(path.file_name().unwrap());
        if path.is_dir() {
            std::fs::create_dir_all(&copied).unwrap();
            copy(&path, &copied);
        } else {
            std::fs::copy(&path, &copied).unwrap();
        }
    }
}

fn place(server: &S3Server) -> Arc<Place> {
    let credentials = Credentials::new(ACCESS_KEY, SECRET_KEY, None, None, "tests");
    let config = SdkConfig::builder()
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .region(Region::new("ap-northeast-2"))
        .build();
    let settings = S3Settings {
        region: None,
        endpoint: Some(server.endpoint()),
        path_style: true,
        storage_class: None,
        encryption: S3Encryption::Bucket,
        connect_timeout: Duration::from_secs(3),
    };
    Arc::new(Place {
        store: Arc::new(S3Store::with_config(&config, settings).unwrap()),
        bucket: BUCKET.to_owned(),
        prefix: "raw/".to_owned(),
        timeout: Duration::from_secs(10),
    })
}

#[tokio::test]
async fn what_is_in_a_bucket_is_loaded_once_though_the_store_is_busy() {
    if !postgres::is_installed() {
        return;
    }
    let postgres = Postgres::start();
    let world = World::new(&postgres, "bucket");
    let all: Vec<_> = (0..4).flat_map(|n| events(&format!("s{n}"), 50, RECEIVED + n * HOUR)).collect();
    let segments = (0..4).map(|n| vec![batch(RECEIVED + n * HOUR, &events(&format!("s{n}"), 50, RECEIVED + n * HOUR))]);
    world.store(segments.collect()).await;
    let server = S3Server::start().await;
    copy(&world.root(), &server.objects());
    let place = place(&server);
    for round in 0..2 {
        server.fault(Operation::Other, 3, Fault::Answer(503, "SlowDown"));
        let session = PostgresSession::new(address(postgres.port, "postgres"), Arc::clone(&place));
        let mut loader = Loader::new(Box::new(session), Arc::clone(&place), world.settings(), Stop::default());
        let mut report = Report::default();
        loader.round(true, &mut report, &mut |_| ()).await.unwrap();
        let rows = report.streams[0].rows.loaded;
        assert_eq!(rows, if round == 0 { 200 } else { 0 }, "{report}");
    }
    world.assert_once(&postgres, &all, 4);
}

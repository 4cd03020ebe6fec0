//! Against moto: a delivery stream into a bucket, read back from the bucket. It never fails in part and checks no limits.

use std::{
    net::{TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use aws_sdk_firehose::types::{DeliveryStreamType, ExtendedS3DestinationConfiguration};
use logweir::sink::{LineSink, Packing};

use crate::{DELIVERY_STREAM, config, lines, sink_at};

/// How long it may take to start.
const START: Duration = Duration::from_mins(1);

struct Moto {
    server: Child,
    port: u16,
}

impl Moto {
    /// Starts one, if it is installed. Tests that need it say on standard error that they were left out.
    #[expect(clippy::disallowed_macros, clippy::print_stderr, reason = "a test tells what it left out")]
    fn start() -> Option<Self> {
        let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/python/bin/moto_server");
        if !program.exists() {
            eprintln!("left out: target/python has no moto_server; tests/run installs it");
            return None;
        }
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut command = Command::new(program);
        command.args(["-H", "127.0.0.1", "-p", &port.to_string()]);
        let server = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let moto = Self { server, port };
        let began = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(began.elapsed() < START, "moto does not start");
            thread::sleep(Duration::from_millis(50));
        }
        Some(moto)
    }

    fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }
}

impl Drop for Moto {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

#[tokio::test]
async fn moto_delivers_to_its_bucket_what_the_sink_puts() {
    let Some(moto) = Moto::start() else { return };
    let http = aws_smithy_http_client::Builder::new().build_http();
    let config = config().into_builder().endpoint_url(moto.endpoint()).http_client(http).build();
    let config = config.into_builder().behavior_version(aws_config::BehaviorVersion::latest()).build();
    let buckets =
        aws_sdk_s3::Client::from_conf(aws_sdk_s3::config::Builder::from(&config).force_path_style(true).build());
    buckets.create_bucket().bucket("landing").send().await.unwrap();
    let firehose = aws_sdk_firehose::Client::new(&config);
    let destination = ExtendedS3DestinationConfiguration::builder()
        .role_arn("arn:aws:iam::123456789012:role/firehose")
        .bucket_arn("arn:aws:s3:::landing")
        .build()
        .unwrap();
    firehose
        .create_delivery_stream()
        .delivery_stream_name(DELIVERY_STREAM)
        .delivery_stream_type(DeliveryStreamType::DirectPut)
        .extended_s3_destination_configuration(destination)
        .send()
        .await
        .unwrap();

    let parcel = lines(1_234);
    let outcome = sink_at(moto.endpoint(), Packing::Lines).deliver(&parcel).await;
    assert!(outcome.left.is_empty(), "{outcome:?}");
    let listed = buckets.list_objects_v2().bucket("landing").send().await.unwrap();
    let mut arrived = Vec::new();
    for object in listed.contents() {
        let got = buckets.get_object().bucket("landing").key(object.key().unwrap()).send().await.unwrap();
        arrived.extend_from_slice(&got.body.collect().await.unwrap().into_bytes());
    }
    // One call: moto writes its records one behind the other, as Firehose does.
    assert_eq!(arrived, parcel.range(0..parcel.lines()));

    // A delivery stream that is not there is for people to make.
    firehose.delete_delivery_stream().delivery_stream_name(DELIVERY_STREAM).send().await.unwrap();
    let outcome = sink_at(moto.endpoint(), Packing::Lines).deliver(&parcel).await;
    assert!(outcome.error.unwrap().to_string().contains("ResourceNotFoundException"));
}

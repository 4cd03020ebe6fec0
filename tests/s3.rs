//! Objects in S3: against a server that speaks the real protocol, and does so badly where it is told to.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "common/copy_rules.rs"]
mod copy_rules;
#[path = "common/s3_server.rs"]
mod s3_server;
#[path = "common/segments.rs"]
mod segments;

use std::{
    error::Error,
    io::{self, Write},
    net::TcpListener,
    ops::Deref,
    sync::{Arc, Mutex},
    time::Duration,
};

use aws_config::{Region, SdkConfig};
use aws_sdk_s3::config::{Credentials, ProvideCredentials, RequestChecksumCalculation, SharedCredentialsProvider};
use logweir::{
    sink::{
        Backoff, BodyError, FIRST_PART_BYTES, Failure, ObjectDriver, ObjectPlan, ObjectSettings, ObjectStore,
        PART_BYTES, Placed, PutError, S3Encryption, S3Settings, S3Store,
    },
    spool::Destination,
};
use s3_server::{ACCESS_KEY, BAD_DAY, BUCKET, Fault, Operation, S3Server, SECRET_KEY, base64};
use segments::{Object, SINK, Segments, noise};
use tokio::time::{sleep, timeout};

/// Enough lines for an object of three parts, but not for one of four: noise of 64 letters loses a fifth.
const LARGE_BYTES: usize = 24 * 1024 * 1024;

/// A server, whose objects are held to the rules of COPY at the end.
struct Bucket(S3Server);

impl Bucket {
    async fn start() -> Self {
        Self(S3Server::start().await)
    }
}

impl Deref for Bucket {
    type Target = S3Server;

    fn deref(&self) -> &S3Server {
        &self.0
    }
}

impl Drop for Bucket {
    fn drop(&mut self) {
        copy_rules::check_tree(&self.0.objects());
    }
}

fn destination() -> Destination {
    Destination {
        sink: SINK.into(),
        kind: "s3".into(),
        place: BUCKET.into(),
        prefix: "raw/".into(),
        codec: "gzip".into(),
        level: 1,
        streams: Vec::new(),
    }
}

fn settings(endpoint: String) -> S3Settings {
    S3Settings {
        region: None,
        endpoint: Some(endpoint),
        path_style: true,
        storage_class: None,
        encryption: S3Encryption::Bucket,
        connect_timeout: Duration::from_secs(3),
    }
}

/// What an environment might say that is not meant for logweir.
fn config(credentials: impl ProvideCredentials + 'static) -> SdkConfig {
    SdkConfig::builder()
        .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .region(Region::new("ap-northeast-2"))
        .build()
}

fn store_of(settings: S3Settings) -> S3Store {
    let credentials = Credentials::new(ACCESS_KEY, SECRET_KEY, None, None, "tests");
    S3Store::with_config(&config(credentials), settings).unwrap()
}

fn store(server: &S3Server) -> S3Store {
    store_of(settings(server.endpoint()))
}

/// A segment of a few lines, and the object that they become.
fn small() -> (Segments, Object) {
    small_of("{\"event_id\":\"1\"}\n{\"event_id\":\"2\"}\n")
}

fn small_of(lines: &str) -> (Segments, Object) {
    let segments = Segments::sealed(&destination(), &[("heard", lines.to_owned())]);
    let object = segments.objects().remove(0);
    (segments, object)
}

fn large() -> (Segments, Object) {
    small_of(&noise(LARGE_BYTES, 1))
}

/// A segment of `lines` that is to become a zstd frame.
fn zstd_of(lines: &str) -> (Segments, Object) {
    let destination = Destination { codec: "zstd".into(), level: 3, ..destination() };
    let segments = Segments::sealed(&destination, &[("heard", lines.to_owned())]);
    let object = segments.objects().remove(0);
    (segments, object)
}

/// The lines in a zstd frame that has nothing behind it.
fn unframed(bytes: &[u8]) -> Vec<u8> {
    copy_rules::lines(bytes).unwrap().into_iter().chain([b'\n']).collect()
}

/// Something else under the key of `plan`.
fn at_the_key_of(plan: &ObjectPlan, other: &Object) -> ObjectPlan {
    ObjectPlan { key: plan.key.clone(), ..other.plan() }
}

/// The lines in an object, which is one gzip member and nothing behind it.
fn gunzip(bytes: &[u8]) -> Vec<u8> {
    let mut member = flate2::bufread::GzDecoder::new(bytes);
    let mut lines = Vec::new();
    io::copy(&mut member, &mut lines).unwrap();
    assert!(member.into_inner().is_empty(), "one gzip member");
    lines
}

fn cause(put: Result<Placed, PutError>) -> Failure {
    match put {
        Err(PutError::Store(error)) => error.cause,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn an_object_arrives_whole_with_its_facts_and_its_checksum() {
    let server = Bucket::start().await;
    let (_segments, object) = small();
    let plan = object.plan();
    let placed = store(&server).put(&plan, object.body()).await.unwrap();
    let key = plan.key.to_string();
    assert_eq!(server.keys(), [key.as_str()]);
    assert!(key.starts_with("raw/heard/dt=2026-11-22/hour=09/") && key.ends_with("-0000000001.ndjson.gz"), "{key}");
    let bytes = server.object(&key);
    assert_eq!(placed, Placed::Stored(bytes.len() as u64));
    assert_eq!(gunzip(&bytes), object.lines());

    let seen = server.seen().remove(0);
    assert_eq!(seen.header("content-type"), Some("application/gzip"));
    assert_eq!(seen.header("if-none-match"), Some("*"));
    assert_eq!(seen.header("content-length"), Some(bytes.len().to_string().as_str()));
    let sum = base64(&crc32fast::hash(&bytes).to_be_bytes());
    assert_eq!(seen.header("x-amz-checksum-crc32"), Some(sum.as_str()));
    for absent in ["content-encoding", "transfer-encoding", "x-amz-trailer", "x-amz-storage-class"] {
        assert_eq!(seen.header(absent), None, "{absent}");
    }
    for (name, value) in plan.facts.metadata() {
        assert_eq!(seen.header(&format!("x-amz-meta-{name}")), Some(value.as_str()), "{name}");
    }
    assert!(!seen.headers.values().any(|value| value.to_str().unwrap().contains(SECRET_KEY)));
}

#[tokio::test]
async fn an_object_put_again_existed_and_another_one_is_left_alone() {
    let server = Bucket::start().await;
    let (_segments, object) = small();
    let (_others, other) = small_of("{\"event_id\":\"3\"}\n");
    let plan = object.plan();
    let key = plan.key.to_string();
    let store = store(&server);
    store.put(&plan, object.body()).await.unwrap();
    let bytes = server.object(&key);
    assert_eq!(store.put(&plan, object.body()).await.unwrap(), Placed::Existed);
    assert_eq!(store.put(&at_the_key_of(&plan, &other), other.body()).await.unwrap(), Placed::Occupied);
    assert_eq!(server.object(&key), bytes);
    assert_eq!(server.keys().len(), 1);
    let (put, head) = (Operation::Put, Operation::Head);
    assert_eq!(server.operations(), [put, put, head, put, head]);
}

#[tokio::test]
async fn a_large_object_goes_in_equal_parts_and_is_found_when_it_is_put_again() {
    let server = Bucket::start().await;
    let (_segments, object) = large();
    let plan = object.plan();
    let store = store(&server);
    let placed = store.put(&plan, object.body()).await.unwrap();
    let bytes = server.object(&plan.key.to_string());
    assert_eq!(placed, Placed::Stored(bytes.len() as u64));
    assert!(bytes.len() > FIRST_PART_BYTES, "{}", bytes.len());
    assert_eq!(gunzip(&bytes), object.lines());
    assert_eq!(server.open_uploads(), (0, 0));

    let seen = server.seen();
    let operations: Vec<_> = seen.iter().map(|seen| seen.operation).collect();
    let part = Operation::Part;
    assert_eq!(operations, [Operation::Create, part, part, part, Operation::Complete]);
    for (part, bytes) in seen[1..4].iter().zip(bytes.chunks(PART_BYTES)) {
        assert_eq!(part.body_bytes, bytes.len());
        let sum = base64(&crc32fast::hash(bytes).to_be_bytes());
        assert_eq!(part.header("x-amz-checksum-crc32"), Some(sum.as_str()));
        assert_eq!(part.header("content-encoding"), None);
    }
    assert_eq!(seen[0].header("content-type"), Some("application/gzip"));
    assert_eq!(seen[0].header("x-amz-checksum-algorithm"), Some("CRC32"));
    assert_eq!(seen[0].header("x-amz-meta-logweir-crc32"), Some(format!("{:08x}", plan.facts.crc32).as_str()));
    assert_eq!(seen[4].header("if-none-match"), Some("*"));

    assert_eq!(store.put(&plan, object.body()).await.unwrap(), Placed::Existed);
    assert_eq!(server.object(&plan.key.to_string()), bytes);
    no_upload_is_left(&server).await;
}

#[tokio::test]
async fn a_zstd_object_arrives_as_one_is_found_again_and_leaves_another_alone() {
    let server = Bucket::start().await;
    let (_segments, object) = zstd_of("{\"event_id\":\"1\"}\n{\"event_id\":\"2\"}\n");
    let (_others, other) = zstd_of("{\"event_id\":\"1\"}\n{\"event_id\":\"3\"}\n");
    let plan = object.plan();
    let key = plan.key.to_string();
    assert!(key.ends_with("-0000000001.ndjson.zst"), "{key}");
    let store = store(&server);
    assert!(matches!(store.put(&plan, object.body()).await.unwrap(), Placed::Stored(_)));
    let bytes = server.object(&key);
    assert_eq!(unframed(&bytes), object.lines());
    let seen = server.seen().remove(0);
    assert_eq!(seen.header("content-type"), Some("application/zstd"));
    assert_eq!(seen.header("content-encoding"), None);
    assert_eq!(seen.header("x-amz-meta-logweir-crc32"), Some(format!("{:08x}", plan.facts.crc32).as_str()));
    assert_eq!(store.put(&plan, object.body()).await.unwrap(), Placed::Existed);
    assert_eq!(store.put(&at_the_key_of(&plan, &other), other.body()).await.unwrap(), Placed::Occupied);
    assert_eq!(server.object(&key), bytes);
    let told = store.told(BUCKET, &key).await.unwrap().unwrap();
    assert!(told.matches(2, object.lines().len() as u64, plan.facts.crc32), "{told:?}");
}

#[tokio::test]
async fn a_large_zstd_object_goes_in_equal_parts_and_is_one_frame() {
    let server = Bucket::start().await;
    let (_segments, object) = zstd_of(&noise(LARGE_BYTES, 1));
    let plan = object.plan();
    let store = store(&server);
    let placed = store.put(&plan, object.body()).await.unwrap();
    let bytes = server.object(&plan.key.to_string());
    assert_eq!(placed, Placed::Stored(bytes.len() as u64));
    assert!(bytes.len() > FIRST_PART_BYTES, "{}", bytes.len());
    assert_eq!(unframed(&bytes), object.lines());
    let seen = server.seen();
    let part = Operation::Part;
    let operations: Vec<_> = seen.iter().map(|seen| seen.operation).collect();
    assert_eq!(operations, [Operation::Create, part, part, part, Operation::Complete]);
    assert_eq!(seen[0].header("content-type"), Some("application/zstd"));
    assert!(seen[1..4].iter().zip(bytes.chunks(PART_BYTES)).all(|(part, bytes)| part.body_bytes == bytes.len()));
    assert_eq!(store.put(&plan, object.body()).await.unwrap(), Placed::Existed);
    let failed = store.put(&ObjectPlan { key: plan.key.another(), ..plan }, object.failing_body()).await;
    assert!(matches!(failed, Err(PutError::Body(BodyError::Footer { .. }))), "{failed:?}");
    no_upload_is_left(&server).await;
}

#[tokio::test]
async fn the_driver_stores_zstd_objects_and_gzip_pages_on_a_bad_day() {
    const STREAMS: [&str; 8] = ["a", "b", "c", "d", "e", "f", "g", "h"];
    let server = Bucket::start().await;
    let destination = Destination { codec: "zstd".into(), level: 19, ..destination() };
    let lines: Vec<_> = STREAMS.iter().map(|stream| (*stream, format!("{{\"event_id\":\"{stream}\"}}\n"))).collect();
    let segments = Segments::sealed(&destination, &lines);
    let objects = segments.objects();
    server.fault_at_random(7, &BAD_DAY);
    drive(&server, &segments).await;
    assert_eq!(server.keys(), objects.iter().map(|object| object.plan().key.to_string()).collect::<Vec<_>>());
    for object in objects {
        assert_eq!(unframed(&server.object(&object.plan().key.to_string())), object.lines());
    }
    let pages = server.seen().into_iter().filter(|seen| seen.path.contains("_ledger/segments/"));
    let (put, is_gzip) = (Operation::Put, Some("application/gzip"));
    assert!(pages.filter(|seen| seen.operation == put).all(|page| page.header("content-type") == is_gzip));
}

async fn no_upload_is_left(server: &S3Server) {
    let none = async {
        while server.open_uploads() != (0, 0) {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(Duration::from_secs(10), none).await.expect("the upload is aborted");
}

#[tokio::test]
async fn an_upload_is_aborted_when_it_fails_or_is_cancelled() {
    let server = Bucket::start().await;
    let (_segments, object) = large();
    let plan = object.plan();
    let store = store(&server);

    let failed = store.put(&plan, object.failing_body()).await;
    assert!(matches!(failed, Err(PutError::Body(BodyError::Footer { .. }))), "{failed:?}");
    no_upload_is_left(&server).await;

    server.fault(Operation::Part, 1, Fault::Answer(503, "SlowDown"));
    assert_eq!(cause(store.put(&plan, object.body()).await), Failure::Throttled);
    no_upload_is_left(&server).await;

    server.fault(Operation::Complete, 1, Fault::Answer(409, "ConditionalRequestConflict"));
    assert_eq!(cause(store.put(&plan, object.body()).await), Failure::Conflict);
    no_upload_is_left(&server).await;

    server.seen();
    server.fault(Operation::Part, 1, Fault::Silence);
    let mut put = store.put(&plan, object.body());
    while timeout(Duration::from_millis(50), &mut put).await.is_err() && server.faults_left() > 0 {}
    assert_eq!(server.open_uploads().0, 1);
    drop(put);
    no_upload_is_left(&server).await;
    assert_eq!(server.keys(), [""; 0]);
}

#[tokio::test]
async fn an_upload_that_may_have_been_completed_is_not_aborted() {
    let server = Bucket::start().await;
    let (_segments, object) = large();
    let store = store(&server);
    for (fault, expected) in [
        (Fault::Answer(500, "InternalError"), Failure::Server),
        (Fault::Answer(200, "InternalError"), Failure::Server),
        (Fault::LoseAnswer, Failure::Network),
    ] {
        server.fault(Operation::Complete, 1, fault);
        assert_eq!(cause(store.put(&object.plan(), object.body()).await), expected, "{fault:?}");
    }
    sleep(Duration::from_millis(200)).await;
    assert!(!server.operations().contains(&Operation::Abort));
    assert_eq!(server.open_uploads().0, 2);
    assert_eq!(store.put(&object.plan(), object.body()).await.unwrap(), Placed::Existed);
    assert_eq!(gunzip(&server.object(&object.plan().key.to_string())), object.lines());
}

#[tokio::test]
async fn every_failure_of_the_store_is_told_by_its_cause_and_stores_nothing() {
    let server = Bucket::start().await;
    let (_segments, object) = small();
    let plan = object.plan();
    let store = store(&server);
    for (fault, expected) in [
        (Fault::Answer(403, "AccessDenied"), Failure::Denied),
        (Fault::Answer(400, "ExpiredToken"), Failure::Denied),
        (Fault::Answer(409, "ConditionalRequestConflict"), Failure::Conflict),
        (Fault::Answer(412, "PreconditionFailed"), Failure::Conflict),
        (Fault::Answer(429, "TooManyRequests"), Failure::Throttled),
        (Fault::Answer(500, "InternalError"), Failure::Server),
        (Fault::Answer(503, "ServiceUnavailable"), Failure::Server),
        (Fault::Answer(503, "SlowDown"), Failure::Throttled),
        (Fault::Answer(404, "NoSuchBucket"), Failure::Other),
        (Fault::AnswerEarly(403, "AccessDenied"), Failure::Denied),
        (Fault::ResetAt(0), Failure::Network),
        (Fault::ResetAt(10), Failure::Network),
    ] {
        server.fault(Operation::Put, 1, fault);
        assert_eq!(cause(store.put(&plan, object.body()).await), expected, "{fault:?}");
        assert_eq!(server.faults_left(), 0, "{fault:?}");
    }
    assert_eq!(server.keys(), [""; 0]);
    server.seen();
    assert!(matches!(store.put(&plan, object.body()).await.unwrap(), Placed::Stored(_)));
    assert_eq!(server.operations(), [Operation::Put], "every failure is for the driver to try again");
}

#[tokio::test]
async fn a_taken_key_is_compared_however_the_comparison_goes() {
    let server = Bucket::start().await;
    let (_segments, object) = small();
    let plan = object.plan();
    let key = plan.key.to_string();
    let store = store(&server);
    store.put(&plan, object.body()).await.unwrap();
    for (fault, expected) in [
        (Fault::Answer(403, "AccessDenied"), Failure::Denied),
        (Fault::Answer(500, "InternalError"), Failure::Server),
        (Fault::ResetAt(0), Failure::Network),
        (Fault::Answer(404, "NoSuchKey"), Failure::Conflict),
    ] {
        server.fault(Operation::Head, 1, fault);
        assert_eq!(cause(store.put(&plan, object.body()).await), expected, "{fault:?}");
    }
    assert_eq!(store.put(&plan, object.body()).await.unwrap(), Placed::Existed);
    server.remove(&key);
    assert!(matches!(store.put(&plan, object.body()).await.unwrap(), Placed::Stored(_)));
}

#[tokio::test]
async fn a_refusal_that_comes_before_the_body_is_sent_is_heard() {
    let server = Bucket::start().await;
    // Nearly as large as one request gets, so that the store closes the connection while it is written.
    let (_segments, object) = small_of(&noise(12 * 1024 * 1024, 2));
    let plan = object.plan();
    let store = store(&server);
    assert!(matches!(store.put(&plan, object.body()).await.unwrap(), Placed::Stored(_)));
    for _ in 0..3 {
        server.fault(Operation::Put, 1, Fault::AnswerEarly(412, "PreconditionFailed"));
        assert_eq!(store.put(&plan, object.body()).await.unwrap(), Placed::Existed);
        assert_eq!(server.faults_left(), 0);
    }
}

#[tokio::test]
async fn bytes_that_change_on_the_way_are_not_stored() {
    let server = Bucket::start().await;
    let (_segments, object) = small();
    server.fault(Operation::Put, 1, Fault::Corrupt);
    assert_eq!(cause(store(&server).put(&object.plan(), object.body()).await), Failure::Other);
    assert_eq!(server.keys(), [""; 0]);
}

#[tokio::test]
async fn a_store_that_is_not_there_is_a_failure_of_the_network() {
    let (_segments, object) = small();
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let refused = store_of(settings(format!("http://{closed}"))).put(&object.plan(), object.body()).await;
    assert_eq!(cause(refused), Failure::Network);
    let unknown = store_of(settings("http://no-such-host.invalid".into())).put(&object.plan(), object.body()).await;
    assert_eq!(cause(unknown), Failure::Network);
}

/// A log in memory.
#[derive(Debug, Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn missing_and_wrong_credentials_are_denied_and_never_shown() {
    #[derive(Debug)]
    struct Nobody;
    impl ProvideCredentials for Nobody {
        fn provide_credentials<'a>(&'a self) -> aws_credential_types::provider::future::ProvideCredentials<'a>
        where
            Self: 'a,
        {
            let none = aws_credential_types::provider::error::CredentialsError::not_loaded("there are none");
            aws_credential_types::provider::future::ProvideCredentials::ready(Err(none))
        }
    }
    let server = Bucket::start().await;
    let (_segments, object) = small();
    let log = Log::default();
    let made = {
        let log = log.clone();
        move || log.clone()
    };
    let everything =
        tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_ansi(false).with_writer(made).finish();
    let _logging = tracing::subscriber::set_default(everything);
    let wrong = Credentials::new(ACCESS_KEY, "wrong and secret", Some("sessions token".into()), None, "tests");
    for config in [config(Nobody), config(wrong)] {
        let store = S3Store::with_config(&config, settings(server.endpoint())).unwrap();
        let error = store.put(&object.plan(), object.body()).await.unwrap_err();
        tracing::error!(%error, debug = ?error, source = ?error.source(), "the test's own");
        assert_eq!(cause(Err(error)), Failure::Denied);
    }
    let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    assert!(log.contains("the test's own"));
    for secret in ["wrong and secret", "sessions token"] {
        // The server tells what it is sent; what is asked here is what the client tells.
        let found = log.lines().find(|line| line.contains(secret) && !line.contains(" s3s"));
        assert_eq!(found, None, "{secret}");
    }
}

#[tokio::test]
async fn a_bucket_that_is_not_there_is_no_reason_to_give_up() {
    let server = Bucket::start().await;
    let (_segments, object) = small();
    let elsewhere = ObjectPlan { place: "nowhere".into(), ..object.plan() };
    server.fault(Operation::Put, 1, Fault::Answer(404, "NoSuchBucket"));
    let error = store(&server).put(&elsewhere, object.body()).await.unwrap_err();
    assert!(error.to_string().contains("NoSuchBucket"), "{error}");
    assert_eq!(cause(Err(error)), Failure::Other);
}

#[tokio::test]
async fn class_and_encryption_are_asked_for_as_configured() {
    let server = Bucket::start().await;
    let (_segments, object) = small();
    let (_large_segments, large) = large();
    let store = store_of(S3Settings {
        storage_class: Some("REDUCED_REDUNDANCY".into()),
        encryption: S3Encryption::Kms { key_id: "alias/logs".into() },
        ..settings(server.endpoint())
    });
    store.put(&object.plan(), object.body()).await.unwrap();
    // It is enough to see how the upload is begun.
    server.fault(Operation::Create, 1, Fault::Answer(403, "AccessDenied"));
    assert_eq!(cause(store.put(&large.plan(), large.body()).await), Failure::Denied);
    let seen = server.seen();
    assert_eq!(seen.iter().map(|seen| seen.operation).collect::<Vec<_>>(), [Operation::Put, Operation::Create]);
    for request in seen {
        assert_eq!(request.header("x-amz-storage-class"), Some("REDUCED_REDUNDANCY"));
        assert_eq!(request.header("x-amz-server-side-encryption"), Some("aws:kms"));
        assert_eq!(request.header("x-amz-server-side-encryption-aws-kms-key-id"), Some("alias/logs"));
    }
}

#[tokio::test]
async fn a_store_that_refuses_the_condition_is_asked_first_and_then_put_to_without() {
    for (status, code) in [(501, "NotImplemented"), (400, "InvalidArgument"), (400, "InvalidRequest")] {
        let server = Bucket::start().await;
        let (_segments, object) = small();
        let (_others, other) = small_of("{\"event_id\":\"3\"}\n");
        let plan = object.plan();
        let store = store(&server);
        server.fault(Operation::Put, 100, Fault::RefuseCondition(status, code));
        assert_eq!(cause(store.put(&plan, object.body()).await), Failure::Other);
        assert!(matches!(store.put(&plan, object.body()).await.unwrap(), Placed::Stored(_)));
        assert_eq!(store.put(&plan, object.body()).await.unwrap(), Placed::Existed);
        assert_eq!(store.put(&at_the_key_of(&plan, &other), other.body()).await.unwrap(), Placed::Occupied);
        let (put, head) = (Operation::Put, Operation::Head);
        assert_eq!(server.operations(), [put, head, put, head, head]);
        assert_eq!(server.faults_left(), 99);
        assert_eq!(gunzip(&server.object(&plan.key.to_string())), object.lines());
    }
}

#[tokio::test]
async fn an_upload_whose_completion_refuses_the_condition_is_done_again_without() {
    let server = Bucket::start().await;
    let (_segments, object) = large();
    let store = store(&server);
    server.fault(Operation::Complete, 100, Fault::RefuseCondition(501, "NotImplemented"));
    assert_eq!(cause(store.put(&object.plan(), object.body()).await), Failure::Other);
    assert!(matches!(store.put(&object.plan(), object.body()).await.unwrap(), Placed::Stored(_)));
    assert_eq!(store.put(&object.plan(), object.body()).await.unwrap(), Placed::Existed);
    no_upload_is_left(&server).await;
}

#[tokio::test]
async fn a_store_that_ignores_the_condition_gets_the_same_again() {
    let server = Bucket::start().await;
    let (_segments, object) = small();
    let key = object.plan().key.to_string();
    let store = store(&server);
    server.fault(Operation::Put, 2, Fault::IgnoreCondition);
    store.put(&object.plan(), object.body()).await.unwrap();
    let bytes = server.object(&key);
    assert!(matches!(store.put(&object.plan(), object.body()).await.unwrap(), Placed::Stored(_)));
    assert_eq!(server.object(&key), bytes);
    assert_eq!(server.keys(), [key]);
}

/// Stores what `segments` hold, by a driver that does not wait for long.
async fn drive(server: &S3Server, segments: &Segments) {
    let settings = ObjectSettings {
        destination: destination(),
        concurrency: 2,
        attempt_timeout: Duration::from_secs(3),
        backoff: Backoff::new(Duration::from_millis(5), Duration::from_millis(20)),
    };
    let driver = ObjectDriver::new(settings, Arc::new(store(server)), segments.consumer(), &segments.metrics);
    timeout(Duration::from_mins(1), driver.run()).await.expect("everything is stored");
    assert_eq!(segments.consumer().lag_bytes(), 0, "the cursor has moved");
}

fn shows(segments: &Segments, line: &str) {
    let text = segments.metrics.render();
    assert!(text.lines().any(|found| found == line), "{line} in {text}");
}

#[tokio::test]
async fn the_driver_stores_each_object_once_however_often_the_store_fails() {
    let server = Bucket::start().await;
    let line = "{\"event_id\":\"1\"}\n".to_owned();
    let segments = Segments::sealed(&destination(), &[("heard", line.clone()), ("seen", line)]);
    server.fault(Operation::Put, 2, Fault::Answer(503, "SlowDown"));
    server.fault(Operation::Put, 3, Fault::Answer(403, "AccessDenied"));
    server.fault(Operation::Put, 1, Fault::ResetAt(0));
    drive(&server, &segments).await;
    assert_eq!(server.keys().len(), 2);
    assert_eq!(server.faults_left(), 0);
    shows(&segments, "logweir_objects_total{sink=\"s3\",outcome=\"stored\"} 2");
    shows(&segments, "logweir_objects_total{sink=\"s3\",outcome=\"existed\"} 0");
    shows(&segments, "logweir_object_lines_total{sink=\"s3\"} 2");
    shows(&segments, "logweir_upload_retries_total{sink=\"s3\",cause=\"throttled\"} 2");
    shows(&segments, "logweir_upload_retries_total{sink=\"s3\",cause=\"denied\"} 3");
    shows(&segments, "logweir_upload_retries_total{sink=\"s3\",cause=\"network\"} 1");
}

#[tokio::test]
async fn on_a_bad_day_the_driver_stores_each_object_once_under_its_own_key() {
    const STREAMS: [&str; 16] = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "m", "n", "o", "p"];
    let server = Bucket::start().await;
    let lines: Vec<_> = STREAMS.iter().map(|stream| (*stream, format!("{{\"event_id\":\"{stream}\"}}\n"))).collect();
    let segments = Segments::sealed(&destination(), &lines);
    let objects = segments.objects();
    server.fault_at_random(2026, &BAD_DAY);
    drive(&server, &segments).await;
    assert_eq!(server.keys(), objects.iter().map(|object| object.plan().key.to_string()).collect::<Vec<_>>());
    for object in objects {
        assert_eq!(gunzip(&server.object(&object.plan().key.to_string())), object.lines());
    }
    assert!(server.met_at_random() > 0, "S3 did nothing wrong");
    assert!(server.seen().iter().all(|seen| seen.path.starts_with("/logs/raw/")));
}

#[tokio::test]
async fn an_object_whose_answer_was_lost_is_found_by_the_next_attempt() {
    for (fault, cause) in [(Fault::LoseAnswer, "network"), (Fault::SilenceAfter, "timeout")] {
        let server = Bucket::start().await;
        let (segments, object) = small();
        server.fault(Operation::Put, 1, fault);
        drive(&server, &segments).await;
        assert_eq!(gunzip(&server.object(&object.plan().key.to_string())), object.lines());
        // The last one is the page of the books.
        assert_eq!(server.operations(), [Operation::Put, Operation::Put, Operation::Head, Operation::Put]);
        shows(&segments, "logweir_objects_total{sink=\"s3\",outcome=\"existed\"} 1");
        shows(&segments, "logweir_objects_total{sink=\"s3\",outcome=\"stored\"} 0");
        shows(&segments, &format!("logweir_upload_retries_total{{sink=\"s3\",cause=\"{cause}\"}} 1"));
    }
}

#[tokio::test]
async fn a_store_that_does_not_answer_is_given_up_after_the_attempts_time() {
    let server = Bucket::start().await;
    let (segments, _object) = small();
    server.fault(Operation::Put, 1, Fault::Silence);
    drive(&server, &segments).await;
    shows(&segments, "logweir_upload_retries_total{sink=\"s3\",cause=\"timeout\"} 1");
    shows(&segments, "logweir_objects_total{sink=\"s3\",outcome=\"stored\"} 1");
}

#[tokio::test]
async fn an_object_whose_key_is_taken_goes_under_another() {
    let server = Bucket::start().await;
    let (segments, object) = small();
    let (_others, other) = small_of("{\"event_id\":\"3\"}\n");
    let plan = object.plan();
    store(&server).put(&at_the_key_of(&plan, &other), other.body()).await.unwrap();
    drive(&server, &segments).await;
    assert_eq!(gunzip(&server.object(&plan.key.to_string())), other.lines());
    assert_eq!(gunzip(&server.object(&plan.key.another().to_string())), object.lines());
    shows(&segments, "logweir_objects_total{sink=\"s3\",outcome=\"occupied\"} 1");
    shows(&segments, "logweir_objects_total{sink=\"s3\",outcome=\"stored\"} 1");
}

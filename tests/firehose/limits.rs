//! The limits of a call, at their edges, as the stub enforces them.

use logweir::sink::{Fate, FirehoseSink, Left, LineSink, Packing};

use crate::{
    DELIVERY_STREAM,
    firehose_server::{FirehoseServer, MAX_BODY_BYTES, MAX_RECORD_BYTES, MAX_RECORDS},
    lines, parcel, sink, texts,
};

/// A line of so many bytes, its line feed included.
fn line(bytes: usize) -> Vec<u8> {
    let mut line = vec![b'x'; bytes - 1];
    line.push(b'\n');
    line
}

#[tokio::test]
async fn a_full_record_is_taken_and_a_byte_more_is_never_sent() {
    let server = FirehoseServer::start([]);
    let packed = sink(&server, Packing::Lines);
    assert!(packed.deliver(&parcel(line(MAX_RECORD_BYTES))).await.left.is_empty());
    // Around it, everything else is taken by the same call.
    let text = [line(10), line(MAX_RECORD_BYTES + 1), line(20), line(30)].concat();
    let outcome = packed.deliver(&parcel(text)).await;
    let reason = "the line has 1024001 bytes, and a record of Firehose takes 1024000";
    assert_eq!(outcome.left, [Left { lines: 1..2, fate: Fate::Never(reason.into()) }]);
    let lengths: Vec<_> = server.records(DELIVERY_STREAM).iter().map(bytes::Bytes::len).collect();
    assert_eq!(lengths, [MAX_RECORD_BYTES, 10, 50]);
    assert_eq!(server.calls().len(), 2);

    // Alone there is nothing to send.
    let outcome = packed.deliver(&parcel(line(4 << 20))).await;
    assert!(matches!(&outcome.left[..], [Left { lines, fate: Fate::Never(_) }] if *lines == (0..1)), "{outcome:?}");
    assert_eq!(server.calls().len(), 2);

    // A line feed that is not sent does not count.
    let single = sink(&server, Packing::Single);
    let text = [line(MAX_RECORD_BYTES + 1), line(MAX_RECORD_BYTES + 2)].concat();
    let outcome = single.deliver(&parcel(text)).await;
    assert!(matches!(&outcome.left[..], [Left { lines, fate: Fate::Never(_) }] if *lines == (1..2)), "{outcome:?}");
    assert_eq!(server.records(DELIVERY_STREAM).last().unwrap().len(), MAX_RECORD_BYTES);
}

#[tokio::test]
async fn what_the_driver_may_hand_over_is_one_call_within_the_limits() {
    for packing in [Packing::Lines, Packing::Single] {
        let server = FirehoseServer::start([]);
        let sink = sink(&server, packing);
        let limits = sink.limits();
        // As many bytes, and as many lines, as can be.
        let longest = limits.bytes / 3;
        for text in [line(longest).repeat(3), line(limits.bytes / limits.lines).repeat(limits.lines)] {
            let parcel = parcel(text);
            assert!(parcel.bytes() <= limits.bytes && parcel.lines() <= limits.lines);
            let outcome = sink.deliver(&parcel).await;
            assert!(outcome.left.is_empty(), "{packing:?}: {:?} {:?}", outcome.left, outcome.error);
        }
        let calls = server.calls();
        assert_eq!(calls.len(), 2);
        for call in calls {
            assert!(call.body_bytes <= MAX_BODY_BYTES && call.records.len() <= MAX_RECORDS, "{packing:?}");
            assert!(call.body_bytes <= FirehoseSink::CALL_MEMORY_BYTES / 2);
        }
    }
}

#[tokio::test]
async fn what_is_more_than_a_call_is_left_for_later() {
    let server = FirehoseServer::start([]);
    let sink = sink(&server, Packing::Single);
    let parcel = lines(501);
    let outcome = sink.deliver(&parcel).await;
    assert!(matches!(&outcome.left[..], [Left { lines, fate: Fate::Later(_) }] if *lines == (500..501)), "{outcome:?}");
    assert_eq!(server.lines(DELIVERY_STREAM), texts(&parcel)[..500]);
}

/// The stub is no proof unless it refuses what Firehose refuses: asked without the sink.
#[tokio::test]
async fn the_stub_holds_calls_to_the_limits() {
    use aws_sdk_firehose::{config::Credentials, error::ProvideErrorMetadata, primitives::Blob, types::Record};
    let server = FirehoseServer::start([]);
    let config = aws_sdk_firehose::Config::builder()
        .behavior_version_latest()
        .region(aws_config::Region::new("us-east-1"))
        .credentials_provider(Credentials::new("a", "b", None, None, "tests"))
        .retry_config(aws_sdk_firehose::config::retry::RetryConfig::disabled())
        .endpoint_url(server.endpoint())
        .http_client(aws_smithy_http_client::Builder::new().build_http())
        .build();
    let client = aws_sdk_firehose::Client::from_conf(config);
    for (name, lengths, code) in [
        ("a", vec![MAX_RECORD_BYTES], None),
        ("a", vec![MAX_RECORD_BYTES + 1], Some("ValidationException")),
        ("a", vec![1; MAX_RECORDS], None),
        ("a", vec![1; MAX_RECORDS + 1], Some("ValidationException")),
        ("a", vec![], Some("ValidationException")),
        ("a", vec![MAX_RECORD_BYTES; 4], Some("InvalidArgumentException")),
        ("a b", vec![1], Some("ValidationException")),
    ] {
        let records = lengths.iter().map(|length| Record::builder().data(Blob::new(vec![0; *length])).build().unwrap());
        let call = client.put_record_batch().delivery_stream_name(name).set_records(Some(records.collect()));
        let answer = call.send().await;
        assert_eq!(answer.as_ref().err().and_then(ProvideErrorMetadata::code), code, "{answer:?}");
        assert_eq!(server.calls().last().unwrap().refused, code);
    }
}

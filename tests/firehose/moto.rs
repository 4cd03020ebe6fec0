//! Against moto: a delivery stream into a bucket, read back from the bucket.

use aws_sdk_firehose::types::{DeliveryStreamType, ExtendedS3DestinationConfiguration};
use logweir::sink::{LineSink, Packing};

use crate::{DELIVERY_STREAM, config, lines, moto_server::Moto, sink_at};

#[tokio::test]
async fn moto_delivers_to_its_bucket_what_the_sink_puts() {
    let Some(moto) = Moto::start() else { return };
    let endpoint = format!("http://127.0.0.1:{}", moto.port);
    let http = aws_smithy_http_client::Builder::new().build_http();
    let config = config().into_builder().endpoint_url(endpoint.clone()).http_client(http).build();
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
    let creating = firehose
        .create_delivery_stream()
        .delivery_stream_name(DELIVERY_STREAM)
        .delivery_stream_type(DeliveryStreamType::DirectPut)
        .extended_s3_destination_configuration(destination);
    Box::pin(creating.send()).await.unwrap();

    let parcel = lines(1_234);
    let outcome = sink_at(endpoint.clone(), Packing::Lines).deliver(&parcel).await;
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
    let outcome = sink_at(endpoint.clone(), Packing::Lines).deliver(&parcel).await;
    assert!(outcome.error.unwrap().to_string().contains("ResourceNotFoundException"));
}

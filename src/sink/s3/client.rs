//! The SDK's client, told what the driver needs of it.

use std::time::Duration;

use aws_config::{BehaviorVersion, SdkConfig};
use aws_sdk_s3::{
    Client, Config,
    config::{
        Region, RequestChecksumCalculation, ResponseChecksumValidation, SharedHttpClient,
        StalledStreamProtectionConfig, retry::RetryConfig, timeout::TimeoutConfig,
    },
};
use aws_smithy_http_client::{
    Builder,
    tls::{Provider, rustls_provider::CryptoMode},
};
use http::Uri;

use super::S3Settings;

/// How many idle connections are kept. Objects come in bursts, when a segment is sealed; more than are stored at the
/// same time are of no use.
const IDLE_CONNECTIONS: usize = 16;
/// How long an idle connection is kept: longer than a burst lasts, shorter than the 350 seconds after which a NAT gateway
/// forgets it in silence.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// The region that requests to other stores than AWS's are signed for, unless another is given. Most do not care.
const OTHER_STORES_REGION: &str = "us-east-1";

/// The store cannot be set up as it is configured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SetupError {
    /// No region is configured, and none is found.
    #[error("no region: set one for the sink, or AWS_REGION")]
    NoRegion,
    /// The endpoint is no URL of a server. It is not repeated here, since it may carry a password.
    #[error("the endpoint must be a URL with http or https and a host, without a user and without a query")]
    Endpoint,
}

/// The SDK's behaviour of this date: a newer SDK then keeps its defaults.
fn behavior() -> BehaviorVersion {
    BehaviorVersion::v2026_01_12()
}

/// What AWS SDKs find in their environment. Its retries and times, which are the SDK's defaults, serve fetching
/// credentials.
pub(super) async fn environment(region: Option<&str>) -> SdkConfig {
    let loader = aws_config::defaults(behavior()).http_client(https());
    let loader = match region {
        Some(region) => loader.region(Region::new(region.to_owned())),
        None => loader,
    };
    loader.load().await
}

/// The client for `settings`, and for what of `config` they leave open.
pub(super) fn client(config: &SdkConfig, settings: &S3Settings) -> Result<Client, SetupError> {
    if let Some(endpoint) = &settings.endpoint
        && !is_endpoint(endpoint)
    {
        return Err(SetupError::Endpoint);
    }
    let elsewhere = settings.endpoint.is_some() || config.endpoint_url().is_some();
    let region = settings.region.clone().map(Region::new).or_else(|| config.region().cloned());
    let region = region.or_else(|| elsewhere.then(|| Region::from_static(OTHER_STORES_REGION)));
    let mut builder = aws_sdk_s3::config::Builder::from(config)
        .behavior_version(behavior())
        .http_client(config.http_client().unwrap_or_else(https))
        .region(region.ok_or(SetupError::NoRegion)?)
        .force_path_style(settings.path_style)
        // The driver tries again, with its own back-off and metrics.
        .retry_config(RetryConfig::disabled())
        // The driver's time for an attempt is the only one beside this.
        .timeout_config(TimeoutConfig::builder().connect_timeout(settings.connect_timeout).build())
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
        // Whatever AWS_REQUEST_CHECKSUM_CALCULATION says: bytes that change on the way would be stored otherwise.
        .request_checksum_calculation(RequestChecksumCalculation::WhenSupported)
        .response_checksum_validation(ResponseChecksumValidation::WhenRequired);
    if let Some(endpoint) = &settings.endpoint {
        builder = builder.endpoint_url(endpoint);
    }
    let config: Config = builder.build();
    Ok(Client::from_conf(config))
}

/// The SDK's default HTTP client, hyper 1 with its pool, on rustls and ring. It also takes `http://` endpoints; it asks no
/// proxy, whatever the environment says.
///
/// There is a newer pool in the same crate that can limit connections and keep them alive by TCP. It is months old, and
/// has nothing that the driver's concurrency and [`IDLE_TIMEOUT`] do not give.
fn https() -> SharedHttpClient {
    Builder::new()
        .pool_idle_timeout(IDLE_TIMEOUT)
        .pool_max_idle_per_host(IDLE_CONNECTIONS)
        .tls_provider(Provider::Rustls(CryptoMode::Ring))
        .build_https()
}

/// Whether `text` is the URL of a server, or of a path on one.
fn is_endpoint(text: &str) -> bool {
    let Ok(uri) = text.parse::<Uri>() else { return false };
    let plain = uri.authority().is_some_and(|authority| !authority.as_str().contains('@'));
    plain && matches!(uri.scheme_str(), Some("http" | "https")) && uri.query().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sink::S3Encryption;

    fn settings(region: Option<&str>, endpoint: Option<&str>) -> S3Settings {
        S3Settings {
            region: region.map(Into::into),
            endpoint: endpoint.map(Into::into),
            path_style: true,
            storage_class: None,
            encryption: S3Encryption::Bucket,
            connect_timeout: Duration::from_secs(3),
        }
    }

    fn region(config: &SdkConfig, settings: &S3Settings) -> Result<String, SetupError> {
        client(config, settings).map(|client| client.config().region().unwrap().to_string())
    }

    #[test]
    fn the_region_is_the_settings_or_the_environments_or_that_of_other_stores() {
        let bare = SdkConfig::builder().build();
        let found = SdkConfig::builder().region(Region::new("ap-northeast-2")).build();
        let store = Some("http://127.0.0.1:9000");
        assert_eq!(region(&found, &settings(Some("eu-west-1"), None)).unwrap(), "eu-west-1");
        assert_eq!(region(&found, &settings(None, store)).unwrap(), "ap-northeast-2");
        assert_eq!(region(&bare, &settings(None, store)).unwrap(), "us-east-1");
        assert_eq!(region(&bare, &settings(None, None)).unwrap_err(), SetupError::NoRegion);
    }

    #[test]
    fn an_endpoint_is_a_url_without_secrets() {
        for good in
            ["https://s3.example.com", "http://127.0.0.1:9000", "http://[::1]:9000/", "https://minio/storage/v1/s3"]
        {
            assert!(is_endpoint(good), "{good}");
        }
        for bad in ["", "minio:9000", "ftp://minio", "/minio", "http://a@minio", "http://minio/?a", "https://"] {
            assert!(!is_endpoint(bad), "{bad}");
        }
        let secret = settings(None, Some("https://user:secret@minio"));
        let refused = client(&SdkConfig::builder().build(), &secret).unwrap_err();
        assert_eq!(refused, SetupError::Endpoint);
        assert!(!refused.to_string().contains("secret"));
    }

    #[tokio::test]
    async fn a_store_is_made_of_the_environment_without_asking_anybody() {
        let settings = settings(Some("eu-west-1"), None);
        let began = std::time::Instant::now();
        let config = environment(settings.region.as_deref()).await;
        assert_eq!(region(&config, &settings).unwrap(), "eu-west-1");
        assert!(config.credentials_provider().is_some());
        assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    }

    /// What the environment says must not bring the SDK's own retries and times back.
    #[test]
    fn the_driver_alone_tries_again_and_keeps_the_time() {
        let config = SdkConfig::builder()
            .retry_config(RetryConfig::standard())
            .stalled_stream_protection(StalledStreamProtectionConfig::enabled().build())
            .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
            .build();
        let client = client(&config, &settings(Some("eu-west-1"), None)).unwrap();
        let config = client.config();
        assert_eq!(config.retry_config().unwrap().max_attempts(), 1);
        let times = config.timeout_config().unwrap();
        assert_eq!(times.connect_timeout(), Some(Duration::from_secs(3)));
        assert_eq!((times.operation_timeout(), times.operation_attempt_timeout()), (None, None));
        assert!(!config.stalled_stream_protection().unwrap().upload_enabled());
    }
}

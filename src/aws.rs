//! What all that asks AWS has in common: where credentials and the region come from, and the HTTP client.

use std::time::Duration;

use aws_config::{
    BehaviorVersion, Region, SdkConfig, retry::RetryConfig, stalled_stream_protection::StalledStreamProtectionConfig,
    timeout::TimeoutConfig,
};
use aws_smithy_http_client::{
    Builder,
    tls::{Provider, rustls_provider::CryptoMode},
};
use http::Uri;

/// The HTTP client, as SDKs share it.
pub(crate) type HttpClient = aws_sdk_s3::config::SharedHttpClient;

/// How many idle connections are kept. Objects come in bursts, when a segment is sealed; more than are stored at the
/// same time are of no use.
const IDLE_CONNECTIONS: usize = 16;
/// How long an idle connection is kept: longer than a burst lasts, shorter than the 350 seconds after which a NAT gateway
/// forgets it in silence.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// The region that requests to others than AWS are signed for, unless another is given. Most do not care.
const OTHERS_REGION: &str = "us-east-1";

/// AWS, or what stands for it, cannot be asked as it is configured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SetupError {
    /// No region is configured, and none is found.
    #[error("no region: set one, or AWS_REGION")]
    NoRegion,
    /// The endpoint is no URL of a server. It is not repeated here, since it may carry a password.
    #[error("the endpoint must be a URL with http or https and a host, without a user and without a query")]
    Endpoint,
}

/// The SDKs' behaviour of this date: newer SDKs then keep its defaults.
pub(crate) fn behavior() -> BehaviorVersion {
    BehaviorVersion::v2026_01_12()
}

/// What AWS SDKs find in their environment. Its retries and times, which are the SDK's defaults, serve fetching
/// credentials.
pub(crate) async fn environment(region: Option<&str>) -> SdkConfig {
    let loader = aws_config::defaults(behavior()).http_client(https());
    let loader = match region {
        Some(region) => loader.region(Region::new(region.to_owned())),
        None => loader,
    };
    loader.load().await
}

/// The region that requests are signed for: the one that is set, or that of `config`, or any if `endpoint` or `config`
/// says that it is not AWS who is asked. Refuses an endpoint that is none.
fn region(config: &SdkConfig, region: Option<&str>, endpoint: Option<&str>) -> Result<Region, SetupError> {
    if endpoint.is_some_and(|endpoint| !is_endpoint(endpoint)) {
        return Err(SetupError::Endpoint);
    }
    let elsewhere = endpoint.is_some() || config.endpoint_url().is_some();
    let region = region.map(|region| Region::new(region.to_owned())).or_else(|| config.region().cloned());
    region.or_else(|| elsewhere.then(|| Region::from_static(OTHERS_REGION))).ok_or(SetupError::NoRegion)
}

/// What a client is made of that makes one attempt a call, whatever the environment says: who asks tries again, by what the
/// call may have done, and keeps the time. Of `config`, but for the region if one is given; what `endpoint` is, a client
/// is still to be told.
///
/// # Errors
/// [`SetupError`] if there is no region, or the endpoint cannot be one.
pub(crate) fn one_attempt(
    config: &SdkConfig,
    region_given: Option<&str>,
    endpoint: Option<&str>,
    connect_timeout: Duration,
) -> Result<SdkConfig, SetupError> {
    let region = region(config, region_given, endpoint)?;
    let builder = config
        .to_builder()
        .behavior_version(behavior())
        .http_client(config.http_client().unwrap_or_else(https))
        .region(region)
        .retry_config(RetryConfig::disabled())
        .timeout_config(TimeoutConfig::builder().connect_timeout(connect_timeout).build())
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled());
    Ok(builder.build())
}

/// The SDKs' default HTTP client, hyper 1 with its pool, on rustls and ring. It also takes `http://` endpoints; it asks no
/// proxy, whatever the environment says.
///
/// There is a newer pool in the same crate that can limit connections and keep them alive by TCP. It is months old, and
/// has nothing that the callers' concurrency and [`IDLE_TIMEOUT`] do not give.
fn https() -> HttpClient {
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
    }
}

//! The SDK's client, told what the driver needs of it.

use aws_config::SdkConfig;
use aws_sdk_s3::{
    Client, Config,
    config::{RequestChecksumCalculation, ResponseChecksumValidation},
};

use super::S3Settings;
use crate::aws::{self, SetupError};

/// The client for `settings`, and for what of `config` they leave open.
pub(super) fn client(config: &SdkConfig, settings: &S3Settings) -> Result<Client, SetupError> {
    let (region, endpoint) = (settings.region.as_deref(), settings.endpoint.as_deref());
    let config = aws::one_attempt(config, region, endpoint, settings.connect_timeout)?;
    let mut builder = aws_sdk_s3::config::Builder::from(&config)
        .force_path_style(settings.path_style)
        // Whatever AWS_REQUEST_CHECKSUM_CALCULATION says: bytes that change on the way would be stored otherwise.
        .request_checksum_calculation(RequestChecksumCalculation::WhenSupported)
        .response_checksum_validation(ResponseChecksumValidation::WhenRequired);
    if let Some(endpoint) = endpoint {
        builder = builder.endpoint_url(endpoint);
    }
    let config: Config = builder.build();
    Ok(Client::from_conf(config))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use aws_sdk_s3::config::{Region, StalledStreamProtectionConfig, retry::RetryConfig};

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
    fn an_endpoint_with_a_secret_is_refused_without_repeating_it() {
        let secret = settings(None, Some("https://user:secret@minio"));
        let refused = client(&SdkConfig::builder().build(), &secret).unwrap_err();
        assert_eq!(refused, SetupError::Endpoint);
        assert!(!refused.to_string().contains("secret"));
    }

    #[tokio::test]
    async fn a_store_is_made_of_the_environment_without_asking_anybody() {
        let settings = settings(Some("eu-west-1"), None);
        let began = std::time::Instant::now();
        let config = aws::environment(settings.region.as_deref()).await;
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

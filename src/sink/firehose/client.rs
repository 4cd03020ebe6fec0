//! The SDK's client, told what the driver needs of it.

use aws_config::SdkConfig;
use aws_sdk_firehose::Client;

use super::FirehoseSettings;
use crate::aws::{self, SetupError};

/// The client for `settings`, and for what of `config` they leave open.
pub(super) fn client(config: &SdkConfig, settings: &FirehoseSettings) -> Result<Client, SetupError> {
    let (region, endpoint) = (settings.region.as_deref(), settings.endpoint.as_deref());
    let config = aws::one_attempt(config, region, endpoint, settings.connect_timeout)?;
    let mut builder = aws_sdk_firehose::config::Builder::from(&config);
    if let Some(endpoint) = endpoint {
        builder = builder.endpoint_url(endpoint);
    }
    Ok(Client::from_conf(builder.build()))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use aws_sdk_firehose::config::{Region, StalledStreamProtectionConfig, retry::RetryConfig};

    use super::*;
    use crate::sink::{Packing, Targets};

    fn settings(region: Option<&str>, endpoint: Option<&str>) -> FirehoseSettings {
        FirehoseSettings {
            sink: "firehose".into(),
            region: region.map(Into::into),
            endpoint: endpoint.map(Into::into),
            connect_timeout: Duration::from_secs(3),
            targets: Targets::default(),
            packing: Packing::Lines,
        }
    }

    fn region(config: &SdkConfig, settings: &FirehoseSettings) -> Result<String, SetupError> {
        client(config, settings).map(|client| client.config().region().unwrap().to_string())
    }

    #[test]
    fn the_region_is_the_settings_or_the_environments() {
        let bare = SdkConfig::builder().build();
        let found = SdkConfig::builder().region(Region::new("ap-northeast-2")).build();
        assert_eq!(region(&found, &settings(Some("eu-west-1"), None)).unwrap(), "eu-west-1");
        assert_eq!(region(&found, &settings(None, None)).unwrap(), "ap-northeast-2");
        assert_eq!(region(&bare, &settings(None, Some("http://127.0.0.1:9000"))).unwrap(), "us-east-1");
        assert_eq!(region(&bare, &settings(None, None)).unwrap_err(), SetupError::NoRegion);
    }

    #[test]
    fn an_endpoint_with_a_secret_is_refused_without_repeating_it() {
        let secret = settings(None, Some("https://user:secret@firehose"));
        let refused = client(&SdkConfig::builder().build(), &secret).unwrap_err();
        assert_eq!(refused, SetupError::Endpoint);
        assert!(!refused.to_string().contains("secret"));
    }

    /// What the environment says must not bring the SDK's own retries and times back.
    #[test]
    fn the_driver_alone_tries_again_and_keeps_the_time() {
        let config = SdkConfig::builder()
            .retry_config(RetryConfig::standard())
            .stalled_stream_protection(StalledStreamProtectionConfig::enabled().build())
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

//! Clients of the SDK: one configuration, bounded in time, by the credentials that the machine has.

use crate::cloudtrail::Settings;
use aws_config::retry::RetryConfig;
use aws_config::sts::AssumeRoleProvider;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use std::time::Duration;

/// Attempts of one call; what still fails is tried again by the loop, which rests longer.
const ATTEMPTS_MAX: u32 = 3;
const CONNECT_MAX: Duration = Duration::from_secs(5);
/// A long poll of SQS takes 20 s by itself.
const ATTEMPT_MAX: Duration = Duration::from_secs(60);
/// What CloudTrail shows of us when a role is assumed.
const SESSION: &str = "prunella";

/// What a configuration says about who we are and where.
#[derive(Clone, Copy, Debug, Default)]
pub struct Access<'a> {
    pub region: &'a str,
    pub profile: &'a str,
    pub role_arn: &'a str,
    pub external_id: &'a str,
    pub endpoint: &'a str,
}

pub async fn load(settings: &Settings) -> SdkConfig {
    let Settings { region, profile, role_arn, external_id, endpoint, .. } = settings;
    load_as(&Access { region, profile, role_arn, external_id, endpoint }).await
}

/// By the default chain of the SDK: environment, profile, container, instance; then the role, if one is named.
pub async fn load_as(settings: &Access<'_>) -> SdkConfig {
    let mut loader = aws_config::defaults(BehaviorVersion::latest())
        .region(Region::new(settings.region.to_owned()))
        .retry_config(RetryConfig::standard().with_max_attempts(ATTEMPTS_MAX))
        .timeout_config(
            TimeoutConfig::builder()
                .connect_timeout(CONNECT_MAX)
                .operation_attempt_timeout(ATTEMPT_MAX)
                .build(),
        );
    if !settings.profile.is_empty() {
        loader = loader.profile_name(settings.profile);
    }
    if !settings.endpoint.is_empty() {
        loader = loader.endpoint_url(settings.endpoint);
    }
    let config = loader.load().await;
    if settings.role_arn.is_empty() {
        return config;
    }
    let mut role = AssumeRoleProvider::builder(settings.role_arn).session_name(SESSION).configure(&config);
    if !settings.external_id.is_empty() {
        role = role.external_id(settings.external_id);
    }
    let role = aws_sdk_s3::config::SharedCredentialsProvider::new(role.build().await);
    config.into_builder().credentials_provider(role).build()
}

pub fn s3(config: &SdkConfig) -> aws_sdk_s3::Client {
    // Emulators have no name for each bucket.
    let path_style = config.endpoint_url().is_some();
    aws_sdk_s3::Client::from_conf(
        aws_sdk_s3::config::Builder::from(config).force_path_style(path_style).build(),
    )
}

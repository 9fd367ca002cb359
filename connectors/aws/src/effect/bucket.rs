//! What a bucket says about public access and about encryption.

use super::Setting;
use super::account::{Account, fault};
use super::target::Place;
use crate::fault::Call;
use async_trait::async_trait;
use aws_sdk_s3::error::ProvideErrorMetadata;
use aws_sdk_s3::types::{
    BlockedEncryptionTypes, EncryptionType, PublicAccessBlockConfiguration, ServerSideEncryption,
    ServerSideEncryptionByDefault, ServerSideEncryptionConfiguration, ServerSideEncryptionRule,
};
use prunella_schemas::Step;
use prunella_setting::{Fault, Found};
use serde_json::{Value, json};

const GET_BLOCK: &str = "s3:GetBucketPublicAccessBlock";
const PUT_BLOCK: &str = "s3:PutBucketPublicAccessBlock";
const GET_ENCRYPTION: &str = "s3:GetEncryptionConfiguration";
const PUT_ENCRYPTION: &str = "s3:PutEncryptionConfiguration";

/// The four switches of one bucket, or none.
pub struct PublicAccess;

#[async_trait]
impl Setting for PublicAccess {
    fn operations(&self) -> &'static [&'static str] {
        &[GET_BLOCK, PUT_BLOCK]
    }

    async fn check(&self, account: &Account, operation: &'static str) -> Result<(), Fault> {
        account.simulate(operation).await
    }

    fn account_of<'a>(&self, target: &'a str) -> Result<&'a str, Fault> {
        Ok(Place::bucket(target)?.account)
    }

    async fn find(&self, account: &Account, target: &str) -> Result<Found, Fault> {
        let Place { bucket, .. } = Place::bucket(target)?;
        let get = account.reading.s3.get_public_access_block().bucket(bucket);
        let block = match get.expected_bucket_owner(&account.id).send().await {
            Ok(got) => got.public_access_block_configuration.map_or(Value::Null, |c| {
                json!({
                    "block_public_acls": c.block_public_acls == Some(true),
                    "ignore_public_acls": c.ignore_public_acls == Some(true),
                    "block_public_policy": c.block_public_policy == Some(true),
                    "restrict_public_buckets": c.restrict_public_buckets == Some(true),
                })
            }),
            Err(e) if e.code() == Some("NoSuchPublicAccessBlockConfiguration") => Value::Null,
            Err(e) => return Err(fault(&call(GET_BLOCK, bucket), &e)),
        };
        Ok(Found { value: json!({ "public_access_block": block }), version: String::new() })
    }

    async fn set(&self, account: &Account, step: &Step, _: &Found) -> Result<String, Fault> {
        let Place { bucket, .. } = Place::bucket(&step.target)?;
        let call = call(PUT_BLOCK, bucket);
        let s3 = &account.writing.s3;
        match step.desired.get("public_access_block") {
            Some(Value::Null) => {
                let delete = s3.delete_public_access_block().bucket(bucket);
                let sent = delete.expected_bucket_owner(&account.id).send().await;
                sent.map_err(|e| fault(&call, &e))?;
                Ok(format!("{bucket} says nothing of public access"))
            }
            Some(block @ Value::Object(_)) => {
                let on = |name: &str| block.get(name) == Some(&Value::Bool(true));
                let block = PublicAccessBlockConfiguration::builder()
                    .block_public_acls(on("block_public_acls"))
                    .ignore_public_acls(on("ignore_public_acls"))
                    .block_public_policy(on("block_public_policy"))
                    .restrict_public_buckets(on("restrict_public_buckets"));
                let put = s3.put_public_access_block().bucket(bucket).expected_bucket_owner(&account.id);
                let sent = put.public_access_block_configuration(block.build()).send().await;
                sent.map_err(|e| fault(&call, &e))?;
                Ok(format!("public access to {bucket} is as desired"))
            }
            _ => Err(Fault::Refused("public access is four switches, or null for none".to_owned())),
        }
    }
}

/// How objects are encrypted that are written without saying so.
pub struct Encryption;

#[async_trait]
impl Setting for Encryption {
    fn operations(&self) -> &'static [&'static str] {
        &[GET_ENCRYPTION, PUT_ENCRYPTION]
    }

    async fn check(&self, account: &Account, operation: &'static str) -> Result<(), Fault> {
        account.simulate(operation).await
    }

    fn account_of<'a>(&self, target: &'a str) -> Result<&'a str, Fault> {
        Ok(Place::bucket(target)?.account)
    }

    async fn find(&self, account: &Account, target: &str) -> Result<Found, Fault> {
        let Place { bucket, .. } = Place::bucket(target)?;
        let get = account.reading.s3.get_bucket_encryption().bucket(bucket);
        let rules = match get.expected_bucket_owner(&account.id).send().await {
            Ok(got) => got.server_side_encryption_configuration.map(|c| c.rules).unwrap_or_default(),
            Err(e) if e.code() == Some("ServerSideEncryptionConfigurationNotFoundError") => Vec::new(),
            Err(e) => return Err(fault(&call(GET_ENCRYPTION, bucket), &e)),
        };
        let rule = rules.first();
        let encryption = rule.and_then(|r| Some((r, r.apply_server_side_encryption_by_default()?)));
        let encryption = encryption.map_or(Value::Null, |(rule, by)| {
            json!({
                "algorithm": by.sse_algorithm().as_str(),
                "key": by.kms_master_key_id(),
                "bucket_key": rule.bucket_key_enabled() == Some(true),
            })
        });
        let blocked = rule.and_then(ServerSideEncryptionRule::blocked_encryption_types);
        let blocked: Vec<&str> =
            blocked.into_iter().flat_map(|b| b.encryption_type()).map(EncryptionType::as_str).collect();
        Ok(Found { value: json!({ "encryption": encryption, "blocked": blocked }), version: String::new() })
    }

    async fn set(&self, account: &Account, step: &Step, found: &Found) -> Result<String, Fault> {
        let Place { bucket, .. } = Place::bucket(&step.target)?;
        let call = call(PUT_ENCRYPTION, bucket);
        let s3 = &account.writing.s3;
        let bad = || {
            Fault::Refused("encryption is `algorithm`, `key` and `bucket_key`, or null for none".to_owned())
        };
        let encryption = step.desired.get("encryption").ok_or_else(bad)?;
        if encryption.is_null() {
            let delete = s3.delete_bucket_encryption().bucket(bucket);
            let sent = delete.expected_bucket_owner(&account.id).send().await;
            sent.map_err(|e| fault(&call, &e))?;
            return Ok(format!("{bucket} says nothing of encryption"));
        }
        let text = |name: &str| encryption.get(name).and_then(Value::as_str);
        let by = ServerSideEncryptionByDefault::builder()
            .sse_algorithm(ServerSideEncryption::from(text("algorithm").ok_or_else(bad)?))
            .set_kms_master_key_id(text("key").map(str::to_owned))
            .build()
            .map_err(|_| bad())?;
        let mut rule = ServerSideEncryptionRule::builder()
            .apply_server_side_encryption_by_default(by)
            .bucket_key_enabled(encryption.get("bucket_key") == Some(&Value::Bool(true)));
        // A rule is written whole: what it says of other things goes on.
        let blocked = found.value.get("blocked").and_then(Value::as_array).into_iter().flatten();
        let blocked: Vec<EncryptionType> =
            blocked.filter_map(Value::as_str).map(EncryptionType::from).collect();
        if !blocked.is_empty() {
            let blocked = BlockedEncryptionTypes::builder().set_encryption_type(Some(blocked)).build();
            rule = rule.blocked_encryption_types(blocked);
        }
        let all =
            ServerSideEncryptionConfiguration::builder().rules(rule.build()).build().map_err(|_| bad())?;
        let put = s3.put_bucket_encryption().bucket(bucket).expected_bucket_owner(&account.id);
        let sent = put.server_side_encryption_configuration(all).send().await;
        sent.map_err(|e| fault(&call, &e))?;
        Ok(format!("the default encryption of {bucket} is as desired"))
    }
}

fn call(action: &'static str, bucket: &str) -> Call {
    Call { action, resource: format!("arn:aws:s3:::{bucket}") }
}

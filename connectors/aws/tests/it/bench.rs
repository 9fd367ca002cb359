//! A bucket on moto with a trail's files, and a queue that hears of them.

use async_trait::async_trait;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_s3::config::Credentials;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{Event, NotificationConfiguration, QueueConfiguration};
use aws_sdk_sqs::types::QueueAttributeName;
use flate2::{Compression, write::GzEncoder};
use futures_util::StreamExt;
use prunella_aws::cloudtrail::{CloudTrail, Settings};
use prunella_contract::{Answer, Bench, Fault, Gate, Object};
use prunella_schemas::port::{Clock, Source};
use prunella_schemas::{Tenant, Timestamp};
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

pub const ACCOUNT: &str = "123456789012";
pub const REGION: &str = "us-east-1";
/// 2024-07-31T00:00:00Z.
pub const BEGINNING_MS: i64 = 1_722_384_000_000;
/// Minutes from the beginning to a time that no clock of ours has: in the year 2099.
pub const FUTURE: u32 = 75 * 365 * 24 * 60;
const PUTS_MAX: usize = 16;

static NUMBER: AtomicU64 = AtomicU64::new(0);

pub struct Trail {
    pub gate: Gate,
    pub bucket: String,
    /// The SDK's configuration that goes straight to the emulator.
    pub direct: SdkConfig,
    pub s3: aws_sdk_s3::Client,
    pub queue: Option<String>,
    pub settings: serde_json::Value,
    /// What stands before the account in every key.
    pub root: String,
}

/// The address of moto, or a loud word.
pub fn moto() -> Option<String> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/services/services.json");
    let services = std::fs::read(path).unwrap_or_default();
    let services: Vec<serde_json::Value> = serde_json::from_slice(&services).unwrap_or_default();
    let address = services.iter().find(|s| s["name"] == "moto").and_then(|s| s["address"].as_str());
    if address.is_none() {
        eprintln!("SKIPPED: no moto runs here; `cargo xtask services up` starts one");
    }
    address.map(|address| format!("http://{address}"))
}

pub fn clock() -> Clock {
    #[allow(clippy::disallowed_methods, reason = "a test stands in for the shell")]
    let now = || std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis();
    Arc::new(move || Timestamp(i64::try_from(now()).unwrap()))
}

pub async fn sdk(endpoint: &str) -> SdkConfig {
    aws_config::defaults(BehaviorVersion::latest())
        .region(Region::new(REGION))
        .endpoint_url(endpoint)
        .credentials_provider(Credentials::new("testing", "testing", None, None, "static"))
        .load()
        .await
}

impl Trail {
    /// A bucket that nobody else uses.
    pub async fn new(settings: serde_json::Value) -> Option<Trail> {
        let moto = moto()?;
        let gate = Gate::before(&moto).await;
        let direct = sdk(&moto).await;
        let s3 = aws_sdk_s3::config::Builder::from(&direct).force_path_style(true).build();
        let s3 = aws_sdk_s3::Client::from_conf(s3);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let bucket = format!("trail-{}-{number}-{}", std::process::id(), clock()().millis());
        s3.create_bucket().bucket(&bucket).send().await.unwrap();
        let mut all = serde_json::json!({ "region": REGION, "bucket": bucket });
        all.as_object_mut().unwrap().extend(settings.as_object().unwrap().clone());
        let root = "AWSLogs/".to_owned();
        Some(Trail { gate, bucket, direct, s3, queue: None, settings: all, root })
    }

    /// The same with a queue that S3 tells of every object.
    pub async fn with_queue() -> Option<Trail> {
        let mut trail =
            Trail::new(serde_json::json!({ "from": "queue", "visibility_s": 5, "wait_s": 0 })).await?;
        let sqs = aws_sdk_sqs::Client::new(&trail.direct);
        let made = sqs.create_queue().queue_name(&trail.bucket).send().await.unwrap();
        let url = made.queue_url().unwrap().to_owned();
        let arn = format!("arn:aws:sqs:{REGION}:{ACCOUNT}:{}", trail.bucket);
        let told =
            QueueConfiguration::builder().queue_arn(arn).events(Event::S3ObjectCreated).build().unwrap();
        let told = NotificationConfiguration::builder().queue_configurations(told).build();
        let ask = trail.s3.put_bucket_notification_configuration().bucket(&trail.bucket);
        ask.notification_configuration(told).send().await.unwrap();
        trail.settings["queue"] = url.clone().into();
        trail.queue = Some(url);
        Some(trail)
    }

    pub async fn open(&self) -> Arc<dyn Source> {
        self.open_by(clock()).await
    }

    /// The same by a clock of the test.
    pub async fn open_by(&self, clock: Clock) -> Arc<dyn Source> {
        let settings = Settings::parse(self.settings.clone()).unwrap();
        let config = sdk(&self.gate.url).await;
        let source = CloudTrail::over(config, "trail".into(), Tenant::default(), settings, clock);
        Arc::new(source.unwrap())
    }

    pub async fn put(&self, key: &str, body: Vec<u8>) {
        let put = self.s3.put_object().bucket(&self.bucket).key(key).body(ByteStream::from(body));
        put.send().await.unwrap();
    }

    pub fn key(&self, kind: &str, minute: u32, name: &str) -> String {
        let (day, time) = stamp(minute);
        format!(
            "{}{ACCOUNT}/{kind}/{REGION}/{day}/{ACCOUNT}_{kind}_{REGION}_{time}_{name}.json.gz",
            self.root
        )
    }
}

/// `2024/07/31` and `20240731T1230Z`, `minute` minutes after the beginning.
pub fn stamp(minute: u32) -> (String, String) {
    let time = Timestamp(BEGINNING_MS + i64::from(minute) * 60_000).to_string();
    let digits: String = time.chars().filter(|c| c.is_ascii_alphanumeric()).collect();
    (time[..10].replace('-', "/"), format!("{}Z", &digits[..13]))
}

pub fn record(number: u32) -> String {
    let time = Timestamp(BEGINNING_MS + i64::from(number) * 1_000).to_string().replace(".000", "");
    format!(
        r#"{{"eventVersion":"1.09","userIdentity":{{"type":"IAMUser","principalId":"AIDAEXAMPLE","arn":"arn:aws:iam::{ACCOUNT}:user/u{}","accountId":"{ACCOUNT}","userName":"u{}"}},"eventTime":"{time}","eventSource":"s3.amazonaws.com","eventName":"GetObject","awsRegion":"{REGION}","sourceIPAddress":"198.51.100.7","userAgent":"aws-cli/2.15","requestParameters":{{"bucketName":"b","key":"k{number}"}},"responseElements":null,"requestID":"r{number}","eventID":"00000000-0000-4000-8000-{number:012}","readOnly":true,"eventType":"AwsApiCall","managementEvent":false,"recipientAccountId":"{ACCOUNT}","eventCategory":"Data"}}"#,
        number % 7,
        number % 7
    )
}

pub fn gzip(text: &str) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

pub fn log_text(object: &Object) -> String {
    let records: Vec<String> = (object.first..object.first + object.count).map(record).collect();
    format!("{{\"Records\":[{}]}}", records.join(","))
}

/// An error as S3 writes it.
pub fn xml(status: u16, code: &str, message: &str) -> Answer {
    let body =
        format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>{message}</Message></Error>");
    Answer { status, headers: vec![("content-type".into(), "application/xml".into())], body: body.into() }
}

/// An error as SQS and CloudTrail write it.
pub fn json(status: u16, code: &str, message: &str) -> Answer {
    let body =
        serde_json::json!({ "__type": format!("com.amazonaws#{code}"), "message": message }).to_string();
    Answer {
        status,
        headers: vec![("content-type".into(), "application/x-amz-json-1.0".into())],
        body: body.into(),
    }
}

#[async_trait]
impl Bench for Trail {
    async fn source(&self) -> Arc<dyn Source> {
        self.open().await
    }

    async fn deliver(&self, objects: &[Object]) {
        let file = |object: &Object| {
            let mut bytes = gzip(&log_text(object));
            if object.cut {
                bytes.truncate(bytes.len() / 2);
            }
            (self.key("CloudTrail", object.minute, &format!("{:06}", object.first)), bytes)
        };
        let files: Vec<_> = objects.iter().map(file).collect();
        let puts = files.into_iter().map(|(key, bytes)| async move { self.put(&key, bytes).await });
        futures_util::stream::iter(puts).buffer_unordered(PUTS_MAX).collect::<Vec<()>>().await;
    }

    fn record(&self, number: u32) -> String {
        record(number)
    }

    fn refusal(&self, fault: Fault) -> Answer {
        let (status, code, message) = match fault {
            Fault::Throttled => (503, "SlowDown", "Please reduce your request rate."),
            Fault::ExpiredCredentials => (400, "ExpiredToken", "The provided token has expired."),
            Fault::ClockSkew => (403, "RequestTimeTooSkewed", "The difference is too large."),
            Fault::Denied => (403, "AccessDenied", "Access Denied"),
        };
        match (&self.queue, fault) {
            (None, _) => xml(status, code, message),
            (Some(_), Fault::Throttled) => json(400, "ThrottlingException", "Rate exceeded"),
            (Some(_), Fault::ClockSkew) => {
                json(403, "InvalidSignatureException", "Signature expired: 1 is now earlier than 2")
            }
            (Some(_), _) => json(status, code, message),
        }
    }

    fn gate(&self) -> &Gate {
        &self.gate
    }

    async fn waiting(&self) -> u64 {
        let Some(queue) = &self.queue else { return 0 };
        let ask = aws_sdk_sqs::Client::new(&self.direct).get_queue_attributes().queue_url(queue);
        let answer = ask.attribute_names(QueueAttributeName::All).send().await.unwrap();
        let count =
            |name: QueueAttributeName| -> u64 { answer.attributes().unwrap()[&name].parse().unwrap() };
        count(QueueAttributeName::ApproximateNumberOfMessages)
            + count(QueueAttributeName::ApproximateNumberOfMessagesNotVisible)
    }
}

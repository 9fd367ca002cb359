//! Operations: what each kind of principal calls, how often it fails, and the parameters that such a call carries.

use crate::Rng;
use crate::call::{Call, Failure, Resource, Token};
use crate::cast::{ACCOUNT, Identity, Profile, REGION, letters};
use rand::RngExt;
use rand_distr::{Distribution, LogNormal};
use serde_json::{Value, json};

/// One line of a profile: how often a call is made, and how it usually fails.
#[derive(Clone, Copy, Debug)]
pub struct Habit {
    pub service: &'static str,
    pub operation: &'static str,
    pub weight: u32,
    /// Share of these calls that fail, from 0 to 1.
    pub failing: f64,
    pub code: &'static str,
    pub message: &'static str,
}

const fn habit(
    service: &'static str,
    operation: &'static str,
    weight: u32,
    failing: f64,
    code: &'static str,
    message: &'static str,
) -> Habit {
    Habit { service, operation, weight, failing, code, message }
}

const NO_KEY: (&str, &str) = ("NoSuchKey", "The specified key does not exist.");
const DENIED: (&str, &str) = (
    "AccessDenied",
    "User is not authorized to perform this action because no identity-based policy allows it",
);
const CONDITION: (&str, &str) = ("ConditionalCheckFailedException", "The conditional request failed");
const THROTTLED: (&str, &str) = ("ThrottlingException", "Rate exceeded");
const ABSENT: (&str, &str) = ("NoSuchEntity", "The requested entity cannot be found.");
const DRY: (&str, &str) = ("Client.DryRunOperation", "Request would have succeeded, but DryRun flag is set.");

#[rustfmt::skip]
const DEVELOPER: &[Habit] = &[
    habit("ec2", "DescribeInstances", 14, 0.06, DENIED.0, DENIED.1),
    habit("logs", "DescribeLogGroups", 8, 0.0, "", ""),
    habit("logs", "FilterLogEvents", 16, 0.08, THROTTLED.0, THROTTLED.1),
    habit("s3", "ListObjects", 9, 0.04, DENIED.0, DENIED.1),
    habit("s3", "GetObject", 12, 0.10, NO_KEY.0, NO_KEY.1),
    habit("s3", "PutObject", 5, 0.02, DENIED.0, DENIED.1),
    habit("lambda", "GetFunction20150331v2", 7, 0.05, "ResourceNotFoundException", "Function not found"),
    habit("cloudformation", "DescribeStacks", 8, 0.25, "ValidationException", "Stack with that id does not exist"),
    habit("dynamodb", "DescribeTable", 6, 0.0, "", ""),
    habit("sts", "GetCallerIdentity", 6, 0.0, "", ""),
    habit("ecs", "DescribeServices", 6, 0.0, "", ""),
    habit("monitoring", "GetMetricData", 8, 0.0, "", ""),
];

#[rustfmt::skip]
const ANALYST: &[Habit] = &[
    habit("s3", "ListObjects", 18, 0.03, DENIED.0, DENIED.1),
    habit("s3", "GetObject", 42, 0.08, NO_KEY.0, NO_KEY.1),
    habit("athena", "StartQueryExecution", 10, 0.08, "InvalidRequestException", "The query does not parse"),
    habit("athena", "GetQueryExecution", 16, 0.0, "", ""),
    habit("glue", "GetTables", 8, 0.10, "EntityNotFoundException", "Database not found."),
    habit("sts", "GetCallerIdentity", 3, 0.0, "", ""),
    habit("kms", "Decrypt", 6, 0.0, "", ""),
];

#[rustfmt::skip]
const ADMIN: &[Habit] = &[
    habit("iam", "ListUsers", 8, 0.0, "", ""),
    habit("iam", "GetUser", 12, 0.12, ABSENT.0, ABSENT.1),
    habit("iam", "ListRoles", 8, 0.0, "", ""),
    habit("iam", "GetRole", 10, 0.15, ABSENT.0, ABSENT.1),
    habit("iam", "ListAttachedRolePolicies", 8, 0.0, "", ""),
    habit("cloudtrail", "LookupEvents", 8, 0.05, THROTTLED.0, THROTTLED.1),
    habit("cloudtrail", "DescribeTrails", 4, 0.0, "", ""),
    habit("ec2", "DescribeSecurityGroups", 10, 0.0, "", ""),
    habit("ec2", "DescribeInstances", 10, 0.0, "", ""),
    habit("ec2", "RunInstances", 2, 0.30, DRY.0, DRY.1),
    habit("organizations", "DescribeOrganization", 3, 0.0, "", ""),
    habit("sts", "GetCallerIdentity", 4, 0.0, "", ""),
];

#[rustfmt::skip]
const BACKEND: &[Habit] = &[
    habit("dynamodb", "GetItem", 34, 0.0, "", ""),
    habit("dynamodb", "PutItem", 18, 0.16, CONDITION.0, CONDITION.1),
    habit("dynamodb", "Query", 12, 0.03, THROTTLED.0, THROTTLED.1),
    habit("kms", "Decrypt", 12, 0.0, "", ""),
    habit("kms", "GenerateDataKey", 6, 0.0, "", ""),
    habit("secretsmanager", "GetSecretValue", 3, 0.0, "", ""),
    habit("s3", "GetObject", 10, 0.18, NO_KEY.0, NO_KEY.1),
    habit("sqs", "ReceiveMessage", 8, 0.0, "", ""),
];

#[rustfmt::skip]
const PIPELINE: &[Habit] = &[
    habit("s3", "GetObject", 34, 0.09, NO_KEY.0, NO_KEY.1),
    habit("s3", "HeadObject", 14, 0.35, "NoSuchKey", "Not Found"),
    habit("s3", "PutObject", 26, 0.0, "", ""),
    habit("s3", "ListObjects", 8, 0.0, "", ""),
    habit("kms", "GenerateDataKey", 10, 0.0, "", ""),
    habit("sqs", "ReceiveMessage", 8, 0.0, "", ""),
];

#[rustfmt::skip]
const CRAWLER: &[Habit] = &[
    habit("s3", "GetBucketAcl", 10, 0.0, "", ""),
    habit("s3", "GetBucketPolicy", 10, 0.66, "NoSuchBucketPolicy", "The bucket policy does not exist"),
    habit("s3", "GetBucketCors", 10, 0.95, "NoSuchCORSConfiguration", "The CORS configuration does not exist"),
    habit("s3", "GetBucketWebsite", 10, 0.95, "NoSuchWebsiteConfiguration", "The specified bucket does not have a website configuration"),
    habit("s3", "GetBucketReplication", 10, 0.95, "ReplicationConfigurationNotFoundError", "The replication configuration was not found"),
    habit("s3", "GetBucketLifecycle", 10, 0.82, "NoSuchLifecycleConfiguration", "The lifecycle configuration does not exist"),
    habit("s3", "GetBucketTagging", 10, 0.72, "NoSuchTagSet", "The TagSet does not exist"),
    habit("s3", "GetBucketVersioning", 10, 0.0, "", ""),
    habit("s3", "GetBucketEncryption", 10, 0.05, "ServerSideEncryptionConfigurationNotFoundError", "The server side encryption configuration was not found"),
    habit("s3", "GetBucketLogging", 10, 0.0, "", ""),
    habit("s3", "GetBucketObjectLockConfiguration", 10, 0.95, "ObjectLockConfigurationNotFoundError", "Object Lock configuration does not exist for this bucket"),
    habit("ec2", "DescribeVolumes", 8, 0.0, "", ""),
    habit("lambda", "ListFunctions20150331", 6, 0.0, "", ""),
];

#[rustfmt::skip]
const FLEET: &[Habit] = &[
    habit("ec2", "DescribeInstanceStatus", 26, 0.0, "", ""),
    habit("ec2", "DescribeInstances", 22, 0.10, "Client.InvalidInstanceID.NotFound", "The instance IDs do not exist"),
    habit("elasticloadbalancing", "DescribeTargetHealth", 22, 0.05, "TargetGroupNotFound", "One or more target groups not found"),
    habit("ecs", "DescribeServices", 12, 0.0, "", ""),
    habit("monitoring", "GetMetricData", 14, 0.04, THROTTLED.0, THROTTLED.1),
    habit("iam", "GetRole", 4, 0.15, ABSENT.0, ABSENT.1),
];

#[rustfmt::skip]
const SERVICE: &[Habit] = &[
    habit("sts", "AssumeRole", 60, 0.03, DENIED.0, DENIED.1),
    habit("kms", "GenerateDataKey", 40, 0.0, "", ""),
];

pub fn habits(profile: Profile) -> &'static [Habit] {
    match profile {
        Profile::Developer => DEVELOPER,
        Profile::Analyst => ANALYST,
        Profile::Admin => ADMIN,
        Profile::Backend => BACKEND,
        Profile::Pipeline => PIPELINE,
        Profile::Crawler => CRAWLER,
        Profile::Fleet => FLEET,
        Profile::Service => SERVICE,
    }
}

/// Where and as whom a principal calls.
#[derive(Clone, Debug)]
pub struct Seat {
    pub identity: Identity,
    pub token: Option<Token>,
    pub source_ip: String,
    pub user_agent: String,
    pub vpc_endpoint: Option<String>,
}

/// Parameters of a call: request, response, what it touches, and bytes in and out.
struct Parameters {
    request: Value,
    response: Value,
    resources: Vec<Resource>,
    bytes_in: u64,
    bytes_out: u64,
}

impl Parameters {
    fn of(request: Value, response: Value, resources: Vec<Resource>) -> Self {
        Parameters { request, response, resources, bytes_in: 0, bytes_out: 0 }
    }
}

/// A call of `operation` at `service` (its short name, such as `s3`) with parameters drawn from `rng`.
pub fn call(seat: &Seat, service: &str, operation: &str, rng: &mut Rng) -> Call {
    let parameters = match service {
        "s3" => s3(operation, rng),
        "iam" | "sts" | "signin" => identity(operation, rng),
        "kms" | "secretsmanager" => secret(operation, rng),
        "dynamodb" | "sqs" | "lambda" => application(operation, rng),
        _ => inventory(service, operation, rng),
    };
    Call {
        delay_ms: 0,
        identity: seat.identity.clone(),
        token: seat.token.clone(),
        service: format!("{service}.amazonaws.com"),
        operation: operation.to_owned(),
        region: if matches!(service, "iam" | "signin" | "organizations") { "us-east-1" } else { REGION }
            .to_owned(),
        source_ip: seat.source_ip.clone(),
        user_agent: seat.user_agent.clone(),
        vpc_endpoint: seat.vpc_endpoint.clone(),
        request: parameters.request,
        response: parameters.response,
        resources: parameters.resources,
        bytes_in: parameters.bytes_in,
        bytes_out: parameters.bytes_out,
        failure: None,
    }
}

/// The same call, refused by the service with `code`.
pub fn failing(mut call: Call, code: &str, message: &str) -> Call {
    let message = match code {
        "AccessDenied" => {
            let action = format!("{}:{}", call.service.split('.').next().unwrap_or_default(), call.operation);
            format!(
                "User: {} is not authorized to perform: {action} because no identity-based policy allows the {action} action",
                call.identity.arn()
            )
        }
        _ => message.to_owned(),
    };
    call.failure = Some(Failure { code: code.to_owned(), message });
    call
}

/// The buckets of the company.
pub const BUCKETS: [&str; 6] = [
    "acme-orders-archive",
    "acme-media-assets",
    "acme-customer-exports",
    "acme-analytics-lake",
    "acme-backups",
    "acme-app-logs",
];

/// Sizes of S3 objects are log-normal: Downey, "The structural cause of file size distributions", MASCOTS 2001.
/// The median is 96 kB.
const OBJECT_BYTES_MEDIAN: f64 = 96_000.0;
const OBJECT_BYTES_SIGMA: f64 = 1.3;
/// The largest object that the background holds, in bytes.
const OBJECT_BYTES_MAX: f64 = 24_000_000.0;

/// Draws from a log-normal distribution by its median; a distribution that does not exist gives the median.
pub fn log_normal(median: f64, sigma: f64, rng: &mut Rng) -> f64 {
    LogNormal::new(median.ln(), sigma).map_or(median, |distribution| distribution.sample(rng))
}

fn object_bytes(rng: &mut Rng) -> u64 {
    log_normal(OBJECT_BYTES_MEDIAN, OBJECT_BYTES_SIGMA, rng).clamp(200.0, OBJECT_BYTES_MAX) as u64
}

fn pick<'a, T: ?Sized>(among: &[&'a T], rng: &mut Rng) -> &'a T {
    among[rng.random_range(0..among.len())]
}

fn bucket_resource(bucket: &str) -> Resource {
    Resource { arn: format!("arn:aws:s3:::{bucket}"), kind: "AWS::S3::Bucket".to_owned() }
}

/// A call on one object, or on a bucket when the operation is one of buckets.
fn s3(operation: &str, rng: &mut Rng) -> Parameters {
    let bucket = pick(&BUCKETS, rng);
    let host = format!("{bucket}.s3.{REGION}.amazonaws.com");
    if operation == "ListBuckets" {
        return Parameters {
            bytes_out: 1_480,
            ..Parameters::of(json!({"Host": format!("s3.{REGION}.amazonaws.com")}), Value::Null, vec![])
        };
    }
    if !operation.contains("Object") || operation.starts_with("List") || operation.contains("ObjectLock") {
        let mut request = json!({"bucketName": bucket, "Host": host});
        if operation == "ListObjects" {
            request["prefix"] =
                json!(format!("{}/2026/", pick(&["daily", "raw", "exports", "reports"], rng)));
            request["list-type"] = json!("2");
        }
        let bytes_out = rng.random_range(280..6_000);
        return Parameters {
            bytes_out,
            ..Parameters::of(request, Value::Null, vec![bucket_resource(bucket)])
        };
    }
    let key = format!(
        "{}/{:05}/part-{:05}.parquet",
        pick(&["daily", "raw", "exports", "reports"], rng),
        rng.random_range(0..400),
        rng.random_range(0..5_000)
    );
    object(operation, bucket, &key, object_bytes(rng))
}

/// A call on the object `key`, of `bytes`.
fn object(operation: &str, bucket: &str, key: &str, bytes: u64) -> Parameters {
    let request =
        json!({"bucketName": bucket, "Host": format!("{bucket}.s3.{REGION}.amazonaws.com"), "key": key});
    let resource =
        Resource { arn: format!("arn:aws:s3:::{bucket}/{key}"), kind: "AWS::S3::Object".to_owned() };
    let writes = matches!(operation, "PutObject" | "CopyObject");
    let response = if writes { json!({"x-amz-server-side-encryption": "aws:kms"}) } else { Value::Null };
    Parameters {
        bytes_in: if operation == "PutObject" { bytes } else { 0 },
        bytes_out: if operation == "GetObject" { bytes } else { 0 },
        ..Parameters::of(request, response, vec![resource, bucket_resource(bucket)])
    }
}

/// A call on one object of a known bucket, key and size.
pub fn object_call(seat: &Seat, operation: &str, bucket: &str, key: &str, bytes: u64, rng: &mut Rng) -> Call {
    let parameters = object(operation, bucket, key, bytes);
    let mut call = call(seat, "s3", operation, rng);
    (call.request, call.response, call.resources) =
        (parameters.request, parameters.response, parameters.resources);
    (call.bytes_in, call.bytes_out) = (parameters.bytes_in, parameters.bytes_out);
    call
}

fn identity(operation: &str, rng: &mut Rng) -> Parameters {
    let role = pick(&["app-runtime", "report-builder", "svc-search", "svc-mail", "data-export"], rng);
    let request = match operation {
        "ConsoleLogin" | "GetCallerIdentity" | "GetAccountSummary" | "ListAccountAliases" => Value::Null,
        "ListUsers" | "ListRoles" | "ListPolicies" | "ListGroups" => {
            json!({"maxItems": 100, "pathPrefix": "/"})
        }
        "GetUser" | "ListAccessKeys" | "ListAttachedUserPolicies" => {
            json!({"userName": pick(&["ines.costa", "kira.sato", "liam.doyle"], rng)})
        }
        "AssumeRole" => json!({
            "roleArn": format!("arn:aws:iam::{ACCOUNT}:role/{role}"), "durationSeconds": 3600,
            "roleSessionName": format!("awslambda_{}_{}", rng.random_range(1..999), rng.random_range(1_000_000u64..9_999_999)),
        }),
        _ => json!({"roleName": role}),
    };
    if operation == "AssumeRole" {
        let session = letters("session", &rng.random::<u64>().to_string(), 16);
        let response = json!({
            "credentials": {"accessKeyId": format!("ASIA{session}"), "sessionToken": "<sensitiveDataRemoved>", "expiration": "Jan 1, 2027, 1:00:00 AM"},
            "assumedRoleUser": {"assumedRoleId": format!("AROA{}:{session}", letters("role", role, 17)), "arn": format!("arn:aws:sts::{ACCOUNT}:assumed-role/{role}/{session}")},
        });
        let arn = format!("arn:aws:iam::{ACCOUNT}:role/{role}");
        return Parameters::of(request, response, vec![Resource { arn, kind: "AWS::IAM::Role".to_owned() }]);
    }
    Parameters::of(request, Value::Null, vec![])
}

fn secret(operation: &str, rng: &mut Rng) -> Parameters {
    if operation == "GetSecretValue" || operation == "ListSecrets" {
        let name = pick(
            &[
                "prod/orders/database",
                "prod/payments/api-key",
                "prod/mail/smtp",
                "shared/analytics/warehouse",
            ],
            rng,
        );
        let id =
            format!("arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret:{name}-{}", letters("secret", name, 6));
        let request =
            if operation == "ListSecrets" { json!({"maxResults": 100}) } else { json!({"secretId": id}) };
        return Parameters::of(request, Value::Null, vec![]);
    }
    let key = pick(&["3a833466-7f7f-4e6d-bb49-63b35c2eab07", "9d1c7a52-0b3e-4d7e-8a44-5f0f6f2f9b11"], rng);
    let arn = format!("arn:aws:kms:{REGION}:{ACCOUNT}:key/{key}");
    let context = json!({"aws:s3:arn": format!("arn:aws:s3:::{}/AWSLogs/{ACCOUNT}/2026/{:012x}", pick(&BUCKETS, rng), rng.random::<u32>())});
    let mut request = json!({"encryptionContext": context, "encryptionAlgorithm": "SYMMETRIC_DEFAULT"});
    if operation == "GenerateDataKey" {
        request = json!({"keyId": arn, "encryptionContext": context, "keySpec": "AES_256"});
    }
    Parameters::of(request, Value::Null, vec![Resource { arn, kind: "AWS::KMS::Key".to_owned() }])
}

fn application(operation: &str, rng: &mut Rng) -> Parameters {
    let name = pick(&["orders", "customers", "sessions", "carts", "payments"], rng);
    match operation {
        "GetItem" | "PutItem" | "Query" | "DescribeTable" => {
            let arn = format!("arn:aws:dynamodb:{REGION}:{ACCOUNT}:table/{name}");
            let key = json!({"id": format!("{name}#{:08x}", rng.random::<u32>())});
            let request = json!({"tableName": name, "key": key, "consistentRead": false, "returnConsumedCapacity": "NONE"});
            Parameters::of(
                request,
                Value::Null,
                vec![Resource { arn, kind: "AWS::DynamoDB::Table".to_owned() }],
            )
        }
        "ReceiveMessage" => {
            let url = format!("https://sqs.{REGION}.amazonaws.com/{ACCOUNT}/{name}-events");
            Parameters::of(
                json!({"queueUrl": url, "maxNumberOfMessages": 10, "waitTimeSeconds": 20}),
                Value::Null,
                vec![],
            )
        }
        "GetFunction20150331v2" => {
            Parameters::of(json!({"functionName": format!("{name}-handler")}), Value::Null, vec![])
        }
        _ => Parameters::of(json!({"maxItems": 50}), Value::Null, vec![]),
    }
}

fn inventory(service: &str, operation: &str, rng: &mut Rng) -> Parameters {
    let instance = format!("i-0{:016x}", rng.random::<u64>());
    let request = match service {
        "ec2" => json!({"instancesSet": {"items": [{"instanceId": instance}]}, "filterSet": {}}),
        "elasticloadbalancing" => {
            let group = pick(&["web", "api", "admin"], rng);
            json!({"targetGroupArn": format!("arn:aws:elasticloadbalancing:{REGION}:{ACCOUNT}:targetgroup/{group}/5b2c3d8e9f0a1b2c")})
        }
        "logs" => {
            json!({"logGroupName": format!("/aws/lambda/{}-handler", pick(&["orders", "carts", "mail"], rng)), "limit": 50})
        }
        "ecs" => json!({"cluster": "production", "services": [pick(&["web", "api", "worker"], rng)]}),
        "cloudformation" => {
            json!({"stackName": format!("acme-{}", pick(&["web", "api", "network", "data"], rng))})
        }
        "athena" => json!({"queryExecutionId": instance, "workGroup": "analytics"}),
        "glue" => json!({"databaseName": pick(&["lake_raw", "lake_curated"], rng)}),
        "monitoring" => {
            json!({"metricDataQueries": [{"id": "m1", "expression": "SUM(METRICS())"}], "maxDatapoints": 500})
        }
        "cloudtrail" if operation == "LookupEvents" => {
            json!({"lookupAttributes": [{"attributeKey": "ReadOnly", "attributeValue": "false"}], "maxResults": 50})
        }
        _ => Value::Null,
    };
    Parameters::of(request, Value::Null, vec![])
}

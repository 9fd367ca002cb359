//! Generated CloudTrail records of 1.2 to 1.8 kB, the same in every run.

use crate::record_of;
use prunella_schemas::Record;

/// A small generator of numbers (xorshift64*), so that a benchmark needs no dependency and no seed from outside.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    fn one_of(&mut self, words: &[&'static str]) -> &'static str {
        words[self.below(words.len() as u64) as usize]
    }

    fn uuid(&mut self) -> String {
        let (a, b) = (self.next(), self.next());
        format!(
            "{:08x}-{:04x}-4{:03x}-8{:03x}-{:012x}",
            a >> 32,
            a & 0xffff,
            (a >> 16) & 0xfff,
            b & 0xfff,
            b >> 16
        )
    }
}

const ACCOUNT: &str = "111122223333";
const AGENTS: &[&str] = &[
    "aws-cli/2.15.30 md/Botocore#2.0.0 ua/2.0 os/linux#6.5.0 md/arch#x86_64 lang/python#3.11.8 cfg/retry-mode#standard",
    "Boto3/1.34.69 md/Botocore#1.34.69 ua/2.0 os/linux#5.10.209 md/arch#x86_64 lang/python#3.10.12 exec-env/AWS_Lambda_python3.10",
    "APN/1.0 HashiCorp/1.0 Terraform/1.7.4 (+https://www.terraform.io) terraform-provider-aws/5.40.0 aws-sdk-go-v2/1.25.3",
];

pub fn generate(count: usize) -> Vec<Record> {
    let mut numbers = Numbers(0x9E37_79B9_7F4A_7C15);
    let mut records = Vec::with_capacity(count);
    while records.len() < count {
        let text = record_text(&mut numbers);
        assert!((1_200..=1_800).contains(&text.len()), "a record of {} bytes: {text}", text.len());
        records.push(record_of("aws.cloudtrail", text));
    }
    records
}

/// Of 20: 8 describe calls, 6 S3 object reads and writes, 3 assumed roles, 2 IAM changes, 1 sign-in; one in ten fails.
fn record_text(n: &mut Numbers) -> String {
    let (call, source, name, category) = match n.below(20) {
        0..=7 => describe(n),
        8..=13 => s3_object(n),
        14..=16 => assume_role(n),
        17..=18 => iam_change(n),
        _ => console_login(n),
    };
    let failed = if n.below(10) == 0 {
        r#""errorCode":"AccessDenied","errorMessage":"User is not authorized to perform this action on this resource",""#
    } else {
        "\""
    };
    format!(
        "{{\"eventVersion\":\"1.09\",{},\"eventTime\":\"2026-03-02T09:{:02}:{:02}Z\",\"eventSource\":\"{source}\",\
         \"eventName\":\"{name}\",\"awsRegion\":\"{}\",\"sourceIPAddress\":\"203.0.{}.{}\",\"userAgent\":\"{}\",\
         {failed}requestID\":\"{}\",{call},\"eventID\":\"{}\",\"eventType\":\"AwsApiCall\",\
         \"managementEvent\":{},\"recipientAccountId\":\"{ACCOUNT}\",\"eventCategory\":\"{category}\",{}}}",
        identity(n),
        n.below(60),
        n.below(60),
        n.one_of(&["eu-central-1", "us-east-1", "ap-southeast-2"]),
        n.below(256),
        n.below(256),
        n.one_of(AGENTS),
        n.uuid(),
        n.uuid(),
        category == "Management",
        r#""tlsDetails":{"tlsVersion":"TLSv1.3","cipherSuite":"TLS_AES_128_GCM_SHA256","clientProvidedHostHeader":"service.eu-central-1.amazonaws.com"}"#,
    )
}

fn identity(n: &mut Numbers) -> String {
    let (role, session, key) = (n.below(40), n.below(100_000), n.next());
    format!(
        "\"userIdentity\":{{\"type\":\"AssumedRole\",\"principalId\":\"AROA{role:016}:session-{session}\",\
         \"arn\":\"arn:aws:sts::{ACCOUNT}:assumed-role/workload-{role}/session-{session}\",\"accountId\":\"{ACCOUNT}\",\
         \"accessKeyId\":\"ASIA{key:016X}\",\"sessionContext\":{{\"sessionIssuer\":{{\"type\":\"Role\",\
         \"principalId\":\"AROA{role:016}\",\"arn\":\"arn:aws:iam::{ACCOUNT}:role/workload-{role}\",\
         \"accountId\":\"{ACCOUNT}\",\"userName\":\"workload-{role}\"}},\"webIdFederationData\":{{}},\
         \"attributes\":{{\"creationDate\":\"2026-03-02T08:{:02}:00Z\",\"mfaAuthenticated\":\"false\"}}}}}}",
        n.below(60),
    )
}

type Call = (String, &'static str, &'static str, &'static str);

fn describe(n: &mut Numbers) -> Call {
    let ids: Vec<String> =
        (0..1 + n.below(4)).map(|_| format!("{{\"instanceId\":\"i-{:017x}\"}}", n.next() >> 4)).collect();
    let call = format!(
        "\"requestParameters\":{{\"instancesSet\":{{\"items\":[{}]}},\"filterSet\":{{}}}},\"responseElements\":null,\"readOnly\":true",
        ids.join(",")
    );
    (call, "ec2.amazonaws.com", n.one_of(&["DescribeInstances", "DescribeInstanceStatus"]), "Management")
}

fn s3_object(n: &mut Numbers) -> Call {
    let (bucket, key) = (n.below(20), format!("year=2026/month=03/part-{:05}.parquet", n.below(100_000)));
    let call = format!(
        "\"requestParameters\":{{\"bucketName\":\"data-{bucket}\",\"Host\":\"data-{bucket}.s3.amazonaws.com\",\"key\":\"{key}\"}},\
         \"responseElements\":null,\"additionalEventData\":{{\"SignatureVersion\":\"SigV4\",\"CipherSuite\":\"TLS_AES_128_GCM_SHA256\",\
         \"bytesTransferredIn\":0,\"bytesTransferredOut\":{}}},\"readOnly\":true,\"resources\":[{{\"type\":\"AWS::S3::Object\",\
         \"ARN\":\"arn:aws:s3:::data-{bucket}/{key}\"}},{{\"accountId\":\"{ACCOUNT}\",\"type\":\"AWS::S3::Bucket\",\
         \"ARN\":\"arn:aws:s3:::data-{bucket}\"}}]",
        n.below(1 << 30),
    );
    (call, "s3.amazonaws.com", n.one_of(&["GetObject", "HeadObject", "PutObject"]), "Data")
}

fn assume_role(n: &mut Numbers) -> Call {
    let role = n.below(40);
    let call = format!(
        "\"requestParameters\":{{\"roleArn\":\"arn:aws:iam::{ACCOUNT}:role/workload-{role}\",\"roleSessionName\":\"s-1\"}},\
         \"responseElements\":{{\"credentials\":{{\"accessKeyId\":\"ASIA{:016X}\",\"expiration\":\"Mar 2, 2026, 10:15:00 AM\"}},\
         \"assumedRoleUser\":{{\"assumedRoleId\":\"AROA{role:016}:s-1\",\"arn\":\"arn:aws:sts::{ACCOUNT}:assumed-role/workload-{role}/s-1\"}}}},\
         \"readOnly\":true",
        n.next(),
    );
    (call, "sts.amazonaws.com", "AssumeRole", "Management")
}

fn iam_change(n: &mut Numbers) -> Call {
    let call = format!(
        "\"requestParameters\":{{\"userName\":\"user-{}\",\"policyArn\":\"arn:aws:iam::aws:policy/ReadOnlyAccess\"}},\
         \"responseElements\":null,\"readOnly\":false",
        n.below(200),
    );
    (call, "iam.amazonaws.com", n.one_of(&["AttachUserPolicy", "DetachUserPolicy"]), "Management")
}

fn console_login(n: &mut Numbers) -> Call {
    let call = format!(
        "\"requestParameters\":null,\"responseElements\":{{\"ConsoleLogin\":\"{}\"}},\"additionalEventData\":{{\
         \"LoginTo\":\"https://console.aws.amazon.com/console/home?state=hashArgs%23&isauthcode=true\",\"MobileVersion\":\"No\",\
         \"MFAUsed\":\"Yes\"}},\"readOnly\":false",
        n.one_of(&["Success", "Success", "Failure"]),
    );
    (call, "signin.amazonaws.com", "ConsoleLogin", "Management")
}

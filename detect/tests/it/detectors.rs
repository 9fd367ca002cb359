//! Every detector: attacks it must find, and what looks like them but is not.

use crate::story::{DAY_ZERO, events};
use prunella_detect::run;
use prunella_schemas::ocsf::severity_name;

const ANN: &str =
    "past ann 203.0.113.10 s3:ListBuckets,ec2:DescribeInstances,s3:GetObject,iam:ListUsers bytes=20K";
const CI: &str = "past role/ci 203.0.113.40 iam:AttachRolePolicy,s3:PutObject,iam:PutRolePolicy,cloudtrail:UpdateTrail days=5";

/// Runs `past` and `story`; `want` is what is found from day 0 on, as `detector severity`, sorted.
#[track_caller]
fn check(past: &str, story: &str, want: &[&str]) {
    let story = format!("{past}\n{story}");
    let mut got: Vec<String> = run(events(&story).into_iter())
        .iter()
        .filter(|f| f.time >= DAY_ZERO)
        .map(|f| format!("{} {}", f.finding_info.analytic.uid, severity_name(f.severity_id)))
        .collect();
    got.sort();
    assert_eq!(got, want, "in the story:\n{story}");
}

#[test]
fn an_ordinary_life_is_no_finding() {
    check(ANN, "09:00:00 ann 203.0.113.10 s3:GetObject x=50 every=30s bytes=30K", &[]);
    check(CI, "09:00:00 role/ci 203.0.113.40 s3:PutObject x=50 every=10s", &[]);
    check("", "09:00:00 bob 198.51.100.7 ec2:DescribeInstances x=500 every=20s", &[]);
    check(ANN, "09:00:00 ann 192.0.2.77 s3:ListBuckets x=20 every=60s", &[]);
}

#[test]
fn guessing() {
    let burst = "sign_in_brute_force";
    let attack = "09:00:00 ann 198.51.100.7 signin:ConsoleLogin fail=Failure x=9 every=25s
        09:05:00 ann 198.51.100.7 signin:ConsoleLogin mfa=no";
    check(ANN, attack, &[&format!("{burst} High")]);
    check("", attack, &[&format!("{burst} High")]);
    // Forgotten password: the same place as always.
    let home = attack.replace("198.51.100.7", "203.0.113.10");
    check(ANN, &home, &[&format!("{burst} Medium")]);
    check(
        ANN,
        "09:00:00 ann 203.0.113.10 signin:ConsoleLogin fail=Failure x=4\n09:01:00 ann 203.0.113.10 signin:ConsoleLogin",
        &[],
    );
    // Providers write whole seconds: within one the order is lost.
    let at_once =
        attack.replace("every=25s", "every=0s").replace("09:05:00", "09:00:00").replace("mfa=no", "id=in");
    check(ANN, &at_once, &[&format!("{burst} High")]);
    // Too slow to be a burst, and too late to belong to it.
    check(
        ANN,
        "09:00:00 ann 198.51.100.7 signin:ConsoleLogin fail=Failure x=9 every=400s\n11:00:00 ann 198.51.100.7 signin:ConsoleLogin",
        &[],
    );
    check(
        ANN,
        "09:00:00 ann 198.51.100.7 signin:ConsoleLogin fail=Failure x=9\n09:40:00 ann 198.51.100.7 signin:ConsoleLogin",
        &[],
    );
    // No success: twenty in a row.
    check(
        "",
        "09:00:00 eve 198.51.100.7 signin:ConsoleLogin fail=Failure x=25 every=20s",
        &[&format!("{burst} Medium")],
    );
    check("", "09:00:00 eve 198.51.100.7 signin:ConsoleLogin fail=Failure x=19 every=20s", &[]);
    check(
        "",
        "09:00:00 eve 198.51.100.7 s3:ListBuckets fail=InvalidClientTokenId x=30",
        &[&format!("{burst} Medium")],
    );
    // It grows: first the failures, then the success.
    let grows = "09:00:00 eve 198.51.100.7 signin:ConsoleLogin fail=Failure x=25 every=20s\n09:10:00 eve 198.51.100.7 signin:ConsoleLogin";
    check("", grows, &[&format!("{burst} High"), &format!("{burst} Medium")]);
}

#[test]
fn guessing_roles() {
    let past = "past role/app 203.0.113.40 sts:AssumeRole,s3:GetObject";
    // A retry while a new role spreads, from the usual place.
    let retry = "09:00:00 role/app 203.0.113.40 sts:AssumeRole fail=AccessDenied target=fresh x=8 every=5s
        09:01:00 role/app 203.0.113.40 sts:AssumeRole target=fresh";
    check(past, retry, &[]);
    let tried: String = ["admin", "root", "deploy", "backup", "audit"]
        .iter()
        .enumerate()
        .map(|(n, role)| {
            format!("09:00:{n:02} role/app 203.0.113.40 sts:AssumeRole fail=AccessDenied target={role}\n")
        })
        .collect();
    check(
        past,
        &format!("{tried}09:01:00 role/app 203.0.113.40 sts:AssumeRole target=ops"),
        &["sign_in_brute_force Medium"],
    );
    // One call in three fails all day long.
    let noisy = "09:00:00 role/app 203.0.113.40 sts:AssumeRole target=a x=200 every=9s
        09:00:01 role/app 203.0.113.40 sts:AssumeRole fail=AccessDenied target=b x=200 every=9s";
    check(past, noisy, &[]);
}

#[test]
fn sensitive_calls() {
    let id = "sensitive_api_new_network";
    check(ANN, "09:00:00 ann 198.51.100.7 sts:GetFederationToken", &[&format!("{id} High")]);
    check(ANN, "09:00:00 ann 198.51.100.7 secretsmanager:GetSecretValue", &[&format!("{id} Medium")]);
    check(ANN, "09:00:00 ann 203.0.113.10 secretsmanager:GetSecretValue", &[]);
    check(ANN, "09:00:00 ann 198.51.100.7 secretsmanager:GetSecretValue service=lambda.amazonaws.com", &[]);
    check("", "09:00:00 new 198.51.100.7 secretsmanager:GetSecretValue", &[]);
    // Traveling with the usual work.
    let reader = "past bob 203.0.113.10 secretsmanager:GetSecretValue,s3:GetObject";
    check(reader, "09:00:00 bob 198.51.100.7 secretsmanager:GetSecretValue x=3", &[]);
    check(reader, "09:00:00 bob 203.0.113.10 secretsmanager:GetSecretValue x=40", &[]);
    let key = "kms:Decrypt resource=arn:aws:kms:eu-west-1:1:key/a";
    check(&format!("past bob 203.0.113.10 {key}"), &format!("09:00:00 bob 198.51.100.7 {key}"), &[]);
    check(ANN, &format!("09:00:00 ann 198.51.100.7 {key} agent=other"), &[&format!("{id} Medium")]);
    check(
        ANN,
        "09:00:00 ann 203.0.113.10 secretsmanager:GetSecretValue x=12 every=3s",
        &[&format!("{id} High")],
    );
    let parameters = "ssm:GetParameters raw={\"withDecryption\":true}";
    check(ANN, &format!("09:00:00 ann 198.51.100.7 {parameters}"), &[&format!("{id} Medium")]);
    check(ANN, "09:00:00 ann 198.51.100.7 ssm:GetParameters raw={\"withDecryption\":false}", &[]);
}

/// Different questions to different services, two seconds apart.
fn questions(who: &str, ip: &str, options: &str, count: usize) -> String {
    const CALLS: [&str; 14] = [
        "iam:ListRoles",
        "iam:ListPolicies",
        "iam:GetAccountSummary",
        "ec2:DescribeVpcs",
        "ec2:DescribeSnapshots",
        "ec2:DescribeImages",
        "lambda:ListFunctions20150331",
        "rds:DescribeDBInstances",
        "rds:DescribeDBSnapshots",
        "secretsmanager:ListSecrets",
        "ssm:DescribeParameters",
        "kms:ListKeys",
        "dynamodb:ListTables",
        "ecr:DescribeRepositories",
    ];
    let line = |(n, call): (usize, &&str)| format!("09:00:{:02} {who} {ip} {call} {options}\n", n * 2);
    CALLS.iter().take(count).enumerate().map(line).collect()
}

#[test]
fn looking_around() {
    let id = "credential_theft_enumeration";
    check(ANN, &questions("ann", "198.51.100.7", "", 14), &[&format!("{id} High")]);
    check(ANN, &questions("ann", "198.51.100.7", "", 11), &[]);
    check(ANN, &questions("ann", "203.0.113.10", "fail=AccessDenied", 14), &[&format!("{id} Medium")]);
    // A new page of the console, from the usual place.
    check(ANN, &questions("ann", "203.0.113.10", "", 14), &[]);
    check("", &questions("new", "198.51.100.7", "", 14), &[]);
    check("", &questions("new", "198.51.100.7", "fail=AccessDenied", 14), &[&format!("{id} Medium")]);
    check(ANN, &questions("ann", "-", "service=config.amazonaws.com", 14), &[]);
    // The auditor asks all this every day, and now from a hotel.
    let usual: Vec<String> =
        questions("x", "y", "", 14).lines().map(|l| l.split(' ').nth(3).unwrap().to_owned()).collect();
    let auditor = format!("past aud 203.0.113.10 {}", usual.join(","));
    check(&auditor, &questions("aud", "198.51.100.7", "", 14), &[]);
}

#[test]
fn blinding() {
    let id = "audit_log_tampering";
    for call in [
        "cloudtrail:StopLogging",
        "cloudtrail:DeleteTrail",
        "ec2:DeleteFlowLogs",
        "guardduty:DeleteDetector",
        "config:StopConfigurationRecorder",
        "route53resolver:DeleteResolverQueryLogConfig",
    ] {
        check(ANN, &format!("09:00:00 ann 203.0.113.10 {call}"), &[&format!("{id} High")]);
        check("", &format!("09:00:00 new 203.0.113.10 {call} fail=AccessDenied"), &[&format!("{id} Medium")]);
        check("", &format!("09:00:00 new 203.0.113.10 {call} fail=TrailNotFoundException"), &[]);
    }
    check(
        ANN,
        "09:00:00 ann 203.0.113.10 cloudtrail:PutEventSelectors raw={\"includeManagementEvents\":false}",
        &[&format!("{id} High")],
    );
    check(
        ANN,
        "09:00:00 ann 203.0.113.10 cloudtrail:PutEventSelectors raw={\"includeManagementEvents\":true}",
        &[&format!("{id} Medium")],
    );
    check(
        ANN,
        "09:00:00 ann 203.0.113.10 logs:DeleteLogGroup resource=arn:aws:logs:::log-group:/aws/lambda/thumbnails",
        &[],
    );
    check(
        ANN,
        "09:00:00 ann 203.0.113.10 logs:DeleteLogGroup resource=arn:aws:logs:::log-group:/aws/cloudtrail/main",
        &[&format!("{id} High")],
    );
    check(ANN, "09:00:00 ann 203.0.113.10 cloudtrail:GetTrailStatus x=5", &[]);
    check(
        "",
        "09:00:00 service/config.amazonaws.com - config:StopConfigurationRecorder service=config.amazonaws.com",
        &[],
    );
    check(CI, "2d09:00:00 role/ci 203.0.113.40 cloudtrail:UpdateTrail", &[&format!("{id} Low")]);
    // One story, one finding.
    check(ANN, "09:00:00 ann 203.0.113.10 cloudtrail:StopLogging x=5 every=60s", &[&format!("{id} High")]);
}

#[test]
fn what_was_found_makes_no_habit_within_hours() {
    let attach = "ann 203.0.113.10 iam:AttachUserPolicy target=bob policy=AdministratorAccess";
    let story = format!("09:00:00 {attach} x=6 every=300s\n11:30:00 {attach}");
    check(ANN, &story, &["privilege_change High", "privilege_change High"]);
}

#[test]
fn more_power() {
    let id = "privilege_change";
    let by_ann = |call: &str| format!("09:00:00 ann 203.0.113.10 {call}");
    check(
        ANN,
        &by_ann("iam:AttachUserPolicy target=bob policy=AdministratorAccess"),
        &[&format!("{id} High")],
    );
    check(ANN, &by_ann("iam:AttachUserPolicy target=bob policy=AmazonSQSReadOnlyAccess"), &[]);
    check(ANN, &by_ann("iam:AttachUserPolicy target=ann policy=Mine"), &[&format!("{id} Medium")]);
    check(ANN, &by_ann("iam:PutUserPolicy target=bob"), &[&format!("{id} Medium")]);
    check(ANN, &by_ann("iam:CreateAccessKey target=bob"), &[&format!("{id} High")]);
    check(ANN, &by_ann("iam:CreateAccessKey target=ann"), &[]);
    check(ANN, &by_ann("iam:CreateAccessKey"), &[]);
    check(ANN, &by_ann("iam:UpdateLoginProfile target=bob"), &[&format!("{id} High")]);
    check(ANN, &by_ann("iam:UpdateLoginProfile target=ann"), &[]);
    check(
        ANN,
        &by_ann("iam:UpdateAssumeRolePolicy resource=arn:aws:iam::111122223333:role/r"),
        &[&format!("{id} Medium")],
    );
    check(
        ANN,
        &by_ann("iam:UpdateAssumeRolePolicy raw=arn:aws:iam::999988887777:root"),
        &[&format!("{id} High")],
    );
    check(ANN, &by_ann("iam:CreateRole raw=arn:aws:iam::111122223333:root"), &[]);
    check(ANN, &by_ann("iam:CreateUser target=bob"), &[]);
    check(ANN, &by_ann("iam:CreateLoginProfile target=bob fail=EntityAlreadyExistsException"), &[]);
    let denied = ["PutUserPolicy", "AttachUserPolicy", "CreatePolicyVersion"]
        .map(|call| by_ann(&format!("iam:{call} fail=AccessDenied target=ann")));
    check(ANN, &denied.join("\n"), &[&format!("{id} Medium")]);
    check(ANN, &denied[..2].join("\n"), &[]);
    // A new user with a key of its own.
    let made = "09:00:00 ann 203.0.113.10 iam:CreateUser target=svc\n09:00:30 ann 203.0.113.10 iam:PutUserPolicy target=svc";
    check(ANN, made, &[&format!("{id} High"), &format!("{id} Medium")]);
    let colleague = made.replace("PutUserPolicy", "AddUserToGroup");
    check(CI, &colleague.replace("ann 203.0.113.10", "new 203.0.113.10"), &[]);
    check(ANN, &colleague, &[&format!("{id} Low")]);
    // Infrastructure as code does it all day: milder, never silent.
    check(
        CI,
        "09:00:00 role/ci 203.0.113.40 iam:AttachRolePolicy target=x policy=AdministratorAccess",
        &[&format!("{id} Medium")],
    );
    check(CI, "2d09:00:00 role/ci 203.0.113.40 iam:PutRolePolicy target=x", &[&format!("{id} Low")]);
}

#[test]
fn doors_opened() {
    let id = "resource_exposure";
    let by_ann = |call: &str| format!("09:00:00 ann 203.0.113.10 {call}");
    check(
        ANN,
        &by_ann("ec2:ModifySnapshotAttribute raw={\"add\":{\"items\":[{\"userId\":\"999988887777\"}]}}"),
        &[&format!("{id} High")],
    );
    check(ANN, &by_ann("ec2:ModifySnapshotAttribute raw={\"remove\":{}}"), &[]);
    check(
        ANN,
        &by_ann("ec2:AuthorizeSecurityGroupIngress raw={\"fromPort\":22,\"cidrIp\":\"0.0.0.0/0\"}"),
        &[&format!("{id} Medium")],
    );
    check(
        ANN,
        &by_ann("ec2:AuthorizeSecurityGroupIngress raw={\"fromPort\":443,\"cidrIp\":\"0.0.0.0/0\"}"),
        &[],
    );
    check(
        ANN,
        &by_ann("ec2:AuthorizeSecurityGroupIngress raw={\"fromPort\":22,\"cidrIp\":\"10.0.0.0/8\"}"),
        &[],
    );
    check(
        ANN,
        &by_ann("lambda:AddPermission20150331v2 raw={\"principal\":\"999988887777\"}"),
        &[&format!("{id} High")],
    );
    check(ANN, &by_ann("lambda:AddPermission20150331v2 raw={\"principal\":\"s3.amazonaws.com\"}"), &[]);
    check(ANN, &by_ann("s3:PutBucketPolicy raw={\"Principal\":\"*\"}"), &[&format!("{id} High")]);
}

#[test]
fn two_places_at_once() {
    let id = "credential_two_networks";
    let home = "09:00:00 ann 203.0.113.10 s3:ListBuckets x=5 every=120s";
    let thief = "09:01:00 ann 198.51.100.7 s3:ListBuckets x=5 every=120s";
    check(ANN, &format!("{home}\n{thief}"), &[&format!("{id} High"), &format!("{id} Medium")]);
    // Two credentials, or the same neighbourhood, or a VPC's private side, or another family.
    check(ANN, &format!("{home}\n{thief} cred=ASIAother"), &[]);
    for near in ["203.0.44.9", "10.0.0.7", "2001:db8::1"] {
        check(ANN, &format!("{home}\n{}", thief.replace("198.51.100.7", near)), &[]);
    }
    // A laptop that goes between home and office.
    let both =
        "past ann 203.0.113.10 s3:ListBuckets days=2\npast ann 198.51.100.7 s3:ListBuckets days=2 ago=2";
    check(both, "09:00:00 ann 203.0.113.10 s3:ListBuckets\n09:10:00 ann 198.51.100.7 s3:ListBuckets", &[]);
    check(ANN, "09:00:00 ann 203.0.113.10 s3:ListBuckets\n09:20:00 ann 198.51.100.7 s3:ListBuckets", &[]);
    check(ANN, &format!("{home}\n{thief} service=athena.amazonaws.com"), &[]);
}

#[test]
fn taking_much() {
    let id = "download_volume";
    // 500 MB at three in the morning.
    check(ANN, "03:00:00 ann 203.0.113.10 s3:GetObject bytes=500M", &[&format!("{id} High")]);
    check(ANN, "03:00:00 ann 203.0.113.10 s3:GetObject bytes=500M fail=AccessDenied", &[]);
    check(ANN, "03:00:00 ann 203.0.113.10 s3:GetObject bytes=50M", &[]);
    check(ANN, "10:00:00 ann 203.0.113.10 s3:GetObject bytes=5M x=60 every=20s", &[&format!("{id} Medium")]);
    check(ANN, "10:00:00 ann 198.51.100.7 s3:GetObject bytes=5M x=60 every=20s", &[&format!("{id} High")]);
    // A job that moves much all day.
    let job = "past role/etl 203.0.113.40 s3:GetObject bytes=300M";
    check(job, "10:00:00 role/etl 203.0.113.40 s3:GetObject bytes=300M x=6 every=600s", &[]);
    check(
        job,
        "10:00:00 role/etl 203.0.113.40 s3:GetObject bytes=3G x=30 every=60s",
        &[&format!("{id} Medium")],
    );
    check("", "03:00:00 new 203.0.113.40 s3:GetObject bytes=500M", &[]);
}

#[test]
fn destroying() {
    let id = "mass_destruction";
    check(ANN, "09:00:00 ann 203.0.113.10 s3:DeleteObject x=25 every=5s", &[&format!("{id} High")]);
    check(ANN, "09:00:00 ann 203.0.113.10 s3:DeleteObject x=19 every=5s", &[]);
    check(ANN, "09:00:00 ann 203.0.113.10 s3:DeleteObject x=40 every=60s", &[]);
    check(ANN, "09:00:00 ann 203.0.113.10 s3:DeleteObject x=40 every=5s fail=AccessDenied", &[]);
    check(
        ANN,
        "09:00:00 ann 203.0.113.10 kms:ScheduleKeyDeletion x=6 every=5s",
        &[&format!("{id} Critical")],
    );
    let encrypt = "s3:CopyObject x=30 every=2s resource=arn:aws:kms:eu-west-1:999988887777:key/theirs";
    check(ANN, &format!("09:00:00 ann 203.0.113.10 {encrypt}"), &[&format!("{id} Critical")]);
    let usual = "past bob 203.0.113.10 s3:CopyObject resource=arn:aws:kms:eu-west-1:111122223333:key/ours";
    check(
        usual,
        &format!(
            "09:00:00 bob 203.0.113.10 {}",
            encrypt.replace("999988887777:key/theirs", "111122223333:key/ours")
        ),
        &[],
    );
    // Temporary files of a job.
    let job = "past role/spark 203.0.113.40 s3:DeleteObject,s3:PutObject";
    check(&format!("{job}\n07:00:00 role/spark 203.0.113.40 s3:DeleteObject x=15 every=60s"), "", &[]);
    check("", "09:00:00 role/fresh 203.0.113.40 s3:DeleteObject x=60 every=5s", &[]);
    check("", "09:00:00 role/fresh 203.0.113.40 s3:DeleteObject x=120 every=4s", &[&format!("{id} High")]);
}

#[test]
fn forged_records() {
    let id = "hostile_record";
    check(ANN, "09:00:00 ann 203.0.113.10 s3:GetObject flag=duplicate_key", &[&format!("{id} Medium")]);
    check(ANN, "09:00:00 ann 203.0.113.10 s3:GetObject flag=id_collision x=30", &[&format!("{id} Medium")]);
    check(ANN, "09:00:00 ann 203.0.113.10 s3:GetObject flag=truncated_field", &[]);
}

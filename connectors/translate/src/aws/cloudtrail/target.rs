//! What the call acted upon: resources, and the user, role, group, policy, bucket or table that a class asks for.

use super::wire::{AdditionalEventData, InsightDetails, Item, ItemSet, Made, Sets, Trail};
use crate::bounded::{Copier, RESOURCES_MAX};
use crate::lenient::{Picked, Raw, Text, pick};
use prunella_schemas::Event;
use prunella_schemas::ocsf::{
    ACCOUNT_CHANGE, AUTHENTICATION, Account, DATASTORE_ACTIVITY, Databucket, GROUP_MANAGEMENT, Group, Policy,
    Resource, Session, Table, User,
};

/// OCSF Datastore Activity: an existing record was encrypted.
const ENCRYPT: u8 = 9;

/// What a parameter's value is to the resource. An ARN always identifies.
#[derive(Clone, Copy, PartialEq)]
enum Names {
    Id,
    Name,
    /// The parameter is read for something else.
    Nothing,
}
use Names::{Id, Name, Nothing};

/// `(parameter, resource type, what its value is)`.
type Row = (&'static str, &'static str, Names);

/// By service: the parameters that are read, and which resources they name. S3 makes ARNs of two of them.
fn rows_of(source: &str) -> &'static [Row] {
    match source {
        "iam.amazonaws.com" => &[
            ("userName", "AWS::IAM::User", Name),
            ("roleName", "AWS::IAM::Role", Name),
            ("groupName", "AWS::IAM::Group", Name),
            ("policyArn", "AWS::IAM::Policy", Id),
            ("permissionsBoundary", "AWS::IAM::Policy", Id),
            ("policyName", "", Nothing),
            ("instanceProfileName", "AWS::IAM::InstanceProfile", Name),
            ("accessKeyId", "AWS::IAM::AccessKey", Id),
            ("serialNumber", "AWS::IAM::VirtualMFADevice", Id),
        ],
        "sts.amazonaws.com" => &[("roleArn", "AWS::IAM::Role", Id), ("roleSessionName", "", Nothing)],
        "s3.amazonaws.com" | "s3express.amazonaws.com" => &[
            ("bucketName", "", Nothing),
            ("key", "", Nothing),
            (SSE_CUSTOMER_ALGORITHM, "", Nothing),
            ("x-amz-server-side-encryption-aws-kms-key-id", "AWS::KMS::Key", Id),
        ],
        "kms.amazonaws.com" => &[("keyId", "AWS::KMS::Key", Id)],
        "lambda.amazonaws.com" => &[("functionName", "AWS::Lambda::Function", Name)],
        "dynamodb.amazonaws.com" => &[("tableName", "AWS::DynamoDB::Table", Name)],
        "ec2.amazonaws.com" | "ebs.amazonaws.com" => &[
            ("instanceId", "AWS::EC2::Instance", Id),
            ("snapshotId", "AWS::EC2::Snapshot", Id),
            ("volumeId", "AWS::EC2::Volume", Id),
            ("groupId", "AWS::EC2::SecurityGroup", Id),
            ("imageId", "AWS::EC2::Image", Id),
            ("vpcId", "AWS::EC2::VPC", Id),
        ],
        "cloudtrail.amazonaws.com" => {
            &[("name", "AWS::CloudTrail::Trail", Name), ("trailName", "AWS::CloudTrail::Trail", Name)]
        }
        "secretsmanager.amazonaws.com" => &[
            ("secretId", "AWS::SecretsManager::Secret", Name),
            ("name", "AWS::SecretsManager::Secret", Name),
        ],
        "ssm.amazonaws.com" => &[
            ("name", "AWS::SSM::Parameter", Name),
            ("documentName", "AWS::SSM::Document", Name),
            ("target", "AWS::EC2::Instance", Id),
        ],
        "rds.amazonaws.com" => &[
            ("dBInstanceIdentifier", "AWS::RDS::DBInstance", Name),
            ("dBClusterIdentifier", "AWS::RDS::DBCluster", Name),
            ("dBSnapshotIdentifier", "AWS::RDS::DBSnapshot", Name),
        ],
        "guardduty.amazonaws.com" => &[("detectorId", "AWS::GuardDuty::Detector", Id)],
        "config.amazonaws.com" => &[
            ("configurationRecorderName", "AWS::Config::ConfigurationRecorder", Name),
            ("deliveryChannelName", "AWS::Config::DeliveryChannel", Name),
        ],
        "logs.amazonaws.com" => &[("logGroupName", "AWS::Logs::LogGroup", Name)],
        "sns.amazonaws.com" => &[("topicArn", "AWS::SNS::Topic", Id)],
        "sqs.amazonaws.com" => &[("queueUrl", "AWS::SQS::Queue", Id)],
        "ecr.amazonaws.com" => &[("repositoryName", "AWS::ECR::Repository", Name)],
        "eks.amazonaws.com" => {
            &[("name", "AWS::EKS::Cluster", Name), ("clusterName", "AWS::EKS::Cluster", Name)]
        }
        "organizations.amazonaws.com" => &[
            ("policyId", "AWS::Organizations::Policy", Id),
            ("accountId", "AWS::Organizations::Account", Id),
        ],
        _ => &[],
    }
}

const SSE_CUSTOMER_ALGORITHM: &str = "x-amz-server-side-encryption-customer-algorithm";

/// The operations of EC2 whose answer, and not whose request, names what was made.
const MADE_BY_EC2: &[&str] =
    &["RunInstances", "CreateImage", "CreateSecurityGroup", "CreateSnapshot", "CreateVolume", "CopySnapshot"];

pub fn set_target(event: &mut Event, trail: &Trail<'_>, additional: &AdditionalEventData<'_>, copy: &Copier) {
    let mut found = Found { resources: Vec::new(), copy };
    found.listed(trail);
    if let Some(insight) = &trail.insight_details {
        found.insight(insight);
    }
    let rows = rows_of(trail.source());
    let params = params_of(trail.request_parameters, rows);
    found.derived(rows, &params);
    match trail.source() {
        "s3.amazonaws.com" | "s3express.amazonaws.com" => {
            found.s3(&params, partition(trail.aws_region.get()));
        }
        "ec2.amazonaws.com" => {
            found.ec2_sets(trail.request_parameters);
            if MADE_BY_EC2.contains(&trail.name()) {
                found.derived(rows, &params_of(trail.response_elements, rows));
                found.ec2_sets(trail.response_elements);
            }
        }
        _ => {}
    }
    set_class_target(event, trail, &params, additional, copy);
    event.resources = found.resources;
}

fn params_of<'a>(raw: Raw<'a>, rows: &'static [Row]) -> Picked<'a> {
    match raw {
        Some(raw) if !rows.is_empty() => {
            pick(raw.get(), |key| rows.iter().find(|(name, ..)| *name == key).map(|(name, ..)| *name))
        }
        _ => Picked::default(),
    }
}

/// The objects that only some classes have.
fn set_class_target(
    event: &mut Event,
    trail: &Trail<'_>,
    params: &Picked<'_>,
    additional: &AdditionalEventData<'_>,
    copy: &Copier,
) {
    match event.class_uid {
        uid if uid == ACCOUNT_CHANGE.uid => {
            let made: Made<'_> = Trail::read(trail.response_elements);
            event.user = Some(account_user(event, params, &made, copy));
            event.policy = policy(params, copy);
        }
        uid if uid == GROUP_MANAGEMENT.uid => {
            let made: Made<'_> = Trail::read(trail.response_elements);
            event.group =
                Some(Group { uid: copy.text(&made.group.arn), name: copy.option(params.get("groupName")) });
            event.user = params.get("userName").map(|name| named_user("IAMUser", name, copy));
            event.policy = policy(params, copy);
        }
        uid if uid == AUTHENTICATION.uid => set_token_user(event, trail, params, copy),
        uid if uid == DATASTORE_ACTIVITY.uid => set_datastore(event, trail, params, additional, copy),
        _ => {}
    }
}

/// The user or role that an Account Change acts upon. Without a name in the request it is the caller.
fn account_user(event: &Event, params: &Picked<'_>, made: &Made<'_>, copy: &Copier) -> User {
    let mut user = match (params.get("userName"), params.get("roleName")) {
        (Some(name), _) => named_user("IAMUser", name, copy),
        (None, Some(name)) => named_user("Role", name, copy),
        (None, None) => actor_as_user(event).unwrap_or_default(),
    };
    if let Some(arn) = made.user.arn.get().or(made.role.arn.get()) {
        user.uid = Some(copy.string(arn));
    }
    if let Some(id) = made.user.user_id.get().or(made.role.role_id.get()) {
        user.uid_alt = Some(copy.string(id));
    }
    user.credential_uid =
        copy.text(&made.access_key.access_key_id).or_else(|| copy.option(params.get("accessKeyId")));
    user
}

/// Who a token is for: the role that is assumed, else the caller.
fn set_token_user(event: &mut Event, trail: &Trail<'_>, params: &Picked<'_>, copy: &Copier) {
    if trail.source() != "sts.amazonaws.com" {
        event.user = actor_as_user(event);
        return;
    }
    let made: Made<'_> = Trail::read(trail.response_elements);
    event.user = match params.get("roleArn") {
        Some(arn) => Some(User {
            name: copy.option(params.get("roleSessionName")),
            uid: Some(copy.string(arn)),
            uid_alt: copy.text(&made.assumed_role_user.assumed_role_id),
            kind: Some("Role".to_owned()),
            ..User::default()
        }),
        None => actor_as_user(event),
    };
    let uid = copy.text(&made.assumed_role_user.arn).or_else(|| copy.text(&made.federated_user.arn));
    let credential_uid = copy.text(&made.credentials.access_key_id);
    if uid.is_some() || credential_uid.is_some() {
        event.session = Some(Session {
            uid,
            credential_uid,
            issuer: copy.option(params.get("roleArn")),
            ..Session::default()
        });
    }
}

fn set_datastore(
    event: &mut Event,
    trail: &Trail<'_>,
    params: &Picked<'_>,
    additional: &AdditionalEventData<'_>,
    copy: &Copier,
) {
    if trail.source() == "dynamodb.amazonaws.com" {
        event.table = Some(Table { uid: None, name: copy.option(params.get("tableName")) });
        return;
    }
    let partition = partition(trail.aws_region.get());
    event.databucket = Some(Databucket {
        uid: params.get("bucketName").map(|bucket| copy.string(&s3_arn(partition, bucket, None))),
        name: copy.option(params.get("bucketName")),
        kind: Some("S3".into()),
        type_id: Some(1),
    });
    // Overwriting objects under a key that only the caller knows is how S3 data is held to ransom.
    let customer_key = additional.sse_applied.is("SSE_C") || params.get(SSE_CUSTOMER_ALGORITHM).is_some();
    if customer_key && matches!(trail.name(), "CopyObject" | "PutObject" | "CreateMultipartUpload") {
        event.activity_id = ENCRYPT;
        event.activity_name = DATASTORE_ACTIVITY.activity_name(ENCRYPT).into();
        event.type_uid = DATASTORE_ACTIVITY.type_uid(ENCRYPT);
    }
}

fn policy(params: &Picked<'_>, copy: &Copier) -> Option<Policy> {
    let uid = copy.option(params.get("policyArn")).or_else(|| copy.option(params.get("permissionsBoundary")));
    let name = match uid.as_deref() {
        Some(arn) => arn.rsplit_once('/').map(|(_, name)| name.to_owned()),
        None => copy.option(params.get("policyName")),
    };
    (uid.is_some() || name.is_some()).then_some(Policy { uid, name })
}

fn named_user(kind: &str, name: &str, copy: &Copier) -> User {
    User { name: Some(copy.string(name)), kind: Some(kind.to_owned()), ..User::default() }
}

/// The caller, as the user of the event; which key signed the call is the actor's matter.
fn actor_as_user(event: &Event) -> Option<User> {
    let user = event.actor.as_ref()?.user.clone()?;
    Some(User { credential_uid: None, ..user })
}

/// Regions say which partition of AWS an ARN lies in.
fn partition(region: Option<&str>) -> &'static str {
    match region {
        Some(region) if region.starts_with("cn-") => "aws-cn",
        Some(region) if region.starts_with("us-gov-") => "aws-us-gov",
        _ => "aws",
    }
}

fn s3_arn(partition: &str, bucket: &str, key: Option<&str>) -> String {
    let (slash, key) = key.map_or(("", ""), |key| ("/", key));
    ["arn:", partition, ":s3:::", bucket, slash, key].concat()
}

/// Collects resources, each once.
struct Found<'c> {
    resources: Vec<Resource>,
    copy: &'c Copier,
}

impl Found<'_> {
    /// The resources that the record lists itself.
    fn listed(&mut self, trail: &Trail<'_>) {
        if trail.resources.cut {
            self.copy.mark_cut();
        }
        for listed in &trail.resources.items {
            let uid = self.copy.text(&listed.arn).or_else(|| self.copy.text(&listed.arn_prefix));
            if uid.is_none() && listed.kind.get().is_none() {
                continue;
            }
            let owner = self.copy.text(&listed.account_id).map(|uid| User {
                account: Some(Account { uid: Some(uid), ..Account::default() }),
                ..User::default()
            });
            self.resources.push(Resource {
                uid,
                kind: self.copy.text(&listed.kind),
                owner,
                ..Resource::default()
            });
        }
    }

    /// The operation that an insight speaks about.
    fn insight(&mut self, insight: &InsightDetails<'_>) {
        let about = |text: &Text<'_>| text.get().unwrap_or("-").to_owned();
        let name = format!("{}/{}", about(&insight.event_source), about(&insight.event_name));
        self.add("AWS::CloudTrail::Insight", false, &name);
    }

    fn derived(&mut self, rows: &[Row], params: &Picked<'_>) {
        for (parameter, kind, names) in rows {
            if let Some(value) = params.get(parameter).filter(|_| *names != Nothing) {
                self.add(kind, *names == Id, value);
            }
        }
    }

    fn s3(&mut self, params: &Picked<'_>, partition: &str) {
        let Some(bucket) = params.get("bucketName") else { return };
        self.add_s3("AWS::S3::Bucket", partition, bucket, None);
        if let Some(key) = params.get("key") {
            self.add_s3("AWS::S3::Object", partition, bucket, Some(key));
        }
    }

    /// Adds a bucket or object, of which both ARN and name are known, or gives the listed one its name.
    fn add_s3(&mut self, kind: &str, partition: &str, bucket: &str, key: Option<&str>) {
        let name = self.copy.string(key.unwrap_or(bucket));
        let is_same = |uid: &str| {
            let path = uid.split_once(":::").map_or("", |(_, path)| path);
            path.strip_prefix(bucket)
                .is_some_and(|rest| rest.strip_prefix('/') == key && (key.is_some() || rest.is_empty()))
        };
        if let Some(known) = self.resources.iter_mut().find(|known| known.uid.as_deref().is_some_and(is_same))
        {
            known.name = Some(name);
        } else if !self.is_full() {
            let uid = Some(self.copy.string(&s3_arn(partition, bucket, key)));
            self.resources.push(Resource {
                uid,
                name: Some(name),
                kind: Some(kind.to_owned()),
                ..Resource::default()
            });
        }
    }

    fn ec2_sets(&mut self, raw: Raw<'_>) {
        let sets: Sets<'_> = Trail::read(raw);
        for ItemSet { set } in [&sets.instances, &sets.snapshots, &sets.groups, &sets.volumes] {
            if set.cut {
                self.copy.mark_cut();
            }
            for item in &set.items {
                self.ec2_item(item);
            }
        }
    }

    fn ec2_item(&mut self, item: &Item<'_>) {
        let kinds = [
            ("AWS::EC2::Instance", &item.instance_id),
            ("AWS::EC2::Snapshot", &item.snapshot_id),
            ("AWS::EC2::SecurityGroup", &item.group_id),
            ("AWS::EC2::Volume", &item.volume_id),
            ("AWS::EC2::Image", &item.image_id),
        ];
        for (kind, id) in kinds {
            if let Some(id) = id.get() {
                self.add(kind, true, id);
            }
        }
    }

    /// Adds a resource known by one word, unless one of its kind already has that word as its id, name or last part.
    fn add(&mut self, kind: &str, is_id: bool, value: &str) {
        let same = |known: &Resource| {
            known.kind.as_deref() == Some(kind)
                && (known.name.as_deref() == Some(value)
                    || known.uid.as_deref().and_then(|uid| uid.strip_suffix(value)).is_some_and(ends_a_part))
        };
        if self.resources.iter().any(same) || self.is_full() {
            return;
        }
        let value = Some(self.copy.string(value));
        let is_id = is_id || value.as_deref().is_some_and(|v| v.starts_with("arn:"));
        let (uid, name) = if is_id { (value, None) } else { (None, value) };
        self.resources.push(Resource { uid, name, kind: Some(kind.to_owned()), ..Resource::default() });
    }

    fn is_full(&self) -> bool {
        let full = self.resources.len() >= RESOURCES_MAX;
        if full {
            self.copy.mark_cut();
        }
        full
    }
}

/// Whether what stands before a word ends there: the word is the whole, or the last part of an ARN.
fn ends_a_part(before: &str) -> bool {
    before.is_empty() || before.ends_with(['/', ':'])
}

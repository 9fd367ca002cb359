//! What the call acted upon: resources, and the user, role, group, policy, bucket or table that a class asks for.

use super::wire::{AdditionalEventData, InsightDetails, Item, ItemSet, Made, Params, Trail};
use crate::bounded::{Copier, RESOURCES_MAX};
use crate::lenient::Text;
use prunella_schemas::Event;
use prunella_schemas::ocsf::{
    ACCOUNT_CHANGE, AUTHENTICATION, Account, DATASTORE_ACTIVITY, Databucket, GROUP_MANAGEMENT, Group, Policy,
    Resource, Session, Table, User,
};

/// OCSF Datastore Activity: an existing record was encrypted.
const ENCRYPT: u8 = 9;

/// One resource that a parameter names.
struct Derived {
    kind: &'static str,
    /// Whether the value identifies the resource; else it is its name. An ARN always identifies.
    is_id: bool,
    value: for<'p> fn(&'p Params<'_>) -> Option<&'p str>,
}

macro_rules! derived {
    ($($kind:literal $how:ident $field:ident),* $(,)?) => {
        &[$(Derived { kind: $kind, is_id: derived!(@ $how), value: |params| params.$field.get() }),*]
    };
    (@ id) => { true };
    (@ name) => { false };
}

/// By service: which parameters name resources. S3 is not here, since it makes ARNs of two parameters.
fn derived_of(source: &str) -> &'static [Derived] {
    match source {
        "iam.amazonaws.com" => derived![
            "AWS::IAM::User" name user_name, "AWS::IAM::Role" name role_name, "AWS::IAM::Group" name group_name,
            "AWS::IAM::Policy" id policy_arn, "AWS::IAM::Policy" id permissions_boundary,
            "AWS::IAM::InstanceProfile" name instance_profile_name, "AWS::IAM::AccessKey" id access_key_id,
            "AWS::IAM::VirtualMFADevice" id serial_number,
        ],
        "sts.amazonaws.com" => derived!["AWS::IAM::Role" id role_arn],
        "kms.amazonaws.com" => derived!["AWS::KMS::Key" id key_id],
        "lambda.amazonaws.com" => derived!["AWS::Lambda::Function" name function_name],
        "dynamodb.amazonaws.com" => derived!["AWS::DynamoDB::Table" name table_name],
        "ec2.amazonaws.com" | "ebs.amazonaws.com" => derived![
            "AWS::EC2::Instance" id instance_id, "AWS::EC2::Snapshot" id snapshot_id, "AWS::EC2::Volume" id volume_id,
            "AWS::EC2::SecurityGroup" id group_id, "AWS::EC2::Image" id image_id, "AWS::EC2::VPC" id vpc_id,
        ],
        "cloudtrail.amazonaws.com" => derived![
            "AWS::CloudTrail::Trail" name name, "AWS::CloudTrail::Trail" name trail_name,
        ],
        "secretsmanager.amazonaws.com" => derived![
            "AWS::SecretsManager::Secret" name secret_id, "AWS::SecretsManager::Secret" name name,
        ],
        "ssm.amazonaws.com" => derived![
            "AWS::SSM::Parameter" name name, "AWS::SSM::Document" name document_name, "AWS::EC2::Instance" id target,
        ],
        "rds.amazonaws.com" => derived![
            "AWS::RDS::DBInstance" name db_instance, "AWS::RDS::DBCluster" name db_cluster,
            "AWS::RDS::DBSnapshot" name db_snapshot,
        ],
        "guardduty.amazonaws.com" => derived!["AWS::GuardDuty::Detector" id detector_id],
        "config.amazonaws.com" => derived![
            "AWS::Config::ConfigurationRecorder" name configuration_recorder_name,
            "AWS::Config::DeliveryChannel" name delivery_channel_name,
        ],
        "logs.amazonaws.com" => derived!["AWS::Logs::LogGroup" name log_group_name],
        "sns.amazonaws.com" => derived!["AWS::SNS::Topic" id topic_arn],
        "sqs.amazonaws.com" => derived!["AWS::SQS::Queue" id queue_url],
        "ecr.amazonaws.com" => derived!["AWS::ECR::Repository" name repository_name],
        "ecs.amazonaws.com" | "eks.amazonaws.com" => derived!["AWS::EKS::Cluster" name cluster_name],
        "organizations.amazonaws.com" => derived!["AWS::Organizations::Policy" id organization_policy_id],
        _ => &[],
    }
}

/// The operations of EC2 whose answer, and not whose request, names what was made.
const MADE_BY_EC2: &[&str] =
    &["RunInstances", "CreateImage", "CreateSecurityGroup", "CreateSnapshot", "CreateVolume", "CopySnapshot"];

pub fn set_target(event: &mut Event, trail: &Trail<'_>, additional: &AdditionalEventData<'_>, copy: &Copier) {
    let mut found = Found { resources: Vec::new(), copy };
    found.listed(trail);
    if let Some(insight) = &trail.insight_details {
        found.insight(insight);
    }
    let source = trail.source();
    let rows = derived_of(source);
    let is_s3 = source == "s3.amazonaws.com" || source == "s3express.amazonaws.com";
    if is_s3 || !rows.is_empty() {
        let params: Params<'_> = Trail::read(trail.request_parameters);
        found.derived(rows, &params);
        if is_s3 {
            found.s3(&params, partition(trail.aws_region.get()));
        }
        if source == "ec2.amazonaws.com" {
            found.ec2_sets(&params);
            if MADE_BY_EC2.contains(&trail.name()) {
                let made: Params<'_> = Trail::read(trail.response_elements);
                found.derived(rows, &made);
                found.ec2_sets(&made);
            }
        }
        set_class_target(event, trail, &params, additional, copy);
    } else if event.class_uid == AUTHENTICATION.uid {
        event.user = actor_as_user(event);
    }
    event.resources = found.resources;
}

/// The objects that only some classes have.
fn set_class_target(
    event: &mut Event,
    trail: &Trail<'_>,
    params: &Params<'_>,
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
                Some(Group { uid: copy.text(&made.group.arn), name: copy.text(&params.group_name) });
            event.user = params.user_name.get().map(|name| named_user("IAMUser", name, copy));
            event.policy = policy(params, copy);
        }
        uid if uid == AUTHENTICATION.uid => set_token_user(event, trail, params, copy),
        uid if uid == DATASTORE_ACTIVITY.uid => set_datastore(event, trail, params, additional, copy),
        _ => {}
    }
}

/// The user or role that an Account Change acts upon. Without a name in the request it is the caller.
fn account_user(event: &Event, params: &Params<'_>, made: &Made<'_>, copy: &Copier) -> User {
    let mut user = match (params.user_name.get(), params.role_name.get()) {
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
        copy.text(&made.access_key.access_key_id).or_else(|| copy.text(&params.access_key_id));
    user
}

/// Who a token is for: the role that is assumed, else the caller.
fn set_token_user(event: &mut Event, trail: &Trail<'_>, params: &Params<'_>, copy: &Copier) {
    let made: Made<'_> = Trail::read(trail.response_elements);
    event.user = match params.role_arn.get() {
        Some(arn) => Some(User {
            name: copy.text(&params.role_session_name),
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
        event.session =
            Some(Session { uid, credential_uid, issuer: copy.text(&params.role_arn), ..Session::default() });
    }
}

fn set_datastore(
    event: &mut Event,
    trail: &Trail<'_>,
    params: &Params<'_>,
    additional: &AdditionalEventData<'_>,
    copy: &Copier,
) {
    if trail.source() == "dynamodb.amazonaws.com" {
        event.table = Some(Table { uid: None, name: copy.text(&params.table_name) });
        return;
    }
    event.databucket = Some(Databucket {
        uid: params
            .bucket_name
            .get()
            .map(|name| copy.string(&format!("arn:{}:s3:::{name}", partition(trail.aws_region.get())))),
        name: copy.text(&params.bucket_name),
        kind: Some("S3".into()),
        type_id: Some(1),
    });
    // Overwriting objects under a key that only the caller knows is how S3 data is held to ransom.
    let customer_key = additional.sse_applied.is("SSE_C") || params.sse_customer_algorithm.get().is_some();
    if customer_key && matches!(trail.name(), "CopyObject" | "PutObject" | "CreateMultipartUpload") {
        event.activity_id = ENCRYPT;
        event.activity_name = DATASTORE_ACTIVITY.activity_name(ENCRYPT).into();
        event.type_uid = DATASTORE_ACTIVITY.type_uid(ENCRYPT);
    }
}

fn policy(params: &Params<'_>, copy: &Copier) -> Option<Policy> {
    let uid = copy.text(&params.policy_arn).or_else(|| copy.text(&params.permissions_boundary));
    let name = match uid.as_deref() {
        Some(arn) => arn.rsplit_once('/').map(|(_, name)| name.to_owned()),
        None => copy.text(&params.policy_name),
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

    fn derived(&mut self, rows: &[Derived], params: &Params<'_>) {
        for row in rows {
            if let Some(value) = (row.value)(params) {
                self.add(row.kind, row.is_id, value);
            }
        }
    }

    fn s3(&mut self, params: &Params<'_>, partition: &str) {
        let Some(bucket) = params.bucket_name.get() else { return };
        self.add_named("AWS::S3::Bucket", &format!("arn:{partition}:s3:::{bucket}"), bucket);
        if let Some(key) = params.object_key.get() {
            self.add_named("AWS::S3::Object", &format!("arn:{partition}:s3:::{bucket}/{key}"), key);
        }
        if let Some(key) = params.sse_kms_key_id.get() {
            self.add("AWS::KMS::Key", true, key);
        }
    }

    fn ec2_sets(&mut self, params: &Params<'_>) {
        let sets = [&params.instances, &params.snapshots, &params.groups, &params.volumes];
        for ItemSet { set } in sets {
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

    /// Adds a resource of which both id and name are known, or gives the listed one its name.
    fn add_named(&mut self, kind: &str, uid: &str, name: &str) {
        if let Some(known) = self.resources.iter_mut().find(|known| known.uid.as_deref() == Some(uid)) {
            known.name = Some(self.copy.string(name));
        } else if !self.is_full() {
            let (uid, name) = (Some(self.copy.string(uid)), Some(self.copy.string(name)));
            self.resources.push(Resource { uid, name, kind: Some(kind.to_owned()), ..Resource::default() });
        }
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

//! `aws.inventory`: what there is in an account, looked at on a schedule: buckets, users, their access keys, roles.

use crate::client;
use crate::cloudtrail;
use crate::fault::{Call, Trouble, explain};
use async_trait::async_trait;
use aws_config::SdkConfig;
use aws_sdk_iam::types::AccessKeyMetadata;
use prunella_schemas::inventory::RESOURCES_PER_EVENT_MAX;
use prunella_schemas::ocsf::{
    Account, CLOUD_INVENTORY, Cloud, Feature, Product, Resource, STATUS_SUCCESS, User,
};
use prunella_schemas::port::{
    CheckStep, Checkup, Clock, Configured, Cursor, Fetched, Page, Source, SourceError, Upload,
};
use prunella_schemas::{Event, Tag, Tenant, Timestamp};
use serde::Deserialize;

/// The kind, as the configuration names it.
pub const KIND: &str = "aws.inventory";
/// The translator that reads the events.
const SOURCE: &str = "ocsf";
/// Time between two looks, unless the operator says otherwise.
const EVERY_MS: u64 = 3_600_000;
/// Most resources of one kind; with more the look says that it is not whole.
const RESOURCES_MAX: usize = 50_000;

/// What the configuration says about an inventory.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    pub region: String,
    /// Profile of the AWS configuration; empty: the default chain.
    pub profile: String,
    /// A role to assume; empty: none.
    pub role_arn: String,
    pub external_id: String,
    /// Address of an emulator; empty: AWS.
    pub endpoint: String,
}

/// The inventory of one account.
pub struct Inventory {
    name: String,
    tenant: Tenant,
    clock: Clock,
    s3: aws_sdk_s3::Client,
    iam: aws_sdk_iam::Client,
    sts: aws_sdk_sts::Client,
}

/// Resources of one kind, or why they cannot be told.
type Told = Result<Vec<Resource>, Trouble>;

impl Inventory {
    /// By the credentials that the machine has. Nothing is asked of AWS yet.
    pub async fn open(configured: Configured) -> Result<Self, SourceError> {
        let invalid = |text: String| SourceError::Invalid(text);
        let settings: Settings =
            serde_json::from_value(configured.settings).map_err(|e| invalid(e.to_string()))?;
        if settings.region.is_empty() {
            return Err(invalid(
                "`region` is missing: name the region of the account's endpoints, such as `us-east-1`".into(),
            ));
        }
        let access = cloudtrail::Settings {
            region: settings.region,
            profile: settings.profile,
            role_arn: settings.role_arn,
            external_id: settings.external_id,
            endpoint: settings.endpoint,
            ..cloudtrail::Settings::default()
        };
        let config = client::load(&access).await;
        Ok(Inventory::over(&config, configured.name, configured.tenant, configured.clock))
    }

    /// Over a configuration of the SDK that is there already.
    pub fn over(config: &SdkConfig, name: String, tenant: Tenant, clock: Clock) -> Self {
        Inventory {
            name,
            tenant,
            clock,
            s3: client::s3(config),
            iam: aws_sdk_iam::Client::new(config),
            sts: aws_sdk_sts::Client::new(config),
        }
    }

    async fn account(&self) -> Result<String, Trouble> {
        let who = self.sts.get_caller_identity().send().await;
        let who = who.map_err(|e| explain(&call("sts:GetCallerIdentity"), &e))?;
        Ok(who.account().unwrap_or_default().to_owned())
    }

    async fn buckets(&self) -> Told {
        let mut found = Vec::new();
        let mut pages = self.s3.list_buckets().into_paginator().send();
        while let Some(page) = pages.next().await {
            let page = page.map_err(|e| explain(&call("s3:ListAllMyBuckets"), &e))?;
            for bucket in page.buckets() {
                let Some(name) = bucket.name() else { continue };
                let mut resource = resource("AWS::S3::Bucket", format!("arn:aws:s3:::{name}"), name);
                resource.region = bucket.bucket_region().map(str::to_owned);
                found.push(resource);
            }
            if found.len() >= RESOURCES_MAX {
                break;
            }
        }
        Ok(found)
    }

    async fn users(&self) -> Told {
        let mut found = Vec::new();
        let mut pages = self.iam.list_users().into_paginator().send();
        while let Some(page) = pages.next().await {
            let page = page.map_err(|e| explain(&call("iam:ListUsers"), &e))?;
            found.extend(
                page.users().iter().map(|u| resource("AWS::IAM::User", u.arn().into(), u.user_name())),
            );
            if found.len() >= RESOURCES_MAX {
                break;
            }
        }
        Ok(found)
    }

    async fn roles(&self) -> Told {
        let mut found = Vec::new();
        let mut pages = self.iam.list_roles().into_paginator().send();
        while let Some(page) = pages.next().await {
            let page = page.map_err(|e| explain(&call("iam:ListRoles"), &e))?;
            found.extend(
                page.roles().iter().map(|r| resource("AWS::IAM::Role", r.arn().into(), r.role_name())),
            );
            if found.len() >= RESOURCES_MAX {
                break;
            }
        }
        Ok(found)
    }

    /// The keys of these users. A user who has gone meanwhile has none.
    async fn keys(&self, users: &[Resource]) -> Told {
        let mut found = Vec::new();
        for user in users {
            let name = user.name.as_deref().unwrap_or_default();
            let mut pages = self.iam.list_access_keys().user_name(name).into_paginator().send();
            while let Some(page) = pages.next().await {
                match page.map_err(|e| explain(&call("iam:ListAccessKeys"), &e)) {
                    Ok(page) => found.extend(page.access_key_metadata().iter().filter_map(|k| key(k, user))),
                    Err(Trouble::Gone(_)) => break,
                    Err(trouble) => return Err(trouble),
                }
            }
            if found.len() >= RESOURCES_MAX {
                break;
            }
        }
        Ok(found)
    }

    /// The events of one kind; one without resources says that there are none.
    fn events(&self, look: &Look, kind: &'static str, resources: &[Resource]) -> Vec<Event> {
        let none = resources.is_empty().then_some(&[][..]);
        let parts = none.into_iter().chain(resources.chunks(RESOURCES_PER_EVENT_MAX));
        parts.enumerate().map(|(part, resources)| self.event(look, kind, part, resources.to_vec())).collect()
    }

    fn event(&self, look: &Look, kind: &'static str, part: usize, resources: Vec<Resource>) -> Event {
        let mut event = Event::new(CLOUD_INVENTORY, 2, STATUS_SUCCESS, 1);
        event.time = look.time;
        let account = Account { uid: Some(look.account.clone()), ..Account::default() };
        event.cloud = Some(Cloud { provider: "AWS".into(), account: Some(account), ..Cloud::default() });
        event.resources = resources;
        let metadata = &mut event.metadata;
        let feature = Feature { name: Some("discovery".to_owned()) };
        metadata.product =
            Product { name: "Prunella".into(), vendor_name: "Prunella".into(), feature: Some(feature) };
        metadata.profiles = vec!["cloud".into()];
        metadata.event_code = Some(kind.to_owned());
        metadata.correlation_uid = Some(format!("{}:{}", self.name, look.time.0));
        metadata.uid = Some(format!("{}:{kind}:{}:{part}", self.name, look.time.0));
        event
    }
}

/// When, and at which account.
struct Look {
    time: Timestamp,
    account: String,
}

#[async_trait]
impl Source for Inventory {
    fn name(&self) -> &str {
        &self.name
    }

    /// The whole account in one page. What one call refuses is a problem, and the rest is told all the same.
    async fn read(&self, _: &Cursor) -> Result<Page, SourceError> {
        let account = self.account().await.map_err(Trouble::stops)?;
        let look = Look { time: (self.clock)(), account };
        let users = self.users().await;
        let keys = match &users {
            Ok(users) => self.keys(users).await,
            // Without users nothing can be said about their keys, and why was said.
            Err(_) => Err(Trouble::Changed),
        };
        let told = [
            ("AWS::S3::Bucket", self.buckets().await),
            ("AWS::IAM::User", users),
            ("AWS::IAM::AccessKey", keys),
            ("AWS::IAM::Role", self.roles().await),
        ];
        let (mut events, mut problems) = (Vec::new(), Vec::new());
        for (kind, told) in told {
            match told {
                Ok(mut resources) => {
                    if resources.len() > RESOURCES_MAX {
                        problems.push(format!(
                            "there are more than {RESOURCES_MAX} of {kind}; the rest is not told"
                        ));
                        resources.truncate(RESOURCES_MAX);
                    }
                    events.extend(self.events(&look, kind, &resources));
                }
                Err(Trouble::Changed) => {}
                Err(trouble @ (Trouble::Denied(_) | Trouble::Gone(_))) => {
                    problems.push(trouble.stops().to_string());
                }
                Err(trouble @ Trouble::Other(_)) => return Err(trouble.stops()),
            }
        }
        let mut body = Vec::new();
        for event in &events {
            // An event is plain data: serde_json cannot fail on it.
            body.extend(serde_json::to_vec(event).unwrap_or_default());
            body.push(b'\n');
        }
        let upload = Upload {
            source: SOURCE.to_owned(),
            tenant: self.tenant.clone(),
            content_type: "application/x-ndjson".to_owned(),
            content_encoding: String::new(),
            body,
            origin: format!("{KIND} {} of account {}", self.name, look.account),
            is_file: true,
        };
        let fetched = Fetched { upload, delivered: Some(look.time), newest: Some(look.time) };
        let next = Cursor(look.time.0.to_string());
        Ok(Page { bodies: vec![fetched], next, caught_up: true, problems, ..Page::default() })
    }

    fn every_ms(&self) -> u64 {
        EVERY_MS
    }

    async fn check(&self) -> Checkup {
        let users = self.users().await;
        let some: Vec<Resource> = users.iter().flatten().take(1).cloned().collect();
        let steps = [
            ("sts:GetCallerIdentity", self.account().await.err()),
            ("s3:ListAllMyBuckets", self.buckets().await.err()),
            ("iam:ListUsers", users.err()),
            ("iam:ListAccessKeys", self.keys(&some).await.err()),
            ("iam:ListRoles", self.roles().await.err()),
        ];
        let step = |(action, trouble): (&'static str, Option<Trouble>)| CheckStep {
            what: format!("{action} on *"),
            problem: trouble.map(|trouble| trouble.stops().to_string()),
        };
        Checkup { steps: steps.into_iter().map(step).collect(), policy: policy() }
    }
}

/// The least that an inventory needs.
fn policy() -> String {
    let actions = ["s3:ListAllMyBuckets", "iam:ListUsers", "iam:ListAccessKeys", "iam:ListRoles"];
    let policy = serde_json::json!({
        "Version": "2012-10-17",
        "Statement": [{ "Effect": "Allow", "Action": actions, "Resource": "*" }],
    });
    format!("{policy:#}")
}

fn call(action: &'static str) -> Call {
    Call { action, resource: "*".to_owned() }
}

fn resource(kind: &'static str, uid: String, name: &str) -> Resource {
    Resource {
        uid: Some(uid),
        name: Some(name.to_owned()),
        kind: Some(kind.to_owned()),
        cloud_partition: Some("aws".to_owned()),
        ..Resource::default()
    }
}

fn key(key: &AccessKeyMetadata, user: &Resource) -> Option<Resource> {
    let id = key.access_key_id()?;
    let mut made = resource("AWS::IAM::AccessKey", id.to_owned(), id);
    made.owner = Some(User { uid: user.uid.clone(), name: user.name.clone(), ..User::default() });
    let tag = |name: &str, value: String| Tag { name: name.to_owned(), value };
    made.tags.extend(key.status().map(|status| tag("status", status.as_str().to_owned())));
    made.tags.extend(key.create_date().map(|created| tag("created", created.to_string())));
    Some(made)
}

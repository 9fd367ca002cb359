//! Google Cloud as something to act on: what steps name `gcp`, one call for each step.
//!
//! Operations are IAM permissions, such as `storage.buckets.update`: what a plan shows is what a role must hold.

mod bucket;
mod key;
mod target;

use crate::access::{ACTING, Access};
use async_trait::async_trait;
use google_cloud_auth::credentials::Credentials;
use prunella_schemas::port::{Configured, Effector, SourceError};
use prunella_schemas::{Step, Tenant};
use prunella_setting::{Acting, Cloud, Fault, Found};
use serde::Deserialize;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// What configurations call it, and the provider word of its steps.
pub const KIND: &str = "gcp";
pub const GET_BUCKET: &str = "storage.buckets.get";
pub const UPDATE_BUCKET: &str = "storage.buckets.update";
pub const GET_KEY: &str = "iam.serviceAccountKeys.get";
pub const DISABLE_KEY: &str = "iam.serviceAccountKeys.disable";
pub const ENABLE_KEY: &str = "iam.serviceAccountKeys.enable";
const STORAGE: &str = "https://storage.googleapis.com";
/// A call that was not answered by then is lost, and the provider is looked at.
const ATTEMPT_MAX: Duration = Duration::from_secs(10);
/// Most projects that one process acts on.
const PROJECTS_MAX: usize = 1_000;

/// What the configuration says about one project.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The project's id. Keys of other projects are not touched.
    pub project: String,
    /// The buckets that may be touched: their names do not say whose they are.
    #[serde(default)]
    pub buckets: Vec<String>,
    /// The key of a service account, or the configuration of a federation.
    pub credentials_file: Option<PathBuf>,
    /// No credentials: for an emulator.
    #[serde(default)]
    pub anonymous: bool,
    /// Another address of Cloud Storage.
    pub endpoint: Option<String>,
    /// Another address of IAM.
    pub iam_endpoint: Option<String>,
}

/// A project and how we reach it.
struct Project {
    id: String,
    buckets: Vec<String>,
    endpoint: reqwest::Url,
    credentials: Credentials,
    http: reqwest::Client,
    iam: google_cloud_iam_admin_v1::client::Iam,
    /// The account that we act as, where its key says so.
    email: Option<String>,
}

struct Gcp {
    projects: Vec<(Tenant, Project)>,
}

/// Opens the projects of a configuration as one effector. Nothing is asked of Google yet.
pub async fn open(configured: Vec<Configured>) -> Result<Arc<dyn Effector>, SourceError> {
    if configured.len() > PROJECTS_MAX {
        return Err(SourceError::Invalid(format!("more than {PROJECTS_MAX} projects are configured")));
    }
    let mut projects: Vec<(Tenant, Project)> = Vec::with_capacity(configured.len());
    for Configured { name, tenant, settings, .. } in configured {
        let invalid = |detail: String| SourceError::Invalid(format!("`{name}`: {detail}"));
        let settings: Settings = serde_json::from_value(settings).map_err(|e| invalid(e.to_string()))?;
        let project = Project::open(settings).await.map_err(invalid)?;
        if projects.iter().any(|(_, known)| known.id == project.id) {
            return Err(invalid(format!("project {} is configured twice", project.id)));
        }
        projects.push((tenant, project));
    }
    Ok(Arc::new(Acting(Gcp { projects })))
}

impl Project {
    async fn open(settings: Settings) -> Result<Self, String> {
        let Settings { project, buckets, credentials_file, anonymous, endpoint, iam_endpoint } = settings;
        if !target::is_project(&project) {
            return Err(format!("`project` is `{project}`; write its id, such as acme-prod"));
        }
        if let Some(bad) = buckets.iter().find(|bucket| !target::is_bucket(bucket)) {
            return Err(format!("`{bad}` is no name of a bucket"));
        }
        let email = credentials_file.as_deref().and_then(email_in);
        let access = match (credentials_file, anonymous) {
            (None, false) => Access::Default,
            (Some(file), false) => Access::File(file),
            (None, true) => Access::Anonymous,
            (Some(_), true) => {
                return Err("name a `credentials_file` or say `anonymous`, not both".to_owned());
            }
        };
        let endpoint = endpoint.unwrap_or_else(|| STORAGE.to_owned());
        let endpoint = reqwest::Url::parse(&endpoint).map_err(|_| format!("`endpoint` is `{endpoint}`"))?;
        let credentials = access.credentials_for(ACTING).map_err(|e| e.to_string())?;
        let mut iam = google_cloud_iam_admin_v1::client::Iam::builder().with_credentials(credentials.clone());
        if let Some(address) = iam_endpoint {
            iam = iam.with_endpoint(address);
        }
        let iam = iam.build().await.map_err(|e| e.to_string())?;
        let http = reqwest::Client::builder().timeout(ATTEMPT_MAX).build().map_err(|e| e.to_string())?;
        Ok(Project { id: project, buckets, endpoint, credentials, http, iam, email })
    }
}

/// Whom a key file is of.
fn email_in(file: &std::path::Path) -> Option<String> {
    let key: serde_json::Value = serde_json::from_slice(&std::fs::read(file).ok()?).ok()?;
    Some(key.get("client_email")?.as_str()?.to_owned())
}

impl Gcp {
    fn of_tenant(&self, tenant: &Tenant) -> impl Iterator<Item = &Project> {
        self.projects.iter().filter(move |(whose, _)| whose == tenant).map(|(_, project)| project)
    }

    fn with_bucket(&self, tenant: &Tenant, name: &str) -> Result<&Project, Fault> {
        let found = self.of_tenant(tenant).find(|project| project.buckets.iter().any(|known| known == name));
        found.ok_or_else(|| {
            Fault::Refused(format!("bucket {name} is in no `buckets` under [[effector]] for tenant {tenant}"))
        })
    }

    fn with_key(&self, tenant: &Tenant, key: &target::Key<'_>) -> Result<&Project, Fault> {
        let found = self.of_tenant(tenant).find(|project| project.id == key.project);
        found.ok_or_else(|| {
            let project = key.project;
            Fault::Refused(format!(
                "project {project} is not configured under [[effector]] for tenant {tenant}"
            ))
        })
    }
}

#[async_trait]
impl Cloud for Gcp {
    fn provider(&self) -> &'static str {
        KIND
    }

    async fn check(&self, operation: &str) -> Result<(), Fault> {
        for (_, project) in &self.projects {
            match operation {
                GET_BUCKET | UPDATE_BUCKET => bucket::check(project, operation).await?,
                GET_KEY | DISABLE_KEY | ENABLE_KEY => key::check(project, operation).await?,
                _ => {
                    return Err(Fault::Refused(format!(
                        "`{operation}` is nothing that can be done at Google"
                    )));
                }
            }
        }
        Ok(())
    }

    async fn find(&self, tenant: &Tenant, operation: &str, target: &str) -> Result<Found, Fault> {
        match operation {
            GET_BUCKET | UPDATE_BUCKET => {
                let name = target::bucket(target)?;
                bucket::find(self.with_bucket(tenant, name)?, name).await
            }
            GET_KEY | DISABLE_KEY | ENABLE_KEY => {
                let key = target::Key::parse(target)?;
                key::find(self.with_key(tenant, &key)?, &key).await
            }
            _ => Err(Fault::Refused(format!("`{operation}` is nothing that can be done at Google"))),
        }
    }

    async fn set(&self, tenant: &Tenant, step: &Step, found: &Found) -> Result<String, Fault> {
        match step.operation.as_str() {
            UPDATE_BUCKET => {
                let name = target::bucket(&step.target)?;
                bucket::set(self.with_bucket(tenant, name)?, name, &step.desired, found).await
            }
            DISABLE_KEY | ENABLE_KEY => {
                let key = target::Key::parse(&step.target)?;
                if found.value.get("is_ours").is_some_and(|ours| ours == true) {
                    return Err(Fault::Refused(format!("{} is what we act as ourselves", key.email)));
                }
                key::set(self.with_key(tenant, &key)?, &key, &step.desired).await
            }
            other => Err(Fault::Refused(format!("`{other}` changes nothing"))),
        }
    }
}

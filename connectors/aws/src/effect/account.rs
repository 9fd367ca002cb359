//! One account: its clients, and who we are in it.

use super::Settings;
use super::target::is_account;
use crate::client::{Access, load_as, s3};
use crate::fault::{Call, Trouble, explain};
use aws_config::SdkConfig;
use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_sdk_iam::config::http::HttpResponse;
use aws_sdk_iam::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_iam::types::PolicyEvaluationDecisionType;
use prunella_schemas::port::SourceError;
use prunella_setting::Fault;
use std::time::Duration;
use tokio::sync::OnceCell;

/// A call that was not answered by then is lost, and the provider is looked at.
const ATTEMPT_MAX: Duration = Duration::from_secs(10);

pub struct Account {
    pub id: String,
    /// Looks; asked again by the SDK when an answer is lost.
    pub reading: Clients,
    /// Sends every call once: what became of a lost one is read, and never assumed.
    pub writing: Clients,
    sts: aws_sdk_sts::Client,
    identity: OnceCell<Me>,
}

pub struct Clients {
    pub iam: aws_sdk_iam::Client,
    pub s3: aws_sdk_s3::Client,
}

/// Who we are.
#[derive(Clone, Debug)]
pub struct Me {
    pub arn: String,
}

impl Me {
    /// Whose policies count: of a session, its role. A role's path is not told; with one, name the role without.
    fn policy_arn(&self) -> String {
        let parts: Vec<&str> = self.arn.splitn(6, ':').collect();
        match parts.as_slice() {
            [_, partition, "sts", _, account, resource] => {
                match resource.split('/').collect::<Vec<_>>().as_slice() {
                    ["assumed-role", role, ..] => format!("arn:{partition}:iam::{account}:role/{role}"),
                    _ => format!("arn:{partition}:iam::{account}:{resource}"),
                }
            }
            _ => self.arn.clone(),
        }
    }

    /// Whether a user or a role is what we act as.
    pub fn is(&self, is_role: bool, name: &str) -> bool {
        let Some(resource) = self.arn.splitn(6, ':').nth(5) else { return false };
        match (is_role, resource.split_once('/')) {
            (true, Some(("assumed-role", rest))) => rest.split('/').next() == Some(name),
            (false, Some(("user", path))) => path.rsplit('/').next() == Some(name),
            _ => false,
        }
    }
}

impl Account {
    pub async fn open(settings: Settings) -> Result<Self, String> {
        let Settings { account, region, profile, role_arn, external_id, endpoint } = &settings;
        if !is_account(account) {
            return Err(format!("`account` is `{account}`; it has twelve digits"));
        }
        if region.is_empty() {
            return Err("set `region`".to_owned());
        }
        let access = Access { region, profile, role_arn, external_id, endpoint };
        let times =
            TimeoutConfig::builder().connect_timeout(ATTEMPT_MAX).operation_attempt_timeout(ATTEMPT_MAX);
        let config = load_as(&access).await.into_builder().timeout_config(times.build()).build();
        Ok(Account::over(account.clone(), &config))
    }

    pub fn over(id: String, reading: &SdkConfig) -> Self {
        let writing = reading.to_builder().retry_config(RetryConfig::disabled()).build();
        Account {
            id,
            sts: aws_sdk_sts::Client::new(reading),
            reading: Clients::over(reading),
            writing: Clients::over(&writing),
            identity: OnceCell::new(),
        }
    }

    /// Who we are, asked once. Somebody of another account may do nothing here.
    pub async fn identity(&self) -> Result<&Me, Fault> {
        let ask = || async {
            let call = Call { action: "sts:GetCallerIdentity", resource: "*".to_owned() };
            let who = self.sts.get_caller_identity().send().await.map_err(|e| fault(&call, &e))?;
            let theirs = who.account().unwrap_or_default();
            if theirs != self.id {
                let detail = format!("the credentials are of account {theirs}, not of {}", self.id);
                return Err(Fault::Refused(detail));
            }
            Ok(Me { arn: who.arn().unwrap_or_default().to_owned() })
        };
        self.identity.get_or_try_init(ask).await
    }
}

impl Account {
    /// Whether our policies allow an action of S3, which says so of no call that changes nothing. What a bucket's own policy or
    /// an organization denies is not looked at.
    pub async fn simulate(&self, action: &'static str) -> Result<(), Fault> {
        let me = self.identity().await?.policy_arn();
        let call = Call { action: "iam:SimulatePrincipalPolicy", resource: me.clone() };
        let ask = self.reading.iam.simulate_principal_policy().policy_source_arn(me).action_names(action);
        let told = ask.send().await.map_err(|e| fault(&call, &e))?;
        let decisions = told.evaluation_results();
        match decisions.iter().all(|d| *d.eval_decision() == PolicyEvaluationDecisionType::Allowed) {
            true if !decisions.is_empty() => Ok(()),
            _ => Err(super::lacks(action, "arn:aws:s3:::*")),
        }
    }
}

impl Clients {
    fn over(config: &SdkConfig) -> Self {
        Clients { iam: aws_sdk_iam::Client::new(config), s3: s3(config) }
    }
}

/// There is no such user, role, key, policy or bucket.
const MISSING: [&str; 3] = ["NoSuchEntity", "NoSuchEntityException", "NoSuchBucket"];
/// Somebody else changes the same thing just now.
const CONTENDED: [&str; 4] = [
    "ConcurrentModification",
    "ConcurrentModificationException",
    "OperationAborted",
    "EntityTemporarilyUnmodifiable",
];

/// What a failed call means for a step.
pub fn fault<E>(call: &Call, error: &SdkError<E, HttpResponse>) -> Fault
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    let code = error.code().unwrap_or_default();
    if MISSING.contains(&code) {
        return Fault::Missing(format!("{}: {} is not there ({code})", call.action, call.resource));
    }
    if CONTENDED.contains(&code) {
        return Fault::Unavailable(format!(
            "{}: somebody else changes {} just now ({code})",
            call.action, call.resource
        ));
    }
    match explain(call, error) {
        Trouble::Gone(detail) => Fault::Missing(detail),
        Trouble::Changed => Fault::Changed(format!("{} was changed just now", call.resource)),
        Trouble::Denied(detail) => Fault::Refused(detail),
        Trouble::Other(SourceError::Throttled { detail, .. }) => Fault::Unavailable(detail),
        Trouble::Other(SourceError::Unavailable(detail)) => Fault::Lost(detail),
        Trouble::Other(SourceError::Refused(detail) | SourceError::Invalid(detail)) => Fault::Refused(detail),
    }
}

/// A call on something that is not there, or with something that cannot be read: IAM decides whether it is allowed before it
/// looks, so what else it says means that it is.
pub fn allowed<T, E>(call: &Call, tried: Result<T, SdkError<E, HttpResponse>>) -> Result<(), Fault>
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    match tried.map_err(|e| (e.code() == Some("MalformedPolicyDocument"), fault(call, &e))) {
        Ok(_) | Err((true, _) | (_, Fault::Missing(_))) => Ok(()),
        Err((_, fault)) => Err(fault),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn we_know_ourselves() {
        let check = |arn: &str, is_role: bool, name: &str, want: bool| {
            assert_eq!(Me { arn: arn.to_owned() }.is(is_role, name), want, "{arn} {is_role} {name}");
        };
        let user = "arn:aws:iam::111122223333:user/ops/prunella";
        check(user, false, "prunella", true);
        check(user, false, "ops", false);
        check(user, true, "prunella", false);
        let role = "arn:aws:sts::111122223333:assumed-role/respond/i-1";
        check(role, true, "respond", true);
        check(role, true, "i-1", false);
        check(role, false, "respond", false);
        check("arn:aws:iam::111122223333:root", false, "root", false);
    }
}

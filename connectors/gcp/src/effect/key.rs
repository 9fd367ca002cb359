//! A key of a service account: disabled or not, by the SDK.

use super::target::Key;
use super::{ATTEMPT_MAX, ENABLE_KEY, GET_KEY, Project};
use crate::error::chain;
use google_cloud_gax::error::Error;
use google_cloud_gax::options::RequestOptionsBuilder;
use google_cloud_gax::retry_policy::NeverRetry;
use prunella_setting::{Fault, Found};
use serde_json::{Value, json};

/// No account has it. Google looks whether we may before it looks whether it is there.
const NOBODY: &str = "prunella-preflight";
const NO_KEY: &str = "00";

pub async fn check(project: &Project, operation: &str) -> Result<(), Fault> {
    let email = format!("{NOBODY}@{}.iam.gserviceaccount.com", project.id);
    let key = Key { project: &project.id, email: &email, id: NO_KEY };
    let tried = match operation {
        GET_KEY => find(project, &key).await.map(drop),
        _ => set(project, &key, &json!({ "disabled": operation != ENABLE_KEY })).await.map(drop),
    };
    match tried {
        Ok(()) | Err(Fault::Missing(_)) => Ok(()),
        Err(fault) => Err(fault),
    }
}

pub async fn find(project: &Project, key: &Key<'_>) -> Result<Found, Fault> {
    let ask = project.iam.get_service_account_key().set_name(key.resource());
    let told = ask.with_attempt_timeout(ATTEMPT_MAX).send().await.map_err(|e| fault(GET_KEY, key, &e))?;
    let is_ours = project.email.as_deref() == Some(key.email);
    Ok(Found { value: json!({ "disabled": told.disabled, "is_ours": is_ours }), version: String::new() })
}

pub async fn set(project: &Project, key: &Key<'_>, desired: &Value) -> Result<String, Fault> {
    let name = key.resource();
    let (operation, sent) = match desired.get("disabled").and_then(Value::as_bool) {
        Some(true) => {
            let ask = project.iam.disable_service_account_key().set_name(name);
            let ask = ask.with_attempt_timeout(ATTEMPT_MAX).with_retry_policy(NeverRetry);
            (super::DISABLE_KEY, ask.send().await)
        }
        Some(false) => {
            let ask = project.iam.enable_service_account_key().set_name(name);
            let ask = ask.with_attempt_timeout(ATTEMPT_MAX).with_retry_policy(NeverRetry);
            (ENABLE_KEY, ask.send().await)
        }
        None => return Err(Fault::Refused("a key is `disabled` or not".to_owned())),
    };
    sent.map_err(|e| fault(operation, key, &e))?;
    Ok(format!("{operation}: key {} of {}", key.id, key.email))
}

fn fault(operation: &str, key: &Key<'_>, error: &Error) -> Fault {
    let told = format!("{operation} on {}: {}", key.email, chain(error));
    let status = error.http_status_code();
    match status {
        _ if error.is_authentication() => Fault::Refused(told),
        Some(403) => Fault::Refused(format!(
            "{told}; grant `roles/iam.serviceAccountKeyAdmin` on project {}",
            key.project
        )),
        Some(404) => Fault::Missing(told),
        Some(429) => Fault::Unavailable(told),
        Some(400..500) => Fault::Refused(told),
        _ => Fault::Lost(told),
    }
}

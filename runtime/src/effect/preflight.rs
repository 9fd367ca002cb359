//! Preflight: which action of the playbooks could not be carried out, found at start-up and not in an incident.

use prunella_schemas::port::{Effector, PortError};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Asks every effector for what the playbooks may call; says what is missing, one line for each action.
pub async fn missing(
    effectors: &[Arc<dyn Effector>],
    calls: &[(&'static str, String, String)],
) -> Vec<String> {
    let mut missing = Vec::new();
    // A provider that cannot be reached is not asked for everything, each time in vain.
    let mut away: BTreeMap<&str, String> = BTreeMap::new();
    for (action, provider, operation) in calls {
        let effector = effectors.iter().rfind(|effector| effector.provider() == provider);
        let why = match (effector, away.get(provider.as_str())) {
            (None, _) => Some(format!("no effector for provider `{provider}` is configured")),
            (_, Some(why)) => Some(why.clone()),
            (Some(effector), None) => effector.preflight(operation).await.err().map(|e| {
                if matches!(e, PortError::Unavailable(_)) {
                    away.insert(provider, e.to_string());
                }
                e.to_string()
            }),
        };
        missing.extend(why.map(|why| format!("`{action}` cannot do `{operation}` at `{provider}`: {why}")));
    }
    missing
}

#[cfg(test)]
mod tests {
    use super::*;
    use async_trait::async_trait;
    use prunella_schemas::plan::{Outcome, Probe, Read, TargetState};
    use prunella_schemas::port::PortError;
    use prunella_schemas::{Id, Step, Tenant, Timestamp};

    struct Limited;

    #[async_trait]
    impl Effector for Limited {
        fn provider(&self) -> &str {
            "cloud"
        }
        async fn preflight(&self, operation: &str) -> Result<(), PortError> {
            let allowed = operation == "keys.disable";
            let denied = || Err(PortError::Invalid("the role lacks `iam:PutUserPolicy`".into()));
            if allowed { Ok(()) } else { denied() }
        }
        async fn read(&self, _: &Tenant, _: &Read) -> Result<TargetState, PortError> {
            Ok(TargetState::default())
        }
        async fn apply(&self, _: &Tenant, _: &Step, _: Id) -> Outcome {
            Outcome::Failed { detail: String::new() }
        }
        async fn probe(&self, _: &Tenant, _: &Step, _: &str, _: Timestamp) -> Probe {
            Probe::NotYet { detail: String::new() }
        }
    }

    #[tokio::test]
    async fn it_names_the_action_the_operation_and_the_permission() {
        let call =
            |action, provider: &str, operation: &str| (action, provider.to_owned(), operation.to_owned());
        let calls = [
            call("aws.key.disable", "cloud", "keys.disable"),
            call("aws.deny", "cloud", "policy.put"),
            call("notify.webhook", "webhook", "alert.created"),
        ];
        let missing = missing(&[Arc::new(Limited)], &calls).await;
        assert_eq!(missing.len(), 2, "{missing:?}");
        for word in ["`aws.deny`", "`policy.put`", "iam:PutUserPolicy"] {
            assert!(missing[0].contains(word), "{missing:?}");
        }
        assert!(missing[1].contains("no effector for provider `webhook`"), "{missing:?}");
    }
}

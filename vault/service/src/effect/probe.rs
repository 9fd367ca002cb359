//! Probe: whether what was set holds, by the calls that the vault itself refused or accepted since.

use super::{
    HARDEN, KILL_SESSION, LOCK, RESET_TRUST, REVOKE_TOKENS, ROTATE, SUSPEND_GRANTS, Target, VaultEffector,
};
use crate::Error;
use prunella_schemas::plan::{EvidenceKind, Probe};
use prunella_schemas::{Step, Timestamp};
use serde_json::Value;

/// Newest entries of the ledger that one probe looks at.
const ENTRIES_MAX: i64 = 2_000;
/// How long before the change a call still counts as the last that was accepted, in milliseconds.
const BEFORE_MS: i64 = 60_000;
/// The words with which the vault refuses a credential as such. The second is for who must prove themselves anew.
const REFUSED: &str = "InvalidToken";
const STEP_UP: &str = "StepUpRequired";

impl VaultEffector {
    pub(super) async fn judge(&self, step: &Step, applied: Timestamp) -> Result<Probe, Error> {
        let target = Target::of(&step.operation, &step.target);
        let found = self.state(&step.operation, &target).await?;
        if !stands(step, &found) {
            let detail = format!("`{}` no longer holds: it is {found}", step.operation);
            return Ok(Probe::Escaped { detail, last_accepted: None, successors: Vec::new() });
        }
        if matches!(step.operation.as_str(), HARDEN | ROTATE | SUSPEND_GRANTS) {
            return self.progress(step, &target).await;
        }
        let since = self.took_effect(step, &target, applied).await?;
        let calls = self.calls(target.user, since).await?;
        Ok(weigh(&calls, |call| concerns(step, &target, &found, call), since, &step.operation))
    }

    /// Custody is about stores, not about who is refused.
    async fn progress(&self, step: &Step, target: &Target<'_>) -> Result<Probe, Error> {
        let progress = self.vault.progress(target.user).await?;
        if progress.waiting > 0 && step.operation != SUSPEND_GRANTS {
            let detail = format!("{} files wait for their turn", progress.waiting);
            return Ok(Probe::NotYet { detail });
        }
        let mut detail = format!("`{}` stands", step.operation);
        if progress.waiting_for_user > 0 {
            let waiting = progress.waiting_for_user;
            detail.push_str(&format!("; {waiting} files are split anew when their user opens them"));
        }
        Ok(Probe::Held { evidence: EvidenceKind::ConfigurationRead, detail, last_accepted: None })
    }

    /// When the vault did it, by its own clock; what a report says comes later.
    async fn took_effect(
        &self,
        step: &Step,
        target: &Target<'_>,
        applied: Timestamp,
    ) -> Result<Timestamp, Error> {
        let done = sqlx::query_scalar(
            "SELECT done FROM actions WHERE target = $1 AND id LIKE $2 AND done <= $3 ORDER BY done DESC LIMIT 1",
        );
        let done = done.bind(target.user).bind(format!("%/{}", step.operation)).bind(applied.0);
        let done: Option<i64> = done.fetch_optional(self.vault.db.pool()).await?;
        Ok(done.map_or(applied, Timestamp))
    }

    /// What a user did around the change, newest first.
    async fn calls(&self, user: &str, since: Timestamp) -> Result<Vec<Call>, Error> {
        self.vault.log.sequence().await?;
        let newest = self.vault.log.newest(ENTRIES_MAX).await?;
        let around = newest.into_iter().take_while(|entry| entry.time >= since.plus_ms(-BEFORE_MS));
        let read = |body: &[u8]| serde_json::from_slice::<Value>(body).ok();
        Ok(around.filter_map(|entry| Call::of(&read(&entry.body)?, user, entry.time)).collect())
    }
}

/// One request of the user, as the ledger has it.
struct Call {
    at: Timestamp,
    operation: String,
    session: Option<String>,
    began: Option<Timestamp>,
    /// The word of the refusal; `None` for what was accepted.
    refusal: Option<String>,
}

impl Call {
    fn of(event: &Value, user: &str, at: Timestamp) -> Option<Self> {
        let actor = event.get("actor")?;
        let text = |value: Option<&Value>| value.and_then(Value::as_str).map(str::to_owned);
        (actor.pointer("/user/uid")?.as_str()? == user).then(|| Call {
            at,
            operation: text(event.pointer("/api/operation")).unwrap_or_default(),
            session: text(actor.pointer("/session/uid")),
            began: actor.pointer("/session/created_time").and_then(Value::as_i64).map(Timestamp),
            refusal: (event.get("status_id").and_then(Value::as_u64) != Some(1))
                .then(|| text(event.get("status_code")).unwrap_or_default()),
        })
    }
}

fn stands(step: &Step, found: &Value) -> bool {
    let reaches = |name: &str| {
        let number = |value: &Value| value.get(name).and_then(Value::as_i64);
        number(&step.desired).zip(number(found)).is_some_and(|(desired, found)| found >= desired)
    };
    match step.operation.as_str() {
        REVOKE_TOKENS => reaches("not_before"),
        HARDEN => step.desired == *found,
        ROTATE => reaches("since"),
        _ => reaches("value"),
    }
}

/// Whether a call is one that the restriction is about. Whoever has logged in since may go on, but for a lock.
fn concerns(step: &Step, target: &Target<'_>, found: &Value, call: &Call) -> bool {
    let before = |name: &str| {
        let instant = found.get(name).and_then(Value::as_i64).map(Timestamp);
        call.began.zip(instant).is_some_and(|(began, instant)| began < instant)
    };
    match step.operation.as_str() {
        LOCK => true,
        REVOKE_TOKENS => before("not_before"),
        RESET_TRUST => before("value"),
        KILL_SESSION => call.session.as_deref() == target.session,
        _ => false,
    }
}

/// Of the calls accepted and refused the newest decides: one that was in progress is no escape.
fn weigh(calls: &[Call], concerned: impl Fn(&Call) -> bool, since: Timestamp, what: &str) -> Probe {
    let concerned = || calls.iter().filter(|call| concerned(call));
    let last_accepted = concerned().filter(|call| call.refusal.is_none()).map(|call| call.at).max();
    let refuses = |call: &&Call| matches!(call.refusal.as_deref(), Some(REFUSED | STEP_UP));
    let refusal = concerned().filter(refuses).filter(|call| call.at >= since).max_by_key(|call| call.at);
    match (last_accepted, refusal) {
        (Some(at), refusal) if at > since && refusal.is_none_or(|refusal| refusal.at < at) => {
            let detail = format!("a call that `{what}` should have ended was accepted at {at}");
            Probe::Escaped { detail, last_accepted, successors: Vec::new() }
        }
        (_, Some(call)) => {
            let word = call.refusal.as_deref().unwrap_or_default();
            let detail = format!("the vault refused `{}` with {word} at {}", call.operation, call.at);
            Probe::Held { evidence: EvidenceKind::RefusedCall, detail, last_accepted }
        }
        (_, None) => Probe::Held {
            evidence: EvidenceKind::ConfigurationRead,
            detail: format!("`{what}` stands; no call has tried it yet"),
            last_accepted,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn call(at: i64, session: &str, began: i64, refusal: Option<&str>) -> Call {
        let (session, refusal) = (Some(session.to_owned()), refusal.map(str::to_owned));
        Call {
            at: Timestamp(at),
            operation: "download".into(),
            session,
            began: Some(Timestamp(began)),
            refusal,
        }
    }

    #[test]
    fn each_restriction_is_judged_by_the_calls_it_concerns() {
        let check = |operation: &str, calls: &[Call], want: &str| {
            let target = if operation == KILL_SESSION { "vault:user:u#s1" } else { "vault:user:u" };
            let found = json!({"value": 1_000, "not_before": 1_000});
            let step = Step { operation: operation.into(), target: target.into(), ..Step::default() };
            let target = Target::of(operation, target);
            let probe = weigh(calls, |c| concerns(&step, &target, &found, c), Timestamp(1_000), operation);
            let got = match probe {
                Probe::Held { evidence: EvidenceKind::RefusedCall, .. } => "refused",
                Probe::Held { .. } => "configuration",
                Probe::NotYet { .. } | Probe::Unseen { .. } => "not yet",
                Probe::Escaped { .. } => "escaped",
            };
            assert_eq!(got, want, "{operation}");
        };
        for operation in [REVOKE_TOKENS, LOCK, RESET_TRUST, KILL_SESSION] {
            check(operation, &[], "configuration");
            check(operation, &[call(900, "s1", 500, None)], "configuration");
            check(operation, &[call(1_100, "s1", 500, None)], "escaped");
            check(operation, &[call(1_000, "s1", 500, Some(REFUSED))], "refused");
            check(operation, &[call(900, "s1", 500, Some(REFUSED))], "configuration");
            check(operation, &[call(1_100, "s1", 500, Some("AccessDenied"))], "configuration");
            let in_progress = [call(1_200, "s1", 500, Some(STEP_UP)), call(1_001, "s1", 500, None)];
            check(operation, &in_progress, "refused");
            let back = [call(1_200, "s1", 500, None), call(1_001, "s1", 500, Some(REFUSED))];
            check(operation, &back, "escaped");
        }
        let newer = || call(1_500, "s2", 1_400, None);
        for (operation, want) in [
            (REVOKE_TOKENS, "configuration"),
            (RESET_TRUST, "configuration"),
            (KILL_SESSION, "configuration"),
            (LOCK, "escaped"),
        ] {
            check(operation, &[newer()], want);
        }
    }
}

//! Privilege change: somebody is given more power, a new way in, or a new identity.

use super::{Table, find, words};
use crate::attack::{ADD_CREDENTIALS, ADD_ROLES, CREATE_CLOUD_ACCOUNT, MODIFY_MFA, MODIFY_TRUST, Technique};
use crate::config::Config;
use crate::detector::{Detector, Method, analytic};
use crate::evidence::{Draft, Evidence, Severity};
use crate::network::fingerprint;
use crate::past::Past;
use crate::sighting::Sighting;
use crate::window::{Mark, Window, distinct_tags};
use prunella_schemas::finding::Analytic;
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Privilege {
    /// A principal that made the same change this often before makes it for a living, as infrastructure as code does.
    pub habit_calls_min: u32,
    /// A new user given power within this time is one story.
    pub new_user_span_ms: i64,
    /// Different changes denied within `denied_span_ms` that are an attempt.
    pub denied_changes_min: usize,
    pub denied_span_ms: i64,
}

impl Default for Privilege {
    fn default() -> Self {
        Privilege {
            habit_calls_min: 5,
            new_user_span_ms: 3_600_000,
            denied_changes_min: 3,
            denied_span_ms: 10 * 60_000,
        }
    }
}

const MARKS_MAX: usize = 64;
/// `Mark::kind`: a new user, power given to one, a change that was denied.
const NEW_USER: u8 = 0;
const GRANT: u8 = 1;
const DENIED: u8 = 2;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    AttachPolicy,
    InlinePolicy,
    PolicyVersion,
    Membership,
    /// A credential for whoever is named, else for the caller itself.
    Key,
    /// A console password; it is always somebody's by name.
    Password,
    /// Who may take a role.
    Trust,
    NewRole,
    NewUser,
    /// A whole identity provider that is believed from now on.
    Federation,
    Boundary,
    Mfa,
}

#[rustfmt::skip]
pub(crate) const CALLS: Table<Change> = &[
    ("AddUserToGroup", "iam", Change::Membership),
    ("AttachGroupPolicy", "iam", Change::AttachPolicy),
    ("AttachRolePolicy", "iam", Change::AttachPolicy),
    ("AttachUserPolicy", "iam", Change::AttachPolicy),
    ("CreateAccessKey", "iam", Change::Key),
    ("CreateAccountAssignment", "sso", Change::AttachPolicy),
    ("CreateLoginProfile", "iam", Change::Password),
    ("CreateOpenIDConnectProvider", "iam", Change::Federation),
    ("CreatePolicyVersion", "iam", Change::PolicyVersion),
    ("CreateRole", "iam", Change::NewRole),
    ("CreateSAMLProvider", "iam", Change::Federation),
    ("CreateServiceSpecificCredential", "iam", Change::Key),
    ("CreateTrustAnchor", "rolesanywhere", Change::Federation),
    ("CreateUser", "iam", Change::NewUser),
    ("DeactivateMFADevice", "iam", Change::Mfa),
    ("DeleteRolePermissionsBoundary", "iam", Change::Boundary),
    ("DeleteUserPermissionsBoundary", "iam", Change::Boundary),
    ("DeleteVirtualMFADevice", "iam", Change::Mfa),
    ("PutGroupPolicy", "iam", Change::InlinePolicy),
    ("PutRolePermissionsBoundary", "iam", Change::Boundary),
    ("PutRolePolicy", "iam", Change::InlinePolicy),
    ("PutUserPermissionsBoundary", "iam", Change::Boundary),
    ("PutUserPolicy", "iam", Change::InlinePolicy),
    ("SetDefaultPolicyVersion", "iam", Change::PolicyVersion),
    ("UpdateAccessKey", "iam", Change::Key),
    ("UpdateAssumeRolePolicy", "iam", Change::Trust),
    ("UpdateLoginProfile", "iam", Change::Password),
    ("UpdateSAMLProvider", "iam", Change::Federation),
    ("UploadSSHPublicKey", "iam", Change::Key),
    ("UploadSigningCertificate", "iam", Change::Key),
];

/// How one change looks by itself.
struct Grade {
    severity: Severity,
    confidence: u8,
    technique: Technique,
    reason: String,
}

impl Detector for Privilege {
    fn id(&self) -> &'static str {
        "privilege_change"
    }

    fn analytic(&self) -> Analytic {
        analytic(self.id(), "Privilege change", "1.0.0", Method::Rule)
    }

    fn observe(
        &self,
        seen: &Sighting<'_>,
        past: &Past,
        window: &mut Window,
        config: &Config,
        out: &mut Evidence,
    ) {
        let Some(change) = find(CALLS, seen).copied() else { return };
        if seen.is_provider() {
            return;
        }
        if seen.event.failed() {
            if seen.denied() {
                self.denied(seen, window, out);
            }
            return;
        }
        let new_network = seen.network.is_some_and(|n| past.is_new_network(n, seen.time, config));
        let calls = past.calls(seen.operation_key, seen.time);
        let habit = calls >= self.habit_calls_min && !new_network;
        // What is graded low is routine, unless somebody does it for the first time or from somewhere new.
        let settled = !past.is_learning(seen.time, config);
        let unusual =
            new_network || (settled && past.is_new_operation(seen.operation_key, seen.time, config));
        if let Some(grade) = grade(seen, change).filter(|grade| unusual || grade.severity > Severity::Low) {
            out.found(draft(seen, grade, new_network, habit.then_some(calls)));
        }
        self.new_user(seen, change, new_network, habit, window, out);
    }
}

impl Privilege {
    /// A user made, and power given to it: whichever of the two is heard of first.
    fn new_user(
        &self,
        seen: &Sighting<'_>,
        change: Change,
        new_network: bool,
        habit: bool,
        window: &mut Window,
        out: &mut Evidence,
    ) {
        let kind = match change {
            Change::NewUser => NEW_USER,
            Change::InlinePolicy | Change::Key | Change::Password => GRANT,
            // A new colleague gets a group and ordinary rights.
            Change::Membership if new_network || is_admin_group(seen) => GRANT,
            Change::AttachPolicy if new_network || powerful_policy(seen).is_some() => GRANT,
            _ => return,
        };
        let Some(target) = user_acted_upon(seen) else { return };
        let tag = fingerprint(target.as_bytes());
        if !window.admit(Mark::of(seen, kind, tag), self.new_user_span_ms, MARKS_MAX) {
            return;
        }
        let (from, to) =
            (seen.time.plus_ms(-self.new_user_span_ms), seen.time.plus_ms(self.new_user_span_ms));
        let near = window.between(from, to).iter().filter(|mark| mark.tag == tag && mark.kind != DENIED);
        let marks: Vec<Mark> = near.cloned().collect();
        let has = |kind: u8| marks.iter().any(|mark| mark.kind == kind);
        if !has(NEW_USER) || !has(GRANT) {
            return;
        }
        let calls: Vec<&str> = marks.iter().map(|mark| &*mark.operation).collect();
        let severity = if habit { Severity::Medium } else { Severity::High };
        out.found(Draft {
            severity,
            confidence: if habit { 40 } else { 70 },
            title: "New user made and given power".to_owned(),
            message: format!("{} made the user {target} and gave it power from {}", seen.who(), seen.from()),
            reasons: vec![format!(
                "{} on {target} within {}",
                words::list(&calls, 6),
                words::between(&marks)
            )],
            counterfactual: format!(
                "No power for the new user within {}",
                words::span(self.new_user_span_ms)
            ),
            attacks: vec![CREATE_CLOUD_ACCOUNT],
            marks,
            habitual: habit,
        });
    }

    fn denied(&self, seen: &Sighting<'_>, window: &mut Window, out: &mut Evidence) {
        window.admit(Mark::of(seen, DENIED, seen.operation_key), self.denied_span_ms, MARKS_MAX);
        let only_denied =
            |marks: &[Mark]| marks.iter().filter(|mark| mark.kind == DENIED).cloned().collect::<Vec<_>>();
        let (changes, stretch) =
            window.fullest(self.denied_span_ms, seen.time, |marks| distinct_tags(&only_denied(marks)));
        if changes < self.denied_changes_min {
            return;
        }
        let marks = only_denied(stretch);
        let mut calls: Vec<&str> = marks.iter().map(|mark| &*mark.operation).collect();
        calls.sort_unstable();
        calls.dedup();
        let span = words::between(&marks);
        out.found(Draft {
            severity: Severity::Medium,
            confidence: 60,
            title: "Attempts to gain privilege".to_owned(),
            message: format!(
                "{} tried {changes} ways to gain privilege in {span} and was denied",
                seen.who()
            ),
            reasons: vec![format!("{} denied within {span}", words::list(&calls, 6))],
            counterfactual: format!("Fewer than {} different changes denied", self.denied_changes_min),
            attacks: vec![ADD_ROLES],
            marks,
            habitual: false,
        });
    }
}

fn draft(seen: &Sighting<'_>, grade: Grade, new_network: bool, habit: Option<u32>) -> Draft {
    let mut reasons = vec![grade.reason];
    let (mut severity, mut confidence) = (grade.severity, grade.confidence);
    if let Some(network) = seen.network.filter(|_| new_network) {
        severity = severity.max(Severity::High);
        confidence = confidence.saturating_add(20).min(95);
        reasons.push(format!("{network} is new to this principal"));
    }
    if let Some(calls) = habit {
        severity = severity.dampened();
        confidence = confidence.saturating_sub(25);
        reasons.push(format!("it made this call {calls} times before, which makes it less severe"));
    }
    let target = seen.target().map(|target| format!(" for {target}")).unwrap_or_default();
    Draft {
        severity,
        confidence,
        title: format!("Privilege changed by {}", seen.operation),
        message: format!("{} called {}{target} from {}", seen.who(), seen.operation, seen.from()),
        reasons,
        counterfactual: "A principal that makes such changes regularly, from a network it has used before"
            .to_owned(),
        attacks: vec![grade.technique],
        marks: vec![Mark::of(seen, 0, 0)],
        habitual: habit.is_some(),
    }
}

fn grade(seen: &Sighting<'_>, change: Change) -> Option<Grade> {
    let another = seen.targets_another();
    let whom = || seen.target().unwrap_or("somebody");
    let graded =
        |severity, confidence, technique, reason| Some(Grade { severity, confidence, technique, reason });
    match change {
        Change::AttachPolicy => match powerful_policy(seen) {
            Some(policy) => {
                graded(Severity::High, 80, ADD_ROLES, format!("{policy} was given to {}", whom()))
            }
            None if another == Some(false) => {
                graded(Severity::Medium, 60, ADD_ROLES, "a policy was given to the caller itself".to_owned())
            }
            None => None,
        },
        Change::InlinePolicy if allows_everything(seen) => {
            graded(Severity::High, 80, ADD_ROLES, format!("an inline policy lets {} do everything", whom()))
        }
        Change::InlinePolicy => {
            graded(Severity::Medium, 50, ADD_ROLES, format!("an inline policy was put on {}", whom()))
        }
        Change::PolicyVersion if allows_everything(seen) => graded(
            Severity::High,
            80,
            ADD_ROLES,
            "a policy was replaced by one that allows everything".to_owned(),
        ),
        Change::PolicyVersion => {
            graded(Severity::Low, 40, ADD_ROLES, "the version of a policy in force was changed".to_owned())
        }
        Change::Membership if is_admin_group(seen) => {
            graded(Severity::High, 65, ADD_ROLES, format!("{} was put in a group of administrators", whom()))
        }
        Change::Membership => graded(Severity::Low, 40, ADD_ROLES, format!("{} was put in a group", whom())),
        Change::Key if another == Some(true) => graded(
            Severity::High,
            75,
            ADD_CREDENTIALS,
            format!("a credential was made for another user, {}", whom()),
        ),
        Change::Password if another != Some(false) => {
            graded(Severity::High, 75, ADD_CREDENTIALS, format!("a console password was set for {}", whom()))
        }
        Change::Trust | Change::NewRole => trust(seen, change),
        Change::Federation => graded(
            Severity::High,
            70,
            MODIFY_TRUST,
            "an identity provider of somebody's choice is trusted now".to_owned(),
        ),
        Change::Boundary => graded(
            Severity::Medium,
            50,
            ADD_ROLES,
            format!("the limit of what {} may be given was changed", whom()),
        ),
        Change::Mfa if another != Some(false) => graded(
            Severity::Medium,
            60,
            MODIFY_MFA,
            format!("the second factor of {} was taken away", whom()),
        ),
        Change::Key | Change::Password | Change::Mfa | Change::NewUser => None,
    }
}

/// An edit of who may take a role; a new role only when a stranger may.
fn trust(seen: &Sighting<'_>, change: Change) -> Option<Grade> {
    let graded =
        |severity, confidence, reason| Some(Grade { severity, confidence, technique: MODIFY_TRUST, reason });
    let role = seen.target().unwrap_or("a role");
    if seen.mentions_any(&["\"AWS\":\"*\"", "\"Principal\":\"*\""]) {
        return graded(Severity::High, 85, format!("anybody may take {role} now"));
    }
    match (seen.foreign_account(), change) {
        (Some(account), Change::Trust) => {
            graded(Severity::High, 80, format!("account {account} may take {role} now"))
        }
        (Some(account), _) => {
            graded(Severity::Medium, 50, format!("account {account} may take the new role {role}"))
        }
        (None, Change::Trust) => graded(Severity::Medium, 60, format!("who may take {role} was changed")),
        (None, _) => None,
    }
}

fn is_admin_group(seen: &Sighting<'_>) -> bool {
    let group = seen.event.group.as_ref();
    let names = group.into_iter().flat_map(|group| [group.name.as_deref(), group.uid.as_deref()]).flatten();
    names.into_iter().any(|name| name.to_ascii_lowercase().contains("admin"))
        || seen.mentions_any(&["\"groupName\":\"Admin", "\"groupName\":\"admin"])
}

/// The policy, if it is one that gives all or nearly all power.
fn powerful_policy<'a>(seen: &Sighting<'a>) -> Option<&'a str> {
    const POWERFUL: [&str; 5] = [
        "AdministratorAccess",
        "IAMFullAccess",
        "PowerUserAccess",
        "AmazonEC2FullAccess",
        "AWSLambda_FullAccess",
    ];
    let policy = seen.event.policy.as_ref();
    let named = policy.and_then(|policy| policy.uid.as_deref().or(policy.name.as_deref()));
    match named {
        Some(name) => POWERFUL.iter().any(|powerful| name.ends_with(powerful)).then_some(name),
        None => POWERFUL.into_iter().find(|powerful| seen.mentions(powerful)),
    }
}

/// The policy document in the request allows every action, or every action on identities.
fn allows_everything(seen: &Sighting<'_>) -> bool {
    seen.mentions_any(&["\"Action\":\"*\"", "\"Action\":[\"*\"", "\"Action\":\"*:*\"", "\"iam:*\""])
}

/// The user, and only a user: a role or group by the same name is something else.
fn user_acted_upon<'a>(seen: &Sighting<'a>) -> Option<&'a str> {
    let user = seen.event.user.as_ref()?;
    let name = user.name.as_deref().or(user.uid.as_deref())?;
    Some(name.rsplit('/').next().unwrap_or(name)).filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    #[test]
    fn table_is_sorted() {
        super::super::assert_sorted(super::CALLS);
    }
}

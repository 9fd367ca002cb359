//! Successors: who else can act for an attacker, because credentials, sessions or rights were made since the incident began.

use prunella_schemas::Event;
use prunella_schemas::port::{PortError, QUERY_ROWS_MAX, Query, Store};
use prunella_schemas::principal::{self, AwsIdentity};
use prunella_schemas::{Tenant, Timestamp};

/// Operations that let somebody in, or let them do more, by their providers' own names.
const OPENINGS: &[&str] = &[
    // AWS
    "AddRoleToInstanceProfile",
    "AddUserToGroup",
    "AssumeRole",
    "AttachGroupPolicy",
    "AttachRolePolicy",
    "AttachUserPolicy",
    "CreateAccessKey",
    "CreateLoginProfile",
    "CreateServiceSpecificCredential",
    "CreateUser",
    "GetFederationToken",
    "PutGroupPolicy",
    "PutRolePolicy",
    "PutUserPolicy",
    "UpdateAccessKey",
    "UpdateAssumeRolePolicy",
    "UpdateLoginProfile",
    "UploadSigningCertificate",
    "UploadSSHPublicKey",
    // Azure and Entra ID
    "Add app role assignment to service principal",
    "Add eligible member to role",
    "Add member to role",
    "Add owner to service principal",
    "Add service principal credentials",
    "Add user",
    "Microsoft.Authorization/roleAssignments/write",
    "Reset user password",
    "Update application – Certificates and secrets management",
    // GCP
    "GenerateAccessToken",
    "SetIamPolicy",
    "google.iam.admin.v1.CreateServiceAccount",
    "google.iam.admin.v1.CreateServiceAccountKey",
    "google.iam.admin.v1.SetIAMPolicy",
    "google.iam.admin.v1.UploadServiceAccountKey",
    "google.iam.credentials.v1.IAMCredentials.GenerateAccessToken",
];

/// Most pages of calls that one look takes; an attacker who makes more noise is found by other means.
const PAGES_MAX: usize = 10;
/// Most successors that one look names.
const SUCCESSORS_MAX: usize = 16;

/// What was opened, in words, and for whom. An empty name: nobody can say for whom, and a person must look.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Opened {
    pub detail: String,
    pub successors: Vec<String>,
}

/// What a principal has opened by event time `since`, but for those that are known.
pub async fn opened(
    store: &dyn Store,
    tenant: &Tenant,
    principal: &str,
    since: Timestamp,
    known: &[String],
) -> Result<Option<Opened>, PortError> {
    let mut query = Query {
        tenant: Some(tenant.as_str().to_owned()),
        principal: Some(principal.to_owned()),
        since: Some(since),
        limit: QUERY_ROWS_MAX,
        ..Query::default()
    };
    let mut opened = Opened::default();
    for _ in 0..PAGES_MAX {
        let page = store.events(&query).await?;
        page.rows.iter().filter(|event| opens(event)).for_each(|event| opened.add(event, known));
        match page.next {
            Some(next) => query.before = Some(next),
            None => break,
        }
    }
    Ok((!opened.successors.is_empty()).then_some(opened))
}

fn opens(event: &Event) -> bool {
    event.succeeded() && OPENINGS.contains(&event.operation())
}

impl Opened {
    fn add(&mut self, event: &Event, known: &[String]) {
        let whom = successor(event);
        let is_new = !known.contains(&whom) && !self.successors.contains(&whom);
        if !is_new || self.successors.len() >= SUCCESSORS_MAX {
            return;
        }
        if !self.detail.is_empty() {
            self.detail.push_str("; ");
        }
        let name = if whom.is_empty() { "somebody" } else { whom.as_str() };
        self.detail.push_str(&format!("`{}` at {} for {name}", event.operation(), event.time));
        self.successors.push(whom);
    }
}

/// The key of the principal that an event let in.
fn successor(event: &Event) -> String {
    let Some(user) = &event.user else { return String::new() };
    let provider = event.principal().split(':').next().unwrap_or_default();
    let uid = user.uid.as_deref().filter(|uid| !uid.is_empty());
    let name = user.name.as_deref().filter(|name| !name.is_empty());
    match (provider, uid, name) {
        ("aws", uid, name) => {
            let is_role = user.kind.as_deref() == Some("Role");
            let arn = uid.filter(|uid| uid.starts_with("arn:")).map(str::to_owned).or_else(|| {
                let form = if is_role { "role" } else { "user" };
                Some(format!("arn:aws:iam::{}:{form}/{}", event.account()?, name?))
            });
            let kind = if is_role { "Role" } else { "IAMUser" };
            let Some(arn) = arn else { return String::new() };
            let identity = AwsIdentity { kind, arn: Some(&arn), ..AwsIdentity::default() };
            let identity =
                if is_role { AwsIdentity { issuer_arn: Some(&arn), ..identity } } else { identity };
            principal::aws(&identity).as_str().to_owned()
        }
        ("azure", Some(uid), _) => {
            let tenant = event.principal().split(':').nth(2).unwrap_or("-");
            let is_app = user.kind.as_deref().is_some_and(|kind| kind.contains("ServicePrincipal"));
            let (object, app) = if is_app { (None, Some(uid)) } else { (Some(uid), None) };
            principal::azure(tenant, object, app, None).as_str().to_owned()
        }
        ("gcp", uid, name) => {
            let email = user.email_addr.as_deref().or(name.filter(|name| name.contains('@')));
            match (email, uid) {
                (None, None) => String::new(),
                (email, uid) => principal::gcp("-", email, uid, None).as_str().to_owned(),
            }
        }
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use prunella_schemas::ocsf::{ACCOUNT_CHANGE, Account, Api, Cloud, User};
    use prunella_schemas::principal::Principal;

    fn event(by: &str, operation: &str, user: Option<User>) -> Event {
        let mut event = Event::new(ACCOUNT_CHANGE, 1, 1, 1);
        event.prunella.principal = Principal::from_key(by);
        event.api = Some(Api { operation: operation.into(), ..Api::default() });
        let account = Account { uid: Some("111122223333".to_owned()), ..Account::default() };
        event.cloud = Some(Cloud { account: Some(account), ..Cloud::default() });
        event.user = user;
        event
    }

    #[test]
    fn whoever_was_let_in_is_named_as_a_principal() {
        let user = |kind: &str, uid: &str, name: &str| {
            let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
            Some(User { kind: some(kind), uid: some(uid), name: some(name), ..User::default() })
        };
        let aws = "aws:user:arn:aws:iam::111122223333:user/eve";
        for (by, operation, user, want) in [
            (
                aws,
                "CreateAccessKey",
                user("IAMUser", "", "bob"),
                "aws:user:arn:aws:iam::111122223333:user/bob",
            ),
            (
                aws,
                "CreateUser",
                user("IAMUser", "arn:aws:iam::1:user/x", "x"),
                "aws:user:arn:aws:iam::1:user/x",
            ),
            (
                aws,
                "AssumeRole",
                user("Role", "arn:aws:iam::1:role/Admin", "s"),
                "aws:role:arn:aws:iam::1:role/Admin",
            ),
            (
                aws,
                "UpdateAssumeRolePolicy",
                user("Role", "", "app"),
                "aws:role:arn:aws:iam::111122223333:role/app",
            ),
            (
                "azure:user:t1:o1",
                "Add service principal credentials",
                user("ServicePrincipal", "app-1", ""),
                "azure:app:t1:app-1",
            ),
            ("azure:user:t1:o1", "Add user", user("User", "o2", ""), "azure:user:t1:o2"),
            (
                "gcp:user:a@example.com",
                "google.iam.admin.v1.CreateServiceAccountKey",
                user("", "", "ci@p.iam.gserviceaccount.com"),
                "gcp:service-account:ci@p.iam.gserviceaccount.com",
            ),
            ("gcp:user:a@example.com", "SetIamPolicy", None, ""),
        ] {
            let event = event(by, operation, user);
            assert!(opens(&event), "{operation}");
            assert_eq!(successor(&event), want, "{operation}");
        }
    }

    #[test]
    fn what_failed_or_only_looks_opens_nothing() {
        let mut failed = event("aws:user:x", "CreateAccessKey", None);
        failed.status_id = 2;
        assert!(!opens(&failed));
        assert!(!opens(&event("aws:user:x", "ListAccessKeys", None)));
    }

    #[test]
    fn each_is_named_once() {
        let mut opened = Opened::default();
        let user = |name: &str| Some(User { name: Some(name.to_owned()), ..User::default() });
        for name in ["a", "b", "a", "k"] {
            let known = ["aws:user:arn:aws:iam::111122223333:user/k".to_owned()];
            opened.add(&event("aws:user:e", "CreateAccessKey", user(name)), &known);
        }
        let names: Vec<&str> = opened.successors.iter().filter_map(|s| s.rsplit('/').next()).collect();
        assert_eq!(names, ["a", "b"]);
    }
}

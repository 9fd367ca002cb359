//! The cast: the forty principals of a small company's cloud account, and how each is named in CloudTrail.

use prunella_schemas::Id;
use prunella_schemas::principal::{self, AwsIdentity};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// The account of all simulated traffic: AWS's own example account.
pub const ACCOUNT: &str = "111122223333";
pub const REGION: &str = "eu-central-1";

/// The office, the workloads' gateway and the attacker each have one of the documentation networks of RFC 5737. Homes
/// are drawn from 198.18.0.0/15 (RFC 2544), because a company has more homes than there are documentation networks.
pub const OFFICE_NETWORK: &str = "198.51.100";
pub const GATEWAY_NETWORK: &str = "203.0.113";
pub const ATTACKER_NETWORK: &str = "192.0.2";

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Identity {
    /// An IAM user.
    User { name: String },
    /// A role, assumed under a session name. `path` begins and ends with `/`.
    Role { path: String, name: String, session: String },
    /// A service of the provider that acts for itself.
    Service { name: String },
}

impl Identity {
    pub fn user(name: &str) -> Self {
        Identity::User { name: name.to_owned() }
    }

    /// The ARN that CloudTrail writes: for a role, that of the assumed session.
    pub fn arn(&self) -> String {
        match self {
            Identity::User { name } => format!("arn:aws:iam::{ACCOUNT}:user/{name}"),
            Identity::Role { name, session, .. } => {
                format!("arn:aws:sts::{ACCOUNT}:assumed-role/{name}/{session}")
            }
            Identity::Service { name } => name.clone(),
        }
    }

    fn role_arn(&self) -> Option<String> {
        match self {
            Identity::Role { path, name, .. } => Some(format!("arn:aws:iam::{ACCOUNT}:role{path}{name}")),
            _ => None,
        }
    }

    /// The principal under which Prunella keeps this identity.
    pub fn principal(&self) -> String {
        let (arn, role_arn) = (self.arn(), self.role_arn());
        let known = AwsIdentity { account: Some(ACCOUNT), arn: Some(&arn), ..AwsIdentity::default() };
        let identity = match self {
            Identity::User { name } => AwsIdentity { kind: "IAMUser", user_name: Some(name), ..known },
            Identity::Role { .. } => {
                AwsIdentity { kind: "AssumedRole", issuer_arn: role_arn.as_deref(), ..known }
            }
            Identity::Service { name } => {
                AwsIdentity { kind: "AWSService", invoked_by: Some(name), arn: None, ..known }
            }
        };
        principal::aws(&identity).as_str().to_owned()
    }

    /// The unique id that IAM gives a user (`AIDA`) or a role (`AROA`): derived, so that it is always the same.
    fn unique_id(&self) -> String {
        match self {
            Identity::User { name } => format!("AIDA{}", letters("user", name, 17)),
            Identity::Role { name, session, .. } => format!("AROA{}:{session}", letters("role", name, 17)),
            Identity::Service { name } => name.clone(),
        }
    }

    /// CloudTrail's `userIdentity`, with the session that `credential` belongs to when there is one.
    pub fn user_identity(&self, credential: Option<&str>, created: &str) -> Value {
        let (id, arn) = (self.unique_id(), self.arn());
        let attributes = json!({"creationDate": created, "mfaAuthenticated": "false"});
        match self {
            Identity::Service { name } => json!({"type": "AWSService", "invokedBy": name}),
            Identity::User { name } => match credential {
                Some(credential) => json!({
                    "type": "IAMUser", "principalId": id, "arn": arn, "accountId": ACCOUNT, "accessKeyId": credential,
                    "userName": name, "sessionContext": {"attributes": attributes},
                }),
                None => {
                    json!({"type": "IAMUser", "principalId": id, "arn": arn, "accountId": ACCOUNT, "userName": name})
                }
            },
            Identity::Role { name, .. } => {
                let issuer = json!({
                    "type": "Role", "principalId": id.split(':').next(), "arn": self.role_arn(), "accountId": ACCOUNT,
                    "userName": name,
                });
                let mut identity = json!({
                    "type": "AssumedRole", "principalId": id, "arn": arn, "accountId": ACCOUNT,
                    "accessKeyId": credential.unwrap_or_default(),
                    "sessionContext": {"sessionIssuer": issuer, "attributes": attributes},
                });
                if self.is_service_linked() {
                    identity["invokedBy"] = json!(self.linked_service());
                }
                identity
            }
        }
    }

    /// Whether the provider assumes this role by itself.
    pub fn is_service_linked(&self) -> bool {
        matches!(self, Identity::Role { path, .. } if path.starts_with("/aws-service-role/"))
    }

    /// The service behind a service-linked role or a service, otherwise the empty string.
    pub fn linked_service(&self) -> &str {
        match self {
            Identity::Service { name } => name,
            Identity::Role { path, .. } => path.split('/').nth(2).unwrap_or_default(),
            Identity::User { .. } => "",
        }
    }
}

/// `count` capital letters and digits that follow from `of`: ids that look like the provider's and never change.
pub fn letters(domain: &str, of: &str, count: usize) -> String {
    const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let mut text = String::with_capacity(count);
    for block in 0u8..=u8::MAX {
        let id = Id::derive(domain, &[of.as_bytes(), &[block]]);
        let left = count - text.len();
        text.extend(id.0.iter().take(left).map(|byte| char::from(ALPHABET[usize::from(byte & 31)])));
        if text.len() == count {
            break;
        }
    }
    text
}

/// What a principal does all day: see the tables of [`crate::operation`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    Developer,
    Analyst,
    Admin,
    /// A role that serves requests.
    Backend,
    /// A role that moves data.
    Pipeline,
    /// The provider's configuration recorder, which asks every bucket for settings that most do not have.
    Crawler,
    /// A service-linked role that manages machines.
    Fleet,
    /// A service that encrypts or assumes roles.
    Service,
}

impl Profile {
    pub fn is_human(self) -> bool {
        matches!(self, Profile::Developer | Profile::Analyst | Profile::Admin)
    }
}

/// One member of the cast. Its place in [`MEMBERS`] is its rank in activity.
#[derive(Clone, Copy, Debug)]
pub struct Member {
    pub name: &'static str,
    pub profile: Profile,
    /// For a role: its path. Empty for users and services.
    path: &'static str,
}

impl Member {
    pub fn identity(&self) -> Identity {
        match self.profile {
            Profile::Service => Identity::Service { name: self.name.to_owned() },
            _ if self.path.is_empty() => Identity::user(self.name),
            _ => Identity::Role {
                path: self.path.to_owned(),
                name: self.name.to_owned(),
                session: match self.profile {
                    Profile::Crawler => "AWSConfig-Describe".to_owned(),
                    Profile::Fleet => self.name.trim_start_matches("AWSServiceRoleFor").to_owned(),
                    profile if profile.is_human() => "sso-session".to_owned(),
                    _ => format!("i-0{}", &Id::derive("instance", &[self.name.as_bytes()]).to_string()[..16]),
                },
            },
        }
    }
}

const fn member(name: &'static str, profile: Profile, path: &'static str) -> Member {
    Member { name, profile, path }
}

/// Roles with routines of their own, beside what their profile draws.
pub const CI_ROLE: &str = "ci-deployer";
pub const BACKUP_ROLE: &str = "backup-agent";
pub const JANITOR_ROLE: &str = "log-janitor";
pub const ADMIN_USER: &str = "amelia.ross";

/// Everybody, the busiest first.
pub const MEMBERS: [Member; 40] = [
    member("AWSServiceRoleForConfig", Profile::Crawler, "/aws-service-role/config.amazonaws.com/"),
    member("api-backend", Profile::Backend, "/"),
    member("order-worker", Profile::Backend, "/service/"),
    member("ingest-pipeline", Profile::Pipeline, "/service/"),
    member("lambda.amazonaws.com", Profile::Service, ""),
    member("image-resizer", Profile::Pipeline, "/"),
    member("AWSServiceRoleForAutoScaling", Profile::Fleet, "/aws-service-role/autoscaling.amazonaws.com/"),
    member("session-store", Profile::Backend, "/service/"),
    member("AWSServiceRoleForECS", Profile::Fleet, "/aws-service-role/ecs.amazonaws.com/"),
    member("grace.okafor", Profile::Analyst, ""),
    member("payment-gateway", Profile::Backend, "/service/"),
    member("henrik.lund", Profile::Developer, ""),
    member("carol.nguyen", Profile::Developer, ""),
    member("dmitri.petrov", Profile::Developer, ""),
    member("erin.walsh", Profile::Developer, ""),
    member("farid.haddad", Profile::Developer, ""),
    member("cloudtrail.amazonaws.com", Profile::Service, ""),
    member(CI_ROLE, Profile::Fleet, "/ci/"),
    member("report-builder", Profile::Pipeline, "/service/"),
    member(ADMIN_USER, Profile::Admin, ""),
    member("ines.costa", Profile::Developer, ""),
    member("search-indexer", Profile::Pipeline, "/"),
    member("jonas.weber", Profile::Analyst, ""),
    member("mail-sender", Profile::Backend, "/service/"),
    member("kira.sato", Profile::Developer, ""),
    member("AWSServiceRoleForRDS", Profile::Fleet, "/aws-service-role/rds.amazonaws.com/"),
    member("liam.doyle", Profile::Developer, ""),
    member(BACKUP_ROLE, Profile::Pipeline, "/ops/"),
    member("bruno.keller", Profile::Admin, ""),
    member("feature-flags", Profile::Backend, "/"),
    member("mina.rahimi", Profile::Analyst, ""),
    member(JANITOR_ROLE, Profile::Pipeline, "/ops/"),
    member("ec2.amazonaws.com", Profile::Service, ""),
    member("AWSReservedSSO_Support_1f6c2b9ad0e7", Profile::Developer, "/aws-reserved/sso.amazonaws.com/"),
    member("noah.brandt", Profile::Developer, ""),
    member("AWSReservedSSO_Finance_77d0c41be92a", Profile::Analyst, "/aws-reserved/sso.amazonaws.com/"),
    member(
        "AWSServiceRoleForAmazonInspector2",
        Profile::Fleet,
        "/aws-service-role/inspector2.amazonaws.com/",
    ),
    member("olga.marin", Profile::Developer, ""),
    member("delivery.logs.amazonaws.com", Profile::Service, ""),
    member("AWSReservedSSO_Audit_c0a35be81f46", Profile::Analyst, "/aws-reserved/sso.amazonaws.com/"),
];

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn principals_are_those_that_prunella_derives_and_all_differ() {
        let check = |identity: Identity, want: &str| assert_eq!(identity.principal(), want);
        check(Identity::user("ann"), "aws:user:arn:aws:iam::111122223333:user/ann");
        let role = Identity::Role { path: "/ci/".into(), name: "deploy".into(), session: "s".into() };
        check(role, "aws:role:arn:aws:iam::111122223333:role/ci/deploy");
        check(Identity::Service { name: "lambda.amazonaws.com".into() }, "aws:service:lambda.amazonaws.com");
        let all: BTreeSet<_> = MEMBERS.iter().map(|member| member.identity().principal()).collect();
        assert_eq!(all.len(), MEMBERS.len());
    }

    #[test]
    fn derived_letters_have_the_length_asked_for_and_never_change() {
        assert_eq!(letters("user", "ann", 0), "");
        assert_eq!(letters("user", "ann", 40).len(), 40);
        assert_eq!(letters("user", "ann", 17), letters("user", "ann", 40)[..17]);
        assert_ne!(letters("user", "ann", 17), letters("role", "ann", 17));
    }
}

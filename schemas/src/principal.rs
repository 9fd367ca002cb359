//! Principal: the ordering and partition key. Same principal, same partition, same order.
//!
//! One function per provider, one line per identity form, so that this file is the table of who counts as whom.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Who tells what there is: inventories have no actor, and one order.
pub const INVENTORY: &str = "prunella:inventory";

/// Who acts, as one string: `<provider>:<form>:<value>`.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Principal(String);

/// What stands behind a principal; detectors keep these apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    Human,
    Workload,
    Service,
    Root,
    Unknown,
}

impl Principal {
    /// Takes a key that was built before, such as one read from a request.
    pub fn from_key(key: impl Into<String>) -> Self {
        Principal(key.into())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub fn kind(&self) -> Kind {
        let mut parts = self.0.split(':');
        match (parts.next(), parts.next()) {
            (Some("aws"), Some("user" | "federated" | "saml" | "web" | "identity-center")) => Kind::Human,
            (Some("aws"), Some("role")) => Kind::Workload,
            (Some("aws"), Some("service")) => Kind::Service,
            (Some("aws"), Some("root")) => Kind::Root,
            (Some("azure" | "gcp" | "vault"), Some("user")) => Kind::Human,
            (Some("azure"), Some("app")) | (Some("gcp"), Some("service-account" | "subject")) => {
                Kind::Workload
            }
            (Some("gcp" | "vault"), Some("service")) => Kind::Service,
            _ => Kind::Unknown,
        }
    }
}

impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a CloudTrail `userIdentity` says, as far as it decides who acts.
#[derive(Clone, Copy, Debug, Default)]
pub struct AwsIdentity<'a> {
    /// `userIdentity.type`.
    pub kind: &'a str,
    pub arn: Option<&'a str>,
    pub account: Option<&'a str>,
    pub principal_id: Option<&'a str>,
    pub user_name: Option<&'a str>,
    /// `sessionContext.sessionIssuer.arn`: for an assumed role, the role itself.
    pub issuer_arn: Option<&'a str>,
    /// `invokedBy`.
    pub invoked_by: Option<&'a str>,
    /// `identityProvider`.
    pub identity_provider: Option<&'a str>,
    /// `onBehalfOf.userId` of IAM Identity Center.
    pub on_behalf_of: Option<&'a str>,
    /// `sourceIPAddress`, for an identity that is otherwise unknown.
    pub source_address: Option<&'a str>,
}

/// The principal of an AWS call.
pub fn aws(identity: &AwsIdentity<'_>) -> Principal {
    let account = identity.account.unwrap_or("-");
    let key = match identity.kind {
        "IAMUser" => identity.arn.map(|arn| join("user", arn)).or_else(|| {
            // A failed console sign-in names the user and the account, but carries no ARN.
            let name = identity.user_name?;
            Some(format!("aws:user:arn:aws:iam::{account}:user/{name}"))
        }),
        "FederatedUser" => identity.arn.map(|arn| join("federated", arn)),
        "Root" => Some(format!("aws:root:{account}")),
        "AssumedRole" | "Role" => {
            let by_arn = identity.issuer_arn.map(|arn| join("role", arn));
            let by_session = by_arn.or_else(|| identity.arn.map(|arn| join("role", &role_of_session(arn))));
            by_session.or_else(|| {
                identity.principal_id.map(|id| format!("aws:role:{account}:{}", without_session(id)))
            })
        }
        // Some services leave out the type, and name themselves only as the source address.
        "AWSService" | "" if identity.arn.is_none() => {
            let address = identity.source_address.filter(|address| address.ends_with(".amazonaws.com"));
            identity.invoked_by.or(address).map(|service| join("service", service))
        }
        "AWSService" => identity.invoked_by.map(|service| join("service", service)),
        "AWSAccount" => Some(match identity.principal_id {
            Some(id) => format!("aws:account:{account}:{}", without_session(id)),
            None => format!("aws:account:{account}"),
        }),
        "SAMLUser" | "WebIdentityUser" => {
            let form = if identity.kind == "SAMLUser" { "saml" } else { "web" };
            let provider = identity.identity_provider.unwrap_or("-");
            let subject = identity.user_name.or(identity.principal_id);
            subject.map(|subject| format!("aws:{form}:{provider}:{subject}"))
        }
        "IdentityCenterUser" => {
            identity.on_behalf_of.or(identity.principal_id).map(|id| join("identity-center", id))
        }
        _ => None,
    };
    let key = key.or_else(|| identity.arn.map(|arn| join("arn", arn)));
    Principal(key.unwrap_or_else(|| {
        format!("aws:unknown:{account}:{}", network(identity.source_address.unwrap_or("-")))
    }))
}

/// The principal of an Azure call: object id, or application id, in its tenant.
pub fn azure(
    tenant: &str,
    object_id: Option<&str>,
    app_id: Option<&str>,
    source_address: Option<&str>,
) -> Principal {
    Principal(match (object_id, app_id) {
        (Some(object), _) => format!("azure:user:{tenant}:{object}"),
        (None, Some(app)) => format!("azure:app:{tenant}:{app}"),
        (None, None) => format!("azure:unknown:{tenant}:{}", network(source_address.unwrap_or("-"))),
    })
}

/// The principal of a GCP call: principal e-mail, else subject.
pub fn gcp(
    project: &str,
    email: Option<&str>,
    subject: Option<&str>,
    source_address: Option<&str>,
) -> Principal {
    Principal(match (email, subject) {
        (Some(email), _) if email.ends_with(".gserviceaccount.com") => format!("gcp:service-account:{email}"),
        (Some("system@google.com"), _) => "gcp:service:system@google.com".to_owned(),
        (Some(email), _) if email.contains('@') => format!("gcp:user:{email}"),
        // Kubernetes names its own accounts without a domain, such as `system:serviceaccount:kube-system:x`.
        (Some(subject), _) | (None, Some(subject)) => format!("gcp:subject:{subject}"),
        (None, None) => format!("gcp:unknown:{project}:{}", network(source_address.unwrap_or("-"))),
    })
}

/// The principal of a vault request: the vault by itself, a user by id, or somebody whom no account is.
pub fn vault(user_id: Option<&str>, by_itself: bool, source_address: Option<&str>) -> Principal {
    Principal(match user_id {
        _ if by_itself => "vault:service:prunella".to_owned(),
        Some(id) => format!("vault:user:{id}"),
        None => format!("vault:unknown:{}", network(source_address.unwrap_or("-"))),
    })
}

fn join(form: &str, value: &str) -> String {
    let mut key = String::with_capacity(5 + form.len() + value.len());
    key.push_str("aws:");
    key.push_str(form);
    key.push(':');
    key.push_str(value);
    key
}

/// `arn:aws:sts::1:assumed-role/NAME/session` names a session; the principal is `arn:aws:iam::1:role/NAME`.
fn role_of_session(arn: &str) -> String {
    let Some((head, tail)) = arn.split_once(":assumed-role/") else { return arn.to_owned() };
    let role = tail.split('/').next().unwrap_or(tail);
    format!("{}:role/{role}", head.replacen(":sts:", ":iam:", 1))
}

/// `AROA...:session` names a session of the role or user `AROA...`.
fn without_session(principal_id: &str) -> &str {
    principal_id.split(':').next().unwrap_or(principal_id)
}

/// The /24 of an IPv4 address or the /48 of an IPv6 address; a name stays as it is.
pub fn network(address: &str) -> String {
    match address.parse::<std::net::IpAddr>() {
        Ok(std::net::IpAddr::V4(v4)) => {
            let [a, b, c, _] = v4.octets();
            format!("{a}.{b}.{c}.0/24")
        }
        Ok(std::net::IpAddr::V6(v6)) => {
            let [a, b, c, ..] = v6.segments();
            format!("{}/48", std::net::Ipv6Addr::new(a, b, c, 0, 0, 0, 0, 0))
        }
        Err(_) => address.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[allow(clippy::too_many_lines, reason = "a table with a line for every identity form")]
    fn every_identity_form_has_one_key() {
        let none = AwsIdentity::default();
        let user = "arn:aws:iam::1:user/ann";
        let session = "arn:aws:sts::1:assumed-role/Admin/ann";
        let check = |identity: AwsIdentity<'_>, want: &str, kind: Kind| {
            let got = aws(&identity);
            assert_eq!((got.as_str(), got.kind()), (want, kind), "{identity:?}");
        };
        let of = |kind| AwsIdentity { kind, account: Some("1"), ..none };
        check(
            AwsIdentity { arn: Some(user), ..of("IAMUser") },
            "aws:user:arn:aws:iam::1:user/ann",
            Kind::Human,
        );
        check(
            AwsIdentity { user_name: Some("ann"), ..of("IAMUser") },
            "aws:user:arn:aws:iam::1:user/ann",
            Kind::Human,
        );
        let federated = "arn:aws:sts::1:federated-user/bob";
        check(
            AwsIdentity { arn: Some(federated), ..of("FederatedUser") },
            &format!("aws:federated:{federated}"),
            Kind::Human,
        );
        check(AwsIdentity { arn: Some("arn:aws:iam::1:root"), ..of("Root") }, "aws:root:1", Kind::Root);
        let role = "aws:role:arn:aws:iam::1:role/Admin";
        let issuer = Some("arn:aws:iam::1:role/Admin");
        check(
            AwsIdentity { arn: Some(session), issuer_arn: issuer, ..of("AssumedRole") },
            role,
            Kind::Workload,
        );
        check(AwsIdentity { arn: Some(session), ..of("AssumedRole") }, role, Kind::Workload);
        check(
            AwsIdentity { invoked_by: Some("config.amazonaws.com"), ..of("AWSService") },
            "aws:service:config.amazonaws.com",
            Kind::Service,
        );
        check(
            AwsIdentity { source_address: Some("ecs.amazonaws.com"), ..of("AWSService") },
            "aws:service:ecs.amazonaws.com",
            Kind::Service,
        );
        check(
            AwsIdentity { invoked_by: Some("AWS Internal"), ..of("") },
            "aws:service:AWS Internal",
            Kind::Service,
        );
        check(
            AwsIdentity { principal_id: Some("AROA:s"), ..of("AssumedRole") },
            "aws:role:1:AROA",
            Kind::Workload,
        );
        check(
            AwsIdentity { principal_id: Some("AIDA"), ..of("AWSAccount") },
            "aws:account:1:AIDA",
            Kind::Unknown,
        );
        check(
            AwsIdentity { principal_id: Some("AROA:s"), ..of("AWSAccount") },
            "aws:account:1:AROA",
            Kind::Unknown,
        );
        check(
            AwsIdentity { identity_provider: Some("okta"), user_name: Some("c"), ..of("SAMLUser") },
            "aws:saml:okta:c",
            Kind::Human,
        );
        check(
            AwsIdentity { identity_provider: Some("g"), user_name: Some("d"), ..of("WebIdentityUser") },
            "aws:web:g:d",
            Kind::Human,
        );
        check(
            AwsIdentity { on_behalf_of: Some("u-1"), ..of("IdentityCenterUser") },
            "aws:identity-center:u-1",
            Kind::Human,
        );
        check(
            AwsIdentity { source_address: Some("203.0.113.9"), ..of("Unknown") },
            "aws:unknown:1:203.0.113.0/24",
            Kind::Unknown,
        );
        check(none, "aws:unknown:-:-", Kind::Unknown);
        for (principal, want) in [
            (azure("t", Some("o"), None, None), "azure:user:t:o"),
            (azure("t", None, Some("a"), None), "azure:app:t:a"),
            (azure("t", None, None, Some("2001:db8:1:2::3")), "azure:unknown:t:2001:db8:1::/48"),
            (gcp("p", Some("a@b.c"), None, None), "gcp:user:a@b.c"),
            (
                gcp("p", Some("x@p.iam.gserviceaccount.com"), None, None),
                "gcp:service-account:x@p.iam.gserviceaccount.com",
            ),
            (gcp("p", None, Some("principal://x"), None), "gcp:subject:principal://x"),
            (gcp("p", Some("system@google.com"), None, None), "gcp:service:system@google.com"),
            (gcp("p", Some("system:apiserver"), None, None), "gcp:subject:system:apiserver"),
            (gcp("p", None, None, None), "gcp:unknown:p:-"),
            (vault(Some("u"), false, None), "vault:user:u"),
            (vault(Some("u"), true, None), "vault:service:prunella"),
            (vault(None, false, Some("203.0.113.9")), "vault:unknown:203.0.113.0/24"),
        ] {
            assert_eq!(principal.as_str(), want);
        }
    }
}

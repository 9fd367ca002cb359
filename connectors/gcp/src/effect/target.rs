//! Targets as steps name them, read strictly: what is not wholly understood is not acted on.

use prunella_setting::Fault;

/// `gcp:bucket:name`.
pub fn bucket(target: &str) -> Result<&str, Fault> {
    let name = target.strip_prefix("gcp:bucket:").filter(|name| is_bucket(name));
    name.ok_or_else(|| Fault::Refused(format!("`{target}` names no bucket")))
}

/// <https://cloud.google.com/storage/docs/buckets#naming>
pub fn is_bucket(name: &str) -> bool {
    let is_one = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_.".contains(&b);
    (3..=222).contains(&name.len()) && name.bytes().all(is_one)
}

/// <https://cloud.google.com/resource-manager/docs/creating-managing-projects>
pub fn is_project(id: &str) -> bool {
    let is_one = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    (6..=30).contains(&id.len()) && id.bytes().all(is_one)
}

/// A key of a service account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key<'a> {
    pub project: &'a str,
    pub email: &'a str,
    pub id: &'a str,
}

impl<'a> Key<'a> {
    /// `gcp:service-account:name@project.iam.gserviceaccount.com#key`.
    pub fn parse(target: &'a str) -> Result<Self, Fault> {
        let parsed = || {
            let (email, id) = target.strip_prefix("gcp:service-account:")?.split_once('#')?;
            let (name, host) = email.split_once('@')?;
            let project = host.strip_suffix(".iam.gserviceaccount.com")?;
            let is_name = (1..=64).contains(&name.len())
                && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
            let is_id = (1..=64).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_hexdigit());
            (is_name && is_id && is_project(project)).then_some(Key { project, email, id })
        };
        parsed()
            .ok_or_else(|| Fault::Refused(format!("`{target}` names no key of a project's service account")))
    }

    pub fn resource(&self) -> String {
        format!("projects/{}/serviceAccounts/{}/keys/{}", self.project, self.email, self.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_one_thing_is_refused() {
        assert_eq!(bucket("gcp:bucket:pay_roll").ok(), Some("pay_roll"));
        for bad in ["", "gcp:bucket:", "gcp:bucket:*", "gcp:bucket:a/b", "gcp:object:payroll"] {
            assert!(bucket(bad).is_err(), "{bad}");
        }
        let key = Key::parse("gcp:service-account:ci@acme-prod.iam.gserviceaccount.com#0a1b").unwrap();
        assert_eq!(
            key.resource(),
            "projects/acme-prod/serviceAccounts/ci@acme-prod.iam.gserviceaccount.com/keys/0a1b"
        );
        for bad in [
            "",
            "gcp:service-account:ci@acme-prod.iam.gserviceaccount.com",
            "gcp:service-account:ci@acme-prod.iam.gserviceaccount.com#",
            "gcp:service-account:ci@acme-prod.iam.gserviceaccount.com#../k",
            "gcp:service-account:1-compute@developer.gserviceaccount.com#0a1b",
            "gcp:user:ann@example.com#0a1b",
        ] {
            assert!(Key::parse(bad).is_err(), "{bad}");
        }
    }
}

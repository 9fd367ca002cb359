//! Targets as steps name them, read strictly: what is not wholly understood is not acted on.

use prunella_setting::Fault;

/// A user or a role of one account, and what of it: the id of a key, or the name of a policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity<'a> {
    /// As events name it: `aws:user:arn:aws:iam::111122223333:user/eve`.
    pub principal: &'a str,
    pub account: &'a str,
    pub is_role: bool,
    /// Without its path.
    pub name: &'a str,
    pub part: &'a str,
}

/// <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html>
const NAME_BYTES_MAX: usize = 64;

impl<'a> Identity<'a> {
    pub fn parse(target: &'a str) -> Result<Self, Fault> {
        let parsed = || {
            let (principal, part) = target.rsplit_once('#')?;
            let (is_role, arn) = match principal.strip_prefix("aws:user:") {
                Some(arn) => (false, arn),
                None => (true, principal.strip_prefix("aws:role:")?),
            };
            let (account, resource) = account_of_arn(arn, "iam")?;
            let path = resource.strip_prefix(if is_role { "role/" } else { "user/" })?;
            let name = path.rsplit('/').next()?;
            let identity = Identity { principal, account, is_role, name, part };
            (is_plain(name) && is_plain(part)).then_some(identity)
        };
        parsed().ok_or_else(|| {
            Fault::Refused(format!("`{target}` names no user or role of an account, and a part of it"))
        })
    }
}

fn account_of_arn<'a>(arn: &'a str, service: &str) -> Option<(&'a str, &'a str)> {
    let mut parts = arn.splitn(6, ':');
    let (scheme, partition, named, region, account, resource) =
        (parts.next()?, parts.next()?, parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let is_arn = scheme == "arn" && partition.starts_with("aws") && named == service && region.is_empty();
    (is_arn && is_account(account)).then_some((account, resource))
}

pub fn is_account(text: &str) -> bool {
    text.len() == 12 && text.bytes().all(|b| b.is_ascii_digit())
}

/// The letters that IAM allows in names.
fn is_plain(name: &str) -> bool {
    let is_one = |b: u8| b.is_ascii_alphanumeric() || b"+=,.@_-".contains(&b);
    (1..=2 * NAME_BYTES_MAX).contains(&name.len()) && name.bytes().all(is_one)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_one_identity_is_refused() {
        let check = |target: &str, want: Option<(&str, bool, &str, &str)>| {
            let got = Identity::parse(target).ok().map(|i| (i.account, i.is_role, i.name, i.part));
            assert_eq!(got, want, "{target}");
        };
        let user = |rest: &str| format!("aws:user:arn:aws:iam::111122223333:user/{rest}");
        check(&user("eve#AKIA1"), Some(("111122223333", false, "eve", "AKIA1")));
        check(&user("team/eve@x#AKIA1"), Some(("111122223333", false, "eve@x", "AKIA1")));
        check("aws:role:arn:aws-cn:iam::111122223333:role/app#P", Some(("111122223333", true, "app", "P")));
        for bad in ["", "#", "eve#", "*#AKIA1", "eve#*", "#AKIA1", "eve", "eve#AKIA1#", "e ve#K", "team/#K"] {
            check(&user(bad), None);
        }
        for bad in [
            "",
            "aws:user:*#K",
            "aws:root:111122223333#K",
            "aws:user:arn:aws:iam::*:user/eve#K",
            "aws:user:arn:aws:iam::111122223333:role/eve#K",
            "aws:user:arn:aws:s3::111122223333:user/eve#K",
            "aws:user:arn:aws:iam::1111:user/eve#K",
        ] {
            check(bad, None);
        }
    }
}

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

/// A bucket of one account, or an object in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place<'a> {
    pub account: &'a str,
    pub bucket: &'a str,
    /// Empty: the bucket itself.
    pub key: &'a str,
}

/// <https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-keys.html>
const KEY_BYTES_MAX: usize = 1_024;

impl<'a> Place<'a> {
    /// `aws:bucket:111122223333:name`.
    pub fn bucket(target: &'a str) -> Result<Self, Fault> {
        let parsed = || {
            let (account, bucket) = target.strip_prefix("aws:bucket:")?.split_once(':')?;
            (is_account(account) && is_bucket(bucket)).then_some(Place { account, bucket, key: "" })
        };
        parsed().ok_or_else(|| Fault::Refused(format!("`{target}` names no bucket of an account")))
    }

    /// `aws:object:111122223333:name/key`.
    pub fn object(target: &'a str) -> Result<Self, Fault> {
        let parsed = || {
            let (account, rest) = target.strip_prefix("aws:object:")?.split_once(':')?;
            let (bucket, key) = rest.split_once('/')?;
            let is_whole =
                is_account(account) && is_bucket(bucket) && (1..=KEY_BYTES_MAX).contains(&key.len());
            is_whole.then_some(Place { account, bucket, key })
        };
        parsed().ok_or_else(|| Fault::Refused(format!("`{target}` names no object of an account")))
    }
}

fn is_bucket(name: &str) -> bool {
    let is_one = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'.';
    (3..=63).contains(&name.len()) && name.bytes().all(is_one)
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
    fn what_is_not_one_place_is_refused() {
        let bucket = |target: &'static str| Place::bucket(target).ok().map(|p| p.bucket);
        assert_eq!(bucket("aws:bucket:111122223333:logs"), Some("logs"));
        for bad in
            ["aws:bucket:111122223333:", "aws:bucket:111122223333:*", "aws:bucket::logs", "aws:bucket:1:logs"]
        {
            assert_eq!(bucket(bad), None, "{bad}");
        }
        let object = |target: &'static str| Place::object(target).ok().map(|p| (p.bucket, p.key));
        assert_eq!(object("aws:object:111122223333:logs/a/b c"), Some(("logs", "a/b c")));
        for bad in
            ["aws:object:111122223333:logs", "aws:object:111122223333:logs/", "aws:object:111122223333:/a"]
        {
            assert_eq!(object(bad), None, "{bad}");
        }
    }

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

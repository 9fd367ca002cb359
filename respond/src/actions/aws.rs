//! What a finding says of AWS: the identity behind it, and the buckets and objects that it is about.

use super::TARGETS_MAX;
use super::cloud::Setting;
use prunella_schemas::Finding;
use std::collections::BTreeSet;

const USER_POLICY: Setting = Setting {
    provider: "aws",
    look: "iam:GetUserPolicy",
    set: "iam:PutUserPolicy",
    undo: "iam:DeleteUserPolicy",
};
const ROLE_POLICY: Setting = Setting {
    provider: "aws",
    look: "iam:GetRolePolicy",
    set: "iam:PutRolePolicy",
    undo: "iam:DeleteRolePolicy",
};

/// The calls for an inline policy of a target: users and roles have calls of their own.
pub fn policy_of(target: &str) -> &'static Setting {
    if target.starts_with("aws:role:") { &ROLE_POLICY } else { &USER_POLICY }
}

/// All of them, and those that look for the policy's name.
pub fn policy_calls() -> Vec<(String, String)> {
    let lists = ["iam:ListUserPolicies", "iam:ListRolePolicies"].map(|o| ("aws".to_owned(), o.to_owned()));
    [USER_POLICY.calls(), ROLE_POLICY.calls(), lists.to_vec()].concat()
}

/// The policy of one name of the finding's user or role, which must have an ARN to be found by.
pub fn policy_target(finding: &Finding, name: &str) -> Vec<String> {
    let principal = finding.principal();
    let is_one = ["aws:user:arn:", "aws:role:arn:"].iter().any(|form| principal.starts_with(form));
    is_one.then(|| format!("{principal}#{name}")).into_iter().collect()
}

/// The buckets of the finding, in its own account.
pub fn buckets(finding: &Finding) -> Vec<String> {
    let bucket = |arn: &str| arn.split('/').next().filter(|b| !b.is_empty()).map(str::to_owned);
    named(finding, "bucket", bucket)
}

/// The objects of the finding, in its own account.
pub fn objects(finding: &Finding) -> Vec<String> {
    let object = |arn: &str| arn.split_once('/').filter(|(_, key)| !key.is_empty()).map(|_| arn.to_owned());
    named(finding, "object", object)
}

fn named(finding: &Finding, form: &str, of: impl Fn(&str) -> Option<String>) -> Vec<String> {
    let account = finding.cloud.as_ref().and_then(|c| c.account.as_ref()?.uid.as_deref());
    let Some(account) = account.filter(|_| finding.principal().starts_with("aws:")) else {
        return Vec::new();
    };
    let arns = finding.resources.iter().filter_map(|r| r.uid.as_deref()?.strip_prefix("arn:aws:s3:::"));
    let names: BTreeSet<String> = arns.filter_map(of).collect();
    names.into_iter().take(TARGETS_MAX).map(|name| format!("aws:{form}:{account}:{name}")).collect()
}

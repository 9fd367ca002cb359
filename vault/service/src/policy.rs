//! Who may do what: a table as data, read once, complete or refused.

use crate::Error;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Everything that the vault can be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Operation {
    Register,
    Login,
    Refresh,
    Logout,
    Me,
    PublishKeys,
    Keys,
    Upload,
    List,
    Inspect,
    Open,
    Download,
    Delete,
    Share,
    Unshare,
    Shares,
    ChangeTier,
    ChangeClass,
    Rotate,
    Recover,
    AdminUsers,
    AdminLogs,
    Import,
    Lock,
    Unlock,
    RevokeTokens,
    ResetTrust,
    SuspendGrants,
}

const OPERATIONS: usize = Operation::SuspendGrants as usize + 1;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    User,
    Admin,
}

impl Role {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Role::User => "user",
            Role::Admin => "admin",
        }
    }

    pub(crate) fn parse(name: &str) -> Option<Self> {
        [Role::User, Role::Admin].into_iter().find(|role| role.name() == name)
    }
}

/// One row of the table.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Rule {
    /// Who may do it to what is their own. Empty: it needs no token.
    roles: Vec<Role>,
    /// Who may do it to what is somebody else's.
    #[serde(default)]
    others: Vec<Role>,
    /// It needs a log-in of the last minutes.
    #[serde(default)]
    fresh: bool,
}

/// The whole table.
#[derive(Clone, Debug)]
pub struct Policy(BTreeMap<Operation, Rule>);

impl Policy {
    /// The table of this build.
    pub fn built_in() -> Result<Self, Error> {
        Policy::parse(include_str!("policy.json"))
    }

    /// Reads a table; one with an operation missing or unknown is refused.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let rules: BTreeMap<Operation, Rule> = serde_json::from_str(text)
            .map_err(|e| Error::Invalid(format!("the policy does not read: {e}")))?;
        if rules.len() != OPERATIONS {
            return Err(Error::Invalid(format!("the policy has {} operations of {OPERATIONS}", rules.len())));
        }
        Ok(Policy(rules))
    }

    /// Whether a role may do this to its own things, or to another's.
    pub(crate) fn allows(&self, operation: Operation, role: Role, is_own: bool) -> bool {
        self.0
            .get(&operation)
            .is_some_and(|rule| if is_own { &rule.roles } else { &rule.others }.contains(&role))
    }

    pub(crate) fn wants_fresh(&self, operation: Operation) -> bool {
        self.0.get(&operation).is_none_or(|rule| rule.fresh)
    }
}

impl Operation {
    pub(crate) fn name(self) -> &'static str {
        use Operation::*;
        match self {
            Register => "register",
            Login => "login",
            Refresh => "refresh",
            Logout => "logout",
            Me => "me",
            PublishKeys => "publish_keys",
            Keys => "keys",
            Upload => "upload",
            List => "list",
            Inspect => "inspect",
            Open => "open",
            Download => "download",
            Delete => "delete",
            Share => "share",
            Unshare => "unshare",
            Shares => "shares",
            ChangeTier => "change_tier",
            ChangeClass => "change_class",
            Rotate => "rotate",
            Recover => "recover",
            AdminUsers => "admin_users",
            AdminLogs => "admin_logs",
            Import => "import",
            Lock => "lock",
            Unlock => "unlock",
            RevokeTokens => "revoke_tokens",
            ResetTrust => "reset_trust",
            SuspendGrants => "suspend_grants",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_admin_acts_on_others_and_no_admin_opens_files() {
        let policy = Policy::built_in().unwrap();
        for (operation, role, is_own, want) in [
            (Operation::Download, Role::User, true, true),
            (Operation::Download, Role::Admin, true, false),
            (Operation::Download, Role::Admin, false, false),
            (Operation::Unshare, Role::User, false, false),
            (Operation::Unshare, Role::Admin, false, true),
            (Operation::Lock, Role::User, true, false),
            (Operation::RevokeTokens, Role::User, true, true),
            (Operation::RevokeTokens, Role::User, false, false),
        ] {
            assert_eq!(policy.allows(operation, role, is_own), want, "{operation:?} {role:?} {is_own}");
        }
        assert!(policy.wants_fresh(Operation::Rotate) && !policy.wants_fresh(Operation::Download));
    }

    #[test]
    fn a_table_with_a_hole_is_refused() {
        let text = include_str!("policy.json");
        assert!(Policy::parse(&text.replace("\"me\":", "\"mee\":")).is_err());
        assert!(Policy::parse("{}").is_err());
        assert!(Policy::parse(&text.replace("\"fresh\"", "\"fresher\"")).is_err());
    }

    #[test]
    fn every_operation_is_named_as_in_the_table() {
        for operation in Policy::built_in().unwrap().0.keys() {
            assert_eq!(serde_json::json!(operation), operation.name());
        }
    }
}

//! The one table of MITRE ATT&CK techniques that detectors name.

use prunella_schemas::finding::{Attack, Named};

/// The version of the matrix from which ids and names are taken.
pub const ATTACK_VERSION: &str = "17.1";

/// A technique together with the tactic it serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Technique {
    tactic: (&'static str, &'static str),
    technique: (&'static str, &'static str),
    sub: Option<(&'static str, &'static str)>,
}

impl Technique {
    /// The most precise id: `T1562.008`.
    pub fn uid(&self) -> &'static str {
        self.sub.map_or(self.technique.0, |(uid, _)| uid)
    }

    pub fn attack(&self) -> Attack {
        let named = |(uid, name): (&'static str, &'static str)| Named { uid: uid.into(), name: name.into() };
        Attack {
            version: ATTACK_VERSION.into(),
            tactic: named(self.tactic),
            technique: named(self.technique),
            sub_technique: self.sub.map(named),
        }
    }
}

macro_rules! techniques {
    ($($name:ident = $tactic:ident, $uid:literal $text:literal $(, $sub:literal $sub_text:literal)?;)*) => {
        $(pub const $name: Technique =
            Technique { tactic: $tactic, technique: ($uid, $text), sub: techniques!(@sub $($sub $sub_text)?) };)*
        /// The whole table.
        pub const TECHNIQUES: &[Technique] = &[$($name),*];
    };
    (@sub) => { None };
    (@sub $uid:literal $text:literal) => { Some(($uid, $text)) };
}

const INITIAL_ACCESS: (&str, &str) = ("TA0001", "Initial Access");
const PERSISTENCE: (&str, &str) = ("TA0003", "Persistence");
const PRIVILEGE_ESCALATION: (&str, &str) = ("TA0004", "Privilege Escalation");
const DEFENSE_EVASION: (&str, &str) = ("TA0005", "Defense Evasion");
const CREDENTIAL_ACCESS: (&str, &str) = ("TA0006", "Credential Access");
const DISCOVERY: (&str, &str) = ("TA0007", "Discovery");
const LATERAL_MOVEMENT: (&str, &str) = ("TA0008", "Lateral Movement");
const COLLECTION: (&str, &str) = ("TA0009", "Collection");
const EXFILTRATION: (&str, &str) = ("TA0010", "Exfiltration");
const IMPACT: (&str, &str) = ("TA0040", "Impact");

techniques! {
    VALID_CLOUD_ACCOUNT = INITIAL_ACCESS, "T1078" "Valid Accounts", "T1078.004" "Cloud Accounts";
    STOLEN_CLOUD_ACCOUNT = DEFENSE_EVASION, "T1078" "Valid Accounts", "T1078.004" "Cloud Accounts";
    CREATE_CLOUD_ACCOUNT = PERSISTENCE, "T1136" "Create Account", "T1136.003" "Cloud Account";
    ADD_CREDENTIALS = PERSISTENCE, "T1098" "Account Manipulation", "T1098.001" "Additional Cloud Credentials";
    ADD_ROLES = PRIVILEGE_ESCALATION, "T1098" "Account Manipulation", "T1098.003" "Additional Cloud Roles";
    MANIPULATE_ACCOUNT = PERSISTENCE, "T1098" "Account Manipulation";
    MODIFY_TRUST = PRIVILEGE_ESCALATION, "T1484" "Domain or Tenant Policy Modification", "T1484.002" "Trust Modification";
    MODIFY_MFA = DEFENSE_EVASION, "T1556" "Modify Authentication Process", "T1556.006" "Multi-Factor Authentication";
    DISABLE_TOOLS = DEFENSE_EVASION, "T1562" "Impair Defenses", "T1562.001" "Disable or Modify Tools";
    DISABLE_FIREWALL = DEFENSE_EVASION, "T1562" "Impair Defenses", "T1562.007" "Disable or Modify Cloud Firewall";
    DISABLE_LOGS = DEFENSE_EVASION, "T1562" "Impair Defenses", "T1562.008" "Disable or Modify Cloud Logs";
    IMPAIR_DEFENSES = DEFENSE_EVASION, "T1562" "Impair Defenses";
    MASQUERADE = DEFENSE_EVASION, "T1036" "Masquerading";
    BRUTE_FORCE = CREDENTIAL_ACCESS, "T1110" "Brute Force";
    PASSWORD_GUESSING = CREDENTIAL_ACCESS, "T1110" "Brute Force", "T1110.001" "Password Guessing";
    UNSECURED_CREDENTIALS = CREDENTIAL_ACCESS, "T1552" "Unsecured Credentials";
    SECRETS_STORE = CREDENTIAL_ACCESS, "T1555" "Credentials from Password Stores", "T1555.006" "Cloud Secrets Management Stores";
    DISCOVER_ACCOUNTS = DISCOVERY, "T1087" "Account Discovery", "T1087.004" "Cloud Account";
    DISCOVER_INFRASTRUCTURE = DISCOVERY, "T1580" "Cloud Infrastructure Discovery";
    DISCOVER_SERVICES = DISCOVERY, "T1526" "Cloud Service Discovery";
    USE_STOLEN_TOKEN = LATERAL_MOVEMENT, "T1550" "Use Alternate Authentication Material", "T1550.001" "Application Access Token";
    CLOUD_SERVICES = LATERAL_MOVEMENT, "T1021" "Remote Services", "T1021.007" "Cloud Services";
    CLOUD_STORAGE_DATA = COLLECTION, "T1530" "Data from Cloud Storage";
    EXFILTRATE_WEB_SERVICE = EXFILTRATION, "T1567" "Exfiltration Over Web Service";
    TRANSFER_TO_ACCOUNT = EXFILTRATION, "T1537" "Transfer Data to Cloud Account";
    DESTROY_DATA = IMPACT, "T1485" "Data Destruction";
    ENCRYPT_DATA = IMPACT, "T1486" "Data Encrypted for Impact";
    INHIBIT_RECOVERY = IMPACT, "T1490" "Inhibit System Recovery";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sub_techniques_belong_to_their_technique() {
        for technique in TECHNIQUES {
            let attack = technique.attack();
            if let Some(sub) = attack.sub_technique {
                assert_eq!(sub.uid.split('.').next(), Some(&*attack.technique.uid));
            }
            assert!(attack.tactic.uid.starts_with("TA00") && attack.technique.uid.starts_with('T'));
        }
    }
}

//! Playbooks: YAML files that say which findings lead to which actions, and how far each may go by itself.

use crate::Error;
use crate::actions::{Action, CATALOG};
use prunella_schemas::Finding;
use prunella_schemas::plan::{Mode, Reach};
use prunella_schemas::risk::RiskLevel;
use serde::Deserialize;

/// Largest playbook file, in bytes.
const PLAYBOOK_BYTES_MAX: usize = 64 * 1024;
/// Most playbooks.
const PLAYBOOKS_MAX: usize = 1_024;
/// Most entries of each list in a playbook.
const LIST_MAX: usize = 256;

/// The playbooks that come with the program: `(file, text)`.
pub const BUILT_IN: &[(&str, &str)] = &[
    ("contain-account-takeover.yaml", include_str!("../playbooks/contain-account-takeover.yaml")),
    ("contain-privilege-change.yaml", include_str!("../playbooks/contain-privilege-change.yaml")),
    ("contain-log-tampering.yaml", include_str!("../playbooks/contain-log-tampering.yaml")),
    ("contain-exfiltration.yaml", include_str!("../playbooks/contain-exfiltration.yaml")),
    ("contain-destruction.yaml", include_str!("../playbooks/contain-destruction.yaml")),
    ("step-up.yaml", include_str!("../playbooks/step-up.yaml")),
    ("step-up-entropy.yaml", include_str!("../playbooks/step-up-entropy.yaml")),
    ("tell-people.yaml", include_str!("../playbooks/tell-people.yaml")),
];

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Playbooks {
    playbooks: Vec<Playbook>,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Playbook {
    pub id: String,
    #[serde(default)]
    pub description: String,
    /// All conditions given must hold; of a list, any one entry.
    #[serde(rename = "match")]
    pub conditions: Conditions,
    pub actions: Vec<Response>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Conditions {
    /// ATT&CK ids. `T1110` covers its sub-techniques.
    pub techniques: Vec<String>,
    pub severity_min: Option<Severity>,
    pub risk_min: Option<RiskLevel>,
    /// Ids of the rules and detectors that made the finding.
    pub analytics: Vec<String>,
    pub tenants: Vec<String>,
}

/// OCSF `severity_id`, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    Informational = 1,
    Low,
    Medium,
    High,
    Critical,
    Fatal,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Response {
    pub action: String,
    /// Absent: `auto` for what only tells somebody, `dry-run` for everything else.
    #[serde(default)]
    pub mode: Option<Mode>,
}

/// What the playbooks want done about a finding.
pub(crate) struct Wanted<'a> {
    pub action: &'static dyn Action,
    pub mode: Mode,
    pub playbook: &'a str,
}

impl Playbooks {
    /// Reads playbooks, given as `(file, text)`. They may name the actions of the catalog.
    pub fn parse(files: &[(&str, &str)]) -> Result<Self, Error> {
        Playbooks::parse_for(CATALOG, files)
    }

    /// The same with another list of actions.
    pub fn parse_for(actions: &[&'static dyn Action], files: &[(&str, &str)]) -> Result<Self, Error> {
        let mut playbooks: Vec<Playbook> = Vec::new();
        for (file, text) in files {
            let unreadable = |detail: String| Error::Yaml { file: (*file).to_owned(), detail };
            if text.len() > PLAYBOOK_BYTES_MAX {
                return Err(unreadable(format!(
                    "it has {} bytes; {PLAYBOOK_BYTES_MAX} are the most",
                    text.len()
                )));
            }
            let options = serde_saphyr::options! { with_snippet: false };
            let playbook: Playbook =
                serde_saphyr::from_str_with_options(text, options).map_err(|e| unreadable(e.to_string()))?;
            let twin = playbooks.iter().any(|p| p.id == playbook.id);
            let fault = if twin {
                Some("another playbook has this id".to_owned())
            } else {
                fault(&playbook, actions)
            };
            if let Some(detail) = fault {
                return Err(Error::Playbook { file: (*file).to_owned(), playbook: playbook.id, detail });
            }
            playbooks.push(playbook);
            if playbooks.len() > PLAYBOOKS_MAX {
                return Err(unreadable(format!("there are more than {PLAYBOOKS_MAX} playbooks")));
            }
        }
        Ok(Playbooks { playbooks })
    }

    /// The playbooks that come with the program.
    pub fn built_in() -> Result<Self, Error> {
        Playbooks::parse(BUILT_IN)
    }

    /// What the playbooks may call: action, provider, operation, each once.
    pub fn calls(&self) -> Vec<(&'static str, String, String)> {
        let named = |action: &&&'static dyn Action| {
            self.playbooks.iter().flat_map(|p| &p.actions).any(|r| r.action == action.name())
        };
        let calls = |action: &&'static dyn Action| {
            let name = action.name();
            action.calls().into_iter().map(move |(provider, operation)| (name, provider, operation))
        };
        CATALOG.iter().filter(named).flat_map(calls).collect()
    }

    pub fn iter(&self) -> impl Iterator<Item = &Playbook> {
        self.playbooks.iter()
    }

    /// What a playbook does, in the order of the catalog, whatever the finding. Nothing: there is no such playbook.
    pub(crate) fn of<'a>(&'a self, id: &str, actions: &[&'static dyn Action]) -> Vec<Wanted<'a>> {
        let Some(playbook) = self.playbooks.iter().find(|p| p.id == id) else { return Vec::new() };
        let wanted = |action: &&'static dyn Action| {
            let response = playbook.actions.iter().find(|r| r.action == action.name())?;
            Some(Wanted { action: *action, mode: response.mode_of(*action), playbook: &playbook.id })
        };
        actions.iter().filter_map(wanted).collect()
    }

    /// What to do about a finding, in the order of the catalog. Where several playbooks want one action, the one that goes
    /// furthest decides; among equals the first.
    pub(crate) fn wanted<'a>(
        &'a self,
        finding: &Finding,
        actions: &[&'static dyn Action],
    ) -> Vec<Wanted<'a>> {
        let matching: Vec<&Playbook> = self.playbooks.iter().filter(|p| p.conditions.hold(finding)).collect();
        let mut wanted = Vec::new();
        for action in actions {
            let mut best: Option<Wanted<'a>> = None;
            for playbook in &matching {
                for response in playbook.actions.iter().filter(|r| r.action == action.name()) {
                    let mode = response.mode_of(*action);
                    if best.as_ref().is_none_or(|b| mode > b.mode) {
                        best = Some(Wanted { action: *action, mode, playbook: &playbook.id });
                    }
                }
            }
            wanted.extend(best);
        }
        wanted
    }
}

impl Response {
    fn mode_of(&self, action: &dyn Action) -> Mode {
        self.mode.unwrap_or(match action.reach() {
            Reach::Notify => Mode::Auto,
            Reach::Principal | Reach::Tenant => Mode::DryRun,
        })
    }
}

impl Conditions {
    fn hold(&self, finding: &Finding) -> bool {
        let info = &finding.finding_info;
        let technique = |wanted: &String| {
            info.attacks.iter().any(|a| {
                let sub = a.sub_technique.as_ref().map_or("", |s| &s.uid);
                covers(wanted, &a.technique.uid) || covers(wanted, sub)
            })
        };
        (self.techniques.is_empty() || self.techniques.iter().any(technique))
            && (self.analytics.is_empty() || self.analytics.iter().any(|a| info.analytic.uid == **a))
            && (self.tenants.is_empty() || self.tenants.iter().any(|t| t == finding.tenant()))
            && self
                .severity_min
                .is_none_or(|min| (min as u8..=Severity::Fatal as u8).contains(&finding.severity_id))
            && self.risk_min.is_none_or(|min| finding.risk_level() >= min)
    }

    fn is_empty(&self) -> bool {
        *self == Conditions::default()
    }
}

/// Whether ATT&CK id `wanted` is `found` or the technique that `found` is a part of.
fn covers(wanted: &str, found: &str) -> bool {
    found.strip_prefix(wanted).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// What is wrong with a playbook, in words.
fn fault(playbook: &Playbook, actions: &[&'static dyn Action]) -> Option<String> {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_.".contains(&b);
    if playbook.id.is_empty() || playbook.id.len() > 64 || !playbook.id.bytes().all(plain) {
        return Some("an id has 1 to 64 of a-z, 0-9, `-`, `_` and `.`".to_owned());
    }
    let conditions = &playbook.conditions;
    if conditions.is_empty() {
        return Some(
            "`match` is empty; to match every finding, say `severity_min: informational`".to_owned(),
        );
    }
    let lists = [&conditions.techniques, &conditions.analytics, &conditions.tenants];
    if lists.iter().any(|l| l.len() > LIST_MAX) || playbook.actions.len() > LIST_MAX {
        return Some(format!("a list has more than {LIST_MAX} entries"));
    }
    if let Some(bad) = conditions.techniques.iter().find(|t| !is_technique(t)) {
        return Some(format!("`{bad}` is not an ATT&CK technique; write it as `T1110` or `T1110.001`"));
    }
    if playbook.actions.is_empty() {
        return Some("it has no actions".to_owned());
    }
    for (i, response) in playbook.actions.iter().enumerate() {
        if !actions.iter().any(|a| a.name() == response.action) {
            let known: Vec<&str> = actions.iter().map(|a| a.name()).collect();
            return Some(format!("unknown action `{}`; known: {}", response.action, known.join(", ")));
        }
        if playbook.actions.iter().take(i).any(|r| r.action == response.action) {
            return Some(format!("it names action `{}` twice", response.action));
        }
    }
    None
}

fn is_technique(text: &str) -> bool {
    let digits = |text: &str, n: usize| text.len() == n && text.bytes().all(|b| b.is_ascii_digit());
    let Some(number) = text.strip_prefix('T') else { return false };
    match number.split_once('.') {
        Some((technique, sub)) => digits(technique, 4) && digits(sub, 3),
        None => digits(number, 4),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_technique_covers_its_parts_and_nothing_else() {
        for (wanted, found, want) in [
            ("T1110", "T1110", true),
            ("T1110", "T1110.001", true),
            ("T1110.001", "T1110", false),
            ("T1110", "T11100", false),
            ("T1110", "", false),
        ] {
            assert_eq!(covers(wanted, found), want, "{wanted} {found}");
        }
    }
}

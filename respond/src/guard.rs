//! The guard: stands between what a playbook wants and what may happen by itself. Budgets, breaker, protected principals, kill switch.

use crate::Config;
use crate::config::Budget;
use prunella_schemas::plan::{Mode, Plan, PlanState, Reach};
use prunella_schemas::{Finding, Id, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque};

/// How an executor says that it found the kill switch engaged: the start of `Outcome::Failed`'s detail.
pub const KILL_SWITCH_ENGAGED: &str = "kill switch engaged";
/// Longest target, in bytes.
const TARGET_BYTES_MAX: usize = 2_048;
/// Most tenants whose notifications are counted apart.
const TENANTS_MAX: usize = 1_024;
/// Plans that a person must approve, and that must hold, before a demoted playbook acts by itself again.
const APPROVED_ENOUGH: u32 = 3;
/// Most demotions remembered; with so many, every playbook asks first.
const DEMOTIONS_MAX: usize = 4_096;
/// Time over which the principals of a tenant that were acted on are counted.
const REACHED_MS: i64 = 3_600_000;
/// Most principals counted for each tenant; the global budget is far below.
const REACHED_MAX: usize = 65_536;

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Guard {
    pub engaged: bool,
    playbooks: BTreeMap<String, Window>,
    tenants: BTreeMap<String, Window>,
    global: Window,
    failures: Window,
    rollbacks: Window,
    /// The plan that is let through an open breaker to see whether actions work again.
    #[serde(default)]
    trial: Option<Id>,
    /// How many principals each tenant has; unknown until somebody has counted.
    #[serde(default)]
    population: BTreeMap<String, u64>,
    /// Per tenant: the principals acted on within the hour, and when last.
    #[serde(default)]
    reached: BTreeMap<String, BTreeMap<String, Timestamp>>,
    /// Per tenant and playbook: why it asks first again.
    #[serde(default)]
    demoted: BTreeMap<String, Demotion>,
    pub notices: BTreeMap<String, Notices>,
}

/// A playbook of which a person took a plan back.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Demotion {
    /// Plans since that a person approved and that held.
    held: u32,
}

/// Notifications of one tenant.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Notices {
    sent: Window,
    pub suppressed: u64,
    /// The gravest finding held back, to be told when there is room again.
    pub kept: Option<Kept>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Kept {
    pub finding: Box<Finding>,
    pub origin: Timestamp,
    pub at: Timestamp,
    pub due: Timestamp,
}

/// What the guard says to a plan whose steps are known.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Verdict {
    Allow,
    /// So many different persons must approve.
    Ask {
        persons: u8,
        why: String,
    },
    Refuse(String),
}

/// The instants of the last actions, oldest first. A budget's `max` bounds it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
struct Window(VecDeque<Timestamp>);

impl Window {
    fn full(&self, budget: Budget, now: Timestamp) -> bool {
        self.0.iter().filter(|at| now.since_ms(**at) < budget.window_ms).count() >= budget.max as usize
    }

    fn add(&mut self, budget: Budget, now: Timestamp) {
        self.0.push_back(now);
        self.prune(budget, now);
    }

    fn prune(&mut self, budget: Budget, now: Timestamp) {
        while self.0.len() > budget.max as usize
            || self.0.front().is_some_and(|at| now.since_ms(*at) >= budget.window_ms)
        {
            self.0.pop_front();
        }
    }
}

impl Guard {
    /// Whether a plan may go ahead. An old finding does not act by itself.
    pub fn verdict(&self, config: &Config, plan: &Plan, now: Timestamp) -> Verdict {
        if plan.reach == Reach::Notify {
            return match (self.engaged, plan.mode) {
                (true, _) => Verdict::Refuse(format!("{KILL_SWITCH_ENGAGED}: nothing is sent")),
                (false, Mode::Auto) => Verdict::Allow,
                (false, _) => ask(1, "its playbook asks first"),
            };
        }
        let protected = config
            .protected
            .iter()
            .find(|p| glob(p, &plan.principal) || plan.steps.iter().any(|s| glob(p, &s.target)));
        let persons = if protected.is_some() { 2 } else { 1 };
        if self.engaged {
            return ask(persons, KILL_SWITCH_ENGAGED);
        }
        if let Some(pattern) = protected {
            return ask(
                persons,
                &format!("the principal is protected by `{pattern}`: two persons must approve"),
            );
        }
        if plan.mode != Mode::Auto {
            return ask(persons, "its playbook asks first");
        }
        if now.since_ms(plan.marks.provider) > config.finding_age_ms_max {
            return ask(persons, "the finding is about something too long ago to act on by itself");
        }
        if self.demoted.contains_key(&ramp_key(plan)) || self.demoted.len() >= DEMOTIONS_MAX {
            return ask(
                persons,
                &format!(
                    "a person took a plan of playbook {} back: it asks first until {APPROVED_ENOUGH} were approved and held",
                    plan.playbook
                ),
            );
        }
        if let Some(why) = self.breaker(config, plan, now) {
            return ask(persons, &why);
        }
        match self.exhausted(config, plan, now).or_else(|| self.share(config, plan)) {
            Some(why) => ask(persons, &why),
            None => Verdict::Allow,
        }
    }

    /// Why not even a person may let this plan act now.
    pub fn forbids(&self, config: &Config, plan: &Plan, now: Timestamp) -> Option<String> {
        if self.engaged {
            return Some(KILL_SWITCH_ENGAGED.to_owned());
        }
        let full = plan.reach != Reach::Notify && self.global.full(config.budgets.global, now);
        full.then(|| spent("everywhere", config.budgets.global))
    }

    /// Counts a disruptive plan that goes ahead.
    pub fn spend(&mut self, config: &Config, plan: &Plan, now: Timestamp) {
        if plan.reach == Reach::Notify {
            return;
        }
        self.playbooks.entry(plan.playbook.clone()).or_default().add(config.budgets.playbook, now);
        self.tenants.entry(tenant_key(plan)).or_default().add(config.budgets.tenant, now);
        self.global.add(config.budgets.global, now);
        let reached = self.reached.entry(plan.tenant.to_string()).or_default();
        if reached.len() < REACHED_MAX {
            reached.insert(plan.principal.clone(), now);
        }
        if self.open(config, now).is_some() {
            self.trial = Some(plan.uid);
        }
    }

    pub fn count(&mut self, principals: &BTreeMap<String, u64>) {
        self.population =
            principals.iter().take(TENANTS_MAX).map(|(name, count)| (name.clone(), *count)).collect();
    }

    /// Why too many of a tenant's principals would be reached within an hour.
    fn share(&self, config: &Config, plan: &Plan) -> Option<String> {
        let population = *self.population.get(plan.tenant.as_str())?;
        let reached = self.reached.get(plan.tenant.as_str())?;
        let percent = config.budgets.principals_percent;
        let most = (population * u64::from(percent) / 100).max(u64::from(config.budgets.tenant.max));
        let is_new = !reached.contains_key(&plan.principal);
        (is_new && reached.len() as u64 >= most).then(|| {
            format!(
                "{most} principals of tenant {} were acted on within an hour: {percent} % of {population}, or as many as its budget allows at once",
                plan.tenant
            )
        })
    }

    /// Which breaker is open: how many actions, what became of them, within which time, and when the last of them was.
    fn open(&self, config: &Config, now: Timestamp) -> Option<(Budget, &'static str, Timestamp)> {
        [
            (&self.failures, config.breaker.failures, "failed"),
            (&self.rollbacks, config.breaker.rollbacks, "were taken back by a person"),
        ]
        .into_iter()
        .find(|(window, budget, _)| window.full(*budget, now))
        .map(|(window, budget, what)| (budget, what, window.0.back().copied().unwrap_or_default()))
    }

    /// Why the breaker holds a plan back. Half open, it lets one through.
    fn breaker(&self, config: &Config, plan: &Plan, now: Timestamp) -> Option<String> {
        let (budget, what, last) = self.open(config, now)?;
        let calm = now.since_ms(last) >= config.breaker.half_open_ms;
        if calm && self.trial.is_none_or(|trial| trial == plan.uid) {
            return None;
        }
        Some(format!("the breaker is open: {} actions {what} within {}", budget.max, span(budget.window_ms)))
    }

    /// What became of a plan: a trial that held closes the breaker, and a demoted playbook climbs again.
    pub fn settled(&mut self, plan: &Plan, to: PlanState, approved: bool) {
        let held = to == PlanState::Verified;
        if self.trial == Some(plan.uid) {
            self.trial = None;
            if held {
                (self.failures, self.rollbacks) = (Window::default(), Window::default());
            }
        }
        if held && approved {
            let key = ramp_key(plan);
            if let Some(demotion) = self.demoted.get_mut(&key) {
                demotion.held += 1;
                if demotion.held >= APPROVED_ENOUGH {
                    self.demoted.remove(&key);
                }
            }
        }
    }

    pub fn failed(&mut self, config: &Config, plan: &Plan, now: Timestamp) {
        if plan.reach != Reach::Notify {
            self.failures.add(config.breaker.failures, now);
        }
    }

    /// A person takes a plan back: its playbook asks first from now on, in that tenant.
    pub fn rolled_back(&mut self, config: &Config, plan: &Plan, now: Timestamp) {
        self.rollbacks.add(config.breaker.rollbacks, now);
        if self.demoted.len() < DEMOTIONS_MAX {
            self.demoted.insert(ramp_key(plan), Demotion::default());
        }
    }

    /// Drops what no budget looks at any more.
    pub fn prune(&mut self, config: &Config, now: Timestamp) {
        let (playbook, tenant, notify) =
            (config.budgets.playbook, config.budgets.tenant, config.budgets.notify);
        self.reached.values_mut().for_each(|r| r.retain(|_, at| now.since_ms(*at) < REACHED_MS));
        self.reached.retain(|_, r| !r.is_empty());
        self.playbooks.values_mut().for_each(|w| w.prune(playbook, now));
        self.playbooks.retain(|_, w| !w.0.is_empty());
        self.tenants.values_mut().for_each(|w| w.prune(tenant, now));
        self.tenants.retain(|_, w| !w.0.is_empty());
        self.notices.values_mut().for_each(|n| n.sent.prune(notify, now));
        self.notices.retain(|_, n| !n.sent.0.is_empty() || n.suppressed > 0);
    }

    /// Whether one more finding of the tenant may be told; counts it if so. Otherwise it is held back: the gravest is kept.
    pub fn may_notify(
        &mut self,
        config: &Config,
        finding: &Finding,
        origin: Timestamp,
        now: Timestamp,
    ) -> bool {
        let budget = config.budgets.notify;
        // Beyond the cap on tenants the rest share one count, under a name no tenant can have.
        let known = self.notices.contains_key(finding.tenant()) || self.notices.len() < TENANTS_MAX;
        let tenant = if known { finding.tenant() } else { "" };
        let notices = self.notices.entry(tenant.to_owned()).or_default();
        notices.sent.prune(budget, now);
        if !notices.sent.full(budget, now) {
            notices.sent.add(budget, now);
            return true;
        }
        notices.suppressed += 1;
        let due = notices.sent.0.front().map_or(now, |at| *at).plus_ms(budget.window_ms);
        match &mut notices.kept {
            Some(kept) if kept.finding.severity_id >= finding.severity_id => {}
            Some(kept) => *kept = Kept { finding: Box::new(finding.clone()), origin, at: now, due: kept.due },
            none => *none = Some(Kept { finding: Box::new(finding.clone()), origin, at: now, due }),
        }
        false
    }

    /// How many notifications were held back since the last one; asking starts the count anew.
    pub fn take_suppressed(&mut self, tenant: &str) -> u64 {
        self.notices.get_mut(tenant).map_or(0, |n| std::mem::take(&mut n.suppressed))
    }

    /// When the next finding that was held back may be told.
    pub fn next_notice(&self) -> Option<Timestamp> {
        self.notices.values().filter_map(|n| n.kept.as_ref().map(|k| k.due)).min()
    }

    pub fn take_due_notice(&mut self, now: Timestamp) -> Option<Kept> {
        self.notices
            .values_mut()
            .find(|n| n.kept.as_ref().is_some_and(|k| k.due <= now))
            .and_then(|n| n.kept.take())
    }

    fn exhausted(&self, config: &Config, plan: &Plan, now: Timestamp) -> Option<String> {
        let budgets = &config.budgets;
        let full = |window: Option<&Window>, budget: Budget| match window {
            Some(window) => window.full(budget, now),
            None => budget.max == 0,
        };
        if full(self.playbooks.get(&plan.playbook), budgets.playbook) {
            return Some(spent(&format!("for playbook {}", plan.playbook), budgets.playbook));
        }
        if full(self.tenants.get(&tenant_key(plan)), budgets.tenant) {
            let whose = format!("for {} in tenant {}", plan.action, plan.tenant);
            return Some(spent(&whose, budgets.tenant));
        }
        full(Some(&self.global), budgets.global).then(|| spent("everywhere", budgets.global))
    }
}

/// A tenant's budget is for each action: many demands for a second factor must not use up what a revocation needs.
fn tenant_key(plan: &Plan) -> String {
    format!("{} {}", plan.tenant, plan.action)
}

/// A playbook climbs for each tenant on its own. No tenant's name holds a space.
fn ramp_key(plan: &Plan) -> String {
    format!("{} {}", plan.tenant, plan.playbook)
}

fn ask(persons: u8, why: &str) -> Verdict {
    Verdict::Ask { persons, why: why.to_owned() }
}

fn spent(whose: &str, budget: Budget) -> String {
    format!("the budget {whose} is spent: {} within {}", budget.max, span(budget.window_ms))
}

/// A time span for people.
pub(crate) fn span(ms: i64) -> String {
    match ms {
        ms if ms >= 3_600_000 && ms % 3_600_000 == 0 => format!("{} h", ms / 3_600_000),
        ms if ms >= 60_000 && ms % 60_000 == 0 => format!("{} min", ms / 60_000),
        ms if ms >= 1_000 && ms % 1_000 == 0 => format!("{} s", ms / 1_000),
        ms => format!("{ms} ms"),
    }
}

/// What is wrong with a target: empty, a wildcard, or a name that stands for more than one.
pub(crate) fn target_fault(reach: Reach, target: &str) -> Option<&'static str> {
    if target.trim().is_empty() || target.trim() == "-" {
        return Some("the target is empty");
    }
    if target.len() > TARGET_BYTES_MAX {
        return Some("the target's name is too long");
    }
    if target.chars().any(char::is_control) {
        return Some("the target's name holds control characters");
    }
    if reach == Reach::Notify {
        return None;
    }
    if target.contains(['*', '?']) {
        return Some("the target is a wildcard");
    }
    let mut parts = target.splitn(3, ':');
    let (provider, form, value) = (parts.next(), parts.next(), parts.next());
    match (provider, form, value) {
        (Some(""), ..) | (_, Some(""), _) | (_, _, Some("") | None) => {
            Some("the target does not name a principal")
        }
        (_, Some("unknown"), _) => {
            Some("the target is not known: it stands for everybody behind one address")
        }
        (_, _, Some("-")) => Some("the target does not name a principal"),
        (_, _, Some(value)) if value.starts_with("-:") || value.ends_with(":-") => {
            Some("the target does not name a principal")
        }
        (Some("aws"), Some("account"), Some(value)) if !value.contains(':') => {
            Some("the target is a whole account")
        }
        _ => None,
    }
}

/// Whether `text` matches `pattern`, in which `*` stands for any run of characters and `?` for one. Linear in memory, no recursion.
pub(crate) fn glob(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
    let (mut p, mut t) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        match pattern.get(p) {
            Some('*') => {
                star = Some((p, t));
                p += 1;
            }
            Some(c) if *c == '?' || text.get(t) == Some(c) => {
                p += 1;
                t += 1;
            }
            _ => match star {
                Some((at, from)) => {
                    p = at + 1;
                    t = from + 1;
                    star = Some((at, from + 1));
                }
                None => return false,
            },
        }
    }
    pattern.get(p..).is_some_and(|rest| rest.iter().all(|c| *c == '*'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs_match_whole_names() {
        for (pattern, text, want) in [
            ("aws:root:*", "aws:root:1", true),
            ("aws:root:*", "aws:root", false),
            ("*", "", true),
            ("*admin*", "aws:user:the-admin-2", true),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "a-b-c-d", false),
            ("exact", "exact", true),
            ("exact", "exactly", false),
        ] {
            assert_eq!(glob(pattern, text), want, "{pattern} {text}");
        }
    }

    #[test]
    fn targets_that_are_nobody_or_everybody_have_a_fault() {
        for (target, sound) in [
            ("aws:user:arn:aws:iam::1:user/ann", true),
            ("aws:role:arn:aws:iam::1:role/Admin", true),
            ("aws:account:1:AIDA", true),
            ("vault:user:u", true),
            ("gcp:subject:principal://x", true),
            ("", false),
            (" ", false),
            ("-", false),
            ("*", false),
            ("aws:user:*", false),
            ("aws:user:a?n", false),
            ("aws:user:", false),
            ("aws:user", false),
            (":user:x", false),
            ("aws:root:-", false),
            ("aws:saml:-:c", false),
            ("aws:account:1", false),
            ("aws:unknown:1:203.0.113.0/24", false),
            ("azure:unknown:t:-", false),
            ("aws:user:a\nb", false),
        ] {
            assert_eq!(target_fault(Reach::Principal, target).is_none(), sound, "{target:?}");
        }
        assert_eq!(target_fault(Reach::Notify, "default"), None);
        assert!(target_fault(Reach::Notify, "").is_some());
    }
}

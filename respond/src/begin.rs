//! How a plan begins, and how it gets the approvals it waits for.

use crate::guard::target_fault;
use crate::life::{Again, Desk, Live};
use crate::memory::PLANS_MAX;
use prunella_schemas::Id;
use prunella_schemas::plan::{Mode, Order, PlanState};

/// The first steps of a new plan.
pub(crate) fn open(live: &mut Live, desk: &mut Desk<'_>, full: bool, bad_tenant: bool) {
    if bad_tenant {
        return live.end(desk, PlanState::Refused, "the finding names no valid tenant");
    }
    if let Some(why) = target_fault(live.plan.reach, &live.target) {
        return live.end(desk, PlanState::Refused, why);
    }
    if live.plan.mode == Mode::Observe {
        live.again = Again::IfFurther;
        return live.end(desk, PlanState::Observed, "mode observe: its playbook matches");
    }
    if full {
        live.again = Again::Always;
        return live.end(desk, PlanState::Refused, &format!("{PLANS_MAX} plans are open already"));
    }
    live.reads = desk.action.needs(&live.target);
    let why = match live.plan.proposed_by.as_str() {
        "" => format!("playbook {} matches", live.plan.playbook),
        by => format!("{by} asks for playbook {}", live.plan.playbook),
    };
    if live.reads.is_empty() {
        live.pass(desk, PlanState::Planned, &why);
        return live.decide(desk, &[], "");
    }
    let order = Order::Read { reads: live.reads.clone() };
    live.order(desk, PlanState::Planned, &format!("{why}; asking for the state before"), order);
}

/// Counts a person's approval, and acts once there are enough.
pub(crate) fn approve(live: &mut Live, desk: &mut Desk<'_>, by: &str, digest: Option<Id>) {
    if live.awaits_approval() && by.eq_ignore_ascii_case(&live.plan.proposed_by) {
        return live.note(
            desk,
            &format!("the approval of {by} does not count: they proposed it; somebody else must approve"),
        );
    }
    if live.awaits_approval() && digest.is_some_and(|digest| digest != live.plan.digest) {
        return live.note(
            desk,
            &format!(
                "the approval of {by} does not count: it is for other steps than the plan has now; look again"
            ),
        );
    }
    let known = live.approvals.iter().any(|p| p.eq_ignore_ascii_case(by));
    if !live.awaits_approval() || known {
        return;
    }
    if let Some(why) = desk.guard.forbids(desk.config, &live.plan, desk.now) {
        return live.note(desk, &format!("the approval of {by} does not count: {why}"));
    }
    live.approvals.push(by.to_owned());
    if live.approvals.len() < usize::from(live.persons) {
        let (have, need) = (live.approvals.len(), live.persons);
        return live.note(desk, &format!("approved by {by}: {have} of {need} persons"));
    }
    let why = format!("approved by {}", live.approvals.join(" and "));
    live.approve(desk, &why);
}

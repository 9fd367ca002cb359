//! An account's state from a finding to the way back, through every file, and made again from the ledger when its own file is lost.

use crate::faults::{NEVER, Pipe, principal, until};
use prunella_runtime::clock;
use prunella_schemas::port::{AccountState, Query, State, Store};
use prunella_schemas::{Command, PlanState, Receipt, Tenant, Timestamp, Transition};
use tempfile::TempDir;

fn lock_of(pipe: &Pipe) -> Option<Transition> {
    let plans = pipe.runtime.block_on(pipe.up.store.plans(&Query::default())).unwrap().rows;
    plans.into_iter().find(|plan| plan.plan.action == "account.lock")
}

fn until_lock(pipe: &Pipe, state: PlanState) -> Transition {
    until(&format!("{state:?}"), || lock_of(pipe).is_some_and(|plan| plan.to == state));
    lock_of(pipe).unwrap()
}

fn account(pipe: &Pipe) -> AccountState {
    pipe.runtime.block_on(pipe.up.state.account(&Tenant::default(), &principal("eve"))).unwrap()
}

fn command(pipe: &Pipe, command: Command) {
    pipe.runtime.block_on(prunella_schemas::port::Intake::command(&pipe.up.intake, command)).unwrap();
}

fn restart_without_state(pipe: Pipe, dir: &TempDir) -> Pipe {
    pipe.stop();
    for name in ["state.db", "state.db-wal", "state.db-shm"] {
        // The sidecars are there only while somebody has the file open.
        let _ = std::fs::remove_file(dir.path().join(name));
    }
    Pipe::start(dir.path(), NEVER, clock::wall())
}

#[test]
fn a_lock_is_taken_back_by_hand_and_survives_the_loss_of_its_file() {
    let dir = TempDir::new().unwrap();
    let pipe = Pipe::start(dir.path(), NEVER, clock::wall());
    pipe.attack("eve").unwrap();
    let waiting = until_lock(&pipe, PlanState::AwaitingApproval);
    let (tenant, plan_uid, by) = (Tenant::default(), waiting.plan_uid, "ann".to_owned());
    let (at, digest) = ((clock::wall())(), Some(waiting.plan.digest));
    command(&pipe, Command::Approve { tenant: tenant.clone(), plan_uid, by: by.clone(), at, digest });
    let verified = until_lock(&pipe, PlanState::Verified);
    let locked = account(&pipe);
    assert!(locked.locked_until > at && verified.plan.expires.is_some(), "{locked:?}");

    let pipe = restart_without_state(pipe, &dir);
    assert_eq!(account(&pipe).locked_until, locked.locked_until, "the ledger is the truth");
    let at = (clock::wall())();
    command(&pipe, Command::RollBack { tenant, plan_uid, by, at });
    until_lock(&pipe, PlanState::RolledBack);
    assert_eq!(account(&pipe).locked_until, Timestamp::ZERO);

    let pipe = restart_without_state(pipe, &dir);
    assert_eq!(account(&pipe).locked_until, Timestamp::ZERO, "what was taken back stays so");
    let is_receipted = |state: PlanState| {
        let of = |receipt: &Receipt| {
            receipt.prunella.action == "account.lock" && receipt.prunella.state == Some(state)
        };
        pipe.receipts().iter().any(of)
    };
    // The plan was settled before the restart; its receipt may come after it.
    until("both receipts", || is_receipted(PlanState::Verified) && is_receipted(PlanState::RolledBack));
    pipe.stop();
    assert!(prunella_runtime::ledger::verify(dir.path(), None, &[]).unwrap().problems.is_empty());
}

//! Prunella's own vault as a source (`vault`): OCSF as it writes it, and its users as the ones that it can act on.

use crate::ocsf::Ocsf;
use crate::{Malformed, Translate};
use prunella_schemas::{Event, Principal, Record, principal};

const NAME: &str = "vault";

/// Reads the events of the vault. Only what comes by this name is taken for a user of the vault.
#[derive(Clone, Copy, Debug)]
pub struct Vault;

impl Translate for Vault {
    fn name(&self) -> &'static str {
        NAME
    }

    fn translate(&self, record: &Record, body: &str, out: &mut Vec<Event>) -> Result<(), Malformed> {
        let before = out.len();
        Ocsf.translate(record, body, out)?;
        for event in out.iter_mut().skip(before) {
            event.prunella.source = NAME.into();
            event.prunella.principal = principal(event);
            event.identify();
        }
        Ok(())
    }
}

/// Who asked, else whom a sign-in is about. A name that no account has is nobody's id.
fn principal(event: &Event) -> Principal {
    let actor = event.actor.as_ref();
    let user = actor.and_then(|actor| actor.user.as_ref()).or(event.user.as_ref());
    let by_itself = actor.is_some_and(|actor| actor.invoked_by.is_some());
    principal::vault(user.and_then(|user| user.uid.as_deref()), by_itself, event.source_ip())
}

//! Engine: how unusual an event is for its principal, as a calibrated probability, and what it learns from it.
//!
//! An event is scored before it is learnt, and what is flagged teaches nothing: neither the principal's habits, nor its
//! peers', nor the model. Humans, machines and root have models of their own; root, which is seldom seen, is measured
//! by that of humans until it has one.

use crate::behaviour::{Actor, Behaviour, Table, key};
use crate::entropy::{Limits, Shift};
use crate::features::{self, CATALOG, Calls, Row};
use crate::log2;
use crate::past::Past;
use crate::peers::{Facts, Group, Groups, Profile, Side};
use crate::sighting::Sighting;
use crate::training::{Learner, Lesson, Model, Trained};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Tenants with models of their own; those that come later are judged by rules only.
pub const TENANTS_MAX: usize = 256;
/// Operations more sensitive than this are administration.
const ADMIN_SENSITIVITY: f32 = 0.5;
const DAY_MS: i64 = 86_400_000;
/// Events of a tenant before newcomers stand out: at first everybody is one.
const NEWCOMERS_EVENTS_MIN: u64 = 2_048;
/// At this many events what is known of newcomers is halved.
const NEWCOMERS_EVENTS_MAX: u64 = 1 << 20;
/// Calls of peers that must be known for their silence to mean something.
const PEER_CALLS_MIN: u32 = 128;
/// An operation that one call in 1,024 of the peers is, in bits.
pub(crate) const PEER_BITS_MIN: f32 = 10.0;
/// Events of a tenant between two groupings, whatever their times say: forged times must not keep the groups changing,
/// nor stop them from doing so.
pub const REGROUP_EVENTS_MIN: u32 = 1_024;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Principals whose behaviour is at hand at once; others lie cold.
    pub behaviours_max: usize,
    /// An event less probable than this is a signal, and teaches nothing.
    pub signal_p_value_max: f64,
    /// Of the random choices of training.
    pub seed: u64,
}

impl Default for Config {
    fn default() -> Self {
        Config { behaviours_max: 1_000_000, signal_p_value_max: 1e-3, seed: 1 }
    }
}

/// The models of all tenants, and the behaviour of all principals.
pub struct Engine {
    pub(crate) config: Config,
    limits: Limits,
    settled_min: u32,
    pub(crate) behaviours: Table,
    pub(crate) tenants: BTreeMap<Box<str>, Models>,
}

/// What one tenant's principals are measured by.
pub struct Models {
    pub(crate) learners: [Learner; 3],
    pub(crate) groups: Groups,
    /// Day, since the epoch, on which the groups were made.
    pub(crate) grouped: i64,
    /// Events since then.
    pub(crate) since_grouped: u32,
    pub(crate) newcomers: Newcomers,
}

/// How often a newcomer does what its peers do not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Newcomers {
    /// Of the tenant.
    events: u64,
    /// Newcomers that did.
    strangers: u64,
}

/// One event as the engine sees it, before it is learnt.
#[derive(Clone, Debug)]
pub struct Judged {
    pub key: u128,
    /// Whose model it was measured by.
    pub actor: Actor,
    pub row: Row,
    /// As the past was before the event.
    pub behaviour: Behaviour,
    pub group: Option<Group>,
    /// Peers in that group.
    pub peers: u32,
    /// Score of the forest and its p-value; absent while no model is trained.
    pub unusual: Option<(f32, f64)>,
    /// Of a newcomer this would be strange: a sensitive operation that its peers do not call, nor it itself before. How
    /// probable an event of this tenant is to be that.
    pub strange: Option<f64>,
    /// Nothing of the principal's was flagged before.
    pub is_first_stain: bool,
}

impl Judged {
    pub fn p_value(&self) -> Option<f64> {
        self.unusual.map(|(_, p_value)| p_value)
    }
}

/// What learning an event brought about.
#[derive(Debug, Default)]
pub struct Learnt {
    pub shift: Option<Shift>,
    pub trained: Option<Trained>,
    /// The tenant's peer groups are due.
    pub regroup: bool,
}

impl Engine {
    pub fn new(config: Config, settled_min: u32) -> Self {
        let behaviours = Table::new(config.behaviours_max, settled_min);
        Engine { config, limits: Limits::default(), settled_min, behaviours, tenants: BTreeMap::new() }
    }

    /// Of the table of behaviours: how many, and how many events make a history.
    pub(crate) fn bounds(&self) -> (usize, u32) {
        (self.config.behaviours_max, self.settled_min)
    }

    /// Measures an event against what is known. `profile` is the principal's, without the event.
    pub fn judge(&mut self, seen: &Sighting<'_>, past: &Past, profile: &Profile) -> Judged {
        let key = key(seen.event.tenant(), seen.event.principal());
        let behaviour = *self.behaviours.entry(key, seen.time);
        let models = self.tenants.get(seen.event.tenant());
        let operation = features::inputs::operation(seen);
        let group = models.and_then(|models| models.groups.assign(profile));
        let surprisal = models.map(|models| models.groups.surprisal(side(seen), group, operation));
        let row = features::row(seen, &behaviour, calls(seen, past), surprisal);
        let actor = models.map_or(seen.kind.into(), |models| models.measures(seen.kind.into()));
        let unusual = models.and_then(|models| models.model(actor)).map(|model| {
            let score = model.score(&row.values);
            (score, model.p_value(seen.event.class_uid, score))
        });
        let strange = models.and_then(|models| models.strange(seen, past, &row));
        let peers = models.zip(group).map_or(0, |(models, group)| models.groups.members(group));
        Judged {
            key,
            actor,
            row,
            behaviour,
            group,
            peers,
            unusual,
            strange,
            is_first_stain: past.is_spotless(),
        }
    }

    /// Takes the event in. `flagged`: something spoke against it. `young`: so little is known of the principal that its
    /// row says more about that than about the event; no model learns from it.
    pub fn learn(
        &mut self,
        seen: &Sighting<'_>,
        judged: &Judged,
        profile: &mut Profile,
        (flagged, young): (bool, bool),
    ) -> Learnt {
        let behaviour = self.behaviours.entry(judged.key, seen.time);
        let shift = behaviour.learn(seen, &judged.row, flagged, &self.limits);
        if let Some(p_value) = judged.p_value() {
            behaviour.set_p_value(p_value);
        }
        let flagged = flagged || shift.is_some();
        let mut learnt = Learnt { shift, ..Learnt::default() };
        let tenant = seen.event.tenant();
        if !self.tenants.contains_key(tenant) {
            if self.tenants.len() >= TENANTS_MAX {
                return learnt;
            }
            self.tenants.insert(tenant.into(), Models::new(self.config.seed));
        }
        let Some(models) = self.tenants.get_mut(tenant) else { return learnt };
        if !flagged {
            models.groups.learn(profile, judged.group, features::inputs::operation(seen));
        }
        profile.side = side(seen);
        profile.learn(&facts(seen, &judged.row, flagged));
        let lesson = Lesson {
            row: judged.row.values,
            class_uid: seen.event.class_uid,
            principal: judged.key as u64,
            event: seen.event.prunella.event_uid,
            time: seen.time,
            score: judged.unusual.map(|(score, _)| score),
            is_flagged: flagged,
        };
        if !young {
            learnt.trained = models.learners[at(seen.kind.into())].observe(&lesson);
        }
        // Counted once of each, or one would speak for many.
        models.newcomers.count(young && judged.strange.is_some() && judged.is_first_stain);
        models.since_grouped = models.since_grouped.saturating_add(1);
        let today = seen.time.0.div_euclid(DAY_MS);
        let is_due = today != models.grouped && models.since_grouped >= REGROUP_EVENTS_MIN;
        learnt.regroup = is_due && models.is_trained();
        if learnt.regroup {
            (models.grouped, models.since_grouped) = (today, 0);
        }
        learnt
    }

    /// Makes a tenant's peer groups anew. Where that fails the old ones stay.
    pub fn regroup<'a>(&mut self, tenant: &str, profiles: impl Iterator<Item = (u64, &'a Profile)>) {
        if let Some(models) = self.tenants.get_mut(tenant) {
            // The only failure is a clustering that does not converge; yesterday's groups serve for another day.
            let _ = models.groups.regroup(profiles);
        }
    }

    /// Trains every model on what it has kept, now. How many there are then: one that is refused, or has too few rows to
    /// be trained on, leaves the one before.
    pub fn train(&mut self) -> usize {
        let learners = self.tenants.values_mut().flat_map(|models| &mut models.learners);
        let trained = learners.filter_map(|learner| {
            let _ = learner.train_on([]);
            learner.model()
        });
        trained.count()
    }

    /// The model that such an event is measured by.
    pub fn model(&self, seen: &Sighting<'_>) -> Option<&Model> {
        self.tenants.get(seen.event.tenant())?.model(seen.kind.into())
    }
}

impl Models {
    pub(crate) fn new(seed: u64) -> Self {
        let names = names();
        let learner = |actor: u64| Learner::new(&names, seed ^ actor << 32);
        Models {
            learners: [learner(0), learner(1), learner(2)],
            groups: Groups::default(),
            grouped: i64::MIN,
            since_grouped: 0,
            newcomers: Newcomers::default(),
        }
    }

    fn strange(&self, seen: &Sighting<'_>, past: &Past, row: &Row) -> Option<f64> {
        let is_strange = !seen.by_service
            && row.values[features::SENSITIVITY] > ADMIN_SENSITIVITY
            && row.values[features::PEERS] >= PEER_BITS_MIN
            && self.groups.calls(side(seen)) >= PEER_CALLS_MIN
            && past.operations.count(seen.operation_key) == 0;
        is_strange.then(|| self.newcomers.p_value()).flatten()
    }

    /// Whose model measures such an actor.
    fn measures(&self, actor: Actor) -> Actor {
        let is_alone = actor == Actor::Root && self.learners[at(actor)].model().is_none();
        if is_alone { Actor::Human } else { actor }
    }

    fn model(&self, actor: Actor) -> Option<&Model> {
        self.learners[at(self.measures(actor))].model()
    }

    fn is_trained(&self) -> bool {
        self.learners.iter().any(|learner| learner.model().is_some())
    }
}

impl Newcomers {
    /// As of a conformal test: the share of events so far, with the one at hand.
    fn p_value(&self) -> Option<f64> {
        let is_known = self.events >= NEWCOMERS_EVENTS_MIN;
        is_known.then(|| (self.strangers + 1) as f64 / (self.events + 1) as f64)
    }

    fn count(&mut self, is_stranger: bool) {
        if self.events >= NEWCOMERS_EVENTS_MAX {
            (self.events, self.strangers) = (self.events / 2, self.strangers / 2);
        }
        self.events += 1;
        self.strangers += u64::from(is_stranger);
    }
}

pub(crate) fn names() -> Vec<&'static str> {
    CATALOG.iter().map(|feature| feature.name).collect()
}

fn at(actor: Actor) -> usize {
    match actor {
        Actor::Human => 0,
        Actor::Service => 1,
        Actor::Root => 2,
    }
}

/// The whole past knows better than the last calls what is rare: a thousand calls make the first of its kind stand out.
fn calls(seen: &Sighting<'_>, past: &Past) -> Calls {
    Calls { of_this: u64::from(past.calls(seen.operation_key, seen.time)), of_all: past.events }
}

fn side(seen: &Sighting<'_>) -> Side {
    seen.kind.into()
}

fn facts(seen: &Sighting<'_>, row: &Row, flagged: bool) -> Facts {
    let bytes = features::inputs::bytes(seen).unwrap_or_default();
    Facts {
        service: crate::network::fingerprint(seen.service.as_bytes()),
        operation: features::inputs::operation(seen),
        hour: seen.time.hour(),
        bytes_log2: log2::to_f32(i64::from(log2::log2_1p(bytes))),
        failed: seen.event.failed(),
        admin: row.values[features::SENSITIVITY] > ADMIN_SENSITIVITY,
        flagged,
    }
}

/// The kind of principal whose model measured it, for the passport.
pub(crate) fn actor_name(actor: Actor) -> &'static str {
    match actor {
        Actor::Human => "human",
        Actor::Service => "machine",
        Actor::Root => "root",
    }
}

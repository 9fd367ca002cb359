//! The stage: scores, signals and findings in, ordered anew; findings out.

use super::Config;
use super::held::Place;
use super::suspect::{Candidate, Source, Subject, is_entropy, looked_at_by};
use super::view::{Counts, Item, View};
use super::words;
use crate::window::clip;
use prunella_schemas::limits::FUTURE_MS_MAX;
use prunella_schemas::message::WireError;
use prunella_schemas::stage::SnapshotError;
use prunella_schemas::{
    Command, Delivered, Finding, Id, Inbound, Message, Outbox, Score, Signal, SignalKind, Stage, Tenant,
    Timestamp, Topic,
};
use std::collections::BTreeMap;

/// Tenants remembered at once; beyond it the one unheard of for longest goes first.
pub const TENANTS_MAX: usize = 256;
/// Version of the snapshot. A build reads its own only; the shell then replays.
const SNAPSHOT_VERSION: u32 = 2;
const NAME: &str = "correlate";
/// No input is held longer than this, whatever the configuration says.
const HOLD_MS_MAX: i64 = 10_000;
/// Longest text kept of a signal or finding, in bytes.
const TEXT_BYTES_MAX: usize = 512;
/// Longest proposal kept, in bytes; a longer one is only a witness.
const PROPOSAL_BYTES_MAX: usize = 256 * 1024;
/// OCSF `analytic.type_id` of what was learnt. It is what proposals say, and no second opinion on one.
const LEARNING: u8 = 4;

/// What the stage reads.
#[derive(Clone, Debug)]
pub enum Input {
    Score(Score),
    Signal(Box<Signal>),
    Finding(Box<Finding>),
    Command(Box<Command>),
}

impl Inbound for Input {
    const TOPICS: &'static [Topic] = &[Topic::Scores, Topic::Signals, Topic::Findings, Topic::Commands];

    fn decode(topic: Topic, version: u8, bytes: &[u8]) -> Result<Self, WireError> {
        match topic {
            Topic::Scores => <Score as Message>::decode(version, bytes).map(Input::Score),
            Topic::Signals => <Signal as Message>::decode(version, bytes).map(|s| Input::Signal(Box::new(s))),
            Topic::Findings => {
                <Finding as Message>::decode(version, bytes).map(|f| Input::Finding(Box::new(f)))
            }
            Topic::Commands => {
                <Command as Message>::decode(version, bytes).map(|c| Input::Command(Box::new(c)))
            }
            other => {
                let detail = "the tenant's view does not read this topic".to_owned();
                Err(WireError::Malformed { topic: other.name(), detail })
            }
        }
    }

    fn id(&self) -> Id {
        match self {
            Input::Score(score) => Message::id(score),
            Input::Signal(signal) => Message::id(signal.as_ref()),
            Input::Finding(finding) => Message::id(finding.as_ref()),
            Input::Command(command) => Message::id(command.as_ref()),
        }
    }
}

/// The tenant's view.
pub struct Correlate {
    config: Config,
    /// The latest time at which an input became durable.
    now: Timestamp,
    tenants: BTreeMap<Tenant, View>,
}

impl Correlate {
    pub fn new(mut config: Config) -> Self {
        config.hold_ms = config.hold_ms.clamp(0, HOLD_MS_MAX);
        Correlate { config, now: Timestamp::ZERO, tenants: BTreeMap::new() }
    }

    /// When an input will have waited long enough. Once it has passed, the shell posts a `Command::Tick`.
    pub fn next_due(&self) -> Option<Timestamp> {
        self.tenants.values().filter_map(|view| view.held.next_due(self.config.hold_ms)).min()
    }

    /// What was counted of a tenant.
    pub fn counts(&self, tenant: &Tenant) -> Counts {
        self.tenants.get(tenant).map(|view| view.counts).unwrap_or_default()
    }

    fn observe(&mut self, input: &Delivered<Input>, out: &mut Outbox) {
        let at = match &input.message {
            Input::Command(command) => command.at().min(input.at),
            _ => input.at,
        };
        let is_later = at > self.now;
        if is_later {
            self.now = at;
            let tenants: Vec<Tenant> = self.tenants.keys().cloned().collect();
            tenants.iter().for_each(|tenant| self.drain(tenant, out));
        }
        let Some((tenant, place, item)) = self.sort(&input.message) else { return };
        if !self.tenants.contains_key(&tenant) && self.tenants.len() >= TENANTS_MAX {
            self.dismiss(out);
        }
        let view = self.tenants.entry(tenant.clone()).or_default();
        view.heard = self.now;
        view.held.put(place, (input.origin, item), self.now);
        // What became durable at one instant may be of one step of `detect`, topic by topic: it is looked at together.
        if is_later || view.held.is_full() {
            self.drain(&tenant, out);
        }
    }

    /// Processes what of a tenant has waited long enough.
    fn drain(&mut self, tenant: &Tenant, out: &mut Outbox) {
        let Some(view) = self.tenants.get_mut(tenant) else { return };
        while let Some((place, (origin, item))) =
            view.held.take(self.now, self.config.lateness_ms, self.config.hold_ms)
        {
            post(view.take(tenant, place, origin, item, &self.config), out);
        }
    }

    /// Forgets the tenant unheard of for longest, after it has had its say.
    fn dismiss(&mut self, out: &mut Outbox) {
        let longest =
            self.tenants.iter().min_by_key(|(_, view)| view.heard).map(|(tenant, _)| tenant.clone());
        let Some((tenant, mut view)) = longest.and_then(|tenant| self.tenants.remove_entry(&tenant)) else {
            return;
        };
        while let Some((place, (origin, item))) = view.held.take_any() {
            post(view.take(&tenant, place, origin, item, &self.config), out);
        }
    }

    /// Where an input belongs, and what is kept of it. `None`: nothing.
    fn sort(&self, input: &Input) -> Option<(Tenant, Place, Item)> {
        // A clock that runs ahead must not carry the watermark along.
        let time = |time: Timestamp| time.min(self.now.plus_ms(FUTURE_MS_MAX));
        match input {
            Input::Score(score) => {
                let is_test = score.p_value.is_some_and(f64::is_finite);
                let item =
                    Item::Score { operation: score.operation, tier_change: score.tier_change, is_test };
                let message = Message::id(score);
                let place = Place { time: time(score.time), rank: 0, event: score.event_uid, message };
                Some((score.tenant.clone(), place, item))
            }
            Input::Signal(signal) => {
                let item = self.signal(signal, time(signal.time))?;
                let is_proposal = matches!(&item, Item::Candidate { candidate, .. } if candidate.subject == Subject::Proposal);
                let rank = if is_proposal { 2 } else { 1 };
                let message = Message::id(signal.as_ref());
                let place = Place { time: time(signal.time), rank, event: signal.event_uid, message };
                Some((signal.tenant.clone(), place, item))
            }
            Input::Finding(finding) => {
                let tenant = Tenant::try_from(finding.tenant().to_owned()).unwrap_or_default();
                let is_own = self.tenants.get(&tenant).is_some_and(|view| view.is_own(finding));
                let uid = finding.prunella.finding_uid;
                let place = Place { time: time(finding.time), rank: 1, event: uid, message: uid };
                (!is_own).then(|| (tenant, place, decision(finding)))
            }
            Input::Command(_) => None,
        }
    }

    /// A candidate for a finding, or a witness for one. Without a small p-value the forest is neither.
    fn signal(&self, signal: &Signal, time: Timestamp) -> Option<Item> {
        let proposal = signal.proposal.as_deref();
        let analysis = proposal.and_then(|finding| finding.prunella.analysis.as_ref());
        let counterfactual = analysis.and_then(|analysis| analysis.counterfactual.as_ref());
        let p_value = signal.p_value.or(analysis.map(|analysis| analysis.p_value));
        let p_value = p_value.filter(|p| p.is_finite()).map(|p| p.clamp(0.0, 1.0));
        let (principal, kind) = (signal.principal.clone(), signal.kind);
        let detail = clip(&signal.detail, TEXT_BYTES_MAX).to_owned();
        let is_entropy = is_entropy(kind);
        let wire = proposal.filter(|_| !is_entropy).map(Message::encode);
        let wire = wire.filter(|bytes| bytes.len() <= PROPOSAL_BYTES_MAX);
        let (subject, severity, analytic) = match (proposal, p_value) {
            _ if is_entropy => {
                let severity = if kind == SignalKind::EntropyRise { words::MEDIUM } else { words::LOW };
                (Subject::Shift, severity, words::entropy_shift().uid.to_string())
            }
            (Some(finding), Some(_)) if wire.is_some() => {
                let analytic = finding.finding_info.analytic.uid.to_string();
                (Subject::Proposal, finding.severity_id, analytic)
            }
            _ => {
                let is_sure = p_value.is_some_and(|p| p < self.config.corroborated_p_value_max);
                let source = Source::Signal(kind);
                let item = Item::Witness { principal, source, detail };
                return (kind != SignalKind::Forest || is_sure).then_some(item);
            }
        };
        let candidate = Candidate {
            subject,
            kind,
            p_value: p_value.unwrap_or(1.0),
            severity,
            time,
            event: signal.event_uid,
            analytic,
            detail,
            rests_on: counterfactual.and_then(|change| looked_at_by(&change.features)),
            evidence: proposal.map(|finding| words::evidence_of(finding, signal.event_uid)),
            proposal: wire.unwrap_or_default(),
        };
        Some(Item::Candidate { principal, candidate: Box::new(candidate) })
    }
}

impl Stage for Correlate {
    type In = Input;

    fn name(&self) -> &'static str {
        NAME
    }

    fn step(&mut self, batch: &[Delivered<Input>], out: &mut Outbox) {
        batch.iter().for_each(|input| self.observe(input, out));
    }

    fn save(&self) -> Vec<u8> {
        let mut bytes = SNAPSHOT_VERSION.to_le_bytes().to_vec();
        // Plain data with lengths known beforehand, which postcard cannot fail on.
        bytes.extend(postcard::to_stdvec(&(self.now, &self.tenants)).unwrap_or_default());
        bytes
    }

    fn restore(&mut self, snapshot: &[u8]) -> Result<(), SnapshotError> {
        let corrupt = |detail: &str| SnapshotError::Corrupt { stage: NAME, detail: detail.to_owned() };
        let (version, rest) = snapshot.split_first_chunk().ok_or_else(|| corrupt("it is too short"))?;
        let version = u32::from_le_bytes(*version);
        if version != SNAPSHOT_VERSION {
            return Err(SnapshotError::Version { stage: NAME, version, expected: SNAPSHOT_VERSION });
        }
        match postcard::take_from_bytes(rest) {
            Ok(((now, tenants), [])) => (self.now, self.tenants) = (now, tenants),
            Ok(_) => return Err(corrupt("it goes on after its end")),
            Err(e) => return Err(corrupt(&e.to_string())),
        }
        Ok(())
    }
}

fn decision(finding: &Finding) -> Item {
    let analytic = &finding.finding_info.analytic;
    let own = [words::entropy_shift().uid, words::tenant_entropy_shift().uid];
    Item::Decision {
        principal: finding.principal().to_owned(),
        analytic: clip(&analytic.uid, TEXT_BYTES_MAX).to_owned(),
        severity: finding.severity_id,
        is_rule: analytic.type_id != LEARNING && !own.contains(&analytic.uid),
        detail: clip(&finding.finding_info.title, TEXT_BYTES_MAX).to_owned(),
        event: finding.prunella.evidence.last().copied().unwrap_or_default(),
    }
}

fn post(said: Vec<(Timestamp, Finding)>, out: &mut Outbox) {
    for (origin, finding) in said {
        out.originating(origin);
        out.push(&finding);
    }
}

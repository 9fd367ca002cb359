//! Access: who a request comes from, and whether it may do what it asks. Nothing is remembered from one request to the next.

use crate::Error;
use crate::accounts::{self, Session, UserRow};
use crate::clock::random_id;
use crate::event::Audit;
use crate::policy::Operation;
use crate::service::Vault;
use axum::extract::{ConnectInfo, FromRequestParts};
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use prunella_schemas::Timestamp;
use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// Header by which a client shows the device token that an earlier log-in gave it.
pub(crate) const DEVICE_HEADER: &str = "x-vault-device";
/// How long a proof by password counts as fresh, in milliseconds.
pub const FRESH_MS: i64 = 5 * 60 * 1_000;
/// Signals that together ask for a step-up; each has its weight below.
const STEP_UP_SCORE: u32 = 50;
const OTHER_NETWORK: u32 = 30;
const OTHER_DEVICE: u32 = 50;
const FAILED_LOGINS: u32 = 20;
/// Failed log-ins to the account, within the window of the throttle, that count as a signal.
const FAILED_LOGINS_MIN: i64 = 3;
/// Longest value of a header that is kept, in bytes.
const HEADER_BYTES_MAX: usize = 256;

/// The name of a request: on its answer, and in what is written about it.
#[derive(Clone, Debug)]
pub(crate) struct RequestId(pub String);

/// Where a request comes from.
#[derive(Clone, Debug)]
pub(crate) struct Origin {
    pub ip: IpAddr,
    pub agent: Option<String>,
    pub device: Option<String>,
    pub request: String,
    /// The vault itself acts, by its schedule or for the response.
    pub is_own: bool,
    bearer: Option<String>,
}

impl Origin {
    /// The vault itself, when nobody asks.
    pub(crate) fn own() -> Self {
        let ip = IpAddr::V4(Ipv4Addr::LOCALHOST);
        Origin { ip, agent: None, device: None, request: random_id(), is_own: true, bearer: None }
    }

    /// The network: 24 bits of IPv4, 48 of IPv6, so that a moving lease is no stranger.
    pub(crate) fn network(&self) -> String {
        match self.ip.to_canonical() {
            IpAddr::V4(ip) => {
                let [a, b, c, _] = ip.octets();
                format!("{a}.{b}.{c}.0/24")
            }
            IpAddr::V6(ip) => {
                let [a, b, c, ..] = ip.segments();
                format!("{a:x}:{b:x}:{c:x}::/48")
            }
        }
    }
}

impl<S: Sync> FromRequestParts<S> for Origin {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let peer = parts.extensions.get::<ConnectInfo<SocketAddr>>();
        let bearer = text(&parts.headers, header::AUTHORIZATION.as_str(), usize::MAX)
            .and_then(|value| {
                value.split_once(' ').map(|(scheme, token)| (scheme.to_owned(), token.trim().to_owned()))
            })
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
        Ok(Origin {
            ip: peer.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |ConnectInfo(peer)| peer.ip()),
            agent: text(&parts.headers, header::USER_AGENT.as_str(), HEADER_BYTES_MAX),
            device: text(&parts.headers, DEVICE_HEADER, HEADER_BYTES_MAX),
            request: parts.extensions.get::<RequestId>().map_or_else(random_id, |id| id.0.clone()),
            is_own: false,
            bearer: bearer.map(|(_, token)| token),
        })
    }
}

fn text(headers: &HeaderMap, name: &str, bytes_max: usize) -> Option<String> {
    headers.get(name)?.to_str().ok().filter(|value| value.len() <= bytes_max).map(str::to_owned)
}

/// Somebody whose token, session, account and device were checked for this very request.
#[derive(Clone)]
pub(crate) struct Caller {
    pub user: UserRow,
    pub session: Session,
    /// When the password was last proven.
    authenticated: Timestamp,
    /// What the signals of this request add up to.
    score: u32,
}

impl Caller {
    pub(crate) fn is(&self, user: &str) -> bool {
        self.user.id == user
    }

    fn is_fresh(&self, now: Timestamp) -> bool {
        now.since_ms(self.authenticated) < FRESH_MS
    }
}

impl Vault {
    /// Proves the caller, then asks the policy whether this role may do it at all. Whose things it may do it to is asked
    /// where that is known. What is learnt on the way goes into the audit.
    pub(crate) async fn admit(&self, audit: &mut Audit) -> Result<Caller, Error> {
        let caller = self.prove(audit).await?;
        let role = caller.user.role;
        if ![true, false].iter().any(|is_own| self.policy.allows(audit.operation, role, *is_own)) {
            return Err(Error::Forbidden);
        }
        let now = self.now();
        let wants_proof = self.policy.wants_fresh(audit.operation) || caller.score >= STEP_UP_SCORE;
        if wants_proof && !caller.is_fresh(now) {
            return Err(Error::StepUp);
        }
        Ok(caller)
    }

    /// What a file of this tier asks of its caller beyond the token.
    pub(crate) fn admit_to_tier(&self, caller: &Caller, is_high: bool) -> Result<(), Error> {
        if is_high && !caller.is_fresh(self.now()) { Err(Error::StepUp) } else { Ok(()) }
    }

    /// Whether the policy lets the caller do this to something of `owner`.
    pub(crate) fn may(&self, caller: &Caller, operation: Operation, owner: &str) -> bool {
        self.policy.allows(operation, caller.user.role, caller.is(owner))
    }

    async fn prove(&self, audit: &mut Audit) -> Result<Caller, Error> {
        let refused = Error::Unauthenticated;
        let now = self.now();
        let token = audit.origin.bearer.as_deref().ok_or(refused.clone())?;
        let claims = self.tokens.verify(token, now)?;
        // From here on it is known whose token it is, also when it no longer counts.
        audit.session = Some((claims.sid.clone(), None));
        let user = accounts::by_id(&self.db, &claims.sub).await?.ok_or(refused.clone())?;
        audit.user = Some((user.id.clone(), user.name.clone()));
        audit.device = self.devices.shown(&audit.origin, &user.id);
        let session = accounts::session(&self.db, &claims.sid).await?.ok_or(refused.clone())?;
        audit.session = Some((session.id.clone(), Some(Timestamp(session.created))));
        let counts = claims.tv == user.token_version
            && session.user == user.id
            && session.ended == 0
            && session.expires > now.0
            && session.refused_until <= now.0
            && !user.is_locked(now);
        if !counts {
            return Err(refused);
        }
        let authenticated = Timestamp(session.authenticated);
        if authenticated.0 < user.step_up_since {
            return Err(Error::StepUp);
        }
        let score = self.score(audit, &user, &session).await?;
        Ok(Caller { user, session, authenticated, score })
    }

    /// Signals of this request: none refuses by itself, and enough of them ask for a proof.
    async fn score(&self, audit: &Audit, user: &UserRow, session: &Session) -> Result<u32, Error> {
        let mut score = 0;
        if audit.origin.network() != session.network {
            score += OTHER_NETWORK;
        }
        if audit.device.as_deref() != Some(session.device.as_str()) {
            score += OTHER_DEVICE;
        }
        if score > 0 && self.throttle.failures(&self.db, &user.name, self.now()).await? >= FAILED_LOGINS_MIN {
            score += FAILED_LOGINS;
        }
        Ok(score)
    }

    /// Writes a refusal down, unless there were too many like it, and hands it on. What cannot be written down is said to
    /// the log, and refused all the same.
    pub(crate) async fn settle<T>(&self, audit: &Audit, result: Result<T, Error>) -> Result<T, Error> {
        let session = audit.session.as_ref().map(|(session, _)| session.as_str());
        if let Err(error) = &result
            && let Some(left_out) = self.refusals.admit(&audit.origin, session, self.now())
        {
            let mut audit = audit.clone();
            if left_out > 0 {
                audit.note.push(("refusals_left_out", left_out.to_string()));
            }
            let written = async {
                let mut tx = self.db.begin().await?;
                audit.refused(&mut tx, error, self.now()).await?;
                tx.commit().await.map_err(Error::from)
            };
            match written.await {
                Ok(()) => self.posted.notify_one(),
                Err(lost) => {
                    tracing::error!(%lost, operation = audit.operation.name(), "a refusal was not recorded");
                }
            }
        }
        result
    }

    /// Writes down that something happened which changed nothing, and waits until that is durable.
    pub(crate) async fn record(&self, audit: &Audit) -> Result<(), Error> {
        let mut tx = self.db.begin().await?;
        audit.done(&mut tx, self.now()).await?;
        tx.commit().await?;
        self.posted.notify_one();
        Ok(())
    }
}

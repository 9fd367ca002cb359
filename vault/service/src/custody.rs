//! Custody: the gate of each file over independent stores, renewed so that a crash at any point leaves one readable epoch.
//!
//! The order, everywhere: reserve an epoch nobody else will have, together with a fence (`attempts`); write envelope and
//! parts beside the old ones; read them back; commit in one transaction that passes the fence; erase what was replaced
//! after a grace. Reservation alone and fencing alone lose data: two attempts mix parts of one epoch, or the janitor
//! deletes what then commits.

use crate::Error;
use crate::clock::{Clock, chance};
use crate::db::{Database, Tx};
use crate::files::FileRow;
use crate::keyring::KeyService;
use crate::objects::{Key, Kind, ObjectStore};
use crate::outbox;
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use futures_util::future::{join_all, try_join_all};
use prunella_vault_crypto::FileId;
use prunella_vault_crypto::gate::{self, Domain, Epoch, Point, Tier};
use prunella_vault_crypto::identity::PublicKey;
use serde_json::json;
use sqlx::Row;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use zeroize::Zeroizing;

pub(crate) const ACTIVE: &str = "active";
pub(crate) const COMMITTED: &str = "committed";
/// Another epoch took its place, or the file is deleted: to be erased after the grace.
pub(crate) const REPLACED: &str = "replaced";
pub(crate) const ABORTED: &str = "aborted";
pub(crate) const ERASED: &str = "erased";

/// Most files for which points wait.
const DEPOSITS_MAX: usize = 1_024;
/// How long they wait, in milliseconds.
const DEPOSIT_MS: i64 = 15 * 60_000;

/// The holder of the database's own part.
const DATABASE: &str = "database";

/// How far a change of custody has come; tests end the process there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    Reserved,
    PartsWritten,
    EnvelopeWritten,
    ReadBack,
    Committed,
    PartsErased,
    Erased,
}

impl Step {
    pub const ALL: [Step; 7] = [
        Step::Reserved,
        Step::PartsWritten,
        Step::EnvelopeWritten,
        Step::ReadBack,
        Step::Committed,
        Step::PartsErased,
        Step::Erased,
    ];
}

/// Told of each step of each change.
pub type OnStep = Arc<dyn Fn(Step) + Send + Sync>;

/// Places with credentials of their own.
#[derive(Clone)]
pub(crate) struct Stores {
    /// Bodies, envelopes and the parts of the object store.
    pub objects: Arc<dyn ObjectStore>,
    /// Bodies of the class STANDARD_IA.
    pub rare: Arc<dyn ObjectStore>,
    /// Parts under the second key service.
    pub service: Arc<dyn ObjectStore>,
    pub approver: Arc<dyn ObjectStore>,
    /// Parts sealed to the recovery key, which is offline.
    pub cold: Arc<dyn ObjectStore>,
}

pub(crate) struct Custody {
    pub db: Database,
    pub stores: Stores,
    pub first: Arc<dyn KeyService>,
    pub second: Arc<dyn KeyService>,
    pub cold: PublicKey,
    pub approver: PublicKey,
    pub clock: Clock,
    pub on_step: OnStep,
    /// Points of offline parts that wait for the user's, in memory only.
    pub deposits: Mutex<BTreeMap<(FileId, u64), Deposit>>,
}

/// Points that an admin has brought for a file that takes its user too.
pub(crate) struct Deposit {
    until: i64,
    points: Vec<(Domain, Zeroizing<[u8; 32]>)>,
}

/// Everybody to whom the user's part is sealed.
pub(crate) struct Readers {
    /// As of when: what ended later does not show in the epoch that is split for them.
    pub since: i64,
    pub all: Vec<Reader>,
}

pub(crate) struct Reader {
    pub user: String,
    pub key: PublicKey,
}

/// An epoch that is written and proven, and that nothing names yet.
pub(crate) struct Attempt {
    pub at: Epoch,
    pub base: u64,
    /// What was asked for after this is not in it.
    since: i64,
}

impl Custody {
    /// Opens the gate with the parts of our own domains and those the caller brought.
    pub(crate) async fn open(
        &self,
        file: &FileRow,
        brought: Vec<Point>,
    ) -> Result<Zeroizing<Vec<u8>>, Error> {
        let at = file.at();
        let own = [Domain::Objects, Domain::Database, Domain::Service];
        let wanted = own.into_iter().filter(|domain| at.tier.domains().contains(domain));
        let fetched = join_all(wanted.map(|domain| self.point(at, domain))).await;
        let mut points = brought;
        points.extend(fetched.into_iter().flatten());
        // What was brought offline is proven by no one yet: it is asked only where it is needed.
        for point in self.deposited(at) {
            let is_missing = points.iter().all(|other| other.domain() != point.domain());
            if is_missing && points.len() < at.tier.threshold() {
                points.push(point);
            }
        }
        let envelope =
            self.stores.objects.get(key(Kind::Envelope, at)).await?.ok_or(Error::Corrupt("the envelope"))?;
        if points.len() < at.tier.threshold() {
            return Err(Error::Unavailable("enough parts of the file's key"));
        }
        gate::open(&envelope, at, &points).map_err(|_| Error::Corrupt("the envelope, or a part of its key,"))
    }

    /// Keeps points for the next opening of this epoch, for a quarter of an hour.
    pub(crate) fn deposit(&self, at: Epoch, points: &[Point]) {
        let now = (self.clock)().0;
        let mut deposits = self.deposits.lock().unwrap_or_else(PoisonError::into_inner);
        deposits.retain(|_, deposit| deposit.until > now);
        if deposits.len() < DEPOSITS_MAX {
            let points =
                points.iter().map(|point| (point.domain(), Zeroizing::new(*point.expose()))).collect();
            deposits.insert((at.file, at.epoch), Deposit { until: now + DEPOSIT_MS, points });
        }
    }

    fn deposited(&self, at: Epoch) -> Vec<Point> {
        let now = (self.clock)().0;
        let deposits = self.deposits.lock().unwrap_or_else(PoisonError::into_inner);
        let deposit = deposits.get(&(at.file, at.epoch)).filter(|deposit| deposit.until > now);
        let points = deposit.into_iter().flat_map(|deposit| &deposit.points);
        points.filter_map(|(domain, value)| Point::from_bytes(at, *domain, value.clone()).ok()).collect()
    }

    /// Writes a new epoch and proves that it opens. `base` is the epoch it shall replace, 0 for a new file.
    pub(crate) async fn prepare(
        &self,
        file: FileId,
        base: u64,
        tier: Tier,
        inner: &[u8],
        readers: &Readers,
    ) -> Result<Attempt, Error> {
        let epoch = self.reserve(file, base, tier).await?;
        (self.on_step)(Step::Reserved);
        let attempt = Attempt { at: Epoch { file, epoch, tier }, base, since: readers.since };
        match self.write(attempt.at, inner, &readers.all).await {
            Ok(()) => Ok(attempt),
            Err(error) => {
                self.give_up(&attempt).await;
                Err(error)
            }
        }
    }

    /// Passes the fence and makes the epoch that of the file, in the caller's transaction.
    pub(crate) async fn commit(&self, tx: &mut Tx, attempt: &Attempt) -> Result<(), Error> {
        let now = (self.clock)().0;
        let (file, epoch) = (hex::encode(attempt.at.file.0), attempt.at.epoch as i64);
        let passed = sqlx::query(
            "UPDATE attempts SET state = $1, settled = $2 WHERE file = $3 AND epoch = $4 AND state = $5",
        )
        .bind(COMMITTED)
        .bind(now)
        .bind(&file)
        .bind(epoch)
        .bind(ACTIVE)
        .execute(&mut **tx)
        .await?;
        let moved = sqlx::query(
            "UPDATE files SET epoch = $1, tier_since = CASE WHEN tier = $2 THEN tier_since ELSE $3 END, tier = $2,
                              epoch_since = $6, changed = $3
             WHERE id = $4 AND epoch = $5 AND erased = 0",
        )
        .bind(epoch)
        .bind(attempt.at.tier as i64)
        .bind(now)
        .bind(&file)
        .bind(attempt.base as i64)
        .bind(attempt.since)
        .execute(&mut **tx)
        .await?;
        replace(tx, &file, attempt.base as i64, now).await?;
        if passed.rows_affected() != 1 || moved.rows_affected() != 1 {
            return Err(Error::Conflict("the file was changed meanwhile: read it again"));
        }
        note(tx, attempt.at, attempt.base, "commit", now).await
    }

    /// Reserves an epoch for a body that is moved; the gate stays what it is.
    pub(crate) async fn reserve_body(&self, file: &FileRow) -> Result<Attempt, Error> {
        let since = (self.clock)().0;
        let epoch = self.reserve(file.id, file.epoch, file.tier).await?;
        Ok(Attempt { at: Epoch { epoch, ..file.at() }, base: file.epoch, since })
    }

    /// Passes the fence for a body alone: of its epoch there is nothing else, as of one that was erased but for its body.
    pub(crate) async fn commit_body(&self, tx: &mut Tx, attempt: &Attempt) -> Result<(), Error> {
        let now = (self.clock)().0;
        let passed = sqlx::query(
            "UPDATE attempts SET state = $1, settled = $2 WHERE file = $3 AND epoch = $4 AND state = $5",
        );
        let passed = passed.bind(ERASED).bind(now).bind(hex::encode(attempt.at.file.0));
        let passed = passed.bind(attempt.at.epoch as i64).bind(ACTIVE).execute(&mut **tx).await?;
        if passed.rows_affected() != 1 {
            return Err(Error::Conflict("the move took too long: try again"));
        }
        note(tx, attempt.at, attempt.base, "body", now).await
    }

    /// To be called once the caller's transaction is durable.
    pub(crate) fn committed(&self) {
        (self.on_step)(Step::Committed);
    }

    /// Takes an attempt back that did not commit. What cannot be deleted now the janitor deletes.
    pub(crate) async fn give_up(&self, attempt: &Attempt) {
        let aborted = self.abort(attempt.at.file, attempt.at.epoch).await;
        if matches!(aborted, Ok(true))
            && self.erase(attempt.at.file, attempt.at.epoch, ABORTED).await.is_err()
        {
            tracing::warn!(epoch = attempt.at.epoch, "an attempt is left to the janitor");
        }
    }

    /// Closes the fence; false when the attempt has committed or was aborted before.
    pub(crate) async fn abort(&self, file: FileId, epoch: u64) -> Result<bool, Error> {
        let done = sqlx::query(
            "UPDATE attempts SET state = $1, settled = $2 WHERE file = $3 AND epoch = $4 AND state = $5",
        )
        .bind(ABORTED)
        .bind((self.clock)().0)
        .bind(hex::encode(file.0))
        .bind(epoch as i64)
        .bind(ACTIVE)
        .execute(self.db.pool())
        .await?;
        Ok(done.rows_affected() == 1)
    }

    /// Deletes envelope, parts and the body of an epoch that was aborted or replaced. The body stays if the file still
    /// names it. Repeating it is harmless.
    pub(crate) async fn erase(&self, file: FileId, epoch: u64, from: &str) -> Result<(), Error> {
        let id = hex::encode(file.0);
        sqlx::query("DELETE FROM parts WHERE file = $1 AND epoch = $2")
            .bind(&id)
            .bind(epoch as i64)
            .execute(self.db.pool())
            .await?;
        let Stores { objects, rare, service, approver, cold } = &self.stores;
        let at = |kind| Key { kind, file, epoch };
        try_join_all([objects, service, approver, cold].map(|store| store.delete(at(Kind::Part)))).await?;
        (self.on_step)(Step::PartsErased);
        objects.delete(at(Kind::Envelope)).await?;
        let names_body = || {
            let named = sqlx::query("SELECT 1 FROM files WHERE id = $1 AND body_epoch = $2 AND erased = 0");
            named.bind(id.clone()).bind(epoch as i64)
        };
        let is_named = names_body().fetch_optional(self.db.pool()).await?.is_some();
        if !is_named {
            try_join_all([objects, rare].map(|store| store.delete(at(Kind::Body)))).await?;
        }
        let mut tx = self.db.begin().await?;
        let now = (self.clock)().0;
        sqlx::query(
            "UPDATE attempts SET state = $1, settled = $2 WHERE file = $3 AND epoch = $4 AND state = $5",
        )
        .bind(ERASED)
        .bind(now)
        .bind(&id)
        .bind(epoch as i64)
        .bind(from)
        .execute(&mut *tx)
        .await?;
        if is_named && names_body().fetch_optional(&mut *tx).await?.is_none() {
            // The body was given up while the rest went: the epoch stays as it is, and the janitor comes again for the body.
            return Ok(());
        }
        note(&mut tx, Epoch { file, epoch, tier: Tier::Low }, 0, "erased", now).await?;
        tx.commit().await?;
        (self.on_step)(Step::Erased);
        Ok(())
    }

    /// What is sealed from now on is sealed under this version of its domain's key, or a later one.
    async fn keys_since(&self) -> Result<u32, Error> {
        let objects = self.first.newest(Domain::Objects).await?;
        let database = self.first.newest(Domain::Database).await?;
        Ok(objects.min(database).min(self.second.newest(Domain::Service).await?))
    }

    /// The sealed part of a user, for that user.
    pub(crate) async fn part_of_user(&self, file: &FileRow, user: &str) -> Result<Option<String>, Error> {
        let part =
            sqlx::query_scalar("SELECT record FROM parts WHERE file = $1 AND epoch = $2 AND holder = $3");
        let part = part.bind(hex::encode(file.id.0)).bind(file.epoch as i64).bind(format!("user:{user}"));
        Ok(part.fetch_optional(self.db.pool()).await?)
    }

    /// The parts that are sealed to people who are not here, base64.
    pub(crate) async fn offline_parts(&self, file: &FileRow) -> Result<BTreeMap<String, String>, Error> {
        let mut parts = BTreeMap::new();
        for (name, domain, store) in
            [("cold", Domain::Cold, &self.stores.cold), ("approver", Domain::Approver, &self.stores.approver)]
        {
            if file.tier.domains().contains(&domain)
                && let Some(record) = store.get(key(Kind::Part, file.at())).await?
            {
                parts.insert(name.to_owned(), BASE64.encode(record));
            }
        }
        Ok(parts)
    }

    async fn reserve(&self, file: FileId, base: u64, tier: Tier) -> Result<u64, Error> {
        let (id, now) = (hex::encode(file.0), (self.clock)().0);
        let keys_since = self.keys_since().await?;
        let mut tx = self.db.begin().await?;
        let taken = sqlx::query(
            "UPDATE files SET next_epoch = next_epoch + 1 WHERE id = $1 AND epoch = $2 AND erased = 0 RETURNING next_epoch",
        );
        let row = taken.bind(&id).bind(base as i64).fetch_optional(&mut *tx).await?;
        let row = row.ok_or(Error::Conflict("the file was changed meanwhile: read it again"))?;
        let epoch = row.try_get::<i64, _>(0)? - 1;
        let attempt = sqlx::query(
            "INSERT INTO attempts (file, epoch, base_epoch, state, started, settled, keys_since)
             VALUES ($1, $2, $3, $4, $5, 0, $6)",
        );
        let attempt = attempt.bind(&id).bind(epoch).bind(base as i64).bind(ACTIVE).bind(now);
        attempt.bind(i64::from(keys_since)).execute(&mut *tx).await?;
        let at = Epoch { file, epoch: epoch as u64, tier };
        note(&mut tx, at, base, "intent", now).await?;
        tx.commit().await?;
        Ok(epoch as u64)
    }

    async fn write(&self, at: Epoch, inner: &[u8], readers: &[Reader]) -> Result<(), Error> {
        let damaged = |_| Error::Unavailable("the cryptographic library");
        let (envelope, points) = gate::seal(inner, at, &mut chance()).map_err(damaged)?;
        try_join_all(points.iter().map(|point| self.keep(at, point, readers))).await?;
        (self.on_step)(Step::PartsWritten);
        self.stores.objects.put(key(Kind::Envelope, at), envelope).await?;
        (self.on_step)(Step::EnvelopeWritten);
        self.read_back(at, inner, points).await?;
        (self.on_step)(Step::ReadBack);
        Ok(())
    }

    /// Hands a point to the domain that keeps it.
    async fn keep(&self, at: Epoch, point: &Point, readers: &[Reader]) -> Result<(), Error> {
        let sealed_to = |person: &PublicKey| {
            point.seal_to(person, &mut chance()).map_err(|_| Error::Corrupt("a public key"))
        };
        let part = key(Kind::Part, at);
        match point.domain() {
            Domain::Objects => self.stores.objects.put(part, self.first.seal(point).await?).await,
            Domain::Service => self.stores.service.put(part, self.second.seal(point).await?).await,
            Domain::Approver => self.stores.approver.put(part, sealed_to(&self.approver)?).await,
            Domain::Cold => self.stores.cold.put(part, sealed_to(&self.cold)?).await,
            Domain::Database => {
                let record = self.first.seal(point).await?;
                self.keep_in_database(at, &[(DATABASE.to_owned(), record)]).await
            }
            Domain::User => {
                let sealed = |reader: &Reader| Ok((format!("user:{}", reader.user), sealed_to(&reader.key)?));
                let records = readers.iter().map(sealed).collect::<Result<Vec<_>, Error>>()?;
                self.keep_in_database(at, &records).await
            }
        }
    }

    async fn keep_in_database(&self, at: Epoch, records: &[(String, Vec<u8>)]) -> Result<(), Error> {
        let mut tx = self.db.begin().await?;
        for (holder, record) in records {
            sqlx::query("INSERT INTO parts (file, epoch, holder, record) VALUES ($1, $2, $3, $4)")
                .bind(hex::encode(at.file.0))
                .bind(at.epoch as i64)
                .bind(holder)
                .bind(BASE64.encode(record))
                .execute(&mut *tx)
                .await?;
        }
        Ok(tx.commit().await?)
    }

    /// Opens what was written, as a reader would: our own parts from their stores; the user's point, which only the user
    /// can open from there, as it was sealed.
    async fn read_back(&self, at: Epoch, inner: &[u8], points: Vec<Point>) -> Result<(), Error> {
        let unproven = Error::Corrupt("what was just written");
        let own = [Domain::Objects, Domain::Database, Domain::Service];
        let mut read = Vec::new();
        for point in points {
            match point.domain() {
                domain if own.contains(&domain) => {
                    let stored = self.point(at, domain).await.ok_or(unproven.clone())?;
                    if stored.expose() != point.expose() {
                        return Err(unproven);
                    }
                    read.push(stored);
                }
                Domain::User => read.push(point),
                _ => {}
            }
        }
        let envelope = self.stores.objects.get(key(Kind::Envelope, at)).await?.ok_or(unproven.clone())?;
        let opened = gate::open(&envelope, at, &read).map_err(|_| unproven.clone())?;
        if *opened == inner { Ok(()) } else { Err(unproven) }
    }

    /// The point of one of our own domains, or nothing when its store is away, empty or damaged.
    async fn point(&self, at: Epoch, domain: Domain) -> Option<Point> {
        let part = key(Kind::Part, at);
        let (record, keys) = match domain {
            Domain::Objects => (self.stores.objects.get(part).await, &self.first),
            Domain::Service => (self.stores.service.get(part).await, &self.second),
            _ => (self.part_in_database(at).await, &self.first),
        };
        let point = match record {
            Ok(Some(record)) => keys.open(&record, at, domain).await,
            Ok(None) => Err(Error::Missing("part")),
            Err(error) => Err(error),
        };
        point
            .inspect_err(|error| tracing::warn!(?domain, epoch = at.epoch, %error, "a part is not to be had"))
            .ok()
    }

    async fn part_in_database(&self, at: Epoch) -> Result<Option<Vec<u8>>, Error> {
        let part =
            sqlx::query_scalar("SELECT record FROM parts WHERE file = $1 AND epoch = $2 AND holder = $3");
        let part = part.bind(hex::encode(at.file.0)).bind(at.epoch as i64).bind(DATABASE);
        let record: Option<String> = part.fetch_optional(self.db.pool()).await?;
        record.map(|text| BASE64.decode(text).map_err(|_| Error::Corrupt("a part"))).transpose()
    }
}

fn key(kind: Kind, at: Epoch) -> Key {
    Key { kind, file: at.file, epoch: at.epoch }
}

/// Leaves a committed epoch to the janitor.
async fn replace(tx: &mut Tx, file: &str, epoch: i64, now: i64) -> Result<(), Error> {
    let replaced = sqlx::query(
        "UPDATE attempts SET state = $1, settled = $2 WHERE file = $3 AND epoch = $4 AND state = $5",
    );
    let replaced = replaced.bind(REPLACED).bind(now).bind(file).bind(epoch).bind(COMMITTED);
    replaced.execute(&mut **tx).await?;
    Ok(())
}

/// What custody did, for the ledger.
async fn note(tx: &mut Tx, at: Epoch, base: u64, what: &str, now: i64) -> Result<(), Error> {
    let tier = outbox::tier_name(at.tier);
    let mut body = json!({"file": hex::encode(at.file.0), "epoch": at.epoch, "step": what});
    if what != "erased" {
        body["base"] = json!(base);
        body["tier"] = json!(tier);
    }
    outbox::post(tx, outbox::CUSTODY, now, &body).await
}

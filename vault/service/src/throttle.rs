//! Backing off from guesses, so that nobody can lock another out.
//!
//! Failures are counted for an account *as one network tries it*, and for a network over all accounts. A device that has
//! logged in before has a count of its own, so that an attacker behind the same address does not slow its owner down. What
//! comes from this machine is not counted as a network: a proxy here that is not trusted to say who asks would make it one
//! for all.

use crate::Error;
use crate::db::Database;
use prunella_schemas::Timestamp;
use sqlx::Row;

/// Failures that cost nothing: people mistype.
const FREE: i64 = 5;
/// Failures of one network over all accounts that cost nothing.
const FREE_OF_NETWORK: i64 = 50;
/// Longest wait, in milliseconds.
pub const WAIT_MS_MAX: i64 = 15 * 60 * 1_000;
/// A count is forgotten when nothing was added for so long, in milliseconds.
const MEMORY_MS: i64 = 60 * 60 * 1_000;

/// Who tries what.
pub(crate) struct Try<'a> {
    pub account: &'a str,
    pub network: &'a str,
    /// It comes from this very machine: behind a proxy that nobody has said to trust, that is everybody.
    pub is_local: bool,
    /// A device that the account knows.
    pub device: Option<&'a str>,
}

/// A try that was counted: under what, and until when each holds the next one up because of it.
pub(crate) struct Counted(Vec<(String, i64)>);

pub(crate) struct Throttle;

impl Throttle {
    /// Counts a try as a wrong one before its password is looked at, so that many at once are as many as one after the other;
    /// who was right is taken out of the count again. Refused while there is something to wait for, which is not counted; the
    /// answer is the same for accounts that do not exist.
    pub(crate) async fn begin(
        &self,
        db: &Database,
        attempt: &Try<'_>,
        now: Timestamp,
    ) -> Result<Counted, Error> {
        let mut tx = db.begin().await?;
        let mut counted = Vec::new();
        let account = (account_bucket(attempt.account), i64::MAX);
        for (bucket, free) in buckets(attempt).into_iter().chain([account]) {
            let row = sqlx::query(
                "INSERT INTO throttles (bucket, failures, not_before, touched) VALUES ($1, 1, 0, $2)
                 ON CONFLICT (bucket) DO UPDATE SET touched = $2, failures =
                   CASE WHEN throttles.touched < $3 THEN 1 ELSE throttles.failures + 1 END
                 RETURNING failures, not_before",
            );
            let row = row.bind(&bucket).bind(now.0).bind(now.0 - MEMORY_MS).fetch_one(&mut *tx).await?;
            let until: i64 = row.try_get(1)?;
            if until > now.0 {
                // What was counted goes with the transaction.
                return Err(Error::Throttled((until - now.0).div_euclid(1_000) as u64 + 1));
            }
            let wait = wait_ms(row.try_get::<i64, _>(0)?.saturating_sub(free));
            let until = if wait > 0 { now.plus_ms(wait).0 } else { 0 };
            if wait > 0 {
                let set = sqlx::query("UPDATE throttles SET not_before = $1 WHERE bucket = $2");
                set.bind(until).bind(&bucket).execute(&mut *tx).await?;
            }
            counted.push((bucket, until));
        }
        tx.commit().await?;
        Ok(Counted(counted))
    }

    /// Takes a try out of the count: it was no guess. A wait that it had begun ends, unless others have made it longer.
    pub(crate) async fn undo(&self, db: &Database, counted: &Counted) -> Result<(), Error> {
        let mut tx = db.begin().await?;
        for (bucket, until) in &counted.0 {
            let undo = sqlx::query(
                "UPDATE throttles SET failures = CASE WHEN failures > 0 THEN failures - 1 ELSE 0 END,
                        not_before = CASE WHEN not_before = $1 THEN 0 ELSE not_before END WHERE bucket = $2",
            );
            undo.bind(until).bind(bucket).execute(&mut *tx).await?;
        }
        Ok(tx.commit().await?)
    }

    /// Forgets the failures of whoever has just proven the password; the network's own count stays.
    pub(crate) async fn succeeded(
        &self,
        db: &Database,
        attempt: &Try<'_>,
        counted: &Counted,
    ) -> Result<(), Error> {
        self.undo(db, counted).await?;
        let (own, _) = own_bucket(attempt);
        sqlx::query("DELETE FROM throttles WHERE bucket = $1").bind(own).execute(db.pool()).await?;
        Ok(())
    }

    /// Failed log-ins to an account from anywhere in the last hour: a signal, never a lock.
    pub(crate) async fn failures(&self, db: &Database, account: &str, now: Timestamp) -> Result<i64, Error> {
        let count = sqlx::query_scalar("SELECT failures FROM throttles WHERE bucket = $1 AND touched > $2");
        let count =
            count.bind(account_bucket(account)).bind(now.0 - MEMORY_MS).fetch_optional(db.pool()).await?;
        Ok(count.unwrap_or(0))
    }

    /// Deletes what is forgotten.
    pub(crate) async fn sweep(&self, db: &Database, now: Timestamp) -> Result<(), Error> {
        let old = sqlx::query("DELETE FROM throttles WHERE touched < $1 AND not_before < $2");
        old.bind(now.0 - MEMORY_MS).bind(now.0).execute(db.pool()).await?;
        Ok(())
    }
}

/// What a try is counted under, each with the failures that are free.
fn buckets(attempt: &Try<'_>) -> Vec<(String, i64)> {
    match attempt.device {
        Some(_) => vec![own_bucket(attempt)],
        None if attempt.is_local => vec![own_bucket(attempt)],
        None => vec![own_bucket(attempt), (format!("network {}", attempt.network), FREE_OF_NETWORK)],
    }
}

fn own_bucket(attempt: &Try<'_>) -> (String, i64) {
    let account = crate::accounts::digest_of(attempt.account);
    match attempt.device {
        Some(device) => (format!("device {device} {account}"), FREE),
        None => (format!("account {account} {}", attempt.network), FREE),
    }
}

fn account_bucket(account: &str) -> String {
    format!("all {}", crate::accounts::digest_of(account))
}

/// One second after the first failure too many, twice as long after each further one.
fn wait_ms(excess: i64) -> i64 {
    match excess {
        i64::MIN..=0 => 0,
        n => 1_000_i64.checked_shl((n - 1).min(20) as u32).unwrap_or(WAIT_MS_MAX).min(WAIT_MS_MAX),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_a_quarter_of_an_hour() {
        for (excess, want) in [
            (-3, 0),
            (0, 0),
            (1, 1_000),
            (2, 2_000),
            (5, 16_000),
            (10, 512_000),
            (11, WAIT_MS_MAX),
            (i64::MAX, WAIT_MS_MAX),
        ] {
            assert_eq!(wait_ms(excess), want, "{excess}");
        }
    }

    /// Whether a try could begin, without counting it.
    async fn may(db: &Database, attempt: &Try<'_>, now: Timestamp) -> Result<(), Error> {
        let counted = Throttle.begin(db, attempt, now).await?;
        Throttle.undo(db, &counted).await
    }

    #[tokio::test]
    async fn who_guesses_waits_and_the_owner_does_not() {
        let dir = tempfile::tempdir().unwrap();
        let db = Database::embedded(&dir.path().join("db")).await.unwrap();
        let mut now = Timestamp(1_000_000_000);
        let thief = Try { account: "alice", network: "203.0.113.0/24", is_local: false, device: None };
        for _ in 0..40 {
            now = now.plus_ms(WAIT_MS_MAX);
            Throttle.begin(&db, &thief, now).await.unwrap();
        }
        assert_eq!(may(&db, &thief, now).await, Err(Error::Throttled(901)));
        assert_eq!(may(&db, &thief, now.plus_ms(WAIT_MS_MAX)).await, Ok(()));
        let elsewhere = Try { network: "198.51.100.0/24", ..thief };
        let known = Try { device: Some("laptop"), ..thief };
        assert_eq!(may(&db, &elsewhere, now).await, Ok(()), "the owner, from home");
        assert_eq!(may(&db, &known, now).await, Ok(()), "the owner, in the same café");
        assert_eq!(Throttle.failures(&db, "alice", now).await, Ok(40));
        // The same network against other accounts is held up as well, at last.
        let others: Vec<String> = (0..20).map(|number| format!("user {number}")).collect();
        let spray = |account| Try { account, ..thief };
        assert_eq!(may(&db, &spray("bob"), now).await, Ok(()));
        let mut held_up = 0;
        for account in &others {
            held_up += u32::from(Throttle.begin(&db, &spray(account), now).await.is_err());
        }
        assert!(held_up > 0);
        let local = Try { network: "127.0.0.0/24", is_local: true, ..thief };
        for account in (0..100).map(|number| format!("user {number}")) {
            assert!(Throttle.begin(&db, &Try { account: &account, ..local }, now).await.is_ok(), "{account}");
        }
        Throttle.sweep(&db, now.plus_ms(2 * MEMORY_MS)).await.unwrap();
        assert_eq!(Throttle.failures(&db, "alice", now).await, Ok(0));
    }

    #[tokio::test]
    async fn guesses_at_once_are_as_many_as_one_after_the_other() {
        let dir = tempfile::tempdir().unwrap();
        let db = Database::embedded(&dir.path().join("db")).await.unwrap();
        let now = Timestamp(1_000_000_000);
        let guess = Try { account: "alice", network: "203.0.113.0/24", is_local: false, device: None };
        let mut begun = Vec::new();
        for _ in 0..20 {
            // None of them has been told yet whether it was right.
            begun.extend(Throttle.begin(&db, &guess, now).await.ok());
        }
        assert_eq!(begun.len() as i64, FREE + 1);
        assert_eq!(Throttle.failures(&db, "alice", now).await, Ok(FREE + 1), "who must wait is not counted");
        // One of them was right.
        Throttle.succeeded(&db, &guess, &begun.pop().unwrap()).await.unwrap();
        assert_eq!(Throttle.failures(&db, "alice", now).await, Ok(FREE));
        assert_eq!(may(&db, &guess, now).await, Ok(()));
    }
}

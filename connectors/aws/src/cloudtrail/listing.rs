//! Reads a bucket by listing it: branch by branch, in the order of time, with a look-back for what comes late.

use super::digest::Auditor;
use super::layout::{self, Ahead, Branch, LOGS};
use super::object::{Bucket, Fetch, Listed, content_hash};
use super::place::{OWED_MAX, Place, Round};
use super::{body, lock};
use crate::fault::Trouble;
use futures_util::{Stream, StreamExt};
use prunella_schemas::limits::INTAKE_BYTES_MAX;
use prunella_schemas::port::{Clock, Cursor, Page, SourceError};
use prunella_schemas::{Tenant, Timestamp};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

/// Objects of one page.
pub const OBJECTS_MAX: usize = 64;
/// Objects that are fetched at the same time.
const FETCHES_MAX: usize = 8;
/// How long the list of accounts and regions is believed, in milliseconds.
const BRANCHES_MS: i64 = 15 * 60 * 1_000;

pub struct Listing {
    bucket: Bucket,
    tenant: Tenant,
    clock: Clock,
    auditor: Option<Auditor>,
    known: Mutex<Option<(Timestamp, Arc<Vec<Branch>>)>>,
    /// What a listing gave beyond the last page. Only spares asking again: it counts for one place alone.
    tail: Mutex<Option<Tail>>,
}

struct Tail {
    branch: String,
    after: String,
    objects: VecDeque<Listed>,
    more: bool,
}

/// The objects of a page that is being put together.
#[derive(Default)]
struct Wanted {
    objects: Vec<Listed>,
    bytes: u64,
}

impl Wanted {
    fn add(&mut self, object: Listed) {
        self.bytes += object.bytes;
        self.objects.push(object);
    }

    fn is_full(&self) -> bool {
        self.objects.len() >= OBJECTS_MAX || self.bytes >= INTAKE_BYTES_MAX as u64
    }
}

impl Listing {
    pub fn new(bucket: Bucket, tenant: Tenant, clock: Clock, auditor: Option<Auditor>) -> Self {
        Listing { bucket, tenant, clock, auditor, known: Mutex::default(), tail: Mutex::default() }
    }

    pub async fn read(&self, cursor: &Cursor) -> Result<Page, SourceError> {
        let mut place = Place::read(cursor)?;
        let now = (self.clock)();
        let (mut ahead, late_minutes) = (Ahead::of(now), self.bucket.settings.late_hours.saturating_mul(60));
        // Nothing before is expected any more.
        let start = layout::minute(now).saturating_sub(late_minutes).max(self.since()?);
        let lost = place.come_back(ahead.until().max(start), start);
        let branches = self.branches().await?;
        let wanted = self.gather(&mut place, &branches, &mut ahead).await?;
        let fetched = fetch_each(&self.bucket, wanted).collect().await;
        let mut page = Page { caught_up: place.round.is_none(), ..Page::default() };
        page.problems.extend((lost > 0).then(|| {
            format!(
                "the place in {lost} folders stood in the future; they are read again from {}",
                layout::time_of(start)
            )
        }));
        page.problems.extend(ahead.problem());
        self.settle(&mut place, fetched, &mut page)?;
        if let Some(auditor) = self.auditor.as_ref().filter(|_| page.caught_up) {
            let audit = auditor.audit(&self.bucket, &mut place, Ahead::of(now), start).await?;
            page.audited = audit.audited;
            page.problems.extend(audit.problems);
            page.caught_up = !audit.more;
            let found =
                audit.found.into_iter().map(|(key, fetch)| body(&self.bucket, &self.tenant, &key, fetch));
            page.bodies.extend(found);
        }
        place.forget(late_minutes, layout::minute(now));
        page.next = place.cursor();
        Ok(page)
    }

    fn since(&self) -> Result<u32, SourceError> {
        Ok(self.bucket.settings.since()?.map_or(0, layout::minute))
    }

    /// Believed for a while: an account or region that is new is found later, none of its objects is lost.
    async fn branches(&self) -> Result<Arc<Vec<Branch>>, SourceError> {
        let now = (self.clock)();
        if let Some((since, branches)) = &*lock(&self.known)
            && (0..BRANCHES_MS).contains(&now.since_ms(*since))
            && !branches.is_empty()
        {
            return Ok(Arc::clone(branches));
        }
        let branches = Arc::new(self.bucket.branches(&LOGS).await.map_err(Trouble::stops)?);
        *lock(&self.known) = Some((now, Arc::clone(&branches)));
        Ok(branches)
    }

    /// What the next page is made of, and in `place` how far that gets. A round begins with what is owed.
    async fn gather(
        &self,
        place: &mut Place,
        branches: &[Branch],
        ahead: &mut Ahead,
    ) -> Result<Vec<Listed>, SourceError> {
        let since = self.since()?;
        let mut wanted = Wanted::default();
        if place.round.is_none() {
            let owed = place.owed.iter().take(OBJECTS_MAX / 2);
            owed.for_each(|key| wanted.add(Listed { key: key.clone(), tag: String::new(), bytes: 0 }));
        }
        let round = place.round.take().unwrap_or_default();
        for branch in branches.iter().filter(|b| b.prefix >= round.branch) {
            let seen = place.branches.entry(branch.prefix.clone()).or_default();
            seen.floor = seen.floor.max(since);
            let mut after = match branch.prefix == round.branch {
                true => round.after.clone(),
                false => branch.start_of(seen.floor),
            };
            loop {
                let (mut objects, more) = self.listed(branch, &after).await?;
                while let Some(object) = objects.pop_front() {
                    after.clone_from(&object.key);
                    let Some(minute) = layout::minute_of(&object.key) else { continue };
                    if !ahead.holds(minute, &object.key) && !seen.is_seen(minute, &object.key, &object.tag) {
                        wanted.add(object);
                    }
                    if wanted.is_full() {
                        let branch = branch.prefix.clone();
                        place.round = Some(Round { branch: branch.clone(), after: after.clone() });
                        *lock(&self.tail) = Some(Tail { branch, after, objects, more });
                        return Ok(wanted.objects);
                    }
                }
                if !more {
                    break;
                }
            }
        }
        Ok(wanted.objects)
    }

    async fn listed(&self, branch: &Branch, after: &str) -> Result<(VecDeque<Listed>, bool), SourceError> {
        let tail = lock(&self.tail).take();
        if let Some(tail) = tail.filter(|t| t.branch == branch.prefix && t.after == after) {
            return Ok((tail.objects, tail.more));
        }
        let (objects, more) = self.bucket.list(&branch.prefix, after).await.map_err(Trouble::stops)?;
        Ok((objects.into(), more))
    }

    fn settle(
        &self,
        place: &mut Place,
        fetched: Vec<(Listed, Result<Fetch, Trouble>)>,
        page: &mut Page,
    ) -> Result<(), SourceError> {
        let denied = fetched.iter().filter(|(_, f)| matches!(f, Err(Trouble::Denied(_)))).count();
        let all_denied = denied > 1 && denied == fetched.len();
        for (listed, fetch) in fetched {
            let mut tag = listed.tag;
            let (mut content, was_owed) = ([0; 32], place.owed.contains(&listed.key));
            let mut owes = false;
            match fetch {
                Ok(fetch) => {
                    if self.auditor.is_some() {
                        content = content_hash(&fetch.bytes);
                    }
                    tag.clone_from(&fetch.tag);
                    page.bodies.push(body(&self.bucket, &self.tenant, &listed.key, fetch));
                }
                Err(Trouble::Gone(text)) => page.problems.push(text),
                Err(Trouble::Denied(text)) if all_denied || place.owed.len() >= OWED_MAX => {
                    return Err(SourceError::Refused(text));
                }
                Err(Trouble::Denied(text)) => {
                    page.problems.push(format!("{text}; it is tried again"));
                    owes = true;
                }
                Err(other) => return Err(other.stops()),
            }
            if was_owed && !owes {
                place.owed.retain(|key| *key != listed.key);
            } else if owes && !was_owed {
                place.owed.push(listed.key.clone());
            }
            // What is still owed is remembered already, with its tag.
            if !(owes && was_owed) {
                remember(place, &listed.key, &tag, content);
            }
        }
        Ok(())
    }
}

/// Writes down that an object needs no further look.
pub fn remember(place: &mut Place, key: &str, tag: &str, content: [u8; 32]) {
    let Some(minute) = layout::minute_of(key) else { return };
    let branch = place.branches.iter_mut().rev().find(|(prefix, _)| key.starts_with(prefix.as_str()));
    if let Some((_, seen)) = branch {
        let half = content.first_chunk().copied().unwrap_or_default();
        seen.add(minute, key, tag, half);
    }
}

/// Fetches a few at a time; the answers come in the order of the questions.
pub fn fetch_each(
    bucket: &Bucket,
    wanted: Vec<Listed>,
) -> impl Stream<Item = (Listed, Result<Fetch, Trouble>)> + Send {
    let fetches = wanted.into_iter().map(move |listed| async move {
        let fetch = bucket.fetch_current(&listed.key, &listed.tag).await;
        (listed, fetch)
    });
    futures_util::stream::iter(fetches).buffered(FETCHES_MAX)
}

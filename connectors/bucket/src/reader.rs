//! Reads what is new in one or several buckets, page by page, for `port::Source::read`.

use crate::bookmark::{Bookmark, Progress, Want};
use crate::clock::ProviderClock;
use crate::portion::{self, Cut, PORTION_BYTES, Position, WHOLE_BYTES_MAX};
use crate::sweep::{Plan, Sweep};
use crate::{Bucket, BucketError, Listed};
use futures_util::stream::{self, StreamExt};
use prunella_schemas::limits::INTAKE_BYTES_MAX;
use prunella_schemas::port::{Cursor, Fetched, Page, SourceError, Upload};
use prunella_schemas::{Tenant, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// Objects fetched at the same time.
const FETCHES_MAX: usize = 8;
/// A page ends once it holds so many bodies or bytes.
const PAGE_BODIES_MAX: usize = 64;
const PAGE_BYTES: u64 = INTAKE_BYTES_MAX as u64;

/// Reads the buckets of one source, in the order they are given.
pub struct Reader<B> {
    source: &'static str,
    tenant: Tenant,
    since: Timestamp,
    buckets: Vec<(String, B)>,
    /// Milliseconds since some beginning of ours.
    uptime_ms: Box<dyn Fn() -> i64 + Send + Sync>,
    /// What the last call has left, good only for the cursor that it gave away.
    work: Mutex<Option<Work>>,
}

/// What is kept under the source's name, per bucket.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Bookmarks {
    buckets: BTreeMap<String, Bookmark>,
}

#[derive(Default)]
struct Work {
    cursor: Cursor,
    bookmarks: Bookmarks,
    /// Which bucket is being read, and what is left of its listing.
    bucket: usize,
    plan: Option<Plan>,
    /// More is wanted of a bucket that is behind than its plan could hold.
    left_out: bool,
    clock: ProviderClock,
}

/// What came of one object of the plan.
struct Read {
    object: Listed,
    want: Want,
    result: Result<Portion, BucketError>,
}

enum Portion {
    Body { bytes: Vec<u8>, at: u64, progress: Progress },
    HalfLine,
}

impl<B: Bucket> Reader<B> {
    /// `source` names the translator. What was written before `since` is not read.
    #[allow(clippy::disallowed_methods, reason = "how long ago a listing was is measured here")]
    pub fn new(source: &'static str, tenant: Tenant, since: Timestamp, buckets: Vec<(String, B)>) -> Self {
        let started = Instant::now();
        let uptime_ms = move || i64::try_from(started.elapsed().as_millis()).unwrap_or(i64::MAX);
        Reader { source, tenant, since, buckets, uptime_ms: Box::new(uptime_ms), work: Mutex::new(None) }
    }

    /// Measures how much time passes by another clock, which never runs faster than the provider's.
    pub fn with_uptime(self, uptime_ms: impl Fn() -> i64 + Send + Sync + 'static) -> Self {
        Reader { uptime_ms: Box::new(uptime_ms), ..self }
    }

    pub fn buckets(&self) -> &[(String, B)] {
        &self.buckets
    }

    /// The next page. After a failure the bodies that were read before it are given first.
    pub async fn read(&self, cursor: &Cursor) -> Result<Page, SourceError> {
        let mut work = self.resume(cursor)?;
        let mut page = Page::default();
        let mut failure = None;
        while !is_full(&page) && work.bucket < self.buckets.len() {
            if let Err(e) = self.step(&mut work, &mut page).await {
                failure = Some(e);
                break;
            }
        }
        if let Some(error) = failure
            && page.bodies.is_empty()
        {
            return Err(error.into());
        }
        let at_the_end = work.bucket >= self.buckets.len();
        page.caught_up = at_the_end && !work.left_out;
        page.next = encode(&work.bookmarks)?;
        work.cursor = page.next.clone();
        if at_the_end {
            (work.bucket, work.left_out) = (0, false);
        }
        *self.work.lock().unwrap_or_else(PoisonError::into_inner) = Some(work);
        Ok(page)
    }

    fn resume(&self, cursor: &Cursor) -> Result<Work, SourceError> {
        let left = self.work.lock().unwrap_or_else(PoisonError::into_inner).take();
        let clock = left.as_ref().map(|work| work.clock).unwrap_or_default();
        match left {
            Some(work) if work.cursor == *cursor => Ok(work),
            _ => Ok(Work { bookmarks: decode(cursor)?, clock, ..Work::default() }),
        }
    }

    /// Lists the current bucket, or reads some objects of its listing, or turns to the next bucket.
    async fn step(&self, work: &mut Work, page: &mut Page) -> Result<(), BucketError> {
        let Some((name, bucket)) = self.buckets.get(work.bucket) else { return Ok(()) };
        let mut bookmark =
            work.bookmarks.buckets.get(name).cloned().unwrap_or_else(|| Bookmark::starting(self.since));
        let mut plan = match work.plan.take() {
            Some(plan) => plan,
            None => self.list(bucket, &bookmark, &mut work.clock).await?,
        };
        let full = self.fetch(bucket, &mut bookmark, &mut plan, page).await;
        if full.is_ok() && plan.queue.is_empty() {
            if !plan.left_out {
                bookmark.settle(None, plan.horizon, plan.now);
                bookmark.retain(&plan.listed, plan.horizon);
            }
            work.left_out |= plan.left_out;
            work.bucket += 1;
        } else if full.is_ok() {
            work.plan = Some(plan);
        }
        work.bookmarks.buckets.insert(name.clone(), bookmark);
        full
    }

    async fn list(
        &self,
        bucket: &B,
        bookmark: &Bookmark,
        clock: &mut ProviderClock,
    ) -> Result<Plan, BucketError> {
        let began_ms = (self.uptime_ms)();
        let (mut sweep, mut from, mut began) = (Sweep::default(), None, None);
        loop {
            let page = match bucket.list(from.as_deref()).await {
                // Providers make a log's bucket when they write to it first.
                Err(BucketError::Absent(what)) => {
                    tracing::debug!(%what, "nothing to read yet");
                    break;
                }
                page => page?,
            };
            let uptime_ms = (self.uptime_ms)();
            let written = page.objects.iter().map(|object| object.modified);
            for seen in written.chain(page.answered) {
                clock.observe(seen, uptime_ms);
            }
            let now = clock.at_least(uptime_ms);
            // Later pages tell nothing about when the listing began: this machine may have slept in between.
            began.get_or_insert(clock.at_least(began_ms));
            for object in page.objects {
                sweep.see(bookmark, object, now);
            }
            from = page.next;
            if from.is_none() {
                break;
            }
        }
        Ok(sweep.plan(began.flatten(), clock.at_least((self.uptime_ms)())))
    }

    /// Reads from the front of the plan until the page is full.
    async fn fetch(
        &self,
        bucket: &B,
        bookmark: &mut Bookmark,
        plan: &mut Plan,
        page: &mut Page,
    ) -> Result<(), BucketError> {
        while !is_full(page) {
            let Some(first) = plan.queue.front().map(|(object, _)| object.mark()) else { return Ok(()) };
            bookmark.settle(Some(&first), plan.horizon, plan.now);
            if !bookmark.has_room(FETCHES_MAX) {
                // The provider's time has to pass first: the next listing brings these again.
                plan.queue.clear();
                plan.left_out = true;
                return Ok(());
            }
            let batch = batch(&mut plan.queue, page);
            let now = plan.now;
            let reads = stream::iter(batch).map(|(object, want)| read(bucket, object, want, now));
            let mut reads = reads.buffered(FETCHES_MAX);
            let mut unfinished = Vec::new();
            while let Some(one) = reads.next().await {
                if let Some(more) = self.take(bucket, one, bookmark, plan.horizon, page)? {
                    unfinished.push(more);
                }
            }
            unfinished.into_iter().rev().for_each(|more| plan.queue.push_front(more));
        }
        Ok(())
    }

    /// Puts what was read onto the page and into the bookmark. What it gives back is to be read further.
    fn take(
        &self,
        bucket: &B,
        read: Read,
        bookmark: &mut Bookmark,
        horizon: Timestamp,
        page: &mut Page,
    ) -> Result<Option<(Listed, Want)>, BucketError> {
        let Read { object, want, result } = read;
        let origin = bucket.origin(&object.name);
        if want.replaced {
            page.problems
                .push(format!("{origin} was replaced by another object and is read from its beginning"));
        }
        let (bytes, at, progress) = match result {
            Ok(Portion::Body { bytes, at, progress }) => (bytes, at, progress),
            Ok(Portion::HalfLine) => {
                bookmark.advance(&object, want.at, Progress::HalfLine, horizon);
                return Ok(None);
            }
            Err(BucketError::Changed(what)) => {
                tracing::info!(%origin, %what, "the object changed while it was read; it comes with the next listing");
                bookmark.pass(&object, horizon);
                return Ok(None);
            }
            Err(BucketError::Unreadable(what)) => {
                page.problems.push(format!("{origin} cannot be read: {what}"));
                (Vec::new(), object.bytes, Progress::Done)
            }
            Err(e) => return Err(e),
        };
        if !bytes.is_empty() {
            let whole = want.at == 0 && at == object.bytes && object.closes.is_none();
            let origin = if whole { origin } else { format!("{origin}#{}-{at}", want.at) };
            page.bodies.push(self.fetched(bytes, whole, origin, &object));
        }
        bookmark.advance(&object, at, progress, horizon);
        Ok((progress == Progress::Partly).then_some((object, Want { at, replaced: false })))
    }

    fn fetched(&self, body: Vec<u8>, whole: bool, origin: String, object: &Listed) -> Fetched {
        let upload = Upload {
            source: self.source.to_owned(),
            tenant: self.tenant.clone(),
            content_type: portion::media_type(&body, whole).to_owned(),
            content_encoding: if portion::is_gzip(&body) { "gzip" } else { "" }.to_owned(),
            body,
            origin,
            is_file: true,
        };
        Fetched { upload, delivered: Some(object.modified), newest: object.tells }
    }
}

/// Reads one portion, or the whole object where it cannot be cut.
async fn read<B: Bucket>(bucket: &B, object: Listed, want: Want, now: Option<Timestamp>) -> Read {
    let result = portion_of(bucket, &object, want, now).await;
    Read { object, want, result }
}

async fn portion_of<B: Bucket>(
    bucket: &B,
    object: &Listed,
    want: Want,
    now: Option<Timestamp>,
) -> Result<Portion, BucketError> {
    let end = object.bytes.min(want.at.saturating_add(PORTION_BYTES));
    let last = end == object.bytes;
    if end <= want.at {
        return Ok(Portion::Body { bytes: Vec::new(), at: object.bytes, progress: Progress::Done });
    }
    let mut bytes = bucket.fetch(object, want.at..end).await?;
    let position = Position { first: want.at == 0, last, grows: object.grows(now) };
    let given = match portion::cut(&bytes, position) {
        Cut::Wait => return Ok(Portion::HalfLine),
        Cut::Give(count) => count,
        Cut::NeedsAll if object.bytes > WHOLE_BYTES_MAX => {
            let detail = format!(
                "{} bytes in one document, at most {WHOLE_BYTES_MAX} can be read; export one record per line",
                object.bytes
            );
            return Err(BucketError::Unreadable(detail));
        }
        Cut::NeedsAll => {
            bytes = bucket.fetch(object, 0..object.bytes).await?;
            bytes.len()
        }
    };
    bytes.truncate(given);
    let at = want.at + given as u64;
    let progress = match (at >= object.bytes, last) {
        (true, _) => Progress::Done,
        (false, true) => Progress::HalfLine,
        (false, false) => Progress::Partly,
    };
    Ok(Portion::Body { bytes, at, progress })
}

/// What is fetched next at the same time: as much as the page has room for, and at least one object.
fn batch(queue: &mut VecDeque<(Listed, Want)>, page: &Page) -> Vec<(Listed, Want)> {
    let count_max = FETCHES_MAX.min(PAGE_BODIES_MAX.saturating_sub(page.bodies.len()));
    let (mut batch, mut bytes) = (Vec::new(), bytes_of(page));
    while let Some((object, want)) = queue.pop_front() {
        bytes += match want.at == 0 && object.closes.is_none() {
            // It may be a document, which comes whole.
            true => object.bytes.min(WHOLE_BYTES_MAX),
            false => object.bytes.saturating_sub(want.at).min(PORTION_BYTES),
        };
        if batch.len() >= count_max || (bytes > PAGE_BYTES && !batch.is_empty()) {
            queue.push_front((object, want));
            break;
        }
        batch.push((object, want));
    }
    batch
}

fn is_full(page: &Page) -> bool {
    page.bodies.len() >= PAGE_BODIES_MAX || bytes_of(page) >= PAGE_BYTES
}

fn bytes_of(page: &Page) -> u64 {
    page.bodies.iter().map(|body| body.upload.body.len() as u64).sum()
}

fn decode(cursor: &Cursor) -> Result<Bookmarks, SourceError> {
    if cursor.0.is_empty() {
        return Ok(Bookmarks::default());
    }
    serde_json::from_str(&cursor.0).map_err(|e| {
        SourceError::Invalid(format!("the cursor does not read ({e}); remove it to read everything again"))
    })
}

fn encode(bookmarks: &Bookmarks) -> Result<Cursor, SourceError> {
    let text = serde_json::to_string(bookmarks);
    text.map(Cursor).map_err(|e| SourceError::Invalid(format!("the cursor cannot be written: {e}")))
}

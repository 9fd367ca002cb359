//! Reads `LookupEvents`: two calls a second, newest first, at most 90 days back. Windows that fit into one page are put in
//! the order of time, so that nothing but a time must be remembered.

use super::SOURCE;
use super::settings::Settings;
use crate::fault::{Call, explain};
use aws_sdk_cloudtrail::Client;
use aws_sdk_cloudtrail::primitives::DateTime;
use aws_sdk_cloudtrail::types::{Event, EventCategory};
use prunella_schemas::port::{Clock, Cursor, Fetched, Page, SourceError, Upload};
use prunella_schemas::{Tenant, Timestamp};
use serde::{Deserialize, Serialize};
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::time::{Interval, MissedTickBehavior, interval};

/// AWS allows two calls a second for an account and region.
const CALL_EVERY: Duration = Duration::from_millis(510);
const EVENTS_OF_CALL: i32 = 50;
/// Calls of a window; one that needs more is halved, unless it is a second long.
const CALLS_MAX: usize = 20;
const CALLS_OF_A_SECOND_MAX: usize = 400;
const SECOND_MS: i64 = 1_000;
const WINDOW_MS: i64 = 3_600 * SECOND_MS;
const WINDOW_MS_MAX: i64 = 24 * WINDOW_MS;
/// What AWS keeps, less an hour.
const HISTORY_MS: i64 = 90 * 24 * WINDOW_MS - WINDOW_MS;
/// Events appear within about 15 minutes. Those of the newest are read again until then; repeats are dropped by their id.
const SETTLES_MS: i64 = 15 * 60 * SECOND_MS;
/// A window with fewer events than this lets the next one be longer.
const FEW_EVENTS: usize = 200;

pub struct History {
    client: Client,
    settings: Settings,
    tenant: Tenant,
    clock: Clock,
    pace: Mutex<Option<Interval>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Position {
    v: u32,
    /// Everything before was read when it had long appeared, in ms since 1970.
    from: i64,
    /// Where the next window begins: from `from` up to now, and from the start again.
    #[serde(default)]
    scan: i64,
    window_ms: i64,
}

impl Position {
    /// Before a window is read at `now`. What was read too early and has appeared by now is read before anything after it,
    /// so that a long backlog is not read twice.
    fn before(self, now: i64) -> Self {
        let scan = if self.scan <= now - SETTLES_MS { self.from } else { self.scan };
        Position { scan, ..self }
    }

    /// After the window up to `to` was read at `now`. What lies so close to `now` that it may lack events is not done with,
    /// and nothing after it is.
    fn after(self, to: i64, now: i64) -> Self {
        let is_next = self.scan <= self.from;
        let from = if is_next { self.from.max(to.min(now - SETTLES_MS)) } else { self.from };
        Position { from, scan: if to >= now { from } else { to }, ..self }
    }
}

impl History {
    pub fn new(client: Client, settings: Settings, tenant: Tenant, clock: Clock) -> Self {
        History { client, settings, tenant, clock, pace: Mutex::default() }
    }

    pub fn call() -> Call {
        Call { action: "cloudtrail:LookupEvents", resource: "*".to_owned() }
    }

    pub fn client(&self) -> &Client {
        &self.client
    }

    pub async fn read(&self, cursor: &Cursor) -> Result<Page, SourceError> {
        let now = whole((self.clock)().millis() + SECOND_MS - 1);
        let mut position = self.position(cursor, now)?;
        let mut page = Page::default();
        let (events, to) = loop {
            let to = (position.scan + position.window_ms).min(now);
            let calls_max = if to - position.scan <= SECOND_MS { CALLS_OF_A_SECOND_MAX } else { CALLS_MAX };
            match self.window(position.scan, to, calls_max).await? {
                Some(events) => break (events, to),
                None if to - position.scan <= SECOND_MS => {
                    let second = Timestamp(position.scan);
                    page.problems.push(format!("the second of {second} has more events than LookupEvents can give; read the trail's bucket"));
                    break (Vec::new(), to);
                }
                None => position.window_ms = whole((to - position.scan) / 2).max(SECOND_MS),
            }
        };
        if events.len() < FEW_EVENTS {
            position.window_ms = (position.window_ms * 2).min(WINDOW_MS_MAX);
        }
        page.caught_up = to >= now;
        page.bodies.extend(self.body(&events));
        // Numbers alone: serde_json cannot fail on them.
        page.next = Cursor(serde_json::to_string(&position.after(to, now)).unwrap_or_default());
        Ok(page)
    }

    fn position(&self, cursor: &Cursor, now: i64) -> Result<Position, SourceError> {
        let oldest = now - HISTORY_MS;
        let since = self.settings.since()?.map_or(oldest, Timestamp::millis);
        let mut position = match cursor.0.as_str() {
            "" => Position { v: 1, from: whole(since), scan: whole(since), window_ms: WINDOW_MS },
            text => serde_json::from_str(text).map_err(|e| {
                SourceError::Invalid(format!("the stored cursor is not one of a history ({e}); give the source another name to begin anew"))
            })?,
        };
        let settled = (now - SETTLES_MS).max(since).min(now - SECOND_MS);
        position.from = position.from.clamp(oldest, settled);
        position.scan = position.scan.clamp(position.from, now - SECOND_MS);
        position.window_ms = position.window_ms.clamp(SECOND_MS, WINDOW_MS_MAX);
        Ok(position.before(now))
    }

    /// Every event of a window, oldest first, each once; `None` when that would take too many calls.
    async fn window(&self, from: i64, to: i64, calls_max: usize) -> Result<Option<Vec<Event>>, SourceError> {
        let categories = [None, self.settings.insights.then_some(EventCategory::Insight)];
        let mut events = Vec::new();
        for (at, category) in categories.into_iter().enumerate() {
            if at > 0 && category.is_none() {
                continue;
            }
            let (mut token, mut calls) = (None, 0);
            loop {
                if calls >= calls_max {
                    return Ok(None);
                }
                calls += 1;
                self.wait().await;
                let ask = self
                    .client
                    .lookup_events()
                    .max_results(EVENTS_OF_CALL)
                    .set_event_category(category.clone());
                let ask = ask.start_time(DateTime::from_millis(from)).end_time(DateTime::from_millis(to));
                let answer = ask.set_next_token(token).send().await;
                let answer = answer.map_err(|e| explain(&Self::call(), &e).stops())?;
                events.extend(answer.events.unwrap_or_default());
                token = answer.next_token.filter(|token| !token.is_empty());
                if token.is_none() {
                    break;
                }
            }
        }
        events.sort_by(|a, b| order(a).cmp(&order(b)));
        // An event stands at the end of one page and at the beginning of the next when others come meanwhile.
        events.dedup_by(|a, b| a.cloud_trail_event == b.cloud_trail_event);
        Ok(Some(events))
    }

    async fn wait(&self) {
        let mut pace = self.pace.lock().await;
        let pace = pace.get_or_insert_with(|| {
            let mut pace = interval(CALL_EVERY);
            pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
            pace
        });
        pace.tick().await;
    }

    /// The records as CloudTrail wrote them, one a line.
    fn body(&self, events: &[Event]) -> Option<Fetched> {
        let mut body = Vec::new();
        for record in events.iter().filter_map(Event::cloud_trail_event) {
            // JSON strings hold no raw line ends, so they are only layout.
            body.extend(record.bytes().map(|b| if b == b'\n' || b == b'\r' { b' ' } else { b }));
            body.push(b'\n');
        }
        let newest = events.iter().filter_map(|e| e.event_time()?.to_millis().ok()).max().map(Timestamp);
        let upload = Upload {
            source: SOURCE.to_owned(),
            tenant: self.tenant.clone(),
            content_type: "application/x-ndjson".to_owned(),
            body,
            origin: format!("cloudtrail:LookupEvents {}", self.settings.region),
            is_file: true,
            ..Upload::default()
        };
        (!upload.body.is_empty()).then_some(Fetched { upload, delivered: None, newest })
    }
}

fn order(event: &Event) -> (Option<i64>, Option<&str>, Option<&str>) {
    (event.event_time().and_then(|t| t.to_millis().ok()), event.event_id(), event.cloud_trail_event())
}

/// Whole seconds: LookupEvents knows no parts.
fn whole(ms: i64) -> i64 {
    ms - ms.rem_euclid(SECOND_MS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_lack_events_is_read_again_however_the_windows_fall() {
        const MINUTE: i64 = 60 * SECOND_MS;
        let now = 100 * MINUTE;
        let check = |from: i64, scan: i64, to: i64, want: (i64, i64)| {
            let position = Position { v: 1, from: from * MINUTE, scan: scan * MINUTE, window_ms: WINDOW_MS };
            let next = position.after(to * MINUTE, now);
            assert_eq!((next.from / MINUTE, next.scan / MINUTE), want, "{position:?} {to}");
        };
        check(10, 10, 70, (70, 70));
        check(70, 70, 90, (85, 90));
        check(85, 90, 95, (85, 95));
        check(85, 95, 100, (85, 85));
        check(85, 85, 100, (85, 85));
        check(40, 40, 100, (85, 85));
        check(40, 60, 70, (40, 70));
        check(95, 95, 100, (95, 95));
        let position = Position { v: 1, from: 0, scan: 10 * MINUTE, window_ms: WINDOW_MS };
        assert_eq!(position.before(24 * MINUTE), position);
        assert_eq!(position.before(25 * MINUTE).scan, 0);
    }
}

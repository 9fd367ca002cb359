//! LookupEvents, which no emulator has: a peer that speaks its protocol, looks at the signature, pages newest first, repeats an
//! event at the border of two pages, and lets two calls a second pass.

use crate::bench::{BEGINNING_MS, REGION, json, record, sdk};
use prunella_aws::cloudtrail::{CloudTrail, Settings};
use prunella_contract::{Answer, Asked, Gate, Rig};
use prunella_schemas::port::{Clock, Cursor, Source, SourceError};
use prunella_schemas::{Tenant, Timestamp};
use std::sync::{Arc, Mutex};
use std::time::Instant;

const HOUR_MS: i64 = 3_600_000;
const RESULTS_MAX: usize = 50;

fn fixed(ms: i64) -> Clock {
    Arc::new(move || Timestamp(ms))
}

/// What the peer has seen and what is wrong with it.
#[derive(Default)]
struct Peer {
    /// Two a second, and one more in hand: requests do not arrive as evenly as they are sent.
    calls_left: f64,
    last: Option<Instant>,
    throttled: u32,
    wrong: Vec<String>,
    /// The number and time of each event.
    events: Vec<(u32, i64)>,
}

impl Peer {
    #[allow(clippy::disallowed_methods, reason = "the limit of two calls a second is one of real time")]
    fn answer(&mut self, asked: &Asked) -> Answer {
        let header = |name: &str| asked.headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default();
        if !header("authorization").contains("/cloudtrail/") {
            // Who we are is asked of another service.
            let who = "<GetCallerIdentityResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><GetCallerIdentityResult><Arn>arn:aws:iam::123456789012:user/u</Arn></GetCallerIdentityResult></GetCallerIdentityResponse>";
            return Answer { body: who.into(), ..json(200, "", "") };
        }
        let scope = format!("/{REGION}/cloudtrail/aws4_request");
        let signed = header("authorization");
        for (what, holds) in [
            ("target", header("x-amz-target").ends_with("CloudTrail_20131101.LookupEvents")),
            ("type", header("content-type") == "application/x-amz-json-1.1"),
            (
                "signature",
                signed.starts_with("AWS4-HMAC-SHA256 Credential=testing/") && signed.contains(&scope),
            ),
            ("date", header("x-amz-date").len() == "20240731T000000Z".len()),
        ] {
            if !holds {
                self.wrong.push(format!("{what}: {:?}", asked.headers));
            }
        }
        let now = Instant::now();
        let since = self.last.replace(now).map_or(2.0, |last| now.duration_since(last).as_secs_f64());
        self.calls_left = (self.calls_left + 2.0 * since).min(3.0);
        if self.calls_left < 1.0 {
            self.throttled += 1;
            return json(400, "ThrottlingException", "Rate exceeded");
        }
        self.calls_left -= 1.0;
        let ask: serde_json::Value = serde_json::from_slice(&asked.body).unwrap();
        if ask["EventCategory"] == "insight" {
            return Answer { body: b"{\"Events\":[]}".to_vec(), ..json(200, "", "") };
        }
        let ms = |name: &str, default: f64| (ask[name].as_f64().unwrap_or(default) * 1_000.0) as i64;
        let (from, to) = (ms("StartTime", 0.0), ms("EndTime", 1e10));
        let mut found: Vec<_> = self.events.iter().filter(|(_, t)| (from..=to).contains(t)).collect();
        found.reverse();
        let at: usize = ask["NextToken"].as_str().map_or(0, |t| t.parse().unwrap());
        let max = (ask["MaxResults"].as_u64().unwrap() as usize).min(RESULTS_MAX);
        // One event again at the border, as when others came meanwhile.
        let page = found.iter().skip(at.saturating_sub(1)).take(max);
        let events: Vec<_> = page
            .map(|(n, t)| serde_json::json!({ "EventId": n.to_string(), "EventTime": *t as f64 / 1e3, "CloudTrailEvent": record(*n) }))
            .collect();
        let end = at.saturating_sub(1) + max;
        let next = (end < found.len()).then(|| end.to_string());
        let body = serde_json::json!({ "Events": events, "NextToken": next }).to_string();
        Answer { body: body.into(), ..json(200, "", "") }
    }
}

async fn source(gate: &Gate, now_ms: i64, since: &str) -> Arc<dyn Source> {
    let settings = serde_json::json!({ "from": "history", "region": REGION, "since": since });
    let settings = Settings::parse(settings).unwrap();
    let config = sdk(&gate.url).await;
    let made = CloudTrail::over(config, "history".into(), Tenant::default(), settings, fixed(now_ms));
    Arc::new(made.unwrap())
}

async fn peer(events: Vec<(u32, i64)>) -> (Gate, Arc<Mutex<Peer>>) {
    let peer = Arc::new(Mutex::new(Peer { events, ..Peer::default() }));
    let gate = Gate::before("http://127.0.0.1:9").await;
    let shared = Arc::clone(&peer);
    gate.meddle(move |asked| Some(shared.lock().unwrap().answer(asked)));
    (gate, peer)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_history_is_read_in_order_once_and_slowly_enough() {
    let times = (0..180).map(|n| (n, BEGINNING_MS + i64::from(n) * 20_000));
    let (gate, peer) = peer(times.collect()).await;
    let rig = Rig::default();
    let tally = rig.run(source(&gate, BEGINNING_MS + HOUR_MS, "2024-07-31T00:00:00Z").await).await.unwrap();
    assert_eq!((tally.records, tally.rejected), (180, 0));
    assert_eq!(rig.records(), (0..180).map(record).collect::<Vec<_>>(), "oldest first, each once");
    peer.lock().unwrap().events.push((500, BEGINNING_MS + HOUR_MS - 60_000));
    let tally = rig.run(source(&gate, BEGINNING_MS + HOUR_MS + 60_000, "").await).await.unwrap();
    assert_eq!(tally.records, 1, "one that appeared after its time is found: {tally:?}");
    let peer = peer.lock().unwrap();
    assert_eq!(peer.wrong, Vec::<String>::new());
    assert_eq!(peer.throttled, 0, "two calls a second are kept by ourselves");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_appears_late_is_found_although_a_window_ended_after_it() {
    // The first window, an hour long, ends five minutes ago: not now, and not so long ago that all is there.
    let now = BEGINNING_MS + HOUR_MS + 5 * 60_000;
    let (gate, peer) = peer(vec![(0, BEGINNING_MS + 1_000), (1, now - 60_000)]).await;
    let rig = Rig::default();
    let tally = rig.run(source(&gate, now, "2024-07-31T00:00:00Z").await).await.unwrap();
    assert_eq!(tally.records, 2);
    peer.lock().unwrap().events.insert(1, (2, now - 10 * 60_000));
    let tally = rig.run(source(&gate, now + 60_000, "2024-07-31T00:00:00Z").await).await.unwrap();
    assert_eq!(tally.records, 1, "{tally:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_window_with_too_many_events_is_halved() {
    // Nearly 1,300 in a minute, which is more than a page of one window.
    let (gate, peer) = peer((0..1_300).map(|n| (n, BEGINNING_MS + i64::from(n) * 46)).collect()).await;
    let source = source(&gate, BEGINNING_MS + 61_000, "2024-07-31T00:00:00Z").await;
    let page = source.read(&Cursor::default()).await.unwrap();
    assert!(!page.caught_up, "the minute was halved");
    let lines = page.bodies[0].upload.body.split(|b| *b == b'\n').filter(|l| !l.is_empty()).count();
    assert!((400..1_000).contains(&lines), "{lines}");
    assert_eq!(peer.lock().unwrap().throttled, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_are_told_apart() {
    let (gate, _) = peer(Vec::new()).await;
    let source = source(&gate, BEGINNING_MS, "").await;
    let check = source.check().await;
    assert!(
        check.steps.iter().any(|s| s.what.contains("cloudtrail:LookupEvents") && s.problem.is_none()),
        "{check:?}"
    );
    gate.refuse(json(400, "AccessDeniedException", "not authorized"));
    let denied = source.read(&Cursor::default()).await.unwrap_err();
    assert!(
        matches!(&denied, SourceError::Refused(text) if text.contains(r#""Action":"cloudtrail:LookupEvents""#)),
        "{denied}"
    );
    gate.refuse(json(400, "ThrottlingException", "Rate exceeded"));
    let slow = source.read(&Cursor::default()).await.unwrap_err();
    assert!(matches!(slow, SourceError::Throttled { .. }), "{slow}");
    let wrong = source.read(&Cursor("{}".into())).await.unwrap_err();
    assert!(matches!(wrong, SourceError::Invalid(_)), "{wrong}");
}

//! The live feed: a WebSocket that tells what happens now. Lossy by design; a slow reader is told how much it skipped.

use crate::gate::FEED_PROTOCOL;
use crate::params::{NoParams, Params};
use crate::{Console, Problem};
use axum::extract::State;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::response::Response;
use prunella_schemas::port::Live;
use schemars::JsonSchema;
use serde::Serialize;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::{MissedTickBehavior, interval, timeout};

/// Most feeds at once; further ones are answered 503.
pub(crate) const FEEDS_MAX: usize = 64;
/// Largest message a client may send, in bytes. What it says is ignored.
const INCOMING_BYTES_MAX: usize = 1_024;
/// A reader that takes longer than this for one message is let go.
const SEND_TIMEOUT: Duration = Duration::from_secs(10);
/// How often a quiet feed is shown to be alive.
const PING_EVERY: Duration = Duration::from_secs(20);

/// Told to a reader that was too slow.
#[derive(Serialize, JsonSchema)]
#[serde(tag = "type", rename = "skipped")]
pub(crate) struct Skipped {
    /// How many messages it did not get.
    count: u64,
}

/// The live feed: each message is one JSON `Live`, or `{"type":"skipped","count":n}` to a reader that was too slow.
///
/// Events come without `raw_data`. A browser, which cannot set headers here, presents the token as a second subprotocol:
/// `prunella.v1, bearer.<token in hexadecimal>`.
#[utoipa::path(get, path = "/ws/events", operation_id = "live_feed", tag = "read",
    responses((status = 101, description = "Messages of the schema `Live`", body = ref("#/components/schemas/Live"))))]
pub(crate) async fn events(
    State(console): State<Console>,
    _: Params<NoParams>,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, Problem> {
    let upgrade = upgrade.map_err(|e| Problem::invalid(format!("this route speaks WebSocket only: {e}")))?;
    let Ok(permit) = Arc::clone(&console.feeds).try_acquire_owned() else {
        return Err(Problem::busy(format!("{FEEDS_MAX} feeds are open: close one")));
    };
    // Subscribed before the answer, so that nothing that happens after the handshake is missed.
    let live = console.ports.live.subscribe();
    Ok(upgrade
        .protocols([FEED_PROTOCOL])
        .max_message_size(INCOMING_BYTES_MAX)
        .max_frame_size(INCOMING_BYTES_MAX)
        .on_upgrade(move |socket| run(socket, live, permit)))
}

async fn run(mut socket: WebSocket, mut live: Receiver<Live>, _permit: OwnedSemaphorePermit) {
    let mut ping = interval(PING_EVERY);
    ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let message = tokio::select! {
            received = live.recv() => match received {
                Ok(message) => text(&without_raw(message)),
                Err(RecvError::Lagged(count)) => text(&Skipped { count }),
                Err(RecvError::Closed) => break,
            },
            _ = ping.tick() => Message::Ping(axum::body::Bytes::new()),
            incoming = socket.recv() => match incoming {
                Some(Ok(Message::Close(_)) | Err(_)) | None => break,
                Some(Ok(_)) => continue,
            },
        };
        if !matches!(timeout(SEND_TIMEOUT, socket.send(message)).await, Ok(Ok(()))) {
            break;
        }
    }
}

fn text(message: &impl Serialize) -> Message {
    Message::text(serde_json::to_string(message).unwrap_or_default())
}

fn without_raw(mut message: Live) -> Live {
    if let Live::Event { event } = &mut message {
        event.raw_data = None;
    }
    message
}

//! The live feed over real WebSockets.

use crate::fake;
use crate::served::{Served, TOKEN, answer};
use futures_util::{SinkExt, StreamExt};
use prunella_schemas::port::Live;
use reqwest::Method;
use serde_json::{Value, json};
use std::time::Duration;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

type Socket = WebSocketStream<MaybeTlsStream<tokio::net::TcpStream>>;

async fn open(served: &Served, headers: &[(&'static str, String)]) -> Result<Socket, u16> {
    let mut request = format!("ws://{}/ws/events", served.address).into_client_request().unwrap();
    for (name, value) in headers {
        request.headers_mut().insert(*name, value.parse().unwrap());
    }
    match connect_async(request).await {
        Ok((socket, _)) => Ok(socket),
        Err(Error::Http(response)) => Err(response.status().as_u16()),
        Err(other) => panic!("{other}"),
    }
}

/// The next JSON message; pings are skipped.
async fn next(socket: &mut Socket) -> Value {
    loop {
        let message =
            tokio::time::timeout(Duration::from_secs(5), socket.next()).await.unwrap().unwrap().unwrap();
        if let Message::Text(text) = message {
            return serde_json::from_str(&text).unwrap();
        }
    }
}

#[tokio::test]
async fn what_happens_is_told_to_everybody_without_raw_records() {
    let served = Served::start().await;
    let (mut one, mut two) = (open(&served, &[]).await.unwrap(), open(&served, &[]).await.unwrap());
    for i in 0..9 {
        served.ports.live.send(fake::live(i)).unwrap();
    }
    for socket in [&mut one, &mut two] {
        for i in 0..9 {
            let mut want = json!(fake::live(i));
            if let Some(event) = want.get_mut("event") {
                event.as_object_mut().unwrap().remove("raw_data");
            }
            assert_eq!(next(socket).await, want);
        }
    }
    one.send(Message::text("ignored")).await.unwrap();
    served.ports.live.send(fake::live(1)).unwrap();
    assert_eq!(next(&mut one).await["type"], "event");
}

#[tokio::test]
async fn a_slow_reader_is_told_how_much_it_skipped() {
    let served = Served::start().await;
    let mut socket = open(&served, &[]).await.unwrap();
    // Sent without a pause: the feed's task runs only after the queue of 16 has overflowed.
    for i in 0..100 {
        served.ports.live.send(fake::live(i * 9)).unwrap();
    }
    let first = next(&mut socket).await;
    assert_eq!(first, json!({"type": "skipped", "count": 84}));
    for _ in 0..16 {
        assert_eq!(next(&mut socket).await["type"], "event");
    }
}

#[tokio::test]
async fn feeds_end_when_the_reader_leaves_and_their_number_is_bounded() {
    let served = Served::start().await;
    let mut sockets = Vec::new();
    for _ in 0..64 {
        sockets.push(open(&served, &[]).await.unwrap());
    }
    assert_eq!(open(&served, &[]).await.err(), Some(503));
    sockets.pop().unwrap().close(None).await.unwrap();
    let mut opened = None;
    for _ in 0..50 {
        tokio::time::sleep(Duration::from_millis(20)).await;
        opened = open(&served, &[]).await.ok();
        if opened.is_some() {
            break;
        }
    }
    assert!(opened.is_some(), "a place is free again");
    let mut chatty = sockets.pop().unwrap();
    chatty.send(Message::text("x".repeat(4_096))).await.unwrap();
    let ended = async { while let Some(Ok(_)) = chatty.next().await {} };
    assert!(
        tokio::time::timeout(Duration::from_secs(5), ended).await.is_ok(),
        "a reader that talks much is let go"
    );
}

#[tokio::test]
async fn the_handshake_is_guarded_like_everything_else() {
    let served = Served::start().await;
    let own = format!("http://{}", served.address);
    assert!(open(&served, &[("origin", own.clone())]).await.is_ok());
    assert_eq!(open(&served, &[("origin", "https://evil.example".to_owned())]).await.err(), Some(403));
    assert_eq!(open(&served, &[("host", "evil.example".to_owned())]).await.err(), Some(421));
    answer(served.request(Method::GET, "/ws/events")).await.is_problem(400, &["WebSocket"]);

    let guarded = Served::with_token().await;
    let protocol =
        |token: &str| [("sec-websocket-protocol", format!("prunella.v1, bearer.{}", to_hex(token)))];
    assert_eq!(open(&guarded, &[]).await.err(), Some(401));
    assert_eq!(open(&guarded, &protocol("wrong")).await.err(), Some(401));
    assert!(open(&guarded, &[("authorization", format!("Bearer {TOKEN}"))]).await.is_ok());
    let mut socket = open(&guarded, &protocol(TOKEN)).await.unwrap();
    guarded.ports.live.send(Live::Finding { finding: Box::new(fake::finding(5, 0)) }).unwrap();
    assert_eq!(next(&mut socket).await["type"], "finding");
}

fn to_hex(text: &str) -> String {
    text.bytes().map(|b| format!("{b:02x}")).collect()
}

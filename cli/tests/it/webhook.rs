//! An alert on its way out: signed as Standard Webhooks says, from the durable outbox, to a server of our own.

use crate::records::{principal, tampering};
use crate::running::{Running, wait_for};
use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use tempfile::TempDir;

const SECRET: &str = "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

struct Request {
    headers: BTreeMap<String, String>,
    body: Vec<u8>,
}

/// Reads one request and answers it with `status`.
fn answer(mut stream: TcpStream, status: &str) -> Option<Request> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        if line.trim().is_empty() {
            break;
        }
        if let Some((name, value)) = line.split_once(':') {
            headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
        }
    }
    let mut body = vec![0; headers.get("content-length")?.parse().ok()?];
    reader.read_exact(&mut body).ok()?;
    write!(stream, "HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").ok()?;
    Some(Request { headers, body })
}

/// Refuses the first delivery, takes all others, and hands on what came.
fn receiver() -> (String, Receiver<Request>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/alerts", listener.local_addr().unwrap());
    let (send, got) = channel();
    std::thread::spawn(move || {
        for (n, stream) in listener.incoming().enumerate() {
            let request = answer(stream.unwrap(), if n == 0 { "503 Busy" } else { "204 No Content" });
            if request.is_none_or(|request| send.send(request).is_err()) {
                return;
            }
        }
    });
    (url, got)
}

fn is_signed(request: &Request) -> bool {
    let header =
        |name: &str| request.headers.get(name).unwrap_or_else(|| panic!("no header {name}")).as_str();
    let key = hmac::Key::new(hmac::HMAC_SHA256, &STANDARD.decode(SECRET).unwrap());
    let mut signed = format!("{}.{}.", header("webhook-id"), header("webhook-timestamp")).into_bytes();
    signed.extend(&request.body);
    let signature = header("webhook-signature").strip_prefix("v1,").unwrap();
    hmac::verify(&key, &signed, &STANDARD.decode(signature).unwrap()).is_ok()
}

#[test]
fn a_finding_is_told_once_signed_and_again_after_a_refusal() {
    let (url, got) = receiver();
    let dir = TempDir::new().unwrap();
    let (secret, config) = (dir.path().join("secret"), dir.path().join("prunella.toml"));
    std::fs::write(&secret, format!("whsec_{SECRET}\n")).unwrap();
    let text = format!("[webhooks.default]\nurl = {url:?}\nsecret_file = {secret:?}\nallow_private = true\n");
    std::fs::write(&config, text).unwrap();
    let up = Running::start(&dir, &["--config", config.to_str().unwrap()]);
    let line = format!("{}\n", tampering("t-1", "eve"));
    up.post(
        "/api/events?source=aws.cloudtrail",
        &[("content-type", "application/x-ndjson")],
        line.into_bytes(),
    );
    let first = wait_for("the first attempt", || got.try_recv().ok());
    let second = wait_for("the second attempt", || got.try_recv().ok());
    for request in [&first, &second] {
        assert!(is_signed(request), "the signature does not verify");
        let body: serde_json::Value = serde_json::from_slice(&request.body).unwrap();
        assert!(body["type"].is_string() && body["data"].is_object(), "{body}");
        assert!(String::from_utf8_lossy(&request.body).contains(&principal("eve")));
    }
    assert_eq!(first.headers["webhook-id"], second.headers["webhook-id"], "the receiver can tell a repeat");
    let plans = up.cli(&["plans", "list", "--principal", &principal("eve"), "-o", "json"]).with(0).json();
    let told = plans.as_array().unwrap().iter().find(|p| p["plan"]["action"] == "notify.webhook").unwrap();
    assert_eq!(told["to"], "applied", "{told}");
    assert!(got.try_recv().is_err(), "it was told a third time");
}

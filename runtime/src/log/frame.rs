//! How a batch is written into one row: length-prefixed messages, so that ids and keys are read without parsing bodies.

use super::LogError;
use prunella_schemas::{Id, Posted, Timestamp, Topic};

pub fn encode(messages: &[&Posted]) -> Vec<u8> {
    let size = messages.iter().map(|m| 33 + m.key.len() + m.bytes.len()).sum();
    let mut out = Vec::with_capacity(size);
    for message in messages {
        out.push(message.version);
        out.extend_from_slice(&message.id.0);
        out.extend_from_slice(&message.origin.0.to_le_bytes());
        put(&mut out, message.key.as_bytes());
        put(&mut out, &message.bytes);
    }
    out
}

pub fn decode(topic: Topic, mut bytes: &[u8]) -> Result<Vec<Posted>, LogError> {
    let mut messages = Vec::new();
    while !bytes.is_empty() {
        let message = take_message(topic, &mut bytes).ok_or_else(|| {
            LogError::Corrupt(format!("a batch of topic `{}` ends in the middle of a message", topic.name()))
        })?;
        messages.push(message);
    }
    Ok(messages)
}

fn put(out: &mut Vec<u8>, bytes: &[u8]) {
    // A message is bounded far below 4 GiB by RECORD_BYTES_MAX.
    out.extend_from_slice(&u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_le_bytes());
    out.extend_from_slice(bytes);
}

fn take_message(topic: Topic, bytes: &mut &[u8]) -> Option<Posted> {
    let version = *take(bytes, 1)?.first()?;
    let id = Id(take(bytes, 16)?.try_into().ok()?);
    let origin = Timestamp(i64::from_le_bytes(take(bytes, 8)?.try_into().ok()?));
    let key = String::from_utf8(take_prefixed(bytes)?.to_vec()).ok()?;
    let body = take_prefixed(bytes)?.to_vec();
    Some(Posted { topic, version, id, key, origin, bytes: body })
}

fn take_prefixed<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = u32::from_le_bytes(take(bytes, 4)?.try_into().ok()?);
    take(bytes, usize::try_from(length).ok()?)
}

fn take<'a>(bytes: &mut &'a [u8], count: usize) -> Option<&'a [u8]> {
    let (head, tail) = bytes.split_at_checked(count)?;
    *bytes = tail;
    Some(head)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_round_trips_and_a_cut_one_is_refused() {
        let message = |n: u8| Posted {
            topic: Topic::Events,
            version: n,
            id: Id([n; 16]),
            key: "k".repeat(usize::from(n)),
            origin: Timestamp(i64::from(n) * 1_000),
            bytes: vec![n; usize::from(n) * 3],
        };
        let messages: Vec<_> = (0..5).map(message).collect();
        let all: Vec<&Posted> = messages.iter().collect();
        let bytes = encode(&all);
        assert_eq!(decode(Topic::Events, &bytes).unwrap(), messages);
        let whole: Vec<usize> = (0..=5).map(|n| encode(&all[..n]).len()).collect();
        for cut in 0..bytes.len() {
            assert_eq!(decode(Topic::Events, &bytes[..cut]).is_ok(), whole.contains(&cut), "cut at {cut}");
        }
    }
}

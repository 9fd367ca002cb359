//! What a message of the queue says: which objects were written, in any of the forms that AWS sends.

use serde::Deserialize;
use serde_json::Value;

/// Envelopes inside envelopes: SNS around a notification is one.
const ENVELOPES_MAX: usize = 3;
/// Objects that one message may name. CloudTrail's own name a few, S3's one.
const OBJECTS_MAX: usize = 100;

/// The meaning of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// Objects that were written: bucket and key.
    Wrote(Vec<(String, String)>),
    /// A greeting: AWS tries out a new subscription.
    Test,
    /// Nobody of AWS sends this.
    Unknown(&'static str),
}

#[derive(Deserialize)]
struct S3Record {
    #[serde(rename = "eventSource")]
    source: String,
    #[serde(rename = "eventName")]
    name: String,
    s3: S3,
}

#[derive(Deserialize)]
struct S3 {
    bucket: S3Bucket,
    object: S3Object,
}

#[derive(Deserialize)]
struct S3Bucket {
    name: String,
}

#[derive(Deserialize)]
struct S3Object {
    key: String,
}

/// S3's event notification, CloudTrail's own, EventBridge's; each plain or in an envelope of SNS.
pub fn read(body: &str) -> Notice {
    let mut text = body.to_owned();
    for _ in 0..ENVELOPES_MAX {
        let Ok(value) = serde_json::from_str::<Value>(&text) else {
            return match text.starts_with("CloudTrail validation message") {
                true => Notice::Test,
                false => Notice::Unknown("it is not JSON"),
            };
        };
        match value.get("Message").and_then(Value::as_str) {
            Some(inner) if value.get("Type").and_then(Value::as_str) == Some("Notification") => {
                text = inner.to_owned();
            }
            _ => return plain(&value),
        }
    }
    Notice::Unknown("too many envelopes")
}

fn plain(value: &Value) -> Notice {
    let text = |pointer: &str| value.pointer(pointer).and_then(Value::as_str);
    if text("/Event") == Some("s3:TestEvent") {
        return Notice::Test;
    }
    let wrote = if let Some(records) = value.get("Records").and_then(Value::as_array) {
        let read = |record: &Value| {
            let record: S3Record = serde_json::from_value(record.clone()).ok()?;
            let is_write = record.source == "aws:s3" && record.name.starts_with("ObjectCreated");
            let key = unescape(&record.s3.object.key)?;
            Some(is_write.then_some((record.s3.bucket.name, key)))
        };
        let Some(objects) = records.iter().map(read).collect::<Option<Vec<_>>>() else {
            return Notice::Unknown("its records are not S3 events");
        };
        objects.into_iter().flatten().collect()
    } else if let (Some(bucket), Some(keys)) = (text("/s3Bucket"), value.get("s3ObjectKey")) {
        let keys = keys.as_array().map_or(std::slice::from_ref(keys), Vec::as_slice);
        keys.iter().filter_map(Value::as_str).map(|key| (bucket.to_owned(), key.to_owned())).collect()
    } else if let (Some("Object Created"), Some(bucket), Some(key)) =
        (text("/detail-type"), text("/detail/bucket/name"), text("/detail/object/key"))
    {
        vec![(bucket.to_owned(), key.to_owned())]
    } else {
        return Notice::Unknown("it names no object");
    };
    match wrote.len() > OBJECTS_MAX {
        true => Notice::Unknown("it names too many objects"),
        false => Notice::Wrote(wrote),
    }
}

/// S3 writes keys as HTML forms do.
fn unescape(key: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(key.len());
    let mut rest = key.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let pair = [rest.next()?, rest.next()?];
                u8::from_str_radix(std::str::from_utf8(&pair).ok()?, 16).ok()?
            }
            other => other,
        });
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_is_read_and_nothing_else_is_believed() {
        let one = |key: &str| Notice::Wrote(vec![("b".to_owned(), key.to_owned())]);
        let check = |body: &str, want: Notice| assert_eq!(read(body), want, "{body}");
        let s3 = r#"{"Records":[{"eventSource":"aws:s3","eventName":"ObjectCreated:Put","s3":{"bucket":{"name":"b"},"object":{"key":"a%2Bb+c/%C3%A4","size":1}}}]}"#;
        check(s3, one("a+b c/ä"));
        let sns = serde_json::json!({ "Type": "Notification", "Message": s3 }).to_string();
        check(&sns, one("a+b c/ä"));
        let own = r#"{"s3Bucket":"b","s3ObjectKey":["k"]}"#;
        check(own, one("k"));
        check(&serde_json::json!({ "Type": "Notification", "Message": own }).to_string(), one("k"));
        check(
            r#"{"detail-type":"Object Created","detail":{"bucket":{"name":"b"},"object":{"key":"k"}}}"#,
            one("k"),
        );
        check(&s3.replace("ObjectCreated:Put", "ObjectRemoved:Delete"), Notice::Wrote(Vec::new()));
        check(r#"{"Service":"Amazon S3","Event":"s3:TestEvent","Bucket":"b"}"#, Notice::Test);
        check("CloudTrail validation message.", Notice::Test);
        check("hello", Notice::Unknown("it is not JSON"));
        check(&s3.replace("a%2B", "a%ZZ"), Notice::Unknown("its records are not S3 events"));
        check(r#"{"Records":[1]}"#, Notice::Unknown("its records are not S3 events"));
        check("[]", Notice::Unknown("it names no object"));
        let many: Vec<String> = (0..101).map(|n| n.to_string()).collect();
        let many = serde_json::json!({ "s3Bucket": "b", "s3ObjectKey": many }).to_string();
        check(&many, Notice::Unknown("it names too many objects"));
    }
}

//! Shared Key: the signature of a request by an account key, which the SDK leaves to its users.
//!
//! <https://learn.microsoft.com/rest/api/storageservices/authorize-with-shared-key>, for Blob storage from 2015-02-21 on.

use crate::access::{read_secret, send_on};
use aws_lc_rs::hmac;
use azure_core::error::ErrorKind;
use azure_core::http::policies::{Policy, PolicyResult};
use azure_core::http::{Context, Request};
use azure_core::time::{OffsetDateTime, to_rfc7231};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

/// The headers that are signed by value, in this order. Content-Length stands between the second and the third.
const SIGNED: [&str; 10] = [
    "content-encoding",
    "content-language",
    "content-md5",
    "content-type",
    "date",
    "if-modified-since",
    "if-match",
    "if-none-match",
    "if-unmodified-since",
    "range",
];

/// Signs every try anew, since the date is part of what is signed.
#[derive(Debug)]
pub struct SharedKey {
    pub account: String,
    pub file: PathBuf,
}

#[async_trait::async_trait]
impl Policy for SharedKey {
    async fn send(&self, ctx: &Context, request: &mut Request, next: &[Arc<dyn Policy>]) -> PolicyResult {
        let bad = |detail: String| azure_core::Error::with_message(ErrorKind::Credential, detail);
        let key = STANDARD.decode(read_secret(&self.file).await?);
        let key =
            key.map_err(|_| bad(format!("{} holds no base64, so no account key", self.file.display())))?;
        request.insert_header("x-ms-date", to_rfc7231(&OffsetDateTime::now_utc()));
        let signature =
            hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &key), text(&self.account, request).as_bytes());
        let value = format!("SharedKey {}:{}", self.account, STANDARD.encode(signature));
        request.insert_header("authorization", value);
        send_on(ctx, request, next).await
    }
}

/// What is signed.
fn text(account: &str, request: &Request) -> String {
    let headers: BTreeMap<String, &str> = request
        .headers()
        .iter()
        .map(|(name, value)| (name.as_str().to_ascii_lowercase(), value.as_str().trim()))
        .collect();
    let mut lines = vec![request.method().as_str().to_owned()];
    for (index, name) in SIGNED.iter().enumerate() {
        if index == 2 {
            let length = request.body().len().filter(|length| *length > 0);
            lines.push(length.map(|length| length.to_string()).unwrap_or_default());
        }
        lines.push(headers.get(*name).copied().unwrap_or_default().to_owned());
    }
    let own = headers.iter().filter(|(name, _)| name.starts_with("x-ms-"));
    lines.extend(own.map(|(name, value)| format!("{name}:{value}")));
    lines.push(format!("/{account}{}", request.url().path()));
    let mut parameters: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, value) in request.url().query_pairs() {
        parameters.entry(name.to_lowercase()).or_default().push(value.into_owned());
    }
    lines.extend(parameters.into_iter().map(|(name, mut values)| {
        values.sort();
        format!("{name}:{}", values.join(","))
    }));
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use azure_core::http::{Method, Url};

    /// The example of the specification, for listing the containers of an account.
    #[test]
    fn the_text_is_the_one_of_the_specification() {
        let url =
            Url::parse("https://myaccount.blob.core.windows.net/mycontainer?restype=container&comp=metadata")
                .unwrap();
        let mut request = Request::new(url, Method::Get);
        request.insert_header("x-ms-date", "Fri, 26 Jun 2015 23:39:12 GMT");
        request.insert_header("x-ms-version", "2015-02-21");
        let expected = "GET\n\n\n\n\n\n\n\n\n\n\n\nx-ms-date:Fri, 26 Jun 2015 23:39:12 GMT\nx-ms-version:2015-02-21\n\
                        /myaccount/mycontainer\ncomp:metadata\nrestype:container";
        assert_eq!(text("myaccount", &request), expected);
    }
}

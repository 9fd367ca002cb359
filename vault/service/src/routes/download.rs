//! Opening and download: both pass the gate, and neither sends a byte before it is written down durably that it does.

use super::{Shared, base64};
use crate::access::{Caller, Origin};
use crate::accounts;
use crate::event::Audit;
use crate::files::{self as rows, Class, FileRow};
use crate::grants::{self, GrantRow, Right};
use crate::objects::Span;
use crate::policy::Operation;
use crate::service::Vault;
use crate::wire::{EPOCH_HEADER, Opened, PART_HEADER, ShareMode, Turned, VERSION_HEADER, WHOLE_BYTES_MAX};
use crate::{Error, names};
use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use prunella_vault_crypto::body::last_chunk;
use prunella_vault_crypto::forward::{Grant, ReKey};
use prunella_vault_crypto::gate::{Domain, Point, Tier};
use prunella_vault_crypto::manifest::{Expected, Floor, Verified};
use std::ops::Range;
use zeroize::Zeroizing;

/// The signed manifest of a file. Of MEDIUM and HIGH it takes the caller's part: `X-Vault-Part` and `X-Vault-Epoch`.
#[utoipa::path(get, path = "/manifest/{filename}", tag = "files",
    params(("filename" = String, Path, description = "A name of one's own, or an id"),
           ("x-vault-part" = Option<String>, Header, description = "The caller's opened part, base64"),
           ("x-vault-epoch" = Option<u64>, Header)),
    responses((status = 200, body = Opened), (status = 404), (status = 409, description = "The epoch is another by now")))]
pub(crate) async fn manifest(
    State(vault): Shared,
    origin: Origin,
    Path(filename): Path<String>,
    headers: HeaderMap,
) -> Result<Json<Opened>, Error> {
    let mut audit = Audit::new(Operation::Open, origin);
    let result = async {
        let (file, right, inner) = pass(&vault, &mut audit, &filename, &headers).await?;
        let epoch = renew_in_passing(&vault, &audit, &file, &inner).await;
        let owner = accounts::by_id(&vault.db, &file.owner).await?.ok_or(Error::Missing("file"))?;
        let forwarded = match &right {
            Right::Granted(grant) if grant.mode == ShareMode::Proxy => {
                Some(turn(&vault, grant, &file, &owner, &inner)?)
            }
            _ => None,
        };
        vault.record(&audit).await?;
        Ok(Opened {
            id: file.hex(),
            owner: super::account::public_keys(&owner),
            version: file.version,
            epoch,
            size: file.size,
            manifest: BASE64.encode(&*inner),
            forwarded,
        })
    };
    let result = result.await;
    vault.settle(&audit, result).await.map(Json)
}

/// The sealed object, or a span of it. It passes the gate as the manifest does. Each counts as a download of a bounded share,
/// but for the last chunk of an object of more than 4 MiB.
#[utoipa::path(get, path = "/download/{filename}", tag = "files",
    params(("filename" = String, Path, description = "A name of one's own, or an id"),
           ("range" = Option<String>, Header, description = "One span of bytes (RFC 9110)"),
           ("x-vault-part" = Option<String>, Header), ("x-vault-epoch" = Option<u64>, Header)),
    responses((status = 200, content_type = "application/octet-stream"), (status = 206), (status = 404), (status = 416)))]
pub(crate) async fn download(
    State(vault): Shared,
    origin: Origin,
    Path(filename): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Error> {
    let mut audit = Audit::new(Operation::Download, origin);
    let result = send(&vault, &mut audit, &filename, &headers).await;
    vault.settle(&audit, result).await
}

async fn send(
    vault: &Vault,
    audit: &mut Audit,
    filename: &str,
    headers: &HeaderMap,
) -> Result<Response, Error> {
    let (file, right, _) = pass(vault, audit, filename, headers).await?;
    let range = headers.get(header::RANGE).map(|range| parse_range(range, file.size)).transpose()?.flatten();
    let span = range.clone().unwrap_or(0..file.size);
    let store = match file.class {
        Class::Standard => &vault.custody.stores.objects,
        Class::StandardIa => &vault.custody.stores.rare,
    };
    let body = store.read(file.body(), span.start, span.end - span.start).await?;
    let body = body.ok_or(Error::Conflict("the file was changed meanwhile: read it again"))?;
    audit.bytes_out = Some(span.end - span.start);
    let mut tx = vault.db.begin().await?;
    if let Right::Granted(grant) = &right
        && !is_proof_of_length(&span, file.size)
    {
        grants::use_up(&mut tx, &grant.id).await?;
    }
    audit.done(&mut tx, vault.now()).await?;
    tx.commit().await?;
    vault.posted.notify_one();
    Ok(answer(&file, range, span, body))
}

/// The last chunk of a long object, which a client fetches before the object itself.
fn is_proof_of_length(span: &Range<u64>, size: u64) -> bool {
    size > WHOLE_BYTES_MAX && last_chunk(size).is_ok_and(|last| last == *span)
}

fn answer(file: &FileRow, range: Option<Range<u64>>, span: Range<u64>, body: Span) -> Response {
    let pieces = futures_util::stream::try_unfold(body, Span::piece);
    let mut response = Body::from_stream(pieces).into_response();
    if let Some(range) = range {
        *response.status_mut() = StatusCode::PARTIAL_CONTENT;
        let text = format!("bytes {}-{}/{}", range.start, range.end - 1, file.size);
        response
            .headers_mut()
            .extend(HeaderValue::from_str(&text).ok().map(|text| (header::CONTENT_RANGE, text)));
    }
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(span.end - span.start));
    headers.insert(VERSION_HEADER, HeaderValue::from(file.version));
    response
}

/// Everything that must hold before the gate opens, and then what is behind it.
async fn pass(
    vault: &Vault,
    audit: &mut Audit,
    filename: &str,
    headers: &HeaderMap,
) -> Result<(FileRow, Right, Zeroizing<Vec<u8>>), Error> {
    let caller = vault.admit(audit).await?;
    names::file(filename)?;
    // Between reading which epoch it is and fetching its parts the epoch may have gone: then there is a newer one.
    for is_last in [false, true] {
        let file = rows::find(&vault.db, &caller.user.id, filename).await?.ok_or(Error::Missing("file"))?;
        audit.file = Some((file.hex(), file.size));
        let right = vault.right(&caller, &file).await?;
        vault.admit_to_tier(&caller, file.guarded_as() == Tier::High)?;
        let brought = part(headers, &file)?;
        let is_brought = !brought.is_empty();
        match vault.custody.open(&file, brought).await {
            Ok(inner) => {
                audit.about(&file);
                return Ok((file, right, inner));
            }
            Err(Error::Corrupt(_)) if is_brought && is_last => {
                return Err(Error::Invalid("the part does not open the gate".into()));
            }
            Err(error) if is_last => return Err(error),
            Err(_) => {}
        }
    }
    Err(Error::Missing("file"))
}

/// The caller's part, of MEDIUM and HIGH. A request brings the user's domain and no other.
fn part(headers: &HeaderMap, file: &FileRow) -> Result<Vec<Point>, Error> {
    if file.tier == Tier::Low {
        return Ok(Vec::new());
    }
    let text = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    let (Some(part), Some(epoch)) = (text(PART_HEADER), text(EPOCH_HEADER)) else {
        return Err(Error::Invalid(
            "this file takes the caller's part: see `part` in /files/{filename}".into(),
        ));
    };
    if epoch.parse() != Ok(file.epoch) {
        return Err(Error::Conflict("the file's epoch is another by now: read it again"));
    }
    let bytes = Zeroizing::new(base64(PART_HEADER, part)?);
    let value = bytes.as_slice().try_into().map_err(|_| Error::Invalid("a part has 32 bytes".into()))?;
    let point = Point::from_bytes(file.at(), Domain::User, Zeroizing::new(value));
    point.map(|point| vec![point]).map_err(|_| Error::Invalid("a part has 32 bytes".into()))
}

/// A renewal that waited for the user's part has it now. Gives the epoch that the file has afterwards.
async fn renew_in_passing(vault: &Vault, audit: &Audit, file: &FileRow, inner: &[u8]) -> u64 {
    if file.is_due() && file.tier != Tier::Low {
        let audit = Audit { operation: Operation::Rotate, ..audit.clone() };
        match vault.reseal(file, inner, &audit).await {
            Ok(epoch) => return epoch,
            Err(error) => tracing::warn!(%error, "a renewal waits for the next time"),
        }
    }
    file.epoch
}

/// The capsule of the file, turned towards the recipient of the grant.
fn turn(
    vault: &Vault,
    row: &GrantRow,
    file: &FileRow,
    owner: &accounts::UserRow,
    inner: &[u8],
) -> Result<Turned, Error> {
    let damaged = |_| Error::Corrupt("the grant");
    let key = owner.sign_key()?;
    let grant = Grant::open(&base64("grant", &row.signed)?, &key).map_err(damaged)?;
    let expected = Expected { file: file.id, version_min: file.version, floor: Floor::Classical };
    let manifest = Verified::open(inner, &key, &expected).map_err(damaged)?;
    let rekey = vault.open_rekey(&row.id, &row.rekey).ok_or(Error::Missing("file"))?;
    let now_ms = vault.now().0.max(0) as u64;
    let capsule =
        ReKey::from_bytes(rekey).transform(&grant, &manifest, now_ms).map_err(|_| Error::Missing("file"))?;
    Ok(Turned { grant: row.signed.clone(), capsule: BASE64.encode(capsule.0) })
}

/// One span of bytes; what is no such thing is ignored, as RFC 9110 asks.
fn parse_range(range: &HeaderValue, len: u64) -> Result<Option<Range<u64>>, Error> {
    let text = range.to_str().ok().and_then(|text| text.trim().strip_prefix("bytes="));
    let Some((first, last)) = text.filter(|text| !text.contains(',')).and_then(|text| text.split_once('-'))
    else {
        return Ok(None);
    };
    let number =
        |text: &str| text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse::<u64>().ok()).flatten();
    let span = match (first, last) {
        ("", suffix) => number(suffix).map(|count| len.saturating_sub(count)..len),
        (first, "") => number(first).map(|first| first..len),
        (first, last) => match (number(first), number(last)) {
            (Some(first), Some(last)) if first <= last => Some(first..last.saturating_add(1).min(len)),
            _ => None,
        },
    };
    match span {
        Some(span) if span.start < span.end => Ok(Some(span)),
        Some(_) => Err(Error::Range(len)),
        None => Ok(None),
    }
}

/// Whether the caller sees the file at all, for routes that say something about it.
pub(super) async fn visible(
    vault: &Vault,
    caller: &Caller,
    filename: &str,
) -> Result<(FileRow, Right), Error> {
    names::file(filename)?;
    let file = rows::find(&vault.db, &caller.user.id, filename).await?.ok_or(Error::Missing("file"))?;
    let right = vault.right(caller, &file).await?;
    Ok((file, right))
}

/// The inner blob of a file, by the parts that this request brought.
pub(super) async fn inner(
    vault: &Vault,
    headers: &HeaderMap,
    file: &FileRow,
) -> Result<Zeroizing<Vec<u8>>, Error> {
    vault.custody.open(file, part(headers, file)?).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_as_rfc_9110_says() {
        for (text, want) in [
            ("bytes=0-0", Ok(Some(0..1))),
            ("bytes=0-", Ok(Some(0..100))),
            ("bytes=10-19", Ok(Some(10..20))),
            ("bytes=90-1000", Ok(Some(90..100))),
            ("bytes=-10", Ok(Some(90..100))),
            ("bytes=-1000", Ok(Some(0..100))),
            ("bytes=5-18446744073709551615", Ok(Some(5..100))),
            ("bytes=100-", Err(Error::Range(100))),
            ("bytes=-0", Err(Error::Range(100))),
            ("bytes=20-10", Ok(None)),
            ("bytes=0-1,5-6", Ok(None)),
            ("bytes=+1-2", Ok(None)),
            ("bytes=a-b", Ok(None)),
            ("bytes=-", Ok(None)),
            ("lines=0-1", Ok(None)),
            ("", Ok(None)),
        ] {
            assert_eq!(parse_range(&HeaderValue::from_str(text).unwrap(), 100), want, "{text}");
        }
        assert_eq!(parse_range(&HeaderValue::from_static("bytes=0-0"), 0), Err(Error::Range(0)));
    }
}

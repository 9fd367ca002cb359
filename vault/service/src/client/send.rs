//! Requests and answers: the token and the device go along, and a problem comes back as one.

use super::{Client, ClientError, Identity, bytes, file_id};
use crate::Problem;
use crate::access::DEVICE_HEADER;
use crate::wire::{EPOCH_HEADER, FileInfo, Files, Login, PART_HEADER};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use prunella_vault_crypto::gate::{Domain, Epoch, Point, Tier};
use reqwest::{RequestBuilder, Response, Url};
use serde::de::DeserializeOwned;

impl Client {
    /// A route, each segment escaped.
    pub(crate) fn url(&self, path: &[&str]) -> Result<Url, ClientError> {
        let mut url =
            Url::parse(&self.base).map_err(|_| ClientError::Malformed("address: write http://host:port"))?;
        url.path_segments_mut().map_err(|()| ClientError::Malformed("address"))?.pop_if_empty().extend(path);
        Ok(url)
    }

    pub(crate) fn http(&self) -> &reqwest::Client {
        &self.http
    }

    pub(crate) async fn get<T: DeserializeOwned>(&self, path: &[&str]) -> Result<T, ClientError> {
        self.send(self.http.get(self.url(path)?)).await
    }

    pub(crate) async fn send<T: DeserializeOwned>(&self, request: RequestBuilder) -> Result<T, ClientError> {
        answer(self.proven(request).send().await?).await
    }

    pub(crate) async fn done(&self, request: RequestBuilder) -> Result<(), ClientError> {
        check(self.proven(request).send().await?).await.map(drop)
    }

    /// The request with what proves who sends it.
    pub(crate) fn proven(&self, request: RequestBuilder) -> RequestBuilder {
        let mut request = request;
        if !self.memory.access_token.is_empty() {
            request = request.bearer_auth(&self.memory.access_token);
        }
        if !self.memory.device_token.is_empty() {
            request = request.header(DEVICE_HEADER, &self.memory.device_token);
        }
        request
    }

    /// The request with the caller's part of the file's key, where the tier has one.
    pub(crate) fn with_part(
        &self,
        request: RequestBuilder,
        file: &FileInfo,
    ) -> Result<RequestBuilder, ClientError> {
        let Some(record) = &file.part else { return Ok(request) };
        let identity: Identity = self.identity()?;
        let record = BASE64.decode(record).map_err(|_| ClientError::Malformed("part"))?;
        let at = Epoch { file: file_id(&file.id)?, epoch: file.epoch, tier: Tier::from(file.tier) };
        let point = Point::open_as(&record, at, Domain::User, &identity.wrap)?;
        Ok(request.header(PART_HEADER, BASE64.encode(point.expose())).header(EPOCH_HEADER, file.epoch))
    }

    /// A file by the name that the client gave it, or by id.
    pub(crate) async fn find(&self, name: &str) -> Result<FileInfo, ClientError> {
        match self.own(name).await? {
            Some(file) => self.get(&["files", &file.id]).await,
            None => self.get(&["files", name]).await,
        }
    }

    /// A file of one's own by the name that the client gave it.
    pub(crate) async fn own(&self, name: &str) -> Result<Option<FileInfo>, ClientError> {
        let mut url = self.url(&["files"])?;
        url.query_pairs_mut().append_pair("name", &self.identity()?.name(name));
        let page: Files = self.send(self.http.get(url)).await?;
        Ok(page.files.into_iter().next())
    }
}

pub(crate) async fn check(response: Response) -> Result<Response, ClientError> {
    if response.status().is_success() {
        return Ok(response);
    }
    let status = response.status();
    let text = response.text().await.unwrap_or_default();
    Err(ClientError::Refused(serde_json::from_str(&text).unwrap_or_else(|_| Problem {
        kind: "about:blank".into(),
        title: status.to_string(),
        status: status.as_u16(),
        detail: text.chars().take(200).collect(),
    })))
}

pub(crate) async fn answer<T: DeserializeOwned>(response: Response) -> Result<T, ClientError> {
    let text = check(response).await?.bytes().await?;
    serde_json::from_slice(&text).map_err(|_| ClientError::Malformed("answer"))
}

/// The password form, as RFC 6749 wants it encoded.
pub(crate) fn form(login: &Login) -> Result<String, ClientError> {
    let pairs =
        [("grant_type", &login.grant_type), ("username", &login.username), ("password", &login.password)];
    let url = Url::parse_with_params("form:", pairs).map_err(|_| ClientError::Malformed("form"))?;
    Ok(url.query().unwrap_or_default().to_owned())
}

/// A key of 32 bytes in base64.
pub(crate) fn key32(what: &'static str, text: &str) -> Result<[u8; 32], ClientError> {
    bytes(what, text)
}

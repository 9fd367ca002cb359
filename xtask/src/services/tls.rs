//! A throw-away authority for each service and a certificate of it for loopback, made the first time.

use super::process;
use anyhow::Context;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// Names that the certificate is for.
const NAMES: [&str; 2] = ["127.0.0.1", "localhost"];

/// Where a service speaks TLS, and whom its clients trust.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Door {
    /// `host:port`
    pub address: String,
    /// The certificate of its authority, as PEM.
    pub authority: PathBuf,
}

/// What a server needs; each is a file of PEM.
pub struct Files {
    pub authority: PathBuf,
    pub certificate: PathBuf,
    pub key: PathBuf,
    /// Key and certificate in one, as Kafka takes them.
    pub both: PathBuf,
}

/// The files in `folder`. The key of the authority is kept nowhere.
pub fn files(folder: &Path) -> anyhow::Result<Files> {
    let at = |name: &str| folder.join(name);
    let files = Files {
        authority: at("authority.pem"),
        certificate: at("server.pem"),
        key: at("server.key"),
        both: at("server-and-key.pem"),
    };
    // Written last, so that half a set never counts.
    if !files.authority.exists() {
        make(&files).context("cannot make certificates")?;
    }
    Ok(files)
}

fn make(files: &Files) -> anyhow::Result<()> {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, "a throw-away authority for tests");
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::new(NAMES.map(str::to_owned).to_vec())?;
    params.distinguished_name.push(DnType::CommonName, "localhost");
    let certificate = params.signed_by(&key, &authority)?.pem();
    let key = key.serialize_pem();
    process::private_file(&files.certificate, &certificate)?;
    process::private_file(&files.key, &key)?;
    process::private_file(&files.both, &format!("{key}{certificate}"))?;
    process::private_file(&files.authority, &authority.pem())
}

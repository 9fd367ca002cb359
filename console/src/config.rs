//! Configuration of the console, and the token that guards it.

use prunella_schemas::Tenant;
use serde::{Deserialize, Serialize};
use std::io::Read;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

/// Shortest token accepted, in bytes: 128 bits in hexadecimal.
pub const TOKEN_BYTES_MIN: usize = 32;
/// Longest token accepted, in bytes.
pub const TOKEN_BYTES_MAX: usize = 512;
/// Longest time a request may be configured to take, in milliseconds; an idle connection lives a little longer.
const REQUEST_TIMEOUT_MS_MAX: u64 = 60_000;

/// How the console is served. Everything has a default that is safe on a laptop.
#[derive(Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where the API and the page are served. Another address than loopback needs a token. Default `127.0.0.1:7766`.
    pub listen: SocketAddr,
    /// The tenant that intake writes to, and of token versions when none is asked for. Default `default`.
    pub tenant: Tenant,
    /// File that holds the bearer token, readable by its owner only. Default: none, which allows loopback only.
    pub token_file: Option<PathBuf>,
    /// Further origins whose pages may change state, such as `https://prunella.example.com` behind a proxy. Default: none.
    pub origins: Vec<String>,
    /// Longest time a request may take, in milliseconds. At most 60 000. Default 30 000.
    pub request_timeout_ms: u64,
    /// The token itself, when the caller loaded it; otherwise it is read from `token_file`.
    #[serde(skip)]
    pub token: Option<Token>,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 7766)),
            tenant: Tenant::default(),
            token_file: None,
            origins: Vec::new(),
            request_timeout_ms: 30_000,
            token: None,
        }
    }
}

impl Config {
    /// Loads the token and refuses what would be unsafe or cannot work.
    pub(crate) fn check(mut self) -> Result<Self, ConfigError> {
        if let (None, Some(file)) = (&self.token, &self.token_file) {
            self.token = Some(Token::load(file)?);
        }
        if self.token.is_none() && !self.listen.ip().is_loopback() {
            return Err(ConfigError::Exposed(self.listen));
        }
        if !(1..=REQUEST_TIMEOUT_MS_MAX).contains(&self.request_timeout_ms) {
            return Err(ConfigError::Timeout(self.request_timeout_ms));
        }
        for origin in &self.origins {
            let host = origin.strip_prefix("https://").or_else(|| origin.strip_prefix("http://"));
            if !host.is_some_and(|h| !h.is_empty() && !h.contains(['/', '*', ' '])) {
                return Err(ConfigError::Origin(origin.clone()));
            }
        }
        if !self.listen.ip().is_loopback() {
            tracing::warn!(listen = %self.listen, "the console speaks plain HTTP: put a TLS proxy in front of it");
        }
        Ok(self)
    }
}

/// A bearer token, kept only as its BLAKE3 digest: it cannot be printed, serialised or found in a core dump, and
/// comparing digests takes the same time whatever was sent.
#[derive(Clone)]
pub struct Token(blake3::Hash);

impl Token {
    /// Takes the token's text; white space around it is not part of it.
    pub fn new(text: &str) -> Result<Self, ConfigError> {
        let text = text.trim();
        let sized = (TOKEN_BYTES_MIN..=TOKEN_BYTES_MAX).contains(&text.len());
        if !sized || !text.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(ConfigError::WeakToken);
        }
        Ok(Token(blake3::hash(text.as_bytes())))
    }

    /// Reads a token file. Refuses one that others than its owner can read.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let unreadable =
            |e: std::io::Error| ConfigError::TokenFile { path: path.to_owned(), detail: e.to_string() };
        let file = std::fs::File::open(path).map_err(unreadable)?;
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = file.metadata().map_err(unreadable)?.permissions().mode();
            if mode & 0o077 != 0 {
                return Err(ConfigError::TokenFileOpen { path: path.to_owned(), mode: mode & 0o777 });
            }
        }
        let mut text = String::new();
        file.take(TOKEN_BYTES_MAX as u64 * 2).read_to_string(&mut text).map_err(unreadable)?;
        Token::new(&text)
    }

    /// Whether this is the token.
    pub fn matches(&self, presented: &[u8]) -> bool {
        // `blake3::Hash` compares in constant time.
        self.0 == blake3::hash(presented)
    }
}

/// Why the console does not start.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ConfigError {
    #[error(
        "refusing to listen on {0} without a token: anybody who reaches that address could read everything and stop responses; \
         set `token_file` to a file with a random token (`openssl rand -hex 32`), or listen on 127.0.0.1"
    )]
    Exposed(SocketAddr),
    #[error(
        "cannot read the token file {}: {detail}; create it with `openssl rand -hex 32`, readable by its owner only",
        path.display()
    )]
    TokenFile { path: PathBuf, detail: String },
    #[error("the token file {} has mode {mode:o}, so that others can read it: run `chmod 600` on it", path.display())]
    TokenFileOpen { path: PathBuf, mode: u32 },
    #[error(
        "the token must be {TOKEN_BYTES_MIN} to {TOKEN_BYTES_MAX} visible ASCII characters: make one with `openssl rand -hex 32`"
    )]
    WeakToken,
    #[error("`{0}` is not an origin: write it as a browser sends it, such as `https://prunella.example.com`")]
    Origin(String),
    #[error("request_timeout_ms is {0}: use 1 to {REQUEST_TIMEOUT_MS_MAX}")]
    Timeout(u64),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strangers_are_refused_without_a_token() {
        let listen = |address: &str| Config { listen: address.parse().unwrap(), ..Config::default() };
        for ok in ["127.0.0.1:1", "127.9.9.9:1", "[::1]:1"] {
            assert!(listen(ok).check().is_ok(), "{ok}");
        }
        for exposed in ["0.0.0.0:1", "[::]:1", "10.0.0.1:1", "[::ffff:10.0.0.1]:1"] {
            assert_eq!(listen(exposed).check().err(), Some(ConfigError::Exposed(exposed.parse().unwrap())));
            let token = Token::new(&"k".repeat(32)).ok();
            assert!(Config { token, ..listen(exposed) }.check().is_ok(), "{exposed}");
        }
    }

    #[test]
    fn tokens_are_long_visible_and_compared_whole() {
        for weak in [
            "",
            "short",
            &"k".repeat(31),
            &"k".repeat(513),
            &format!("{} {}", "k".repeat(20), "k".repeat(20)),
        ] {
            assert_eq!(Token::new(weak).err(), Some(ConfigError::WeakToken), "{weak}");
        }
        let token = Token::new(&format!("  {}\n", "k".repeat(32))).ok().unwrap();
        assert!(token.matches("k".repeat(32).as_bytes()));
        assert!(!token.matches("k".repeat(31).as_bytes()) && !token.matches(b""));
    }

    #[test]
    fn bad_origins_and_timeouts_are_refused() {
        for bad in ["", "*", "example.com", "https://", "https://a/b", "https://*"] {
            let config = Config { origins: vec![bad.to_owned()], ..Config::default() };
            assert_eq!(config.check().err(), Some(ConfigError::Origin(bad.to_owned())));
        }
        let config = Config { request_timeout_ms: 0, ..Config::default() };
        assert_eq!(config.check().err(), Some(ConfigError::Timeout(0)));
    }
}

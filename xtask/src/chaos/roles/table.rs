//! The tables of one installation in ClickHouse: made before the run, counted after it, and dropped.

use crate::chaos::stream::Counts;
use crate::services;
use anyhow::{Context, ensure};
use std::net::SocketAddr;
use std::path::PathBuf;

pub const SERVICE: &str = "clickhouse";
/// Makes tables; the roles run as one who may only insert and select.
const OWNER: &str = "migrate";
const WRITER: &str = "ingest";

pub struct Table {
    address: SocketAddr,
    database: String,
    owner: PathBuf,
    writer: PathBuf,
}

impl Table {
    pub fn new(prefix: &str) -> anyhow::Result<Self> {
        let address = services::address(SERVICE)
            .with_context(|| format!("no {SERVICE} runs here; `cargo xtask services up` starts one"))?;
        let (owner, writer) = (services::secret(SERVICE, OWNER)?, services::secret(SERVICE, WRITER)?);
        Ok(Table {
            address: address.parse()?,
            database: format!("prunella_{}", prefix.replace('-', "_")),
            owner,
            writer,
        })
    }

    /// The section of the configuration.
    pub fn config(&self) -> String {
        let Table { address, database, writer, .. } = self;
        format!(
            "[clickhouse]\nurl = \"http://{address}\"\ndatabase = \"{database}\"\nuser = \"{WRITER}\"\n\
             password_file = \"{}\"\n",
            writer.display()
        )
    }

    /// What makes a process the one who may make tables.
    pub fn as_owner(&self) -> [(&str, String); 2] {
        let file = self.owner.display().to_string();
        [("PRUNELLA_CLICKHOUSE__USER", OWNER.into()), ("PRUNELLA_CLICKHOUSE__PASSWORD_FILE", file)]
    }

    /// What is wrong with the rows.
    pub fn violations(&self, sent: &Counts, findings: u64) -> anyhow::Result<Vec<String>> {
        let mut violations = Vec::new();
        for (table, wanted) in [("events", sent.events), ("scores", sent.events), ("findings", findings)] {
            let exact = self.number(&format!("SELECT uniqExact(uid) FROM {table}"))?;
            let rows = self.number(&format!("SELECT count() FROM {table} FINAL"))?;
            if (exact, rows) != (wanted, wanted) {
                violations.push(format!("{exact} {table} in {rows} rows instead of {wanted}"));
            }
        }
        Ok(violations)
    }

    pub fn drop(&self) -> anyhow::Result<()> {
        self.ask(&format!("DROP DATABASE {} SYNC", self.database)).map(drop)
    }

    fn number(&self, sql: &str) -> anyhow::Result<u64> {
        let answer = self.ask(sql)?;
        answer.trim().parse().with_context(|| format!("{sql} is answered with {answer}"))
    }

    fn ask(&self, sql: &str) -> anyhow::Result<String> {
        let password = std::fs::read_to_string(&self.owner)?;
        let (address, length) = (self.address, sql.len());
        // Of HTTP 1.0, so that the answer comes in one piece.
        let question = format!(
            "POST /?database={} HTTP/1.0\r\nHost: {address}\r\nX-ClickHouse-User: {OWNER}\r\n\
             X-ClickHouse-Key: {}\r\nContent-Length: {length}\r\n\r\n{sql}",
            self.database,
            password.trim()
        );
        let answer = services::ask(&address.to_string(), question.as_bytes(), |_| false)?;
        let answer = String::from_utf8_lossy(&answer);
        let (head, text) = answer.split_once("\r\n\r\n").context("no answer over HTTP")?;
        ensure!(head.contains(" 200 "), "ClickHouse says to {sql}: {text}");
        Ok(text.to_owned())
    }
}

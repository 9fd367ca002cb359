//! ClickHouse as the event store: its schema, the sink's writer with the delivery protocol, and the port's reads.

mod columns;
mod migrate;
pub mod protocol;
mod reader;
mod rows;
mod writer;

pub use migrate::{Applied, MIGRATIONS, Schema};
pub use reader::ClickHouseStore;
pub use rows::{Located, Rows};
pub use writer::{BATCH_BYTES_MAX, BATCH_ROWS_MAX, Lane, Writer, portion};

use clickhouse::Client;
use clickhouse::error::Error;
use prunella_schemas::port::PortError;

/// How to reach a server, and as whom.
#[derive(Clone)]
pub struct Server {
    /// `http://host:port`
    pub url: String,
    /// Letters, digits and `_`.
    pub database: String,
    pub user: String,
    pub password: String,
}

impl Server {
    /// Connects when first used.
    fn client(&self) -> Client {
        Client::default()
            .with_url(&self.url)
            .with_database(&self.database)
            .with_user(&self.user)
            .with_password(&self.password)
    }
}

/// Error codes of the server that have a meaning of their own here.
const UNKNOWN_TABLE: u32 = 60;
const UNKNOWN_DATABASE: u32 = 81;
const NO_SPACE: [u32; 2] = [243, 201];
const DENIED: [u32; 4] = [516, 497, 192, 193];
/// A request that will fail again however often it is repeated: syntax, types, columns.
const SENSELESS: [u32; 6] = [62, 53, 47, 16, 457, 36];
/// A row that the table does not take while it takes others: a constraint, a string, an array, a number out of range.
const UNFIT: [u32; 4] = [469, 131, 128, 321];
/// Two things by one number: rows for too many partitions at once, or a table that merges too slowly for now.
const TOO_MANY_PARTS: u32 = 252;

/// Whether it is the rows that the server does not take.
fn is_unfit(error: &Error) -> bool {
    match code(error) {
        Some(TOO_MANY_PARTS) => error.to_string().contains("Too many partitions"),
        Some(code) => UNFIT.contains(&code),
        None => false,
    }
}

/// The code in `Code: 516. DB::Exception: ...`.
fn code(error: &Error) -> Option<u32> {
    let Error::BadResponse(text) = error else { return None };
    text.split_once("Code: ")?.1.split_once('.')?.0.trim().parse().ok()
}

/// What the server or the way to it reported, in words.
fn describe(error: &Error) -> PortError {
    let mut text = format!("ClickHouse: {error}");
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    match code(error) {
        Some(UNKNOWN_TABLE | UNKNOWN_DATABASE) => {
            PortError::Unavailable(format!("{text}; run `prunella schema apply` first"))
        }
        Some(code) if NO_SPACE.contains(&code) => {
            PortError::Full(format!("{text}; free space or raise the quota and it goes on by itself"))
        }
        Some(code) if DENIED.contains(&code) => {
            PortError::Unavailable(format!("{text}; check the user, its password file and its grants"))
        }
        Some(code) if SENSELESS.contains(&code) => PortError::Invalid(text),
        _ => match error {
            Error::SchemaMismatch(_) => PortError::Corrupt(format!("{text}; run `prunella schema check`")),
            _ => PortError::Unavailable(text),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_server_reports_says_whose_fault_it_is_and_what_to_do() {
        let check = |error: Error, want: fn(String) -> PortError, words: &str| {
            let said = describe(&error);
            assert!(said.to_string().contains(words), "{said}");
            assert_eq!(said, want(said.to_string()));
        };
        let server = |code: u32| Error::BadResponse(format!("Code: {code}. DB::Exception: so it is"));
        check(server(243), PortError::Full, "free space");
        check(server(201), PortError::Full, "raise the quota");
        check(server(516), PortError::Unavailable, "password file");
        check(server(497), PortError::Unavailable, "grants");
        check(server(60), PortError::Unavailable, "schema apply");
        check(server(62), PortError::Invalid, "so it is");
        check(server(252), PortError::Unavailable, "so it is");
        check(server(999), PortError::Unavailable, "so it is");
        check(Error::SchemaMismatch("x".into()), PortError::Corrupt, "schema check");
        check(Error::TimedOut, PortError::Unavailable, "timeout");
        let parts = |text: &str| is_unfit(&Error::BadResponse(format!("Code: 252. DB::Exception: {text}")));
        assert!(parts("Too many partitions for single INSERT block") && !parts("Too many parts (3000)"));
        assert!(is_unfit(&server(469)) && !is_unfit(&server(243)) && !is_unfit(&Error::TimedOut));
    }
}

//! Opening a SQLite file of ours: of the right kind and age, in WAL mode, private to its user, with errors in words.

use prunella_schemas::Id;
use prunella_schemas::port::PortError;
use rusqlite::{Connection, ErrorCode, OpenFlags, TransactionBehavior};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How long a statement waits for another process to let go of the file.
const BUSY_MS_MAX: u64 = 5_000;
/// Files up to this size are checked page by page when they are opened.
const QUICK_CHECK_BYTES_MAX: u64 = 8 * 1024 * 1024;
/// Connections kept for readers; one more is opened and closed again when they are all in use.
const READERS_MAX: usize = 4;
/// Rows of a few kB fit three to a page, where the default of 4096 bytes holds one and wastes the rest.
const PAGE_BYTES: i64 = 8 * 1024;
/// Fits the prepared statements of any one file of ours.
const STATEMENTS_MAX: usize = 64;
/// The write-ahead log is cut back to this size after a checkpoint.
const JOURNAL_BYTES_MAX: i64 = 64 * 1024 * 1024;

/// What the world did to a database file.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum StoreError {
    #[error("cannot use `{path}`: {detail}")]
    Unavailable { path: String, detail: String },
    #[error("`{path}` cannot grow: {detail}; nothing was changed, free space and try again")]
    Full { path: String, detail: String },
    #[error("`{path}` has another writer now: {detail}")]
    Fenced { path: String, detail: String },
    #[error("`{path}` is damaged: {detail}; move it aside and restore it from a backup")]
    Corrupt { path: String, detail: String },
    #[error(
        "`{path}` was written by a newer prunella (schema {found}, this build reads up to {newest}); upgrade prunella"
    )]
    Newer { path: String, found: i64, newest: i64 },
    #[error("`{path}` is not a prunella {kind} database; give another data directory")]
    OtherKind { path: String, kind: &'static str },
    #[error("{0}")]
    Invalid(String),
}

impl From<StoreError> for PortError {
    fn from(error: StoreError) -> Self {
        let text = error.to_string();
        match error {
            StoreError::Unavailable { .. } | StoreError::Fenced { .. } => PortError::Unavailable(text),
            StoreError::Full { .. } => PortError::Full(text),
            StoreError::Corrupt { .. } | StoreError::Newer { .. } | StoreError::OtherKind { .. } => {
                PortError::Corrupt(text)
            }
            StoreError::Invalid(_) => PortError::Invalid(text),
        }
    }
}

/// Opens or makes the file of `kind` at `path` for writing, and brings it to the newest schema.
///
/// `migrations[n]` leads from version `n` to `n + 1`; one that was ever released never changes.
pub fn open(path: &Path, kind: &'static str, migrations: &[&str]) -> Result<Connection, StoreError> {
    make_private(path).map_err(|e| unavailable(path, &e))?;
    let fail = |e| describe(path, &e);
    let mut connection = Connection::open(path).map_err(fail)?;
    connection.busy_timeout(Duration::from_millis(BUSY_MS_MAX)).map_err(fail)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
    check_kind(&connection, path, kind, migrations.len())?;
    check_pages(&connection, path)?;
    connection
        .execute_batch(&format!(
            "PRAGMA page_size = {PAGE_BYTES}; PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; \
             PRAGMA foreign_keys = ON; PRAGMA journal_size_limit = {JOURNAL_BYTES_MAX};"
        ))
        .map_err(fail)?;
    migrate(&mut connection, kind, migrations).map_err(fail)?;
    Ok(connection)
}

/// Opens an existing file of `kind` for reading only. It works beside a running writer and when none runs.
pub fn open_reader(path: &Path, kind: &'static str, migrations: &[&str]) -> Result<Connection, StoreError> {
    if !path.exists() {
        return Err(StoreError::Unavailable { path: shown(path), detail: "there is no such file".into() });
    }
    let connection = connect_reader(path).map_err(|e| describe(path, &e))?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
    check_kind(&connection, path, kind, migrations.len())?;
    let version = user_version(&connection).map_err(|e| describe(path, &e))?;
    if usize::try_from(version) != Ok(migrations.len()) {
        let detail = format!(
            "its schema {version} is older than this build's; start prunella once to bring it up to date"
        );
        return Err(StoreError::Unavailable { path: shown(path), detail });
    }
    Ok(connection)
}

/// Says in words what SQLite reported about the file at `path`.
pub fn describe(path: &Path, error: &rusqlite::Error) -> StoreError {
    let (path, detail) = (shown(path), error.to_string());
    if matches!(error, rusqlite::Error::FromSqlConversionFailure(..) | rusqlite::Error::InvalidColumnType(..))
    {
        return StoreError::Corrupt { path, detail };
    }
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull | ErrorCode::TooBig) => StoreError::Full { path, detail },
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => StoreError::Corrupt { path, detail },
        Some(ErrorCode::ReadOnly) => StoreError::Unavailable {
            path,
            detail: "the file or its directory is read-only; make it writable".into(),
        },
        Some(ErrorCode::CannotOpen) => StoreError::Unavailable {
            path,
            detail: format!("{detail}; check that its directory exists and is writable"),
        },
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => StoreError::Unavailable {
            path,
            detail: "another process is writing to it; stop that process or wait".into(),
        },
        _ => StoreError::Unavailable { path, detail },
    }
}

/// A few read-only connections to one file, opened when first needed.
pub struct Readers {
    path: PathBuf,
    kind: &'static str,
    migrations: &'static [&'static str],
    idle: Mutex<Vec<Connection>>,
}

impl Readers {
    pub fn new(path: &Path, kind: &'static str, migrations: &'static [&'static str]) -> Self {
        Readers { path: path.to_owned(), kind, migrations, idle: Mutex::default() }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Runs one query. All it reads is of one moment if it reads inside one statement.
    pub fn with<T>(&self, query: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T, StoreError> {
        let pooled = lock(&self.idle).pop();
        let connection = match pooled {
            Some(connection) => connection,
            None => open_reader(&self.path, self.kind, self.migrations)?,
        };
        let result = query(&connection).map_err(|e| describe(&self.path, &e));
        let mut idle = lock(&self.idle);
        if idle.len() < READERS_MAX {
            idle.push(connection);
        }
        result
    }
}

/// Runs blocking work off the async threads.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, PortError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result.map_err(PortError::from),
        Err(e) => Err(PortError::Unavailable(format!("a database query was cut short: {e}"))),
    }
}

/// Moves the write-ahead log into the file, so that a database that was closed in order is one file. The last connection
/// to close would do it, but that is a reader's, which may not write.
pub(crate) fn fold(connection: &Connection) {
    // What could not be moved now stays in the write-ahead log, which is as durable as the file.
    let _ = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
}

/// A poisoned lock only says that another thread panicked; SQLite has rolled back whatever it had begun.
pub(crate) fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The bytes of live rows, in whole pages; pages that were freed and wait for reuse do not count.
pub(crate) fn used_bytes(connection: &Connection) -> rusqlite::Result<u64> {
    let number = |name: &str| connection.pragma_query_value(None, name, |r| r.get::<_, i64>(0));
    let pages = number("page_count")? - number("freelist_count")?;
    Ok((pages * number("page_size")?).unsigned_abs())
}

/// A column that does not hold what we wrote into it.
pub(crate) fn damaged(error: impl std::error::Error + Send + Sync + 'static) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(0, rusqlite::types::Type::Blob, Box::new(error))
}

fn connect_reader(path: &Path) -> rusqlite::Result<Connection> {
    let flags =
        OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_URI;
    let ready = |connection: Connection| {
        connection.busy_timeout(Duration::from_millis(BUSY_MS_MAX))?;
        connection.execute_batch("PRAGMA query_only = ON;")?;
        user_version(&connection)?;
        Ok(connection)
    };
    let plain = Connection::open_with_flags(path, flags).and_then(ready);
    let blocked = |e: &rusqlite::Error| {
        matches!(e.sqlite_error_code(), Some(ErrorCode::CannotOpen | ErrorCode::ReadOnly))
            && !sidecar(path, "-wal").exists()
    };
    match plain {
        // A WAL file on read-only media cannot have the shared memory that readers need, nor does it need any.
        Err(e) if blocked(&e) => {
            let uri = format!("file:{}?immutable=1", uri_path(path));
            Connection::open_with_flags(uri, flags).and_then(ready)
        }
        other => other,
    }
}

fn uri_path(path: &Path) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'/' | b'.' | b'-' | b'_');
    let bytes = path.as_os_str().as_encoded_bytes();
    bytes.iter().map(|b| if plain(*b) { char::from(*b).to_string() } else { format!("%{b:02x}") }).collect()
}

fn check_kind(
    connection: &Connection,
    path: &Path,
    kind: &'static str,
    newest: usize,
) -> Result<(), StoreError> {
    let read = || {
        let number = |name: &str| connection.pragma_query_value(None, name, |r| r.get::<_, i64>(0));
        let tables: i64 = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |r| r.get(0))?;
        Ok((number("application_id")?, number("user_version")?, tables))
    };
    let (application, found, tables) = read().map_err(|e| describe(path, &e))?;
    if application != i64::from(application_id(kind)) && (application != 0 || tables != 0) {
        return Err(StoreError::OtherKind { path: shown(path), kind });
    }
    let newest = i64::try_from(newest).unwrap_or(i64::MAX);
    if found > newest {
        return Err(StoreError::Newer { path: shown(path), found, newest });
    }
    Ok(())
}

fn check_pages(connection: &Connection, path: &Path) -> Result<(), StoreError> {
    let size = std::fs::metadata(path).map_err(|e| unavailable(path, &e))?.len();
    if size > QUICK_CHECK_BYTES_MAX {
        return Ok(());
    }
    let verdict: String =
        connection.query_row("PRAGMA quick_check(1)", [], |r| r.get(0)).map_err(|e| describe(path, &e))?;
    if verdict == "ok" { Ok(()) } else { Err(StoreError::Corrupt { path: shown(path), detail: verdict }) }
}

fn migrate(connection: &mut Connection, kind: &str, migrations: &[&str]) -> rusqlite::Result<()> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    // Read again inside the transaction: another process may have migrated the file meanwhile.
    let version = usize::try_from(user_version(&transaction)?).unwrap_or(usize::MAX);
    if version < migrations.len() {
        for migration in migrations.iter().skip(version) {
            transaction.execute_batch(migration)?;
        }
        transaction.pragma_update(None, "application_id", application_id(kind))?;
        transaction.pragma_update(None, "user_version", migrations.len())?;
    }
    transaction.commit()
}

fn user_version(connection: &Connection) -> rusqlite::Result<i64> {
    connection.pragma_query_value(None, "user_version", |r| r.get(0))
}

/// Names the kind of file in its header, so that no file is taken for another.
fn application_id(kind: &str) -> i32 {
    let Id([a, b, c, d, ..]) = Id::derive("sqlite_application", &[kind.as_bytes()]);
    i32::from_be_bytes([a & 0x7f, b, c, d]).max(1)
}

/// Makes the directory (0700) and the file (0600) if they are not there. SQLite gives the file's mode to its WAL.
fn make_private(path: &Path) -> std::io::Result<()> {
    if let Some(directory) = path.parent().filter(|d| !d.as_os_str().is_empty() && !d.is_dir()) {
        let mut builder = std::fs::DirBuilder::new();
        builder.recursive(true);
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(directory)?;
    }
    let mut options = std::fs::OpenOptions::new();
    // Never opens one that is there: closing it again would drop every POSIX lock that SQLite holds on it in this process.
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    match options.open(path) {
        Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        made => made.map(drop),
    }
}

fn sidecar(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

fn unavailable(path: &Path, error: &std::io::Error) -> StoreError {
    let detail = match error.kind() {
        std::io::ErrorKind::StorageFull => {
            return StoreError::Full { path: shown(path), detail: error.to_string() };
        }
        std::io::ErrorKind::PermissionDenied => format!("{error}; give this user the right to write there"),
        _ => error.to_string(),
    };
    StoreError::Unavailable { path: shown(path), detail }
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

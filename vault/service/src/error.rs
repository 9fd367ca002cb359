//! What can go wrong in the vault, as those who call it may know it.

/// Why something did not happen. What a client must not learn goes to the log, not in here.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum Error {
    /// No token, or one that does not count: expired, revoked, of a locked account, of another key. Not said which.
    #[error("no valid credentials: log in again")]
    Unauthenticated,
    /// The account must prove itself anew before this.
    #[error("a fresh proof is needed: log in again, then repeat the request")]
    StepUp,
    /// The caller's role does not allow it.
    #[error("this role may not do this")]
    Forbidden,
    /// There is no such thing, or the caller may not know about it: both sound alike.
    #[error("there is no such {0}, or it is not yours to open")]
    Missing(&'static str),
    /// Somebody else was first, or the state is another one by now.
    #[error("{0}")]
    Conflict(&'static str),
    /// The request makes no sense.
    #[error("{0}")]
    Invalid(String),
    #[error("larger than {0} bytes")]
    TooLarge(u64),
    /// Outside of the object.
    #[error("the object has {0} bytes")]
    Range(u64),
    /// Too many tries; the same for existing and for unknown accounts.
    #[error("too many tries: wait {0} s")]
    Throttled(u64),
    /// A store, the database or the key service is away; nothing was changed.
    #[error("{0} cannot be reached now: try again later")]
    Unavailable(&'static str),
    #[error("no room: nothing was changed")]
    Full,
    /// What was stored does not open or does not read.
    #[error("{0} is damaged: restore it from a backup")]
    Corrupt(&'static str),
}

impl Error {
    /// The database's error, told to the log.
    pub(crate) fn database(error: &sqlx::Error) -> Self {
        if let sqlx::Error::Database(inner) = error {
            if inner.is_unique_violation() {
                return Error::Conflict("somebody else was first: read the state again");
            }
            if inner.message().contains("disk is full") {
                return Error::Full;
            }
        }
        tracing::error!(%error, "the vault's database");
        Error::Unavailable("the database")
    }

    /// A store's error, told to the log.
    pub(crate) fn store(store: &'static str, error: &std::io::Error) -> Self {
        tracing::error!(store, %error, "a store of the vault");
        match error.kind() {
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => Error::Full,
            _ => Error::Unavailable(store),
        }
    }
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        Error::database(&error)
    }
}

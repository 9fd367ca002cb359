//! The verbs of `prunella vault`, as clap reads them.

use clap::{Args, Subcommand, ValueEnum};
use std::net::SocketAddr;
use std::path::PathBuf;

#[derive(Debug, Args)]
pub struct Vault {
    /// Address of the vault; default: where you logged in last, else http://127.0.0.1:7788
    #[arg(long, global = true, value_name = "URL")]
    pub server: Option<String>,
    /// What this client remembers: its keys, its tokens, the keys of others. Default: ~/.config/prunella/vault.json
    #[arg(long, global = true, value_name = "FILE")]
    pub memory: Option<PathBuf>,
    /// File with the password; default: asked for on the terminal, else the first line of standard input
    #[arg(long, global = true, value_name = "FILE")]
    pub password_file: Option<PathBuf>,
    #[command(subcommand)]
    pub verb: Verb,
}

#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Set up a new vault in the data directory, with its first admin
    Init {
        #[arg(long, value_name = "NAME", default_value = "admin")]
        admin: String,
        /// Where the two keys go that must not stay on this machine
        #[arg(long, value_name = "DIR")]
        offline_keys: PathBuf,
        #[command(flatten)]
        database: Database,
    },
    /// Serve the vault of the data directory
    Serve {
        #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:7788")]
        listen: SocketAddr,
        /// A running pipeline that gets the vault's events, as in http://127.0.0.1:7766
        #[arg(long, value_name = "URL")]
        into: Option<String>,
        /// File with the pipeline's token
        #[arg(long, value_name = "FILE", requires = "into")]
        into_token_file: Option<PathBuf>,
        /// Nobody makes an account but by an admin's import
        #[arg(long)]
        closed: bool,
        #[command(flatten)]
        database: Database,
    },
    /// Make an account and its keys; the password stays here
    Register { username: String },
    /// Log in; on another device this brings the keys along
    Login {
        username: String,
        /// The account is an admin's, or was imported: the password itself is sent. An imported one gets its keys
        #[arg(long)]
        plain: bool,
    },
    /// Take an account over from another system; its user logs in with `login --plain` once (admin)
    Import {
        username: String,
        /// File with the hash of its password: argon2id (PHC) or bcrypt
        #[arg(long, value_name = "FILE")]
        hash: PathBuf,
    },
    /// End the session
    Logout,
    /// Seal a file and put it, or its next version
    Put {
        /// `-` is standard input
        file: PathBuf,
        /// Name in the vault; default: the file's own
        #[arg(long)]
        name: Option<String>,
        /// Over how many stores its key is split
        #[arg(long, value_enum, default_value = "low")]
        tier: Tier,
        /// Seal it to a scope as well, to be shared by proxy (experimental)
        #[arg(long)]
        scope: Option<String>,
        /// Seal it to this offline key as well (base64 public key), for the day when your own is lost
        #[arg(long, value_name = "FILE")]
        recovery: Option<PathBuf>,
    },
    /// Get a file, proven before a byte of it is written
    Get {
        /// Its name, or the id of one that was shared with you
        name: String,
        /// Where to write it; default: its name, in this folder; `-` is standard output
        #[arg(long, short = 'f', value_name = "FILE")]
        to: Option<PathBuf>,
        /// As it is stored: sealed, with its signed manifest, for `vault verify`
        #[arg(long)]
        sealed: bool,
    },
    /// List your files
    Ls,
    /// Delete a file for good
    Rm { name: String },
    /// Share a file
    Share {
        name: String,
        #[arg(long, value_name = "NAME")]
        with: String,
        /// For so many hours; default: until you end it
        #[arg(long, value_name = "N")]
        hours: Option<i64>,
        /// So many downloads at most
        #[arg(long, value_name = "N", default_value_t = 0)]
        downloads: u32,
        /// The server turns the file's capsule of this scope (experimental)
        #[arg(long, value_name = "SCOPE")]
        proxy: Option<String>,
    },
    /// End a share, by its id
    Unshare { id: String },
    /// What you have shared, and what was shared with you
    Shares,
    /// New keys for all files of a user
    Rotate {
        /// Default: yourself
        #[arg(long)]
        user: Option<String>,
        #[arg(long, value_enum, default_value = "gate")]
        level: Level,
    },
    /// Change over how many stores a file's key is split
    Harden {
        /// Its name; an admin gives its id
        name: String,
        #[arg(long, value_enum, default_value = "high")]
        tier: Tier,
        /// A lower tier gives up protection: say it twice
        #[arg(long)]
        confirm: bool,
    },
    /// Heal a file that has lost a store, with the keys that were kept offline (admin)
    Recover {
        id: String,
        #[arg(long, value_name = "FILE")]
        cold: Option<PathBuf>,
        #[arg(long, value_name = "FILE")]
        approver: Option<PathBuf>,
    },
    /// The keys of others, as this client remembers them
    #[command(subcommand)]
    Keys(Keys),
    /// Check a sealed file that `get --sealed` wrote; needs no server
    Verify { file: PathBuf },
    /// Fetch the whole log and verify it (admin)
    Log,
    /// Lock, unlock, or take the tokens of an account (admin; `revoke-tokens` also for yourself)
    Account {
        #[arg(value_enum)]
        action: Action,
        username: String,
        #[arg(long, default_value = "")]
        reason: String,
    },
}

#[derive(Debug, Args)]
pub struct Database {
    /// PostgreSQL, as in postgres://user:password@host/name; default: SQLite in the data directory
    #[arg(long = "database", value_name = "URL", env = "DATABASE_URL", hide_env_values = true)]
    pub url: Option<String>,
}

#[derive(Debug, Subcommand)]
pub enum Keys {
    /// Fetch somebody's keys and show their fingerprints, to be compared by another way
    Show { username: String },
    /// Forget keys that their owner says have changed
    Forget { username: String },
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Tier {
    Low,
    Medium,
    High,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Level {
    Gate,
    Kek,
    Identity,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Action {
    Lock,
    Unlock,
    RevokeTokens,
}

//! The command line: every verb and flag, as clap reads them.

mod lab;

pub use lab::{Lab, LabExplain, LabForest, LabThroughput, LabUnread};

use crate::output::Format;
use clap::{Args, Parser, Subcommand, ValueEnum};
use std::net::SocketAddr;
use std::path::PathBuf;

/// A streaming cloud-security pipeline that heals itself.
///
/// Exit codes: 0 ok, 1 findings or rejects when asked to fail on them, 2 bad input, 3 usage, configuration or
/// unreachable.
#[derive(Debug, Parser)]
#[command(name = "prunella", version, propagate_version = true, max_term_width = 100)]
pub struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Args)]
pub struct Global {
    /// Configuration file (TOML)
    #[arg(long, global = true, value_name = "FILE", env = "PRUNELLA_CONFIG")]
    pub config: Option<PathBuf>,
    /// Where everything durable lives
    #[arg(long, global = true, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// How to print results; default: table on a terminal, NDJSON in a pipe
    #[arg(short, long, global = true, value_enum)]
    pub output: Option<Format>,
    /// What to log to stderr, as in `info,prunella_runtime=debug`
    #[arg(long, global = true, value_name = "FILTER", env = "PRUNELLA_LOG", default_value = "warn")]
    pub log: String,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the whole pipeline in this process, over SQLite
    Up(Up),
    /// Run stages as roles over Kafka, each role in as many processes as you like
    #[cfg_attr(not(feature = "kafka"), doc = "(not in this build: build with `--features kafka`)")]
    Run(RunRoles),
    /// Ask a running `run` whether it can work; exit code 3 and what is missing if not
    Ready(Ready),
    /// Look after the topics on Kafka
    #[cfg_attr(not(feature = "kafka"), doc = "(not in this build: build with `--features kafka`)")]
    #[command(subcommand)]
    Topics(Topics),
    /// Simulate an attack into a running pipeline and watch it heal
    Demo(Demo),
    /// Look at the configured sources, test them, read them
    #[command(subcommand)]
    Connectors(Connectors),
    /// Give files to the pipeline and wait until they are durable
    Ingest(Ingest),
    /// Turn records into OCSF events: one line (NDJSON) each, nothing stored
    Normalize(Normalize),
    /// Find attacks in files: records in, OCSF findings out, nothing stored
    Detect(Detect),
    /// Look at findings
    #[command(subcommand)]
    Findings(Findings),
    /// Look at plans, and decide on those that wait
    #[command(subcommand)]
    Plans(Plans),
    /// Start a playbook by hand, for an event or a finding
    Respond(Respond),
    /// Look at receipts
    #[command(subcommand)]
    Receipts(Receipts),
    /// Look at what there is in the clouds
    #[command(subcommand)]
    Resources(Resources),
    /// Verify the ledger, offline
    #[command(subcommand)]
    Ledger(Ledger),
    /// Look at records that could not be read, and give them again
    #[command(subcommand)]
    Dlq(Dlq),
    /// Attack yourself, and see whether it is found and contained
    #[command(subcommand)]
    SimulateAttack(SimulateAttack),
    /// Measure the detection engine on tables with known answers
    #[command(subcommand)]
    Lab(Lab),
    /// Look at the configuration
    #[command(subcommand)]
    Config(Config),
    /// The tables in ClickHouse
    #[command(subcommand)]
    Schema(Schema),
    /// Keep files that only their owners can read
    #[cfg(feature = "vault")]
    Vault(crate::command::vault::args::Vault),
    /// Print a completion script for a shell
    Completions { shell: clap_complete::Shell },
}

#[derive(Debug, Args)]
pub struct Up {
    /// Address and port of the API and the page
    #[arg(long, value_name = "ADDR")]
    pub listen: Option<SocketAddr>,
    /// Let playbooks act by themselves: none beyond this mode
    #[arg(long, value_enum, value_name = "MODE")]
    pub response: Option<Mode>,
}

#[derive(Debug, Args)]
pub struct RunRoles {
    /// Which ones, separated by commas
    #[arg(long, value_enum, value_delimiter = ',', required = true, value_name = "ROLE")]
    pub role: Vec<Role>,
    /// Address and port of /livez, /readyz and /metrics, and of POST /api/events for `connect`; default: none but for
    /// `connect`, which takes `api.listen`
    #[arg(long, value_name = "ADDR")]
    pub listen: Option<SocketAddr>,
}

#[derive(Debug, Args)]
pub struct Ready {
    /// Where it listens, as given to `run --listen`
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:7766")]
    pub listen: SocketAddr,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Role {
    /// HTTP bodies to records
    Connect,
    /// Records to events
    Ingest,
    /// Events to findings, per principal
    Detect,
    /// Findings, scores and signals to the tenant's view
    Correlate,
    /// Everything that people ask for to ClickHouse
    #[cfg_attr(not(feature = "clickhouse"), doc = "(not in this build: build with `--features clickhouse`)")]
    Sink,
    /// Findings to plans, and plans to effects
    #[cfg_attr(
        not(feature = "postgres"),
        doc = "(not in this build: build with `--features postgres,redis,clickhouse`)"
    )]
    Respond,
    /// The API and the page
    #[cfg_attr(
        not(feature = "postgres"),
        doc = "(not in this build: build with `--features postgres,redis,clickhouse`)"
    )]
    Console,
    /// Every one of them; `sink`, `respond` and `console` if their engines are configured
    All,
}

#[derive(Debug, Subcommand)]
pub enum Topics {
    /// Make the topics that are missing, and check those that are there
    Create,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Mode {
    Observe,
    DryRun,
    Approve,
    Auto,
}

#[derive(Debug, Args)]
pub struct Demo {
    /// Keep the pipeline and its page running afterwards
    #[arg(long)]
    pub keep: bool,
    /// Same seed, same records
    #[arg(long, default_value_t = 7)]
    pub seed: u64,
    /// Address and port of the page
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:0")]
    pub listen: SocketAddr,
    /// Which attack
    #[arg(long, default_value = "brute_force")]
    pub scenario: String,
}

#[derive(Clone, Debug, Args)]
pub struct Input {
    /// Name of the source that wrote the records
    #[arg(long, default_value = "aws.cloudtrail")]
    pub source: String,
    /// Files, plain or gzip: CloudTrail log files, NDJSON, JSON, CloudEvents; `-` is standard input
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Exit with 1 when a record was rejected
    #[arg(long)]
    pub fail_on_reject: bool,
}

/// What the verbs that store nothing read, and where they put what they cannot.
#[derive(Clone, Debug, Args)]
pub struct Offline {
    #[command(flatten)]
    pub input: Input,
    /// Write rejects (NDJSON) to this file instead of stderr
    #[arg(long, value_name = "FILE")]
    pub rejects: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct Ingest {
    #[command(flatten)]
    pub input: Input,
    /// Address of a running pipeline, or `kafka`; default: the one that runs on the data directory
    #[arg(long, value_name = "URL")]
    pub into: Option<String>,
}

#[derive(Debug, Subcommand)]
pub enum Connectors {
    /// Each configured source: how far it was read, and what is wrong with it
    List,
    /// Try each call of a source in a form that changes nothing, and print the least policy that it needs; exit 1 when a
    /// call fails
    Check { name: String },
    /// Read one source into the pipeline of the data directory, without an API
    Run {
        name: String,
        /// Stop when there is nothing more to read and all of it is processed
        #[arg(long)]
        once: bool,
        /// `kafka`: into the topic of records, without a pipeline between
        #[arg(long, value_name = "WHERE")]
        into: Option<String>,
    },
}

#[derive(Debug, Args)]
pub struct Normalize {
    #[command(flatten)]
    pub offline: Offline,
}

#[derive(Debug, Args)]
pub struct Detect {
    #[command(flatten)]
    pub offline: Offline,
    /// Learn from this file first: the principals' past, and the models. May be given several times
    #[arg(long, value_name = "FILE")]
    pub train_on: Vec<PathBuf>,
    /// Exit with 1 when there is a finding
    #[arg(long)]
    pub fail_on_finding: bool,
}

#[derive(Debug, Args)]
pub struct Filter {
    /// Only this principal
    #[arg(long)]
    pub principal: Option<String>,
    /// At most so many rows, up to 1000
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub limit: u32,
}

#[derive(Debug, Subcommand)]
pub enum Findings {
    /// The newest findings
    List {
        #[command(flatten)]
        filter: Filter,
        /// Only this OCSF severity_id or higher, 1 to 5
        #[arg(long, value_name = "1-5", value_parser = clap::value_parser!(u8).range(1..=5))]
        severity_min: Option<u8>,
    },
    /// One finding, whole
    Show { id: String },
    /// One finding: why, and what would have made it normal
    Explain { id: String },
}

#[derive(Debug, Subcommand)]
pub enum Plans {
    /// The newest state of each plan
    List {
        #[command(flatten)]
        filter: Filter,
    },
    /// One plan, with every state it went through
    Show { id: String },
    /// Sign a plan's id, so that it may act
    Approve {
        id: String,
        /// Who approves
        #[arg(long)]
        by: String,
        /// The plan's digest as `plans show` told it: with another one the approval does not count
        #[arg(long)]
        digest: Option<String>,
    },
    /// Refuse a plan
    Reject {
        id: String,
        /// Who refuses
        #[arg(long)]
        by: String,
    },
    /// Take back what a plan did
    Rollback {
        id: String,
        /// Who takes it back
        #[arg(long)]
        by: String,
    },
}

#[derive(Debug, Args)]
pub struct Respond {
    /// Id of the event or the finding
    pub id: String,
    /// Which playbook, whether it matches or not
    #[arg(long, value_name = "NAME")]
    pub playbook: String,
    /// Who asks for it; somebody else must approve
    #[arg(long)]
    pub by: String,
}

#[derive(Debug, Subcommand)]
pub enum Receipts {
    /// The newest receipts
    List {
        #[command(flatten)]
        filter: Filter,
    },
    /// One receipt with its proof
    Show { id: String },
    /// Check a receipt with its proof, offline, with nothing but the public key; exit 1 when it does not hold
    Verify {
        /// What `receipts show -o json` or `GET /api/receipts/{id}/proof` gave
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// The public key kept elsewhere, as in `ledger.pub`
        #[arg(long, value_name = "FILE")]
        key: PathBuf,
    },
}

#[derive(Debug, Subcommand)]
pub enum Resources {
    /// The resources of the newest inventories, the riskiest first
    List {
        /// Only these, such as `AWS::S3::Bucket`
        #[arg(long = "type", value_name = "TYPE")]
        kind: Option<String>,
    },
}

#[derive(Debug, Subcommand)]
pub enum Ledger {
    /// Check every entry, the chain, the tree and the checkpoints; exit 1 when broken
    Verify {
        /// A checkpoint kept elsewhere, as `ledger checkpoint` printed it, to find truncation and forks
        #[arg(long, value_name = "FILE")]
        checkpoint: Vec<PathBuf>,
        /// The public key kept elsewhere, as in `ledger.pub`; default: the one in the data directory
        #[arg(long, value_name = "FILE")]
        key: Option<PathBuf>,
    },
    /// Print the newest signed checkpoint, to keep elsewhere
    Checkpoint,
}

#[derive(Debug, Subcommand)]
pub enum Dlq {
    /// Records that could not be read
    List {
        /// At most so many rows, up to 1000
        #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1000))]
        limit: u32,
    },
    /// One of them, with its bytes and the reason
    Show { id: String },
    /// Give records again, after the cause was mended: one, or all
    Replay {
        /// Ids; none with `--all`
        id: Vec<String>,
        #[arg(long, conflicts_with = "id")]
        all: bool,
    },
}

#[derive(Debug, Subcommand)]
pub enum SimulateAttack {
    /// The scenarios
    List,
    /// Run one; exit 1 when the attack went undetected
    Run(Run),
    /// Run all of them, each in a throw-away instance: found, verified, taken back, ledger verified; exit 1 if any failed
    Suite(Suite),
}

#[derive(Debug, Args)]
pub struct Suite {
    /// How loud the attackers are
    #[arg(long, value_enum, default_value_t = Intensity::Medium)]
    pub intensity: Intensity,
    /// Same seed, same records
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Play every attack so often, each time with the next seed, and say how long containment takes
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=1000))]
    pub rounds: u64,
    /// What is attacked
    #[arg(long, value_enum, default_value_t = Target::Cloud)]
    pub target: Target,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Target {
    /// A simulated cloud's front door
    Cloud,
    /// A vault, by real requests
    Vault,
}

#[derive(Debug, Args)]
pub struct Run {
    /// Which one: see `simulate-attack list`
    pub scenario: String,
    /// How loud the attacker is
    #[arg(long, value_enum, default_value_t = Intensity::Medium)]
    pub intensity: Intensity,
    /// Same seed, same records
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// `embedded` (a throw-away instance with automatic response), a URL of a running pipeline, or a file to write
    #[arg(long, default_value = "embedded")]
    pub into: String,
    /// What is attacked; default: what the scenario is about
    #[arg(long, value_enum)]
    pub target: Option<Target>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Intensity {
    Low,
    Medium,
    High,
}

#[derive(Debug, Subcommand)]
pub enum Config {
    /// Every key with its value and where it came from
    Show,
    /// Say whether the configuration and the playbooks are valid
    Check,
}

#[derive(Debug, Subcommand)]
pub enum Schema {
    /// Make the tables, or bring them up to date
    Apply,
    /// Say whether the tables are those that this build needs
    Check,
}

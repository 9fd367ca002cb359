//! The backfill: log files of CloudTrail's shape, so many megabytes as they are stored, read from the emulator of S3 and from
//! this machine's disk into a pipeline of their own; how fast, and in how much memory.

use crate::chaos::http;
use crate::random::Random;
use crate::tree;
use anyhow::Context;
use clap::Args;
use flate2::{Compression, write::GzEncoder};
use serde_json::{Value, json};
use std::fs::{self, File};
use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// Records of one file: about a megabyte as it is stored, 9 MB in plain text.
const RECORDS_OF_FILE: u64 = 6_000;
const MEGABYTE: u64 = 1_000_000;
const ACCOUNT: &str = "111122223333";
const REGION: &str = "eu-central-1";
/// 2026-01-01T00:00:00Z.
const BEGINNING_S: u64 = 1_767_225_600;
const RETENTION_MIB: u64 = 512;
/// So often in a row nothing may be behind.
const IDLE_LOOKS: u32 = 5;
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// How long a pipeline may take until it serves.
const READY_MAX: Duration = Duration::from_secs(60);
/// How long it may take to read and judge everything.
const READ_MAX: Duration = Duration::from_secs(6 * 3_600);

#[derive(Args)]
pub struct Options {
    /// Megabytes of log files, as they are stored
    #[arg(long, default_value_t = 1_000)]
    pub megabytes: u64,
    /// Same seed, same files
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// The binary to measure; default: the release build in this program's target directory
    #[arg(long, value_name = "PATH")]
    pub binary: Option<PathBuf>,
    /// `host:port` of moto; default: the one that `cargo xtask services up` has started
    #[arg(long)]
    pub moto: Option<SocketAddr>,
}

/// The files on disk.
struct Written {
    files: Vec<PathBuf>,
    records: u64,
    bytes: u64,
}

/// One way in, measured.
struct Measured {
    took: Duration,
    rss_bytes_max: u64,
}

#[allow(clippy::print_stdout, reason = "the table is the output")]
pub fn run(options: &Options) -> anyhow::Result<()> {
    let own = std::env::current_exe().context("where is this program?")?;
    let target = own.ancestors().nth(2).context("this program is in no target directory")?;
    let binary = options.binary.clone().unwrap_or_else(|| target.join("release").join("prunella"));
    let folder = target.join("backfill");
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    let written = write(&folder.join("AWSLogs"), options)?;
    println!("{} files, {} bytes, {} records\n", written.files.len(), written.bytes, written.records);
    println!("| from | records/s | MB/s as stored | most memory |\n|---|---|---|---|");
    println!("{}", row("local files", &from_files(&binary, &folder, &written)?, &written));
    println!("{}", row("S3 (moto)", &from_emulator(&binary, &folder, &written, options.moto)?, &written));
    Ok(fs::remove_dir_all(&folder)?)
}

fn row(way: &str, measured: &Measured, written: &Written) -> String {
    let seconds = measured.took.as_secs_f64();
    let (records, megabytes) =
        (written.records as f64 / seconds, written.bytes as f64 / MEGABYTE as f64 / seconds);
    format!("| {way} | {records:.0} | {megabytes:.2} | {} MiB |", measured.rss_bytes_max >> 20)
}

/// Files until they have as many bytes as were asked for, five minutes apart.
fn write(folder: &Path, options: &Options) -> anyhow::Result<Written> {
    let mut random = Random::new(options.seed, 0);
    let mut written = Written { files: Vec::new(), records: 0, bytes: 0 };
    while written.bytes < options.megabytes * MEGABYTE {
        let since_s = BEGINNING_S + written.files.len() as u64 * 300;
        let (day, time) = stamp(since_s);
        let below = folder.join(format!("{ACCOUNT}/CloudTrail/{REGION}/{day}"));
        fs::create_dir_all(&below)?;
        let path = below.join(format!("{ACCOUNT}_CloudTrail_{REGION}_{time}_{:016x}.json.gz", random.next()));
        let mut file = GzEncoder::new(File::create(&path)?, Compression::default());
        for n in 0..RECORDS_OF_FILE {
            let opens = if n == 0 { "{\"Records\":[" } else { "," };
            write!(file, "{opens}{}", record(&mut random, since_s + n * 300 / RECORDS_OF_FILE))?;
        }
        file.write_all(b"]}")?;
        file.finish()?.sync_all()?;
        written.bytes += path.metadata()?.len();
        written.records += RECORDS_OF_FILE;
        written.files.push(path);
    }
    Ok(written)
}

/// A record as S3's data events are, with as much in it that differs from all others.
fn record(random: &mut Random, at_s: u64) -> Value {
    let mut hex =
        |parts: usize| -> String { (0..parts).map(|_| format!("{:016x}", random.next())).collect() };
    let (event, request, host, session) = (hex(2), hex(1), hex(4), hex(1));
    let (key, bytes) = (random.below(1_000_000), random.below(5_000_000));
    let role = format!("service-{}", random.below(200));
    let (_, time) = stamp(at_s);
    let (date, clock) = time.split_at(8);
    let time = format!(
        "{}-{}-{}T{}:{}:{:02}Z",
        &date[..4],
        &date[4..6],
        &date[6..],
        &clock[1..3],
        &clock[3..5],
        at_s % 60
    );
    json!({
        "eventVersion": "1.11", "eventTime": time, "eventSource": "s3.amazonaws.com", "eventName": "GetObject",
        "awsRegion": REGION, "sourceIPAddress": format!("10.0.{}.{}", random.below(4), random.below(250)),
        "userAgent": "[aws-sdk-java/2.25.60 Linux/6.1.0 OpenJDK_64-Bit_Server_VM/17.0.11 exec-env/AWS_ECS_FARGATE]",
        "userIdentity": {
            "type": "AssumedRole", "principalId": format!("AROAEXAMPLE{role}:{session}"), "accountId": ACCOUNT,
            "arn": format!("arn:aws:sts::{ACCOUNT}:assumed-role/{role}/{session}"), "accessKeyId": format!("ASIA{session}"),
            "sessionContext": {
                "sessionIssuer": { "type": "Role", "principalId": format!("AROAEXAMPLE{role}"), "userName": role,
                    "arn": format!("arn:aws:iam::{ACCOUNT}:role/{role}"), "accountId": ACCOUNT },
                "attributes": { "creationDate": time, "mfaAuthenticated": "false" } } },
        "requestParameters": { "bucketName": "orders", "Host": "orders.s3.eu-central-1.amazonaws.com", "key": format!("in/{key}.json") },
        "responseElements": null, "requestID": request, "eventID": event, "readOnly": true,
        "additionalEventData": { "SignatureVersion": "SigV4", "CipherSuite": "TLS_AES_128_GCM_SHA256", "bytesTransferredIn": 0,
            "bytesTransferredOut": bytes, "AuthenticationMethod": "AuthHeader", "x-amz-id-2": host },
        "resources": [{ "type": "AWS::S3::Object", "ARN": format!("arn:aws:s3:::orders/in/{key}.json") },
            { "accountId": ACCOUNT, "type": "AWS::S3::Bucket", "ARN": "arn:aws:s3:::orders" }],
        "eventType": "AwsApiCall", "managementEvent": false, "recipientAccountId": ACCOUNT, "eventCategory": "Data",
        "tlsDetails": { "tlsVersion": "TLSv1.3", "cipherSuite": "TLS_AES_128_GCM_SHA256",
            "clientProvidedHostHeader": "orders.s3.eu-central-1.amazonaws.com" }
    })
}

/// `2026/01/01` and `20260101T0000Z`; the days of January only, which are enough for nine gigabytes.
fn stamp(at_s: u64) -> (String, String) {
    let since = at_s - BEGINNING_S;
    let (day, hour, minute) = (since / 86_400 + 1, since / 3_600 % 24, since / 60 % 60);
    (format!("2026/01/{day:02}"), format!("202601{day:02}T{hour:02}{minute:02}Z"))
}

/// Through `prunella ingest` into a pipeline that runs.
fn from_files(binary: &Path, folder: &Path, written: &Written) -> anyhow::Result<Measured> {
    let data = folder.join("files");
    let mut up = Watched::start(&mut pipeline(binary, &data, "", &["up", "--listen", "127.0.0.1:0"])?)?;
    let (clock, endpoint) = (Clock::start(), data.join("endpoint"));
    let url = loop {
        let text = fs::read_to_string(&endpoint).unwrap_or_default();
        if !text.trim().is_empty() {
            break text.trim().to_owned();
        }
        anyhow::ensure!(up.look()?.is_none() && clock.elapsed() < READY_MAX, "`prunella up` does not start");
    };
    let address = url.strip_prefix("http://").and_then(|a| a.parse().ok());
    let address: SocketAddr = address.with_context(|| format!("{url} is no address"))?;
    let clock = Clock::start();
    let mut ingest = Command::new(binary);
    ingest.env_clear().args(["ingest", "--source", "aws.cloudtrail", "--into", &url]).args(&written.files);
    let mut ingest = Watched::start(ingest.stdin(Stdio::null()).stdout(Stdio::null()))?;
    let (mut is_given, mut idle) = (false, 0);
    // Between two stages nothing is behind for a moment.
    while idle < IDLE_LOOKS {
        anyhow::ensure!(up.look()?.is_none(), "`prunella up` ended");
        match is_given || ingest.look()?.is_some_and(|status| status.success()) {
            false => anyhow::ensure!(clock.elapsed() < READ_MAX, "not all was read within {READ_MAX:?}"),
            true => {
                is_given = true;
                let health = http::get(address, "/api/health").and_then(|answer| answer.json());
                let lag =
                    health.ok().and_then(|health| health["lag"].as_object().cloned()).unwrap_or_default();
                let is_idle = !lag.is_empty() && lag.values().all(|behind| behind == 0);
                idle = if is_idle { idle + 1 } else { 0 };
            }
        }
    }
    let took = clock.elapsed();
    Ok(Measured { took, rss_bytes_max: up.rss_bytes_max })
}

/// Through the connector, by listing, until every stage has seen everything.
fn from_emulator(
    binary: &Path,
    folder: &Path,
    written: &Written,
    moto: Option<SocketAddr>,
) -> anyhow::Result<Measured> {
    let moto = moto.map_or_else(running_moto, Ok)?;
    let bucket = format!("backfill-{}", std::process::id());
    let put = |path: &str, body: &[u8]| -> anyhow::Result<()> {
        let answer = http::put(moto, &format!("/{bucket}{path}"), body)?;
        anyhow::ensure!(answer.status == 200, "moto answers {} to a PUT of {path}", answer.status);
        Ok(())
    };
    put("", b"")?;
    for path in &written.files {
        let key = path.strip_prefix(folder)?.to_str().context("a path is not UTF-8")?;
        put(&format!("/{key}"), &fs::read(path)?)?;
    }
    let source = format!(
        "[[source]]\nname = \"trail\"\nkind = \"aws.cloudtrail\"\nregion = \"{REGION}\"\nbucket = \"{bucket}\"\n\
         endpoint = \"http://{moto}\"\n"
    );
    let data = folder.join("emulator");
    let arguments = ["connectors", "run", "trail", "--once", "-o", "json"];
    let mut command = pipeline(binary, &data, &source, &arguments)?;
    command.env("AWS_ACCESS_KEY_ID", "testing").env("AWS_SECRET_ACCESS_KEY", "testing");
    command.stdout(File::create(data.join("report.json"))?);
    let clock = Clock::start();
    let mut read = Watched::start(&mut command)?;
    let status = loop {
        if let Some(status) = read.look()? {
            break status;
        }
        anyhow::ensure!(clock.elapsed() < READ_MAX, "not all was read within {READ_MAX:?}");
    };
    let took = clock.elapsed();
    let report: Value = serde_json::from_slice(&fs::read(data.join("report.json"))?).unwrap_or_default();
    anyhow::ensure!(
        status.success() && report["records"] == written.records,
        "`prunella connectors run` ended with {status}, and read {}; see {}",
        report["records"],
        data.display()
    );
    Ok(Measured { took, rss_bytes_max: read.rss_bytes_max })
}

fn running_moto() -> anyhow::Result<SocketAddr> {
    let path = tree::root().join("target/services/services.json");
    let services: Value = serde_json::from_slice(&fs::read(path).unwrap_or_default()).unwrap_or_default();
    let moto = services.as_array().into_iter().flatten().find(|service| service["name"] == "moto");
    let address = moto.and_then(|moto| moto["address"].as_str()?.parse().ok());
    address.context("no moto runs here; `cargo xtask services up moto` starts one")
}

/// `prunella` on a data directory of its own, with nothing of the caller's environment.
fn pipeline(binary: &Path, data: &Path, source: &str, arguments: &[&str]) -> anyhow::Result<Command> {
    fs::create_dir_all(data)?;
    let config = data.join("prunella.toml");
    // A backfill is larger than what a disk may keep of it.
    fs::write(&config, format!("version = 1\n[log]\nretention_mib_max = {RETENTION_MIB}\n{source}"))?;
    let mut command = Command::new(binary);
    command.env_clear().arg("--config").arg(&config).arg("--data-dir").arg(data).args(arguments);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(File::create(data.join("log"))?);
    Ok(command)
}

/// A child that ends with this value, and how much memory it has had at most.
struct Watched {
    child: Child,
    rss_bytes_max: u64,
}

impl Watched {
    fn start(command: &mut Command) -> anyhow::Result<Self> {
        let child =
            command.spawn().with_context(|| format!("cannot start {}", command.get_program().display()))?;
        Ok(Watched { child, rss_bytes_max: 0 })
    }

    /// After a while; with its end, if it has ended.
    fn look(&mut self) -> anyhow::Result<Option<ExitStatus>> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap_or_default();
        let most = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = most.and_then(|most| most.trim().strip_suffix(" kB")?.parse::<u64>().ok());
        self.rss_bytes_max = self.rss_bytes_max.max(kib.unwrap_or(0) * 1024);
        std::thread::sleep(LOOK_EVERY);
        Ok(self.child.try_wait()?)
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        // Its files are removed; one that has ended already is what we want.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

struct Clock(Instant);

#[allow(clippy::disallowed_methods, reason = "the backfill is measured from outside")]
impl Clock {
    fn start() -> Self {
        Clock(Instant::now())
    }

    fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }
}

//! Cost of the stage per event, on generated background: 100,000 events of 1,000 principals, heavy-tailed.

use prunella_detect::{Config, Detect};
use prunella_schemas::ocsf::{
    API_ACTIVITY, Account, Actor, Api, Cloud, Endpoint, HttpRequest, Service, Traffic, User,
};
use prunella_schemas::{Event, Principal, Timestamp};
use std::time::Instant;

const EVENTS: u64 = 100_000;
const PRINCIPALS: u64 = 1_000;
const ROUNDS: usize = 5;
const BATCH: usize = 256;
const CALLS: [(&str, &str); 12] = [
    ("s3", "GetObject"),
    ("s3", "PutObject"),
    ("s3", "ListObjects"),
    ("ec2", "DescribeInstances"),
    ("sts", "AssumeRole"),
    ("kms", "Decrypt"),
    ("dynamodb", "GetItem"),
    ("logs", "CreateLogStream"),
    ("sts", "GetCallerIdentity"),
    ("lambda", "Invoke"),
    ("s3", "HeadObject"),
    ("secretsmanager", "GetSecretValue"),
];

#[allow(clippy::print_stdout, reason = "the result")]
fn main() {
    let events: Vec<Event> = (0..EVENTS).map(event).collect();
    let mut nanoseconds = Vec::new();
    let mut findings = 0;
    let mut snapshot = 0;
    for _ in 0..ROUNDS {
        let mut detect = Detect::new(Config::default());
        let mut spent = 0;
        findings = 0;
        for batch in events.chunks(BATCH) {
            // A stage is given events that were decoded a moment ago: warm, not out of memory's depths.
            let batch = batch.to_vec();
            let start = processor_ns();
            findings += batch.iter().map(|event| detect.observe(event).findings.len()).sum::<usize>();
            spent += processor_ns() - start;
        }
        nanoseconds.push(spent / EVENTS);
        snapshot = prunella_schemas::Stage::save(&detect).len();
    }
    nanoseconds.sort_unstable();
    println!(
        "detect: {} ns per event (median of {ROUNDS}; {} to {}), {findings} findings on {EVENTS} events, snapshot {snapshot} bytes",
        nanoseconds[ROUNDS / 2],
        nanoseconds[0],
        nanoseconds[ROUNDS - 1]
    );
}

/// Time this thread has run, which other work on the machine does not stretch; elsewhere than on Linux, wall time.
#[allow(clippy::disallowed_methods, reason = "a benchmark measures")]
fn processor_ns() -> u64 {
    static START: std::sync::LazyLock<Instant> = std::sync::LazyLock::new(Instant::now);
    let ran = std::fs::read_to_string("/proc/thread-self/schedstat").ok();
    ran.and_then(|text| text.split(' ').next()?.parse().ok())
        .unwrap_or_else(|| START.elapsed().as_nanos() as u64)
}

/// Two days of events: a principal's share falls with its rank, one call in eight fails.
fn event(n: u64) -> Event {
    let mut random = Random(n);
    let rank = (PRINCIPALS as f64).powf(random.unit()) as u64 % PRINCIPALS;
    let (service, operation) = CALLS[((rank + random.below(4)) % 12) as usize];
    let fails = random.below(8) == 0;
    let mut event = Event::new(API_ACTIVITY, 2, if fails { 2 } else { 1 }, 1);
    event.time =
        Timestamp(1_772_496_000_000 + (n * 2 * 86_400_000 / EVENTS) as i64 - random.below(120_000) as i64);
    event.status_code = fails.then(|| "AccessDenied".to_owned());
    let account = Account { uid: Some("111122223333".to_owned()), ..Account::default() };
    event.cloud = Some(Cloud { provider: "AWS".into(), account: Some(account), ..Cloud::default() });
    let user = User {
        name: Some(format!("user-{rank}")),
        uid: Some(format!("arn:aws:iam::111122223333:user/user-{rank}")),
        credential_uid: Some(format!("AKIA{rank:016}")),
        ..User::default()
    };
    event.actor = Some(Actor { user: Some(user), ..Actor::default() });
    let ip = format!("203.0.{}.{}", rank % 250, random.below(250));
    event.src_endpoint = Some(Endpoint { ip: Some(ip), ..Endpoint::default() });
    let service = Service { name: Some(format!("{service}.amazonaws.com")), uid: None };
    event.api = Some(Api { operation: operation.to_owned(), service: Some(service), ..Api::default() });
    let agent = "aws-sdk-go-v2/1.24 os/linux lang/go#1.21 md/GOARCH#amd64 api/s3#1.47".to_owned();
    event.http_request = Some(HttpRequest { user_agent: Some(agent), ..HttpRequest::default() });
    let bytes = (operation == "GetObject").then(|| (random.unit() * 22.0).exp2() as u64);
    event.traffic = Some(Traffic { bytes_out: bytes, ..Traffic::default() });
    event.metadata.uid = Some(format!("event-{n}"));
    event.prunella.principal =
        Principal::from_key(format!("aws:user:arn:aws:iam::111122223333:user/user-{rank}"));
    event.identify();
    event
}

/// SplitMix64, seeded by the number of the event.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }
}

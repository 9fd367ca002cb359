//! How CloudTrail names its files: `AWSLogs/[o-org/]account/CloudTrail/region/yyyy/mm/dd/account_CloudTrail_region_time_random.json.gz`.

use prunella_schemas::Timestamp;

/// Folders of log files below an account, and that of the digests.
pub const LOGS: [&str; 2] = ["CloudTrail", "CloudTrail-Insight"];
pub const DIGESTS: &str = "CloudTrail-Digest";
const MINUTE_MS: i64 = 60_000;
/// How far a name may be ahead of our clock, in minutes.
const AHEAD_MINUTES: u32 = 60;

/// The files of one kind, account and region: everything below one prefix that sorts by time.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Branch {
    /// Ends in a slash.
    pub prefix: String,
    pub account: String,
    pub kind: String,
    pub region: String,
}

impl Branch {
    /// `below` is the prefix of the account, with its slash.
    pub fn new(below: &str, account: &str, kind: &str, region: &str) -> Self {
        let prefix = format!("{below}{kind}/{region}/");
        Branch { prefix, account: account.to_owned(), kind: kind.to_owned(), region: region.to_owned() }
    }

    /// Sorts before every file of `minute` (minutes since 1970) and later ones, and after every earlier one.
    pub fn start_of(&self, minute: u32) -> String {
        let Ok(time) = jiff::Timestamp::from_millisecond(i64::from(minute) * MINUTE_MS) else {
            return self.prefix.clone();
        };
        let (account, kind, region) = (&self.account, &self.kind, &self.region);
        let day = time.strftime("%Y/%m/%d");
        let name = time.strftime("%Y%m%dT%H%MZ");
        format!("{}{day}/{account}_{kind}_{region}_{name}", self.prefix)
    }
}

/// The minute in the name of a log file, counted from 1970. `None`: not one of CloudTrail's.
pub fn minute_of(key: &str) -> Option<u32> {
    let name = key.rsplit('/').next()?.strip_suffix(".json.gz")?;
    let mut parts = name.rsplit('_');
    let (_random, time, rest) = (parts.next()?, parts.next()?, parts.next()?);
    let is_time = time.len() == "20240731T1200Z".len() && time.ends_with('Z') && time.get(8..9) == Some("T");
    if !is_time || rest.is_empty() {
        return None;
    }
    let at = |from: usize, to: usize| time.get(from..to).unwrap_or_default();
    let text = format!("{}-{}-{}T{}:{}:00Z", at(0, 4), at(4, 6), at(6, 8), at(9, 11), at(11, 13));
    u32::try_from(Timestamp::parse(&text)?.millis() / MINUTE_MS).ok()
}

/// Whether a key lies where CloudTrail writes log files, and looks like one.
pub fn is_log(key: &str) -> bool {
    minute_of(key).is_some() && LOGS.iter().any(|kind| key.contains(&format!("/{kind}/")))
}

pub fn time_of(minute: u32) -> Timestamp {
    Timestamp(i64::from(minute) * MINUTE_MS)
}

pub fn minute(time: Timestamp) -> u32 {
    u32::try_from(time.millis().max(0) / MINUTE_MS).unwrap_or(u32::MAX)
}

/// Files that are named for a time that has not come yet. CloudTrail writes none; whoever may write to the bucket can, and
/// what is remembered of a branch must not follow them.
#[derive(Debug)]
pub struct Ahead {
    until: u32,
    count: usize,
    first: String,
}

impl Ahead {
    pub fn of(now: Timestamp) -> Self {
        Ahead { until: minute(now).saturating_add(AHEAD_MINUTES), count: 0, first: String::new() }
    }

    /// The last minute that a name may have.
    pub fn until(&self) -> u32 {
        self.until
    }

    /// Whether the file of this minute is one of them; it is counted then.
    pub fn holds(&mut self, minute: u32, key: &str) -> bool {
        if minute <= self.until {
            return false;
        }
        if self.count == 0 {
            key.clone_into(&mut self.first);
        }
        self.count += 1;
        true
    }

    /// What a person must know of them.
    pub fn problem(&self) -> Option<String> {
        let Ahead { count, first, .. } = self;
        (*count > 0).then(|| {
            format!(
                "{count} files are named for a time more than {AHEAD_MINUTES} minutes ahead, such as {first}: CloudTrail \
                 writes none, and they are not read before; look who wrote them"
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_and_sort_by_time() {
        let key = "logs/AWSLogs/o-1/123456789012/CloudTrail/eu-central-1/2024/07/31/123456789012_CloudTrail_eu-central-1_20240731T1230Z_Ab1.json.gz";
        let minute = minute_of(key).unwrap();
        assert_eq!(time_of(minute).to_string(), "2024-07-31T12:30:00.000Z");
        let branch =
            Branch::new("logs/AWSLogs/o-1/123456789012/", "123456789012", "CloudTrail", "eu-central-1");
        assert!(branch.start_of(minute).as_str() < key && branch.start_of(minute + 1).as_str() > key);
        assert!(key.starts_with(&branch.start_of(minute)) && branch.prefix.as_str() < key);
        let check = |key: &str, want: bool| assert_eq!(is_log(key), want, "{key}");
        check(key, true);
        check(
            "AWSLogs/1/CloudTrail-Insight/r/2024/07/31/1_CloudTrail-Insight_r_20240731T1230Z_x.json.gz",
            true,
        );
        check(
            "AWSLogs/1/CloudTrail-Digest/r/2024/07/31/1_CloudTrail-Digest_r_t_r_20240731T123000Z.json.gz",
            false,
        );
        check("AWSLogs/1/Config/r/2024/07/31/1_Config_r_20240731T1230Z_x.json.gz", false);
        check("AWSLogs/1/CloudTrail/r/2024/07/31/1_CloudTrail_r_2024073ÄT1230Z_x.json.gz", false);
        check("", false);
    }

    #[test]
    fn a_name_may_be_an_hour_ahead() {
        let mut ahead = Ahead::of(time_of(1_000));
        assert!(!ahead.holds(1_060, "a") && ahead.problem().is_none());
        assert!(ahead.holds(1_061, "b") && ahead.holds(u32::MAX, "c"));
        let said = ahead.problem().unwrap();
        assert!(said.starts_with("2 files") && said.contains("such as b:"), "{said}");
    }
}

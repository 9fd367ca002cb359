//! Indicators: addresses, domains, hashes and programs that lists warn of, and which of them an event meets.

use super::network::is_private;
use super::prefixes::{Block, Prefixes};
use super::stix::{Pattern, Term, parse};
use super::{Position, Table, TableError};
use prunella_schemas::event::Event;
use prunella_schemas::ocsf::Endpoint;
use prunella_schemas::{Caption, Osint, Timestamp};
use serde::Deserialize;
use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

/// Most indicators of one process.
const INDICATORS_MAX: usize = 1_000_000;
/// Most indicators named on one event.
const HITS_MAX: usize = 16;
/// A block with fewer fixed bits would warn of a good part of the world.
const BLOCK_BITS_MIN: (u32, u32) = (8, 16);

const ADDRESS: (u8, Caption) = (1, Caption::of("IP Address"));
const DOMAIN: (u8, Caption) = (2, Caption::of("Domain"));
const HASH: (u8, Caption) = (4, Caption::of("Hash"));
const AGENT: (u8, Caption) = (6, Caption::of("User Agent"));

/// What the lists warn of. A value may stand on several lists.
#[derive(Default)]
pub struct Indicators {
    all: Vec<Osint>,
    addresses: Prefixes<Vec<u32>>,
    /// In lower case, without a dot at the end.
    domains: HashMap<String, Vec<u32>>,
    /// In lower case.
    hashes: HashMap<String, Vec<u32>>,
    agents: HashMap<String, Vec<u32>>,
}

impl Indicators {
    /// Reads lists; appends to `notes` what of them is not used.
    pub fn read(tables: &[Table], notes: &mut Vec<String>) -> Result<Self, TableError> {
        let mut reading = Reading::default();
        for table in tables {
            let text = table.text()?;
            let mut unused = Unused::default();
            match text.trim_start().starts_with(['{', '[']) {
                true => reading.bundle(table, text, &mut unused)?,
                false => reading.lines(table, text, &mut unused)?,
            }
            notes.extend(unused.told(&table.name));
        }
        Ok(reading.done())
    }

    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// What the event meets, at its own time.
    pub fn meet(&self, event: &mut Event) {
        if self.is_empty() {
            return;
        }
        let mut hits = Hits { indicators: self, time: event.time, found: Vec::new() };
        if let Some(from) = &event.src_endpoint {
            hits.endpoint(from, ["src_endpoint.ip", "src_endpoint.domain", "src_endpoint.hostname"]);
        }
        if let Some(to) = &event.dst_endpoint {
            hits.endpoint(to, ["dst_endpoint.ip", "dst_endpoint.domain", "dst_endpoint.hostname"]);
        }
        if let Some(http) = &event.http_request {
            hits.add("http_request.user_agent", http.user_agent.as_ref().and_then(|a| self.agents.get(a)));
            let host = http.url.as_ref().and_then(|url| url.hostname.as_deref());
            hits.domain("http_request.url.hostname", host);
        }
        hits.domain("tls.sni", event.tls.as_ref().and_then(|tls| tls.sni.as_deref()));
        for print in event.file.iter().flat_map(|file| &file.hashes) {
            hits.add("file.hashes.value", self.hashes.get(&print.value.to_ascii_lowercase()));
        }
        event.osint = hits.found;
    }
}

/// The look at one event.
struct Hits<'a> {
    indicators: &'a Indicators,
    time: Timestamp,
    found: Vec<Osint>,
}

impl Hits<'_> {
    fn endpoint(&mut self, endpoint: &Endpoint, names: [&'static str; 3]) {
        let address = endpoint.ip.as_deref().and_then(|ip| ip.parse::<IpAddr>().ok());
        self.add(names[0], address.and_then(|ip| self.indicators.addresses.get(ip.to_canonical())));
        self.domain(names[1], endpoint.domain.as_deref());
        self.domain(names[2], endpoint.hostname.as_deref());
    }

    /// The name itself, then each domain that it lies in.
    fn domain(&mut self, name: &'static str, domain: Option<&str>) {
        let Some(domain) = domain.filter(|_| !self.indicators.domains.is_empty()) else { return };
        let whole = domain.trim_end_matches('.').to_ascii_lowercase();
        let mut rest = Some(whole.as_str());
        while let Some(domain) = rest {
            self.add(name, self.indicators.domains.get(domain));
            rest = domain.split_once('.').map(|(_, parent)| parent);
        }
    }

    fn add(&mut self, name: &'static str, numbers: Option<&Vec<u32>>) {
        let listed = numbers.into_iter().flatten().filter_map(|n| self.indicators.all.get(*n as usize));
        let valid = listed.filter(|osint| osint.expiration_time.is_none_or(|end| self.time < end));
        let named = valid.map(|osint| Osint { name: Caption::of(name), ..osint.clone() });
        self.found.extend(named);
        self.found.truncate(HITS_MAX);
    }
}

/// What of a list is not used: why, how often, and the first of them.
#[derive(Default)]
struct Unused {
    reasons: BTreeMap<&'static str, (u64, String)>,
    used: u64,
}

impl Unused {
    fn note(&mut self, why: &'static str, what: &str) {
        let entry = self.reasons.entry(why).or_insert_with(|| (0, what.chars().take(120).collect()));
        entry.0 += 1;
    }

    fn told(self, file: &str) -> Option<String> {
        let told = self.reasons.iter().map(|(why, (count, first))| format!("{count} {why} (first: {first})"));
        let told: Vec<String> = told.collect();
        (!told.is_empty())
            .then(|| format!("`{file}`: {} indicators used; not used: {}", self.used, told.join(", ")))
    }
}

#[derive(Default)]
struct Reading {
    made: Indicators,
    blocks: BTreeMap<Block, Vec<u32>>,
}

impl Reading {
    fn done(mut self) -> Indicators {
        self.made.addresses = Prefixes::new(self.blocks.into_iter().collect());
        self.made
    }

    /// A plain list: one address, block, domain or hash a line; what follows it, and comments, are not read.
    fn lines(&mut self, table: &Table, text: &str, unused: &mut Unused) -> Result<(), TableError> {
        let template = Osint { vendor_name: Some(list_name(&table.name)), ..Osint::default() };
        for (number, line) in (1..).zip(text.lines()) {
            let word = line.split([' ', '\t', ',', ';', '#']).next().unwrap_or_default();
            if word.is_empty() {
                continue;
            }
            // As people write addresses that must not become links.
            let value = word.replace("[.]", ".").replace("[:]", ":");
            match self.value(&value, &template) {
                Ok(()) => unused.used += 1,
                Err(why) => unused.note(why, &format!("line {number}, `{}`", word.escape_debug())),
            }
            self.bounded(table, Position::Line(number))?;
        }
        if unused.used == 0 && !unused.reasons.is_empty() {
            let detail = "no line is an address, a block, a domain or a hash".to_owned();
            return Err(table.refuse(Position::None, detail, "give one of them a line, or a STIX bundle"));
        }
        Ok(())
    }

    fn value(&mut self, value: &str, template: &Osint) -> Result<(), &'static str> {
        if value.starts_with(|c: char| c.is_ascii_hexdigit() || c == ':') && Block::parse(value).is_some() {
            self.address(value, template)
        } else if is_hash(value) {
            self.hash(value, template)
        } else if is_domain(value) {
            self.domain(value, template)
        } else {
            Err("lines are neither address, block, domain nor hash")
        }
    }

    fn bundle(&mut self, table: &Table, text: &str, unused: &mut Unused) -> Result<(), TableError> {
        const HINT: &str = "give a STIX 2.1 bundle, or a plain list without `{`";
        let bundle: Bundle = serde_json::from_str(text).map_err(|e| table.json(&e, HINT))?;
        if bundle.kind != "bundle" {
            let detail = format!("its `type` is `{}`, not `bundle`", bundle.kind.escape_debug());
            return Err(table.refuse(Position::None, detail, HINT));
        }
        for (number, object) in (1..).zip(bundle.objects) {
            if object.kind != "indicator" {
                continue;
            }
            self.indicator(table, number, &object, unused)?;
            self.bounded(table, Position::Entry(number))?;
        }
        Ok(())
    }

    fn indicator(
        &mut self,
        table: &Table,
        number: usize,
        object: &Object,
        unused: &mut Unused,
    ) -> Result<(), TableError> {
        let id = object.id.as_str();
        if object.revoked {
            unused.note("are revoked", id);
            return Ok(());
        }
        if object.pattern_type.as_deref().is_some_and(|kind| kind != "stix") {
            unused.note("have patterns of another language than STIX", id);
            return Ok(());
        }
        let broken = |detail: String| {
            let detail = format!("`{}`: {detail}", id.escape_debug());
            table.refuse(Position::Entry(number), detail, "mend the indicator, or take it out of the bundle")
        };
        let terms = match parse(&object.pattern).map_err(|e| broken(e.to_string()))? {
            Pattern::Any(terms) => terms,
            Pattern::Unsupported(why) => {
                unused.note(why, id);
                return Ok(());
            }
        };
        let mut template = object.template(table);
        if let Some(until) = &object.valid_until {
            let unread = || broken(format!("`valid_until` is `{}`, not a time", until.escape_debug()));
            template.expiration_time = Some(Timestamp::parse(until).ok_or_else(unread)?);
        }
        for term in terms {
            match self.term(&term, &template) {
                Ok(()) => unused.used += 1,
                Err(why) => unused.note(why, &format!("{id}, `{}`", term.path)),
            }
        }
        Ok(())
    }

    fn term(&mut self, term: &Term, template: &Osint) -> Result<(), &'static str> {
        match term.path.as_str() {
            "ipv4-addr:value" | "ipv6-addr:value" => self.address(&term.value, template),
            "domain-name:value" => self.domain(&term.value, template),
            path if path.starts_with("file:hashes.") => self.hash(&term.value, template),
            path if path.ends_with("request_header.User-Agent") => {
                self.add(AGENT, &term.value, template, |made| &mut made.agents);
                Ok(())
            }
            _ => Err("compare an attribute that events do not have"),
        }
    }

    fn address(&mut self, value: &str, template: &Osint) -> Result<(), &'static str> {
        let block = Block::parse(value).ok_or("addresses do not read as such")?;
        let (v4, v6) = BLOCK_BITS_MIN;
        let bits_min = if block.is_v4() { v4 } else { v6 };
        if block.fixed_bits() < bits_min || block.is_around_v4() {
            return Err("blocks are too wide");
        }
        if is_private(block.first_address()) {
            return Err("addresses are private");
        }
        let number = self.push(ADDRESS, value, template);
        self.blocks.entry(block).or_default().push(number);
        Ok(())
    }

    fn domain(&mut self, value: &str, template: &Osint) -> Result<(), &'static str> {
        if !is_domain(value) {
            return Err("domains do not read as such");
        }
        let key = value.trim_end_matches('.').to_ascii_lowercase();
        self.add(DOMAIN, &key, template, |made| &mut made.domains);
        Ok(())
    }

    fn hash(&mut self, value: &str, template: &Osint) -> Result<(), &'static str> {
        if !is_hash(value) {
            return Err("hashes are neither MD5, SHA-1, SHA-256 nor SHA-512");
        }
        self.add(HASH, &value.to_ascii_lowercase(), template, |made| &mut made.hashes);
        Ok(())
    }

    fn add(
        &mut self,
        kind: (u8, Caption),
        key: &str,
        template: &Osint,
        of: impl Fn(&mut Indicators) -> &mut HashMap<String, Vec<u32>>,
    ) {
        let number = self.push(kind, key, template);
        of(&mut self.made).entry(key.to_owned()).or_default().push(number);
    }

    fn push(&mut self, (type_id, kind): (u8, Caption), value: &str, template: &Osint) -> u32 {
        self.made.all.push(Osint { type_id, kind, value: value.to_owned(), ..template.clone() });
        // At most INDICATORS_MAX and a few.
        (self.made.all.len() - 1) as u32
    }

    fn bounded(&self, table: &Table, position: Position) -> Result<(), TableError> {
        if self.made.all.len() <= INDICATORS_MAX {
            return Ok(());
        }
        let detail = format!("there are more than {INDICATORS_MAX} indicators");
        Err(table.refuse(position, detail, "leave out lists, or old indicators"))
    }
}

#[derive(Deserialize)]
struct Bundle {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    objects: Vec<Object>,
}

/// An object of a bundle, as far as indicators are concerned.
#[derive(Deserialize)]
struct Object {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    id: String,
    name: Option<String>,
    #[serde(default)]
    pattern: String,
    pattern_type: Option<String>,
    valid_until: Option<String>,
    confidence: Option<u8>,
    #[serde(default)]
    indicator_types: Vec<String>,
    #[serde(default)]
    labels: Vec<String>,
    #[serde(default)]
    revoked: bool,
}

impl Object {
    fn template(&self, table: &Table) -> Osint {
        Osint {
            uid: Some(self.id.clone()),
            vendor_name: Some(list_name(&table.name)),
            desc: self.name.clone(),
            // The scale of STIX 2.1, appendix A.
            confidence_id: self.confidence.map(|of_100| match of_100 {
                0 => 0,
                1..=29 => 1,
                30..=69 => 2,
                _ => 3,
            }),
            labels: self.indicator_types.iter().chain(&self.labels).cloned().collect(),
            ..Osint::default()
        }
    }
}

/// The file's own name: where it lies is nobody's business but the operator's.
fn list_name(path: &str) -> String {
    path.rsplit('/').next().unwrap_or(path).to_owned()
}

fn is_hash(text: &str) -> bool {
    [32, 40, 64, 128].contains(&text.len()) && text.bytes().all(|b| b.is_ascii_hexdigit())
}

/// Labels of letters, digits, hyphens and underscores, with a dot between, the last one no number.
fn is_domain(text: &str) -> bool {
    let text = text.trim_end_matches('.');
    let mut labels = text.split('.');
    let is_label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    let top = labels.next_back().unwrap_or_default();
    text.len() <= 253
        && text.contains('.')
        && is_label(top)
        && top.bytes().any(|b| b.is_ascii_alphabetic())
        && labels.all(is_label)
}

//! Ranges: the address blocks that the cloud providers publish, each in a format of its own.

use super::prefixes::{Block, Prefixes};
use super::{Position, Table};
use serde::Deserialize;

/// Whose address it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cloud {
    pub provider: &'static str,
    pub region: Option<String>,
    pub service: Option<String>,
}

/// One of the published files, told apart by its keys.
#[derive(Deserialize)]
#[serde(untagged)]
enum Published {
    Aws(Aws),
    Azure(Azure),
    Gcp(Gcp),
}

/// `ip-ranges.json`.
#[derive(Deserialize)]
struct Aws {
    prefixes: Vec<AwsPrefix>,
    ipv6_prefixes: Vec<AwsPrefix>,
}

#[derive(Deserialize)]
struct AwsPrefix {
    #[serde(alias = "ipv6_prefix")]
    ip_prefix: String,
    #[serde(default)]
    region: String,
    #[serde(default)]
    service: String,
}

/// `ServiceTags_Public_*.json`.
#[derive(Deserialize)]
struct Azure {
    values: Vec<AzureTag>,
}

#[derive(Deserialize)]
struct AzureTag {
    properties: AzureProperties,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct AzureProperties {
    #[serde(default)]
    region: String,
    #[serde(default)]
    system_service: String,
    address_prefixes: Vec<String>,
}

/// `cloud.json` and `goog.json`.
#[derive(Deserialize)]
struct Gcp {
    prefixes: Vec<GcpPrefix>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct GcpPrefix {
    #[serde(alias = "ipv6Prefix")]
    ipv4_prefix: String,
    #[serde(default)]
    service: String,
    #[serde(default)]
    scope: String,
}

/// The blocks of all files. Of blocks published twice the one that says more counts.
pub fn read(tables: &[Table]) -> Result<Prefixes<Cloud>, super::TableError> {
    let mut rows: Vec<(Block, Cloud)> = Vec::new();
    for table in tables {
        let from = rows.len();
        let text = table.text()?;
        // An untagged enum would not say where the JSON is broken.
        serde_json::from_str::<serde::de::IgnoredAny>(text)
            .map_err(|e| table.json(&e, "download the file again"))?;
        let published: Published = serde_json::from_str(text).map_err(|_| {
            table.refuse(
                Position::None,
                "it is none of AWS `ip-ranges.json`, Azure `ServiceTags`, Google `cloud.json`".into(),
                "give one of these as its provider publishes it",
            )
        })?;
        for (address, cloud) in entries(published) {
            let block = Block::parse(&address).ok_or_else(|| {
                let detail = format!("`{}` is no block of addresses", address.escape_debug());
                table.refuse(Position::Entry(rows.len() - from + 1), detail, "mend or remove it")
            })?;
            rows.push((block, cloud));
        }
    }
    let said = |cloud: &Cloud| usize::from(cloud.region.is_some()) + usize::from(cloud.service.is_some());
    rows.sort_by(|(_, a), (_, b)| {
        said(b).cmp(&said(a)).then_with(|| (&a.region, &a.service).cmp(&(&b.region, &b.service)))
    });
    Ok(Prefixes::new(rows))
}

fn entries(published: Published) -> Vec<(String, Cloud)> {
    match published {
        Published::Aws(aws) => {
            let all = aws.prefixes.into_iter().chain(aws.ipv6_prefixes);
            // `AMAZON` stands for all services together.
            all.map(|p| {
                let service = Some(p.service).filter(|s| s != "AMAZON");
                let region = Some(p.region).filter(|region| region != "GLOBAL");
                (p.ip_prefix, cloud("AWS", region, service))
            })
            .collect()
        }
        Published::Azure(azure) => {
            let tags = azure.values.into_iter().map(|tag| tag.properties);
            tags.flat_map(|tag| {
                let found = cloud("Azure", Some(tag.region), Some(tag.system_service));
                tag.address_prefixes.into_iter().map(move |address| (address, found.clone()))
            })
            .collect()
        }
        Published::Gcp(gcp) => gcp
            .prefixes
            .into_iter()
            .map(|p| (p.ipv4_prefix, cloud("GCP", Some(p.scope), Some(p.service))))
            .collect(),
    }
}

fn cloud(provider: &'static str, region: Option<String>, service: Option<String>) -> Cloud {
    let said = |text: Option<String>| text.filter(|text| !text.is_empty());
    Cloud { provider, region: said(region), service: said(service) }
}

//! Assets: what the operator knows of resources, by patterns over their ids, such as how much depends on them.

use super::glob::Glob;
use super::{Position, Table, TableError};
use prunella_schemas::Tag;
use prunella_schemas::ocsf::Resource;
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Most patterns, and most tags of one.
const PATTERNS_MAX: usize = 100_000;
const TAGS_MAX: usize = 64;

/// Of all patterns that match, the one with the longest beginning counts; of these the first.
#[derive(Default)]
pub struct Assets {
    exact: HashMap<String, Asset>,
    /// By what every match begins with.
    globs: HashMap<String, Vec<(Glob, Asset)>>,
    /// How long these beginnings are.
    lengths: BTreeSet<usize>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Asset {
    criticality: Option<String>,
    tags: Vec<Tag>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    #[serde(rename = "match")]
    pattern: serde_saphyr::Spanned<String>,
    criticality: Option<String>,
    #[serde(default)]
    tags: BTreeMap<String, String>,
}

impl Assets {
    pub fn read(tables: &[Table]) -> Result<Self, TableError> {
        let mut made = Assets::default();
        let mut origins: HashMap<String, (&str, usize)> = HashMap::new();
        for table in tables {
            for (line, pattern, asset) in rows(table)? {
                let refuse =
                    |detail: String| table.refuse(Position::Line(line), detail, "mend or remove the row");
                if let Some((file, at)) = origins.insert(pattern.clone(), (&table.name, line)) {
                    return Err(refuse(format!("`{pattern}` stands in `{file}`, line {at}, too")));
                }
                if origins.len() > PATTERNS_MAX {
                    return Err(refuse(format!("there are more than {PATTERNS_MAX} patterns")));
                }
                if asset.tags.len() > TAGS_MAX {
                    return Err(refuse(format!("`{pattern}` has more than {TAGS_MAX} tags")));
                }
                let glob = Glob::parse(&pattern).map_err(|why| refuse(format!("`{pattern}`: {why}")))?;
                if glob.name().is_some() {
                    return Err(refuse(format!("`{pattern}`: a name in braces means nothing here")));
                }
                made.add(glob, asset);
            }
        }
        Ok(made)
    }

    pub fn is_empty(&self) -> bool {
        self.exact.is_empty() && self.globs.is_empty()
    }

    /// Writes onto a resource what is known of it. The operator's word counts before the source's.
    pub fn tag(&self, resource: &mut Resource) {
        let known = [resource.uid.as_deref(), resource.name.as_deref()];
        let Some(asset) = known.into_iter().flatten().find_map(|id| self.of(id)) else { return };
        if asset.criticality.is_some() {
            resource.criticality.clone_from(&asset.criticality);
        }
        resource.tags.retain(|tag| asset.tags.iter().all(|ours| ours.name != tag.name));
        resource.tags.extend(asset.tags.iter().cloned());
    }

    fn of(&self, id: &str) -> Option<&Asset> {
        self.exact.get(id).or_else(|| {
            let begins = self.lengths.iter().rev().filter_map(|length| self.globs.get(id.get(..*length)?));
            begins.flatten().find_map(|(glob, asset)| glob.matches(id).map(|_| asset))
        })
    }

    fn add(&mut self, glob: Glob, asset: Asset) {
        if let Some(exact) = glob.exact() {
            self.exact.insert(exact.to_owned(), asset);
            return;
        }
        let beginning = glob.beginning().to_owned();
        self.lengths.insert(beginning.len());
        self.globs.entry(beginning).or_default().push((glob, asset));
    }
}

/// CSV with the columns `match`, `criticality`, and one for each tag; or YAML.
fn rows(table: &Table) -> Result<Vec<(usize, String, Asset)>, TableError> {
    let text = table.text()?;
    if table.is_csv() {
        let names = table.csv_header(text)?;
        let columns: Vec<&str> = names.iter().map(String::as_str).collect();
        if !columns.starts_with(&["match", "criticality"]) {
            let detail = "the first columns are not `match` and `criticality`".to_owned();
            return Err(table.refuse(Position::Line(1), detail, "name the columns in the first line"));
        }
        let read = |(line, cells): (usize, Vec<String>)| {
            let mut cells = cells.into_iter();
            let pattern = cells.next().unwrap_or_default();
            let criticality = cells.next().filter(|text| !text.is_empty());
            let tags = names.iter().skip(2).zip(cells).filter(|(_, value)| !value.is_empty());
            let tags = tags.map(|(name, value)| Tag { name: name.clone(), value }).collect();
            (line, pattern, Asset { criticality, tags })
        };
        return Ok(table.csv(text, &columns)?.into_iter().map(read).collect());
    }
    let entries: Vec<Entry> =
        table.yaml(text, "give `- match: ...` with `criticality` and `tags`, or CSV")?;
    let read = |entry: Entry| {
        let tags = entry.tags.into_iter().map(|(name, value)| Tag { name, value }).collect();
        let line = usize::try_from(entry.pattern.referenced.line()).unwrap_or_default();
        (line, entry.pattern.value, Asset { criticality: entry.criticality, tags })
    };
    Ok(entries.into_iter().map(read).collect())
}

//! Identities: one person's principals in every cloud, by a map that is exact and by rules that derive.

use super::glob::Glob;
use super::{Position, Table, TableError};
use prunella_schemas::Event;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;

/// Most principals in the map.
const PRINCIPALS_MAX: usize = 1_000_000;
/// Most rules.
const RULES_MAX: usize = 256;
/// Where rules are, in errors.
const RULES: &str = "[[enrich.identity]]";

/// A rule: an attribute that reads like this belongs to that entity.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IdentityRule {
    pub attribute: Attribute,
    /// With stars, and one name in braces, such as `*:assumed-role/AWSReservedSSO_*/{person}@example.com`.
    #[serde(rename = "match")]
    pub pattern: String,
    /// What the entity is called, such as `{person}@example.com`.
    pub entity: String,
}

/// What a rule reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Attribute {
    /// `prunella.principal`.
    Principal,
    /// `actor.user.uid`.
    UserUid,
    /// `actor.user.name`.
    UserName,
    /// `actor.user.email_addr`.
    UserEmail,
    /// `actor.session.uid`.
    SessionUid,
}

/// Who is behind a principal.
#[derive(Default)]
pub struct Identities {
    /// By principal.
    exact: HashMap<String, String>,
    rules: Vec<(Attribute, Glob, String)>,
}

/// A row of the map, however it is written.
struct Row {
    line: usize,
    principal: String,
    entity: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Person {
    entity: String,
    principals: Vec<serde_saphyr::Spanned<String>>,
}

impl Identities {
    /// Reads the map and the rules. That two sources disagree on a principal is an error; that the map overrules a rule
    /// is a note.
    pub fn read(
        tables: &[Table],
        rules: &[IdentityRule],
        notes: &mut Vec<String>,
    ) -> Result<Self, TableError> {
        let mut made = Identities { exact: HashMap::new(), rules: compiled(rules)? };
        let mut origins: HashMap<String, (&str, usize)> = HashMap::new();
        let mut overruled = 0;
        for table in tables {
            for Row { line, principal, entity } in rows(table)? {
                if let Some(known) = made.exact.get(&principal).filter(|known| **known != entity) {
                    let (file, at) = origins.get(&principal).copied().unwrap_or_default();
                    let detail = format!(
                        "`{principal}` is `{entity}` here and `{known}` in `{file}`, line {at}: a principal is one \
                         entity"
                    );
                    return Err(table.refuse(Position::Line(line), detail, "keep the row that is right"));
                }
                let derived = made.derived(Attribute::Principal, &principal);
                if let Some(derived) = derived.filter(|derived| *derived != entity) {
                    if overruled == 0 {
                        notes.push(format!(
                            "`{}`, line {line}: `{principal}` is `{entity}`, though a rule says `{derived}`; the map \
                             counts",
                            table.name
                        ));
                    }
                    overruled += 1;
                }
                if made.exact.len() >= PRINCIPALS_MAX {
                    let detail = format!("there are more than {PRINCIPALS_MAX} principals");
                    return Err(table.refuse(Position::Line(line), detail, "derive some by a rule"));
                }
                origins.insert(principal.clone(), (&table.name, line));
                made.exact.insert(principal, entity);
            }
        }
        if overruled > 1 {
            notes.push(format!("the map overrules a rule for {} principals more", overruled - 1));
        }
        Ok(made)
    }

    /// The map first, then the rules in their order.
    pub fn of(&self, event: &Event) -> Option<String> {
        if let Some(entity) = self.exact.get(event.principal()) {
            return Some(entity.clone());
        }
        let user = event.actor.as_ref().and_then(|actor| actor.user.as_ref());
        let session = event.actor.as_ref().and_then(|actor| actor.session.as_ref());
        let read = |attribute| match attribute {
            Attribute::Principal => Some(event.principal()),
            Attribute::UserUid => user?.uid.as_deref(),
            Attribute::UserName => user?.name.as_deref(),
            Attribute::UserEmail => user?.email_addr.as_deref(),
            Attribute::SessionUid => session?.uid.as_deref(),
        };
        self.rules.iter().find_map(|(attribute, glob, entity)| named(glob, entity, read(*attribute)?))
    }

    fn derived(&self, wanted: Attribute, text: &str) -> Option<String> {
        let mut rules = self.rules.iter().filter(|(attribute, ..)| *attribute == wanted);
        rules.find_map(|(_, glob, entity)| named(glob, entity, text))
    }
}

/// Addresses of people differ in case from cloud to cloud; what is derived is in lower case.
fn named(glob: &Glob, entity: &str, text: &str) -> Option<String> {
    let person = glob.matches(text)?;
    Some(match glob.name() {
        Some(name) => entity.replace(&format!("{{{name}}}"), &person.to_lowercase()),
        None => entity.to_owned(),
    })
}

fn compiled(rules: &[IdentityRule]) -> Result<Vec<(Attribute, Glob, String)>, TableError> {
    let here = Table { name: RULES.to_owned(), bytes: Vec::new() };
    let refuse = |number: usize, detail: String| {
        here.refuse(Position::Entry(number), detail, "mend the rule in the configuration")
    };
    if rules.len() > RULES_MAX {
        return Err(refuse(RULES_MAX + 1, format!("there are more than {RULES_MAX} rules")));
    }
    let compile = |(number, rule): (usize, &IdentityRule)| {
        let glob = Glob::parse(&rule.pattern)
            .map_err(|why| refuse(number, format!("`match` is `{}`: {why}", rule.pattern)))?;
        let wanted = Glob::parse(&rule.entity).ok().and_then(|entity| entity.name().map(str::to_owned));
        if let Some(wanted) = wanted
            && glob.name() != Some(&wanted)
        {
            return Err(refuse(number, format!("`entity` has `{{{wanted}}}`, which `match` does not name")));
        }
        if rule.entity.is_empty() {
            return Err(refuse(number, "`entity` is empty".to_owned()));
        }
        Ok((rule.attribute, glob, rule.entity.clone()))
    };
    (1..).zip(rules).map(compile).collect()
}

/// CSV with the columns `principal` and `entity`, or YAML.
fn rows(table: &Table) -> Result<Vec<Row>, TableError> {
    let text = table.text()?;
    if table.is_csv() {
        let columns = table.csv(text, &["principal", "entity"])?;
        return Ok(columns
            .into_iter()
            .map(|(line, mut cells)| {
                let entity = cells.pop().unwrap_or_default();
                Row { line, principal: cells.pop().unwrap_or_default(), entity }
            })
            .collect());
    }
    let people: Vec<Person> = table.yaml(text, "give `- entity: ...` with `principals: [...]`, or CSV")?;
    let rows = people.into_iter().flat_map(|person| {
        let entity = person.entity;
        person.principals.into_iter().map(move |principal| Row {
            line: usize::try_from(principal.referenced.line()).unwrap_or_default(),
            principal: principal.value,
            entity: entity.clone(),
        })
    });
    Ok(rows.collect())
}

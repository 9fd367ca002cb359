//! Which fields of a record no mapping reads, found out by taking each away and looking at the events.
//!
//! A list of fields that a translator names could go stale; this asks the translator itself, with the field gone and with
//! another value in it. A field that only stands in for another, or says the same once more, is found by taking the other
//! away as well.

use crate::{Malformed, Translate};
use prunella_schemas::{Event, Id, Record};
use serde_json::Value;
use std::collections::BTreeMap;

/// Most fields of one record that are tried; each costs a translation.
pub const FIELDS_MAX: usize = 4_096;
/// Most different fields that are remembered over all records.
pub const PATHS_MAX: usize = 65_536;

/// What is known of the fields of a source, over any number of records.
#[derive(Clone, Debug, Default)]
pub struct Coverage {
    /// By path: in how many records it was, and in how many of them it told something.
    fields: BTreeMap<String, (u64, u64)>,
    records: u64,
}

impl Coverage {
    /// Looks at one record. Its body must be one that the translator accepts.
    pub fn add(&mut self, translator: &dyn Translate, record: &Record, body: &str) -> Result<(), Malformed> {
        let told = fields(translator, record, body)?;
        self.records += 1;
        for (path, is_read) in told {
            if self.fields.len() >= PATHS_MAX && !self.fields.contains_key(&path) {
                continue;
            }
            let (seen, read) = self.fields.entry(path).or_default();
            *seen += 1;
            *read += u64::from(is_read);
        }
        Ok(())
    }

    /// Records looked at.
    pub fn records(&self) -> u64 {
        self.records
    }

    /// The fields that told nothing in any record, and in how many records they were.
    pub fn unread(&self) -> impl Iterator<Item = (&str, u64)> {
        self.fields.iter().filter(|(_, (_, read))| *read == 0).map(|(path, (seen, _))| (path.as_str(), *seen))
    }

    /// The fields that told something, and in how many records they did.
    pub fn read(&self) -> impl Iterator<Item = (&str, u64)> {
        self.fields.iter().filter(|(_, (_, read))| *read > 0).map(|(path, (_, read))| (path.as_str(), *read))
    }
}

/// The fields of one record that no mapping reads, as paths such as `properties.location.state` or `resources[].ARN`.
///
/// Malformed as [`Translate::translate`] says it.
pub fn unread(translator: &dyn Translate, record: &Record, body: &str) -> Result<Vec<String>, Malformed> {
    Ok(fields(translator, record, body)?
        .into_iter()
        .filter(|(_, is_read)| !is_read)
        .map(|(path, _)| path)
        .collect())
}

/// Every field that holds a value, and whether the events change without it.
fn fields(
    translator: &dyn Translate,
    record: &Record,
    body: &str,
) -> Result<BTreeMap<String, bool>, Malformed> {
    translator.translate(record, body, &mut Vec::new())?;
    // What is compared is the record as written anew, so that only the fields taken away can make a difference.
    let body: Value = serde_json::from_str(body).map_err(|e| Malformed::json(body, &e))?;
    let mut steps = Vec::new();
    leaves(&body, &mut Vec::new(), &mut steps);
    let read = Trial { translator, record, body, steps: &steps, taken: Vec::new() }.read();
    let mut told = BTreeMap::new();
    for (steps, is_read) in steps.iter().zip(read) {
        // Of an array it is enough that one element tells something.
        *told.entry(path_of(steps)).or_default() |= is_read;
    }
    Ok(told)
}

/// A record from which fields are taken and put back.
struct Trial<'t> {
    translator: &'t dyn Translate,
    record: &'t Record,
    body: Value,
    steps: &'t [Vec<Step>],
    /// What was taken last comes last.
    taken: Vec<(usize, Value)>,
}

impl Trial<'_> {
    /// Of every field, whether something reads it.
    fn read(&mut self) -> Vec<bool> {
        let fields = 0..self.steps.len();
        let whole = self.events();
        let alone: Vec<bool> = fields
            .clone()
            .map(|field| self.matters(field, whole.as_ref()) || self.differs(field, whole.as_ref()))
            .collect();
        let mut read = alone.clone();
        // Two fields that say the same: the one that is taken last matters. So each has to be the last once.
        let unread = unmarked(&read);
        if self.matter_together(&unread, whole.as_ref()) {
            self.find_repeats(unread.iter(), whole.as_ref(), &mut read);
            self.find_repeats(unread.iter().rev(), whole.as_ref(), &mut read);
        }
        for field in fields.filter(|field| alone.get(*field) == Some(&true)) {
            self.take(field);
            self.find_stand_ins(&mut read);
            self.put_back(usize::MAX);
        }
        read
    }

    /// Takes one field after the other, and marks those without which nobody says the same any more.
    fn find_repeats<'f>(
        &mut self,
        fields: impl Iterator<Item = &'f usize>,
        whole: Option<&Vec<Event>>,
        read: &mut [bool],
    ) {
        for field in fields {
            self.take(*field);
            if self.events().as_ref() != whole {
                self.put_back(1);
                mark(read, *field);
            }
        }
        self.put_back(usize::MAX);
    }

    /// Marks the fields that stand in for one that was taken, and those that stand in for them.
    fn find_stand_ins(&mut self, read: &mut [bool]) {
        loop {
            let base = self.events();
            let unread = unmarked(read);
            if base.is_none() || !self.matter_together(&unread, base.as_ref()) {
                return;
            }
            let Some(found) = unread.into_iter().find(|field| self.matters(*field, base.as_ref())) else {
                return;
            };
            mark(read, found);
            self.take(found);
        }
    }

    fn matters(&mut self, field: usize, base: Option<&Vec<Event>>) -> bool {
        self.matter_together(&[field], base)
    }

    /// Whether the events are others with another value there, which tells where a value says what none would say too.
    fn differs(&mut self, field: usize, base: Option<&Vec<Event>>) -> bool {
        self.take(field);
        let other = self.taken.last().map(|(_, value)| other(value)).unwrap_or_default();
        if let Some(place) = self.steps.get(field).and_then(|steps| place(&mut self.body, steps)) {
            *place = other;
        }
        let events = self.events();
        self.put_back(1);
        events.as_ref() != base
    }

    /// Whether the events are others without these fields.
    fn matter_together(&mut self, fields: &[usize], base: Option<&Vec<Event>>) -> bool {
        fields.iter().for_each(|field| self.take(*field));
        let events = self.events();
        self.put_back(fields.len());
        events.as_ref() != base
    }

    fn take(&mut self, field: usize) {
        let place = self.steps.get(field).and_then(|steps| place(&mut self.body, steps));
        let value = place.map(Value::take).unwrap_or_default();
        self.taken.push((field, value));
    }

    /// Puts back what was taken last.
    fn put_back(&mut self, count: usize) {
        for _ in 0..count.min(self.taken.len()) {
            let Some((field, value)) = self.taken.pop() else { return };
            if let Some(place) = self.steps.get(field).and_then(|steps| place(&mut self.body, steps)) {
                *place = value;
            }
        }
    }

    /// The events without what always follows the bytes of the record; none when it is refused.
    fn events(&self) -> Option<Vec<Event>> {
        let mut events = Vec::new();
        self.translator.translate(self.record, &self.body.to_string(), &mut events).ok()?;
        for event in &mut events {
            event.raw_data = None;
            event.prunella.event_uid = Id::default();
        }
        Some(events)
    }
}

/// Another value of the same type.
fn other(value: &Value) -> Value {
    match value {
        Value::Bool(value) => Value::Bool(!value),
        Value::Number(number) => {
            number.as_u64().and_then(|number| number.checked_add(1)).unwrap_or_default().into()
        }
        Value::String(text) => Value::String(format!("{text}~")),
        _ => Value::Null,
    }
}

fn unmarked(read: &[bool]) -> Vec<usize> {
    read.iter().enumerate().filter(|(_, is_read)| !**is_read).map(|(field, _)| field).collect()
}

fn mark(read: &mut [bool], field: usize) {
    if let Some(is_read) = read.get_mut(field) {
        *is_read = true;
    }
}

#[derive(Clone)]
enum Step {
    Key(String),
    At(usize),
}

/// The way to every value that is neither an object nor an array, nor null.
fn leaves(value: &Value, at: &mut Vec<Step>, out: &mut Vec<Vec<Step>>) {
    let mut descend = |step: Step, value: &Value| {
        at.push(step);
        leaves(value, at, out);
        at.pop();
    };
    match value {
        Value::Object(object) => {
            object.iter().for_each(|(key, value)| descend(Step::Key(key.clone()), value));
        }
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(index, value)| descend(Step::At(index), value));
        }
        Value::Null => {}
        _ if out.len() < FIELDS_MAX => out.push(at.clone()),
        _ => {}
    }
}

fn place<'v>(value: &'v mut Value, steps: &[Step]) -> Option<&'v mut Value> {
    steps.iter().try_fold(value, |value, step| match step {
        Step::Key(key) => value.get_mut(key),
        Step::At(index) => value.get_mut(index),
    })
}

fn path_of(steps: &[Step]) -> String {
    let mut path = String::new();
    for step in steps {
        match step {
            Step::At(_) => path.push_str("[]"),
            Step::Key(key) if path.is_empty() => path.push_str(key),
            Step::Key(key) => {
                path.push('.');
                path.push_str(key);
            }
        }
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::CloudTrail;
    use prunella_schemas::{Tenant, Timestamp};

    #[test]
    fn a_field_is_read_when_the_event_changes_without_it() {
        let body = r#"{"eventName":"GetObject","eventSource":"s3.amazonaws.com","eventID":"e","apiVersion":null,
            "eventTime":"2026-03-02T09:00:00Z","managementEvent":false,"newField":{"deep":[1,{"x":"y"}]},
            "resources":[{"ARN":"arn:aws:s3:::b","odd":1},{"ARN":"arn:aws:s3:::c"}]}"#;
        let record = Record {
            source: "aws.cloudtrail".into(),
            tenant: Tenant::default(),
            received: Timestamp(1_772_443_800_000),
            origin: String::new(),
            body: body.into(),
        };
        assert_eq!(
            unread(&CloudTrail, &record, body).unwrap(),
            ["managementEvent", "newField.deep[]", "newField.deep[].x", "resources[].odd"]
        );
        let mut coverage = Coverage::default();
        coverage.add(&CloudTrail, &record, body).unwrap();
        coverage.add(&CloudTrail, &record, body).unwrap();
        assert_eq!(coverage.unread().next(), Some(("managementEvent", 2)));
        assert_eq!(coverage.read().last(), Some(("resources[].ARN", 2)));
        assert!(coverage.add(&CloudTrail, &record, "{}").is_err());
        assert_eq!(coverage.records(), 2);
    }

    #[test]
    fn a_field_that_stands_in_for_another_is_read() {
        // `activityDateTime` comes before `time`, and the two ids of the caller stand in for each other.
        let body = r#"{"time":"2026-03-02T09:00:01Z","operationName":"Add user","x":1,"callerIpAddress":"192.0.2.1",
            "properties":{"activityDisplayName":"Add user","activityDateTime":"2026-03-02T09:00:00Z",
            "initiatedBy":{"user":{"id":"u","ipAddress":"192.0.2.1"}}}}"#;
        let record = Record {
            source: "azure.audit".into(),
            tenant: Tenant::default(),
            received: Timestamp(1_772_443_800_000),
            origin: String::new(),
            body: body.into(),
        };
        assert_eq!(unread(&crate::AzureAudit, &record, body).unwrap(), ["x"]);
    }
}

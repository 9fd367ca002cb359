//! Sighting: an event as detectors look at it, with what they all ask for worked out once.

use crate::clock::believed;
use crate::network::{Network, fingerprint};
use prunella_schemas::event::Flag;
use prunella_schemas::ocsf::User;
use prunella_schemas::principal::Kind;
use prunella_schemas::{Event, RawText, Timestamp};
use std::borrow::Cow;

#[derive(Clone, Copy, Debug)]
pub struct Sighting<'a> {
    pub event: &'a Event,
    /// The event time; for one from the future, the time of receipt, and never much later than the log's own time, so
    /// that a forged clock moves no window.
    pub time: Timestamp,
    /// `api.operation` without the date that Lambda and CloudFront append.
    pub operation: &'a str,
    /// The service's short name, such as `s3`.
    pub service: &'a str,
    pub operation_key: u64,
    pub network: Option<Network>,
    pub kind: Kind,
    /// A provider's service acts, by itself or for somebody.
    pub by_service: bool,
}

impl<'a> Sighting<'a> {
    /// Where no log says what time it is.
    pub fn of(event: &'a Event) -> Self {
        Sighting::at(event, Timestamp::ZERO)
    }

    /// `now`: when the event became durable in the log.
    pub fn at(event: &'a Event, now: Timestamp) -> Self {
        let operation = undated(event.operation());
        let service = event.service_name().split('.').next().unwrap_or("");
        let kind = event.prunella.principal.kind();
        let endpoint = event.src_endpoint.as_ref();
        let named_source = endpoint.is_some_and(|from| from.ip.is_none() && from.domain.is_some());
        let invoked = event.actor.as_ref().is_some_and(|actor| actor.invoked_by.is_some());
        let future =
            event.prunella.flags.contains(&Flag::FutureTime) && event.prunella.received > Timestamp::ZERO;
        let mut seen = Sighting {
            event,
            time: believed(if future { event.prunella.received } else { event.time }, now),
            operation,
            service,
            operation_key: fingerprint(operation.as_bytes()) ^ fingerprint(service.as_bytes()).rotate_left(1),
            network: event.source_ip().map(Network::of),
            kind,
            by_service: named_source || invoked,
        };
        seen.by_service |= seen.is_provider();
        seen
    }

    /// The provider itself acts: its service, or a role that only its service may take.
    pub fn is_provider(&self) -> bool {
        self.kind == Kind::Service || self.event.principal().contains(":role/aws-service-role/")
    }

    pub fn short_id(&self) -> u64 {
        u64::from_le_bytes(*self.event.prunella.event_uid.0.first_chunk().unwrap_or(&[0; 8]))
    }

    /// Whether data goes to another storage class or tier, or a rule that says when it does.
    pub fn changes_tier(&self) -> bool {
        match self.operation {
            "PutBucketLifecycle"
            | "PutBucketLifecycleConfiguration"
            | "DeleteBucketLifecycle"
            | "PutBucketIntelligentTieringConfiguration"
            | "RestoreObject"
            | "SetBlobTier"
            | "storage.objects.rewrite"
            | "storage.objects.updateStorageClass" => true,
            "CopyObject" | "PutObject" | "CreateMultipartUpload" => {
                self.event.raw_data.as_ref().is_some_and(|raw| raw.mentions("storage-class"))
            }
            _ => false,
        }
    }

    /// Whether the provider said that the caller may not.
    pub fn denied(&self) -> bool {
        self.event.failed()
            && self.event.status_code.as_deref().is_some_and(|code| {
                ["AccessDenied", "Unauthorized", "Forbidden", "NotAuthorized"]
                    .iter()
                    .any(|word| code.contains(word))
            })
    }

    /// The credential behind the call: the access key, else the session.
    pub fn credential_key(&self) -> Option<u64> {
        let actor = self.event.actor.as_ref()?;
        let session = actor.session.as_ref();
        let credential = self
            .event
            .credential()
            .or_else(|| session.and_then(|s| s.credential_uid.as_deref()))
            .or_else(|| session.and_then(|s| s.uid.as_deref()))?;
        Some(fingerprint(credential.as_bytes()))
    }

    pub fn user_agent_key(&self) -> Option<u64> {
        self.event.user_agent().map(|agent| fingerprint(agent.as_bytes()))
    }

    /// The customer key that this call encrypts or decrypts with.
    pub fn encryption_key(&self) -> Option<u64> {
        let key =
            self.event.resources.iter().filter_map(|r| r.uid.as_deref()).find(|uid| uid.contains(":key/"))?;
        Some(fingerprint(key.as_bytes()))
    }

    /// Who acts, for people: the user's name, else the last part of the principal.
    pub fn who(&self) -> &'a str {
        let name = self.event.actor.as_ref().and_then(|a| a.user.as_ref()).and_then(|u| u.name.as_deref());
        let principal = self.event.principal();
        name.filter(|n| !n.is_empty()).unwrap_or_else(|| {
            principal.rsplit(['/', ':']).next().filter(|p| !p.is_empty()).unwrap_or(principal)
        })
    }

    /// Where the call came from, for people.
    pub fn from(&self) -> &'a str {
        let endpoint = self.event.src_endpoint.as_ref();
        let domain = || endpoint.and_then(|from| from.domain.as_deref());
        self.event.source_ip().or_else(domain).unwrap_or("an unknown address")
    }

    /// The account that was acted upon, for people.
    pub fn target(&self) -> Option<&'a str> {
        let group = self.event.group.as_ref().and_then(|g| g.name.as_deref().or(g.uid.as_deref()));
        let resource = || self.event.resources.iter().find_map(|r| r.name.as_deref().or(r.uid.as_deref()));
        self.event.user.as_ref().and_then(user_name).or(group).or_else(resource)
    }

    /// Whether the user acted upon is somebody else than the actor; `None` where the event does not say.
    pub fn targets_another(&self) -> Option<bool> {
        let target = self.event.user.as_ref()?;
        let actor = self.event.actor.as_ref()?.user.as_ref()?;
        if let (Some(a), Some(b)) = (&target.uid, &actor.uid)
            && a == b
        {
            return Some(false);
        }
        let name = |text: &'a str| text.rsplit('/').next().unwrap_or(text);
        let same = name(user_name(target)?) == name(user_name(actor)?);
        Some(!same)
    }

    /// Whether [`Sighting::text`] holds this.
    pub fn mentions(&self, needle: &str) -> bool {
        self.mentions_any(&[needle])
    }

    pub fn mentions_any(&self, needles: &[&str]) -> bool {
        self.text().is_some_and(|text| needles.iter().any(|needle| text.contains(needle)))
    }

    /// The record as the source gave it, without blanks and backslashes, so that JSON has one form, inside a string too.
    /// For rare operations only: it reads all of it.
    pub fn text(&self) -> Option<String> {
        let data = || Some(self.event.api.as_ref()?.request.as_ref()?.data.as_ref()?.text().into());
        let text: Cow<'_, str> = self.event.raw_data.as_ref().map(RawText::text).or_else(data)?;
        Some(text.replace(|c: char| c.is_ascii_whitespace() || c == '\\', ""))
    }

    /// An account in the record's text that is not the account of the event: `arn:aws:iam::<it>:`.
    pub fn foreign_account(&self) -> Option<String> {
        let own = self.event.account().unwrap_or_default();
        let text = self.text()?;
        let accounts = text.split("arn:aws").skip(1).filter_map(|rest| rest.split(':').nth(3));
        accounts
            .filter(|account| account.len() == 12 && account.bytes().all(|b| b.is_ascii_digit()))
            .find(|account| *account != own)
            .map(str::to_owned)
    }
}

fn user_name(user: &User) -> Option<&str> {
    user.name.as_deref().or(user.uid.as_deref()).filter(|name| !name.is_empty())
}

/// `UpdateFunctionCode20150331v2` -> `UpdateFunctionCode`.
fn undated(operation: &str) -> &str {
    let unversioned = match operation.as_bytes() {
        [.., b'v', digit] if digit.is_ascii_digit() => {
            operation.get(..operation.len() - 2).unwrap_or(operation)
        }
        _ => operation,
    };
    let stem = unversioned.trim_end_matches(|c: char| c.is_ascii_digit());
    let date = unversioned.get(stem.len()..).unwrap_or("");
    if date.starts_with("20") && matches!(date.len(), 8 | 10) { stem } else { operation }
}

#[cfg(test)]
mod tests {
    use super::undated;

    #[test]
    fn dates_in_operation_names_are_dropped() {
        for (name, want) in [
            ("UpdateFunctionCode20150331v2", "UpdateFunctionCode"),
            ("CreateFunction20150331", "CreateFunction"),
            ("DescribeVolumes", "DescribeVolumes"),
            ("ListObjectsV2", "ListObjectsV2"),
            ("20150331", ""),
            ("v2", "v2"),
            ("", ""),
        ] {
            assert_eq!(undated(name), want);
        }
    }
}

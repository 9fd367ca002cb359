//! Targets as steps name them, read strictly: what is not wholly understood is not acted on.

use prunella_setting::Fault;

/// A container of one storage account, or a blob in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place<'a> {
    pub account: &'a str,
    pub container: &'a str,
    /// Empty: the container itself.
    pub blob: &'a str,
}

/// <https://learn.microsoft.com/rest/api/storageservices/naming-and-referencing-containers--blobs--and-metadata>
const BLOB_BYTES_MAX: usize = 1_024;

impl<'a> Place<'a> {
    /// `azure:container:ACCOUNT:name`, or `azure:blob:ACCOUNT:container/name`.
    pub fn parse(target: &'a str) -> Result<Self, Fault> {
        let parsed = || {
            let (form, rest) = target.strip_prefix("azure:")?.split_once(':')?;
            let (account, path) = rest.split_once(':')?;
            let (container, blob) = match form {
                "container" => (path, ""),
                "blob" => path.split_once('/').filter(|(_, blob)| !blob.is_empty())?,
                _ => return None,
            };
            let is_whole = is_name(account) && is_container(container) && blob.len() <= BLOB_BYTES_MAX;
            is_whole.then_some(Place { account, container, blob })
        };
        parsed().ok_or_else(|| Fault::Refused(format!("`{target}` names no container or blob of an account")))
    }
}

/// Of an account; the emulator's are as long as one likes.
fn is_name(name: &str) -> bool {
    (3..=24).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
}

fn is_container(name: &str) -> bool {
    let is_one = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    (3..=63).contains(&name.len()) && name.bytes().all(is_one)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_one_place_is_refused() {
        let got = |target: &'static str| Place::parse(target).ok().map(|p| (p.account, p.container, p.blob));
        assert_eq!(got("azure:container:vault1:payroll"), Some(("vault1", "payroll", "")));
        assert_eq!(got("azure:blob:vault1:payroll/2026/a:b"), Some(("vault1", "payroll", "2026/a:b")));
        for bad in [
            "",
            "azure:container:vault1:",
            "azure:container:vault1:*",
            "azure:container::payroll",
            "azure:blob:vault1:payroll",
            "azure:blob:vault1:payroll/",
            "azure:queue:vault1:payroll",
        ] {
            assert_eq!(got(bad), None, "{bad}");
        }
    }
}

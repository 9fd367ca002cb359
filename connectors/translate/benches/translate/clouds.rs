//! Records of the other sources: their fixtures in turn, on one line, with ids that differ.

use crate::record_of;
use prunella_schemas::Record;

/// Each source, and what its records are made of.
pub const FIXTURES: &[(&str, &[&str])] = &[
    (
        "azure.activity",
        &[
            include_str!("../../fixtures/azure-activity-vm-write.json"),
            include_str!("../../fixtures/azure-activity-role-assignment.json"),
            include_str!("../../fixtures/azure-activity-rest-denied.json"),
        ],
    ),
    (
        "azure.signin",
        &[
            include_str!("../../fixtures/azure-signin-interactive.json"),
            include_str!("../../fixtures/azure-signin-blocked.json"),
            include_str!("../../fixtures/azure-signin-service-principal.json"),
        ],
    ),
    (
        "azure.audit",
        &[
            include_str!("../../fixtures/azure-audit-add-member-to-role.json"),
            include_str!("../../fixtures/azure-audit-remove-from-group.json"),
        ],
    ),
    (
        "azure.storage",
        &[
            include_str!("../../fixtures/azure-storage-get-blob-oauth.json"),
            include_str!("../../fixtures/azure-storage-delete-blob-sas.json"),
        ],
    ),
    (
        "gcp.audit",
        &[
            include_str!("../../fixtures/gcp-audit-compute-insert.json"),
            include_str!("../../fixtures/gcp-audit-set-iam-policy.json"),
            include_str!("../../fixtures/gcp-audit-impersonated-get-object.json"),
        ],
    ),
];

pub fn generate(source: &str, fixtures: &[&str], count: usize) -> Vec<Record> {
    let on_one_line = |text: &&str| -> String { text.lines().map(str::trim_start).collect() };
    let fixtures: Vec<String> = fixtures.iter().map(on_one_line).collect();
    fixtures
        .iter()
        .cycle()
        .take(count)
        .enumerate()
        .map(|(number, text)| {
            // The fixtures keep zeros where their ids may differ.
            let text =
                text.replace("-0000-4", &format!("-{number:04x}-4")).replace("abc", &format!("{number:03x}"));
            record_of(source, text)
        })
        .collect()
}

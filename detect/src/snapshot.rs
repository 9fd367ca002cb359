//! Snapshot: everything the stage remembers as bytes, and back. The same memory gives the same bytes.

use crate::behaviour::{Corrupt, Table};
use crate::engine::{Models, Newcomers, names};
use crate::peers::Groups;
use crate::principals::{Principals, RestoreError};
use crate::stage::{Detect, NAME};
use crate::training::Learner;
use prunella_schemas::stage::SnapshotError;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Changes whenever an older build could not read what this one writes.
const VERSION: u32 = 6;
/// How a snapshot of version 1 began; it was JSON.
const FIRST: &[u8] = b"{\"version\":1";

/// The parts, each with a version of its own.
#[derive(Serialize, Deserialize)]
struct Parts {
    principals: Vec<u8>,
    behaviours: Vec<u8>,
    tenants: BTreeMap<String, TenantParts>,
}

#[derive(Serialize, Deserialize)]
struct TenantParts {
    learners: [Vec<u8>; 3],
    groups: Vec<u8>,
    grouped: i64,
    since_grouped: u32,
    newcomers: Newcomers,
}

pub(crate) fn save(detect: &Detect) -> Vec<u8> {
    let mut behaviours = Vec::new();
    detect.engine.behaviours.save(&mut behaviours);
    let tenants = detect.engine.tenants.iter().map(|(tenant, models)| {
        let learners = models.learners.each_ref().map(|learner| {
            let mut bytes = Vec::new();
            // Writing to memory cannot fail; an empty part would be refused when it is read.
            let _ = learner.save(&mut bytes);
            bytes
        });
        let &Models { ref groups, grouped, since_grouped, newcomers, .. } = models;
        let groups = groups.save();
        let parts = TenantParts { learners, groups, grouped, since_grouped, newcomers };
        (tenant.to_string(), parts)
    });
    let principals = detect.principals.save(&detect.detector_ids());
    let parts = Parts { principals, behaviours, tenants: tenants.collect() };
    let mut bytes = VERSION.to_le_bytes().to_vec();
    bytes.extend(postcard::to_stdvec(&parts).unwrap_or_default());
    bytes
}

/// Refuses what it does not understand, and then leaves the stage as it was.
pub(crate) fn restore(detect: &mut Detect, bytes: &[u8]) -> Result<(), SnapshotError> {
    let newer = |version| SnapshotError::Version { stage: NAME, version, expected: VERSION };
    let corrupt = |detail: String| SnapshotError::Corrupt { stage: NAME, detail };
    if bytes.starts_with(FIRST) {
        return Err(newer(1));
    }
    let (version, rest) = bytes.split_first_chunk().ok_or_else(|| corrupt("it is empty".into()))?;
    let version = u32::from_le_bytes(*version);
    if version != VERSION {
        return Err(newer(version));
    }
    let (parts, rest) = postcard::take_from_bytes::<Parts>(rest).map_err(|e| corrupt(e.to_string()))?;
    if !rest.is_empty() {
        return Err(corrupt(format!("{} bytes too many", rest.len())));
    }
    let principals = Principals::restore(&parts.principals, &detect.detector_ids()).map_err(|e| match e {
        RestoreError::Version(version) => newer(version),
        RestoreError::Corrupt(detail) => corrupt(detail),
    })?;
    let (max, settled) = detect.engine.bounds();
    let behaviours =
        Table::restore(&parts.behaviours, max, settled).map_err(|e: Corrupt| corrupt(e.to_string()))?;
    let mut tenants = BTreeMap::new();
    for (tenant, parts) in parts.tenants {
        let TenantParts { learners: [human, machine, root], groups, grouped, since_grouped, newcomers } =
            parts;
        let learner = |bytes: Vec<u8>| Learner::restore(&names(), &bytes).map_err(|e| corrupt(e.to_string()));
        let learners = [learner(human)?, learner(machine)?, learner(root)?];
        let groups = Groups::restore(&groups).map_err(|e| corrupt(e.to_string()))?;
        tenants.insert(tenant.into(), Models { learners, groups, grouped, since_grouped, newcomers });
    }
    detect.principals = principals;
    detect.engine.behaviours = behaviours;
    detect.engine.tenants = tenants;
    Ok(())
}

//! Detector: what every detector is, so that one more is one more file.

use crate::config::Config;
use crate::evidence::Evidence;
use crate::past::Past;
use crate::sighting::Sighting;
use crate::window::Window;
use prunella_schemas::finding::Analytic;

/// A detector is its thresholds. It keeps no memory of its own: it reads the shared past of the principal and writes
/// only its window.
pub trait Detector: Send + Sync {
    /// Who says so: a stable id, a name for people, and a version that changes when the judgement does.
    fn analytic(&self) -> Analytic;

    fn id(&self) -> &'static str;

    /// Judges one event. `past` does not hold it yet.
    fn observe(
        &self,
        seen: &Sighting<'_>,
        past: &Past,
        window: &mut Window,
        config: &Config,
        out: &mut Evidence,
    );
}

/// How a detector comes to its judgement: OCSF `analytic.type_id`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    Rule,
    Behavioral,
    Statistical,
    Learning,
}

/// An analytic of this crate.
pub fn analytic(id: &'static str, name: &'static str, version: &'static str, method: Method) -> Analytic {
    let (type_id, kind) = match method {
        Method::Rule => (1, "Rule"),
        Method::Behavioral => (2, "Behavioral"),
        Method::Statistical => (3, "Statistical"),
        Method::Learning => (4, "Learning"),
    };
    Analytic { uid: id.into(), name: name.into(), version: version.into(), type_id, kind: kind.into() }
}

//! Catalog: what each of the sixteen features is, for people and for the passport of a model.

use super::COUNT;

/// One feature.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Feature {
    pub name: &'static str,
    /// Of the number, not of what people are shown.
    pub unit: &'static str,
    /// OCSF attributes it is made from.
    pub source: &'static str,
    /// What stands in its place when it is missing.
    pub missing: &'static str,
    /// That value, where it does not depend on the principal.
    pub neutral: f32,
    /// Values beyond are clipped and counted.
    pub min: f32,
    pub max: f32,
    /// It is made from the user agent, which a caller may choose freely.
    pub user_agent: bool,
}

const fn feature(
    name: &'static str,
    unit: &'static str,
    source: &'static str,
    (min, max): (f32, f32),
    neutral: f32,
    missing: &'static str,
) -> Feature {
    Feature { name, unit, source, missing, neutral, min, max, user_agent: false }
}

const HTTP_AGENT: Feature = Feature {
    user_agent: true,
    ..feature(
        "device novelty",
        "0 known, 0.5 met just now, 1 new",
        "http_request.user_agent",
        (0.0, 1.0),
        0.25,
        "0.25, between known and new",
    )
};

#[rustfmt::skip]
pub static CATALOG: [Feature; COUNT] = [
    feature("hour rarity", "bits", "time", (0.0, 16.0), 4.585, "4.585 (log2 24): every hour alike"),
    feature("gap", "log2(1 + s)", "time", (0.0, 25.5), 6.0, "6, a minute"),
    feature("size", "log2(1 + bytes)", "traffic.bytes_out, traffic.bytes, traffic.bytes_in, file.size", (0.0, 50.0), 12.0, "the principal's mean, else 12 (4 KiB)"),
    feature("size deviation", "standard deviations", "as size", (-16.0, 16.0), 0.0, "0, the principal's mean"),
    feature("rate", "log2(1 + events a minute)", "time", (0.0, 20.5), 1.0, "never missing"),
    feature("rate rise", "log2 of the ratio to the last hour", "time", (-15.0, 20.5), 0.0, "never missing"),
    feature("network novelty", "0 known, 0.5 met just now or of a known provider, 1 new", "src_endpoint.ip, src_endpoint.autonomous_system.number", (0.0, 1.0), 0.25, "0.25, between known and new"),
    HTTP_AGENT,
    feature("refusals", "log2(1 + count), negative for a sign-in that works after them", "class_uid, status_id, status_code", (-20.5, 20.5), 0.0, "never missing"),
    feature("odd inputs", "count", "every attribute named here but the user agent", (0.0, 16.0), 0.0, "never missing"),
    feature("operation surprisal", "bits", "api.operation, else type_uid", (0.0, 16.0), 4.0, "4, one operation of sixteen"),
    feature("peer surprisal", "bits", "as operation surprisal", (0.0, 32.0), 4.0, "4, one operation of sixteen"),
    feature("sensitivity", "0 to 1", "api.service.name, api.operation, activity_id", (0.0, 1.0), 0.15, "0.15 for what no list names and no activity tells"),
    feature("travel", "log2(1 + km/h)", "src_endpoint.location.coordinates", (0.0, 16.0), 1.0, "1, a stroll"),
    feature("entropy departure", "limits of a shift", "api.operation, time", (-8.0, 8.0), 0.0, "0, the principal's baseline"),
    feature("fan-out", "log2(1 + things in ten minutes)", "resources[].uid, resources[].name", (0.0, 9.0), 0.0, "never missing"),
];

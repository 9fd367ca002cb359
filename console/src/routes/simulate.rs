//! Starting a simulated attack against this very instance.

use crate::params::{Json as Body, NoParams, Params};
use crate::problem::echo;
use crate::{Console, Problem};
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

/// How hard a simulated attack goes.
const INTENSITIES: [&str; 3] = ["low", "medium", "high"];

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SimulatedAttack {
    /// Such as `brute_force`; an unknown one is answered with the known ones.
    attack_type: String,
    /// `low`, `medium` or `high`.
    #[serde(default = "medium")]
    intensity: String,
    /// The same seed makes the same records.
    #[serde(default)]
    seed: Option<u64>,
}

/// Starts a simulated attack and returns at once with what was started.
#[utoipa::path(post, path = "/api/simulate-attack", operation_id = "simulate_attack", tag = "simulate",
    request_body(content = ref("#/components/schemas/SimulatedAttack"), content_type = "application/json"),
    responses((status = 202, body = Value)))]
pub(crate) async fn start(
    State(console): State<Console>,
    _: Params<NoParams>,
    Body(attack): Body<SimulatedAttack>,
) -> Result<(StatusCode, Json<Value>), Problem> {
    let Some(simulator) = &console.ports.simulator else {
        return Err(Problem::absent(
            "this instance cannot simulate attacks: use `prunella simulate-attack run`",
        ));
    };
    let catalog = simulator.catalog();
    if !catalog.contains(&attack.attack_type) {
        let known = catalog.join(", ");
        return Err(Problem::invalid(format!(
            "attack_type `{}` is not known: use one of {known}",
            echo(&attack.attack_type)
        )));
    }
    if !INTENSITIES.contains(&attack.intensity.as_str()) {
        let known = INTENSITIES.join(", ");
        return Err(Problem::invalid(format!(
            "intensity `{}` is not known: use one of {known}",
            echo(&attack.intensity)
        )));
    }
    let started = simulator.start(&attack.attack_type, &attack.intensity, attack.seed).await?;
    Ok((StatusCode::ACCEPTED, Json(started)))
}

fn medium() -> String {
    "medium".to_owned()
}

//! `prunella config`: what is configured, where it came from, and whether it holds together.

use crate::args::Config;
use crate::{App, Outcome, Refusal, output, pipeline};
use serde::Serialize;

#[derive(Serialize)]
struct Leaf {
    key: String,
    value: toml::Value,
    origin: String,
}

pub fn run(app: &App, args: &Config) -> anyhow::Result<Outcome> {
    match args {
        Config::Show => {
            let leaves = app.loaded.leaves.iter();
            let rows: Vec<Leaf> = leaves
                .map(|(key, value, origin)| Leaf {
                    key: key.clone(),
                    value: value.clone(),
                    origin: origin.to_string(),
                })
                .collect();
            let cells = |leaf: &Leaf| vec![leaf.key.clone(), leaf.value.to_string(), leaf.origin.clone()];
            output::rows(app.format, &rows, &["KEY", "VALUE", "FROM"], cells)?;
        }
        Config::Check => {
            let settings = pipeline::settings(&app.loaded.config).map_err(Refusal)?;
            prunella_respond::Respond::new(settings.respond, settings.playbooks)
                .map_err(|e| Refusal(e.into()))?;
            prunella_runtime::enrich::load(&settings.enrich).map_err(|e| Refusal(e.into()))?;
            output::one(app.format, &serde_json::json!({ "valid": true }), |_| {
                "the configuration is valid".to_owned()
            })?;
        }
    }
    Ok(Outcome::Ok)
}

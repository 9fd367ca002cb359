//! JSON Schemas of every message, written from the types and checked for drift.

use crate::tree;
use anyhow::{Context, bail};
use prunella_schemas::{
    Command, DeadLetter, Event, Finding, Receipt, Record, Risk, Score, Signal, Transition,
};
use schemars::{JsonSchema, generate::SchemaSettings};
use std::path::PathBuf;

#[allow(clippy::print_stdout, reason = "the list of written files is the output")]
pub fn run(check: bool) -> anyhow::Result<()> {
    let mut stale = Vec::new();
    for (path, text) in generated()? {
        let full = tree::root().join(&path);
        if std::fs::read_to_string(&full).is_ok_and(|now| now == text) {
            continue;
        }
        if check {
            stale.push(path.display().to_string());
        } else {
            if let Some(folder) = full.parent() {
                std::fs::create_dir_all(folder)?;
            }
            std::fs::write(&full, text).with_context(|| format!("cannot write {}", full.display()))?;
            println!("wrote {}", path.display());
        }
    }
    if !stale.is_empty() {
        bail!("generated files differ from the code: {}; run `cargo xtask codegen`", stale.join(", "));
    }
    Ok(())
}

fn generated() -> anyhow::Result<Vec<(PathBuf, String)>> {
    Ok(vec![
        schema::<Record>("record")?,
        schema::<Event>("event")?,
        schema::<Finding>("finding")?,
        schema::<Risk>("risk")?,
        schema::<Score>("score")?,
        schema::<Signal>("signal")?,
        schema::<Transition>("plan")?,
        schema::<Command>("command")?,
        schema::<Receipt>("receipt")?,
        schema::<DeadLetter>("dead_letter")?,
    ])
}

fn schema<T: JsonSchema>(name: &str) -> anyhow::Result<(PathBuf, String)> {
    let schema = SchemaSettings::draft2020_12().into_generator().into_root_schema_for::<T>();
    let text = serde_json::to_string_pretty(&schema)? + "\n";
    Ok((PathBuf::from(format!("schemas/json/{name}.v1.schema.json")), text))
}

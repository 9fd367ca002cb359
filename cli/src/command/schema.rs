//! `prunella schema`: the tables in ClickHouse, made and checked.

use crate::args::Schema;
use crate::{App, Outcome, Refusal};

#[cfg(feature = "clickhouse")]
pub fn run(app: &App, args: &Schema) -> anyhow::Result<Outcome> {
    use crate::output;
    use prunella_runtime::store::clickhouse;

    let server = server(&app.loaded.config.clickhouse).map_err(Refusal)?;
    let refused = |e: prunella_schemas::port::PortError| Refusal(e.into());
    let schema = clickhouse::Schema::of(&server).map_err(refused)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    match args {
        Schema::Apply => {
            let applied = runtime.block_on(schema.apply()).map_err(refused)?;
            output::one(app.format, &applied, |a| match a.before == a.now {
                true => format!("database {} is up to date (schema {})", server.database, a.now),
                false => format!("database {} went from schema {} to {}", server.database, a.before, a.now),
            })?;
        }
        Schema::Check => {
            runtime.block_on(schema.check()).map_err(refused)?;
            output::one(app.format, &serde_json::json!({ "valid": true }), |_| {
                format!("database {} has the tables that this build needs", server.database)
            })?;
        }
    }
    Ok(Outcome::Ok)
}

#[cfg(not(feature = "clickhouse"))]
pub fn run(_: &App, _: &Schema) -> anyhow::Result<Outcome> {
    Err(Refusal(anyhow::anyhow!("this build knows no ClickHouse; build it with the feature `clickhouse`"))
        .into())
}

/// Where the configuration says that the server is, with the password out of its file.
#[cfg(feature = "clickhouse")]
pub fn server(
    config: &crate::config::ClickHouse,
) -> anyhow::Result<prunella_runtime::store::clickhouse::Server> {
    use anyhow::{Context, bail};

    if config.url.is_empty() {
        bail!("no ClickHouse is configured; set `clickhouse.url`, such as http://127.0.0.1:8123");
    }
    let file = &config.password_file;
    let password = match file.as_os_str().is_empty() {
        true => String::new(),
        false => std::fs::read_to_string(file)
            .with_context(|| {
                format!("cannot read the password file {} (`clickhouse.password_file`)", file.display())
            })?
            .trim()
            .to_owned(),
    };
    let (url, database, user) = (config.url.clone(), config.database.clone(), config.user.clone());
    Ok(prunella_runtime::store::clickhouse::Server { url, database, user, password })
}

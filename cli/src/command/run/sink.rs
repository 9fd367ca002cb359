//! The role `sink`: where it writes to, and whether that is there.

#[cfg(feature = "clickhouse")]
pub use with_clickhouse::{Table, answers, look, start, wanted};
#[cfg(not(feature = "clickhouse"))]
pub use without::{Table, answers, look, start, wanted};

#[cfg(feature = "clickhouse")]
mod with_clickhouse {
    use crate::args::Role;
    use crate::command::schema;
    use crate::config::Config;
    use anyhow::Context;
    use prunella_runtime::log::kafka::Settings;
    use prunella_runtime::roles::Roles;
    use prunella_runtime::sink::kafka::{self, KafkaSink};
    use prunella_runtime::store::clickhouse::Server;

    pub type Table = Server;

    /// `None` when the role does not run here.
    pub fn wanted(config: &Config, roles: &[Role]) -> anyhow::Result<Option<Table>> {
        let is_asked = roles.contains(&Role::Sink);
        let is_meant = roles.contains(&Role::All) && !config.clickhouse.url.is_empty();
        (is_asked || is_meant).then(|| schema::server(&config.clickhouse)).transpose()
    }

    /// Refuses what waiting does not mend. A server that is away is waited for, and `/readyz` says so.
    pub async fn look(table: &Table) -> anyhow::Result<()> {
        if kafka::answers(table).await? {
            kafka::check(table).await?;
        } else {
            tracing::warn!(
                url = table.url,
                "ClickHouse does not answer yet; the log keeps what it shall get"
            );
        }
        Ok(())
    }

    /// Whether the sink could store now.
    pub async fn answers(table: &Table) -> anyhow::Result<()> {
        Ok(kafka::check(table).await?)
    }

    pub fn start(roles: &mut Roles, settings: &Settings, table: &Table) -> anyhow::Result<()> {
        let runtime = tokio::runtime::Handle::current();
        let sink = traced(KafkaSink::new(settings.clone(), table, runtime.clone()), &runtime)?;
        roles.start_sink(sink).context("cannot start a thread")
    }

    /// With traces, if the variables that OpenTelemetry defines for it name a collector.
    #[cfg(feature = "otel")]
    #[allow(clippy::disallowed_methods, reason = "the command line is where the environment comes in")]
    fn traced(sink: KafkaSink, runtime: &tokio::runtime::Handle) -> anyhow::Result<KafkaSink> {
        use prunella_runtime::trace::Share;
        use prunella_runtime::trace::otlp::Otlp;

        const SHARE: f64 = 0.01;
        let endpoints = ["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"];
        if !endpoints.iter().any(|name| std::env::var_os(name).is_some()) {
            return Ok(sink);
        }
        let share = match std::env::var("OTEL_TRACES_SAMPLER_ARG") {
            Ok(text) => text.parse().context("OTEL_TRACES_SAMPLER_ARG is a number between 0 and 1")?,
            Err(_) => SHARE,
        };
        let otlp = Otlp::open(None, runtime).context("OTEL_EXPORTER_OTLP_ENDPOINT")?;
        Ok(sink.with_traces(Share::of(share), move |spans| otlp.send(spans)))
    }

    #[cfg(not(feature = "otel"))]
    fn traced(sink: KafkaSink, _: &tokio::runtime::Handle) -> anyhow::Result<KafkaSink> {
        Ok(sink)
    }
}

#[cfg(not(feature = "clickhouse"))]
mod without {
    use crate::args::Role;
    use crate::config::Config;
    use prunella_runtime::log::kafka::Settings;
    use prunella_runtime::roles::Roles;

    /// There is none.
    #[derive(Clone)]
    pub enum Table {}

    pub fn wanted(_: &Config, roles: &[Role]) -> anyhow::Result<Option<Table>> {
        anyhow::ensure!(
            !roles.contains(&Role::Sink),
            "this build knows no ClickHouse; build it with the feature `clickhouse`"
        );
        Ok(None)
    }

    #[allow(clippy::unused_async, reason = "as the one that has something to wait for")]
    pub async fn look(table: &Table) -> anyhow::Result<()> {
        match *table {}
    }

    #[allow(clippy::unused_async, reason = "as the one that has something to wait for")]
    pub async fn answers(table: &Table) -> anyhow::Result<()> {
        match *table {}
    }

    pub fn start(_: &mut Roles, _: &Settings, table: &Table) -> anyhow::Result<()> {
        match *table {}
    }
}

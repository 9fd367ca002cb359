//! What the roles `respond` and `console` need beside Kafka: the ledger, the hot state and the event store.

#[cfg(all(feature = "postgres", feature = "redis", feature = "clickhouse"))]
pub use with_engines::{Engines, open};
#[cfg(not(all(feature = "postgres", feature = "redis", feature = "clickhouse")))]
pub use without::{Engines, open};

#[cfg(all(feature = "postgres", feature = "redis", feature = "clickhouse"))]
mod with_engines {
    use crate::args::Role;
    use crate::command::run::http::Api;
    use crate::command::schema;
    use crate::config::Config;
    use crate::{effectors, pipeline};
    use anyhow::Context;
    use async_trait::async_trait;
    use prunella_console::Ports;
    use prunella_ledger::Signer;
    use prunella_runtime::clock;
    use prunella_runtime::ledger::postgres::{Database, PostgresReader};
    use prunella_runtime::log::kafka::{KafkaIntake, Settings, answers};
    use prunella_runtime::roles::{Response, Roles, Vitals};
    use prunella_runtime::state::RedisState;
    use prunella_runtime::store::clickhouse::ClickHouseStore;
    use prunella_schemas::port::{Accepted, Health, HealthView, Intake, PortError, Store, Upload};
    use prunella_schemas::{Command, Record, Timestamp};
    use std::sync::Arc;
    use tokio::sync::broadcast;

    /// Live messages kept for a reader that falls behind; beyond it the reader skips.
    const LIVE_MAX: usize = 1_024;

    /// Connected engines, and which of the two roles run over them. Cheap to clone.
    #[derive(Clone)]
    pub struct Engines {
        database: Database,
        state: RedisState,
        store: Arc<dyn Store>,
        responds: bool,
        serves: bool,
    }

    /// `None` when neither role runs here. `all` means them if their engines are configured.
    pub async fn open(config: &Config, roles: &[Role]) -> anyhow::Result<Option<Engines>> {
        let are_configured = ![&config.postgres.url, &config.redis.url, &config.clickhouse.url]
            .into_iter()
            .any(String::is_empty);
        let is_asked = |role| roles.contains(&role) || (roles.contains(&Role::All) && are_configured);
        let (responds, serves) = (is_asked(Role::Respond), is_asked(Role::Console));
        if !responds && !serves {
            return Ok(None);
        }
        anyhow::ensure!(
            are_configured,
            "the roles `respond` and `console` need `postgres.url`, `redis.url` and `clickhouse.url`"
        );
        let database = Database::open(&pipeline::postgres(config)?).await?;
        let password = pipeline::password(&config.redis.password_file).context("`redis.password_file`")?;
        let history = Arc::new(database.clone());
        let state = RedisState::open(&config.redis.url, &password, &config.redis.prefix, history)?;
        state.answers().await?;
        state.load(&config.tenant).await?;
        let store = Arc::new(ClickHouseStore::new(&schema::server(&config.clickhouse)?));
        Ok(Some(Engines { database, state, store, responds, serves }))
    }

    impl Engines {
        pub fn names(&self) -> impl Iterator<Item = &'static str> {
            let named = [(self.responds, "respond"), (self.serves, "console")];
            named.into_iter().filter(|(runs, _)| *runs).map(|(_, name)| name)
        }

        /// Which of the engines does not answer now, and why.
        pub async fn missing(&self) -> Vec<String> {
            let mut missing = Vec::new();
            missing.extend(self.database.answers().await.err().map(|e| format!("postgres: {e}")));
            missing.extend(self.state.answers().await.err().map(|e| format!("redis: {e}")));
            let events = self.store.dashboard(Some("nobody")).await;
            missing.extend(events.err().map(|e| format!("clickhouse: {e}")));
            missing
        }

        pub async fn respond(
            &self,
            config: &Config,
            settings: &Settings,
            roles: &mut Roles,
        ) -> anyhow::Result<()> {
            if !self.responds {
                return Ok(());
            }
            let own = pipeline::settings(config)?;
            let response = Response {
                config: own.respond,
                playbooks: own.playbooks,
                data_dir: own.data_dir,
                webhooks: own.webhooks,
                database: self.database.clone(),
                signer: Arc::new(self.signer(config).await?),
                state: Arc::new(self.state.clone()),
                store: Arc::clone(&self.store),
                effectors: effectors::open_all(config).await?,
            };
            let lacking = roles.start_respond(settings, response).await?;
            for line in &lacking {
                tracing::warn!("{line}");
            }
            Ok(())
        }

        async fn signer(&self, config: &Config) -> anyhow::Result<Signer> {
            let file = &config.postgres.key_file;
            if file.as_os_str().is_empty() {
                std::fs::create_dir_all(&config.data_dir)?;
                let may_make = self.database.is_unsigned().await?;
                return Ok(prunella_runtime::ledger::signer(&config.data_dir, may_make)?);
            }
            let text = pipeline::secret_text(file).context("`postgres.key_file`")?;
            Signer::parse(text.trim()).with_context(|| format!("{} holds no ledger's key", file.display()))
        }

        /// What the console serves, if it runs here.
        pub fn console(
            &self,
            config: &Config,
            settings: &Settings,
            roles: &mut Roles,
        ) -> anyhow::Result<Option<Api>> {
            if !self.serves {
                return Ok(None);
            }
            let intake = KafkaIntake::open(settings, clock::wall())?;
            let health = RolesHealth {
                engines: self.clone(),
                settings: settings.clone(),
                vitals: roles.vitals.clone(),
                started: (clock::wall())(),
            };
            let live = broadcast::channel(LIVE_MAX).0;
            roles.start_feed(settings, live.clone())?;
            let own = pipeline::settings(config)?;
            let ports = Ports {
                store: Arc::clone(&self.store),
                intake: Arc::new(Door { intake, database: self.database.clone() }),
                state: Arc::new(self.state.clone()),
                ledger: Arc::new(PostgresReader::new(self.database.clone(), config.tenant.clone())),
                health: Arc::new(health),
                live,
                simulator: None,
                links: None,
                clock: clock::wall(),
                sources: prunella_translate::catalog().iter().map(|t| t.name().to_owned()).collect(),
                playbooks: own.playbooks.iter().map(|playbook| playbook.id.clone()).collect(),
            };
            Ok(Some(Api { ports: Box::new(ports), config: pipeline::console(config)? }))
        }
    }

    /// Intake over Kafka. The kill switch is in the ledger's database before anybody is told.
    struct Door {
        intake: KafkaIntake,
        database: Database,
    }

    #[async_trait]
    impl Intake for Door {
        async fn accept(&self, upload: Upload) -> Result<Accepted, PortError> {
            self.intake.accept(upload).await
        }

        async fn accept_record(&self, record: Record) -> Result<Accepted, PortError> {
            self.intake.accept_record(record).await
        }

        async fn command(&self, command: Command) -> Result<(), PortError> {
            if let Command::KillSwitch { engaged, by, .. } = &command {
                self.database.set_kill_switch(*engaged, by).await?;
            }
            self.intake.command(command).await
        }
    }

    /// How the engines are, and the roles of this process. Lags of other processes are in their `/metrics`.
    struct RolesHealth {
        engines: Engines,
        settings: Settings,
        vitals: Vitals,
        started: Timestamp,
    }

    #[async_trait]
    impl HealthView for RolesHealth {
        async fn health(&self) -> Health {
            let settings = self.settings.clone();
            let mut problems = self.vitals.problems();
            problems.extend(self.engines.missing().await);
            let kafka = tokio::task::spawn_blocking(move || answers(&settings).map_err(|e| e.to_string()));
            let kafka = kafka.await.unwrap_or_else(|e| Err(e.to_string()));
            problems.extend(kafka.err().map(|e| format!("kafka: {e}")));
            Health {
                status: if problems.is_empty() { "ok" } else { "degraded" }.into(),
                version: env!("CARGO_PKG_VERSION").into(),
                uptime_ms: (clock::wall())().since_ms(self.started).max(0).unsigned_abs(),
                lag: self.vitals.lag(),
                problems,
                // What cannot be read counts as engaged.
                kill_switch: self.engines.database.kill_switch().await.unwrap_or(true),
            }
        }
    }
}

#[cfg(not(all(feature = "postgres", feature = "redis", feature = "clickhouse")))]
mod without {
    use crate::args::Role;
    use crate::command::run::http::Api;
    use crate::config::Config;
    use prunella_runtime::log::kafka::Settings;
    use prunella_runtime::roles::Roles;

    /// There are none.
    #[derive(Clone)]
    pub enum Engines {}

    #[allow(clippy::unused_async, reason = "as the one that has something to wait for")]
    pub async fn open(_: &Config, roles: &[Role]) -> anyhow::Result<Option<Engines>> {
        anyhow::ensure!(
            !roles.contains(&Role::Respond) && !roles.contains(&Role::Console),
            "this build knows neither ledger nor state of several processes; build it with the features \
             `postgres,redis,clickhouse`"
        );
        Ok(None)
    }

    #[allow(clippy::unused_async, reason = "as the one that has something to wait for")]
    impl Engines {
        pub fn names(&self) -> std::iter::Empty<&'static str> {
            match *self {}
        }

        pub async fn missing(&self) -> Vec<String> {
            match *self {}
        }

        pub async fn respond(&self, _: &Config, _: &Settings, _: &mut Roles) -> anyhow::Result<()> {
            match *self {}
        }

        pub fn console(&self, _: &Config, _: &Settings, _: &mut Roles) -> anyhow::Result<Option<Api>> {
            match *self {}
        }
    }
}

//! Sources over Kafka: a page is durable when all replicas have its records.

use crate::intake::Sender;
use crate::log::kafka::KafkaIntake;
use async_trait::async_trait;
use prunella_ingest::{Content, Limits};
use prunella_schemas::port::{Accepted, Intake, PortError, Upload};
use prunella_schemas::{Command, Record};

#[async_trait]
impl Intake for KafkaIntake {
    async fn accept(&self, upload: Upload) -> Result<Accepted, PortError> {
        let Some(content) = Content::of_media_type(&upload.content_type) else {
            return Err(PortError::Invalid(format!(
                "content type `{}` holds no records",
                upload.content_type
            )));
        };
        let limits = if upload.is_file { Limits::FILE } else { Limits::INTAKE };
        let sender = Sender { source: upload.source, tenant: upload.tenant, origin: upload.origin };
        let (intake, body) = (self.clone(), upload.body);
        let taken = move || intake.take(body.as_slice(), content, &limits, &sender);
        match tokio::task::spawn_blocking(taken).await {
            Ok(result) => result,
            Err(e) => Err(PortError::Unavailable(format!("intake was cut short: {e}"))),
        }
    }

    async fn accept_record(&self, record: Record) -> Result<Accepted, PortError> {
        let Record { source, tenant, origin, body, .. } = record;
        let content_type = "application/x-ndjson".to_owned();
        self.accept(Upload { source, tenant, content_type, body, origin, ..Upload::default() }).await
    }

    async fn command(&self, _: Command) -> Result<(), PortError> {
        Err(PortError::Invalid("commands do not go where records go".to_owned()))
    }
}

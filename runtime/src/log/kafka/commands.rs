//! The port of intake over Kafka: bodies become records, and commands reach every partition that they concern.

use super::intake::{KafkaIntake, Portion};
use super::producer::Parcel;
use super::wire::attributes;
use crate::intake::opened;
use async_trait::async_trait;
use prunella_schemas::port::{Accepted, Intake, PortError, Upload};
use prunella_schemas::{Command, Posted, Record, Timestamp, Topic};

impl KafkaIntake {
    /// A command of a tenant goes where the tenant's plans are; one that concerns everybody goes to every partition.
    /// Returns when all replicas have it. Blocks.
    fn give(&self, command: &Command) -> Result<(), PortError> {
        let posted = Posted::new(command, Timestamp::ZERO);
        let topic = self.settings.topic(Topic::Commands);
        let places: Vec<Option<i32>> = match command.tenant() {
            Some(_) => vec![None],
            None => (0..self.settings.partitions(Topic::Commands)?.cast_signed()).map(Some).collect(),
        };
        let mut portion = Portion::new();
        for partition in places {
            let parcel = Parcel {
                topic: &topic,
                partition,
                key: &posted.key,
                payload: Some(&posted.bytes),
                headers: Some(attributes(&posted, &topic)),
            };
            portion.give(&self.out, parcel)?;
        }
        portion.settle(&mut Accepted::default())
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Self) -> Result<T, PortError> + Send + 'static,
    ) -> Result<T, PortError> {
        let intake = self.clone();
        match tokio::task::spawn_blocking(move || work(&intake)).await {
            Ok(result) => result,
            Err(e) => Err(PortError::Unavailable(format!("intake was cut short: {e}"))),
        }
    }
}

#[async_trait]
impl Intake for KafkaIntake {
    async fn accept(&self, upload: Upload) -> Result<Accepted, PortError> {
        let (content, limits, sender, body) = opened(upload)?;
        self.blocking(move |intake| intake.take(body.as_slice(), content, &limits, &sender)).await
    }

    /// A record on Kafka has the id of its content, by which `ingest` drops it as a repeat.
    async fn accept_record(&self, _: Record) -> Result<Accepted, PortError> {
        let detail = "over Kafka a record that was refused is not given again: it would count as a repeat; \
                      produce it anew once it is mended";
        Err(PortError::Invalid(detail.into()))
    }

    async fn command(&self, command: Command) -> Result<(), PortError> {
        self.blocking(move |intake| intake.give(&command)).await
    }
}

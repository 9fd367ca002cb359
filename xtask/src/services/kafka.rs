//! Apache Kafka from Maven Central: one node in KRaft mode, broker and controller in one process.

use super::{Launch, Running, Service, package, process, say, tls};
use anyhow::{Context, bail};
use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;

/// The version in `kafka.pom.xml`.
const VERSION: &str = "4.1.1";
const POM: &str = include_str!("kafka.pom.xml");
const JAVA_MIN: u32 = 17;
/// A record, its first line and its headers, at their largest, with room to spare.
const MESSAGE_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Who may come in by the door that asks: TLS, and SASL's PLAIN.
const USER: &str = "prunella";

pub struct Kafka;

impl Service for Kafka {
    fn name(&self) -> &'static str {
        "kafka"
    }

    fn prepare(&self, folder: &Path, port: &dyn Fn() -> anyhow::Result<u16>) -> anyhow::Result<Launch> {
        let java = package::program("kafka", "openjdk-17-jre-headless", || package::on_path(&["java"]))?;
        check_java(&java)?;
        let library = library()?;
        let settings = folder.join("server.properties");
        let broker = port()?;
        let again = |name: &str| last_port(&settings, name).map_or_else(port, Ok);
        let (controller, secure) = (again(",CONTROLLER://127.0.0.1:")?, again(",SASL_SSL://127.0.0.1:")?);
        let (files, password_file) = (tls::files(folder)?, folder.join("password"));
        let mut text = properties(folder, [broker, secure, controller]);
        text += &of_the_secure_door(&files, &process::password(&password_file)?);
        process::private_file(&settings, &text)?;
        let classes = format!("{}/*", library.display());
        if !folder.join("data/meta.properties").exists() {
            let mut id = process::random_hex()?;
            // 22 characters of the base64 alphabet are the 128 bits of a cluster id.
            id.truncate(22);
            let mut format = Command::new(&java);
            format.args([
                "-cp",
                &classes,
                "kafka.tools.StorageTool",
                "format",
                "--standalone",
                "-t",
                &id,
                "-c",
            ]);
            process::finish(format.arg(&settings)).context("cannot format the storage of Kafka")?;
        }
        let mut command = Command::new(java);
        command.args([
            "-Xmx512m",
            "-Dorg.slf4j.simpleLogger.showDateTime=true",
            "-cp",
            &classes,
            "kafka.Kafka",
        ]);
        command.arg(&settings);
        Ok(Launch {
            command,
            address: format!("127.0.0.1:{broker}"),
            mark: settings.display().to_string(),
            stop_signal: "TERM",
            secrets: BTreeMap::from([(USER.to_owned(), password_file)]),
            tls: Some(tls::Door { address: format!("127.0.0.1:{secure}"), authority: files.authority }),
        })
    }

    /// A metadata request: it is answered once the broker is part of its cluster.
    fn answer(&self, running: &Running) -> anyhow::Result<String> {
        // Size, then: API 3 (Metadata), version 1, correlation 7, no client id, all topics.
        let question = [0, 0, 0, 14, 0, 3, 0, 1, 0, 0, 0, 7, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff];
        let answer = process::ask(&running.address, &question, |a| a.len() >= 12)?;
        let number =
            |at: usize| answer.get(at..at + 4).and_then(|b| Some(i32::from_be_bytes(b.try_into().ok()?)));
        match (number(4), number(8)) {
            (Some(7), Some(1..)) => {}
            (Some(7), _) => bail!("no broker has joined the cluster"),
            _ => bail!("the answer is not one of Kafka"),
        }
        Ok(running.pid.map_or("unknown", |_| VERSION).to_owned())
    }
}

/// The port behind `name`, if it can be had again: a broker that was killed looks for its controller where it was.
fn last_port(settings: &Path, name: &str) -> Option<u16> {
    let text = std::fs::read_to_string(settings).ok()?;
    let (_, rest) = text.split_once(name)?;
    let port = rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()?;
    TcpListener::bind(("127.0.0.1", port)).ok().map(|_| port)
}

fn check_java(java: &Path) -> anyhow::Result<()> {
    let release =
        process::finish(Command::new(java).args(["--version"])).context("java is too old for Kafka 4")?;
    let major =
        release.split_whitespace().nth(1).and_then(|v| v.split(['.', '-', '+']).next()?.parse::<u32>().ok());
    match major {
        Some(major) if major < JAVA_MIN => {
            bail!("java is {major}; Kafka {VERSION} needs {JAVA_MIN} or later")
        }
        _ => Ok(()),
    }
}

/// The folder of all jars. Maven checks what it gets against the checksums of the registry.
fn library() -> anyhow::Result<std::path::PathBuf> {
    package::cached(&format!("kafka-{VERSION}"), |folder| {
        let maven = package::program("kafka", "maven", || package::on_path(&["mvn"]))?;
        say("kafka", &format!("getting Apache Kafka {VERSION} by Maven (45 MB, once)"));
        let pom = folder.join("pom.xml");
        std::fs::write(&pom, POM)?;
        let mut copy = Command::new(maven);
        copy.args(["--batch-mode", "--quiet", "--strict-checksums", "dependency:copy-dependencies"]);
        copy.arg("-DincludeScope=runtime")
            .arg(format!("-DoutputDirectory={}", folder.display()))
            .arg("-f")
            .arg(pom);
        process::finish(&mut copy).context("Maven cannot get Kafka; look at its settings")?;
        Ok(())
    })
}

/// How clients prove who they are, and the broker who it is.
fn of_the_secure_door(files: &tls::Files, password: &str) -> String {
    format!(
        "listener.name.sasl_ssl.sasl.enabled.mechanisms=PLAIN\n\
         listener.name.sasl_ssl.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule \
         required user_{USER}=\"{password}\";\n\
         listener.name.sasl_ssl.ssl.keystore.type=PEM\n\
         listener.name.sasl_ssl.ssl.keystore.location={keys}\n",
        keys = files.both.display()
    )
}

fn properties(folder: &Path, [broker, secure, controller]: [u16; 3]) -> String {
    format!(
        "process.roles=broker,controller\n\
         node.id=1\n\
         controller.listener.names=CONTROLLER\n\
         controller.quorum.bootstrap.servers=127.0.0.1:{controller}\n\
         listeners=PLAINTEXT://127.0.0.1:{broker},SASL_SSL://127.0.0.1:{secure},CONTROLLER://127.0.0.1:{controller}\n\
         advertised.listeners=PLAINTEXT://127.0.0.1:{broker},SASL_SSL://127.0.0.1:{secure}\n\
         listener.security.protocol.map=PLAINTEXT:PLAINTEXT,SASL_SSL:SASL_SSL,CONTROLLER:PLAINTEXT\n\
         inter.broker.listener.name=PLAINTEXT\n\
         log.dirs={data}\n\
         message.max.bytes={MESSAGE_BYTES_MAX}\n\
         replica.fetch.max.bytes={MESSAGE_BYTES_MAX}\n\
         auto.create.topics.enable=false\n\
         offsets.topic.replication.factor=1\n\
         offsets.topic.num.partitions=8\n\
         transaction.state.log.replication.factor=1\n\
         transaction.state.log.min.isr=1\n\
         share.coordinator.state.topic.replication.factor=1\n\
         share.coordinator.state.topic.min.isr=1\n\
         group.initial.rebalance.delay.ms=0\n\
         broker.heartbeat.interval.ms=500\n\
         broker.session.timeout.ms=3000\n\
         log.cleaner.dedupe.buffer.size=16777216\n",
        data = folder.join("data").display()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pom_names_the_version_that_is_reported() {
        assert!(POM.contains(&format!("<version>{VERSION}</version>")));
    }
}

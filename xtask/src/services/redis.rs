//! Redis from Debian.

use super::{Launch, Running, Service, package, process, tls};
use anyhow::bail;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

pub struct Redis;

impl Service for Redis {
    fn name(&self) -> &'static str {
        "redis"
    }

    fn prepare(&self, folder: &Path, port: &dyn Fn() -> anyhow::Result<u16>) -> anyhow::Result<Launch> {
        // Debian's `redis-server` is this program of `redis-tools` under another name, and a service of the system that
        // would start; the tools alone start nothing.
        let find = || package::on_path(&["redis-server", "redis-check-rdb"]);
        let program = package::program("redis", "redis-tools", find)?;
        let (files, port, secure) = (tls::files(folder)?, port()?, port()?);
        let data = folder.join("data");
        process::private_folder(&data)?;
        let mut command = Command::new(program);
        command.arg0("redis-server").args(["--bind", "127.0.0.1", "--port", &port.to_string()]);
        command.args(["--protected-mode", "yes", "--dir"]).arg(&data);
        command.args(["--appendonly", "yes", "--appendfsync", "everysec", "--save", "", "--daemonize", "no"]);
        command.args(["--tls-port", &secure.to_string(), "--tls-auth-clients", "no", "--tls-cert-file"]);
        command.arg(&files.certificate).arg("--tls-key-file").arg(&files.key);
        command.arg("--tls-ca-cert-file").arg(&files.authority);
        Ok(Launch {
            command,
            address: format!("127.0.0.1:{port}"),
            // Redis writes its own title over its command line.
            mark: format!("redis-server 127.0.0.1:{port}"),
            stop_signal: "TERM",
            secrets: Default::default(),
            tls: Some(tls::Door { address: format!("127.0.0.1:{secure}"), authority: files.authority }),
        })
    }

    fn answer(&self, running: &Running) -> anyhow::Result<String> {
        let pong = process::ask(&running.address, b"PING\r\n", |a| a.ends_with(b"\r\n"))?;
        if pong != b"+PONG\r\n" {
            bail!("PING is answered with {}", String::from_utf8_lossy(&pong).trim());
        }
        let info = process::ask(&running.address, b"INFO server\r\nQUIT\r\n", |_| false)?;
        let info = String::from_utf8_lossy(&info);
        let version = info.lines().find_map(|line| line.strip_prefix("redis_version:"));
        Ok(version.unwrap_or("unknown").trim().to_owned())
    }
}

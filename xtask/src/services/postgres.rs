//! PostgreSQL from Debian: a cluster of its own, with one user and a password.

use super::{Launch, Running, Service, package, process, tls};
use anyhow::{Context, bail};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The one user; the database is `postgres`.
const USER: &str = "prunella";
/// PostgreSQL refuses to run as root; this user is made by its Debian package.
const RUN_AS: &str = "postgres";

pub struct Postgres;

impl Service for Postgres {
    fn name(&self) -> &'static str {
        "postgres"
    }

    fn prepare(&self, folder: &Path, port: &dyn Fn() -> anyhow::Result<u16>) -> anyhow::Result<Launch> {
        let initdb = package::program("postgres", "postgresql", || server_program("initdb"))?;
        let server = initdb.with_file_name("postgres");
        let password_file = folder.join("password");
        process::password(&password_file)?;
        let home = match package::is_root()? {
            true => home_of_other_user(folder)?,
            false => folder.to_owned(),
        };
        let data = home.join("data");
        if !data.join("PG_VERSION").exists() {
            let given = home.join("password.given");
            std::fs::copy(&password_file, &given)?;
            own(&given)?;
            let mut make = as_user(&initdb)?;
            make.arg("--pgdata").arg(&data).args(["--username", USER, "--auth", "scram-sha-256"]);
            make.args(["--encoding", "UTF8", "--locale", "C", "--pwfile"]).arg(&given);
            let made = process::finish(&mut make).context("cannot make a database cluster");
            std::fs::remove_file(&given)?;
            made?;
        }
        let files = tls::files(&home)?;
        own(&files.certificate)?;
        own(&files.key)?;
        let (port, set) = (port()?, |name: &str, file: &Path| format!("{name}={}", file.display()));
        let mut command = as_user(&server)?;
        command.arg("-D").arg(&data).args(["-h", "127.0.0.1", "-p", &port.to_string(), "-k"]).arg(&home);
        command.args(["-c", "ssl=on", "-c", &set("ssl_cert_file", &files.certificate)]);
        command.args(["-c", &set("ssl_key_file", &files.key)]);
        Ok(Launch {
            command,
            address: format!("127.0.0.1:{port}"),
            mark: data.display().to_string(),
            // Fast shutdown: by SIGTERM it would wait for its clients.
            stop_signal: "INT",
            secrets: BTreeMap::from([(USER.to_owned(), password_file)]),
            tls: Some(tls::Door { address: format!("127.0.0.1:{port}"), authority: files.authority }),
        })
    }

    fn answer(&self, running: &Running) -> anyhow::Result<String> {
        let psql =
            package::on_path(&["psql"]).or_else(|| server_program("psql")).context("there is no psql")?;
        let (host, port) = running.address.rsplit_once(':').context("the address has no port")?;
        let mut ask = Command::new(psql);
        ask.args([
            "-X",
            "-w",
            "-A",
            "-t",
            "-q",
            "-h",
            host,
            "-p",
            port,
            "-d",
            "postgres",
            "-c",
            "SHOW server_version",
        ]);
        if let Some(file) = running.secrets.get(USER) {
            ask.args(["-U", USER]).env("PGPASSWORD", std::fs::read_to_string(file)?.trim());
        }
        let version = process::finish(ask.env("PGCONNECT_TIMEOUT", "5"))?;
        Ok(version.split(' ').next().unwrap_or_default().to_owned())
    }
}

/// On the path, else in the newest of the folders in which Debian keeps every version apart.
fn server_program(name: &str) -> Option<PathBuf> {
    if let Some(path) = package::on_path(&[name]) {
        return Some(path);
    }
    let versions = std::fs::read_dir("/usr/lib/postgresql").ok()?.flatten();
    let newest = versions.max_by_key(|v| v.file_name().to_string_lossy().parse::<u32>().unwrap_or(0))?;
    Some(newest.path().join("bin").join(name)).filter(|p| p.is_file())
}

/// `program`, as a user who is not root.
fn as_user(program: &Path) -> anyhow::Result<Command> {
    if !package::is_root()? {
        return Ok(Command::new(program));
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid", RUN_AS, "--regid", RUN_AS, "--clear-groups"]).arg(program);
    // A folder that the other user cannot enter is no place to start in.
    command.current_dir("/");
    Ok(command)
}

/// A folder that belongs to the other user: inside `folder` if that user can get there, else among temporary files.
fn home_of_other_user(folder: &Path) -> anyhow::Result<PathBuf> {
    let name: String = folder.display().to_string().replace('/', "-");
    let places = [
        folder.with_file_name("postgres-of-another-user"),
        std::env::temp_dir().join(format!("prunella{name}")),
    ];
    for place in places {
        process::private_folder(&place)?;
        own(&place)?;
        if process::finish(as_user(Path::new("test"))?.arg("-w").arg(&place)).is_ok() {
            return Ok(place);
        }
    }
    bail!("user {RUN_AS} can write neither beside {} nor among temporary files", folder.display())
}

fn own(path: &Path) -> anyhow::Result<()> {
    if package::is_root()? {
        process::finish(Command::new("chown").arg(format!("{RUN_AS}:{RUN_AS}")).arg(path))
            .with_context(|| format!("cannot give {} to user {RUN_AS}", path.display()))?;
    }
    Ok(())
}

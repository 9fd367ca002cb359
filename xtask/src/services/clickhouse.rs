//! ClickHouse from npm: the engine as a library, which this program loads as a child of itself and lets listen.

use super::{Launch, Running, Service, package, process, say};
use anyhow::{Context, bail};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::ffi::{CString, c_char, c_int};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The package; the engine inside says its own version.
const VERSION: &str = "26.7.3-stable.1";
/// System, processor, how the package calls them, and its SHA-512. The package exists for other platforms, unpinned.
const PACKAGES: [(&str, &str, &str, &str); 1] = [(
    "linux",
    "x86_64",
    "linux-x64-gnu",
    "5cff7b98caa7739b59a4a432c11f0dedc2d3b073624e61ebdf4a42e66ce8de35\
     a6ba48ca9f62016bad1cd81fe059435cb858ce3235a8a2b408082a81563e70a7",
)];
/// Never returns, so that the listeners stay open.
const LISTEN: &str = "SYSTEM START LISTEN HTTP; SYSTEM START LISTEN TCP; \
    SELECT sleepEachRow(3) FROM system.numbers SETTINGS max_block_size=1 FORMAT Null";

/// Who may do what, in databases whose names start with `prunella`. The engine cannot give `default` a password, so it gets no right but to open the listeners.
const USERS: [(&str, &str, &[&str]); 3] = [
    (
        "migrate",
        "default",
        &[
            "GRANT ALL ON prunella*.*",
            "GRANT SELECT ON system.*",
            "GRANT TABLE ENGINE ON MergeTree",
            "GRANT TABLE ENGINE ON ReplacingMergeTree",
            "GRANT TABLE ENGINE ON AggregatingMergeTree",
            "GRANT TABLE ENGINE ON SummingMergeTree",
        ],
    ),
    (
        "ingest",
        "default",
        &[
            "GRANT SELECT, INSERT ON prunella*.*",
            "GRANT CREATE TEMPORARY TABLE ON *.*",
            "GRANT KILL QUERY ON *.*",
            "GRANT SELECT ON system.processes",
        ],
    ),
    ("reader", "reader", &["GRANT SELECT ON prunella*.*"]),
];

pub struct ClickHouse;

impl Service for ClickHouse {
    fn name(&self) -> &'static str {
        "clickhouse"
    }

    fn prepare(&self, folder: &Path, port: &dyn Fn() -> anyhow::Result<u16>) -> anyhow::Result<Launch> {
        let library = library()?;
        let mut secrets = BTreeMap::new();
        for (user, ..) in USERS {
            let file = folder.join(format!("{user}.password"));
            process::password(&file)?;
            secrets.insert(user.to_owned(), file);
        }
        let (users, config, data) =
            (folder.join("users.xml"), folder.join("config.xml"), folder.join("data"));
        process::private_file(&users, &users_xml(&secrets)?)?;
        let directories = format!(
            "<clickhouse><user_directories><users_xml><path>{}</path></users_xml></user_directories></clickhouse>\n",
            users.display()
        );
        process::private_file(&config, &directories)?;
        process::private_folder(&data)?;
        let (http, native) = (port()?, port()?);
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("clickhouse").arg(library);
        command.arg(format!("--path={}", data.display())).arg(format!("--config-file={}", config.display()));
        command.arg(format!("--http_port={http}")).arg(format!("--tcp_port={native}"));
        command.args(["--listen_host=127.0.0.1", "--multiquery", "--query", LISTEN]).current_dir(folder);
        Ok(Launch {
            command,
            address: format!("127.0.0.1:{http}"),
            mark: format!("--path={}", data.display()),
            stop_signal: "TERM",
            secrets,
            tls: None,
        })
    }

    fn answer(&self, running: &Running) -> anyhow::Result<String> {
        let address = &running.address;
        let user = match running.secrets.get("reader") {
            Some(file) => {
                let password = std::fs::read_to_string(file)?;
                format!("X-ClickHouse-User: reader\r\nX-ClickHouse-Key: {}\r\n", password.trim())
            }
            None => String::new(),
        };
        let path = if user.is_empty() { "/ping" } else { "/?query=SELECT%20version()" };
        let question = format!("GET {path} HTTP/1.0\r\nHost: {address}\r\n{user}\r\n");
        let answer = process::ask(address, question.as_bytes(), |_| false)?;
        let answer = String::from_utf8_lossy(&answer);
        let (head, body) = answer.split_once("\r\n\r\n").context("no answer over HTTP")?;
        if !head.contains(" 200 ") {
            bail!("{}: {}", head.lines().next().unwrap_or_default(), body.lines().next().unwrap_or_default());
        }
        Ok(if user.is_empty() { "unknown".to_owned() } else { body.trim().to_owned() })
    }
}

/// Loads the library and is `clickhouse local` from then on. Only ever called in a child process.
#[allow(unsafe_code, reason = "the engine has no other interface than one C function")]
pub fn become_clickhouse(library: &Path, arguments: &[String]) -> anyhow::Result<()> {
    let mut words = vec![CString::new("clickhouse")?];
    for argument in arguments {
        words.push(CString::new(argument.as_str())?);
    }
    let mut pointers: Vec<*mut c_char> = words.iter().map(|w| w.as_ptr().cast_mut()).collect();
    pointers.push(std::ptr::null_mut());
    let count = c_int::try_from(words.len())?;
    // SAFETY: the library was checked against its checksum when it was obtained, and its initialisers run in a process
    // that has done nothing else yet.
    let engine = unsafe { libloading::Library::new(library) }.context("the engine does not load")?;
    // SAFETY: `chdb_query_cmdline` is declared as `int (int argc, char ** argv)`.
    let run: libloading::Symbol<'_, unsafe extern "C" fn(c_int, *mut *mut c_char) -> c_int> =
        unsafe { engine.get(b"chdb_query_cmdline\0") }.context("the engine has no command line")?;
    // SAFETY: `pointers` holds `count` strings and a final null, as `main` would get them, and outlives the call.
    let status = unsafe { run(count, pointers.as_mut_ptr()) };
    match status {
        0 => Ok(()),
        status => bail!("clickhouse ended with {status}"),
    }
}

fn library() -> anyhow::Result<PathBuf> {
    let (os, arch) = (std::env::consts::OS, std::env::consts::ARCH);
    let known = PACKAGES.iter().find(|p| p.0 == os && p.1 == arch);
    let (.., platform, sha512) = known.with_context(|| {
        format!("no package is pinned for {os} on {arch}; start ClickHouse yourself and name it in PRUNELLA_CLICKHOUSE")
    })?;
    let folder = package::cached(&format!("clickhouse-{VERSION}"), |folder| {
        let npm = package::program("clickhouse", "npm", || package::on_path(&["npm"]))?;
        say("clickhouse", &format!("getting the engine {VERSION} by npm (178 MB, once)"));
        let mut pack = Command::new(npm);
        pack.args(["pack", "--silent", &format!("@chdb/lib-{platform}@{VERSION}")]).current_dir(folder);
        let name = process::finish(&mut pack).context("npm cannot get the engine; look at its settings")?;
        let archive = folder.join(name.lines().last().unwrap_or_default());
        let actual = package::sha512(&archive)?;
        if actual != *sha512 {
            bail!("the package of the engine has SHA-512 {actual}, not {sha512}");
        }
        process::finish(Command::new("tar").arg("-xzf").arg(&archive).current_dir(folder))?;
        Ok(std::fs::remove_file(&archive)?)
    })?;
    Ok(folder.join("package/libchdb.so"))
}

fn users_xml(secrets: &BTreeMap<String, PathBuf>) -> anyhow::Result<String> {
    let user = |name: &str, profile: &str, credential: &str, grants: &[&str]| {
        let grants: String = grants.iter().map(|g| format!("<query>{g}</query>")).collect();
        format!(
            "    <{name}>{credential}<networks><ip>127.0.0.1</ip></networks><profile>{profile}</profile>\
             <quota>default</quota><grants>{grants}</grants></{name}>\n"
        )
    };
    let listen = ["GRANT SYSTEM LISTEN ON *.*", "GRANT SELECT ON system.numbers"];
    let mut users = user("default", "default", "<password></password>", &listen);
    for (name, profile, grants) in USERS {
        let password = secrets.get(name).with_context(|| format!("no password for {name}"))?;
        let hash = hex::encode(Sha256::digest(process::password(password)?));
        users += &user(name, profile, &format!("<password_sha256_hex>{hash}</password_sha256_hex>"), grants);
    }
    Ok(format!(
        "<clickhouse>\n  <profiles>\n    <default/>\n    \
         <reader><readonly>2</readonly><max_execution_time>30</max_execution_time></reader>\n  </profiles>\n  \
         <quotas><default/></quotas>\n  <users>\n{users}  </users>\n</clickhouse>\n"
    ))
}

//! The rules of the house as a test: arrows between crates, files that explain themselves, nothing that should not be here.

use crate::tree;
use anyhow::{Context, bail};
use std::path::Path;

/// Every arrow there is. A new one is a line here and a decision record.
const ARROWS: &[(&str, &[&str])] = &[
    ("prunella-schemas", &[]),
    ("prunella-translate", &["schemas"]),
    ("prunella-contract", &["schemas", "runtime"]),
    ("prunella-setting", &["schemas"]),
    ("prunella-aws", &["schemas", "setting"]),
    ("prunella-bucket", &["schemas"]),
    ("prunella-azure", &["schemas", "bucket", "setting"]),
    ("prunella-gcp", &["schemas", "bucket", "setting"]),
    ("prunella-ingest", &["schemas", "translate"]),
    ("prunella-detect", &["schemas"]),
    ("prunella-respond", &["schemas"]),
    ("prunella-ledger", &["schemas"]),
    ("prunella-runtime", &["schemas", "ingest", "detect", "respond", "ledger"]),
    ("prunella-console", &["schemas", "ledger"]),
    ("prunella-simulate", &["schemas"]),
    ("prunella-vault-crypto", &[]),
    ("prunella-vault", &["schemas", "ledger", "vault-crypto"]),
    (
        "prunella-cli",
        &[
            "schemas",
            "translate",
            "aws",
            "azure",
            "gcp",
            "ingest",
            "detect",
            "respond",
            "ledger",
            "runtime",
            "console",
            "simulate",
            "vault-crypto",
            "vault",
        ],
    ),
    ("xtask", &["schemas"]),
];

/// Crates that never wait, and what they must never pull in, however indirectly.
const PURE: [&str; 7] = [
    "prunella-schemas",
    "prunella-translate",
    "prunella-ingest",
    "prunella-detect",
    "prunella-respond",
    "prunella-ledger",
    "prunella-vault-crypto",
];
const NEVER_IN_PURE: [&str; 9] =
    ["tokio", "async-std", "rdkafka", "rusqlite", "sqlx", "reqwest", "hyper", "aws-config", "axum"];

const BANNED_NAMES: [&str; 8] = ["utils", "util", "common", "helpers", "helper", "manager", "misc", "base"];

/// Longest source file, in lines. Lists and tables may be longer; they are named here.
const FILE_LINES_MAX: usize = 500;
const CATALOGS: &[&str] = &["respond/tests/it/life.rs"];

/// Where `unsafe` may stand, with a reason and a test.
const UNSAFE: &[&str] = &[
    "detect/src/forest/kernel/avx2.rs",
    "detect/src/forest/kernel/avx512.rs",
    "detect/src/forest/kernel/vbmi.rs",
];

/// In two parts, so that a search for ignored tests does not find the rule against them.
const IGNORED: &str = concat!("#[", "ignore");

const README_LINES_MAX: usize = 120;

pub fn run() -> anyhow::Result<()> {
    let mut problems = Vec::new();
    arrows(&mut problems)?;
    purity(&mut problems)?;
    for file in tree::files()? {
        let bytes = std::fs::read(tree::root().join(&file))
            .with_context(|| format!("cannot read {}", file.display()))?;
        match String::from_utf8(bytes) {
            Ok(text) => check_text(&file, &text, &mut problems),
            Err(_) if is_picture(&file) => {}
            Err(_) => problems.push(format!("{}: a binary file; generate it instead", file.display())),
        }
    }
    if !problems.is_empty() {
        bail!("{} rule(s) broken:\n  {}", problems.len(), problems.join("\n  "));
    }
    Ok(())
}

fn is_picture(file: &Path) -> bool {
    file.extension().is_some_and(|e| e == "png" || e == "svg" || e == "ico")
}

fn arrows(problems: &mut Vec<String>) -> anyhow::Result<()> {
    let text = tree::capture("cargo", &["metadata", "--no-deps", "--format-version", "1", "--offline"])?;
    let metadata: serde_json::Value = serde_json::from_str(&text)?;
    for package in metadata["packages"].as_array().into_iter().flatten() {
        let name = package["name"].as_str().unwrap_or_default();
        let Some((_, allowed)) = ARROWS.iter().find(|(known, _)| *known == name) else {
            problems.push(format!("crate {name} is not in the list of arrows (xtask/src/tidy.rs)"));
            continue;
        };
        for dependency in package["dependencies"].as_array().into_iter().flatten() {
            let target = dependency["name"].as_str().unwrap_or_default();
            let is_test_only = dependency["kind"].as_str() == Some("dev");
            if let Some(folder) = target.strip_prefix("prunella-")
                && !allowed.contains(&folder)
                && !is_test_only
            {
                problems.push(format!("{name} -> {target} is not in the list of arrows (xtask/src/tidy.rs)"));
            }
        }
    }
    Ok(())
}

fn purity(problems: &mut Vec<String>) -> anyhow::Result<()> {
    for name in PURE {
        let tree =
            tree::capture("cargo", &["tree", "-p", name, "-e", "normal", "--prefix", "none", "--offline"])?;
        for line in tree.lines() {
            let package = line.split(' ').next().unwrap_or_default();
            if NEVER_IN_PURE.contains(&package) {
                problems.push(format!("{name} depends on {package}: the pure crates never wait"));
            }
        }
    }
    Ok(())
}

fn check_text(file: &Path, text: &str, problems: &mut Vec<String>) {
    let name = file.display().to_string();
    let mut say = |what: String| problems.push(format!("{name}: {what}"));
    if file.components().any(|c| {
        BANNED_NAMES.contains(&Path::new(c.as_os_str()).file_stem().and_then(|s| s.to_str()).unwrap_or(""))
    }) {
        say("a name that says nothing; name it after what is in it".into());
    }
    if name == "README.md" {
        check_readme(text, &mut say);
    }
    // These two files hold the patterns themselves.
    if !name.starts_with("xtask/src/tidy") && !name.ends_with(".lock") {
        for (at, line) in text.lines().enumerate() {
            if let Some(what) = foreign(line) {
                say(format!("line {}: {what}", at + 1));
            }
        }
    }
    if name.ends_with(".rs") {
        check_rust(file, text, &mut say);
    }
}

fn check_readme(text: &str, say: &mut impl FnMut(String)) {
    let lines = text.lines().count();
    if lines > README_LINES_MAX {
        say(format!("{lines} lines; at most {README_LINES_MAX}"));
    }
    for verb in ["make demo", "make test"] {
        if !text.lines().take(40).any(|line| line.contains(verb)) {
            say(format!("its first screen does not show `{verb}`"));
        }
    }
}

/// What must not be in the repository: paths of a machine, hosts of package registries, private keys.
fn foreign(line: &str) -> Option<&'static str> {
    let hosts = [
        "index.crates",
        "static.crates",
        "registry.npmjs",
        "files.pythonhosted",
        "repo.maven",
        "proxy.golang",
    ];
    if hosts.iter().any(|host| line.contains(host)) {
        return Some("names the host of a package registry");
    }
    // A folder of some machine, and not one inside a longer path or address.
    let is_machine_path = |folder: &&str| {
        let path = format!("/{folder}/");
        line.match_indices(&path)
            .any(|(at, _)| line[..at].chars().next_back().is_none_or(|c| " \"'(`=".contains(c)))
    };
    if ["work", "home", "root"].iter().any(is_machine_path) {
        return Some("names a path of some machine");
    }
    let private_key = line.contains("-----BEGIN") && line.contains("PRIVATE KEY");
    private_key.then_some("holds a private key")
}

fn check_rust(file: &Path, text: &str, say: &mut impl FnMut(String)) {
    let name = file.display().to_string();
    let first = text.lines().find(|line| !line.starts_with("#![")).unwrap_or_default();
    if !first.starts_with("//! ") {
        say("does not start with one `//!` sentence on what it is for".into());
    }
    let lines = text.lines().count();
    if lines > FILE_LINES_MAX && !CATALOGS.contains(&name.as_str()) {
        say(format!("{lines} lines; at most {FILE_LINES_MAX}, or name it a catalog in xtask/src/tidy.rs"));
    }
    if !UNSAFE.contains(&name.as_str()) && !name.starts_with("xtask/") && text.contains("unsafe ") {
        let real = text
            .lines()
            .any(|l| l.contains("unsafe {") || l.contains("unsafe fn") || l.contains("unsafe impl"));
        if real {
            say("`unsafe` outside the files that may hold it".into());
        }
    }
    if !name.starts_with("xtask/") {
        for (at, line) in text.lines().enumerate() {
            if line.trim_start().starts_with(IGNORED) {
                say(format!("line {}: an ignored test; skip loudly instead", at + 1));
            }
        }
        for test in tests_without_assertion(text) {
            say(format!("test `{test}` asserts nothing"));
        }
        for secret in secrets_that_print(text) {
            say(format!("`{secret}` holds a secret and derives Debug or Serialize"));
        }
    }
}

/// Names of tests whose body has no assertion, expectation or call that could fail.
fn tests_without_assertion(text: &str) -> Vec<String> {
    let words = ["assert", "check", "expect", "until(", ".unwrap", "panic!", "matches!", "?"];
    let mut found = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find("#[test]").or_else(|| rest.find("#[tokio::test")) {
        rest = &rest[at + 7..];
        let Some(name_at) = rest.find("fn ") else { break };
        let name: String =
            rest[name_at + 3..].chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
        // Patterns and byte strings among the arguments hold braces too; a body's brace ends its line.
        let Some(open) = rest.find("{\n").or_else(|| rest.find('{')) else { break };
        let body = block(&rest[open..]);
        if !words.iter().any(|word| body.contains(word)) {
            found.push(name);
        }
        rest = &rest[open..];
    }
    found
}

/// The text from an opening brace to its closing one; good enough for formatted code.
fn block(text: &str) -> &str {
    let mut depth = 0usize;
    for (at, c) in text.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return &text[..=at];
                }
            }
            _ => {}
        }
    }
    text
}

/// Types named like secrets whose derive line gives them away.
fn secrets_that_print(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let lines: Vec<&str> = text.lines().collect();
    for pair in lines.windows(2) {
        let [derive, item] = pair else { continue };
        let printing = derive.trim_start().starts_with("#[derive(")
            && (derive.contains("Debug") || derive.contains("Serialize"));
        let name: String =
            item.split("struct ").nth(1).unwrap_or("").chars().take_while(|c| c.is_alphanumeric()).collect();
        if printing && (name.ends_with("Secret") || name.ends_with("Signer") || name.ends_with("PrivateKey"))
        {
            found.push(name);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_rule_can_fail() {
        let problems = |name: &str, text: &str| {
            let mut problems = Vec::new();
            check_text(Path::new(name), text, &mut problems);
            problems
        };
        let check = |name: &str, text: &str, want: Option<&str>| {
            let got = problems(name, text);
            match want {
                None => assert!(got.is_empty(), "{name}: {got:?}"),
                Some(want) => assert!(got.iter().any(|p| p.contains(want)), "{name}: {got:?} lacks {want}"),
            }
        };
        check("a/src/lib.rs", "//! Says what it is.\n", None);
        check("a/src/lib.rs", "use x;\n", Some("does not start"));
        check("a/src/utils.rs", "//! Says.\n", Some("says nothing"));
        check("a/common/x.rs", "//! Says.\n", Some("says nothing"));
        check("a/src/long.rs", &format!("//! Long.\n{}", "//\n".repeat(600)), Some("at most 500"));
        check("a/src/u.rs", "//! U.\nfn f() { unsafe { g() } }\n", Some("`unsafe`"));
        check("a/src/t.rs", "//! T.\n#[test]\nfn nothing() { let x = 1; }\n", Some("asserts nothing"));
        check("a/src/t.rs", "//! T.\n#[test]\nfn some() { assert!(true) }\n", None);
        check("a/src/t.rs", &format!("//! T.\n{IGNORED}]\n"), Some("ignored test"));
        check("a/src/s.rs", "//! S.\n#[derive(Debug)]\nstruct ApiSecret;\n", Some("holds a secret"));
        check("docs/x.md", "see /home/me/x\n", Some("path of some machine"));
        check("docs/x.md", "-----BEGIN PRIVATE KEY-----\n", Some("private key"));
        check("README.md", "# x\n", Some("make demo"));
    }
}

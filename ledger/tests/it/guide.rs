//! The check that `docs/guide/ledger.md` prints, run as printed: an implementation that shares no code with this crate.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

const GUIDE: &str = include_str!("../../../docs/guide/ledger.md");
const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/golden");

/// Runs the guide's program. `Ok` when it accepts the bundle, else what it says last.
fn check(script: &str, bundle: &Path) -> Result<(), String> {
    let mut python = Command::new("python3")
        .args(["-", &bundle.display().to_string(), &format!("{GOLDEN}/verifier.v1.txt")])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    python.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
    let output = python.wait_with_output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    if output.status.success() { Ok(()) } else { Err(errors.lines().last().unwrap_or_default().to_owned()) }
}

fn says(program: &str, argument: &str, word: &str) -> bool {
    let output = Command::new(program).arg(argument).output();
    output.is_ok_and(|output| String::from_utf8_lossy(&output.stdout).starts_with(word))
}

#[test]
fn the_printed_check_accepts_a_genuine_receipt_and_no_other() {
    if !says("python3", "--version", "Python 3") || !says("openssl", "version", "OpenSSL 3") {
        eprintln!("SKIPPED: the guide's check needs python3 and openssl 3");
        return;
    }
    let script = GUIDE.split("```python\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    let bundle = format!("{GOLDEN}/bundle.v1.json");
    assert_eq!(check(script, Path::new(&bundle)), Ok(()));
    let text = std::fs::read_to_string(bundle).unwrap();
    let cases = [
        ("\"contained\": true", "\"contained\": false", "another receipt"),
        ("\"contained\": true", "\"contained\": 1", "another receipt"),
        ("ledger\\n7\\n", "ledger\\n8\\n", "non-zero exit status"),
        ("\"kind\": \"receipt\"", "\"kind\": \"note\"", "AssertionError"),
        ("697iruj6", "797iruj6", "not in the tree"),
    ];
    for (number, (from, to, word)) in cases.into_iter().enumerate() {
        let changed = text.replacen(from, to, 1);
        assert_ne!(changed, text, "{from}");
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("ledger-guide-{number}.json"));
        std::fs::write(&path, changed).unwrap();
        let refusal = check(script, &path).unwrap_err();
        assert!(refusal.contains(word), "{to}: {refusal}");
    }
}

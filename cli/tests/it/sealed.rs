//! What the vault gives sealed is sealed wherever it goes.

use crate::program::{command, fed};
use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};

const PASSWORD: &[u8] = b"correct horse battery\n";

/// A vault that ends with the test.
struct Serving(Child);

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Serves the vault of a folder and gives its address.
fn serve(data: &str) -> (Serving, String) {
    let mut serve = command(&["vault", "serve", "--data-dir", data, "--listen", "127.0.0.1:0"]);
    let mut serving = Serving(serve.stdout(Stdio::null()).spawn().unwrap());
    let said = BufReader::new(serving.0.stderr.take().unwrap());
    let mut lines = said.lines().map(Result::unwrap);
    let line = lines.find(|line| line.contains("the vault is up")).unwrap();
    // What it says later must go somewhere.
    std::thread::spawn(move || lines.for_each(drop));
    let address = line.split_whitespace().find(|word| word.starts_with("http://")).unwrap().to_owned();
    (serving, address)
}

#[test]
fn what_is_got_sealed_is_sealed_on_standard_output_too() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let (data, memory, offline) = (path("data"), path("alice.json"), path("offline"));
    fed(&["vault", "init", "--data-dir", &data, "--offline-keys", &offline], PASSWORD).with(0);
    let (_serving, address) = serve(&data);
    let alice = |verb: &[&str]| {
        let given = ["vault", "--server", &address, "--memory", &memory];
        fed(&[&given[..], verb].concat(), PASSWORD).with(0)
    };
    alice(&["register", "alice"]);
    alice(&["login", "alice"]);
    std::fs::write(path("plan.txt"), "we attack at dawn").unwrap();
    alice(&["put", &path("plan.txt")]);
    assert_eq!(alice(&["get", "plan.txt", "--to", "-"]).out, "we attack at dawn");
    let get = ["vault", "--memory", &memory, "get", "plan.txt", "--sealed", "--to", "-"];
    let sealed = command(&get).output().unwrap();
    assert!(sealed.status.success() && sealed.stdout.starts_with(b"VLT1"), "{sealed:?}");
    alice(&["get", "plan.txt", "--sealed", "--to", &path("plan.sealed")]);
    assert!(sealed.stdout == std::fs::read(path("plan.sealed")).unwrap());
}

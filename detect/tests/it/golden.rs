//! Golden stories: `golden/NAME.story` in, `golden/NAME.ndjson` out, byte for byte. `UPDATE=1` rewrites the latter.

use crate::story::events;
use prunella_detect::run;
use std::path::{Path, PathBuf};

#[test]
fn stories_become_the_findings_on_file() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/golden");
    let files =
        std::fs::read_dir(&folder).expect("the golden folder").map(|entry| entry.expect("an entry").path());
    let mut stories: Vec<PathBuf> =
        files.filter(|path| path.extension().is_some_and(|e| e == "story")).collect();
    stories.sort();
    assert!(stories.len() >= 4, "stories are missing from {}", folder.display());
    for path in stories {
        let story = std::fs::read_to_string(&path).expect("a story");
        let got: String = run(events(&story).into_iter())
            .iter()
            .map(|finding| serde_json::to_string(finding).expect("a finding") + "\n")
            .collect();
        let golden = path.with_extension("ndjson");
        if update() {
            std::fs::write(&golden, &got).expect("the golden file is writable");
        }
        let want = std::fs::read_to_string(&golden).unwrap_or_default();
        assert_eq!(got, want, "{} differs; look at it, then run the test with UPDATE=1", golden.display());
    }
}

#[allow(clippy::disallowed_methods, reason = "a switch of the test, not of the program")]
pub fn update() -> bool {
    std::env::var("UPDATE").is_ok_and(|value| value == "1")
}

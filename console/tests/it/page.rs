//! The status page: its own files only, and text of attackers stays text.

use crate::served::Served;

#[tokio::test]
async fn the_page_is_three_files_of_our_own() {
    let served = Served::start().await;
    let page = served.get("/").await;
    assert_eq!((page.status, page.header("content-type")), (200, "text/html; charset=utf-8"));
    for (path, content_type) in [
        ("/assets/app.js", "text/javascript; charset=utf-8"),
        ("/assets/style.css", "text/css; charset=utf-8"),
        ("/assets/icon.svg", "image/svg+xml"),
    ] {
        assert!(page.text.contains(&format!("\"{path}\"")), "the page uses {path}");
        let file = served.get(path).await;
        assert_eq!((file.status, file.header("content-type")), (200, content_type));
        assert!(!file.text.is_empty());
    }
    // The policy forbids both; they would not work.
    assert!(
        !page.text.contains("style=") && !page.text.contains(" onclick") && !page.text.contains("http"),
        "{}",
        page.text
    );
    assert_eq!(
        page.text.matches("<script").count(),
        page.text.matches("<script src=\"/assets/app.js\" defer></script>").count()
    );
}

/// Hostile text is escaped by construction: the script has no way to turn text into markup or code.
#[test]
fn the_script_never_turns_text_into_markup() {
    let script = include_str!("../../web/app.js");
    let sinks = [
        "innerHTML",
        "outerHTML",
        "insertAdjacentHTML",
        "document.write",
        "createContextualFragment",
        "DOMParser",
        "srcdoc",
        "eval(",
        "Function(",
        "setTimeout(\"",
        "javascript:",
        ".href =",
        "localStorage",
        "http://",
        "https://",
    ];
    for sink in sinks {
        // The namespace of SVG is a name, not an address.
        let script = script.replace("http://www.w3.org/2000/svg", "");
        assert!(!script.contains(sink), "app.js contains {sink}");
    }
    assert!(script.contains("textContent"));
}

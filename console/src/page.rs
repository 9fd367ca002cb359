//! The status page: three static files and an icon, embedded, without a build step and without inline scripts.

use axum::Router;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::IntoResponse;
use axum::routing::get;

const FILES: [(&str, &str, &str); 4] = [
    ("/", "text/html; charset=utf-8", include_str!("../web/index.html")),
    ("/assets/app.js", "text/javascript; charset=utf-8", include_str!("../web/app.js")),
    ("/assets/style.css", "text/css; charset=utf-8", include_str!("../web/style.css")),
    ("/assets/icon.svg", "image/svg+xml", include_str!("../web/icon.svg")),
];

pub(crate) fn routes() -> Router {
    FILES.into_iter().fold(Router::new(), |router, (path, content_type, text)| {
        router.route(path, get(move || async move { file(content_type, text) }))
    })
}

fn file(content_type: &'static str, text: &'static str) -> impl IntoResponse {
    // Revalidated each time: an upgraded binary must not meet the script of the one before.
    ([(CONTENT_TYPE, content_type), (CACHE_CONTROL, "no-cache")], text)
}

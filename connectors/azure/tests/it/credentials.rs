//! Signatures and keys as Azurite itself judges them, and what the check says about each.

use crate::bench::{ACCOUNT, Azurite, bench};
use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use prunella_schemas::port::{Cursor, SourceError};
use serde_json::json;

/// An account SAS: <https://learn.microsoft.com/rest/api/storageservices/create-account-sas>.
fn signature(azurite: &Azurite, permissions: &str, expiry: &str) -> String {
    let text = format!("{ACCOUNT}\n{permissions}\nb\nco\n\n{expiry}\n\n\n2020-12-06\n\n");
    let key = STANDARD.decode(std::fs::read_to_string(&azurite.key_file).unwrap().trim()).unwrap();
    let signed = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &key), text.as_bytes());
    let encode =
        |text: &str| text.replace('+', "%2B").replace('/', "%2F").replace('=', "%3D").replace(':', "%3A");
    format!(
        "sv=2020-12-06&ss=b&srt=co&sp={permissions}&se={}&sig={}\n",
        encode(expiry),
        encode(&STANDARD.encode(signed))
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_signature_in_the_file_counts_at_once() {
    let Some(azurite) = bench().await else { return };
    azurite.put("a.json", "{\"n\":1}\n").await;
    let file = azurite.directory.path().join("sas");
    let source = azurite.source_with(&json!({ "sas_file": file }));
    let start = Cursor::default();

    let missing = source.read(&start).await.unwrap_err();
    assert!(matches!(&missing, SourceError::Refused(text) if text.contains("sas")), "{missing:?}");

    std::fs::write(&file, signature(&azurite, "rl", "2026-01-01T00:00:00Z")).unwrap();
    let expired = source.read(&start).await.unwrap_err();
    assert!(matches!(&expired, SourceError::Refused(text) if text.contains("expired")), "{expired:?}");

    std::fs::write(&file, signature(&azurite, "r", "2099-01-01T00:00:00Z")).unwrap();
    let lacking = source.read(&start).await.unwrap_err();
    assert!(matches!(&lacking, SourceError::Refused(text) if text.contains("sp=rl")), "{lacking:?}");
    let checkup = source.check().await;
    assert!(!checkup.is_well() && checkup.policy.contains("sp=rl"), "{checkup:?}");

    std::fs::write(&file, signature(&azurite, "rl", "2099-01-01T00:00:00Z")).unwrap();
    let page = source.read(&start).await.unwrap();
    assert_eq!(page.bodies.len(), 1);
    let checkup = source.check().await;
    assert!(checkup.is_well() && checkup.steps.len() == 2, "{checkup:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_key_is_refused_and_never_shown() {
    let Some(azurite) = bench().await else { return };
    let file = azurite.directory.path().join("key");
    let source = azurite.source_with(&json!({ "shared_key_file": file }));
    for key in ["c2VjcmV0IGtleQ==", "no base64!"] {
        std::fs::write(&file, key).unwrap();
        let refused = source.read(&Cursor::default()).await.unwrap_err();
        assert!(matches!(&refused, SourceError::Refused(_)), "{refused:?}");
        assert!(!refused.to_string().contains(key), "{refused}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_that_is_not_there_yet_is_no_failure_unless_it_was_named() {
    let Some(azurite) = bench().await else { return };
    let named = json!({ "shared_key_file": azurite.key_file, "containers": ["insights-logs-nowhere"] });
    let source = azurite.source_with(&named);
    let page = source.read(&Cursor::default()).await.unwrap();
    assert!(page.bodies.is_empty() && page.caught_up);
    let checkup = source.check().await;
    assert!(
        checkup.steps[0].problem.as_ref().is_some_and(|p| p.contains("no such container")),
        "{checkup:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_there_is_told_apart_from_a_refusal() {
    let Some(azurite) = bench().await else { return };
    let unused = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let endpoint = format!("http://{unused}/{ACCOUNT}");
    let source = azurite.source_with(&json!({ "endpoint": endpoint, "shared_key_file": azurite.key_file }));
    let unreached = source.read(&Cursor::default()).await.unwrap_err();
    assert!(
        matches!(&unreached, SourceError::Unavailable(text) if text.contains("endpoint")),
        "{unreached:?}"
    );
}

//! Serves the console over ports in memory with sample data, to look at the page: `cargo run -p prunella-console --example fake [PORT [TOKEN]]`.

#[path = "../tests/it/fake.rs"]
#[allow(dead_code, reason = "shared with the tests, which use more of it")]
mod fake;

use prunella_console::{Config, Token, router, serve};
use std::time::Duration;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let port = std::env::args().nth(1).map_or(Ok(7420), |port| port.parse())?;
    let token = std::env::args().nth(2).map(|token| Token::new(&token)).transpose()?;
    let listen = std::net::SocketAddr::from(([127, 0, 0, 1], port));
    let ports = fake::Fake::sample().ports();
    let live = ports.live.clone();
    tokio::spawn(async move {
        for i in 0.. {
            let _ = live.send(fake::live(i));
            tokio::time::sleep(Duration::from_millis(400)).await;
        }
    });
    let app = router(ports, Config { listen, token, ..Config::default() })?;
    let listener = tokio::net::TcpListener::bind(listen).await?;
    serve(listener, app, async {
        let _ = tokio::signal::ctrl_c().await;
    })
    .await?;
    Ok(())
}

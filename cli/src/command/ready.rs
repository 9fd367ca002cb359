//! `prunella ready`: asks a running `prunella run` whether it can work, for the health checks of containers.

use crate::args::Ready;
use crate::{Outcome, Refusal, pipeline};
use anyhow::Context;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(20);

pub fn run(args: &Ready) -> anyhow::Result<Outcome> {
    pipeline::runtime()?.block_on(ask(args.listen)).map_err(Refusal)?;
    Ok(Outcome::Ok)
}

async fn ask(listen: SocketAddr) -> anyhow::Result<()> {
    // Who listens on every address is asked on this machine.
    let host = if listen.ip().is_unspecified() { IpAddr::V4(Ipv4Addr::LOCALHOST) } else { listen.ip() };
    let address = SocketAddr::new(host, listen.port());
    let client = reqwest::Client::builder().timeout(PATIENCE).no_proxy().build()?;
    let answer = client.get(format!("http://{address}/readyz")).send().await;
    let answer =
        answer.with_context(|| format!("nothing answers at {address}; does `prunella run` listen there?"))?;
    let is_ready = answer.status().is_success();
    let text = answer.text().await.unwrap_or_default();
    anyhow::ensure!(is_ready, "it cannot work now: {}", text.trim());
    Ok(())
}

//! The fault test: `prunella up` is killed with SIGKILL at random moments under load, again and again; an oracle by
//! event id then says whether anything was lost, counted twice, or judged differently than without the kills.

use clap::Args;

#[derive(Args)]
pub struct Options {
    /// How many times to kill
    #[arg(long, default_value_t = 200)]
    pub kills: u32,
}

pub fn run(_: &Options) -> anyhow::Result<()> {
    anyhow::bail!("the fault test is not built yet")
}

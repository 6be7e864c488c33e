//! stub
use crate::exit::Exit;
use crate::output::Output;
#[derive(Debug, clap::Args)]
pub(crate) struct PairArgs {}
pub(crate) async fn run(_: PairArgs, _: &crate::places::Places, _: &Output) -> anyhow::Result<Exit> {
    Ok(Exit::Done)
}

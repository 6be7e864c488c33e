//! stub
use crate::exit::Exit;
use crate::output::Output;
#[derive(Debug, clap::Args)]
pub(crate) struct StatusArgs {}
pub(crate) async fn run(_: &StatusArgs, _: &crate::places::Places, _: &Output) -> anyhow::Result<Exit> {
    Ok(Exit::Done)
}

//! stub
use crate::exit::Exit;
use crate::output::Output;
#[derive(Debug, clap::Args)]
pub(crate) struct DemoArgs {}
pub(crate) async fn run(_: &DemoArgs, _: &Output) -> anyhow::Result<Exit> {
    Ok(Exit::Done)
}

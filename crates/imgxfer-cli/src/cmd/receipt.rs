//! `imgxfer receipt`: checks a receipt that a push has kept.

use std::path::PathBuf;

use clap::Args;
use imgxfer_core::ids::PeerId;
use imgxfer_core::units::human_bytes;
use serde_json::json;

use crate::dates::utc;
use crate::exit::Exit;
use crate::output::Output;
use crate::receipts;

/// Arguments of `receipt`.
#[derive(Debug, Args)]
pub(crate) struct ReceiptArgs {
    /// The receipt
    file: PathBuf,
    /// Whose signature it must be
    #[arg(long, value_name = "FINGERPRINT", value_parser = crate::site::parse_key)]
    key: Option<PeerId>,
}

/// Checks the signature and prints what it says.
pub(crate) fn run(args: &ReceiptArgs, output: &Output) -> anyhow::Result<Exit> {
    let (receipt, signer) = receipts::check(&args.file, args.key)?;
    output.line("the signature holds")?;
    output.line(&format!("received by  {}", signer.fingerprint()))?;
    output.line(&format!("sent by      {}", receipt.sender.fingerprint()))?;
    output.line(&format!("at           {} by the receiver's clock", utc(receipt.at.0)))?;
    output.line(&format!("instances    {} ({})", receipt.instances, human_bytes(receipt.bytes)))?;
    output.line(&format!("whole        {}", if receipt.complete { "yes" } else { "no: some instances failed" }))?;
    output.line(&format!("root         {}", receipt.root))?;
    output.object(&json!({
        "valid": true,
        "receiver": signer.fingerprint(),
        "sender": receipt.sender.fingerprint(),
        "at": utc(receipt.at.0),
        "instances": receipt.instances,
        "bytes": receipt.bytes,
        "complete": receipt.complete,
        "root": receipt.root.to_string(),
        "transfer": receipt.transfer.to_string(),
    }))?;
    if args.key.is_none() {
        output.say("compare the receiver's fingerprint with that of the site you mean, or name it with --key");
    }
    Ok(Exit::Done)
}

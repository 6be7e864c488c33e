//! `imgxfer receipts`: which receipts there are, and of which studies.

use clap::Args;
use imgxfer_core::ids::StudyUid;
use imgxfer_core::receipt::SignedReceipt;
use imgxfer_core::units::human_bytes;
use serde_json::{Value, json};

use crate::admin::{Admin, AdminArgs};
use crate::dates::{local, utc};
use crate::exit::{Exit, problem};
use crate::output::{Output, safe};
use crate::places::Places;
use crate::receipts;
use crate::table::{Column, lines, terminal_width};

/// Arguments of `receipts`.
#[derive(Debug, Args)]
pub(crate) struct ReceiptsArgs {
    /// Only receipts that name this study
    #[arg(value_name = "STUDY_UID", value_parser = crate::args::study_uid)]
    study: Option<StudyUid>,
    /// Those of the daemon of this machine, not this user's
    #[arg(long)]
    daemon: bool,
    #[command(flatten)]
    admin: AdminArgs,
}

/// Lists.
pub(crate) async fn run(args: &ReceiptsArgs, places: &Places, output: &Output) -> anyhow::Result<Exit> {
    let found = if args.daemon { of_daemon(args, places).await? } else { of_user(args, places, output)? };
    output.objects(found.iter())?;
    if found.is_empty() {
        let which = args.study.as_ref().map_or_else(String::new, |study| format!(" for {}", study.as_str()));
        return Err(problem(Exit::NotFound, format!("there is no receipt{which}")));
    }
    let columns = [
        Column::left("AT"),
        Column::cut("FROM", 8),
        Column::right("STUDIES"),
        Column::right("INST."),
        Column::right("SIZE"),
        Column::left("WHOLE"),
        Column::cut("ROOT", 12),
        Column::left("STUDY UID").goes(1),
    ];
    let rows: Vec<Vec<String>> = found.iter().map(row).collect();
    output.lines(&lines(&columns, &rows, terminal_width()))?;
    Ok(Exit::Done)
}

fn row(receipt: &Value) -> Vec<String> {
    let number = |key: &str| receipt[key].as_u64().unwrap_or(0);
    let studies: Vec<&str> = receipt["studies"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let text = |key: &str| receipt[key].as_str().unwrap_or_default().to_owned();
    vec![
        local(receipt["at_seconds"].as_i64().unwrap_or(0)),
        if receipt["peer"].is_string() { text("peer") } else { text("receiver") },
        if studies.is_empty() { "?".to_owned() } else { studies.len().to_string() },
        number("instances").to_string(),
        human_bytes(number("bytes")),
        if receipt["complete"] == true { "yes" } else { "no" }.to_owned(),
        text("root"),
        studies.join(" "),
    ]
}

/// A receipt whose signature holds, with what this side has noted of it.
fn object(signed: &SignedReceipt, peer: &Value, studies: &Value) -> anyhow::Result<Value> {
    let (receipt, signer) = signed
        .verify(imgxfer_core::transport::verify)
        .map_err(|error| problem(Exit::Integrity, format!("a receipt does not hold: {error}")))?;
    Ok(json!({
        "at": utc(receipt.at.0),
        "at_seconds": receipt.at.0,
        "peer": peer,
        "receiver": signer.fingerprint(),
        "instances": receipt.instances,
        "bytes": receipt.bytes,
        "complete": receipt.complete,
        "root": receipt.root.to_string(),
        "studies": studies,
    }))
}

async fn of_daemon(args: &ReceiptsArgs, places: &Places) -> anyhow::Result<Vec<Value>> {
    let path = match &args.study {
        Some(study) => format!("/receipts/{}", study.as_str()),
        None => "/receipts".to_owned(),
    };
    let answer = Admin::new(&args.admin, places)?.get(&path).await?;
    let of = |kept: &Value| {
        let signed: SignedReceipt = serde_json::from_value(kept["signed"].clone())?;
        object(&signed, &kept["peer"], &kept["studies"])
    };
    answer["receipts"].as_array().into_iter().flatten().map(of).collect()
}

fn of_user(args: &ReceiptsArgs, places: &Places, output: &Output) -> anyhow::Result<Vec<Value>> {
    let mut found = Vec::new();
    for path in receipts::listed(places)? {
        let (_, about) = match receipts::check(&path, None).and_then(|checked| Ok((checked, receipts::about(&path)?))) {
            Ok(read) => read,
            // One that does not hold must not hide the others.
            Err(error) => {
                output.warn(&safe(&format!("{error:#}")));
                continue;
            }
        };
        let named = args.study.as_ref().is_none_or(|study| about.studies.iter().any(|uid| uid == study.as_str()));
        if named {
            let mut receipt = object(&about.signed, &json!(about.peer), &json!(about.studies))?;
            receipt["file"] = json!(path.display().to_string());
            found.push(receipt);
        }
    }
    found.sort_by_key(|receipt| std::cmp::Reverse(receipt["at_seconds"].as_i64()));
    Ok(found)
}

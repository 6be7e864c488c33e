//! `imgxfer audit verify`: the chain, its signatures, and from where on it is to be doubted.

use std::path::{Path, PathBuf};

use imgxfer_core::ids::PeerId;
use imgxfer_core::transport::Identity;
use imgxferd::audit::{AUDIT_FILE, FAULTS_MAX, Mark, Verified, verify};
use imgxferd::config::{Config, IdentityFiles};
use serde_json::{Value, json};

use super::{configured, folder_of, listed, unreadable};
use crate::cmd::audit::VerifyArgs;
use crate::exit::{Exit, problem};
use crate::output::{Output, safe};

/// What is checked, and by whose key.
struct Task {
    files: Vec<PathBuf>,
    /// The folder with the signature over the end of it, where that is among the files.
    head_in: Option<PathBuf>,
    keys: Vec<PeerId>,
}

fn task(args: &VerifyArgs, output: &Output) -> anyhow::Result<Task> {
    let keys = args.key.clone();
    if let [folder] = &args.files[..]
        && folder.is_dir()
    {
        return Ok(Task { files: listed(folder)?, head_in: Some(folder.clone()), keys });
    }
    if let Some(last) = args.files.last() {
        let is_current = last.file_name().is_some_and(|name| name == AUDIT_FILE);
        let folder = last.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
        let head_in = is_current.then(|| folder.to_owned());
        return Ok(Task { files: args.files.clone(), head_in, keys });
    }
    let config = configured(&args.daemon.config)?;
    let folder = folder_of(&config)?;
    let keys = if keys.is_empty() { own_key(&config, output).into_iter().collect() } else { keys };
    Ok(Task { files: listed(&folder)?, head_in: Some(folder), keys })
}

/// The daemon's own key.
fn own_key(config: &Config, output: &Output) -> Option<PeerId> {
    let read = |path: &PathBuf| std::fs::read_to_string(path).ok();
    let identity = match &config.identity {
        IdentityFiles::Folder(folder) => Identity::load(folder).ok(),
        IdentityFiles::Files { certificate, key } => {
            read(certificate).zip(read(key)).and_then(|(certificate, key)| Identity::from_pem(&certificate, &key).ok())
        }
        _ => None,
    };
    if identity.is_none() {
        output.warn("the daemon's key cannot be read: name its fingerprint with --key, or compare it below");
    }
    identity.map(|identity| identity.peer_id())
}

/// Checks, and says what holds and what does not.
pub(crate) fn run(args: &VerifyArgs, output: &Output) -> anyhow::Result<Exit> {
    let Task { files, head_in, keys } = task(args, output)?;
    for file in &files {
        std::fs::File::open(file).map_err(|error| unreadable(file, &error))?;
    }
    let found = verify(&files, head_in.as_deref(), &keys).map_err(|error| unreadable(&files[0], &error))?;
    if found.records == 0 && found.faults.is_empty() {
        return Err(problem(Exit::NotFound, "there is no record"));
    }
    output.object(&object(&found))?;
    tell(&found, files.len(), keys.is_empty(), output)?;
    Ok(if found.faults.is_empty() { Exit::Done } else { Exit::Integrity })
}

fn unsigned(found: &Verified) -> u64 {
    let seq = |mark: &Option<Mark>| mark.as_ref().map_or(0, |mark| mark.seq);
    seq(&found.last).saturating_sub(seq(&found.signed))
}

fn tell(found: &Verified, files: usize, anybody: bool, output: &Output) -> anyhow::Result<()> {
    if let (Some(first), Some(last)) = (&found.first, &found.last) {
        let many = if files == 1 { "1 file".to_owned() } else { format!("{files} files") };
        output.line(&format!("records  {} ({} to {}) in {many}", found.records, first.seq, last.seq))?;
        output.line(&format!("from     {}", safe(&first.time)))?;
        output.line(&format!("to       {}", safe(&last.time)))?;
    }
    let signers: Vec<String> = found.signers.iter().map(PeerId::fingerprint).collect();
    match &found.signed {
        Some(mark) => output.line(&format!("signed   to record {} by {}", mark.seq, signers.join(", ")))?,
        None => output.line("signed   not at all")?,
    }
    for note in &found.notes {
        output.line(&format!("note     {}", safe(note)))?;
    }
    for fault in &found.faults {
        let line = fault.line.map_or_else(String::new, |line| format!(":{line}"));
        let seq = fault.seq.map_or_else(String::new, |seq| format!(" (record {seq})"));
        output.line(&format!("WRONG    {}{line}{seq}: {}", fault.file.display(), safe(&fault.problem)))?;
    }
    if found.faults.len() >= FAULTS_MAX {
        output.line("WRONG    and more, which is not listed")?;
    }
    if let Some(from) = &found.doubted_from {
        output.line(&format!("doubt    everything from {}:{} on", from.file.display(), from.line))?;
    } else if found.faults.is_empty() {
        let up_to = found.signed.as_ref().map_or(0, |mark| mark.seq);
        let part = if unsigned(found) > 0 { format!(" up to record {up_to}") } else { String::new() };
        output.line(&format!("nothing was changed, removed or put in{part}"))?;
    }
    match unsigned(found) {
        0 => {}
        _ if !found.faults.is_empty() => {}
        more => output.say(&format!(
            "records not signed yet: {more}. They hang together; whether any was cut off or made anew cannot be told"
        )),
    }
    if anybody && !found.signers.is_empty() {
        output.say("compare the fingerprint with that of the site you mean, or name it with --key");
    }
    Ok(())
}

fn object(found: &Verified) -> Value {
    let mark = |mark: &Option<Mark>| {
        mark.as_ref().map(|mark| json!({ "file": mark.file, "line": mark.line, "seq": mark.seq, "time": mark.time }))
    };
    let faults = found
        .faults
        .iter()
        .map(|fault| json!({ "file": fault.file, "line": fault.line, "seq": fault.seq, "problem": fault.problem }));
    json!({
        "valid": found.faults.is_empty(),
        "records": found.records,
        "first": mark(&found.first),
        "last": mark(&found.last),
        "signed": mark(&found.signed),
        "unsigned_records": unsigned(found),
        "signers": found.signers.iter().map(PeerId::fingerprint).collect::<Vec<_>>(),
        "faults": faults.collect::<Vec<_>>(),
        "doubted_from": mark(&found.doubted_from),
        "notes": found.notes,
    })
}

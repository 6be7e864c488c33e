//! `imgxfer pull`: fetches studies into a folder.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use clap::Args;
use imgxfer_core::client::{Client, PullOptions, PullReport, PullTarget, Shortfall};
use imgxfer_core::dicom::{FrameNumbers, Level, Tag, tags};
use imgxfer_core::ids::{SopInstanceUid, StudyUid};
use imgxfer_core::priority::Priority;
use imgxfer_core::send::FetchOrder;
use imgxfer_core::store::Versions;
use imgxfer_core::store::search::Search;
use imgxfer_core::transport::{CloseCode, Dial};
use serde_json::json;

use super::frames::{self, Wanted};
use super::ls::attribute;
use crate::args::{PeerKey, TransferArgs};
use crate::dates::{DateRange, parse_range};
use crate::exit::{Exit, problem};
use crate::intakes::Intakes;
use crate::listing::{Listing, Numbers};
use crate::output::Output;
use crate::places::Places;
use crate::progress::{Findings, Reporter};
use crate::site::{Site, Target, ToldPeer as _, close};
use crate::stop;
use crate::summary::Moved;

/// Arguments of `pull`.
#[derive(Debug, Args)]
pub(crate) struct PullArgs {
    #[command(flatten)]
    what: What,
    #[command(flatten)]
    which: Which,
    /// Where from: a peer's name, or HOST:PORT; with numbers, the peer that was listed
    #[arg(long, value_name = "PEER")]
    from: Option<String>,
    #[command(flatten)]
    peer_key: PeerKey,
    /// Folder to write into: OUT/STUDY/SERIES/INSTANCE.dcm
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    #[command(flatten)]
    transfer: TransferArgs,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = true)]
struct What {
    /// Study Instance UID; or numbers of lines of the last `imgxfer ls`, such as 3, 2-5 or 1,4-6, for what they stand for
    #[arg(value_name = "STUDY", value_parser = picked)]
    study: Option<Picked>,
    /// All studies with this accession number
    #[arg(long, value_name = "NUMBER", value_parser = not_empty)]
    accession: Option<String>,
    /// All instances of this patient
    #[arg(long, value_name = "ID", value_parser = not_empty)]
    patient_id: Option<String>,
    /// What is of patients with this name, such as 'DOE*'
    #[arg(long, value_name = "NAME", value_parser = not_empty)]
    patient_name: Option<String>,
    /// What is of studies of this day, range or time ago, as `imgxfer ls` takes it
    #[arg(long, allow_hyphen_values = true, value_parser = parse_range)]
    date: Option<DateRange>,
    /// What is of studies with this modality, such as CT; several with commas
    #[arg(long, value_parser = not_empty)]
    modality: Option<String>,
    /// What has this attribute, by its keyword or tag, such as BodyPartExamined=CHEST; may be given several times
    #[arg(long = "by", value_name = "KEYWORD=VALUE", value_parser = attribute)]
    by: Vec<(Tag, String)>,
    /// This series alone; several with commas
    #[arg(long, value_name = "UID", value_parser = crate::args::parse_uids)]
    series: Option<String>,
    /// This instance alone; several with commas
    #[arg(long, value_name = "UID", value_parser = crate::args::parse_uids)]
    instance: Option<String>,
}

/// How much of what is there, and in which order.
#[derive(Debug, Args)]
struct Which {
    /// Fetch every content that an instance has, not the current one alone
    #[arg(long)]
    all_versions: bool,
    /// Fetch an image of the middle of each series first
    #[arg(long)]
    middles_first: bool,
    /// End with what is there now. Else a study that is still arriving there is followed until it is whole; one of which
    /// an earlier version is whole is not waited for, with or without this
    #[arg(long)]
    now: bool,
    /// Fetch these frames of the instance alone, counted from 1 (such as 1 or 1,5-7), without the rest of it: into
    /// OUT/INSTANCE/frame-0001.EXT, as they stand in the file (raw) or as streams of their coder (jpg, j2k, jls, ...).
    /// Asks once
    #[arg(
        long,
        value_name = "NUMBERS",
        requires = "study",
        requires = "instance",
        conflicts_with_all = ["accession", "patient_id", "patient_name", "date", "modality", "by", "series", "all_versions", "middles_first", "now", "level", "limit", "give_up_after"]
    )]
    frames: Option<FrameNumbers>,
}

/// What the first argument names.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Picked {
    Study(StudyUid),
    Lines(Numbers),
}

fn picked(text: &str) -> Result<Picked, String> {
    // No UID of a study has a single component.
    if let Ok(numbers) = text.parse() {
        return Ok(Picked::Lines(numbers));
    }
    StudyUid::new(text).map(Picked::Study).map_err(|error| error.to_string())
}

fn not_empty(text: &str) -> Result<String, String> {
    if text.trim().is_empty() { Err("it is empty".to_owned()) } else { Ok(text.to_owned()) }
}

impl What {
    fn target(&self, which: &Which, lines: Option<Search>) -> anyhow::Result<PullTarget> {
        let mut what = lines.unwrap_or_else(|| Search { level: Level::Instance, ..Search::default() });
        what.studies.extend(self.named());
        for (tag, value) in [(tags::ACCESSION_NUMBER, &self.accession), (tags::PATIENT_ID, &self.patient_id)] {
            what = what.exactly(tag, value.as_deref().unwrap_or_default())?;
        }
        for (tag, value) in [(tags::SERIES_INSTANCE_UID, &self.series), (tags::SOP_INSTANCE_UID, &self.instance)] {
            what = what.by(tag, value.as_deref().unwrap_or_default())?;
        }
        let range = self.date.as_ref().map(DateRange::asked);
        let named = [
            (tags::PATIENT_NAME, &self.patient_name),
            (tags::STUDY_DATE, &range),
            (tags::MODALITIES_IN_STUDY, &self.modality),
        ];
        let named = named.into_iter().filter_map(|(tag, value)| Some((tag, value.as_ref()?)));
        for (tag, value) in named.chain(self.by.iter().map(|(tag, value)| (*tag, value))) {
            what = what.by(tag, value)?;
        }
        let versions = if which.all_versions { Versions::All } else { Versions::Current };
        let order = if which.middles_first { FetchOrder::MiddlesFirst } else { FetchOrder::AsKept };
        Ok(PullTarget::new(what).with_versions(versions).with_order(order))
    }
}

impl What {
    /// The study that was named by its UID.
    fn named(&self) -> Option<StudyUid> {
        match &self.study {
            Some(Picked::Study(study)) => Some(study.clone()),
            _ => None,
        }
    }

    /// The one instance of which frames are wanted.
    fn wanted(&self, lines: Option<&Search>, frames: FrameNumbers, priority: Priority) -> anyhow::Result<Wanted> {
        let instance = self.instance.as_deref().and_then(|uid| SopInstanceUid::new(uid.trim()).ok());
        let listed = || lines.and_then(|lines| <[_; 1]>::try_from(lines.studies.clone()).ok()).map(|[study]| study);
        match (self.named().or_else(listed), instance) {
            (Some(study), Some(instance)) => Ok(Wanted { study, instance, frames, priority }),
            _ => Err(problem(Exit::Usage, "--frames takes a STUDY_UID and one --instance")),
        }
    }
}

/// Fetches.
pub(crate) async fn run(args: PullArgs, places: &Places, output: &Output) -> anyhow::Result<Exit> {
    let site = Site::open(places)?;
    let (target, lines) = found(&args, &site, places)?;
    let options = args.transfer.pull_options().with_now(args.which.now);
    let (client, endpoint) = site.client()?;
    if let Some(frames) = args.which.frames.clone() {
        let wanted = args.what.wanted(lines.as_ref(), frames, args.transfer.priority.into())?;
        let fetched = frames::fetch(&client, &target.dial, wanted, &args.out);
        let fetched = stop::unless_stopped(Box::pin(fetched)).await?;
        close(&endpoint, CloseCode::Done).await;
        return match fetched {
            Some(fetched) => fetched.told("pull frames from", &target)?.conclude(output),
            None => stop::resumable(output),
        };
    }
    let what = args.what.target(&args.which, lines)?;
    let fetched = fetch(&client, &target.dial, &what, &args.out, &options, output);
    let Some(fetched) = stop::unless_stopped(Box::pin(fetched)).await? else {
        close(&endpoint, CloseCode::Cancelled).await;
        return stop::resumable(output);
    };
    close(&endpoint, CloseCode::Done).await;
    conclude(&fetched.told("pull from", &target)?, &args.out, output)
}

/// The peer, and what the lines stand for that were named.
fn found(args: &PullArgs, site: &Site, places: &Places) -> anyhow::Result<(Target, Option<Search>)> {
    let Some(Picked::Lines(numbers)) = &args.what.study else {
        let from = args.from.as_ref().ok_or_else(|| problem(Exit::Usage, "where from? Name the peer with --from"))?;
        return Ok((site.find(&args.peer_key.of(from))?, None));
    };
    let listing = Listing::last(places)?;
    let target = site.find(&args.peer_key.of(args.from.as_deref().unwrap_or_else(|| listing.peer())))?;
    let lines = listing.pick(numbers, &target)?;
    Ok((target, Some(lines)))
}

/// A pull that is done.
#[derive(Debug)]
pub(crate) struct Fetched {
    /// What the client says.
    pub(crate) report: PullReport,
    /// Files that were written.
    pub(crate) written: Vec<PathBuf>,
    /// Studies of which files of several patients came, each with their number.
    pub(crate) mixed: BTreeMap<StudyUid, usize>,
    /// What did not come.
    pub(crate) findings: Findings,
    /// What went over the line, and how fast.
    pub(crate) moved: Moved,
}

/// Fetches into the folder `out`, telling how far it is.
pub(crate) async fn fetch(
    client: &Client,
    dial: &Dial,
    what: &PullTarget,
    out: &Path,
    options: &PullOptions,
    output: &Output,
) -> anyhow::Result<Fetched> {
    let reporter = Reporter::new(output);
    let intakes = Intakes::new(out);
    let opening = intakes.clone();
    let report = client.pull(dial, what, move |peer| opening.open(peer), options, &reporter).await;
    let findings = reporter.finish();
    let report = report?;
    let moved = Moved::new(report.progress, reporter.elapsed());
    Ok(Fetched { report, written: intakes.written(), mixed: intakes.mixed(), findings, moved })
}

fn conclude(fetched: &Fetched, out: &Path, output: &Output) -> anyhow::Result<Exit> {
    let Fetched { report, written, mixed, findings, moved } = fetched;
    let receipt = &report.receipt;
    let conflicts: Vec<&PathBuf> = written.iter().filter(|path| is_conflict(path)).collect();
    for (label, reason) in &findings.failed {
        output.warn(&format!("FAILED: {label}: {reason}"));
    }
    output.line(&format!("fetched       {} instances, {}", receipt.instances, moved.original(receipt.bytes)))?;
    output.line(&format!("written       {} files to {}", written.len(), out.display()))?;
    if report.others > 0 {
        output.warn(&format!(
            "{} instances of the same studies are of other patients, and were not fetched: pull them by their own \
             patient ID, or the studies by their UID",
            report.others
        ));
    }
    for (study, patients) in mixed {
        output.warn(&format!(
            "WRONG PATIENT? the study {study} holds images of {patients} patients: look at whose each one is"
        ));
    }
    let (derived, shared) = (written.iter().filter(|path| has_derived_uid(path)).count(), in_several_studies(written));
    if derived > 0 {
        output.warn(&format!("{derived} instances without a usable UID of their own stand under derived ones"));
    }
    for uid in &shared {
        output.warn(&format!("WRONG PATIENT? the SOP Instance UID {uid} is in several studies"));
    }
    moved.tell(output)?;
    if report.connections > 1 {
        output.line(&format!("connections   {} (interrupted {} times)", report.connections, report.connections - 1))?;
    }
    if !conflicts.is_empty() {
        output.warn(&format!(
            "conflicts: {} files have the SOP Instance UID of another file and other contents. Both are kept, \
             the second under a name with part of its hash; look at them before you use either:",
            conflicts.len()
        ));
        conflicts.iter().for_each(|path| output.warn(&format!("    {}", path.display())));
    }
    let mut done = moved.object();
    done["event"] = json!("done");
    done["instances"] = json!(receipt.instances);
    done["bytes"] = json!(receipt.bytes);
    done["written"] = json!(written.len());
    done["conflicts"] = json!(conflicts.iter().map(|path| path.display().to_string()).collect::<Vec<_>>());
    done["derived_uids"] = json!(derived);
    done["several_patients"] = json!(mixed.keys().map(StudyUid::as_str).collect::<Vec<_>>());
    done["in_several_studies"] = json!(shared);
    done["studies"] = json!(report.studies.iter().map(StudyUid::as_str).collect::<Vec<_>>());
    done["out"] = json!(out.display().to_string());
    done["others"] = json!(report.others);
    done["connections"] = json!(report.connections);
    done["complete"] = json!(receipt.complete);
    let Shortfall { changed, arriving, unstated, .. } = report.shortfall;
    done["shortfall"] = json!({ "changed": changed, "arriving": arriving, "unstated": unstated });
    done["root"] = json!(receipt.root.to_string());
    output.object(&done)?;
    if receipt.complete && findings.failed.is_empty() {
        return Ok(Exit::Done);
    }
    if !tell_shortfall(report, output) || !findings.failed.is_empty() {
        output.warn("some instances did not come whole; the same command tries them again");
    }
    Ok(if receipt.instances == 0 { Exit::Failed } else { Exit::Partial })
}

/// Says why what came is not all. Returns whether there is a reason.
fn tell_shortfall(report: &PullReport, output: &Output) -> bool {
    let Shortfall { changed, arriving, unstated, .. } = report.shortfall;
    let so_far = report.receipt.instances;
    if changed {
        output.warn("NOT ALL: the study was changed or removed there while it was fetched; run the same command again");
    }
    if arriving {
        output.warn(&format!(
            "NOT ALL: {so_far} instances so far, more arriving there; the same command fetches the rest later"
        ));
    }
    if unstated > 0 {
        output.warn(&format!(
            "NOT ALL: nobody has said that the study is whole: the transfer that brought {unstated} instances there was cut \
             off, or left something out. Let the site that sent it send it again, then run the same command"
        ));
    }
    !report.shortfall.is_none()
}

/// Whether study, series or instance has a derived UID: OUT/STUDY/SERIES/INSTANCE.dcm.
fn has_derived_uid(path: &Path) -> bool {
    let uid = |text: &str| SopInstanceUid::new(text).is_ok_and(|uid| uid.is_derived());
    let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
    let folders = path.ancestors().skip(1).take(2).filter_map(|folder| folder.file_name()?.to_str());
    path.extension().is_some_and(|ending| ending == "dcm") && (uid(stem) || folders.into_iter().any(uid))
}

/// SOP Instance UIDs that files of more than one study have.
fn in_several_studies(written: &[PathBuf]) -> Vec<String> {
    let mut studies: BTreeMap<&str, BTreeSet<&OsStr>> = BTreeMap::new();
    for path in written.iter().filter(|path| !is_conflict(path)) {
        if let (Some(stem), Some(study)) =
            (path.file_stem().and_then(OsStr::to_str), path.ancestors().nth(2).and_then(Path::file_name))
        {
            studies.entry(stem).or_default().insert(study);
        }
    }
    let several = studies.into_iter().filter(|(uid, studies)| studies.len() > 1 && SopInstanceUid::new(uid).is_ok());
    several.map(|(uid, _)| uid.to_owned()).collect()
}

/// Whether a file's name carries part of its hash, because the plain name was taken.
fn is_conflict(path: &Path) -> bool {
    let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
    let Some((plain, mark)) = stem.rsplit_once('.') else { return false };
    let hex = |mark: &str| matches!(mark.len(), 8 | 64) && mark.bytes().all(|b| b.is_ascii_hexdigit());
    // A UID may end in eight digits, too: the plain name is there only in a conflict.
    hex(mark) && path.with_file_name(format!("{plain}.dcm")).exists()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_odd_is_seen_in_names() {
        let derived = SopInstanceUid::derived(&[1; 32]);
        let path = |text: String| PathBuf::from(text);
        assert!(has_derived_uid(&path(format!("out/1.2/1.3/{derived}.dcm"))));
        assert!(has_derived_uid(&path(format!("out/{derived}/1.3/1.4.dcm"))));
        assert!(!has_derived_uid(&path("out/1.2/1.3/1.4.dcm".to_owned())));
        let written =
            ["o/1.2/1.3/1.4.dcm", "o/1.2/1.5/1.4.dcm", "o/1.6/1.7/1.8.dcm", "o/1.9/1.7/1.8.dcm"].map(PathBuf::from);
        assert_eq!(in_several_studies(&written), ["1.8"]);
    }

    #[test]
    fn conflicts_are_told_from_long_uids() {
        let dir = tempfile::tempdir().unwrap();
        let touch = |name: &str| {
            let path = dir.path().join(name);
            std::fs::write(&path, "").unwrap();
            path
        };
        let (plain, second) = (touch("1.2.3.dcm"), touch("1.2.3.0a1b2c3d.dcm"));
        let long = touch("1.2.4.20260102.dcm");
        assert!(is_conflict(&second));
        assert!(!is_conflict(&plain) && !is_conflict(&long));
    }
}

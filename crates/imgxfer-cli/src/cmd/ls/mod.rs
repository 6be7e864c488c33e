//! `imgxfer ls`: what is at a peer.

mod rows;

use clap::{Args, ValueEnum};
use imgxfer_core::dicom::{Attribute, Level, Tag, tags};
use imgxfer_core::store::search::{Answer, Search};
use imgxfer_core::transport::CloseCode;

use crate::args::PeerKey;
use crate::dates::{DateRange, parse_range};
use crate::exit::Exit;
use crate::listing::Listing;
use crate::output::{Output, safe};
use crate::places::Places;
use crate::site::{Site, ToldPeer as _, close};
use crate::table::{lines, shows, terminal_width};

/// What is listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Of {
    /// Studies
    Studies,
    /// Series
    Series,
    /// Instances
    Instances,
}

impl From<Of> for Level {
    fn from(of: Of) -> Self {
        match of {
            Of::Studies => Self::Study,
            Of::Series => Self::Series,
            Of::Instances => Self::Instance,
        }
    }
}

/// Arguments of `ls`. In values `*` stands for any characters and `?` for one; names are found whatever their case
/// and accents.
#[derive(Debug, Args)]
pub(crate) struct LsArgs {
    /// Where to look: a peer's name, or HOST:PORT
    #[arg(long, value_name = "PEER")]
    from: String,
    #[command(flatten)]
    peer_key: PeerKey,
    /// What to list
    #[arg(long, value_enum, default_value = "studies")]
    level: Of,
    /// Patient's name, such as 'DOE*'
    #[arg(long, value_name = "NAME")]
    patient_name: Option<String>,
    /// Patient ID
    #[arg(long, value_name = "ID")]
    patient_id: Option<String>,
    /// Accession number
    #[arg(long, value_name = "NUMBER")]
    accession: Option<String>,
    /// Study date: 2026-01-02, 20260102, today, yesterday, a month 2026-01, or a range FROM-TO of these; or how long ago at
    /// most: 7d, 2w, 3m, 1y (also -7d)
    #[arg(long, allow_hyphen_values = true, value_parser = parse_range)]
    date: Option<DateRange>,
    /// Modality of any series, such as CT; several with commas
    #[arg(long)]
    modality: Option<String>,
    /// Study description, such as '*thorax*'
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
    /// Name of the referring physician
    #[arg(long, value_name = "NAME")]
    referring: Option<String>,
    /// Study Instance UID; several with commas
    #[arg(long, value_name = "UID", value_parser = crate::args::parse_uids)]
    study: Option<String>,
    /// Series Instance UID; several with commas
    #[arg(long, value_name = "UID", value_parser = crate::args::parse_uids)]
    series: Option<String>,
    /// SOP Instance UID; several with commas
    #[arg(long, value_name = "UID", value_parser = crate::args::parse_uids)]
    instance: Option<String>,
    /// Any attribute that is kept, by its keyword or tag, such as BodyPartExamined=CHEST; may be given several times
    #[arg(long = "by", value_name = "KEYWORD=VALUE", value_parser = attribute)]
    by: Vec<(Tag, String)>,
    /// Most rows to list
    #[arg(long, value_name = "N")]
    limit: Option<u32>,
    /// Rows to pass over
    #[arg(long, value_name = "N", default_value_t = 0)]
    skip: u32,
    /// Count all that match
    #[arg(long)]
    count: bool,
}

/// Reads `KEYWORD=VALUE`.
pub(super) fn attribute(text: &str) -> Result<(Tag, String), String> {
    let (name, value) = text.split_once('=').ok_or("expected KEYWORD=VALUE")?;
    let attribute = Attribute::named(name.trim());
    let tag = attribute.ok_or_else(|| format!("{name} is not an attribute that is kept"))?.tag;
    Ok((tag, value.to_owned()))
}

/// Asks and prints.
pub(crate) async fn run(args: &LsArgs, places: &Places, output: &Output) -> anyhow::Result<Exit> {
    let site = Site::open(places)?;
    let target = site.find(&args.peer_key.of(&args.from))?;
    let search = search(args)?;
    let (client, endpoint) = site.client()?;
    let answer = client.find(&target.dial, &search).await;
    close(&endpoint, CloseCode::Done).await;
    let Answer { rows, more, total, incomplete, .. } = answer.told("search at", &target)?;
    let shared = rows::in_several_studies(&rows);
    output.objects(rows.iter().map(|row| rows::object_among(row, &shared)))?;
    if incomplete {
        output.warn("attributes are still being filled in there: something may be missing");
    }
    if let Some(total) = total {
        output.say(&format!("{total} match"));
    }
    if rows.is_empty() {
        output.say("nothing matches, or nothing that this site may see");
        return Ok(Exit::Done);
    }
    if !output.is_json() {
        let (table, width) = (rows::Table::of(search.level, &rows), terminal_width());
        output.lines(&lines(&table.columns, &table.cells, width))?;
        if !shows(&table.columns, &table.cells, width, table.uid) {
            output
                .say(&format!("the numbers stand for the UIDs: imgxfer pull 1 --from {} --out DIR", safe(&args.from)));
        }
    }
    // A listing that cannot be kept is still one.
    if let Err(error) = Listing::new(&target, asked_by(&search), &rows).keep(places) {
        output.warn(&format!("`imgxfer pull` will not know these numbers: {error:#}"));
    }
    if search.level == Level::Study {
        let mixed = rows.iter().filter(|row| row.study.patients.len() > 1).count();
        if mixed > 0 {
            output.warn(&format!("WRONG PATIENT? {mixed} of these studies name several patients"));
        }
    }
    for (uid, studies) in &shared {
        output.warn(&format!("WRONG PATIENT? the SOP Instance UID {uid} is in {} studies", studies.len()));
    }
    if more {
        let raise = if args.limit.is_some() { "raise --limit, or " } else { "" };
        output.say(&format!("more match than these {}: {raise}narrow the question, or use --skip", rows.len()));
    }
    Ok(Exit::Done)
}

/// Keywords of what was asked by, without values.
fn asked_by(search: &Search) -> Vec<String> {
    let uids = [
        (search.studies.is_empty(), "StudyInstanceUID"),
        (search.series.is_empty(), "SeriesInstanceUID"),
        (search.instances.is_empty(), "SOPInstanceUID"),
        (search.modalities.is_empty(), "ModalitiesInStudy"),
    ];
    let uids = uids.into_iter().filter(|(none, _)| !none).map(|(_, keyword)| keyword.to_owned());
    uids.chain(search.criteria.iter().map(|criterion| criterion.attribute.keyword.to_owned())).collect()
}

fn search(args: &LsArgs) -> anyhow::Result<Search> {
    let range = args.date.as_ref().map(DateRange::asked);
    let asked = [
        (tags::PATIENT_NAME, &args.patient_name),
        (tags::PATIENT_ID, &args.patient_id),
        (tags::ACCESSION_NUMBER, &args.accession),
        (tags::STUDY_DATE, &range),
        (tags::MODALITIES_IN_STUDY, &args.modality),
        (tags::STUDY_DESCRIPTION, &args.description),
        (tags::REFERRING_PHYSICIAN_NAME, &args.referring),
        (tags::STUDY_INSTANCE_UID, &args.study),
        (tags::SERIES_INSTANCE_UID, &args.series),
        (tags::SOP_INSTANCE_UID, &args.instance),
    ];
    let mut search = Search { level: args.level.into(), skip: args.skip, count: args.count, ..Search::default() };
    search.limit = args.limit.unwrap_or(search.limit);
    let asked = asked.into_iter().filter_map(|(tag, value)| Some((tag, value.as_ref()?)));
    for (tag, value) in asked.chain(args.by.iter().map(|(tag, value)| (*tag, value))) {
        search = search.by(tag, value)?;
    }
    Ok(search)
}

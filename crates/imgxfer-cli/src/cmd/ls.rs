//! `imgxfer ls`: the studies at a peer.

use clap::Args;
use imgxfer_core::client::Found;
use imgxfer_core::dicom::tags;
use imgxfer_core::store::{StudyQuery, StudyRow};
use imgxfer_core::transport::CloseCode;
use imgxfer_core::units::human_bytes;
use serde_json::json;

use crate::args::PeerKey;
use crate::dates::{DateRange, iso, parse_range, utc};
use crate::exit::Exit;
use crate::output::Output;
use crate::places::Places;
use crate::site::{Site, ToldPeer as _, close};
use crate::table::{Column, lines, terminal_width};

/// Arguments of `ls`.
#[derive(Debug, Args)]
pub(crate) struct LsArgs {
    /// Where to look: a peer's name, or HOST:PORT
    #[arg(long, value_name = "PEER")]
    from: String,
    #[command(flatten)]
    peer_key: PeerKey,
    /// Patient ID, exactly
    #[arg(long)]
    patient_id: Option<String>,
    /// Accession number, exactly
    #[arg(long)]
    accession: Option<String>,
    /// Study date: YYYYMMDD, or a range FROM-TO
    #[arg(long, allow_hyphen_values = true, value_parser = parse_range)]
    date: Option<DateRange>,
    /// Modality of any series, such as CT
    #[arg(long)]
    modality: Option<String>,
    /// Most studies to list
    #[arg(long)]
    limit: Option<u32>,
}

/// Asks and prints.
pub(crate) async fn run(args: &LsArgs, places: &Places, output: &Output) -> anyhow::Result<Exit> {
    let site = Site::open(places)?;
    let target = site.find(&args.peer_key.of(&args.from))?;
    let (client, endpoint) = site.client()?;
    let found = client.find(&target.dial, &query(args)).await;
    close(&endpoint, CloseCode::Done).await;
    let Found { rows, more, .. } = found.told("list the studies at", &target)?;
    output.objects(rows.iter().map(object))?;
    if rows.is_empty() {
        output.say("no study matches, or none that this site may see");
        return Ok(Exit::Done);
    }
    if !output.is_json() {
        let conflicts = rows.iter().any(|row| row.conflicts > 0);
        let cells: Vec<_> = rows.iter().map(|row| cells(row, conflicts)).collect();
        output.lines(&lines(&columns(conflicts), &cells, terminal_width()))?;
    }
    if more {
        let raise = if args.limit.is_some() { "raise --limit, or " } else { "" };
        output.say(&format!("more studies match than these {}: {raise}narrow the question", rows.len()));
    }
    Ok(Exit::Done)
}

fn query(args: &LsArgs) -> StudyQuery {
    let mut query = StudyQuery::default();
    query.patient_id.clone_from(&args.patient_id);
    query.accession_number.clone_from(&args.accession);
    query.modality = args.modality.as_ref().map(|modality| modality.to_uppercase());
    if let Some(range) = &args.date {
        query.date_from.clone_from(&range.from);
        query.date_to.clone_from(&range.to);
    }
    query.limit = args.limit;
    query
}

fn columns(conflicts: bool) -> Vec<Column> {
    let mut columns = vec![
        Column::left("DATE"),
        Column::cut("PATIENT ID", 10),
        Column::cut("NAME", 8),
        Column::left("MODALITY"),
        Column::cut("DESCRIPTION", 11),
        Column::cut("ACCESSION", 9),
        Column::right("SERIES"),
        Column::right("INSTANCES"),
        Column::right("SIZE"),
        Column::left("STATE"),
    ];
    if conflicts {
        columns.push(Column::right("CONFLICTS"));
    }
    // Last and whole: it is what `pull` takes.
    columns.push(Column::left("STUDY UID"));
    columns
}

fn cells(row: &StudyRow, conflicts: bool) -> Vec<String> {
    let attributes = &row.attributes;
    let mut cells = vec![
        iso(&attributes.get(tags::STUDY_DATE)),
        attributes.get(tags::PATIENT_ID).to_owned(),
        person(&attributes.get(tags::PATIENT_NAME)),
        row.modalities.replace('\\', ","),
        attributes.get(tags::STUDY_DESCRIPTION).to_owned(),
        attributes.get(tags::ACCESSION_NUMBER).to_owned(),
        row.series.to_string(),
        row.instances.to_string(),
        human_bytes(row.bytes),
        state(row),
    ];
    if conflicts {
        cells.push(if row.conflicts > 0 { row.conflicts.to_string() } else { String::new() });
    }
    cells.push(row.study.as_str().to_owned());
    cells
}

/// `Family^Given^Middle` as people write it (PS3.5 section 6.2.1.2).
fn person(name: &str) -> String {
    // The first group of components that says anything: letters, ideographs, sounds.
    let group = name.split('=').find(|group| !group.is_empty()).unwrap_or_default();
    let mut parts = group.split('^').map(str::trim);
    let family = parts.next().unwrap_or_default();
    let rest: Vec<&str> = parts.filter(|part| !part.is_empty()).collect();
    if rest.is_empty() { family.to_owned() } else { format!("{family}, {}", rest.join(" ")) }
}

fn state(row: &StudyRow) -> String {
    match (row.arriving, row.version) {
        (true, 0) => "arriving".to_owned(),
        (true, version) => format!("complete v{version}, more arriving"),
        (false, 0) => "not complete".to_owned(),
        (false, version) => format!("complete v{version}"),
    }
}

fn object(row: &StudyRow) -> serde_json::Value {
    let attributes = &row.attributes;
    json!({
        "study": row.study.as_str(),
        "patient_id": attributes.get(tags::PATIENT_ID),
        "patient_name": attributes.get(tags::PATIENT_NAME),
        "accession": attributes.get(tags::ACCESSION_NUMBER),
        "date": iso(&attributes.get(tags::STUDY_DATE)),
        "time": attributes.get(tags::STUDY_TIME),
        "description": attributes.get(tags::STUDY_DESCRIPTION),
        "modalities": row.modalities.split('\\').filter(|modality| !modality.is_empty()).collect::<Vec<_>>(),
        "series": row.series,
        "instances": row.instances,
        "conflicts": row.conflicts,
        "bytes": row.bytes,
        "version": row.version,
        "arriving": row.arriving,
        "root": row.root.map(|root| root.to_string()),
        "owner": row.owner.fingerprint(),
        "updated": utc(row.updated.0),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use imgxfer_core::clock::UnixSeconds;
    use imgxfer_core::dicom::Attributes;
    use imgxfer_core::ids::{PeerId, StudyUid};

    fn row() -> StudyRow {
        let mut attributes = Attributes::default();
        attributes.set(tags::STUDY_DATE, "20260102");
        attributes.set(tags::PATIENT_NAME, "Yamada^Tarou=山田^太郎");
        StudyRow {
            study: StudyUid::new("1.2.3").unwrap(),
            owner: PeerId::of_key(b"owner"),
            attributes,
            modalities: "CT\\SR".to_owned(),
            series: 2,
            instances: 300,
            conflicts: 0,
            bytes: 157_000_000,
            version: 2,
            arriving: false,
            root: None,
            updated: UnixSeconds(0),
        }
    }

    #[test]
    fn a_study_is_one_line() {
        let row = row();
        let lines = lines(&columns(false), &[cells(&row, false)], None);
        assert_eq!(
            lines[1].split_whitespace().collect::<Vec<_>>().join(" "),
            "2026-01-02 Yamada, Tarou CT,SR 2 300 157 MB complete v2 1.2.3"
        );
        assert!(!lines[0].contains("CONFLICTS"));
        assert_eq!(columns(true).len(), cells(&row, true).len());
    }

    #[test]
    fn states_and_names_are_told() {
        let with = |arriving, version| state(&StudyRow { arriving, version, ..row() });
        assert_eq!(with(true, 0), "arriving");
        assert_eq!(with(true, 1), "complete v1, more arriving");
        assert_eq!(person("Doe^Jane^^Dr"), "Doe, Jane Dr");
        assert_eq!(person("=山田^太郎"), "山田, 太郎");
        assert_eq!(person(""), "");
    }
}

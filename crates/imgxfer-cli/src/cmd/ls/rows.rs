//! What was found, as a table and as objects.

use std::collections::{BTreeMap, BTreeSet};

use imgxfer_core::dicom::{Attribute, Attributes, Level, tags};
use imgxfer_core::ids::PeerId;
use imgxfer_core::store::search::{Found, FoundStudy};
use imgxfer_core::units::human_bytes;
use serde_json::{Map, Value, json};

use crate::dates::{iso, utc};
use crate::table::Column;

/// Rows for a terminal, numbered as `imgxfer pull` takes them.
pub(super) struct Table {
    pub(super) columns: Vec<Column>,
    pub(super) cells: Vec<Vec<String>>,
    /// Name of the column with the UIDs, which is the first to go where space is short.
    pub(super) uid: &'static str,
}

impl Table {
    pub(super) fn of(level: Level, rows: &[Found]) -> Self {
        let mut table = match level {
            Level::Patient | Level::Study => Self::studies(rows),
            Level::Series => Self::series(rows),
            Level::Instance => Self::instances(rows),
        };
        table.columns.insert(0, Column::right("#"));
        for (number, cells) in (1_usize..).zip(&mut table.cells) {
            cells.insert(0, number.to_string());
        }
        table
    }

    fn studies(rows: &[Found]) -> Self {
        let uid = "STUDY UID";
        let columns = vec![
            Column::left("DATE"),
            Column::cut("NAME", 12),
            Column::cut("PATIENT ID", 10).goes(2),
            Column::cut("MOD.", 5),
            Column::cut("DESCRIPTION", 11).goes(1),
            Column::cut("ACCESSION", 9).goes(4),
            Column::right("SERIES").goes(3),
            Column::right("INST."),
            Column::right("SIZE"),
            Column::cut("STATE", 11),
            Column::left(uid).goes(5),
        ];
        Self { columns, cells: rows.iter().map(|row| study_cells(&row.study)).collect(), uid }
    }

    fn series(rows: &[Found]) -> Self {
        let uid = "SERIES UID";
        let columns = vec![
            Column::left("DATE"),
            Column::cut("NAME", 12),
            Column::cut("PATIENT ID", 10).goes(3),
            Column::left("MOD."),
            Column::right("NUMBER").goes(1),
            Column::cut("DESCRIPTION", 11),
            Column::cut("BODY PART", 9).goes(2),
            Column::right("INST."),
            Column::left(uid).goes(4),
        ];
        let cells = |row: &Found| {
            let series = row.series.as_ref()?;
            let of = |tag| series.attributes.get(tag).to_owned();
            Some(vec![
                iso(&row.study.date),
                person(row.study.shown().patient_name()),
                patient_ids(&row.study),
                of(tags::MODALITY),
                of(tags::SERIES_NUMBER),
                of(tags::SERIES_DESCRIPTION),
                of(tags::BODY_PART_EXAMINED),
                series.instances.to_string(),
                series.series.as_str().to_owned(),
            ])
        };
        Self { columns, cells: rows.iter().filter_map(cells).collect(), uid }
    }

    fn instances(rows: &[Found]) -> Self {
        let uid = "SOP INSTANCE UID";
        let columns = vec![
            Column::left("MOD."),
            Column::right("SERIES"),
            Column::right("NUMBER"),
            Column::right("FRAMES"),
            Column::right("ROWS x COLUMNS"),
            Column::right("SIZE"),
            Column::cut("TRANSFER SYNTAX", 15).goes(1),
            Column::left(uid).goes(2),
        ];
        let derived = rows.iter().any(|row| !derived_uids(row).is_empty());
        let columns: Vec<Column> = columns.into_iter().chain(derived.then(|| Column::left("DERIVED"))).collect();
        let cells = |row: &Found| {
            let (series, instance) = (row.series.as_ref()?, row.instance.as_ref()?);
            let of = |tag| instance.attributes.get(tag);
            let size = match (of(tags::ROWS), of(tags::COLUMNS)) {
                ("", _) | (_, "") => String::new(),
                (rows, columns) => format!("{rows} x {columns}"),
            };
            let mut cells = vec![
                series.attributes.get(tags::MODALITY).to_owned(),
                series.attributes.get(tags::SERIES_NUMBER).to_owned(),
                of(tags::INSTANCE_NUMBER).to_owned(),
                of(tags::NUMBER_OF_FRAMES).to_owned(),
                size,
                human_bytes(instance.len),
                instance.transfer_syntax.as_ref().map(ToString::to_string).unwrap_or_default(),
                instance.sop_instance.as_str().to_owned(),
            ];
            if derived {
                cells.push(derived_uids(row).join(", "));
            }
            Some(cells)
        };
        Self { columns, cells: rows.iter().filter_map(cells).collect(), uid }
    }
}

/// Which UIDs of an instance are derived.
fn derived_uids(row: &Found) -> Vec<&'static str> {
    let marks = [
        (row.study.study.is_derived(), "study"),
        (row.series.as_ref().is_some_and(|found| found.series.is_derived()), "series"),
        (row.instance.as_ref().is_some_and(|found| found.sop_instance.is_derived()), "instance"),
    ];
    marks.into_iter().filter_map(|(is_derived, mark)| is_derived.then_some(mark)).collect()
}

/// SOP Instance UIDs that instances of more than one study have among these.
pub(super) fn in_several_studies(rows: &[Found]) -> BTreeMap<&str, BTreeSet<&str>> {
    let mut studies: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for row in rows {
        if let Some(instance) = &row.instance {
            studies.entry(instance.sop_instance.as_str()).or_default().insert(row.study.study.as_str());
        }
    }
    studies.retain(|_, studies| studies.len() > 1);
    studies
}

fn study_cells(study: &FoundStudy) -> Vec<String> {
    let shown = study.shown();
    vec![
        iso(&study.date),
        person(shown.patient_name()),
        patient_ids(study),
        study.modalities.join(","),
        shown.get(tags::STUDY_DESCRIPTION).to_owned(),
        shown.get(tags::ACCESSION_NUMBER).to_owned(),
        study.series.to_string(),
        study.instances.to_string(),
        human_bytes(study.bytes),
        marked(study),
        study.study.as_str().to_owned(),
    ]
}

/// The state, behind what somebody has to look at.
fn marked(study: &FoundStudy) -> String {
    let mut words = Vec::new();
    if study.patients.len() > 1 {
        words.push(format!("{} PATIENTS", study.patients.len()));
    }
    match study.conflicts {
        0 => {}
        1 => words.push("1 CONFLICT".to_owned()),
        n => words.push(format!("{n} CONFLICTS")),
    }
    words.push(state(study));
    words.join(", ")
}

/// All patient IDs of a study: several are an error of somebody's, and must be seen.
fn patient_ids(study: &FoundStudy) -> String {
    let ids: Vec<&str> = study.patients.iter().map(|patient| patient.attributes.patient_id()).collect();
    match ids.as_slice() {
        [_, _, ..] => format!("{} PATIENTS: {}", ids.len(), ids.join(", ")),
        _ => ids.concat(),
    }
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

fn state(study: &FoundStudy) -> String {
    let derived = study.attributes.get(tags::DERIVED_UIDS).to_lowercase().replace('\\', ", ");
    let mark = if derived.is_empty() { derived } else { format!(", no usable UID: {derived}") };
    whole(study) + &mark
}

fn whole(study: &FoundStudy) -> String {
    match (study.arriving, study.version()) {
        (true, 0) => "arriving".to_owned(),
        (true, version) => format!("complete v{version}, more arriving"),
        // Nobody has said what belongs to it.
        (false, 0) if study.owners.iter().all(|owner| owner.owner == PeerId::SELF) => "unstated".to_owned(),
        (false, 0) => "not complete".to_owned(),
        (false, version) => format!("complete v{version}"),
    }
}

/// Attributes by keyword.
fn values(attributes: &Attributes) -> Value {
    let keyword = |tag| Attribute::of(tag).map_or_else(|| format!("{tag}"), |a| a.keyword.to_owned());
    Value::Object(attributes.iter().map(|(tag, value)| (keyword(tag), json!(value))).collect::<Map<_, _>>())
}

pub(super) fn object(row: &Found) -> Value {
    let study = &row.study;
    let Some(series) = &row.series else { return study_object(study) };
    let mut object = json!({
        "study": study.study.as_str(),
        "date": iso(&study.date),
        "patients": study.patients.iter().map(|patient| values(&patient.attributes)).collect::<Vec<_>>(),
        "series": series.series.as_str(),
        "several_patients": study.patients.len() > 1,
        "series_derived": series.series.is_derived(),
        "series_attributes": values(&series.attributes),
        "instances": series.instances,
    });
    if let Some(instance) = &row.instance {
        object["instance"] = json!(instance.sop_instance.as_str());
        object["instance_derived"] = json!(instance.sop_instance.is_derived());
        object["instance_attributes"] = values(&instance.attributes);
        object["sop_class"] = json!(instance.sop_class.as_ref().map(ToString::to_string));
        object["transfer_syntax"] = json!(instance.transfer_syntax.as_ref().map(ToString::to_string));
        object["hash"] = json!(instance.hash.to_string());
        object["content"] = json!(instance.content.to_string());
        object["bytes"] = json!(instance.len);
    }
    object
}

/// The same, with the studies that have the instance's UID besides its own.
pub(super) fn object_among(row: &Found, shared: &BTreeMap<&str, BTreeSet<&str>>) -> Value {
    let mut object = object(row);
    if let Some(studies) = row.instance.as_ref().and_then(|instance| shared.get(instance.sop_instance.as_str())) {
        object["other_studies"] =
            json!(studies.iter().filter(|study| **study != row.study.study.as_str()).collect::<Vec<_>>());
    }
    object
}

fn study_object(study: &FoundStudy) -> Value {
    let shown = study.shown();
    let patients: Vec<_> = study
        .patients
        .iter()
        .map(|patient| json!({ "attributes": values(&patient.attributes), "instances": patient.instances }))
        .collect();
    let owners: Vec<_> = study
        .owners
        .iter()
        .map(|owner| {
            json!({
                "owner": owner.owner.fingerprint(),
                "version": owner.version,
                "root": owner.root.map(|root| root.to_string()),
            })
        })
        .collect();
    json!({
        "study": study.study.as_str(),
        "patient_id": shown.patient_id(),
        "patient_name": shown.patient_name(),
        "accession": shown.get(tags::ACCESSION_NUMBER),
        "date": iso(&study.date),
        "time": shown.get(tags::STUDY_TIME),
        "description": shown.get(tags::STUDY_DESCRIPTION),
        "modalities": study.modalities,
        "attributes": values(&study.attributes),
        "patients": patients,
        "series": study.series,
        "instances": study.instances,
        "contents": study.contents,
        "conflicts": study.conflicts,
        "several_patients": study.patients.len() > 1,
        "derived_uids": study.attributes.get(tags::DERIVED_UIDS),
        "bytes": study.bytes,
        "version": study.version(),
        "arriving": study.arriving,
        "owners": owners,
        "updated": utc(study.updated.0),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::lines;
    use imgxfer_core::clock::UnixSeconds;
    use imgxfer_core::ids::StudyUid;
    use imgxfer_core::store::search::OwnerVersion;
    use imgxfer_core::store::{Order, StudyPatient, StudyRow};

    fn patient(id: &str, instances: u64) -> StudyPatient {
        let mut patient = StudyPatient::default();
        patient.attributes.set(tags::PATIENT_NAME, "Yamada^Tarou=山田^太郎");
        patient.attributes.set(tags::PATIENT_ID, id);
        patient.instances = instances;
        patient
    }

    fn found() -> FoundStudy {
        FoundStudy::from(StudyRow {
            study: StudyUid::new("1.2.3").unwrap(),
            owner: PeerId::of_key(b"owner"),
            first: Order(1),
            attributes: Attributes::default().with(tags::STUDY_DATE, "20260102"),
            patients: vec![patient("", 300)],
            modalities: vec!["CT".to_owned(), "SR".to_owned()],
            sop_classes: Vec::new(),
            series: 2,
            instances: 300,
            contents: 300,
            conflicts: 0,
            bytes: 157_000_000,
            version: 2,
            arriving: false,
            root: None,
            published: Order(0),
            updated: UnixSeconds(0),
        })
    }

    #[test]
    fn a_study_is_one_line() {
        let row = Found { study: found().into(), series: None, instance: None };
        let table = Table::of(Level::Study, &[row]);
        let lines = lines(&table.columns, &table.cells, None);
        assert_eq!(
            lines[1].split_whitespace().collect::<Vec<_>>().join(" "),
            "1 2026-01-02 Yamada, Tarou CT,SR 2 300 157 MB complete v2 1.2.3"
        );
        assert!(!lines[1].contains("CONFLICT"));
    }

    #[test]
    fn a_study_fits_its_terminal_and_says_what_is_wrong_with_it() {
        let uid = format!("1.2.840.{}", "9".repeat(56));
        let study = FoundStudy {
            study: StudyUid::new(&uid).unwrap(),
            attributes: Attributes::default()
                .with(tags::STUDY_DATE, "20260102")
                .with(tags::STUDY_DESCRIPTION, "CT thorax and abdomen with contrast, follow-up")
                .with(tags::ACCESSION_NUMBER, "ACC-2026-000815"),
            patients: vec![patient("PID-2026-4711", 299), patient("PID-2026-4712", 1)],
            modalities: ["CT", "PR", "SR", "SEG"].map(str::to_owned).to_vec(),
            instances: 12_345,
            conflicts: 3,
            ..found()
        };
        let fine = Found { study: found().into(), series: None, instance: None };
        let rows = [fine, Found { study: study.into(), series: None, instance: None }];
        let table = Table::of(Level::Study, &rows);
        for (width, shown, left_out) in [
            (80, "DATE NAME MOD. DESCRIPTION INST. SIZE STATE", "PATIENT ID"),
            (100, "PATIENT ID", "ACCESSION"),
            (120, "ACCESSION", "STUDY UID"),
            (200, "STUDY UID", "nothing"),
        ] {
            let lines = lines(&table.columns, &table.cells, Some(width));
            assert!(lines.iter().all(|line| crate::table::wide(line) <= width), "{width}: {lines:#?}");
            assert_eq!(lines.len(), 3);
            let heading = lines[0].split_whitespace().collect::<Vec<_>>().join(" ");
            assert!(heading.contains(shown) && !heading.contains(left_out), "{width}: {heading}");
            assert!(lines[2].contains("2 PATIENTS"), "{width}: {}", lines[2]);
        }
        assert!(lines(&table.columns, &table.cells, None)[2].contains("2 PATIENTS, 3 CONFLICTS, complete v2"));
    }

    #[test]
    fn numbers_stand_before_series_and_instances_as_well() {
        assert!(
            Table::of(Level::Series, &[]).columns.len() == 10 && Table::of(Level::Instance, &[]).columns.len() == 9
        );
    }

    #[test]
    fn several_patients_are_seen() {
        let study = FoundStudy { patients: vec![patient("A", 1), patient("B", 2)], ..found() };
        assert_eq!(patient_ids(&study), "2 PATIENTS: A, B");
        assert_eq!(study_object(&study)["patients"][1]["attributes"]["PatientID"], "B");
        assert_eq!(study_object(&study)["patient_id"], "B", "that of most instances");
    }

    #[test]
    fn states_and_names_are_told() {
        let of = |owner, arriving, version| {
            let owners = vec![OwnerVersion { owner, version, root: None }];
            state(&FoundStudy { arriving, owners, ..found() })
        };
        let with = |arriving, version| of(PeerId::of_key(b"owner"), arriving, version);
        assert_eq!(with(true, 0), "arriving");
        assert_eq!(with(true, 1), "complete v1, more arriving");
        assert_eq!((with(false, 0), of(PeerId::SELF, false, 0)), ("not complete".to_owned(), "unstated".to_owned()));
        assert_eq!(person("Doe^Jane^^Dr"), "Doe, Jane Dr");
        assert_eq!(person("=山田^太郎"), "山田, 太郎");
        assert_eq!(person(""), "");
    }
}

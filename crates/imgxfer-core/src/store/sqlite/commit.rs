//! Writing: instances with the sums of their studies, and published versions.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap};

use rusqlite::{CachedStatement, OptionalExtension, Transaction, params};

use super::query::{signed, unsigned};
use crate::clock::UnixSeconds;
use crate::dicom::{Attributes, tags};
use crate::ids::{ManifestRoot, PackId, PeerId, SeriesUid, StudyUid};
use crate::store::{CommitBatch, StoredInstance, recipe};
use crate::units::to_u64;

type Sql<T> = rusqlite::Result<T>;

/// Returns the pack that keeps the batch from being recorded, since it is doomed.
pub(super) fn commit(tx: &Transaction<'_>, batch: &CommitBatch) -> Sql<Option<PackId>> {
    let mut writer = BatchWriter::new(tx, batch)?;
    let mut extents = HashMap::new();
    for instance in &batch.instances {
        if writer.instance(instance)? {
            extend(&mut extents, instance);
        }
    }
    writer.finish()?;
    let mut statement = tx.prepare_cached(
        "INSERT INTO packs (pack, extent) VALUES (?1, ?2)
         ON CONFLICT (pack) DO UPDATE SET extent = max(extent, excluded.extent) WHERE NOT doomed",
    )?;
    for (pack, extent) in extents {
        if statement.execute(params![pack.as_bytes(), signed(extent)])? == 0 {
            return Ok(Some(pack));
        }
    }
    if let Some((pack, end)) = batch.note {
        note(tx, pack, end)?;
    }
    let mut statement = tx.prepare_cached("INSERT OR IGNORE INTO pages (owner, hash, encoded) VALUES (?1, ?2, ?3)")?;
    for (hash, owner, encoded) in &batch.pages {
        statement.execute(params![owner_id(tx, *owner)?, hash.as_bytes(), encoded.as_ref()])?;
    }
    Ok(None)
}

pub(super) fn begin(tx: &Transaction<'_>, owner: PeerId, studies: &[StudyUid], at: UnixSeconds) -> Sql<()> {
    let owner = owner_id(tx, owner)?;
    let mut statement =
        tx.prepare_cached("UPDATE studies SET arriving = arriving + 1, updated = ?3 WHERE owner = ?1 AND uid = ?2")?;
    for study in studies {
        statement.execute(params![owner, study.as_str(), at.0])?;
    }
    Ok(())
}

pub(super) fn end(tx: &Transaction<'_>, owner: PeerId, studies: &[StudyUid]) -> Sql<()> {
    let owner = owner_id(tx, owner)?;
    let mut statement =
        tx.prepare_cached("UPDATE studies SET arriving = arriving - 1 WHERE owner = ?1 AND uid = ?2 AND arriving > 0")?;
    for study in studies {
        statement.execute(params![owner, study.as_str()])?;
    }
    Ok(())
}

/// The notes of a pack are recorded up to `end`.
pub(super) fn note(tx: &Transaction<'_>, pack: PackId, end: u64) -> Sql<()> {
    let mut statement = tx.prepare_cached(
        "INSERT INTO packs (pack, extent, noted) VALUES (?1, ?2, ?2) ON CONFLICT (pack)
         DO UPDATE SET extent = max(extent, excluded.extent), noted = max(noted, excluded.noted), doomed = 0",
    )?;
    statement.execute(params![pack.as_bytes(), signed(end)]).map(drop)
}

pub(super) fn publish(
    tx: &Transaction<'_>,
    owner: PeerId,
    studies: &[StudyUid],
    root: ManifestRoot,
    at: UnixSeconds,
) -> Sql<Vec<u64>> {
    let owner = owner_id(tx, owner)?;
    // In the update every expression sees the row as it was.
    let mut statement = tx.prepare_cached(
        "INSERT INTO studies (owner, uid, version, root, updated) VALUES (?1, ?2, 1, ?3, ?4)
         ON CONFLICT (uid, owner) DO UPDATE SET
             version = version + (root IS NOT excluded.root),
             updated = CASE WHEN root IS NOT excluded.root THEN excluded.updated ELSE updated END,
             root = excluded.root
         RETURNING version",
    )?;
    let mut publish = |study: &StudyUid| {
        statement.query_row(params![owner, study.as_str(), root.as_bytes(), at.0], |row| row.get(0).map(unsigned))
    };
    studies.iter().map(&mut publish).collect::<Sql<_>>()
}

/// The row number of a peer, made when it has none.
fn owner_id(tx: &Transaction<'_>, peer: PeerId) -> Sql<i64> {
    let mut find = tx.prepare_cached("SELECT id FROM owners WHERE peer = ?1")?;
    if let Some(id) = find.query_row([peer.as_bytes()], |row| row.get(0)).optional()? {
        return Ok(id);
    }
    tx.prepare_cached("INSERT INTO owners (peer) VALUES (?1)")?.insert([peer.as_bytes()])
}

fn extend(extents: &mut HashMap<PackId, u64>, instance: &StoredInstance) {
    for chunk in &instance.chunks {
        let end = chunk.record.offset.saturating_add(u64::from(chunk.record.len));
        let extent = extents.entry(chunk.record.pack).or_default();
        *extent = (*extent).max(end);
    }
}

/// Writes the instances of one batch; sums of studies are read once and written once.
struct BatchWriter<'a> {
    tx: &'a Transaction<'a>,
    at: UnixSeconds,
    newest: bool,
    proven: bool,
    add: CachedStatement<'a>,
    heal: CachedStatement<'a>,
    has_other: CachedStatement<'a>,
    contents: CachedStatement<'a>,
    owners: HashMap<PeerId, i64>,
    studies: BTreeMap<(i64, StudyUid), StudySums>,
}

struct StudySums {
    id: i64,
    changed: bool,
    first: Option<Attributes>,
    modalities: BTreeSet<String>,
    series: HashMap<SeriesUid, i64>,
    series_added: u64,
    instances_before: u64,
    instances_added: u64,
    conflicts_added: u64,
    bytes_added: u64,
}

impl<'a> BatchWriter<'a> {
    fn new(tx: &'a Transaction<'a>, batch: &CommitBatch) -> Sql<Self> {
        let CommitBatch { at, newest, proven, .. } = *batch;
        let add = tx.prepare_cached(
            "INSERT INTO instances
                 (study, series, sop_instance, sop_class, transfer_syntax, hash, bytes, committed, recipe)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
             ON CONFLICT (series, sop_instance, hash) DO NOTHING",
        )?;
        let heal = tx.prepare_cached(
            "UPDATE instances SET recipe = ?4, damaged = (damaged AND recipe = ?4 AND NOT ?6)
             WHERE series = ?1 AND sop_instance = ?2 AND hash = ?3 AND (damaged OR ?5)",
        )?;
        let has_other =
            tx.prepare_cached("SELECT 1 FROM instances WHERE study = ?1 AND sop_instance = ?2 AND hash <> ?3")?;
        let contents = tx.prepare_cached(
            "SELECT count(DISTINCT hash), sum(hash = ?3) FROM instances WHERE study = ?1 AND sop_instance = ?2",
        )?;
        Ok(Self {
            tx,
            at,
            newest,
            proven,
            add,
            heal,
            has_other,
            contents,
            owners: HashMap::new(),
            studies: BTreeMap::new(),
        })
    }

    /// Returns whether it stands where the batch says: it was new, or damaged.
    fn instance(&mut self, instance: &StoredInstance) -> Sql<bool> {
        let owner = match self.owners.get(&instance.owner) {
            Some(id) => *id,
            None => owner_id(self.tx, instance.owner)?,
        };
        self.owners.insert(instance.owner, owner);
        let entry = &instance.entry;
        let (tx, at) = (self.tx, self.at);
        let sums = match self.studies.entry((owner, entry.study.clone())) {
            Entry::Occupied(place) => place.into_mut(),
            Entry::Vacant(place) => place.insert(StudySums::load(tx, owner, &entry.study, at)?),
        };
        let series = sums.series(tx, &entry.series)?;
        let sop = entry.sop_instance.as_str();
        let added = self.add.execute(params![
            sums.id,
            series,
            sop,
            entry.sop_class.as_ref().map_or("", |u| u.as_str()),
            entry.transfer_syntax.as_ref().map_or("", |u| u.as_str()),
            entry.hash.as_bytes(),
            signed(entry.len),
            at.0,
            recipe::encode(instance),
        ])?;
        if added == 0 {
            let healed =
                params![series, sop, entry.hash.as_bytes(), recipe::encode(instance), self.newest, self.proven];
            return Ok(self.heal.execute(healed)? > 0);
        }
        // A second content makes a conflict; a third makes no further one. The new row is counted.
        let key = params![sums.id, sop, entry.hash.as_bytes()];
        if self.has_other.exists(key)? {
            let (hashes, same): (i64, i64) = self.contents.query_row(key, |row| Ok((row.get(0)?, row.get(1)?)))?;
            sums.conflicts_added += u64::from(hashes == 2 && same == 1);
        }
        sums.add(instance);
        Ok(true)
    }

    fn finish(self) -> Sql<()> {
        for sums in self.studies.values().filter(|s| s.changed) {
            sums.store(self.tx, self.at)?;
        }
        Ok(())
    }
}

impl StudySums {
    fn load(tx: &Transaction<'_>, owner: i64, study: &StudyUid, at: UnixSeconds) -> Sql<Self> {
        let mut find =
            tx.prepare_cached("SELECT id, modalities, instance_count FROM studies WHERE uid = ?1 AND owner = ?2")?;
        let row: Option<(i64, String, i64)> = find
            .query_row(params![study.as_str(), owner], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
            .optional()?;
        let (id, modalities, instances) = match row {
            Some(row) => row,
            None => {
                let mut add = tx.prepare_cached("INSERT INTO studies (owner, uid, updated) VALUES (?1, ?2, ?3)")?;
                (add.insert(params![owner, study.as_str(), at.0])?, String::new(), 0)
            }
        };
        Ok(Self {
            id,
            changed: false,
            first: None,
            modalities: modalities.split('\\').filter(|m| !m.is_empty()).map(str::to_owned).collect(),
            series: HashMap::new(),
            series_added: 0,
            instances_before: unsigned(instances),
            instances_added: 0,
            conflicts_added: 0,
            bytes_added: 0,
        })
    }

    /// The row number of a series, made when it has none.
    fn series(&mut self, tx: &Transaction<'_>, series: &SeriesUid) -> Sql<i64> {
        if let Some(id) = self.series.get(series) {
            return Ok(*id);
        }
        let key = params![self.id, series.as_str()];
        let mut find = tx.prepare_cached("SELECT id FROM series WHERE study = ?1 AND uid = ?2")?;
        let id = match find.query_row(key, |row| row.get(0)).optional()? {
            Some(id) => id,
            None => {
                self.series_added += 1;
                tx.prepare_cached("INSERT INTO series (study, uid) VALUES (?1, ?2)")?.insert(key)?
            }
        };
        self.series.insert(series.clone(), id);
        Ok(id)
    }

    fn add(&mut self, instance: &StoredInstance) {
        if self.instances_before == 0 && self.first.is_none() {
            self.first = Some(instance.attributes.clone());
        }
        let modality = instance.attributes.get(tags::MODALITY);
        if !modality.is_empty() && !self.modalities.contains(modality) {
            self.modalities.insert(modality.to_owned());
        }
        self.changed = true;
        self.instances_added += 1;
        self.bytes_added = self.bytes_added.saturating_add(instance.entry.len);
    }

    fn store(&self, tx: &Transaction<'_>, at: UnixSeconds) -> Sql<()> {
        let modalities: Vec<_> = self.modalities.iter().map(String::as_str).collect();
        tx.prepare_cached(
            "UPDATE studies SET modalities = ?2, series_count = series_count + ?3,
                 instance_count = instance_count + ?4, conflict_count = conflict_count + ?5,
                 bytes = bytes + ?6, updated = ?7
             WHERE id = ?1",
        )?
        .execute(params![
            self.id,
            modalities.join("\\"),
            signed(self.series_added),
            signed(self.instances_added),
            signed(self.conflicts_added),
            signed(self.bytes_added),
            at.0,
        ])?;
        let Some(first) = &self.first else {
            return Ok(());
        };
        tx.prepare_cached(
            "UPDATE studies SET patient_id = ?2, patient_name = ?3, accession_number = ?4, study_date = ?5,
                 study_time = ?6, study_description = ?7, modality = ?8, series_description = ?9,
                 series_number = ?10, instance_number = ?11
             WHERE id = ?1",
        )?
        .execute(params![
            self.id,
            first.get(tags::PATIENT_ID),
            first.get(tags::PATIENT_NAME),
            first.get(tags::ACCESSION_NUMBER),
            first.get(tags::STUDY_DATE),
            first.get(tags::STUDY_TIME),
            first.get(tags::STUDY_DESCRIPTION),
            first.get(tags::MODALITY),
            first.get(tags::SERIES_DESCRIPTION),
            first.get(tags::SERIES_NUMBER),
            first.get(tags::INSTANCE_NUMBER),
        ])?;
        debug_assert!(to_u64(self.series.len()) >= self.series_added, "each new series is remembered");
        Ok(())
    }
}

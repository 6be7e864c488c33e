//! Writing: instances with the sums of their studies, and published versions.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap};

use rusqlite::{CachedStatement, OptionalExtension, Transaction, params};

use super::arrivals::{self, Arrivals};
use super::contents::{Contents, Step};
use super::known::Known;
use super::query::{signed, unsigned};
use super::removals::{self, Removals};
use super::{packs, refill, refresh};
use crate::clock::UnixSeconds;
use crate::dicom::{Attributes, CATALOGUE_VERSION};
use crate::ids::{PackId, PeerId, SeriesUid, StudyUid};
use crate::store::{CommitBatch, Publication, RecordAt, StoredInstance, recipe, summary};
use crate::units::to_u32;

pub(super) type Sql<T> = rusqlite::Result<T>;

/// What came of a batch.
pub(super) enum Committed {
    /// It is recorded; these instances are not the only content of their SOP Instance UID.
    Done(Vec<usize>),
    /// It is not, since this pack is doomed.
    Doomed(PackId),
}

pub(super) fn commit(tx: &Transaction<'_>, batch: &CommitBatch) -> Sql<Committed> {
    let mut writer = BatchWriter::new(tx, batch)?;
    let (mut extents, mut slow) = (HashMap::new(), BTreeMap::new());
    for (place, instance) in batch.instances.iter().enumerate() {
        if writer.instance(place, instance)? {
            extend(&mut extents, instance);
            let packs: BTreeSet<PackId> = instance.chunks.iter().map(|chunk| chunk.record.pack).collect();
            packs.into_iter().filter(|_| instance.slow).for_each(|pack| *slow.entry(pack).or_default() += 1);
        }
    }
    let (contended, wasted) = writer.finish()?;
    let mut statement = tx.prepare_cached(
        "INSERT INTO packs (pack, extent) VALUES (?1, ?2)
         ON CONFLICT (pack) DO UPDATE SET extent = max(extent, excluded.extent) WHERE NOT doomed",
    )?;
    for (pack, extent) in extents {
        if statement.execute(params![pack.as_bytes(), signed(extent)])? == 0 {
            return Ok(Committed::Doomed(pack));
        }
    }
    if let Some((pack, end)) = batch.note {
        note(tx, pack, end)?;
    }
    packs::waste(tx, wasted.iter())?;
    packs::add_slow(tx, &slow)?;
    let mut statement = tx.prepare_cached("INSERT OR IGNORE INTO pages (owner, hash, encoded) VALUES (?1, ?2, ?3)")?;
    for (hash, owner, encoded) in &batch.pages {
        statement.execute(params![owner_id(tx, *owner)?, hash.as_bytes(), encoded.as_ref()])?;
    }
    Ok(Committed::Done(contended))
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

pub(super) fn publish(tx: &Transaction<'_>, publication: &Publication) -> Sql<Vec<u64>> {
    let owner = owner_id(tx, publication.owner)?;
    // In the update every expression sees the row as it was.
    let mut statement = tx.prepare_cached(
        "INSERT INTO studies (owner, uid, version, root, published, first, updated) VALUES (?1, ?2, 1, ?3, ?5, ?5, ?4)
         ON CONFLICT (uid, owner) DO UPDATE SET
             version = version + (root IS NOT excluded.root),
             updated = CASE WHEN root IS NOT excluded.root THEN excluded.updated ELSE updated END,
             root = excluded.root,
             published = excluded.published
         WHERE published <= excluded.published
         RETURNING id, version",
    )?;
    let mut versions = Vec::with_capacity(publication.studies.len());
    for (place, study) in publication.studies.iter().enumerate() {
        if removals::is_gone(tx, owner, study, publication.order)? {
            versions.push(0);
            continue;
        }
        let row =
            params![owner, study.as_str(), publication.root.as_bytes(), publication.at.0, signed(publication.order.0)];
        let columns = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?));
        let (id, version): (i64, i64) = match statement.query_row(row, columns).optional()? {
            Some(published) => published,
            // A later one is published already.
            None => tx
                .prepare_cached("SELECT id, version FROM studies WHERE owner = ?1 AND uid = ?2")?
                .query_row(params![owner, study.as_str()], columns)?,
        };
        versions.push(unsigned(version));
        share(tx, study)?;
        let stated: Vec<_> =
            publication.stated.iter().filter(|(of, _)| *of == to_u32(place)).map(|(_, hash)| *hash).collect();
        let step = Contents::new(tx)?.state(id, &stated, publication.order)?;
        if !stated.is_empty() {
            refresh::study(tx, id, &step, publication.at)?;
        }
    }
    Ok(versions)
}

/// Marks a study that several owners have: what is found of one row need not be all that is so of the study.
fn share(tx: &Transaction<'_>, study: &StudyUid) -> Sql<()> {
    let mut mark = tx.prepare_cached(
        "UPDATE studies SET shared = 1
         WHERE uid = ?1 AND NOT shared AND (SELECT count(*) FROM studies others WHERE others.uid = ?1) > 1",
    )?;
    mark.execute([study.as_str()]).map(drop)
}

/// The row number of a peer, made when it has none.
pub(super) fn owner_id(tx: &Transaction<'_>, peer: PeerId) -> Sql<i64> {
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

/// Writes the instances of one batch; what studies add up to is read once and written once.
struct BatchWriter<'a> {
    tx: &'a Transaction<'a>,
    batch: &'a CommitBatch,
    add: CachedStatement<'a>,
    arrivals: Option<Arrivals<'a>>,
    contents: Contents<'a>,
    owners: HashMap<PeerId, i64>,
    studies: BTreeMap<(i64, StudyUid), StudyWriter>,
    contended: Vec<usize>,
    /// Records of instances that were removed already, and of those that stand elsewhere now.
    wasted: BTreeSet<RecordAt>,
}

/// A study that a batch adds to.
struct StudyWriter {
    id: i64,
    removals: Removals,
    series: HashMap<SeriesUid, i64>,
    headers: HashMap<(i64, Attributes), i64>,
    /// The packs that instances of the batch stand in.
    packs: BTreeSet<PackId>,
    step: Step,
    /// Whether instances that were there have new attributes.
    refilled: bool,
    /// Whether one that was there came earlier than was known.
    came_earlier: bool,
}

impl<'a> BatchWriter<'a> {
    fn new(tx: &'a Transaction<'a>, batch: &'a CommitBatch) -> Sql<Self> {
        let add = tx.prepare_cached(
            "INSERT INTO instances
                 (study, series, header, sop_instance, hash, content, transfer_syntax, bytes, committed, ordered,
                  current, cut, catalogue, recipe)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, 1, ?11, ?12, ?13)
             ON CONFLICT (series, sop_instance, hash) DO NOTHING",
        )?;
        let arrivals = batch.provenance.as_ref().map(|provenance| Arrivals::new(tx, provenance)).transpose()?;
        let contents = Contents::new(tx)?;
        let (owners, studies, contended, wasted) = Default::default();
        Ok(Self { tx, batch, add, arrivals, contents, owners, studies, contended, wasted })
    }

    /// Returns whether it stands where the batch says: it was new, or damaged.
    fn instance(&mut self, place: usize, instance: &StoredInstance) -> Sql<bool> {
        let owner = match self.owners.get(&instance.owner) {
            Some(id) => *id,
            None => owner_id(self.tx, instance.owner)?,
        };
        self.owners.insert(instance.owner, owner);
        let entry = &instance.entry;
        let tx = self.tx;
        let study = match self.studies.entry((owner, entry.study.clone())) {
            Entry::Occupied(place) => place.into_mut(),
            Entry::Vacant(place) => place.insert(StudyWriter::load(tx, owner, instance, self.batch.at)?),
        };
        if study.removals.include(instance) {
            self.wasted.extend(instance.chunks.iter().map(|chunk| chunk.record));
            return Ok(false);
        }
        let series = study.series(tx, &entry.series)?;
        let (shared, own) = summary::divide(instance);
        let header = study.header(tx, series, shared)?;
        let sop = entry.sop_instance.as_str();
        let recipe = recipe::encode_with(instance, &own);
        let added = self.add.execute(params![
            study.id,
            series,
            header,
            sop,
            entry.hash.as_bytes(),
            entry.content_id().as_bytes(),
            entry.transfer_syntax.as_ref().map_or("", |u| u.as_str()),
            signed(entry.len),
            self.batch.at.0,
            signed(instance.order.0),
            instance.cut,
            instance.catalogue,
            recipe,
        ])?;
        let (id, stands) = if added > 0 {
            let id = tx.last_insert_rowid();
            let alone = self.contents.add(study.id, header, instance, &mut study.step)?;
            if !alone {
                self.contended.push(place);
            }
            (id, true)
        } else {
            if !self.contents.is_alone(study.id, sop)? {
                self.contended.push(place);
            }
            let mut known = Known::of(tx, series, instance)?;
            let stands = known.heal(instance, self.batch.newest, self.batch.proven, &mut self.wasted);
            study.refilled |= instance.catalogue == CATALOGUE_VERSION && !known.is_fresh() && {
                known.refill(&own, instance.frames.as_ref(), header);
                true
            };
            known.write(tx)?;
            (known.id, stands)
        };
        if stands {
            study.packs.extend(instance.chunks.iter().map(|chunk| chunk.record.pack));
        }
        if let Some(arrivals) = self.arrivals.as_mut().filter(|_| instance.owner == PeerId::SELF) {
            study.came_earlier |= arrivals.note(study.id, id, (added > 0).then_some(instance), self.batch.at)?;
        }
        Ok(stands)
    }

    fn finish(self) -> Sql<(Vec<usize>, BTreeSet<RecordAt>)> {
        for study in self.studies.values() {
            packs::uses(self.tx, study.id, &study.packs)?;
        }
        for study in self.studies.values().filter(|study| study.refilled) {
            refill::settle(self.tx, study.id)?;
        }
        for study in self.studies.values().filter(|study| study.came_earlier) {
            arrivals::recount(self.tx, study.id)?;
        }
        for study in self.studies.values().filter(|study| study.step.is_change()) {
            refresh::study(self.tx, study.id, &study.step, self.batch.at)?;
        }
        Ok((self.contended, self.wasted))
    }
}

impl StudyWriter {
    fn load(tx: &Transaction<'_>, owner: i64, instance: &StoredInstance, at: UnixSeconds) -> Sql<Self> {
        let study = &instance.entry.study;
        let removals = Removals::of(tx, owner, study)?;
        let mut find = tx.prepare_cached("SELECT id FROM studies WHERE uid = ?1 AND owner = ?2")?;
        let id = match find.query_row(params![study.as_str(), owner], |row| row.get(0)).optional()? {
            Some(id) => id,
            // What was removed makes no study.
            None if removals.include(instance) => 0,
            None => {
                let mut add =
                    tx.prepare_cached("INSERT INTO studies (owner, uid, first, updated) VALUES (?1, ?2, ?3, ?4)")?;
                let id = add.insert(params![owner, study.as_str(), signed(instance.order.0), at.0])?;
                share(tx, study)?;
                id
            }
        };
        let (series, headers, packs, step, refilled, came_earlier) = Default::default();
        Ok(Self { id, removals, series, headers, packs, step, refilled, came_earlier })
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
            None => tx.prepare_cached("INSERT INTO series (study, uid) VALUES (?1, ?2)")?.insert(key)?,
        };
        self.series.insert(series.clone(), id);
        Ok(id)
    }

    /// The row number of what instances share, made when it has none.
    fn header(&mut self, tx: &Transaction<'_>, series: i64, shared: Attributes) -> Sql<i64> {
        let key = (series, shared);
        if let Some(id) = self.headers.get(&key) {
            return Ok(*id);
        }
        let id = header_id(tx, self.id, series, &key.1)?;
        self.headers.insert(key, id);
        Ok(id)
    }
}

/// The row number of what instances of a series share, made when it has none.
pub(super) fn header_id(tx: &Transaction<'_>, study: i64, series: i64, shared: &Attributes) -> Sql<i64> {
    let mut encoded = Vec::new();
    recipe::put_attributes(&mut encoded, shared);
    let digest = blake3::hash(&encoded);
    let digest = &digest.as_bytes()[..16];
    let mut find = tx.prepare_cached("SELECT id FROM headers WHERE series = ?1 AND digest = ?2")?;
    if let Some(id) = find.query_row(params![series, digest], |row| row.get(0)).optional()? {
        return Ok(id);
    }
    tx.prepare_cached("INSERT INTO headers (study, series, digest, attributes) VALUES (?1, ?2, ?3, ?4)")?
        .insert(params![study, series, digest, encoded])
}

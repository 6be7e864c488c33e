//! Properties of what is kept in bytes: it reads back, and no bytes at all make a reader panic.

use imgxfer_core::chunk::ChunkClass;
use imgxfer_core::clock::UnixSeconds;
use imgxfer_core::dicom::{Attributes, FrameTable, tags};
use imgxfer_core::ids::{
    ChunkId, InstanceHash, ManifestRoot, PackId, SeriesUid, SopInstanceUid, StandardUid, StudyUid,
};
use imgxfer_core::manifest::{ChunkEntry, InstanceEntry};
use imgxfer_core::store::fs::{PACK_HEADER_BYTES, PackHeader};
use imgxfer_core::store::{
    ChunkAt, MemRecords, Note, Order, Provenance, Publication, RecordAt, RecordStore, Removal, StoredInstance, What,
    note, recipe,
};
use imgxfer_core::testing::{noise, peer, record_of};
use proptest::collection::vec;
use proptest::prelude::*;

fn uid() -> impl Strategy<Value = String> {
    "[1-9][0-9]{0,8}(\\.[0-9]{1,9}){0,4}"
}

fn attributes() -> impl Strategy<Value = Attributes> {
    vec(".{0,40}", 10).prop_map(|texts| {
        let fields = [
            tags::PATIENT_ID,
            tags::PATIENT_NAME,
            tags::ACCESSION_NUMBER,
            tags::STUDY_DATE,
            tags::STUDY_TIME,
            tags::STUDY_DESCRIPTION,
            tags::MODALITY,
            tags::SERIES_DESCRIPTION,
            tags::SERIES_NUMBER,
            tags::INSTANCE_NUMBER,
        ];
        fields.into_iter().zip(texts).collect()
    })
}

fn frames() -> impl Strategy<Value = Option<FrameTable>> {
    let native = (0u64..1 << 40, 1u64..1 << 30, 1u32..1000);
    let encapsulated = (any::<u32>(), vec(8u64..70_000, 1..20));
    prop_oneof![
        Just(None),
        native.prop_map(|(offset, bits, count)| FrameTable::native(offset, bits, count)),
        encapsulated.prop_map(|(first, lengths)| {
            let end = |frames: usize| u64::from(first) + lengths[..frames].iter().sum::<u64>();
            FrameTable::encapsulated((0..lengths.len()).map(end).collect(), end(lengths.len()))
        }),
    ]
}

fn provenance() -> impl Strategy<Value = Option<Provenance>> {
    let about = vec(("[a-z]{1,12}", ".{0,40}"), 0..=16);
    proptest::option::of((".{0,60}", about).prop_map(|(source, about)| Provenance { source, about }))
}

fn chunk() -> impl Strategy<Value = (ChunkEntry, ChunkAt)> {
    (1u32..=1 << 20, any::<[u8; 32]>(), 0u8..4, 0u8..4, any::<u64>(), any::<u32>(), any::<u16>()).prop_map(
        |(len, id, class, pack, offset, record_len, slot)| {
            let class = ChunkClass::from_byte(class).unwrap();
            let record = RecordAt { pack: PackId::from_bytes([pack; 16]), offset, len: record_len };
            (ChunkEntry { id: ChunkId::from_bytes(id), len, class }, ChunkAt { record, slot })
        },
    )
}

prop_compose! {
    fn stored()(
        uids in [uid(), uid(), uid(), uid()],
        known in any::<bool>(),
        name in vec(any::<u8>(), 0..=255),
        hash in any::<[u8; 32]>(),
        pairs in vec(chunk(), 0..20),
        attributes in attributes(),
        frames in frames(),
        cut in any::<bool>(),
        order in 0u64..1 << 40,
        catalogue in any::<u16>(),
    ) -> StoredInstance {
        let (entries, chunks): (Vec<_>, Vec<_>) = pairs.into_iter().unzip();
        let standard = || known.then(|| StandardUid::new(&uids[3]).unwrap());
        let entry = InstanceEntry {
            study: StudyUid::new(&uids[0]).unwrap(),
            series: SeriesUid::new(&uids[1]).unwrap(),
            sop_instance: SopInstanceUid::new(&uids[2]).unwrap(),
            sop_class: standard(),
            transfer_syntax: standard(),
            name,
            len: entries.iter().map(|c: &ChunkEntry| u64::from(c.len)).sum(),
            hash: InstanceHash::from_bytes(hash),
            chunks: entries,
        };
        let order = Order(order);
        StoredInstance { frames, cut, order, catalogue, ..StoredInstance::new(peer(1), entry, chunks, attributes) }
    }
}

prop_compose! {
    fn publication()(
        studies in vec(uid(), 1..5),
        root in any::<[u8; 32]>(),
        at in any::<i64>(),
        order in any::<u64>(),
        stated in vec((any::<proptest::sample::Index>(), any::<[u8; 32]>()), 0..20),
    ) -> Publication {
        let place = |at: proptest::sample::Index| u32::try_from(at.index(studies.len())).unwrap();
        Publication {
            owner: peer(1),
            root: ManifestRoot::from_bytes(root),
            at: UnixSeconds(at),
            order: Order(order),
            stated: stated.into_iter().map(|(at, hash)| (place(at), InstanceHash::from_bytes(hash))).collect(),
            studies: studies.iter().map(|uid| StudyUid::new(uid).unwrap()).collect(),
        }
    }
}

prop_compose! {
    fn removal()(
        study in uid(),
        hashes in proptest::option::of(vec(any::<[u8; 32]>(), 0..20)),
        at in any::<i64>(),
        order in any::<u64>(),
    ) -> Removal {
        let contents = |hashes: Vec<_>| What::Contents(hashes.into_iter().map(InstanceHash::from_bytes).collect());
        Removal {
            owner: peer(1),
            study: StudyUid::new(&study).unwrap(),
            what: hashes.map_or(What::All, contents),
            at: UnixSeconds(at),
            order: Order(order),
        }
    }
}

proptest! {
    #[test]
    fn recipes_read_back(instance in stored()) {
        let bytes = recipe::encode(&instance);
        // Its place in the order of things is told by the note that it stands in.
        let read = StoredInstance { order: instance.order, ..recipe::decode(peer(1), &bytes).unwrap() };
        prop_assert_eq!(read, instance);
    }

    #[test]
    fn notes_of_commits_read_back(
        mut instances in vec(stored(), 1..6),
        follows in vec(any::<bool>(), 6),
        provenance in provenance(),
        at in any::<i64>(),
    ) {
        for place in 1..instances.len() {
            if follows[place] {
                instances[place].order = Order(instances[place - 1].order.0 + 1);
            }
        }
        let mut read = Vec::new();
        for bytes in note::committed(peer(1), UnixSeconds(at), provenance.as_ref(), &instances) {
            prop_assert!(Note::decode(&bytes[..bytes.len() - 1]).is_err());
            match Note::decode(&bytes).unwrap() {
                Note::Committed { at: when, provenance: from, instances } => {
                    prop_assert_eq!((when, &from), (UnixSeconds(at), &provenance));
                    read.extend(instances);
                }
                other => prop_assert!(false, "{:?}", other),
            }
        }
        prop_assert_eq!(read, instances);
    }

    #[test]
    fn notes_of_publications_and_removals_read_back(publication in publication(), removal in removal()) {
        prop_assert_eq!(Note::decode(&note::published(&publication)), Ok(Note::Published(publication)));
        prop_assert_eq!(Note::decode(&note::removed(&removal)), Ok(Note::Removed(removal)));
    }

    #[test]
    fn provenances_read_back(provenance in provenance(), place in any::<proptest::sample::Index>(), flip in 1u8..) {
        let Some(provenance) = provenance else { return Ok(()) };
        let mut bytes = provenance.encode();
        prop_assert_eq!(Provenance::decode(&bytes), Ok(provenance));
        let cut = place.index(bytes.len());
        prop_assert!(Provenance::decode(&bytes[..cut]).is_err());
        bytes[cut] ^= flip;
        if let Ok(other) = Provenance::decode(&bytes) {
            prop_assert_eq!(other.encode(), bytes);
        }
    }

    #[test]
    fn recipes_have_one_encoding(instance in stored(), place in any::<proptest::sample::Index>(), flip in 1u8..) {
        let mut bytes = recipe::encode(&instance);
        let cut = place.index(bytes.len());
        prop_assert!(recipe::decode(peer(1), &bytes[..cut]).is_err());
        bytes[cut] ^= flip;
        // Whatever is accepted is exactly what would have been written.
        if let Ok(other) = recipe::decode(peer(1), &bytes) {
            prop_assert_eq!(recipe::encode(&other), bytes);
        }
    }

    #[test]
    fn any_bytes_can_be_tried_as_a_recipe_or_header(bytes in vec(any::<u8>(), 0..400), header in any::<[u8; 32]>()) {
        prop_assert!(recipe::decode(peer(1), &bytes).is_err());
        let mut whole = [0; PACK_HEADER_BYTES];
        whole[..32].copy_from_slice(&header);
        prop_assert!(PackHeader::decode(&whole).is_err());
    }

    #[test]
    fn any_bytes_can_be_scanned(
        before in 0u64..4,
        rubbish in vec(any::<u8>(), 0..300),
        magic in any::<bool>(),
        check in any::<bool>(),
    ) {
        let mut bytes = Vec::new();
        let mut whole = 0;
        for i in 0..before {
            bytes.extend_from_slice(record_of(&[&noise(i, 200)]).bytes());
            whole = bytes.len();
        }
        if magic {
            bytes.extend_from_slice(b"IXR1");
        }
        bytes.extend_from_slice(&rubbish);
        let store = MemRecords::default();
        let id = PackId::from_bytes([1; 16]);
        store.insert_pack(id, peer(1), UnixSeconds(0), bytes);
        let mut seen = 0;
        if let Ok(end) = store.scan(id, check, &mut |_, _| seen += 1) {
            prop_assert!(end >= u64::try_from(whole).unwrap());
            prop_assert!(seen >= before);
        }
    }
}

#[test]
fn long_provenances_are_cut_between_characters() {
    let long = || "\u{20ac}".repeat(30_000);
    let provenance = Provenance { source: long(), about: vec![(long(), long()); 300] };
    let instance = imgxfer_core::testing::Sample::new(peer(1), 1, 1, 1, 10).stored();
    let notes = note::committed(peer(1), UnixSeconds(0), Some(&provenance), std::slice::from_ref(&instance));
    let cut = "\u{20ac}".repeat(333);
    let expected = Provenance { source: cut.clone(), about: vec![(cut.clone(), cut); 16] };
    assert_eq!(
        Note::decode(&notes[0]),
        Ok(Note::Committed { at: UnixSeconds(0), provenance: Some(expected), instances: vec![instance] })
    );
    // What is never written is not read.
    let text = |len: u16| [&len.to_le_bytes()[..], &vec![b'a'; usize::from(len)]].concat();
    assert!(Provenance::decode(&[text(1_000), vec![0]].concat()).is_ok());
    assert!(Provenance::decode(&[text(1_001), vec![0]].concat()).is_err());
    assert!(Provenance::decode(&[text(1), vec![17], vec![0; 4 * 17]].concat()).is_err());
}

#[test]
fn long_attributes_are_cut_between_characters() {
    let mut instance = imgxfer_core::testing::Sample::new(peer(1), 1, 1, 1, 10).stored();
    instance.attributes.set(tags::STUDY_DESCRIPTION, "\u{20ac}".repeat(30_000));
    let read = recipe::decode(peer(1), &recipe::encode(&instance)).unwrap();
    assert_eq!(read.attributes.get(tags::STUDY_DESCRIPTION), "\u{20ac}".repeat(21_845));
}

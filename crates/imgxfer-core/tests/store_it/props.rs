//! Properties of what is kept in bytes: it reads back, and no bytes at all make a reader panic.

use imgxfer_core::chunk::ChunkClass;
use imgxfer_core::clock::UnixSeconds;
use imgxfer_core::dicom::{Attributes, tags};
use imgxfer_core::ids::{ChunkId, InstanceHash, PackId, SeriesUid, SopInstanceUid, StandardUid, StudyUid};
use imgxfer_core::manifest::{ChunkEntry, InstanceEntry};
use imgxfer_core::store::fs::{PACK_HEADER_BYTES, PackHeader};
use imgxfer_core::store::{ChunkAt, MemRecords, RecordAt, RecordStore, StoredInstance, recipe};
use imgxfer_core::testing::{noise, peer, record_of};
use proptest::collection::vec;
use proptest::prelude::*;

fn uid() -> impl Strategy<Value = String> {
    "[1-9][0-9]{0,8}(\\.[0-9]{1,9}){0,4}"
}

fn attributes() -> impl Strategy<Value = Attributes> {
    vec(".{0,40}", 10).prop_map(|texts| {
        let mut attributes = Attributes::default();
        let fields = [
            &mut attributes.get(tags::PATIENT_ID),
            &mut attributes.get(tags::PATIENT_NAME),
            &mut attributes.get(tags::ACCESSION_NUMBER),
            &mut attributes.get(tags::STUDY_DATE),
            &mut attributes.get(tags::STUDY_TIME),
            &mut attributes.get(tags::STUDY_DESCRIPTION),
            &mut attributes.get(tags::MODALITY),
            &mut attributes.get(tags::SERIES_DESCRIPTION),
            &mut attributes.get(tags::SERIES_NUMBER),
            &mut attributes.get(tags::INSTANCE_NUMBER),
        ];
        for (field, text) in fields.into_iter().zip(texts) {
            *field = text;
        }
        attributes
    })
}

fn chunk() -> impl Strategy<Value = (ChunkEntry, ChunkAt)> {
    (1u32..=1 << 20, any::<[u8; 32]>(), 0u8..3, 0u8..4, any::<u64>(), any::<u32>(), any::<u16>()).prop_map(
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
        StoredInstance { owner: peer(1), entry, chunks, attributes }
    }
}

proptest! {
    #[test]
    fn recipes_read_back(instance in stored()) {
        let bytes = recipe::encode(&instance);
        prop_assert_eq!(recipe::decode(peer(1), &bytes).unwrap(), instance);
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
fn long_attributes_are_cut_between_characters() {
    let mut instance = imgxfer_core::testing::Sample::new(peer(1), 1, 1, 1, 10).stored();
    instance.attributes.get(tags::STUDY_DESCRIPTION) = "\u{20ac}".repeat(30_000);
    let read = recipe::decode(peer(1), &recipe::encode(&instance)).unwrap();
    assert_eq!(read.attributes.get(tags::STUDY_DESCRIPTION), "\u{20ac}".repeat(21_845));
}

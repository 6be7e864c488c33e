//! Properties of the encodings: what goes in comes out, and nothing else is taken.

use imgxfer_core::chunk::ChunkClass;
use imgxfer_core::codec::{Codec, CodecId, Level, PixelShape, Registry};
use imgxfer_core::ids::{ChunkId, InstanceHash, SeriesUid, SopInstanceUid, StandardUid, StudyUid};
use imgxfer_core::manifest::{ChunkEntry, InstanceEntry, Page, PageBuilder};
use imgxfer_core::proto::Bitmap;
use imgxfer_core::wire::record::{Record, RecordChunk};
use proptest::collection::vec;
use proptest::prelude::*;

fn class() -> impl Strategy<Value = ChunkClass> {
    prop_oneof![Just(ChunkClass::Header), Just(ChunkClass::Pixels), Just(ChunkClass::Opaque)]
}

fn uid() -> impl Strategy<Value = String> {
    "[0-2]\\.(0|[1-9][0-9]{0,9})(\\.(0|[1-9][0-9]{0,9})){0,4}"
}

prop_compose! {
    fn instance()(
        uids in [uid(), uid(), uid()],
        standard in [proptest::option::of(uid()), proptest::option::of(uid())],
        name in vec(any::<u8>(), 0..256),
        hash in any::<[u8; 32]>(),
        chunks in vec((any::<[u8; 32]>(), 1u32..=1 << 20, class()), 0..6),
    ) -> InstanceEntry {
        let chunks: Vec<_> =
            chunks.into_iter().map(|(id, len, class)| ChunkEntry { id: ChunkId::from_bytes(id), len, class }).collect();
        let standard = standard.map(|uid| uid.map(|uid| StandardUid::new(&uid).unwrap()));
        let [sop_class, transfer_syntax] = standard;
        InstanceEntry {
            study: StudyUid::new(&uids[0]).unwrap(),
            series: SeriesUid::new(&uids[1]).unwrap(),
            sop_instance: SopInstanceUid::new(&uids[2]).unwrap(),
            sop_class,
            transfer_syntax,
            name,
            len: chunks.iter().map(|c| u64::from(c.len)).sum(),
            hash: InstanceHash::from_bytes(hash),
            chunks,
        }
    }
}

fn page() -> impl Strategy<Value = Page> {
    vec(instance(), 1..5).prop_map(|instances| Page { instances })
}

fn codecs() -> Vec<CodecId> {
    Registry::default().ids()
}

/// A shape that fits pixels of any kind, or none.
fn shape() -> impl Strategy<Value = Option<PixelShape>> {
    let bits = prop_oneof![Just(1u16), Just(8), Just(16), Just(32), Just(64)];
    let shape = (1u32..40, 1u32..40, 1u16..5, bits, 1u16..65, any::<[bool; 3]>());
    proptest::option::of(shape.prop_map(|(rows, columns, samples, bits_allocated, stored, [signed, planar, big])| {
        let bits_stored = stored.min(bits_allocated);
        let high_bit = bits_stored - 1;
        PixelShape { rows, columns, samples, bits_allocated, bits_stored, high_bit, signed, planar, big_endian: big }
    }))
}

/// Bytes that look like pixels now and then, so that codecs do their work.
fn raw() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        vec(any::<u8>(), 1..3000),
        vec(0u8..4, 1..3000),
        (any::<u16>(), 1usize..2000).prop_map(|(start, len)| {
            (0..len).flat_map(|n| (start.wrapping_add(n as u16 / 3) & 0x0fff).to_le_bytes()).collect()
        }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_page_comes_back(page in page()) {
        let encoded = page.encode();
        prop_assert_eq!(6 + page.instances.iter().map(InstanceEntry::encoded_len).sum::<usize>(), encoded.len());
        prop_assert_eq!(Page::decode(&encoded), Ok(page));
    }

    #[test]
    fn a_page_has_one_encoding(page in page(), at in any::<prop::sample::Index>(), bit in 0..8u8, cut in any::<bool>()) {
        let mut bytes = page.encode();
        let at = at.index(bytes.len());
        if cut { bytes.truncate(at) } else { bytes[at] ^= 1 << bit }
        // Either it is refused, or it is the one encoding of another page.
        if let Ok(other) = Page::decode(&bytes) {
            prop_assert!(!cut && other != page);
            prop_assert_eq!(other.encode(), bytes);
        }
    }

    #[test]
    fn bytes_behind_a_page_are_refused(page in page(), more in vec(any::<u8>(), 1..50)) {
        prop_assert!(Page::decode(&[page.encode(), more].concat()).is_err());
    }

    #[test]
    fn any_bytes_as_a_page(bytes in vec(any::<u8>(), 0..600)) {
        for bytes in [bytes.clone(), [b"IXM1".to_vec(), bytes].concat()] {
            if let Ok(page) = Page::decode(&bytes) {
                prop_assert_eq!(page.encode(), bytes);
            }
        }
    }

    #[test]
    fn a_record_comes_back(chunks in vec(vec(any::<u8>(), 1..200), 1..10), class in class(), codec in any::<u8>()) {
        let list: Vec<_> =
            chunks.iter().map(|c| RecordChunk { id: ChunkId::of(c), len: u32::try_from(c.len()).unwrap() }).collect();
        let payload = chunks.concat();
        let record = Record::encode(CodecId(codec), class, &list, &payload);
        let again = Record::decode(record.bytes().clone()).unwrap();
        prop_assert_eq!(&again, &record);
        prop_assert_eq!((&again.header().chunks, again.header().class, again.header().codec), (&list, class, CodecId(codec)));
        prop_assert_eq!(again.payload(), payload);
        prop_assert_eq!(again.header().record_len() as usize, record.bytes().len());
    }

    #[test]
    fn a_damaged_record_is_none(chunk in vec(any::<u8>(), 1..300), at in any::<prop::sample::Index>(), bit in 0..8u8) {
        let list = [RecordChunk { id: ChunkId::of(&chunk), len: u32::try_from(chunk.len()).unwrap() }];
        let mut bytes = Record::encode(CodecId::STORE, ChunkClass::Pixels, &list, &chunk).bytes().to_vec();
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        prop_assert!(Record::decode(bytes.clone().into()).is_err());
        bytes.truncate(at);
        prop_assert!(Record::decode(bytes.into()).is_err());
    }

    #[test]
    fn every_codec_gives_back_what_it_took(raw in raw(), shape in shape(), level in 0..5u8) {
        let registry = Registry::default();
        for id in codecs() {
            let codec: &dyn Codec = registry.get(id).unwrap();
            let mut payload = b"before".to_vec();
            if codec.encode(&raw, shape.as_ref(), Level::new(level), &mut payload) {
                prop_assert!(payload.len() - 6 <= raw.len(), "{:?} grew", id);
                let mut back = b"before".to_vec();
                let len = u32::try_from(raw.len()).unwrap();
                prop_assert_eq!(codec.decode(&payload[6..], len, &mut back), Ok(()));
                prop_assert_eq!(&back[6..], &raw[..]);
            }
            prop_assert_eq!(&payload[..6], b"before");
        }
    }

    #[test]
    fn no_decoder_panics_or_overruns(
        payload in vec(any::<u8>(), 0..400),
        raw in raw(),
        shape in shape(),
        raw_len in prop_oneof![0u32..5000, Just(1 << 20)],
        at in any::<prop::sample::Index>(),
        bit in 0..8u8,
    ) {
        let registry = Registry::default();
        for id in codecs() {
            let codec: &dyn Codec = registry.get(id).unwrap();
            // Any bytes; and the codec's own with one bit flipped, or told another length.
            let mut own = Vec::new();
            codec.encode(&raw, shape.as_ref(), Level::STRONG, &mut own);
            if !own.is_empty() {
                let at = at.index(own.len());
                own[at] ^= 1 << bit;
            }
            for (payload, len) in [(&payload, raw_len), (&own, u32::try_from(raw.len()).unwrap()), (&own, raw_len)] {
                let mut out = vec![7; 3];
                let result = codec.decode(payload, len, &mut out);
                prop_assert!(out.len() <= 3 + len as usize, "{:?} wrote {} bytes for {}", id, out.len(), len);
                prop_assert!(result.is_err() || out.len() == 3 + len as usize);
                prop_assert_eq!(&out[..3], &[7; 3]);
            }
        }
    }

    #[test]
    fn a_bitmap_comes_back(len in 0usize..300, at in vec(any::<prop::sample::Index>(), 0..40)) {
        let set: std::collections::BTreeSet<_> = at.iter().filter(|_| len > 0).map(|at| at.index(len)).collect();
        let mut map = Bitmap::empty(len);
        set.iter().for_each(|at| map.set(*at));
        let wire = map.to_wire();
        prop_assert_ne!(wire.last(), Some(&0));
        let back = Bitmap::from_wire(&wire, len).unwrap();
        prop_assert_eq!(back.iter().collect::<Vec<_>>(), set.iter().copied().collect::<Vec<_>>());
        prop_assert_eq!(back.is_empty(), set.is_empty());
        if let Some(last) = set.last() {
            prop_assert_eq!(Bitmap::from_wire(&wire, *last), None, "a position behind the end");
            prop_assert!(Bitmap::from_wire(&wire, last + 1).is_some());
        }
    }
}

/// Page hashes of a study whose instances have these numbers.
fn pages_of(numbers: impl Iterator<Item = u32>) -> Vec<imgxfer_core::ids::PageHash> {
    let mut builder = PageBuilder::default();
    let mut hashes = Vec::new();
    let mut add = |page: Page| {
        assert!((1..=256).contains(&page.instances.len()));
        hashes.push(Page::hash_of(&page.encode()));
    };
    for number in numbers {
        let hash = *blake3::hash(&number.to_le_bytes()).as_bytes();
        let instance = InstanceEntry {
            study: StudyUid::new("1.2.3").unwrap(),
            series: SeriesUid::new("1.2.3.4").unwrap(),
            sop_instance: SopInstanceUid::new(&format!("1.2.3.4.{number}")).unwrap(),
            sop_class: None,
            transfer_syntax: None,
            name: Vec::new(),
            len: 1000,
            hash: InstanceHash::from_bytes(hash),
            chunks: vec![ChunkEntry { id: ChunkId::from_bytes(hash), len: 1000, class: ChunkClass::Pixels }],
        };
        builder.push(instance).into_iter().for_each(&mut add);
    }
    builder.take().into_iter().for_each(&mut add);
    hashes
}

#[test]
fn one_instance_more_or_less_changes_few_pages() {
    let before = pages_of(0..3000);
    let mut most = 0;
    for at in (0..3000).step_by(37) {
        let more = pages_of((0..at).chain([1_000_000 + at]).chain(at..3000));
        let less = pages_of((0..at).chain(at + 1..3000));
        for after in [more, less] {
            let new = after.iter().filter(|hash| !before.contains(hash)).count();
            assert!(new >= 1 || after.len() < before.len());
            most = most.max(new);
        }
    }
    eprintln!("of {} pages at most {most} change", before.len());
    assert!(most * 4 <= before.len(), "{most} of {}", before.len());
}

//! What records a study becomes: tests over the whole way from files to records.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::encode::{Coding, encode};
use super::files::{FileSource, OtherFiles};
use super::order::Ordered;
use super::plan::{OfferedPage, Plan, plans};
use super::source::{Source, SourceItem};
use crate::chunk::ChunkClass;
use crate::codec::{CodecId, Level, Registry};
use crate::limits::{CHUNKS_PER_RECORD_MAX, RECORD_RAW_BYTES_MAX};
use crate::manifest::PageBuilder;
use crate::proto::Bitmap;
use crate::sim::studies::StudySpec;
use crate::units::{to_f64, to_u64};
use crate::wire::record::Record;

fn pages(folder: &Path) -> Vec<Arc<OfferedPage>> {
    let mut source = Ordered::new(Box::new(FileSource::new(&[folder.to_owned()], OtherFiles::Skip)));
    let (mut builder, mut held, mut out) = (PageBuilder::default(), Vec::new(), Vec::new());
    loop {
        let item = source.next_item().unwrap();
        let page = match item {
            Some(SourceItem::Instance(instance)) => {
                let page = builder.push(instance.entry.clone());
                held.push(*instance);
                page
            }
            Some(_) => continue,
            None => match builder.take() {
                Some(page) => Some(page),
                None => return out,
            },
        };
        if let Some(page) = page {
            let instances = held.drain(..page.instances.len()).collect();
            out.push(Arc::new(OfferedPage { page, instances }));
        }
    }
}

fn all_plans(pages: &[Arc<OfferedPage>]) -> Vec<Plan> {
    let plans_of = |(index, page): (u32, &Arc<OfferedPage>)| {
        let count = page.page.chunk_count();
        let mut all = Bitmap::empty(count);
        (0..count).for_each(|at| all.set(at));
        plans(index, page, &all, false)
    };
    (0..).zip(pages).flat_map(plans_of).collect()
}

fn coding() -> Coding {
    let registry = Registry::default();
    Coding { accepted: registry.ids(), level: Level::FAST, ..Coding::new(registry) }
}

fn class(plan: &Plan) -> ChunkClass {
    plan.class(plan.chunks[0])
}

/// Reads one chunk back out of its record; returns how much had to be decoded for it.
fn read_back(record: &Record, slot: usize) -> (Vec<u8>, u32) {
    let header = record.header();
    let mut raw = Vec::new();
    let codec = Registry::default();
    codec.get(header.codec).unwrap().decode(record.payload(), header.raw_len(), &mut raw).unwrap();
    let start: u32 = header.chunks[..slot].iter().map(|chunk| chunk.len).sum();
    let range = usize::try_from(start).unwrap()..usize::try_from(start + header.chunks[slot].len).unwrap();
    (raw[range].to_vec(), header.raw_len())
}

#[test]
fn a_header_costs_a_fraction_of_itself_and_is_read_back_from_one_record() {
    let folder = tempfile::tempdir().unwrap();
    StudySpec::new(5).with_instances(1, 300).with_size(32, 32).write_to(folder.path()).unwrap();
    let pages = pages(folder.path());
    let (mut metas, mut headers) = (0, 0);
    for plan in all_plans(&pages).iter().filter(|plan| class(plan) == ChunkClass::Header) {
        let made = encode(plan, &coding());
        assert!(made.withdrawn.is_empty() && made.records.len() == 1);
        let record = &made.records[0];
        assert_eq!(record.header().codec, CodecId::ZSTD);
        assert_eq!(record.header().chunks.len(), plan.chunks.len());
        let of = |class| plan.chunks.iter().filter(|at| plan.entry(**at).class == class).count();
        (metas, headers) = (metas + of(ChunkClass::Meta), headers + of(ChunkClass::Header));
        for slot in [0, plan.chunks.len() / 2, plan.chunks.len() - 1] {
            let (bytes, decoded) = read_back(record, slot);
            assert_eq!(crate::ids::ChunkId::of(&bytes), plan.entry(plan.chunks[slot]).id);
            assert!(decoded <= RECORD_RAW_BYTES_MAX && plan.chunks.len() <= CHUNKS_PER_RECORD_MAX);
        }
    }
    assert_eq!((metas, headers), (300, 300), "file meta groups stand with headers");
}

/// Folders of `IMGXFER_TEST_DATA` that hold a series: prints what their records look like.
#[test]
fn headers_of_real_series_cost_little() {
    let Some(data) = std::env::var_os("IMGXFER_TEST_DATA").map(PathBuf::from) else { return };
    for name in [
        "W1",
        "W2",
        "ct-philips-S2020-80",
        "mr-fmri-60",
        "mr-t1-series-40",
        "ct-philips-series-13",
        "ct-ge-series",
        "mr-siemens-bighdr-6",
    ] {
        let folder = data.join(name);
        if !folder.is_dir() {
            continue;
        }
        let pages = pages(&folder);
        let plans = all_plans(&pages);
        let (mut raw, mut wire, mut list, mut count, mut records) = (0, 0, 0, 0, 0);
        for plan in plans.iter().filter(|plan| class(plan) == ChunkClass::Header) {
            for record in encode(plan, &coding()).records {
                raw += plan.raw_len();
                wire += to_u64(record.payload().len());
                list += to_u64(record.bytes().len() - record.payload().len());
                count += to_u64(record.header().chunks.len());
                records += 1;
            }
        }
        let frames: Vec<usize> =
            plans.iter().filter(|plan| class(plan) == ChunkClass::Pixels).map(|plan| plan.chunks.len()).collect();
        let again = plans.iter().filter(|plan| class(plan) == ChunkClass::Pixels).flat_map(|plan| {
            let seen = std::collections::HashSet::new();
            plan.chunks.iter().scan(seen, |seen, at| Some(!seen.insert(plan.page.instances[at.place].position)))
        });
        println!(
            "{name}: {} pages, {records} records of {count} headers, {raw} bytes; {:.0} B a header of {:.0} and {:.0} \
             for its entry; pixel records of {frames:?}; {} of {} frames show a place for the second time or later",
            pages.len(),
            to_f64(wire) / to_f64(count.max(1)),
            to_f64(raw) / to_f64(count.max(1)),
            to_f64(list) / to_f64(count.max(1)),
            again.clone().filter(|again| *again).count(),
            again.count(),
        );
        assert!(wire * 5 < raw, "{name}: {wire} of {raw}");
    }
}

#[test]
fn a_long_frame_is_read_back_alone_unless_it_is_predicted_from_the_one_before() {
    let folder = tempfile::tempdir().unwrap();
    StudySpec::new(6).with_instances(1, 1).with_size(512, 512).with_frames(4).write_to(folder.path()).unwrap();
    let pages = pages(folder.path());
    for (level, expected) in [(Level::STORE, 2), (Level::FAST, 4), (Level::STRONG, 4), (Level::SERIES, 2)] {
        let coding = Coding { level, ..coding() };
        let pixels = all_plans(&pages).into_iter().filter(|plan| class(plan) == ChunkClass::Pixels);
        let records: Vec<_> = pixels.flat_map(|plan| encode(&plan, &coding).records).collect();
        assert_eq!(records.len(), expected, "{level:?}");
        let slots: usize = records.iter().map(|record| record.header().chunks.len()).sum();
        assert_eq!(slots, 4);
    }
}

//! Sender, receiver and store in memory, one delivery at a time: cut, damaged, shuffled, withdrawn.

use std::collections::BTreeSet;

use imgxfer_core::ids::ChunkId;
use imgxfer_core::limits::PAGES_IN_FLIGHT_MAX;
use imgxfer_core::manifest::InstanceAt;
use imgxfer_core::proto::InstanceFailure;
use imgxfer_core::sim::studies::StudySpec;
use imgxfer_core::testing::noise;
use imgxfer_core::testing::pair::{Drive, Item, Mishap, Outcome, Site};
use imgxfer_core::wire::message::FailCode;

/// Where a test's seeds begin: `IMGXFER_SEED`, to repeat one that failed, or 0.
fn seeds(count: u64) -> std::ops::Range<u64> {
    match std::env::var("IMGXFER_SEED").ok().and_then(|seed| seed.parse().ok()) {
        Some(seed) => seed..seed + 1,
        None => 0..count,
    }
}

/// Runs `test` for many seeds; says how to repeat the one that fails.
fn for_seeds(name: &str, count: u64, test: impl Fn(u64)) {
    for seed in seeds(count) {
        let run = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| test(seed)));
        if let Err(panic) = run {
            eprintln!("seed {seed}; again: IMGXFER_SEED={seed} cargo test -p imgxfer-core --test it {name}");
            std::panic::resume_unwind(panic);
        }
    }
}

fn at(page: u32, place: u32) -> InstanceAt {
    InstanceAt { page, place }
}

/// Two pages: two files of several chunks, an empty one, one that repeats a chunk within itself, and one
/// on the second page that shares chunks with the first.
fn small() -> Vec<Vec<Item>> {
    let (a, b) = (noise(1, 2500), noise(2, 1000));
    let repeated = [&b[..], &b[..], &noise(3, 500)].concat();
    let sharing = [&b[..], &a[..1000], &noise(4, 1500)].concat();
    vec![
        vec![Item::opaque(&a, 1000), Item::opaque(&[], 1000), Item::opaque(&repeated, 1000)],
        vec![Item::opaque(&sharing, 1000), Item::opaque(&noise(5, 300), 1000)],
    ]
}

fn hashes(pages: &[Vec<Item>]) -> BTreeSet<[u8; 32]> {
    pages.iter().flatten().map(|item| *item.entry.hash.as_bytes()).collect()
}

/// Original bytes of all chunks, each counted once.
fn unique_bytes(pages: &[Vec<Item>]) -> u64 {
    let chunks = pages.iter().flatten().flat_map(|item| &item.entry.chunks);
    let unique: std::collections::HashMap<_, _> = chunks.map(|c| (c.id, u64::from(c.len))).collect();
    unique.values().sum()
}

fn all_bytes(pages: &[Vec<Item>]) -> u64 {
    pages.iter().flatten().map(|item| item.entry.len).sum()
}

fn completed(outcome: &Outcome) -> bool {
    assert_eq!(outcome.error, None);
    outcome.settled.expect("a receipt").1
}

fn chunk_of(pages: &[Vec<Item>], at: InstanceAt, number: usize) -> ChunkId {
    pages[at.page as usize][at.place as usize].entry.chunks[number].id
}

#[test]
fn a_cut_at_every_step_loses_only_what_was_on_the_line() {
    // No two chunks alike: how often a shared one travels depends on the order.
    let pages = distinct();
    let whole = Drive::new(&Site::default(), &pages, 11).run();
    assert!(completed(&whole));
    let mut resent_most = 0;
    for step in 0..=whole.steps {
        let site = Site::default();
        let first = Drive::new(&site, &pages, 11).cut_at(step).run();
        assert_eq!(first.error, None, "cut at {step}");
        assert!(site.visible().is_subset(&hashes(&pages)), "cut at {step}");
        let second = Drive::new(&site, &pages, 12).run();
        assert!(completed(&second), "cut at {step}");
        assert_eq!(site.visible(), hashes(&pages), "cut at {step}");
        assert_eq!(second.committed.len(), 5, "cut at {step}");
        let resent = (first.chunk_bytes + second.chunk_bytes).saturating_sub(whole.chunk_bytes);
        assert!(resent <= first.lost_bytes, "cut at {step}: {resent} sent again, {} were lost", first.lost_bytes);
        resent_most = resent_most.max(resent);
    }
    eprintln!("cut before each of {} steps: at most {resent_most} bytes sent again", whole.steps);
}

/// As [`small`], but no two chunks are alike.
fn distinct() -> Vec<Vec<Item>> {
    let item = |seed, len| Item::opaque(&noise(seed, len), 1000);
    vec![vec![item(1, 2500), item(2, 0), item(3, 3500)], vec![item(4, 2500), item(5, 300)]]
}

#[test]
fn any_order_with_any_cuts_comes_to_the_same_end() {
    for_seeds("any_order_with_any_cuts", 400, |seed| {
        let distinct_chunks = seed % 2 == 0;
        let pages = if distinct_chunks { distinct() } else { small() };
        let site = Site::default();
        let (mut sent, mut lost) = (0, 0);
        // Cuts further and further apart: a line that works for a while each time.
        for (drive, cut) in [5 + seed % 17, 9 + seed % 31, 14 + seed % 43].into_iter().enumerate() {
            let outcome = Drive::new(&site, &pages, seed * 10 + drive as u64).cut_at(cut).run();
            assert_eq!(outcome.error, None);
            (sent, lost) = (sent + outcome.chunk_bytes, lost + outcome.lost_bytes);
        }
        let last = Drive::new(&site, &pages, seed * 10 + 9).run();
        assert!(completed(&last));
        assert_eq!(site.visible(), hashes(&pages));
        sent += last.chunk_bytes;
        // A chunk that two pages share may travel twice, when the second page is looked up too late.
        let once = if distinct_chunks { unique_bytes(&pages) } else { all_bytes(&pages) };
        assert!(sent <= once + lost, "{sent} of {once} sent, {lost} lost");
        let again = Drive::new(&site, &pages, seed).run();
        assert!(completed(&again));
        assert_eq!((again.records, again.committed.len()), (0, 5));
    });
}

#[test]
fn a_damaged_record_is_sent_again_without_compression() {
    let pages = small();
    for_seeds("a_damaged_record_is_sent_again", 40, |seed| {
        let site = Site::default();
        let drive = Drive::new(&site, &pages, seed)
            .with(Mishap::DamageOnce(chunk_of(&pages, at(0, 0), 1)))
            .with(Mishap::DamageOnce(chunk_of(&pages, at(1, 0), 2)));
        let outcome = drive.run();
        assert!(completed(&outcome));
        assert_eq!(site.visible(), hashes(&pages));
        assert!(outcome.chunk_bytes > unique_bytes(&pages));
    });
}

#[test]
fn what_always_arrives_damaged_fails_and_the_rest_goes_on() {
    let pages = small();
    for_seeds("what_always_arrives_damaged", 40, |seed| {
        let site = Site::default();
        // A record carries up to three chunks: those that share one with the bad chunk are asked for again
        // and may fail with it, but only those.
        let bad = chunk_of(&pages, at(1, 1), 0);
        let outcome = Drive::new(&site, &pages, seed).with(Mishap::DamageAlways(bad)).run();
        assert!(!completed(&outcome));
        let failed: BTreeSet<_> = outcome.failed.iter().map(|(at, _)| *at).collect();
        assert!(failed.contains(&at(1, 1)));
        assert!(outcome.failed.iter().all(|(_, why)| *why == InstanceFailure::Refused(FailCode::Integrity)));
        assert_eq!(outcome.committed.len() + failed.len(), 5);
        assert_eq!(site.visible().len(), outcome.committed.len());
        // The next transfer, over a line that does no harm, brings the rest.
        assert!(completed(&Drive::new(&site, &pages, seed).run()));
        assert_eq!(site.visible(), hashes(&pages));
    });
}

#[test]
fn a_shared_chunk_that_is_always_damaged_fails_each_instance_that_has_it() {
    let pages = small();
    let site = Site::default();
    let shared = chunk_of(&pages, at(0, 2), 0);
    let outcome = Drive::new(&site, &pages, 3).with(Mishap::DamageAlways(shared)).run();
    assert!(!completed(&outcome));
    let failed: BTreeSet<_> = outcome.failed.iter().map(|(at, _)| *at).collect();
    assert!(failed.is_superset(&BTreeSet::from([at(0, 2), at(1, 0)])), "{failed:?}");
}

#[test]
fn an_instance_may_be_withdrawn_at_any_step() {
    let pages = small();
    let steps = Drive::new(&Site::default(), &pages, 21).run().steps;
    for victim in [at(0, 0), at(0, 1), at(0, 2), at(1, 0), at(1, 1)] {
        for step in 0..=steps {
            let site = Site::default();
            let outcome = Drive::new(&site, &pages, 21).with(Mishap::Withdraw(step, victim)).run();
            check_withdrawn(&pages, &site, &outcome, &[victim], &format!("{victim:?} at step {step}"));
        }
    }
}

/// Whatever was withdrawn, all else is committed, and the receipt claims no more than there is.
fn check_withdrawn(pages: &[Vec<Item>], site: &Site, outcome: &Outcome, victims: &[InstanceAt], what: &str) {
    assert_eq!(outcome.error, None, "{what}");
    let (_, complete) = outcome.settled.unwrap_or_else(|| panic!("no receipt: {what}"));
    let failed: BTreeSet<_> = outcome.failed.iter().map(|(at, _)| *at).collect();
    assert!(failed.iter().all(|at| victims.contains(at)), "{what}: {failed:?}");
    let all = hashes(pages);
    let visible = site.visible();
    for (page, items) in (0..).zip(pages) {
        for (place, item) in (0..).zip(items) {
            let there = visible.contains(item.entry.hash.as_bytes());
            assert!(there || failed.contains(&at(page, place)), "{what}: {page}/{place} is missing");
        }
    }
    assert!(!complete || visible == all, "{what}: a receipt for whole studies with {} instances", visible.len());
}

#[test]
fn files_that_change_while_they_are_sent_do_not_hold_up_the_others() {
    let pages = small();
    for_seeds("files_that_change", 400, |seed| {
        let site = Site::default();
        // Two that share a chunk, and by turns one of the others, from some step on; one record is damaged.
        let victims = [at(0, 2), at(1, 0), [at(0, 0), at(1, 1), at(0, 1)][seed as usize % 3]];
        let mut drive = Drive::new(&site, &pages, seed).with(Mishap::DamageOnce(chunk_of(&pages, at(0, 2), 0)));
        for (nth, victim) in (0..).zip(victims) {
            drive = drive.with(Mishap::Changed((seed / 3) % 29 + nth * 5 % 31, victim));
        }
        let outcome = drive.run();
        check_withdrawn(&pages, &site, &outcome, &victims, "changed");
    });
}

#[test]
fn withdrawing_two_at_random_moments_while_pages_are_asked_for_by_hash() {
    let pages = small();
    for_seeds("withdrawing_two_at_random", 400, |seed| {
        let site = Site::default();
        // The site has the first page; so the second is offered by its hash.
        assert!(completed(&Drive::new(&site, &pages[..1], 1).run()));
        let victims = [at(1, 0), at(1, 1)];
        let drive = Drive::new(&site, &pages, seed)
            .with(Mishap::Withdraw(seed % 13, victims[0]))
            .with(Mishap::Withdraw(seed % 29, victims[1]));
        check_withdrawn(&pages, &site, &drive.run(), &victims, "withdrawn");
    });
}

fn study_pages(spec: &StudySpec) -> Vec<Vec<Item>> {
    vec![spec.instances().map(|instance| Item::dicom(instance.bytes)).collect()]
}

#[test]
fn pushing_again_what_is_there_costs_page_hashes() {
    let spec = StudySpec::new(5).with_instances(1, 20);
    let pages = study_pages(&spec);
    let site = Site::default();
    assert!(completed(&Drive::new(&site, &pages, 1).run()));
    let again = Drive::new(&site, &pages, 2).run();
    assert!(completed(&again));
    let bytes = all_bytes(&pages);
    eprintln!("again: {} control bytes for {bytes} bytes", again.control_bytes);
    assert_eq!((again.records, again.payload_bytes), (0, 0));
    assert!(again.control_bytes * 1000 < bytes, "{} control bytes", again.control_bytes);
}

#[test]
fn a_corrected_name_costs_the_header_parts() {
    let spec = StudySpec::new(6).with_instances(1, 12);
    let site = Site::default();
    assert!(completed(&Drive::new(&site, &study_pages(&spec), 1).run()));
    let corrected = study_pages(&spec.with_patient_name("Synthetic^Corrected"));
    let outcome = Drive::new(&site, &corrected, 2).run();
    assert!(completed(&outcome));
    let bytes = all_bytes(&corrected);
    eprintln!("corrected: {} payload bytes of {bytes}", outcome.payload_bytes);
    assert!(outcome.payload_bytes * 50 < bytes, "{} of {bytes}", outcome.payload_bytes);
    assert!(hashes(&corrected).is_subset(&site.visible()));
}

#[test]
fn a_known_page_whose_instances_are_gone_is_sent_anew() {
    let pages = small();
    let site = Site::default();
    assert!(completed(&Drive::new(&site, &pages, 1).run()));
    // A site that knows the pages and has lost index and records otherwise.
    let bare = Site::default();
    let known = pages.iter().map(|items| {
        let page = imgxfer_core::manifest::Page { instances: items.iter().map(|i| i.entry.clone()).collect() };
        let encoded = page.encode();
        (imgxfer_core::manifest::Page::hash_of(&encoded), bare.sender, encoded.into())
    });
    let batch = imgxfer_core::store::CommitBatch { pages: known.collect(), ..Default::default() };
    bare.depot.index.commit(&batch).unwrap();
    for seed in 0..20 {
        let outcome = Drive::new(&bare, &pages, seed).run();
        assert!(completed(&outcome));
        assert_eq!(bare.visible(), hashes(&pages));
    }
}

#[test]
fn more_pages_than_may_be_in_flight() {
    let count = PAGES_IN_FLIGHT_MAX as u64 * 2 + 3;
    let pages: Vec<_> = (0..count).map(|n| vec![Item::opaque(&noise(n, 40), 16)]).collect();
    let site = Site::default();
    let cut = Drive::new(&site, &pages, 4).cut_at(700).run();
    assert_eq!(cut.error, None);
    assert!(completed(&Drive::new(&site, &pages, 5).run()));
    assert_eq!(site.visible(), hashes(&pages));
    let again = Drive::new(&site, &pages, 6).run();
    assert!(completed(&again));
    assert_eq!(again.records, 0);
}

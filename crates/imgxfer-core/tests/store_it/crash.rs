//! Nothing that was acknowledged is ever lost, and nothing else is ever visible, whatever fails and whenever: the real
//! intake, depot and index, with every write and sync of each scenario failing in turn.

use imgxfer_core::clock::UnixSeconds;
use imgxfer_core::testing::faulty::Fault;
use imgxfer_core::testing::pair::{Drive, Item, Outcome};

use crate::disk::{Contents, Disk, contents, pages};

/// What is done to a disk while something fails.
struct Scenario {
    name: &'static str,
    /// What goes before, without faults: contents that are acknowledged then, and those that are damaged.
    prepare: fn(&mut Disk, &[Vec<Item>]) -> [Contents; 2],
    work: fn(&mut Disk, &[Vec<Item>], u64, &mut Told),
}

/// What a sender was told.
#[derive(Default)]
struct Told {
    committed: Contents,
    receipt: bool,
}

impl Told {
    fn hear(&mut self, pages: &[Vec<Item>], outcome: &Outcome) {
        for at in &outcome.committed {
            let item = &pages[usize::try_from(at.page).unwrap()][usize::try_from(at.place).unwrap()];
            self.committed.insert(*item.entry.hash.as_bytes());
        }
        if outcome.settled.is_some_and(|(_, complete)| complete) {
            self.committed.extend(contents(pages));
            self.receipt = true;
        }
    }
}

fn nothing(_: &mut Disk, _: &[Vec<Item>]) -> [Contents; 2] {
    [Contents::new(), Contents::new()]
}

fn push(disk: &mut Disk, pages: &[Vec<Item>], seed: u64, told: &mut Told) {
    told.hear(pages, &Drive::new(&disk.site, pages, seed).unwatched().run());
}

const PUSH: Scenario = Scenario { name: "push", prepare: nothing, work: push };

/// The process is killed in the middle, and the same is pushed again.
const RESUME: Scenario = Scenario {
    name: "resume",
    prepare: nothing,
    work: |disk, pages, seed, told| {
        told.hear(pages, &Drive::new(&disk.site, pages, seed).unwatched().cut_at(30 + seed * 10).run());
        // While the power is off nothing starts.
        if !disk.faults.hit() {
            disk.kill();
        }
        push(disk, pages, seed + 1, told);
    },
};

/// Two sessions push the same at once: the second finds what the first has written and not committed.
const PARALLEL: Scenario = Scenario {
    name: "parallel",
    prepare: nothing,
    work: |disk, pages, seed, told| {
        let drive = |seed| Drive::new(&disk.site, pages, seed);
        for outcome in drive(seed).run_beside(drive(seed + 1), 30 + seed * 10) {
            told.hear(pages, &outcome);
        }
    },
};

/// A record has decayed, a check has noted it, and what stood in it is sent again.
const HEAL: Scenario = Scenario {
    name: "heal",
    prepare: |disk, pages| {
        let mut told = Told::default();
        push(disk, pages, 1, &mut told);
        let at = disk.instances()[0].chunks[0].record;
        disk.records.edit_pack(at.pack, |pack| {
            let last = usize::try_from(at.offset + u64::from(at.len)).unwrap() - 1;
            pack[last] ^= 1;
        });
        let damaged = disk.losses();
        assert!(!damaged.is_empty());
        [told.committed.difference(&damaged).copied().collect(), damaged]
    },
    work: push,
};

/// What an interrupted push left is collected, and pushed again.
const COLLECT: Scenario = Scenario {
    name: "collect",
    prepare: |disk, pages| {
        let mut told = Told::default();
        push(disk, &pages[..1], 1, &mut told);
        let cut = Drive::new(&disk.site, pages, 2).cut_at(24).run();
        assert!(cut.records > 0 && cut.settled.is_none(), "it was cut in the middle: {cut:?}");
        told.hear(pages, &cut);
        [told.committed, Contents::new()]
    },
    work: |disk, pages, seed, told| {
        let later = UnixSeconds(UnixSeconds::now().0 + 1000);
        match disk.site.depot.collect(later) {
            Ok(report) => assert_eq!(report.packs_removed, 1, "{report:?}"),
            Err(error) => assert!(disk.faults.hit(), "{error}"),
        }
        push(disk, pages, seed, told);
    },
};

/// Plays a scenario with each of its operations failing in turn, in as many orders as there are seeds. Returns how many
/// operations failed.
fn fail_each_operation(scenario: &Scenario, fault: Fault, seeds: u64) -> u64 {
    let total = (0..seeds).map(|seed| (0..).find(|nth| !is_met(scenario, fault, seed, *nth)).unwrap()).sum();
    eprintln!("{}, {fault:?}: {total} operations, seeds 0 to {}", scenario.name, seeds - 1);
    total
}

/// Plays a scenario with one operation failing, if it has so many, and looks what is left. Whether it has.
fn is_met(scenario: &Scenario, fault: Fault, seed: u64, nth: u64) -> bool {
    let (pages, all) = (pages(), contents(&pages()));
    // What the cut leaves, and whether an index write that it meets is done.
    let chance = seed * 7919 + nth * 3;
    let case = format!("{}, {fault:?} at operation {nth}, seed {seed}", scenario.name);
    let mut disk = Disk::new(chance.is_multiple_of(2), true);
    let [before, damaged] = (scenario.prepare)(&mut disk, &pages);
    disk.faults.arm(nth, fault);
    let mut told = Told { committed: before, receipt: false };
    (scenario.work)(&mut disk, &pages, seed, &mut told);
    if !disk.faults.hit() {
        assert!(told.receipt, "{case}: it comes to its end without a fault");
        disk.cut_power(chance);
        assert_eq!(disk.look(&Contents::new(), &case), all, "{case}: a receipt is broken by a power cut behind it");
        return false;
    }
    if fault == Fault::PowerCut {
        disk.cut_power(chance);
    }
    // What is sent again may stand where it decayed until the receipt says otherwise.
    let damaged = if told.receipt { Contents::new() } else { damaged };
    let found = disk.look(&damaged, &case);
    assert!(told.committed.difference(&damaged).all(|hash| found.contains(hash)), "{case}: a commit is broken");
    assert!(found.is_subset(&all), "{case}: something that nobody sent");
    // The next push comes to its end without a restart, and what it says holds.
    told.receipt = false;
    push(&mut disk, &pages, seed + 2, &mut told);
    assert!(told.receipt, "{case}: no recovery");
    disk.cut_power(chance + 1);
    assert_eq!(disk.look(&Contents::new(), &case), all, "{case}: a receipt is broken");
    true
}

#[test]
fn a_power_cut_at_any_operation_of_a_push() {
    let operations = fail_each_operation(&PUSH, Fault::PowerCut, 4);
    assert!(operations > 100, "{operations}");
}

#[test]
fn a_power_cut_at_any_operation_of_a_push_that_is_resumed() {
    fail_each_operation(&RESUME, Fault::PowerCut, 3);
}

#[test]
fn a_power_cut_at_any_operation_of_two_pushes_at_once() {
    fail_each_operation(&PARALLEL, Fault::PowerCut, 4);
}

#[test]
fn a_power_cut_at_any_operation_of_healing() {
    fail_each_operation(&HEAL, Fault::PowerCut, 4);
}

#[test]
fn a_power_cut_at_any_operation_of_collection() {
    fail_each_operation(&COLLECT, Fault::PowerCut, 4);
}

#[test]
fn a_failure_at_any_operation() {
    for scenario in [PUSH, RESUME, PARALLEL, HEAL, COLLECT] {
        for fault in [Fault::Medium, Fault::NoSpace, Fault::ShortWrite] {
            fail_each_operation(&scenario, fault, 1);
        }
    }
}

/// The model must catch a program that is wrong, or it proves nothing.
#[test]
fn a_store_that_does_not_sync_is_caught() {
    let (pages, all) = (pages(), contents(&pages()));
    let mut caught = 0;
    for seed in 0..40 {
        let mut disk = Disk::new(false, false);
        let mut told = Told::default();
        push(&mut disk, &pages, seed, &mut told);
        assert_eq!(told.committed, all);
        disk.cut_power(seed);
        let there = disk.instances().len() == all.len() && disk.losses().is_empty();
        caught += u32::from(!there);
    }
    eprintln!("caught in {caught} of 40 power cuts");
    assert!(caught > 30, "caught in {caught} of 40 power cuts");
}

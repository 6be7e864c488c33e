#!/usr/bin/env python3
"""Cuts the power under the real daemon, at many moments, and looks whether a receipt was broken. Needs root.

    benches/rig/powercut.py --scenario push --points 200 --fs ext4 --seed 1
    benches/rig/powercut.py --self-test

The daemon's state (packs, index, queue) and the receipts are on a disk whose writes are on record. For each receipt
the place in that record is noted. Then the disk is made anew as a power cut would have left it: at the moment of each
receipt, at flushes, and at random writes, with what was not flushed kept, dropped or torn. The daemon is started on
it, everything is fetched back through the network and compared byte for byte, and `imgxfer verify --read-data` looks.

    push     studies one after the other
    killed   the daemon and the push are killed in the middle, started again, and the study is pushed to the end
    pull     a pull's folder: what it said it has written is there
    inbox    two daemons: a file of an inbox that is emptied is there, or at the other end with a receipt here

Exit code 1 when anything was lost. `--programs` names a folder of imgxfer and imgxferd (default: target/release).
"""
import argparse, collections, contextlib, json, os, pathlib, random, shutil, signal, sqlite3, sys, tempfile, time

import blocklog
from sites import Cli, Daemon, DoesNotStart, PROGRAMS, free_port, hashes, until_progress

MEGABYTES = {"ext4": 256, "xfs": 512}
ALL = ("send", "query", "pull")


class Rig:
    """The folders and programs of one run."""

    def __init__(self, args, folder):
        self.args, self.folder, self.at = args, pathlib.Path(folder), pathlib.Path(folder) / "m"
        self.programs, self.rng = args.programs, random.Random(args.seed)
        self.wrong = {}
        if args.without_sync:
            shim = self.folder / "nosync.so"
            source = pathlib.Path(__file__).with_name("nosync.c")
            blocklog.run("cc", "-O1", "-shared", "-fPIC", "-o", shim, source)
            self.wrong = {"LD_PRELOAD": str(shim), "NOSYNC": args.without_sync}
        self.acknowledged, self.begin = [], None
        ports = self.folder / "ports.json"
        if not ports.exists():
            ports.write_text(json.dumps([free_port(), free_port()]))
        self.ports = json.loads(ports.read_text())

    def study(self, seed, count, size=96):
        folder = self.folder / "studies" / str(seed)
        if not folder.exists():
            blocklog.run(self.args.studies, "one", folder, seed, count, size)
        return folder

    def originals(self):
        return set(hashes(self.folder / "studies").values())

    def begins(self):
        """From here on the power may be cut."""
        self.begin = self.disk.position()

    def acknowledge(self, what, files):
        """`files` ({path on the disk or None: hash}) are safe from now on."""
        self.acknowledged.append({"position": self.disk.position(), "what": what, "hashes": sorted(files)})
        if self.begin is None:
            self.begins()


class Push:
    """Studies one after the other, each with a receipt."""

    def __init__(self, rig):
        self.rig = rig
        # Receipts are on the disk too, and must be there when the command line has named them.
        self.cli = Cli(rig.programs, rig.folder, rig.at / "cli-state", rig.wrong)
        self.site = Daemon(rig.programs, rig.folder, "site", rig.at / "site", rig.ports[0], rig.wrong)
        self.site.configure(self.cli.peer_table(ALL))

    def work(self):
        self.site.start()
        for number in range(6):
            self.one(self.rig.study(self.rig.args.seed * 1000 + number, self.rig.rng.randrange(1, 60)))

    def one(self, study, *more):
        done = self.cli.pushed(study, self.site, "--level", "1", *more)
        receipt = pathlib.Path(done["receipt"])
        files = hashes(study)
        assert done["complete"] and done["instances"] == len(files), done
        self.rig.acknowledge("study", files.values())
        self.rig.acknowledge("receipt", hashes(receipt.parent).values())

    def stop(self):
        self.site.kill()

    def look(self):
        """{hash} of all that can be had, and the findings."""
        # The honest build looks: what the wrong one did to the disk is done.
        self.site.environment = {}
        try:
            self.site.start(20)
        except DoesNotStart:
            return set(), ["the daemon does not start"]
        out = self.rig.folder / "back"
        try:
            found = self.cli.pull_all(self.site, out)
        except SystemExit as problem:
            found, problems = set(), [str(problem)]
        else:
            problems = [] if found <= self.rig.originals() else ["a file that nobody sent"]
        finally:
            self.site.kill()
            shutil.rmtree(out, ignore_errors=True)
        receipts = self.rig.at / "cli-state"
        found |= set(hashes(receipts).values()) if receipts.exists() else set()
        code, words = self.cli.try_to("verify", "--store", self.site.state / "store", "--read-data", "--json")
        lost = [word for word in map(json.loads, words.splitlines()) if word.get("loss")]
        if lost:
            problems.append(f"verify: {len(lost)} instances lost")
        if code not in (0, 7):
            problems.append(f"verify: exit {code}")
        return found, problems


class Killed(Push):
    """The daemon dies in the middle of a push; the same study is pushed again, to the end."""

    def work(self):
        self.site.start()
        for number in range(2):
            study = self.rig.study(self.rig.args.seed * 1000 + 500 + number, 120)
            push = self.cli.push(study, self.site, "--level", "1", "--limit", "1")
            fraction = self.rig.rng.uniform(0.15, 0.7)
            running = until_progress(push, fraction)
            self.site.kill()
            push.kill()
            push.communicate()
            if not running:
                raise SystemExit("the push was over before the daemon was killed: nothing was tried")
            print(f"killed at {fraction:.0%} of a push", flush=True)
            self.site.start()
            self.one(study)


class Pull(Push):
    """Studies are fetched into a folder on the disk; the daemon is elsewhere."""

    def __init__(self, rig):
        super().__init__(rig)
        self.cli = Cli(rig.programs, rig.folder, rig.folder / "cli-state", rig.wrong)
        self.site.state, self.site.environment = rig.folder / "site", {}

    def work(self):
        self.site.start()
        for number in range(6):
            study = self.rig.study(self.rig.args.seed * 1000 + number, self.rig.rng.randrange(1, 40))
            self.cli.pushed(study, self.site)
        self.rig.begins()
        for study in self.cli.studies(self.site):
            out = self.rig.at / "out"
            self.cli.ask("pull", study, *self.cli.at(self.site), "--out", out, "--json")
            self.rig.acknowledge("pulled", hashes(out / study).values())

    def look(self):
        out = self.rig.at / "out"
        found = {name: digest for name, digest in hashes(out).items() if name.endswith(".dcm")} if out.exists() else {}
        originals = self.rig.originals()
        partial = [digest for digest in found.values() if digest not in originals]
        return set(found.values()), [f"{len(partial)} files in part under their full name"] if partial else []


class Inbox(Push):
    """A hospital empties its inbox into a cloud; the power of both is cut at once."""

    def __init__(self, rig):
        super().__init__(rig)
        self.hospital = Daemon(rig.programs, rig.folder, "hospital", rig.at / "hospital", rig.ports[1], rig.wrong)
        self.inbox, self.waiting = rig.at / "inbox", rig.at / "waiting"

    def work(self):
        rig = self.rig
        # Each has to know the other's key.
        for daemon in (self.site, self.hospital):
            daemon.start().kill()
        self.site.configure(self.hospital.peer_table(("send",)))
        self.hospital.configure(self.site.peer_table(address=True), f'[[inbox]]\npath = "{self.inbox}"\nto = "site"\n'
                                'settle_seconds = 1\npoll_seconds = 1\nafter = "delete"\n')
        self.inbox.mkdir()
        self.waiting.mkdir()
        self.site.start()
        for number in range(4):
            study = rig.study(rig.args.seed * 1000 + number, rig.rng.randrange(5, 40))
            shutil.copytree(study, self.waiting / str(number))
        os.sync()
        rig.acknowledge("before the inbox", hashes(self.waiting).values())
        self.hospital.start()
        # One after the other: the syncs of each make durable what the one before it has removed.
        for folder in sorted(self.waiting.iterdir()):
            folder.rename(self.inbox / folder.name)
            blocklog.until("the inbox is empty", lambda: not hashes(self.inbox), 120)

    def stop(self):
        self.hospital.kill()
        self.site.kill()

    def look(self):
        still = {digest for folder in (self.inbox, self.waiting) if folder.exists() for digest in hashes(folder).values()}
        partial = still - self.rig.originals()
        gone, receipted = len(self.rig.originals() - still), self.receipted()
        found, problems = super().look()
        if receipted < gone:
            problems.append(f"{gone} files have left the inbox, the queue has receipts for {receipted}")
        if partial:
            problems.append(f"{len(partial)} files in part in the inbox")
        return found | still, problems


    def receipted(self):
        """For how many instances the hospital's queue has receipts."""
        with contextlib.closing(sqlite3.connect(self.hospital.state / "queue.db")) as queue:
            try:
                return queue.execute("SELECT coalesce(sum(instances), 0) FROM receipt").fetchone()[0]
            except sqlite3.DatabaseError:
                return 0


SCENARIOS = {"push": Push, "killed": Killed, "pull": Pull, "inbox": Inbox}


def points(log, rig, count):
    """Cut points in order: each receipt's own moment, flushes, and random writes."""
    rng = random.Random(f"points {rig.args.seed}")
    last = len(log.entries)
    first = max(log.count_at(rig.begin), 1)
    flushes = [i + 1 for i in range(first - 1, last) if log.is_flush(i)]
    sure = {(log.count_at(one["position"]), "dropped") for one in rig.acknowledged}
    edges = {(at, "kept") for at in flushes} | {(at - 1, tail) for at in flushes if at > first for tail in ("dropped", "torn")}
    chosen = sorted(sure)[:count]
    rest = sorted(edges - sure)
    rng.shuffle(rest)
    chosen += rest[: (count - len(chosen)) // 2]
    others = [(at, tail) for at in range(first, last + 1) for tail in ("torn", "torn", "torn", "dropped")]
    rng.shuffle(others)
    chosen = set(chosen)
    while len(chosen) < count and others:
        chosen.add(others.pop())
    return sorted(chosen), len(flushes)


def work(rig, scenario):
    disk = blocklog.LoggedDisk(rig.folder, rig.args.fs, MEGABYTES[rig.args.fs])
    with disk:
        rig.disk = disk
        try:
            scenario.work()
        finally:
            scenario.stop()
    (rig.folder / "run.json").write_text(json.dumps({"begin": rig.begin, "acknowledged": rig.acknowledged,
                                                     "key": scenario.site.key, "more": scenario.site.more}))


def cut_and_look(rig, scenario, replay, log, at, tail):
    """What is missing, and what else is wrong, after one cut."""
    image = replay.cut(at, tail, random.Random(f"{rig.args.seed} {at} {tail}"))
    with blocklog.Mounted(image, rig.at) as mounted:
        if mounted.failed:
            return collections.Counter(), ["the file system cannot be mounted"]
        found, problems = scenario.look()
    lost = collections.Counter()
    for one in rig.acknowledged:
        if log.count_at(one["position"]) <= at:
            lost[one["what"]] += len(set(one["hashes"]) - found)
    return +lost, problems


def run(args, folder):
    rig = Rig(args, folder)
    scenario = SCENARIOS[args.scenario](rig)
    if not (rig.folder / "run.json").exists():
        work(rig, scenario)
    known = json.loads((rig.folder / "run.json").read_text())
    rig.begin, rig.acknowledged = known["begin"], known["acknowledged"]
    scenario.site.key, scenario.site.more = known["key"], known["more"]
    log = blocklog.Log(rig.folder / "log.img")
    chosen, flushes = points(log, rig, args.points)
    if args.point:
        chosen = [(int(at), tail) for at, tail in (args.point.split(":"),)]
    replay = blocklog.Replay(log, rig.folder, os.path.getsize(rig.folder / "disk.img"))
    bad, losses, begun = 0, [], time.monotonic()
    try:
        for at, tail in chosen:
            lost, problems = cut_and_look(rig, scenario, replay, log, at, tail)
            if lost or problems:
                bad += 1
                losses.append(sum(lost.values()))
                words = [f"{count} lost of what was acknowledged as '{what}'" for what, count in lost.items()]
                print(f"BAD --point {at}:{tail}: {'; '.join(words + problems)}", flush=True)
    finally:
        replay.close()
    wrong = f", without syncs of {args.without_sync}" if args.without_sync else ""
    span = f" ({min(losses)} to {max(losses)} lost)" if losses else ""
    print(f"{args.scenario} on {args.fs}, seed {args.seed}{wrong}: {len(log.entries)} writes, {flushes} flushes, "
          f"{len(rig.acknowledged)} acknowledgements; {len(chosen)} cuts, {bad} bad{span}; "
          f"{(time.monotonic() - begun) / max(len(chosen), 1):.2f} s a cut", flush=True)
    return bad


def self_test(args):
    """A rig that finds nothing in wrong builds proves nothing by finding nothing."""
    missed = 0
    # A journal hides a folder that was not synced as soon as anything else is: packs are left out with it.
    for scenario, without in (("push", "packs"), ("pull", "files"), ("pull", "folders,packs,index"),
                              ("inbox", "queue")):
        args.scenario, args.without_sync = scenario, without
        with tempfile.TemporaryDirectory(dir=args.work) as folder:
            if run(args, folder) == 0:
                missed += 1
                print(f"MISSED: {scenario} without syncs of {without}")
    print("the rig finds wrong builds" if not missed else "the rig is blind", flush=True)
    return missed


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenario", choices=SCENARIOS, default="push")
    parser.add_argument("--points", type=int, default=100)
    parser.add_argument("--fs", choices=MEGABYTES, default="ext4")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--programs", type=pathlib.Path, default=PROGRAMS)
    parser.add_argument("--studies", help="the program that makes studies (default: beside the others)")
    parser.add_argument("--work", help="where to make the disk (default: the folder for temporary files)")
    parser.add_argument("--without-sync", help="a wrong build: packs, folders, index, queue, files (of a pull), or several with commas")
    parser.add_argument("--keep", help="keep the record in this folder; a folder that has one is looked at again")
    parser.add_argument("--point", help="with --keep: only this cut, such as 812:torn")
    parser.add_argument("--self-test", action="store_true", help="wrong builds, which must be found out")
    args = parser.parse_args()
    # What is mounted is taken down when this is stopped, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    args.programs = args.programs.resolve()
    # A daemon takes paths as relative to its configuration.
    args.work = args.work and os.path.abspath(args.work)
    args.studies = args.studies or args.programs / "studies"
    missing = blocklog.needed()
    if missing:
        sys.exit(f"powercut: missing: {', '.join(missing)} (Debian: qemu-utils fuse3 xfsprogs e2fsprogs)")
    print(f"seed {args.seed}, file system {args.fs}, programs {args.programs}", flush=True)
    if args.self_test:
        sys.exit(self_test(args) > 0)
    if args.keep:
        args.keep = os.path.abspath(args.keep)
        os.makedirs(args.keep, exist_ok=True)
        sys.exit(run(args, args.keep) > 0)
    with tempfile.TemporaryDirectory(dir=args.work) as folder:
        sys.exit(run(args, folder) > 0)


main()

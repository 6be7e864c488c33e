#!/usr/bin/env python3
"""One call fails under the real daemon, a different one each time, and looks what becomes of it.

    benches/rig/faults.py --scenario push --points 100 --seed 1 --programs target/debug
    benches/rig/faults.py --scenario push --point write:EIO:137
    benches/rig/faults.py --self-test

A first run counts the calls that change files below the daemon's folders (packs, index, queue, keys, inbox), by kind.
Then each run makes one of them fail, once (`faults.c`): EIO, ENOSPC, EINTR where the kernel may give it, or a write
that stops half way; at the start, while it works, or while it stops.

    push        three studies from the command line, each with a receipt
    receiving   a hospital's inbox is emptied into the site whose disk fails
    forwarding  the disk of that hospital fails: its queue, and the inbox with `after = "delete"`

Always: what has a receipt is there byte for byte after one start, `imgxfer verify --read-data` finds no loss, each push
and each job comes to its end by itself, none is given up, and no defect is met. A fault at the start may end the daemon,
which says why and is started again; after that it goes on, and is ready again by itself. EINTR and short writes change
nothing at all: no warning, no error, no second try. (SQLite takes EINTR of a sync as a failed sync, which is sound.)

Exit code 1 when anything was wrong. No root is needed. The order of calls depends on timing: a number is nearly, not
always, the same call again. `--programs` names a folder of imgxfer, imgxferd and studies (default: target/release).
"""
import argparse, collections, concurrent.futures, contextlib, errno, itertools, json, pathlib, random, shutil
import signal, sqlite3, struct, subprocess, sys, tempfile, time, urllib.error, urllib.request

from sites import Cli, Daemon, DoesNotStart, PROGRAMS, hashes

ALL = ("send", "query", "pull")
KINDS = ("write", "short", "sync", "rename", "open", "truncate", "allocate", "unlink")
# The kernel's manual pages name EINTR for these.
INTERRUPTIBLE = ("write", "sync", "open", "truncate", "allocate")
PATIENCE = 60


class Plan:
    """What faults.c shares with this: what is to fail, what was counted, what was hit."""

    SHAPE = struct.Struct(f"{3 + 1 + len(KINDS)}Q4200s")

    def __init__(self, file, point=None):
        self.file = file
        kind, error, nth = point or ("write", "EIO", 0)
        code = getattr(errno, error, 0)
        slot = KINDS.index("short" if error == "SHORT" else kind)
        file.write_bytes(self.SHAPE.pack(slot, code, nth, 0, *[0] * len(KINDS), b""))

    def read(self):
        """Whether it was hit, where, and the counts."""
        _, _, _, delivered, *counts, what = self.SHAPE.unpack(self.file.read_bytes())
        return delivered, what.split(b"\0")[0].decode(errors="replace"), dict(zip(KINDS, counts))


class Template:
    """What every run begins with: studies, keys, and stores that were opened once."""

    def __init__(self, args, folder):
        self.folder = pathlib.Path(folder)
        self.shim = self.folder / "faults.so"
        subprocess.run(["cc", "-O1", "-shared", "-fPIC", "-o", self.shim, pathlib.Path(__file__).with_name("faults.c")],
                       check=True)
        for number in range(3):
            subprocess.run([args.studies, "one", self.folder / "studies" / str(number), str(args.seed * 10 + number),
                            str(4 + 5 * number), "64"], check=True)
        self.original = hashes(self.folder / "studies")
        self.keys = {}
        for name in ("site", "hospital"):
            daemon = Daemon(args.programs, self.folder, name, self.folder / name).start()
            self.keys[name] = daemon.key
            daemon.kill()
        Cli(args.programs, self.folder, self.folder / "cli-state")


class Run:
    """One run with at most one fault, and what was wrong."""

    def __init__(self, args, template, folder, point):
        self.args, self.template, self.folder, self.point = args, template, pathlib.Path(folder), point
        self.problems, self.ended = [], 0
        shutil.copytree(template.folder / "cli", self.folder / "cli")
        self.cli = Cli(args.programs, folder, self.folder / "cli-state")
        self.plan = Plan(self.folder / "plan", point)
        self.site = self.daemon("site", args.scenario in ("push", "receiving"))
        self.victim, self.inbox = self.site, None
        if args.scenario != "push":
            self.hospital = self.daemon("hospital", args.scenario == "forwarding")
            self.inbox = self.folder / "inbox"
            self.inbox.mkdir()
            self.site.configure(self.cli.peer_table(ALL), self.hospital.peer_table(("send",)))
            self.hospital.configure(self.site.peer_table(address=True), f'[[inbox]]\npath = "{self.inbox}"\nto = "site"\n'
                                    'settle_seconds = 1\npoll_seconds = 1\nafter = "delete"')
            self.victim = self.hospital if args.scenario == "forwarding" else self.site
        else:
            self.site.configure(self.cli.peer_table(ALL))
        self.daemons = [self.site] + ([self.hospital] if self.inbox else [])

    def daemon(self, name, is_victim):
        state = self.folder / name
        # The command line's pushes meet a store that is made in front of the fault, too.
        if self.args.scenario != "push":
            shutil.copytree(self.template.folder / name, state)
        daemon = Daemon(self.args.programs, self.folder, name, state)
        daemon.key = self.template.keys[name]
        if is_victim:
            daemon.environment = {"LD_PRELOAD": str(self.template.shim), "FAULTS": str(self.plan.file),
                                  "FAULTS_BELOW": f"{state}:{self.folder}/inbox"}
        return daemon

    def play(self):
        try:
            self.start(self.victim)
            for daemon in self.daemons:
                if daemon is not self.victim:
                    daemon.start()
            self.push() if self.args.scenario == "push" else self.forward()
            self.is_ready_again()
            self.stop()
            self.look()
        except DoesNotStart as problem:
            self.wrong(str(problem))
        finally:
            for daemon in self.daemons:
                daemon.kill()
        self.read_logs()
        return self.problems

    def wrong(self, what):
        if what not in self.problems:
            self.problems.append(what)

    def start(self, daemon):
        """Starts it; should a fault end it, again, as whatever keeps services up does."""
        begin = daemon.log.stat().st_size if daemon.log.exists() else 0
        daemon.start(30)
        self.ended += daemon.log.read_bytes()[begin:].count(b'"cannot run"')

    def keep_up(self):
        """Once it is ready, no fault may end it."""
        if self.victim.process.poll() is not None:
            self.wrong(f"the daemon ended with {self.victim.process.returncode}")
            self.victim.start(30)

    def push(self):
        for study in sorted((self.template.folder / "studies").iterdir()):
            command = self.cli.push(study, self.site, "--give-up-after", f"{PATIENCE}s")
            end = time.monotonic() + 2 * PATIENCE
            while command.poll() is None and time.monotonic() < end:
                self.keep_up()
                time.sleep(0.02)
            command.kill()
            words = [json.loads(line) for line in command.stdout]
            done = words[-1] if words else {}
            if command.returncode or not done.get("complete"):
                self.wrong(f"the push of study {study.name} ended with {command.returncode}: {json.dumps(done)[:300]}")

    def forward(self):
        waiting = self.folder / "waiting"
        shutil.copytree(self.template.folder / "studies", waiting)
        waiting.rename(self.inbox / "new")
        end = time.monotonic() + PATIENCE
        while hashes(self.inbox) and time.monotonic() < end:
            self.keep_up()
            time.sleep(0.05)
        if hashes(self.inbox):
            self.wrong(f"the inbox is not emptied within {PATIENCE} s")

    def is_ready_again(self):
        end = time.monotonic() + 20
        while not self.is_ready() and time.monotonic() < end:
            self.keep_up()
            time.sleep(0.1)
        if not self.is_ready():
            self.wrong("the daemon is not ready again within 20 s")

    def is_ready(self):
        begun = [word for word in self.words(self.victim) if word.get("message") == "ready"]
        try:
            with urllib.request.urlopen(f"http://{begun[-1]['admin']}/readyz", timeout=10) as answer:
                return answer.status == 200
        except (urllib.error.URLError, OSError, IndexError):
            return False

    def stop(self):
        for daemon in self.daemons:
            daemon.process.send_signal(signal.SIGTERM)
        for daemon in self.daemons:
            try:
                code = daemon.process.wait(30)
            except subprocess.TimeoutExpired:
                self.wrong(f"{daemon.name} does not stop")
                daemon.kill()
                continue
            if code:
                self.wrong(f"{daemon.name} stopped with {code}")

    def look(self):
        """After one start without faults: everything is there, once and whole."""
        if self.args.damage:
            damage(self.site.state)
        self.site.environment = {}
        self.site.start(20)
        out = self.folder / "back"
        self.cli.pull_all(self.site, out)
        expected = collections.Counter(self.template.original.values())
        came = collections.Counter(hashes(out).values() if out.exists() else [])
        if expected - came:
            self.wrong(f"{sum((expected - came).values())} files are missing")
        if came - expected:
            self.wrong(f"{sum((came - expected).values())} files twice, in part or left over")
        code, words = self.cli.try_to("verify", "--store", self.site.state / "store", "--read-data", "--json")
        words = [json.loads(word) for word in words.splitlines()]
        if code not in (0, 7) or any(word.get("loss") for word in words):
            self.wrong(f"verify: exit {code}, {sum(bool(word.get('loss')) for word in words)} instances lost")
        if self.inbox:
            with contextlib.closing(sqlite3.connect(self.hospital.state / "queue.db")) as queue:
                jobs = dict(queue.execute("SELECT state, count(*) FROM job GROUP BY state"))
                receipts = queue.execute("SELECT coalesce(sum(instances), 0) FROM receipt").fetchone()[0]
            if set(jobs) != {"done"} or receipts < len(self.template.original):
                self.wrong(f"jobs {jobs}, receipts for {receipts} of {len(self.template.original)} files")

    @staticmethod
    def words(daemon):
        """What it has said, a line each; what is not JSON is not of its log."""
        text = daemon.log.read_bytes().decode(errors="replace") if daemon.log.exists() else ""
        found = []
        for line in text.splitlines():
            with contextlib.suppress(ValueError):
                found.append(json.loads(line))
        return [word for word in found if isinstance(word, dict) and "level" in word]

    def read_logs(self):
        for daemon in self.daemons:
            if b"panicked" in daemon.log.read_bytes():
                self.wrong(f"{daemon.name} has met a defect")
        delivered, what, _ = self.plan.read()
        invisible = self.point and (self.point[1] == "SHORT" or self.point[1] == "EINTR" and "sync" not in what)
        loud = [word.get("message") for daemon in self.daemons for word in self.words(daemon)
                if word["level"] in ("WARN", "ERROR")]
        if delivered and invisible and (loud or self.ended):
            self.wrong(f"it is not invisible: {loud[0] if loud else 'the daemon ended'}")
        self.loud = loud


def damage(state):
    """For the self-test: the second half of the longest pack is lost."""
    pack = max((state / "store/packs").glob("*/*.pack"), key=lambda file: file.stat().st_size)
    with open(pack, "r+b") as file:
        file.truncate(pack.stat().st_size // 2)


def points(counts, args):
    """Each kind and error in turn, each with calls all over the run."""
    pairs = [(kind, error) for kind in KINDS if kind != "short" for error in ("EIO", "ENOSPC")]
    pairs += [(kind, "EINTR") for kind in INTERRUPTIBLE] + [("write", "SHORT")]
    if args.kind:
        pairs = [pair for pair in pairs if ":".join(pair).startswith(args.kind)]
    rows = []
    for kind, error in sorted(pairs):
        row = [(kind, error, nth) for nth in range(1, counts["short" if error == "SHORT" else kind] + 1)]
        random.Random(f"{args.seed} {kind} {error}").shuffle(row)
        rows.append(row)
    chosen = [point for turn in itertools.zip_longest(*rows) for point in turn if point]
    return chosen[: args.points or None], len(chosen)


def play(args, template, point):
    folder = tempfile.mkdtemp(prefix="faults-", dir=args.work)
    run = Run(args, template, folder, point)
    try:
        problems = run.play()
        delivered, what, counts = run.plan.read()
    finally:
        if not (args.keep and run.problems):
            shutil.rmtree(folder, ignore_errors=True)
    if delivered > 1:
        problems.append(f"the fault was met {delivered} times")
    what = what.replace(str(run.folder) + "/", "")
    return point, problems, delivered, what, counts, run.ended, folder, run.loud


def examine(args, template):
    """Returns how many points were bad."""
    _, problems, _, _, counts, _, _, loud = play(args, template, None)
    if problems:
        sys.exit(f"faults: something is wrong without a fault: {'; '.join(problems)}")
    print(f"{args.scenario}: {', '.join(f'{count} {kind}' for kind, count in counts.items())}", flush=True)
    if loud:
        print(f"    said without a fault: {sorted(set(loud))}")
    chosen, possible = ([args.point], 1) if args.point else points(counts, args)
    bad, missed, ended, begun = 0, collections.Counter(), 0, time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(args.jobs) as pool:
        for result in pool.map(lambda point: play(args, template, point), chosen):
            point, problems, delivered, what, _, ends, folder, loud = result
            ended += bool(ends)
            missed[":".join(point[:2])] += not delivered
            name = ":".join(map(str, point))
            if problems:
                bad += 1
                kept = f" (kept in {folder})" if args.keep else ""
                print(f"BAD --scenario {args.scenario} --seed {args.seed} --point {name} ({what}): "
                      f"{'; '.join(problems)}{kept}", flush=True)
            elif args.verbose:
                print(f"{name} ({what or 'not reached'}): sound{', start failed' if ends else ''}; {sorted(set(loud))}", flush=True)
    unmet = f" ({', '.join(f'{kind} {count}' for kind, count in (+missed).items())})" if +missed else ""
    print(f"{args.scenario}, seed {args.seed}: {len(chosen)} of {possible} points, {sum(missed.values())} not reached{unmet}; "
          f"the start failed in {ended}; {bad} bad; {(time.monotonic() - begun) / max(len(chosen), 1):.1f} s a point",
          flush=True)
    return bad


def self_test(args, template):
    """A rig that delivers no faults, or does not see what is wrong, proves nothing by finding nothing."""
    failed = 0

    def expect(true, what):
        nonlocal failed
        failed += not true
        print(f"{'seen' if true else 'MISSED'}: {what}", flush=True)

    args.scenario = "push"
    _, problems, _, _, counts, *_ = play(args, template, None)
    expect(not problems, f"a run without a fault is sound {problems or ''}")
    for kind in KINDS:
        if kind == "short" or not counts[kind]:
            continue
        point = (kind, "EIO", max(counts[kind] // 2, 1))
        _, _, delivered, what, _, _, _, loud = play(args, template, point)
        expect(delivered == 1, f"{':'.join(map(str, point))} met {delivered} times ({what}; {loud[:1]})")
    args.damage = True
    _, problems, *_ = play(args, template, None)
    expect(any("missing" in problem for problem in problems), f"a pack without its second half: {problems}")
    return failed


def parse_point(text):
    kind, error, nth = text.split(":")
    if kind not in KINDS or not (error == "SHORT" or hasattr(errno, error)):
        raise argparse.ArgumentTypeError(f"{text} is not like write:EIO:137")
    return kind, error, int(nth)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenario", choices=("push", "receiving", "forwarding"), default="push")
    parser.add_argument("--points", type=int, default=0, help="a sample of so many, of all kinds (default: all)")
    parser.add_argument("--kind", help="only these, such as sync or write:SHORT")
    parser.add_argument("--point", type=parse_point, help="only this one, such as write:EIO:137")
    parser.add_argument("--seed", type=int, default=1, help="of the studies and the sample")
    parser.add_argument("--jobs", type=int, default=2, help="runs at once")
    parser.add_argument("--programs", type=pathlib.Path, default=PROGRAMS)
    parser.add_argument("--work", help="where to work (default: the folder for temporary files)")
    parser.add_argument("--keep", action="store_true", help="keep the folders of runs that went wrong")
    parser.add_argument("--verbose", action="store_true", help="tell of each run")
    parser.add_argument("--self-test", action="store_true", help="whether the rig delivers, and sees what is wrong")
    args = parser.parse_args()
    args.programs, args.damage = args.programs.resolve(), False
    args.work = args.work and pathlib.Path(args.work).resolve()
    args.studies = args.programs / "studies"
    with tempfile.TemporaryDirectory(dir=args.work) as folder:
        template = Template(args, folder)
        sys.exit((self_test if args.self_test else examine)(args, template) > 0)


main()

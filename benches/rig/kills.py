#!/usr/bin/env python3
"""Kills real processes with SIGKILL at random moments, again and again, and looks whether anything was lost.

    benches/rig/kills.py --what push --rounds 100 --seed 1

    push     the daemon, the push or both, in the middle of a push and of what resumes it; one to four times a round
    pull     the same of a pull
    repair   `imgxfer repair` of a store with spoilt bytes, the daemon that it fetches from, or both
    inbox    two daemons, hospital and cloud, and an inbox with `after = "delete"`: either or both

After each kill of an inbox's round: each file is whole in the inbox, or committed at the cloud. At the end of each
round, after one start: everything is there byte for byte, nothing twice, nothing in part, nothing is left over.
A round that went wrong prints its seed; `--rounds 1 --seed S` repeats it, as far as timing allows. Exit code 1 when
anything was wrong. No root is needed. `--programs` names a folder of imgxfer, imgxferd and studies (default: target/release).
"""
import argparse, collections, contextlib, json, os, pathlib, random, shutil, sqlite3, subprocess, sys, tempfile, time

from sites import Cli, Daemon, DoesNotStart, PROGRAMS, hashes

ALL = ("send", "query", "pull")
MBPS = "4"


class Round:
    """One round: two sites, a study or some, and what is wrong in the end."""

    def __init__(self, args, seed, folder):
        self.args, self.rng, self.folder = args, random.Random(f"{args.what} {seed}"), pathlib.Path(folder)
        self.hits, self.kills, self.problems = 0, 0, []
        # So long after its start a command is killed at the latest.
        self.span = 1.5
        self.cli = Cli(args.programs, folder, self.folder / "state")
        self.site = Daemon(args.programs, folder, "site", self.folder / "site")
        self.site.configure(self.cli.peer_table(ALL))
        self.originals = {}
        for number in range(self.rng.randrange(1, 3)):
            study = self.folder / "studies" / str(number)
            subprocess.run([args.studies, "one", study, str(seed * 10 + number), str(self.rng.randrange(20, 100)), "96"],
                           check=True)
        self.originals = hashes(self.folder / "studies")

    def play(self):
        try:
            getattr(self, self.args.what)()
        except (DoesNotStart, SystemExit) as problem:
            self.problems.append(str(problem))
        finally:
            self.site.kill()
        return self.problems

    def wrong_unless(self, true, what):
        if not true:
            self.problems.append(what)

    def moment(self, seconds):
        time.sleep(self.rng.uniform(0, seconds))

    def interrupted(self, start):
        """Starts a command of the command line and kills it, the daemon or both; then, to the end."""
        for _ in range(self.rng.randrange(1, 5)):
            command = start()
            self.moment(self.span)
            victim = self.rng.choice(("command", "daemon", "both"))
            self.hits += command.poll() is None
            self.kills += 1
            if victim != "command":
                self.site.kill()
            if victim != "daemon" or self.rng.random() < 0.5:
                command.kill()
                command.communicate()
                if victim != "command":
                    self.site.start()
            else:
                # The command goes on by itself when the daemon is back.
                self.site.start()
                code = command.wait(120)
                self.wrong_unless(code == 0, f"the command that went on ended with {code}")
                command.communicate()

    def push(self):
        self.site.start()
        source = self.folder / "studies"
        self.interrupted(lambda: self.cli.push(source, self.site, "--level", "1", "--limit", MBPS))
        done = self.cli.pushed(source, self.site)
        self.wrong_unless(done["complete"] and done["instances"] == len(self.originals), f"the receipt says {done}")
        self.compare_store()

    def repair(self):
        store, peer = self.site, Daemon(self.args.programs, self.folder, "peer", self.folder / "peer")
        peer.configure(self.cli.peer_table(ALL))
        for daemon in (store, peer):
            daemon.start()
            self.cli.pushed(self.folder / "studies", daemon)
        store.kill()
        path = store.state / "store"
        for pack in path.rglob("*.pack"):
            with open(pack, "r+b") as bytes_:
                for _ in range(self.rng.randrange(1, 6)):
                    at = self.rng.randrange(96, pack.stat().st_size)
                    bytes_.seek(at)
                    old = bytes_.read(1)[0]
                    bytes_.seek(at)
                    bytes_.write(bytes([old ^ 1 << self.rng.randrange(8)]))
        self.cli.try_to("verify", "--store", path, "--read-data")
        command = ["repair", "--store", path, *self.cli.at(peer), "--json"]
        # It takes well under a second; the daemon that is killed is the one that it fetches from.
        self.site, self.span = peer, 0.4
        try:
            self.interrupted(lambda: self.cli.start(*command))
            self.cli.ask(*command)
        finally:
            peer.kill()
            self.site = store
        self.compare_store()

    def pull(self):
        self.site.start()
        self.cli.pushed(self.folder / "studies", self.site)
        out = self.folder / "out"
        for study in self.cli.studies(self.site):
            command = ["pull", study, *self.cli.at(self.site), "--out", out, "--json"]
            self.interrupted(lambda: self.cli.start(*command, "--limit", MBPS))
            self.cli.ask(*command)
        self.compare_folder(out)

    def inbox(self):
        hospital = Daemon(self.args.programs, self.folder, "hospital", self.folder / "hospital")
        inbox, waiting = self.folder / "inbox", self.folder / "waiting"
        for daemon in (self.site, hospital):
            daemon.start().kill()
        self.site.configure(hospital.peer_table(("send",)))
        hospital.configure(self.site.peer_table(address=True) + f"limits = [{{ mbps = {MBPS} }}]",
                           f'[[inbox]]\npath = "{inbox}"\nto = "site"\nsettle_seconds = 1\npoll_seconds = 1\n'
                           'after = "delete"')
        inbox.mkdir()
        shutil.copytree(self.folder / "studies", waiting)
        try:
            self.site.start()
            hospital.start()
            waiting.rename(inbox / "new")
            # The first pause, so that some kills come before anything was sent and most while it is.
            time.sleep(1)
            for _ in range(self.rng.randrange(1, 5)):
                self.moment(2.5)
                self.kills += 1
                victims = self.rng.choice(((self.site,), (hospital,), (hospital, self.site)))
                for daemon in victims:
                    daemon.kill()
                still = hashes(inbox) if hospital in victims else None
                self.hits += 0 < len(hashes(inbox))
                if self.site in victims:
                    self.site.start()
                if still is not None:
                    self.nothing_lost(still)
                    hospital.start()
            self.emptied(inbox)
            for daemon in (hospital, self.site):
                daemon.kill()
                daemon.start()
            self.compare_store()
            self.compare_queue(hospital)
            self.wrong_unless(not hashes(inbox), "files are left in the inbox")
        finally:
            hospital.kill()

    def emptied(self, inbox):
        end = time.monotonic() + 120
        while hashes(inbox) and time.monotonic() < end:
            time.sleep(0.1)
        self.wrong_unless(not hashes(inbox), "the inbox is not emptied within two minutes")

    def nothing_lost(self, still):
        """While the hospital is dead."""
        originals = set(self.originals.values())
        self.wrong_unless(set(still.values()) <= originals, "a file in part in the inbox")
        out = self.folder / "meanwhile"
        there = self.cli.pull_all(self.site, out)
        shutil.rmtree(out, ignore_errors=True)
        lost = originals - set(still.values()) - there
        self.wrong_unless(not lost, f"{len(lost)} files are neither in the inbox nor at the cloud")

    def compare_store(self):
        """Everything once, whole, and the store sound; after one start."""
        self.site.kill()
        self.site.start()
        out = self.folder / "back"
        self.cli.pull_all(self.site, out)
        self.compare_folder(out)
        code, words = self.cli.try_to("verify", "--store", self.site.state / "store", "--read-data", "--json")
        words = [json.loads(word) for word in words.splitlines()]
        self.wrong_unless(not [word for word in words if word.get("loss")], "verify: instances are lost")
        counted = words[-1].get("instances") if words else None
        self.wrong_unless(counted == len(self.originals), f"verify: exit {code}, {counted} instances")
        bad = [word["kind"] for word in words if word.get("event") == "finding" and word["kind"] not in ("torn end", "damaged remains")]
        self.wrong_unless(not bad, f"verify: {bad}")

    def compare_folder(self, out):
        came = hashes(out) if out.exists() else {}
        expected, found = (collections.Counter(files.values()) for files in (self.originals, came))
        self.wrong_unless(not expected - found, f"{sum((expected - found).values())} files are missing")
        self.wrong_unless(not found - expected, f"{sum((found - expected).values())} files twice, in part or left over")

    def compare_queue(self, hospital):
        hospital.kill()
        with contextlib.closing(sqlite3.connect(hospital.state / "queue.db")) as queue:
            jobs = dict(queue.execute("SELECT state, count(*) FROM job GROUP BY state"))
            receipted = queue.execute("SELECT coalesce(sum(instances), 0) FROM receipt").fetchone()[0]
        self.wrong_unless(set(jobs) <= {"done"}, f"jobs that are not done: {jobs}")
        self.wrong_unless(receipted >= len(self.originals), f"receipts for {receipted} of {len(self.originals)} files")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--what", choices=("push", "pull", "repair", "inbox"), default="push")
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--programs", type=pathlib.Path, default=PROGRAMS)
    parser.add_argument("--work", help="where to work (default: the folder for temporary files)")
    parser.add_argument("--keep", action="store_true", help="keep the folder of a round that went wrong")
    args = parser.parse_args()
    args.programs = args.programs.resolve()
    # A daemon takes paths as relative to its configuration.
    args.work = args.work and os.path.abspath(args.work)
    args.studies = args.programs / "studies"
    bad = kills = hits = 0
    for seed in range(args.seed, args.seed + args.rounds):
        folder = tempfile.mkdtemp(prefix="kills-", dir=args.work)
        one = Round(args, seed, folder)
        problems = one.play()
        bad, kills, hits = bad + bool(problems), kills + one.kills, hits + one.hits
        if problems or sys.stdout.isatty():
            print(f"{args.what}, seed {seed}: {'BAD: ' + '; '.join(problems) if problems else 'sound'}", flush=True)
        if problems and args.keep:
            print(f"    kept in {folder}")
        else:
            shutil.rmtree(folder)
    print(f"{args.what}: seeds {args.seed} to {args.seed + args.rounds - 1}: {kills} kills, {hits} of them in the middle; "
          f"{bad} of {args.rounds} rounds bad")
    sys.exit(bad > 0)


main()

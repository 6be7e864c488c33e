#!/usr/bin/env python3
"""Spoils single bytes of a real store, and looks whether each is found and healed.

    benches/rig/flips.py --rounds 100 --seed 1 [--heal push|repair]

A site holds some studies; another site holds the same. In each round one to three bytes of the first one's packs or of
its index are changed. Then `imgxfer verify --store --read-data` must find it (a byte of the index may also be found at
the start, which makes it anew; one in a torn end or in an unused part of a page is none), and after all studies are
pushed again (and notes written anew by `imgxfer repair` alone), or after `imgxfer repair --from` the other site, everything is fetched back and compared byte for byte,
and `verify` finds no loss. Exit code 1 when anything was not found or not healed. `--programs` names a folder of imgxfer,
imgxferd and studies (default: target/release).
"""
import argparse, json, pathlib, random, shutil, subprocess, sys, tempfile

from sites import Cli, Daemon, PROGRAMS, hashes

ALL = ("send", "query", "pull")


class Bench:
    def __init__(self, args, folder):
        self.args, self.folder = args, pathlib.Path(folder)
        self.cli = Cli(args.programs, folder, self.folder / "state")
        self.sites = [Daemon(args.programs, folder, name, self.folder / name) for name in ("site", "other")]
        self.studies = []
        for number in range(3):
            study = self.folder / "studies" / str(number)
            subprocess.run([args.studies, "one", study, str(args.seed * 10 + number), str(8 + 12 * number), "96"], check=True)
            self.studies.append(study)
        self.originals = set(hashes(self.folder / "studies").values())
        for daemon in self.sites:
            daemon.configure(self.cli.peer_table(ALL))
            daemon.start()
            self.push(daemon)
            daemon.kill()
        self.store = self.folder / "site" / "store"
        shutil.copytree(self.store, self.folder / "whole")

    def push(self, daemon):
        for study in self.studies:
            self.cli.pushed(study, daemon)

    def verify(self):
        code, words = self.cli.try_to("verify", "--store", self.store, "--read-data", "--json")
        words = [json.loads(word) for word in words.splitlines()]
        return code, [word for word in words if word.get("loss")]

    def spoil(self, rng):
        """Changes bytes; returns what was changed."""
        files = [file for file in self.store.rglob("*") if file.name.endswith(".pack") or file.name == "index.db"]
        changed = []
        for _ in range(rng.randrange(1, 4)):
            # Packs have names by chance.
            file = rng.choice(sorted(files, key=lambda file: (file.stat().st_size, file.name)))
            at, bit = rng.randrange(file.stat().st_size), 1 << rng.randrange(8)
            with open(file, "r+b") as bytes_:
                bytes_.seek(at)
                old = bytes_.read(1)[0]
                bytes_.seek(at)
                bytes_.write(bytes([old ^ bit]))
            changed.append((file.name, at, bit))
        return changed

    def round(self, seed):
        """What went wrong, and whether the damage was found before it was healed."""
        rng = random.Random(f"flips {seed}")
        shutil.rmtree(self.store)
        shutil.copytree(self.folder / "whole", self.store)
        changed = self.spoil(rng)
        packs = any(name != "index.db" for name, _, _ in changed)
        code, _ = self.verify()
        found, problems, site = code != 0, [], self.sites[0]
        if packs and not found:
            problems.append(f"not found: verify says {code}")
        if self.args.heal == "repair":
            self.sites[1].start()
            # An index that cannot be used is made anew at the start; then there is something to mend.
            site.start().kill()
            self.verify()
            code, words = self.cli.try_to("repair", "--store", self.store, *self.cli.at(self.sites[1]), "--json")
            self.sites[1].kill()
            if code:
                problems.append(f"repair: exit {code}: {words.strip()[-300:]}")
        site.start()
        if self.args.heal == "push":
            self.verify_beside()
            self.push(site)
        out = self.folder / "back"
        back = self.cli.pull_all(site, out)
        shutil.rmtree(out, ignore_errors=True)
        site.kill()
        if back != self.originals:
            problems.append(f"{len(self.originals - back)} of {len(self.originals)} files did not come back")
        code, lost = self.verify()
        if code and not lost and self.args.heal == "push":
            # What a push does not write again: notes, of which the index knows what they said.
            self.cli.try_to("repair", "--store", self.store, "--json")
            code, lost = self.verify()
        if lost or code:
            problems.append(f"verify after it: exit {code}, {len(lost)} lost")
        return found, [f"{changed}: {problem}" for problem in problems]

    def verify_beside(self):
        """Notes the damage in the index that the daemon may have made anew."""
        self.sites[0].kill()
        self.verify()
        self.sites[0].start()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--heal", choices=("push", "repair"), default="push")
    parser.add_argument("--programs", type=pathlib.Path, default=PROGRAMS)
    parser.add_argument("--studies", help="the program that makes studies (default: beside the others)")
    args = parser.parse_args()
    args.programs = args.programs.resolve()
    args.studies = args.studies or args.programs / "studies"
    bad = founds = 0
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(args, folder)
        for seed in range(args.seed, args.seed + args.rounds):
            found, problems = bench.round(seed)
            founds += found
            bad += bool(problems)
            for problem in problems:
                print(f"BAD --seed {seed} --rounds 1: {problem}", flush=True)
    print(f"{args.heal}: seeds {args.seed} to {args.seed + args.rounds - 1}: {founds} of {args.rounds} found by verify, {bad} rounds bad")
    sys.exit(bad > 0)


main()

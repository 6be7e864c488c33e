#!/usr/bin/env python3
"""What a known peer that has gone bad can do to a real daemon: memory, room in the index, and the way of others.

    benches/rig/badpeer.py --seconds 40 [--modes pages,studies,idle,stat,beat,silence,lies]

For each mode: a daemon is started, what it takes when idle is noted, the bad peer begins, and all the while another peer
pushes small STAT studies. Told are the most memory over idle, the longest of those pushes, and whether anything of the
bad peer stays in the index. Exit code 1 when memory grows by over 100 MB, a STAT push takes over `--stat-seconds`, or
anything stays. `--programs` names a folder of imgxfer, imgxferd, studies and badpeer (default: target/release).
"""
import argparse, pathlib, random, re, subprocess, sys, tempfile, time

from sites import Cli, Daemon, PROGRAMS

MODES = ("pages", "studies", "idle", "stat", "beat", "silence", "lies")
MEGABYTES_MAX = 100


def resident(process, field):
    """MB of memory: `VmRSS` now or `VmHWM` at most."""
    text = pathlib.Path(f"/proc/{process.pid}/status").read_text()
    return int(re.search(rf"{field}:\s+(\d+)", text)[1]) / 1000


def forget_most(process):
    pathlib.Path(f"/proc/{process.pid}/clear_refs").write_text("5")


def run(args, mode, folder):
    folder = pathlib.Path(folder)
    cli = Cli(args.programs, folder, folder / "cli-state")
    key = subprocess.run([args.programs / "badpeer", "id", folder / "bad"], check=True, stdout=subprocess.PIPE, text=True)
    site = Daemon(args.programs, folder, "site", folder / "site")
    site.configure(cli.peer_table(("send", "query")),
                   f'[[peers]]\nname = "bad"\nkey = "{key.stdout.strip()}"\nrights = ["send", "query", "pull"]\nsees = "own"\n')
    site.start()
    rng, took = random.Random(args.seed), []

    def push():
        study = folder / f"study{len(took)}"
        subprocess.run([args.studies, "one", study, str(rng.randrange(1 << 30)), "3", "64"], check=True)
        begun = time.monotonic()
        # Tried again at once where it is refused, as a person would.
        cli.ask("push", study, *cli.at(site, "--to"), "--json", "--priority", "stat")
        took.append(time.monotonic() - begun)

    push()
    alone = took[0]
    idle = resident(site.process, "VmRSS")
    forget_most(site.process)
    bad = subprocess.Popen([args.programs / "badpeer", f"127.0.0.1:{site.port}", site.key, folder / "bad", mode],
                           stderr=subprocess.DEVNULL)
    end = time.monotonic() + args.seconds
    try:
        while time.monotonic() < end:
            push()
            time.sleep(1)
        assert bad.poll() is None, "the bad peer gave up"
    finally:
        bad.kill()
        bad.wait()
    most = resident(site.process, "VmHWM") - idle
    site.kill()
    site.start()
    code, words = cli.try_to("verify", "--store", site.state / "store", "--json")
    studies = int(re.search(r'"studies":(\d+)', words)[1])
    site.kill()
    worst = max(took[1:])
    problems = [what for what, wrong in (
        (f"{most:.0f} MB over idle", most > MEGABYTES_MAX),
        (f"a STAT push took {worst:.1f} s", worst > args.stat_seconds),
        (f"{studies - len(took)} studies of the bad peer stay", studies != len(took)),
        (f"verify: exit {code}", code != 0)) if wrong]
    print(f"{mode}: {most:.0f} MB over idle ({idle:.0f}); {len(took) - 1} STAT pushes, the longest {worst:.2f} s "
          f"(alone {alone:.2f} s); {studies - len(took)} studies stay{': BAD: ' if problems else ''}{'; '.join(problems)}", flush=True)
    return bool(problems)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--modes", default=",".join(MODES))
    parser.add_argument("--seconds", type=float, default=40)
    parser.add_argument("--stat-seconds", type=float, default=2)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--programs", type=pathlib.Path, default=PROGRAMS)
    parser.add_argument("--studies", help="the program that makes studies (default: beside the others)")
    args = parser.parse_args()
    args.programs = args.programs.resolve()
    args.studies = args.studies or args.programs / "studies"
    print(f"SEED={args.seed}")
    bad = 0
    for mode in args.modes.split(","):
        with tempfile.TemporaryDirectory() as folder:
            bad += run(args, mode, folder)
    sys.exit(bad > 0)


main()

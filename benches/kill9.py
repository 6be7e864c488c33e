#!/usr/bin/env python3
"""Kills either end of a push with SIGKILL at random moments, starts it again, and counts what crossed twice.

    benches/kill9.py FOLDER [ROUNDS]

Everything runs on loopback; bytes are those of the interface `lo`, so keep other traffic off it. What was sent
again is the bytes of a broken and resumed push less those of a clean one. Each round fetches everything back and
compares it. Needs the release build. Prints one line a round and a summary; exits 1 when anything differs.
"""
import json, os, pathlib, random, shutil, subprocess, sys, tempfile, time

BIN = pathlib.Path(__file__).resolve().parent.parent / "target/release"
PORT = 21120


def lo_bytes():
    for line in open("/proc/net/dev"):
        if line.strip().startswith("lo:"):
            return int(line.split()[1])
    raise SystemExit("no loopback interface")


class Sites:
    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        self.env = {**os.environ, "IMGXFER_CONFIG_DIR": f"{folder}/cli", "IMGXFER_STATE_DIR": f"{folder}/state"}
        self.cli("init", "--name", "sender")
        key = json.loads(self.cli("id", "--json"))["fingerprint"]
        os.makedirs(f"{folder}/site")
        with open(f"{folder}/imgxferd.toml", "w") as f:
            f.write(f'state_dir = "site"\n[listen]\nquic = "127.0.0.1:{PORT}"\n[admin]\nlisten = "127.0.0.1:0"\n'
                    f'[[peers]]\nname = "sender"\nkey = "{key}"\nrights = ["send", "query", "pull"]\nsees = "all"\n')
        self.start()
        self.cli("peers", "add", "site", "--address", f"127.0.0.1:{PORT}", "--key", self.fingerprint)

    def cli(self, *args):
        return subprocess.run([BIN / "imgxfer", *args], env=self.env, check=True, stdout=subprocess.PIPE,
                              stderr=subprocess.DEVNULL, text=True).stdout

    def start(self):
        # The kernel frees the port and the lock of a killed daemon a moment after it is gone.
        for _ in range(50):
            self.daemon = subprocess.Popen([BIN / "imgxferd", "--config", self.folder / "imgxferd.toml"],
                                           stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
            for line in self.daemon.stderr:
                if '"ready"' in line:
                    self.fingerprint = json.loads(line)["fingerprint"]
                    return
            self.daemon.wait()
            time.sleep(0.02)
        raise SystemExit("the daemon does not start")

    def push(self, source):
        return subprocess.Popen([BIN / "imgxfer", "push", source, "--to", "site", "--json", "--level", "1"],
                                env=self.env, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)


def contents(folder):
    hashes = subprocess.run(f"find '{folder}' -type f -print0 | xargs -0 sha256sum | cut -c1-64 | sort -u", shell=True,
                            check=True, stdout=subprocess.PIPE, text=True)
    return hashes.stdout


def run(source, victim, after):
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        sites = Sites(folder)
        before, begun = lo_bytes(), time.time()
        push = sites.push(source)
        killed = False
        if victim:
            time.sleep(after)
            killed = push.poll() is None
            if victim == "sender":
                push.kill()
                push.wait()
                push = sites.push(source)
            else:
                sites.daemon.kill()
                sites.daemon.wait()
                sites.start()
        push.communicate()
        crossed, took = lo_bytes() - before, time.time() - begun
        if push.returncode != 0:
            raise SystemExit(f"the push ended with {push.returncode}")
        for row in {json.loads(line)["study"] for line in sites.cli("ls", "--from", "site", "--json").splitlines()}:
            sites.cli("pull", row, "--from", "site", "--out", f"{folder}/back")
        same = contents(f"{folder}/back") == contents(source)
        sites.daemon.kill()  # not terminate: a drain would wait for the killed sender to be silent long enough
        sites.daemon.wait()
        return crossed, took, killed, same


def main():
    source, rounds = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 20
    seed = int(os.environ.get("SEED", "1"))
    print(f"SEED={seed}")
    rng = random.Random(seed)
    clean = [run(source, None, 0) for _ in range(3)]
    base, took = min(c[0] for c in clean), min(c[1] for c in clean)
    print(f"clean: {base / 1e6:.2f} MB in {took:.2f} s (spread {max(c[0] for c in clean) / base - 1:.1%})")
    bad = 0
    for victim in ("sender", "receiver"):
        extra = []
        for _ in range(rounds):
            crossed, _, killed, same = run(source, victim, took * rng.uniform(0.1, 0.9))
            bad += not same
            extra.append(crossed - base)
            print(f"{victim}: killed {'in the middle' if killed else 'too late'}, again {extra[-1] / 1e6:.2f} MB, "
                  f"{'all bytes the same' if same else 'DIFFERENT'}", flush=True)
        extra.sort()
        print(f"{victim}: sent again: median {extra[len(extra) // 2] / 1e6:.2f} MB, most {extra[-1] / 1e6:.2f} MB")
    sys.exit(bad > 0)


main()

"""Real daemons and the real command line, for the rigs that break them: starts, kills, asks, compares."""
import hashlib, json, os, pathlib, socket, subprocess, time

PROGRAMS = pathlib.Path(__file__).resolve().parent.parent.parent / "target/release"


def free_port():
    """A port that is free for UDP and TCP now."""
    while True:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp, socket.socket() as tcp:
            udp.bind(("127.0.0.1", 0))
            try:
                tcp.bind(("127.0.0.1", udp.getsockname()[1]))
            except OSError:
                continue
            return udp.getsockname()[1]


def hashes(folder):
    """{path in the folder: SHA-256 of the file}. What is removed meanwhile is left out."""
    found = {}
    for place, _, names in os.walk(folder):
        for name in names:
            file = os.path.join(place, name)
            try:
                found[os.path.relpath(file, folder)] = hashlib.sha256(pathlib.Path(file).read_bytes()).hexdigest()
            except FileNotFoundError:
                continue
    return found


class Daemon:
    """An imgxferd. Its state may be anywhere; its configuration and log are in `folder`."""

    def __init__(self, programs, folder, name, state, port=None, environment=()):
        self.programs, self.name, self.state = pathlib.Path(programs), name, pathlib.Path(state)
        self.folder, self.port = pathlib.Path(folder), port or free_port()
        self.environment = dict(environment)
        self.config, self.log = self.folder / f"{name}.toml", self.folder / f"{name}.log"
        self.process = self.key = None
        self.more = ""

    def configure(self, *more):
        """Adds to the configuration: tables of peers and inboxes."""
        self.more += "\n".join(more) + "\n"

    def start(self, seconds=60):
        """Returns when it is ready. The kernel frees the port and the lock of a killed one a moment late."""
        self.config.write_text(
            f'state_dir = "{self.state}"\n[site]\nname = "{self.name}"\n[listen]\nquic = "127.0.0.1:{self.port}"\n'
            f'[admin]\nlisten = "127.0.0.1:0"\n[store]\nreserve_bytes = {16 << 20}\n{self.more}')
        self.config.chmod(0o600)
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            begin = self.log.stat().st_size if self.log.exists() else 0
            with open(self.log, "a") as log:
                self.process = subprocess.Popen(
                    [self.programs / "imgxferd", "--config", self.config], stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL, stderr=log, env={**os.environ, **self.environment})
            while self.process.poll() is None and time.monotonic() < end:
                for line in self.log.read_bytes()[begin:].decode(errors="replace").splitlines():
                    if '"ready"' in line and line.endswith("}"):
                        self.key = json.loads(line)["fingerprint"]
                        return self
                time.sleep(0.01)
            if self.process.poll() not in (None, 1):
                break  # a bad configuration does not get better
            self.kill()
            time.sleep(0.02)
        raise DoesNotStart(f"{self.name} does not start: see {self.log}")

    def kill(self):
        if self.process:
            self.process.kill()
            self.process.wait()

    def peer_table(self, rights=(), sees="own", address=False):
        """The `[[peers]]` table by which another site knows this one."""
        where = f'address = "127.0.0.1:{self.port}"\n' if address else ""
        return (f'[[peers]]\nname = "{self.name}"\nkey = "{self.key}"\n{where}'
                f'rights = {json.dumps(list(rights))}\nsees = "{sees}"\n')


class DoesNotStart(Exception):
    """A daemon that does not become ready on what it found."""


class Cli:
    """An imgxfer with its own identity."""

    def __init__(self, programs, folder, state, environment=()):
        self.programs, self.folder = pathlib.Path(programs), pathlib.Path(folder)
        self.environment = {**os.environ, **dict(environment), "IMGXFER_CONFIG_DIR": f"{folder}/cli",
                            "IMGXFER_STATE_DIR": str(state)}
        if not (self.folder / "cli").exists():
            self.ask("init", "--name", "rig")
        self.key = json.loads(self.ask("id", "--json"))["fingerprint"]

    def start(self, *args):
        return subprocess.Popen([self.programs / "imgxfer", *map(str, args)], env=self.environment, text=True,
                                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)

    def try_to(self, *args):
        """Exit code and standard output."""
        process = self.start(*args)
        output = process.communicate()[0]
        return process.returncode, output

    def ask(self, *args):
        code, output = self.try_to(*args)
        if code:
            raise SystemExit(f"imgxfer {' '.join(map(str, args))}: exit {code}: {output.strip()[-500:]}")
        return output

    def peer_table(self, rights):
        return f'[[peers]]\nname = "rig"\nkey = "{self.key}"\nrights = {json.dumps(list(rights))}\nsees = "all"\n'

    @staticmethod
    def at(daemon, preposition="--from"):
        return [preposition, f"127.0.0.1:{daemon.port}", "--peer-key", daemon.key]

    def push(self, folder, daemon, *more):
        return self.start("push", folder, *self.at(daemon, "--to"), "--json", *more)

    def pushed(self, folder, daemon, *more):
        """Pushes to the end; returns what the last line says."""
        return json.loads(self.ask("push", folder, *self.at(daemon, "--to"), "--json", *more).splitlines()[-1])

    def studies(self, daemon):
        rows = self.ask("ls", *self.at(daemon), "--json").splitlines()
        return sorted({json.loads(row)["study"] for row in rows})

    def pull_all(self, daemon, out):
        """Fetches what there is; returns the hashes of all that came. What cannot be read does not come."""
        for study in self.studies(daemon):
            self.try_to("pull", study, *self.at(daemon), "--out", out, "--json", "--give-up-after", "0")
        return set(hashes(out).values()) if os.path.isdir(out) else set()


def until_progress(process, fraction):
    """Reads a push's words until so much has arrived. Returns whether it was still running then."""
    for line in process.stdout:
        word = json.loads(line)
        if word["event"] == "done":
            return False
        if word["event"] == "progress" and word["bytes_expected"] and word["bytes"] >= fraction * word["bytes_expected"]:
            return True
    return False

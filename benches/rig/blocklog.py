"""A disk whose every write is on record, and the disk as it would be found after a power cut.

`LoggedDisk` is qemu's blklogwrites exported as a file over FUSE, with a loop device and a file system on it: no
kernel module, but root. `Log` reads the record (the format is dm-log-writes': a sector of header, the data, and
flush marks), and `Replay` makes images of it. A disk keeps what was flushed; of what came after the last flush it may
keep all, nothing, or parts, down to some 4 KiB of a write. Needs qemu-storage-daemon, fusermount3 and mkfs.
"""
import bisect, os, pathlib, shutil, struct, subprocess, time

FLUSH, FUA, DISCARD = 1, 2, 4
MAGIC = 0x6A736677736872
SECTOR = 512
# What a disk writes whole or not at all. File systems count on it: half a superblock has no checksum that holds.
WHOLE = 4096
MKFS = {"ext4": ["mkfs.ext4", "-q", "-F"], "xfs": ["mkfs.xfs", "-q", "-f"]}


def run(*command):
    done = subprocess.run([str(part) for part in command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(map(str, command))}: {done.stdout.strip()}")
    return done.stdout.strip()


def until(what, true, seconds=20):
    end = time.monotonic() + seconds
    while not true():
        if time.monotonic() > end:
            raise SystemExit(f"gave up waiting until {what}")
        time.sleep(0.02)


class Mounted:
    """An image, mounted; `with` takes it down again. `failed` says why it cannot be mounted."""

    def __init__(self, image, at):
        self.image, self.at, self.failed = image, at, None

    def __enter__(self):
        os.makedirs(self.at, exist_ok=True)
        self.loop = run("losetup", "-f", "--show", self.image)
        done = subprocess.run(["mount", self.loop, self.at], capture_output=True, text=True)
        if done.returncode:
            self.failed = done.stderr.strip()
        return self

    def __exit__(self, *_):
        if self.failed is None:
            # A process that was just killed may hold a file for a moment.
            until(f"{self.at} is free", lambda: subprocess.run(["umount", self.at], capture_output=True).returncode == 0)
        run("losetup", "-d", self.loop)


class LoggedDisk:
    """A fresh file system on a logged disk; `with` mounts it at `folder/m`."""

    def __init__(self, folder, fs, megabytes):
        self.folder, self.fs, self.bytes = pathlib.Path(folder), fs, megabytes << 20
        self.disk, self.log, self.export = (self.folder / name for name in ("disk.img", "log.img", "export.img"))
        self.at = self.folder / "m"

    def __enter__(self):
        for file, length in ((self.disk, self.bytes), (self.log, 0), (self.export, 0)):
            with open(file, "wb") as out:
                out.truncate(length)
        self.qemu = subprocess.Popen([
            "qemu-storage-daemon",
            "--blockdev", f"file,node-name=f0,filename={self.disk}", "--blockdev", "raw,node-name=r0,file=f0",
            "--blockdev", f"file,node-name=lf,filename={self.log}", "--blockdev", "raw,node-name=lr,file=lf",
            "--blockdev", f"blklogwrites,node-name=lw,file=r0,log=lr,log-sector-size={SECTOR}",
            "--export", f"fuse,id=e0,node-name=lw,mountpoint={self.export},writable=on"])
        self.mounted = None
        try:
            until("the disk is there", lambda: os.path.getsize(self.export) == self.bytes)
            run(*MKFS[self.fs], self.export)
            self.mounted = Mounted(self.export, self.at)
            self.mounted.__enter__()
            if self.mounted.failed:
                raise SystemExit(self.mounted.failed)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        if self.mounted:
            self.mounted.__exit__()
        self.qemu.terminate()
        self.qemu.wait()

    def position(self):
        """How far the log is. A flush that has been answered is in it, with all before."""
        return os.path.getsize(self.log)


class Log:
    """The record of a disk: `entries` of (offset, bytes, flags, place in the log)."""

    def __init__(self, file):
        self.file, self.entries, self.ends = file, [], []
        size = os.path.getsize(file)
        with open(file, "rb") as log:
            magic, _, _, sector = struct.unpack("<QQQI", log.read(28))
            if magic != MAGIC:
                raise SystemExit(f"{file} is no log of writes")
            at = sector
            while at + 32 <= size:
                log.seek(at)
                where, count, flags, _ = struct.unpack("<QQQQ", log.read(32))
                if count == 0 and flags == 0:
                    break
                stored = 0 if flags & DISCARD else count * sector
                self.entries.append((where * sector, stored, flags, at + sector))
                at += sector + stored
                self.ends.append(at)

    def count_at(self, position):
        """How many entries were whole when the log was so long."""
        return bisect.bisect_right(self.ends, position)

    def is_flush(self, index):
        return bool(self.entries[index][2] & FLUSH)


class Replay:
    """Makes images of the disk at cut points, which must not go back."""

    def __init__(self, log, folder, length):
        self.log, self.source = log, open(log.file, "rb")
        self.base, self.image = pathlib.Path(folder) / "base.img", pathlib.Path(folder) / "cut.img"
        with open(self.base, "wb") as out:
            out.truncate(length)
        self.applied = 0

    def cut(self, count, tail, rng):
        """The disk after `count` entries. Of what is not flushed, `tail` is `kept`, `dropped` or `torn`."""
        flushed = max((i + 1 for i in range(self.applied, count) if self.log.is_flush(i)), default=self.applied)
        with open(self.base, "r+b") as out:
            for entry in self.log.entries[self.applied:flushed]:
                self.write(out, entry)
        self.applied = flushed
        run("cp", "--sparse=always", self.base, self.image)
        with open(self.image, "r+b") as out:
            for entry in self.log.entries[flushed:count]:
                fate = rng.random() if tail == "torn" else {"kept": 1.0, "dropped": 0.0}[tail]
                if fate >= 0.6 or entry[2] & FUA:
                    self.write(out, entry)
                elif fate >= 0.45:
                    self.write(out, entry, rng.randrange(0, entry[1] + 1, WHOLE))
        return self.image

    def write(self, out, entry, length=None):
        where, stored, _, place = entry
        self.source.seek(place)
        out.seek(where)
        out.write(self.source.read(stored if length is None else min(stored, length)))

    def close(self):
        self.source.close()
        for file in (self.base, self.image):
            pathlib.Path(file).unlink(missing_ok=True)


def needed():
    """What is missing to run this, as text; empty when all is there."""
    tools = ("qemu-storage-daemon", "fusermount3", "losetup", "mkfs.ext4")
    missing = [tool for tool in tools if shutil.which(tool) is None]
    return (["root"] if os.geteuid() else []) + missing

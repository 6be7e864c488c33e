#!/usr/bin/env python3
"""Lets flows race on an emulated line, with a real kernel path and real TCP beside them. Needs root and linkem.

    race.py PROFILE "LINKEM OPTIONS" SECONDS WHAT[,WHAT..]     prints one row

WHAT is ours, background, cubic (QUIC with Cubic), tcp (iperf3) or call (1.5 Mbit/s), and @N starts it N seconds
late. LINKEM and FLOW name the two programs. Shares count from 3 s after the last start."""
import json, os, signal, subprocess, sys, tempfile, time

profile, options, seconds, whats = sys.argv[1:5]
seconds = float(seconds)
linkem, flow = os.environ["LINKEM"], os.environ["FLOW"]
tmp = tempfile.mkdtemp(prefix="race-", dir="/dev/shm")
cloud, hospital = f"rc{os.getpid()}", f"rh{os.getpid()}"
subprocess.run([flow, "keys", tmp], check=True, stdout=subprocess.DEVNULL)
line = subprocess.Popen([linkem, "--cloud", cloud, "--hospital", hospital, "--stats", f"{tmp}/line.json",
                         "--profile", profile, *options.split()], stdout=subprocess.PIPE, text=True)
assert "ready" in line.stdout.readline()
running = []


def within(host, *command, **how):
    process = subprocess.Popen(["nsenter", f"--net=/run/netns/{host}", *command], stdin=subprocess.DEVNULL, **how)
    running.append(process)
    return process


def counters():
    if os.path.exists(f"{tmp}/line.json"):
        os.unlink(f"{tmp}/line.json")
    line.send_signal(signal.SIGUSR2)
    while True:
        try:
            return json.load(open(f"{tmp}/line.json"))
        except (OSError, ValueError):
            time.sleep(0.005)


def arrivals(at):
    """[(seconds since the start of its flow, bytes)] of a flow."""
    kind, delay, number = at
    if kind == "tcp":
        intervals = json.load(open(f"{tmp}/out{number}"))["intervals"]
        total, rows = 0, []
        for one in intervals:
            total += one["sum"]["bytes"]
            rows.append((one["sum"]["end"], total))
        return rows
    rows = [l.split() for l in open(f"{tmp}/in{number}") if l.startswith("S ")]
    return [(float(r[1]), int(r[2])) for r in rows if len(r) == 3]


try:
    for host in (cloud, hospital):
        within(host, "sysctl", "-qw", "net.ipv4.tcp_wmem=4096 65536 67108864", "net.ipv4.tcp_rmem=4096 131072 67108864").wait()
    flows, call = [], None
    for number, what in enumerate(whats.split(",")):
        kind, _, delay = what.partition("@")
        flows.append((kind, float(delay or 0), number))
        port = 5000 + number
        if kind == "tcp":
            within(hospital, "iperf3", "-s", "-1", "-p", str(port), stdout=subprocess.DEVNULL)
        elif kind == "call":
            call = within(hospital, flow, "sink", f"10.99.0.2:{port}", str(seconds + 0.5), stdout=subprocess.PIPE, text=True)
        else:
            within(hospital, flow, "serve", tmp, f"10.99.0.2:{port}", stdout=open(f"{tmp}/in{number}", "w"))
    time.sleep(0.4)
    before, began, senders = counters(), time.time(), []
    for kind, delay, number in sorted(flows, key=lambda f: f[1]):
        time.sleep(max(0, began + delay - time.time()))
        to, left = f"10.99.0.2:{5000 + number}", seconds - delay
        out = open(f"{tmp}/out{number}", "w")
        if kind == "tcp":
            run = within(cloud, "iperf3", "-c", "10.99.0.2", "-p", str(5000 + number), "-t", str(int(left)), "-i", "0.5", "-J", stdout=out)
        elif kind == "call":
            run = within(cloud, flow, "call", to, str(left), "1250", "3", stdout=out)
        else:
            words = {"ours": [], "background": ["background"], "cubic": ["cubic"]}[kind]
            run = within(cloud, flow, "send", tmp, to, str(left), *words, stdout=out)
        senders.append(run)
    time.sleep(max(0, began + seconds - time.time()))
    after = counters()
    for run in senders:
        run.wait(5)
    down = {k: after["down"][k] - before["down"][k] for k in after["down"] if isinstance(after["down"][k], (int, float))}
    late = max(delay for _, delay, _ in flows) + 3
    whole, parts = 0, []
    for at in flows:
        kind, delay, number = at
        if kind == "call":
            continue
        rows = [r for r in arrivals(at) if r[0] <= seconds - delay + 0.05]
        whole += rows[-1][1]
        upto = [n for t, n in rows if t <= late - delay]
        # From the moment that the connection stands.
        parts.append((kind, rows[-1][1] * 8 / rows[-1][0] / 1e6, rows[-1][1] - (upto[-1] if upto else 0)))
    shared = sum(p[2] for p in parts) or 1
    row = [profile, options, f"{seconds:.0f}s"]
    row += [f"{kind} {rate:.2f} Mbit/s ({100 * part / shared:.0f} %)" for kind, rate, part in parts]
    row.append(f"wire/payload {down['in_bytes'] / max(1, whole):.3f}")
    row.append(f"longest queue {after['down']['max_queue_us'] / 1000:.0f} ms")
    if call:
        got, sent, least, p50, p95, p99 = call.communicate(timeout=5)[0].split()[1:]
        row.append(f"call p50 {p50} p95 {p95} p99 {p99} ms, lost {100 * (1 - int(got) / max(1, int(sent))):.2f} %")
    row.append(" ".join(f"{k} {v}" for k, v in down.items() if "drop" in k or "lost" in k or "loss" in k))
    busy = sum(after[k]["sum_late_us"] for k in ("down", "up")) / max(1, sum(after[k]["writes"] for k in ("down", "up")))
    row.append(f"emulator late {busy:.0f} us, missed {after['missed_by_emulator']}")
    print("\t".join(row), flush=True)
finally:
    for process in running:
        if process.poll() is None:
            process.kill()
    line.terminate()
    line.wait()
    subprocess.run(["rm", "-rf", tmp])

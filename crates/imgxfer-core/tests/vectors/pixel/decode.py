#!/usr/bin/env python3
"""A second decoder of pixel payloads, written from docs/pixel-codec.md alone: plain and slow. The deep model is not here.

    decode.py                   checks every vector in this folder
    decode.py PAYLOAD RAW_LEN   writes what a payload (bytes, not hexadecimal) holds to standard output

Needs Python 3.9 or later; for payloads with a zstd block (packing, palettes) also Python 3.14 or the package `zstandard`.
"""

import pathlib
import sys


class Malformed(Exception):
    """The payload is not what an encoder writes."""


def need(condition):
    if not condition:
        raise Malformed


def unzstd(data, most):
    try:
        from compression import zstd
        out = zstd.decompress(data)
    except ImportError:
        import zstandard
        out = zstandard.ZstdDecompressor().decompress(data, max_output_size=most) if data else b""
    need(len(out) <= most)
    return out


class Reader:
    def __init__(self, data):
        self.data, self.at = data, 0

    def bytes(self, count):
        need(self.at + count <= len(self.data))
        self.at += count
        return self.data[self.at - count:self.at]

    def u8(self):
        return self.bytes(1)[0]

    def u16(self):
        return int.from_bytes(self.bytes(2), "little")

    def u32(self):
        return int.from_bytes(self.bytes(4), "little")

    def number(self, below=1 << 32):
        number = shift = 0
        while True:
            byte = self.u8()
            number |= (byte & 0x7F) << shift
            need(number < 1 << 32)
            if byte < 0x80:
                need(byte > 0 or shift == 0)
                need(number < below)
                return number
            shift += 7

    def block(self, most):
        return unzstd(self.bytes(self.number()), most)

    def done(self):
        return self.at == len(self.data)


class Plane:
    """Sizes of all planes of a payload."""

    def __init__(self, columns, rows, frame_rows):
        self.columns, self.rows, self.frame_rows = columns, rows, frame_rows
        self.samples, self.frame = columns * rows, columns * frame_rows
        self.period = max(columns + 4, 112)
        self.lane_steps = (rows + 31) // 32 * self.period
        self.steps = self.lane_steps + 3 * 31


def decode(payload, raw_len):
    reader = Reader(payload)
    need(raw_len <= 1 << 20)
    need(reader.u8() == 1)
    flags, columns, frame_rows = reader.u8(), reader.number(), reader.number()
    wide, big, colour, planar = (flags >> bit & 1 for bit in range(4))
    need(flags < 16 and big <= wide and planar <= colour and columns > 0 and frame_rows > 0)
    row = columns * (3 if colour else 1) * (2 if wide else 1)
    rows = raw_len // row
    need(rows > 0 and rows % frame_rows == 0)
    plane = Plane(columns, rows, frame_rows)
    tail = reader.bytes(raw_len - rows * row)
    form = reader.u8()
    if not colour:
        samples = grey(reader, form, plane)
    else:
        samples = together(components(reader, form, plane, wide), planar, plane)
    need(reader.done())
    if not wide:
        return bytes(sample & 0xFF for sample in samples) + tail
    order = "big" if big else "little"
    return b"".join(sample.to_bytes(2, order) for sample in samples) + tail


def grey(reader, form, plane):
    if form == 0:
        return read_plane(reader, plane)
    need(form == 1)
    bits = reader.u8()
    need(bits < 16)
    low, high = read_plane(reader, plane), read_plane(reader, plane)
    return [(a | b << bits) & 0xFFFF for a, b in zip(low, high)]


def components(reader, form, plane, wide):
    if form == 2:
        need(not wide)
        return palette(reader, plane)
    need(4 <= form <= 6)
    x, y, z = (read_plane(reader, plane) for _ in range(3))
    back = [lambda x, y, z: (x, y, z), differences, ycocg][form - 4]
    return list(zip(*(back(*pixel) for pixel in zip(x, y, z))))


def differences(x, y, z):
    return (y + x) & 0xFFFF, x, (z + x) & 0xFFFF


def ycocg(x, y, z):
    half = lambda v: (v - 0x10000 if v & 0x8000 else v) >> 1
    m = x - half(z)
    c = m - half(y)
    return (c + y) & 0xFFFF, (z + m) & 0xFFFF, c & 0xFFFF


def palette(reader, plane):
    count = reader.number()
    need(1 <= count <= 1 << 16)
    steps = reader.block(3 * count)
    need(len(steps) == 3 * count)
    parts = []
    for component in range(3):
        value, part = 0, []
        for step in steps[component * count:(component + 1) * count]:
            value = (value + step) & 0xFF
            part.append(value)
        parts.append(part)
    places = read_plane(reader, plane)
    need(max(places) < count)
    return [[part[place] for place in places] for part in parts]


def together(planes, planar, plane):
    if not planar:
        return [sample for pixel in zip(*planes) for sample in pixel]
    frames = range(0, plane.samples, plane.frame)
    return [sample for at in frames for of in planes for sample in of[at:at + plane.frame]]


def read_plane(reader, plane):
    flip = reader.number(1 << 16)
    lists, offset = packing(reader, plane)
    largest = reader.number(1 << 16)
    method = reader.u8()
    need(method in (0, 1))
    samples = waves(reader, plane, largest) if method == 1 else [0] * plane.samples
    if lists is None:
        samples = [(sample + offset) & 0xFFFF for sample in samples]
    else:
        part = plane.samples // len(lists)
        for at, place in enumerate(samples):
            values = lists[at // part]
            need(place < len(values))
            samples[at] = values[place]
    return [sample ^ flip for sample in samples]


def packing(reader, plane):
    count = reader.number()
    if count == 0:
        return None, reader.number(1 << 16)
    need(count == 1 or count == plane.rows // plane.frame_rows and plane.frame >= 4096)
    runs = Reader(reader.block(5 * plane.samples))
    lists = []
    for _ in range(count):
        values, end = [], 0
        while (gap := runs.number()) > 0:
            first = end + gap - (not values)
            length = runs.number()
            end = first + length
            need(length > 0 and end <= 1 << 16 and len(values) + length <= plane.samples // count)
            values += range(first, end)
        lists.append(values)
    need(runs.done())
    return lists, 0


NEIGHBOURS, CLASSES = (0, 6, 10, 15), (0, 1, 15, 16)


def signed(value, bits):
    value &= (1 << bits) - 1
    return value - (1 << bits) if value >> (bits - 1) else value


def log2(x):
    return x.bit_length() - 1


def waves(reader, plane, largest):
    need(32 * plane.steps <= 4 * plane.samples + (1 << 16))
    reference_rows = reader.number() * plane.frame_rows
    need(reference_rows <= plane.rows)
    kind = reader.u8()
    need(kind <= 3 and (kind < 3 or reference_rows >= 8))
    bounds = reader.bytes(4) if kind else b""
    weights = [[signed(reader.u16(), 16) for _ in range(NEIGHBOURS[kind])] for _ in range(CLASSES[kind])]
    slots = [None] * 31
    for context in range(31):
        slots[context] = read_shares(reader, slots[context - 1] if context else None)
    states = [reader.u32() for _ in range(32)]
    need(min(states) >= 1 << 16)
    words = Reader(reader.bytes(2 * reader.number()))
    model = Model(plane, kind, bounds, weights, reference_rows, largest)
    refill = lambda state: state << 16 | words.u16() if state < 1 << 16 else state
    for step in range(plane.steps):
        for group in (range(16), range(16, 32)):
            active = []
            for lane in group:
                own = step - 3 * lane
                row, column = own // plane.period * 32 + lane, own % plane.period - 2
                if 0 <= own < plane.lane_steps and row < plane.rows and 0 <= column < plane.columns:
                    context, prediction = model.look(row, column)
                    share, before, number, extra = slots[context][states[lane] & 1023]
                    states[lane] = refill(share * (states[lane] >> 10) + before)
                    active.append((lane, row, column, prediction, number, extra))
            for lane, row, column, prediction, number, extra in active:
                z = number << extra | states[lane] & ((1 << extra) - 1)
                states[lane] = refill(states[lane] >> extra)
                model.set(row, column, prediction, z)
    need(words.done() and all(state == 1 << 16 for state in states))
    return [sample for row in model.rows for sample in row]


def read_shares(reader, before):
    """For each slot: share, place within the share, number of the token, its open bits."""
    count = reader.u8()
    if count == 255:
        need(before is not None)
        return before
    need(count <= 64)
    if count == 0:
        return [(1, 0, 0, 0)] * 1024
    shares = [reader.number(1025) for _ in range(count)]
    need(sum(shares) == 1024)
    parts = [(k, 0) if k < 16 else (4 + k % 4, k // 4 - 2) for k in range(64)]
    return [(share, place) + parts[k] for k, share in enumerate(shares) for place in range(share)]


class Model:
    def __init__(self, plane, kind, bounds, weights, reference_rows, largest):
        self.plane, self.kind, self.bounds, self.weights = plane, kind, bounds, weights
        self.reference_rows, self.largest = reference_rows, largest
        self.rows = [[0] * plane.columns for _ in range(plane.rows)]
        self.folded = [[0] * plane.columns for _ in range(plane.rows)]

    def sample(self, row, column):
        if column < 0:
            return self.rows[row - 1][0] if row > 0 else 0
        return self.rows[row][min(column, self.plane.columns - 1)]

    def look(self, r, c):
        """The context of a sample, and its prediction."""
        f, at = r % self.plane.frame_rows, self.sample
        w, ww = at(r, c - 1), at(r, c - 2)
        n = nw = nww = ne = nee = nn = nnw = nne = w
        if f > 0:
            n, nw, nww, ne, nee = (at(r - 1, c + d) for d in (0, -1, -2, 1, 2))
            nn, nnw, nne = (at(r - 2, c + d) for d in (0, -1, 1)) if f > 1 else (n, nw, ne)
        activity = abs(w - nw) + abs(n - nw) + abs(n - ne)
        z_w = self.folded[r][c - 1] if c > 0 else 0
        z_n = self.folded[r - 1][c] if f > 0 else z_w
        e = min((activity + z_w + z_n) >> 1, 65534) + 1
        context = 0 if e == 1 else 2 * log2(e) - 1 + (e >> (log2(e) - 1) & 1)
        if self.kind == 0:
            return context, w + n - min(max(nw, min(w, n)), max(w, n))
        around = [w, n, nw, ne, ww, nn, nww, nee, nnw, nne]
        q = r - self.reference_rows
        if self.kind == 3 and q >= 0:
            around += [at(q, c), at(q, c - 1), at(q, c + 1), at(q - 1, c) if q > 0 else 0, at(q + 1, c)]
        if self.kind == 1:
            which = 0
        elif self.kind == 3 and q < 0:
            which = 15
        else:
            horizontal, vertical = abs(w - ww) + abs(n - nw), abs(w - nw) + abs(n - nn)
            direction = 0 if horizontal > 2 * vertical + 2 else 1 if vertical > 2 * horizontal + 2 else 2
            which = 3 * sum(bound <= min(15, log2(activity + 1)) for bound in self.bounds) + direction
        total = (1 << 12) + sum(weight * x for weight, x in zip(self.weights[which], around))
        return context, min(max(signed(total, 32) >> 13, 0), self.largest)

    def set(self, r, c, prediction, z):
        self.folded[r][c] = z
        self.rows[r][c] = (prediction - (z + 1) // 2 if z & 1 else prediction + z // 2) & 0xFFFF


def check_vectors():
    folder, wrong = pathlib.Path(__file__).parent, 0
    for path in sorted(folder.glob("*.hex")):
        if path.name.endswith(".raw.hex"):
            continue
        raw = bytes.fromhex((folder / (path.stem + ".raw.hex")).read_text())
        try:
            right = decode(bytes.fromhex(path.read_text()), len(raw)) == raw
        except ImportError:
            print("no zstd here, skipped", path.stem)
            continue
        wrong += not right
        print("right" if right else "WRONG", path.stem)
    return wrong


if __name__ == "__main__":
    if len(sys.argv) == 3:
        sys.stdout.buffer.write(decode(pathlib.Path(sys.argv[1]).read_bytes(), int(sys.argv[2])))
    else:
        sys.exit(1 if check_vectors() else 0)

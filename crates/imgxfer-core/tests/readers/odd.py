"""Writes odd data sets, and what pydicom and DCMTK identify in each: odd.py OUT SEED COUNT.

OUT/readers.tsv has a line for each file: name, oddities, and for pydicom and dcmdump each the SOP Instance UID, Study
Instance UID, Series Instance UID and Patient ID, percent-encoded, `-` for what is not there. All patients are made up.
"""
import concurrent.futures, contextlib, io, logging, pathlib, random, struct, subprocess, sys, urllib.parse, warnings, zlib

import pydicom

LONG = {b'OB', b'OD', b'OF', b'OL', b'OV', b'OW', b'SQ', b'SV', b'UC', b'UN', b'UR', b'UT', b'UV'}
UNDEFINED = 0xffffffff
ITEM, ITEM_END, SEQ_END = (0xfffe, 0xe000), (0xfffe, 0xe00d), (0xfffe, 0xe0dd)
SYNTAXES = {'implicit': '1.2.840.10008.1.2', 'explicit': '1.2.840.10008.1.2.1', 'big': '1.2.840.10008.1.2.2',
            'deflated': '1.2.840.10008.1.2.1.99', 'unknown': '1.2.3.4.5', 'jpeg': '1.2.840.10008.1.2.4.50'}
ROOT = '1.2.826.0.1.3680043.10.99999'
DUMPED_BYTES_MAX = 64 << 10
ASKED = [(8, 0x18), (0x20, 0xd), (0x20, 0xe), (0x10, 0x20)]


class Writer:
    """Elements in one encoding."""

    def __init__(self, implicit=False, big=False):
        self.implicit, self.order = implicit, '>' if big else '<'

    def element(self, tag, vr, value=b'', length=None, pad=True):
        vr = vr.encode()
        value = value.encode() if isinstance(value, str) else value
        if len(value) % 2 and pad:
            value += b'\0' if vr in (b'UI', b'OB', b'UN') else b' '
        n = len(value) if length is None else length
        head = struct.pack(self.order + 'HH', *tag)
        if self.implicit or tag[0] == 0xfffe:
            return head + struct.pack(self.order + 'I', n) + value
        if vr in LONG:
            return head + vr + b'\0\0' + struct.pack(self.order + 'I', n) + value
        return head + vr + struct.pack(self.order + 'H', n & 0xffff) + value

    def item(self, content, kind):
        if kind == 'defined':
            return self.element(ITEM, '', content)
        end = self.element(ITEM_END, '') if kind == 'undefined' else self.element(SEQ_END, '') if kind == 'seq-end' else b''
        return self.element(ITEM, '', content, length=UNDEFINED) + end

    def sequence(self, tag, items, kind, vr='SQ'):
        if kind == 'defined':
            return self.element(tag, vr, items)
        end = {'undefined': self.element(SEQ_END, ''), 'open': b'', 'zeros': bytes(8), 'item-end': self.element(ITEM_END, ''),
               'item-end-twice': self.element(ITEM_END, '') * 2}[kind]
        return self.element(tag, vr, items, length=UNDEFINED) + end

    def code(self):
        return self.element((8, 0x100), 'SH', 'CTABD') + self.element((8, 0x102), 'SH', '99TEST') + self.element((8, 0x104), 'LO', 'CT abdomen')


def uid(r, kind, plain):
    return {'plain': plain, 'long': plain + '.1234567890' * 4, 'letters': plain + '.5A7f', 'trailing-dot': plain + '.', 'two-dots': plain.replace('.3680043', '..3680043'),
            'leading-zero': plain + '.007', 'spaces': plain + '   ', 'nulls': plain + '\0\0\0', 'leading-space': ' ' + plain,
            'newline': plain + '\r\n', 'empty': '', 'word': 'UNKNOWN', 'two': plain + '\\' + plain}[kind]


UID_KINDS = ['plain', 'long', 'letters', 'trailing-dot', 'two-dots', 'leading-zero', 'spaces', 'nulls', 'leading-space', 'newline', 'empty', 'word', 'two']


def odd_elements(r, w, said):
    """One odd thing between the elements of groups 0008 and 0010, or none."""
    kind = r.choice(['none', 'sequence', 'sequence', 'sequence', 'nested', 'private-un', 'private-un', 'odd-length', 'blob', 'vr', 'group-length', 'no-vr', 'fake-item', 'empty-sequence', 'two-byte-un', 'zeros'])
    said.append(kind)
    if kind == 'sequence':
        ends, items = r.choice(['defined', 'undefined', 'open', 'zeros', 'item-end', 'item-end-twice']), r.choice(['defined', 'undefined', 'seq-end', 'open'])
        said.append(f'{ends}/{items}')
        return w.sequence((8, 0x1032), b''.join(w.item(w.code(), items) for _ in range(r.randint(1, 3))), ends)
    if kind == 'nested':
        ends, inner, items = (r.choice(['defined', 'undefined']), r.choice(['defined', 'undefined', 'open']), r.choice(['defined', 'undefined']))
        said.append(f'{ends}/{inner}/{items}')
        deep = w.sequence((8, 0x1199), w.item(w.element((8, 0x1150), 'UI', '1.2.840.10008.5.1.4.1.1.2') + w.element((8, 0x1155), 'UI', ROOT + '.8'), items), inner)
        return w.sequence((8, 0x1115), w.item(deep + w.element((0x20, 0xe), 'UI', ROOT + '.9'), items), ends)
    if kind == 'private-un':
        inner = Writer(r.random() < 0.7, w.order == '>')
        said.append('implicit' if inner.implicit else 'explicit')
        ends, items = r.choice(['defined', 'undefined']), r.choice(['defined', 'undefined'])
        content = inner.item(inner.code(), items)
        creator = w.element((9, 0x10), 'LO', 'ACME 1.1')
        if ends == 'defined':
            return creator + w.element((9, 0x1001), 'UN', content)
        return creator + w.element((9, 0x1001), 'UN', content, length=UNDEFINED) + w.element(SEQ_END, '')
    if kind == 'odd-length':
        return w.element((8, 0x1070), 'PN', 'A^BCD', pad=False)
    if kind == 'blob':
        return w.element((9, 0x1010), 'SQ', bytes(r.randrange(256) for _ in range(r.choice([4, 20, 301]))), pad=False)
    if kind == 'vr':
        vr = r.choice(['ZZ', 'AB', 'UN', 'UT'])
        said.append(vr)
        # The standard says that those of later editions have the long form.
        head = struct.pack(w.order + 'HH', 9, 0x1020)
        return w.element((9, 0x1020), vr, 'value') if w.implicit or vr in ('UN', 'UT') else head + vr.encode() + struct.pack(w.order + 'H', 6) + b'value '
    if kind == 'group-length':
        return w.element((9, 0), r.choice(['UL', 'UN']), struct.pack(w.order + 'I', 300))
    if kind == 'no-vr':
        return Writer(True, w.order == '>').element((8, 0x1080), 'LO', 'without')
    if kind == 'fake-item':
        return w.element((9, 0x1008), r.choice(['UN', 'OB']), struct.pack(w.order + 'HHI', *ITEM, 0x7fff0000) + b'SV10' + bytes(100))
    if kind == 'empty-sequence':
        return w.sequence((8, 0x1032), b'', r.choice(['defined', 'undefined', 'open']))
    if kind == 'two-byte-un':
        head = struct.pack(w.order + 'HH', 9, 0x1021)
        return w.element((9, 0x1021), 'UN', 'value') if w.implicit else head + b'UN' + struct.pack(w.order + 'H', 6) + b'value '
    if kind == 'zeros':
        return bytes(8 * r.randint(1, 5))
    return b''


def data_set(r, n, w, said):
    kinds = [r.choice(UID_KINDS) if r.random() < 0.2 else 'plain' for _ in range(3)]
    said.extend(f'{name}={kind}' for name, kind in zip(('study', 'series', 'sop'), kinds) if kind != 'plain')
    study, series, sop = (uid(r, kind, f'{ROOT}.{n}' + '.1' * level) for level, kind in enumerate(kinds))
    out = [w.element((8, 5), 'CS', 'ISO_IR 100')] if r.random() < 0.5 else []
    out += [w.element((8, 0x16), 'UI', '1.2.840.10008.5.1.4.1.1.2')]
    missing = r.choice(['sop', 'series', 'study', 'patient']) if r.random() < 0.1 else ''
    said.extend([f'without {missing}'] if missing else [])
    out += [w.element((8, 0x18), 'UI', sop)] if missing != 'sop' else []
    out += [w.element((8, 0x20), 'DA', '20260102'), w.element((8, 0x60), 'CS', 'CT'), w.element((8, 0x1030), 'LO', 'odd')]
    out += [odd_elements(r, w, said), w.element((0x10, 0x10), 'PN', f'Odd^{n}')]
    out += [w.element((0x10, 0x20), 'LO', f'P-{n}')] if missing != 'patient' else []
    out += [odd_elements(r, w, said).replace(struct.pack(w.order + 'HH', 8, 0x1032), struct.pack(w.order + 'HH', 0x18, 0x9006))] if r.random() < 0.2 else []
    out += [w.element((0x20, 0xd), 'UI', study)] if missing != 'study' else []
    out += [w.element((0x20, 0xe), 'UI', series)] if missing != 'series' else []
    us = lambda tag, n: w.element(tag, 'US', struct.pack(w.order + 'H', n))
    out += [us((0x28, 2), 1), us((0x28, 0x10), 8), us((0x28, 0x11), 8), us((0x28, 0x100), 16), us((0x28, 0x101), 12), us((0x28, 0x102), 11), us((0x28, 0x103), 0)]
    if r.random() < 0.05:
        said.append('shuffled')
        r.shuffle(out)
    out += [w.element((0x7fe0, 0x10), 'OW', bytes(r.randrange(256) for _ in range(128)))]
    return b''.join(out)


def meta(r, n, syntax, said):
    w = Writer(implicit=r.random() < 0.05)
    said.extend(['implicit meta'] if w.implicit else [])
    body = w.element((2, 1), 'OB', b'\0\1') + w.element((2, 2), 'UI', '1.2.840.10008.5.1.4.1.1.2') + w.element((2, 3), 'UI', f'{ROOT}.{n}.1.1')
    body += w.element((2, 0x10), 'UI', SYNTAXES[syntax])
    length = r.choice([len(body)] * 12 + [0, len(body) + 8, len(body) - 10, None])
    said.extend([f'group length {length}'] if length != len(body) else [])
    return (w.element((2, 0), 'UL', struct.pack('<I', length)) if length is not None else b'') + body


def odd_file(r, n):
    said = []
    encoding = r.choice(['explicit'] * 4 + ['implicit'] * 3 + ['big', 'deflated'])
    said.append(encoding)
    declared = encoding if r.random() < 0.85 or encoding == 'deflated' else r.choice(['explicit', 'implicit', 'unknown', 'jpeg'])
    said.extend([f'said to be {declared}'] if declared != encoding else [])
    body = data_set(r, n, Writer(encoding == 'implicit', encoding == 'big'), said)
    if encoding == 'deflated':
        body = zlib.compress(body)[2:-4]
    head = r.choice(['whole'] * 9 + ['bare', 'no preamble', 'no meta', 'marker first'])
    said.extend([head] if head != 'whole' else [])
    if encoding == 'deflated' and head in ('bare', 'no meta'):
        head = 'whole'
    start = {'whole': bytes(128) + b'DICM', 'bare': b'', 'no preamble': b'', 'no meta': bytes(128) + b'DICM', 'marker first': b'DICM'}[head]
    data = start + (meta(r, n, declared, said) if head not in ('bare', 'no meta') else b'') + body
    tail = r.choice(['none'] * 6 + ['garbage', 'zeros', 'cut', 'cut'] if encoding != 'deflated' else ['none', 'garbage'])
    if tail == 'cut' and {'implicit', 'shuffled', 'bare'} <= set(said):
        tail = 'none'  # Nothing would say that what is left is DICOM.
    said.extend([tail] if tail != 'none' else [])
    if tail == 'garbage':
        data += b'<!-- exported by a portal -->\r\n' * 20
    if tail == 'zeros':
        data += bytes(4096)
    if tail == 'cut':
        data = data[:r.randint(140, len(data))]
    return data, said


def by_pydicom(path):
    with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
        warnings.simplefilter('ignore')
        try:
            found = pydicom.dcmread(path, force=True)
            values = [found.get_item(tag) if tag in found else None for tag in ASKED]
        except Exception:
            return [None] * 4
    raw = lambda value: value if isinstance(value, bytes) else '\\'.join(value) if isinstance(value, (list, pydicom.multival.MultiValue)) else str(value or '')
    return [None if value is None else raw(value.value) for value in values]


def by_dcmdump(path):
    """By the lines that are not indented, which are those of top-level elements. Some odd files make it print for ever."""
    dump = subprocess.Popen(['dcmdump', '-q', '+L', '+E', str(path)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    shown = dump.stdout.read(DUMPED_BYTES_MAX)
    dump.kill()
    dump.wait()
    found = [None] * 4
    for line in shown.split(b'\n'):
        for at, (group, element) in enumerate(ASKED):
            if line.startswith(b'(%04x,%04x)' % (group, element)) and found[at] is None:
                value = line.split(b' ', 2)[2]
                found[at] = value[1:value.rindex(b']')] if value.startswith(b'[') and b']' in value else b''
    return found


def main():
    out, seed, count = pathlib.Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    logging.getLogger('pydicom').setLevel(logging.CRITICAL)
    r, files = random.Random(seed), []
    for n in range(1, count + 1):
        data, said = odd_file(r, n)
        path = out / f'{n:04d}.dcm'
        path.write_bytes(data)
        files.append((path, said))
    text = lambda value: '-' if value is None else '=' + urllib.parse.quote(value)
    with concurrent.futures.ThreadPoolExecutor(4) as threads:
        dumped = list(threads.map(by_dcmdump, (path for path, _ in files)))
    with open(out / 'readers.tsv', 'w') as table:
        for (path, said), dump in zip(files, dumped):
            values = [*by_pydicom(path), *dump]
            table.write('\t'.join([path.name, ', '.join(word for word in said if word != 'none'), *map(text, values)]) + '\n')


main()

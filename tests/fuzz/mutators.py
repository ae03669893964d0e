"""Damage that gets past the first check: inside JSON, zip members, protobuf fields, folders.

A folder is one input here: for each file a line `name size`, and its bytes. All is drawn from the
`random.Random` that is given, so that a seed says what is done.
"""

from __future__ import annotations

import io
import json
import random
import re
import zipfile
from collections.abc import Callable, Iterator
from typing import Any

Mutator = Callable[[bytes, random.Random], bytes]

_NUMBERS: tuple[int, ...] = (0, 1, -1, 2, 127, 128, 255, 2**15, 2**31 - 1, 2**31, 2**32)
_NUMBERS += (2**53 + 1, 2**63 - 1, 2**63, 2**64 - 1, -(2**63), 10**19, 10**25)
_TEXTS = ("", "a\nb", "\x1b[31m", "\0", "é", "\u2028", "x" * 3000, "../a", "%s{}", "1", "nan")
_VALUES: tuple[Any, ...] = (None, True, False, 0.5, -0.0, 1e308, float("nan"), float("inf"))
_VALUES += ([], {}, [[]], [{}], {"a": 1}, "\ud800", *_NUMBERS, *_TEXTS)
_ODD_JSON = (b"[" * 40, b"1" * 5000, b"1e999", b'"\\ud800"', b"\xff", b'{"a":1,"a":2}')
_HEADERS = (
    b"{'descr': '<i8', 'fortran_order': False, 'shape': (1000000000000, 0), }",
    b"{'descr': '<i8', 'fortran_order': True, 'shape': (1, 1), }",
    b"{'descr': '|O', 'fortran_order': False, 'shape': (1,), }",
    b"{'descr': '<U0', 'fortran_order': False, 'shape': (3,), }",
    b"{'descr': [('a', '<i8'), ('a', '<i8')], 'fortran_order': False, 'shape': (1,), }",
    b"{'descr': '<M8[ns]', 'fortran_order': False, 'shape': (1,), }",
    b"{'descr': '<i8', 'fortran_order': False, 'shape': (-1, -8), }",
    b"-" * 3000 + b"1",
    b"(" * 150,
)


def of_bytes(data: bytes, rng: random.Random) -> bytes:
    """Bytes changed, cut, doubled or put in, one to four times."""
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(data) + 1)
        size = min(rng.choice((1, 1, 2, 4, 8, 64)), len(data) - at)
        piece = data[at : at + size]
        match rng.randrange(6):
            case 0:
                new = bytes(byte ^ (1 << rng.randrange(8)) for byte in piece)
            case 1:
                new = rng.randbytes(size)
            case 2:
                new = b""
            case 3:
                new = piece * rng.choice((2, 3, 50))
            case 4:
                number = rng.choice(_NUMBERS) % 2 ** (8 * max(size, 1))
                new = number.to_bytes(max(size, 1), "little")
            case _:
                new = rng.choice(_TEXTS).encode() + piece
        data = data[:at] + new + data[at + size :]
    return data if rng.randrange(20) else data[: rng.randrange(len(data) + 1)]


def of_json(data: bytes, rng: random.Random) -> bytes:
    """Values of a document replaced, dropped, doubled, nested or moved."""
    try:
        return _of_json(data, rng)
    except (ValueError, RecursionError):  # no JSON any more, or too deep to go through
        return of_bytes(data, rng)


def _of_json(data: bytes, rng: random.Random) -> bytes:
    document = json.loads(data)
    for _ in range(rng.randint(1, 3)):
        places = list(_places(document))
        if not places:
            break
        holder, key = rng.choice(places)
        match rng.randrange(7):
            case 0:
                del holder[key]
            case 1:
                holder[key] = [holder[key]] * rng.choice((1, 2, 9))
            case 2:
                holder[key] = {rng.choice(_TEXTS): holder[key]}
            case 3:
                other, there = rng.choice(places)
                if there in other if isinstance(other, dict) else there < len(other):
                    holder[key] = json.loads(json.dumps(other[there]))
            case 4 if isinstance(holder, dict):
                holder[rng.choice(_TEXTS)] = holder.pop(key)
            case _:
                holder[key] = rng.choice(_VALUES)
    text = json.dumps(document, indent=rng.choice((None, 1, 2)), ensure_ascii=rng.random() < 0.5)
    made = text.encode(errors="surrogatepass")
    if rng.randrange(10) == 0:
        spots = [found.span() for found in re.finditer(rb'"[^"]*"(?!:)|\d+', made)]
        begin, end = rng.choice(spots or [(0, 0)])
        made = made[:begin] + rng.choice(_ODD_JSON) + made[end:]
    return made


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    if isinstance(value, dict | list):
        for key in value if isinstance(value, dict) else range(len(value)):
            yield value, key
            yield from _places(value[key])


def of_lines(data: bytes, rng: random.Random) -> bytes:
    """One line of JSON lines changed, the others kept."""
    lines = data.split(b"\n")
    at = rng.randrange(len(lines))
    lines[at] = rng.choice((of_json, of_bytes))(lines[at], rng)
    return b"\n".join(lines)


def of_csv(data: bytes, rng: random.Random) -> bytes:
    """Cells, quotes and separators."""
    tokens = re.split(rb'([,\n" ])', data)
    for _ in range(rng.randint(1, 3)):
        at = rng.randrange(len(tokens))
        text = rng.choice((*_TEXTS, *map(str, _NUMBERS), '"', ",", "\r", "\n", "1_0", "1" * 5000))
        tokens[at] = text.encode()
    made = b"".join(tokens)
    return made if rng.randrange(3) else of_bytes(made, rng)


def of_zip(data: bytes, rng: random.Random) -> bytes:
    """Members changed, renamed, dropped or doubled; or bytes of the archive itself."""
    if rng.randrange(4) == 0:
        return of_bytes(data, rng)
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = [(name, archive.read(name)) for name in archive.namelist()]
    except Exception:  # whatever: it is damaged already  # noqa: BLE001
        return of_bytes(data, rng)
    if not members:
        return of_bytes(data, rng)
    for _ in range(rng.randint(1, 2)):
        at = rng.randrange(len(members))
        name, content = members[at]
        match rng.randrange(6):
            case 0 if len(members) > 1:
                del members[at]
            case 1:
                members[at] = (rng.choice((*_TEXTS[:-1], f"a\n/{name}")) or "a", content)
            case 2:
                members.append((name + rng.choice(("", ".npy", "/")), content))
            case 3 if content.startswith(b"\x93NUMPY"):
                header = rng.choice(_HEADERS) + b"\n"
                size = len(header).to_bytes(2, "little")
                members[at] = (name, b"\x93NUMPY\x01\x00" + size + header + content[128:])
            case _:
                members[at] = (name, of_member(name)(content, rng))
    return zipped(members, rng)


def zipped(members: list[tuple[str, bytes]], rng: random.Random) -> bytes:
    buffer = io.BytesIO()
    method = rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, content in members:
            info = zipfile.ZipInfo(name)  # 1980, so that the same members give the same bytes
            info.compress_type = method
            try:
                archive.writestr(info, content)
            except UserWarning:  # a member twice, where warnings are errors
                continue
    return buffer.getvalue()


def of_protobuf(data: bytes, rng: random.Random, depth: int = 0) -> bytes:
    """A field changed, dropped, doubled or moved, in the message or in one that lies in it."""
    fields = list(_fields(data))
    if not fields:
        return of_bytes(data, rng)
    at = rng.randrange(len(fields))
    number, wire, value = fields[at]
    kind = rng.randrange(9) if depth else 8
    if kind >= 5 and wire == 2 and len(value) > 1 and depth < 8:
        inner = of_protobuf(value, rng, depth + 1)
        fields[at] = (number, wire, inner)
    elif kind == 0:
        del fields[at]
    elif kind == 1:
        fields.insert(rng.randrange(len(fields) + 1), fields[at])
    elif kind == 2:
        fields[at] = (rng.choice((0, 1, 2, 5, 6, 7, 9, 10, 13, 14, 20, 22, 25)), wire, value)
    elif kind == 3:
        numbers = b"".join(varint(rng.choice(_NUMBERS) % 2**64) for _ in range(3))
        fields[at] = (number, rng.choice((0, 2)), numbers)
    elif wire == 0:
        fields[at] = (number, wire, varint(rng.choice((*range(24), *_NUMBERS)) % 2**64))
    else:
        fields[at] = (number, wire, of_bytes(value, rng))
    return b"".join(_written(*field) for field in fields)


def _fields(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        begin = at
        if tag & 7 == 2:
            size, begin = _varint(data, at)
            at = begin + size
        elif tag & 7 == 0:
            at = _varint(data, at)[1]
        else:
            at += {1: 8, 5: 4}.get(tag & 7, len(data))
        if at > len(data):
            return
        yield tag >> 3, tag & 7, data[begin:at]


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while at < len(data):
        value |= (data[at] & 127) << shift
        at, shift = at + 1, shift + 7
        if data[at - 1] < 128:
            break
    return value, at


def varint(value: int) -> bytes:
    made = bytearray()
    while value > 127:
        made.append(value & 127 | 128)
        value >>= 7
    return bytes((*made, value))


def _written(number: int, wire: int, value: bytes) -> bytes:
    size = varint(len(value)) if wire == 2 else b""
    return varint(number << 3 | wire) + size + value


def of_safetensors(data: bytes, rng: random.Random) -> bytes:
    """The JSON of the header, with its right size; or any byte."""
    end = 8 + int.from_bytes(data[:8], "little")
    if rng.randrange(4) == 0 or end > len(data):
        return of_bytes(data, rng)
    header = of_json(data[8:end], rng)
    return len(header).to_bytes(8, "little") + header + data[end:]


def pack(files: dict[str, bytes]) -> bytes:
    return b"".join(b"%s %d\n" % (name.encode(), len(data)) + data for name, data in files.items())


def unpack(data: bytes) -> dict[str, bytes]:
    """The files in a pack, as far as it goes."""
    files = {}
    while found := re.match(rb"([\w.]{1,40}) (\d{1,7})\n", data):
        end = found.end() + int(found[2])
        files[found[1].decode()] = data[found.end() : end]
        data = data[end:]
    return files


def of_folder(data: bytes, rng: random.Random) -> bytes:
    """One of the files changed as befits it, or dropped."""
    files = unpack(data)
    if not files:
        return of_bytes(data, rng)
    name = rng.choice(sorted(files))
    if rng.randrange(30) == 0:
        del files[name]
    else:
        files[name] = of_member(name)(files[name], rng)
    return pack(files)


def of_member(name: str) -> Mutator:
    """What befits a file of this name."""
    suffix = name.rpartition(".")[2]
    return _BY_SUFFIX.get(suffix, of_bytes)


_BY_SUFFIX: dict[str, Mutator] = {
    "json": of_json,
    "jsonl": of_lines,
    "csv": of_csv,
    "npz": of_zip,
    "pt": of_zip,
    "onnx": of_protobuf,
    "safetensors": of_safetensors,
}

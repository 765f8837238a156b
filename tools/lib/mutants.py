"""One input of a fuzz run: a good file, changed at random in a way that its seed and number repeat."""

from __future__ import annotations

import gzip
import io
import random
import re
import struct
import zipfile
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path

_MOST_CHANGES = 3
_LARGEST_CHUNK = 64
_EXTREMES = tuple(
    struct.pack(f"{order}{kind}", value)
    for order in "<>"
    for kind, values in {
        "b": (0, -1, 127, -128),
        "h": (0, -1, 1, 32767, -32768),
        "i": (0, -1, 1, 2**31 - 1, -(2**31), 65536),
        "q": (0, -1, 2**63 - 1, 2**40),
        "f": (0.0, -0.0, float("nan"), float("inf"), 1e38, 1e-38),
        "d": (float("nan"), float("-inf"), 1e308),
    }.items()
    for value in values
)
_NUMBERS = (
    "", "0", "-0", "-1", "1", "255", "256", "65536", "2147483648", "99999999999999999999999", "1e308", "1e999",
    "-1e-320", "nan", "inf", "-inf", "0.5", "1,5", "6_0", "0x10", "1e", "٣", "²", "1" * 5000, "None", "true",
)  # fmt: skip
_WORDS = (
    "\0", "\r", "\n", "\r\n", ";", "\t", ",", '"', "'", "=1+1", "@x", "../", "/", "\\", "\u202e", "\ufeff", "\xe9",
    "~", "[", "]", "(", ")", "{", "}", ":", "- ", "&a ", "*a", "!!python/object:os.system ", "null", "#", "|", "%s",
    "a" * 3000,
)  # fmt: skip
_DIGITS = re.compile(rb"-?\d[\d.]*")

Change = Callable[[random.Random, bytes, bytes], bytes]


def mutated(files: Sequence[Path], key: tuple[int, str, int]) -> tuple[Path, bytes]:
    """Which of the files is changed, and its new bytes."""
    rng = random.Random(repr(key))
    path = rng.choice(files)
    other = rng.choice([file for file in files if file.suffix == path.suffix])
    return path, _changed_inside(rng, path.name.lower(), path.read_bytes(), other.read_bytes())


def _changed_inside(rng: random.Random, name: str, data: bytes, other: bytes) -> bytes:
    """Half of the time a packed file is changed behind its checksums."""
    if rng.random() < 0.5:
        return _changed(rng, data, other)
    if name.endswith(".png"):
        return _with_right_checksums(_changed(rng, data, other))
    if name.endswith(".gz"):
        return gzip.compress(_changed(rng, gzip.decompress(data), gzip.decompress(other)), 1)
    if name.endswith((".npz", ".pt")):
        return _archive(rng, data)
    if b"CompressedData = True" in data and b"LOCAL\n" in data:
        header, mark, packed = data.partition(b"LOCAL\n")
        if rng.random() < 0.5:
            return _changed(rng, header, header) + mark + packed
        return header + mark + zlib.compress(_changed(rng, zlib.decompress(packed), b"\0" * 40), 1)
    # The header, where there is one, is what most is decided by.
    front = min(len(data), rng.choice((64, 400)))
    return _changed(rng, data[:front], other[:front]) + data[front:]


def _changed(rng: random.Random, data: bytes, other: bytes) -> bytes:
    changes = _TEXT if _is_text(data) else _BINARY
    for _ in range(rng.randint(1, _MOST_CHANGES)):
        data = rng.choice(changes)(rng, data, other)
    return data


def _is_text(data: bytes) -> bool:
    try:
        return "\0" not in data[:4000].decode("utf-8")
    except UnicodeDecodeError:
        return False


def _flip(rng: random.Random, data: bytes, other: bytes) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 4, 16)) if data else 0):
        bit = rng.randrange(8 * len(changed))
        changed[bit // 8] ^= 1 << (bit % 8)
    return bytes(changed)


def _cut(rng: random.Random, data: bytes, other: bytes) -> bytes:
    return data[: rng.randrange(len(data) + 1)]


def _chunk(rng: random.Random, data: bytes) -> tuple[int, int]:
    start = rng.randrange(len(data) + 1)
    return start, min(start + rng.randint(1, _LARGEST_CHUNK), len(data))


def _without(rng: random.Random, data: bytes, other: bytes) -> bytes:
    start, end = _chunk(rng, data)
    return data[:start] + data[end:]


def _twice(rng: random.Random, data: bytes, other: bytes) -> bytes:
    start, end = _chunk(rng, data)
    times = rng.choice((1, 1, 2, 100))
    return data[:end] + data[start:end] * times + data[end:]


def _inserted(rng: random.Random, data: bytes, other: bytes) -> bytes:
    start, _ = _chunk(rng, data)
    return data[:start] + rng.randbytes(rng.randint(1, 20)) + data[start:]


def _zeroed(rng: random.Random, data: bytes, other: bytes) -> bytes:
    start, end = _chunk(rng, data)
    return data[:start] + bytes([rng.choice((0, 255))]) * (end - start) + data[end:]


def _extreme(rng: random.Random, data: bytes, other: bytes) -> bytes:
    start, value = rng.randrange(len(data) + 1), rng.choice(_EXTREMES)
    return data[:start] + value + data[start + len(value) :]


def _spliced(rng: random.Random, data: bytes, other: bytes) -> bytes:
    return data[: rng.randrange(len(data) + 1)] + other[rng.randrange(len(other) + 1) :]


def _number(rng: random.Random, data: bytes, other: bytes) -> bytes:
    places = list(_DIGITS.finditer(data))
    if not places:
        return data
    place = rng.choice(places)
    return data[: place.start()] + rng.choice(_NUMBERS).encode() + data[place.end() :]


def _word(rng: random.Random, data: bytes, other: bytes) -> bytes:
    start = rng.randrange(len(data) + 1)
    return data[:start] + rng.choice(_WORDS).encode() + data[start:]


def _line(rng: random.Random, data: bytes, other: bytes) -> bytes:
    """A line twice, gone, or of the other file."""
    lines, others = data.split(b"\n"), other.split(b"\n")
    at = rng.randrange(len(lines))
    lines[at : at + 1] = rng.choice(([lines[at]] * 2, [], [rng.choice(others)], [lines[at], rng.choice(others)]))
    return b"\n".join(lines)


def _encoded(rng: random.Random, data: bytes, other: bytes) -> bytes:
    text = data.decode("utf-8", "replace")
    return text.encode(rng.choice(("utf-16", "utf-8-sig", "utf-32")), "replace")


_BINARY: tuple[Change, ...] = (_flip, _flip, _cut, _without, _twice, _inserted, _zeroed, _extreme, _extreme, _spliced)
_TEXT: tuple[Change, ...] = (
    _flip, _cut, _without, _twice, _inserted, _spliced, _number, _number, _number, _word, _word, _line, _line, _encoded,
)  # fmt: skip


def _with_right_checksums(data: bytes) -> bytes:
    """A PNG whose chunks have the checksum of what they hold; what is not a chunk stays."""
    out, place = data[:8], 8
    while place + 12 <= len(data):
        length = int.from_bytes(data[place : place + 4], "big")
        end = place + 8 + length
        if end + 4 > len(data):
            break
        out += data[place:end] + zlib.crc32(data[place + 4 : end]).to_bytes(4, "big")
        place = end + 4
    return out + data[place:]


def _archive(rng: random.Random, data: bytes) -> bytes:
    """A ZIP archive one of whose members is changed, missing or renamed."""
    stream = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as before, zipfile.ZipFile(stream, "w") as after:
        names = before.namelist()
        chosen = rng.choice(names)
        for name in names:
            content = before.read(name)
            if name == chosen:
                what = rng.random()
                if what < 0.1:
                    continue
                if what < 0.15:
                    name += "x"
                front = min(len(content), rng.choice((128, 1 << 20)))
                content = _changed(rng, content[:front], content[:front]) + content[front:]
            after.writestr(name, content, zipfile.ZIP_STORED)
    return stream.getvalue()

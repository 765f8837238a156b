"""The checks that a format brings along, all of them: what is damaged anywhere is no picture and no volume.

Decoders stop where the last pixel is known, in front of the checksum; here files are read to their end. Which formats
have no checksum, so that a flipped bit cannot be known, stands in ``docs/file-integrity.md``.
"""

from __future__ import annotations

import gzip
import mmap
import re
import struct
import sys
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import IO, Any

import attrs
from isal import isal_zlib

from aop_pose.errors import UnreadableError

_STEP = 1 << 20
# A class, whatever its type stub says.
_DAMAGED: type[Exception] = isal_zlib.error  # type: ignore[assignment]
_KEPT = 8 << 20
"""Bytes of pixels of a PNG, unpacked, that are kept for its decoder."""
_SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
"""Of a pixel, by the colour type of a PNG."""
_CUT = "truncated: the file ends before its picture does"
_PNG_SIGNATURE = 8
_PNG_TURNED_BY = frozenset({b"eXIf", b"tEXt", b"zTXt", b"iTXt"})
# A marker of a JPEG that is not a part of its pixels: neither a stuffed zero nor a restart.
_JPEG_MARKER = re.compile(rb"\xff+([\x01-\xcf\xd8-\xfe])", re.DOTALL)
_JPEG_END, _JPEG_SCAN, _JPEG_ALONE = 0xD9, 0xDA, frozenset({0x01, 0xD8})


@contextmanager
def mapped(stream: IO[bytes]) -> Iterator[memoryview]:
    """The bytes of an open file, not copied; its position stays."""
    with mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data, memoryview(data) as view:
        yield view


@attrs.define
class Png:
    """Facts in the chunks of a PNG."""

    depth: int = 8
    """Bits of a sample."""
    says_turned: bool = False
    """True where a chunk, in front of the pixels or behind them, may hold an EXIF or XMP orientation."""
    damage: str = ""
    """Why it is not whole; empty where it is."""
    whole_frames: int = sys.maxsize
    """Frames in front of the damage; a still has none of them."""
    stored: bytes = b""
    """The same file of a small still with its pixels stored unpacked: no decoder needs to unpack them once more."""


def check_png(data: memoryview, checksums: bool = True) -> Png:
    """Walk over every chunk up to IEND: its length, its CRC-32, and the Adler-32 of the pixels."""
    found = Png()
    begun = 0
    # ISA-L reads in half of zlib's time.
    inflate: Any = None
    pixels = _Pixels()
    place = _PNG_SIGNATURE
    while not found.damage:
        if place + 12 > len(data):
            found.damage = _CUT
            break
        length, kind = int.from_bytes(data[place : place + 4], "big"), bytes(data[place + 4 : place + 8])
        end = place + 12 + length
        if end > len(data):
            found.damage = _CUT
            break
        body = data[place + 8 : end - 4]
        if checksums and isal_zlib.crc32(data[place + 4 : end - 4]) != int.from_bytes(data[end - 4 : end], "big"):
            found.damage = f"damaged: the checksum of its chunk {kind.decode('ascii', 'backslashreplace')} is wrong"
            break
        if kind == b"IHDR" and length >= 9:
            found.depth = body[8]
        elif kind in _PNG_TURNED_BY:
            found.says_turned = True
        elif kind == b"fcTL" or (kind == b"IDAT" and begun == 0):
            begun, inflate = begun + 1, isal_zlib.decompressobj()
        if checksums and inflate is not None and kind in (b"IDAT", b"fdAT"):
            try:
                for piece in _unpacked(inflate, body if kind == b"IDAT" else body[4:]):
                    pixels.add(piece)
            except _DAMAGED:
                found.damage = "damaged: its compressed pixels cannot be unpacked"
        pixels.meet(kind, place, end)
        if kind == b"IEND":
            break
        place = end
    if found.damage:
        found.whole_frames = max(begun - 1, 0)
    else:
        found.stored = pixels.stored(data)
    return found


def _unpacked(inflate: Any, packed: memoryview) -> Iterator[bytes]:
    piece: bytes | memoryview = packed
    while piece and not inflate.eof:
        yield inflate.decompress(piece, _STEP)
        piece = inflate.unconsumed_tail


@attrs.define
class _Pixels:
    """The pixels of a small PNG, unpacked, with the filters of their lines."""

    pieces: list[bytes] = attrs.field(factory=list)
    held: int = 0
    first: int = 0
    """The place of their first chunk in the file, and the end of their last one."""
    last: int = 0
    whole: bool = True
    """They are those of a still, whose chunks follow each other."""

    def add(self, piece: bytes) -> None:
        self.held += len(piece)
        if self.held <= _KEPT:
            self.pieces.append(piece)

    def meet(self, kind: bytes, begin: int, end: int) -> None:
        """Note the place of a chunk."""
        if kind == b"IDAT":
            self.whole = self.whole and self.last in (0, begin)
            self.first, self.last = self.first or begin, end
        self.whole = self.whole and kind != b"fcTL"

    def stored(self, data: memoryview) -> bytes:
        """See ``Png.stored``."""
        width, height, depth, colour, _, _, interlaced = struct.unpack(">IIBBBBB", data[16:29])
        bits = width * depth * _SAMPLES.get(colour, 0)
        lines = b"".join(self.pieces) if self.held <= _KEPT else b""
        if not self.whole or depth > 8 or interlaced or not bits or len(lines) != height * (1 + -(-bits // 8)):
            return b""
        kept = b"IDAT" + zlib.compress(lines, 0)
        chunk = struct.pack(">I", len(kept) - 4) + kept + struct.pack(">I", isal_zlib.crc32(kept))
        return bytes(data[: self.first]) + chunk + bytes(data[self.last :])


def check_jpeg(data: memoryview) -> int:
    """Number of scans in front of the end marker, whatever lies behind that; UnreadableError where there is none.

    libjpeg paints what is missing gray, so the end marker must be there.
    """
    scans, place = 0, 2
    while (marker := _JPEG_MARKER.search(data, place)) is not None:
        kind, place = marker[1][0], marker.end()
        if kind == _JPEG_END:
            return scans
        if kind not in _JPEG_ALONE:
            place += max(int.from_bytes(data[place : place + 2], "big"), 2)
        scans += kind == _JPEG_SCAN
    raise UnreadableError("truncated: the JPEG has no end marker")


def check_zlib(pieces: Iterable[bytes | memoryview], least: int, most: int) -> None:
    """Read a zlib or gzip stream to its end, where the checksum stands.

    UnreadableError where it is damaged, is cut, or does not hold between ``least`` and ``most`` bytes.
    """
    held = 0
    for number in _lengths(pieces):
        held += number
        if held > most:
            raise UnreadableError(f"damaged: its header promises {most} bytes of pixels, more are packed")
    if held < least:
        raise UnreadableError(f"truncated: its header promises {least} bytes of pixels, {held} are packed")


def _lengths(pieces: Iterable[bytes | memoryview]) -> Iterator[int]:
    """Bytes unpacked, step by step."""
    inflate = zlib.decompressobj(wbits=zlib.MAX_WBITS | 32)
    try:
        for packed in pieces:
            piece: bytes | memoryview = packed
            while piece and not inflate.eof:
                yield len(inflate.decompress(piece, _STEP))
                piece = inflate.unconsumed_tail
        while not inflate.eof and (rest := inflate.decompress(b"", _STEP)):
            yield len(rest)
    except zlib.error:
        raise UnreadableError("damaged: its compressed pixels cannot be unpacked") from None
    if not inflate.eof:
        raise UnreadableError("truncated: its compressed pixels have no end")


def pieces_of(stream: IO[bytes]) -> Iterator[bytes]:
    """The rest of an open file, in pieces."""
    while piece := stream.read(_STEP):
        yield piece


def check_gzip(stream: gzip.GzipFile, most: int) -> int:
    """Bytes that a gzip file unpacks to, read to its end, where the checksums stand, or until they are too many.

    UnreadableError where it is damaged or cut.
    """
    held = 0
    try:
        while piece := stream.read(_STEP):
            held += len(piece)
            if held > most:
                break
    except EOFError:
        raise UnreadableError("truncated: its compressed voxels have no end") from None
    except (zlib.error, gzip.BadGzipFile):
        raise UnreadableError("damaged: its compressed voxels cannot be unpacked") from None
    return held

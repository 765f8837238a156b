"""DICOM files: their frames one by one, whatever the transfer syntax, and the regions that say where the ultrasound is.

Nothing that names a patient, a date or a place is read into memory, or said in a message.
"""

from __future__ import annotations

import logging
import math
import os
import re
import tempfile
import warnings
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, BinaryIO, Literal

import attrs
import numpy as np

from aop_pose.core.frame import MIN_SIDE, Frame
from aop_pose.core.region import Region
from aop_pose.errors import AopPoseError, UnreadableError
from aop_pose.io.clinic.video import Wanted
from aop_pose.io.intact import check_jpeg
from aop_pose.io.pixels import check_size, check_unpacked, rgb_to_gray, to_gray8

DICOM_SUFFIXES = frozenset({".dcm", ".dicom", ".ima"})
INSTALL = "install what DICOM needs: pip install 'aop-pose[dicom]'"
MARK_END = 132
"""Bytes of a file that tell whether it is DICOM."""
_MARK = slice(128, MARK_END)
# So that a pipe in a folder stops nobody; Windows has neither such pipes nor this flag.
_NOT_WAITING = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)

# PS3.3 C.8.5.5: what an item of the Sequence of Ultrasound Regions is, and what it counts in.
_TWO_DIMENSIONS, _TISSUE, _CENTIMETRES = 1, 1, 3
_SPACING_MM = (0.005, 5.0)
"""Millimetres per pixel that an ultrasound picture can have: 300 pixels of 1.5 mm are far more than any depth."""

# All that is read of a file: private elements of gigabytes in front of the pixels are passed over.
_TAGS = (
    "SOPClassUID", "SOPInstanceUID", "Rows", "Columns", "NumberOfFrames", "SamplesPerPixel", "PixelAspectRatio",
    "PhotometricInterpretation", "PlanarConfiguration", "BitsAllocated", "BitsStored", "HighBit",
    "PixelRepresentation", "WindowCenter", "WindowWidth", "VOILUTFunction", "VOILUTSequence", "RescaleSlope",
    "RescaleIntercept", "ModalityLUTSequence", "SequenceOfUltrasoundRegions", "FrameTime", "FrameTimeVector",
    "CineRate", "RecommendedDisplayFrameRate", "ExtendedOffsetTable", "ExtendedOffsetTableLengths",
    "SpecificCharacterSet",
    *(f"{kind}{colour}PaletteColorLookupTable{end}" for colour in ("Red", "Green", "Blue")
      for kind, end in (("", "Descriptor"), ("", "Data"), ("Segmented", "Data"))),
)  # fmt: skip
_PIXELS, _UNDEFINED = (0x7FE0, 0x0010), 0xFFFFFFFF
_START, _META_LENGTH, _DEFLATED, _STEP = 1024, slice(140, 144), b"1.2.840.10008.1.2.1.99", 1 << 20
_JPEG = frozenset({"1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51", "1.2.840.10008.1.2.4.57",
                   "1.2.840.10008.1.2.4.70"})  # fmt: skip
_ENDS_WITH_MARKER = frozenset({f"1.2.840.10008.1.2.4.{end}" for end in (80, 81, 90, 91, 201, 202, 203)})
_END_MARKER, _ITEM = b"\xff\xd9", b"\xfe\xff\x00\xe0"
_SAMPLED, _PARTIAL, _PALETTE, _WHITE_IS_ZERO = "YBR_FULL_422", "YBR_PARTIAL_422", "PALETTE COLOR", "MONOCHROME1"
# Names of 2024 that the library does not know yet.
_NEW_SYNTAXES = {f"1.2.840.10008.1.2.4.{end}": name for end, name in (
    (110, "JPEG XL Lossless"), (111, "JPEG XL JPEG Recompression"), (112, "JPEG XL"))}  # fmt: skip
_UNCOMPRESSED = "store it uncompressed (DCMTK: dcmconv, dcmdjpeg)"
# By a part of the name of a syntax that nothing decodes: what to do.
_OTHERWISE = {
    "JPEG XL": "no decoder can be installed yet: have it stored uncompressed or as JPEG 2000",
    **dict.fromkeys(("MPEG", "HEVC"), "it is a video: export the clip as MP4 or AVI, which are read"),
}
_DIRECTORY = "1.2.840.10008.1.3.10"

# The library logs what it finds odd, values of elements among it; without a handler that would reach stderr.
logging.getLogger("pydicom").addHandler(logging.NullHandler())
logging.getLogger("pydicom").propagate = False


def is_dicom(path: str | os.PathLike[str]) -> bool:
    """True for a regular file whose first bytes say DICOM; False too where it cannot be read."""
    try:
        descriptor = os.open(path, os.O_RDONLY | _NOT_WAITING)
        try:
            return begins_as_dicom(os.read(descriptor, MARK_END))
        finally:
            os.close(descriptor)
    except OSError:
        return False


def begins_as_dicom(start: bytes) -> bool:
    """True for the first bytes of a DICOM file."""
    return start[_MARK] == b"DICM"


@contextmanager
def quiet() -> Iterator[Any]:
    """Give pydicom with every warning off; UnreadableError where it is not installed, and for its own errors.

    Its words may quote values of a patient, so none of them is passed on.
    """
    try:
        import pydicom
    except ImportError:
        raise UnreadableError(f"DICOM cannot be read; {INSTALL}") from None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            yield pydicom
        except (AopPoseError, OSError, MemoryError):
            raise
        except EOFError:
            raise UnreadableError("truncated: the DICOM file ends before its picture does") from None
        except Exception as error:
            raise UnreadableError(f"damaged: DICOM that cannot be decoded ({type(error).__name__})") from None


@attrs.frozen(eq=False)
class Dicom:
    """The header of a file with pictures, and where its pixels begin."""

    stream: BinaryIO
    """At the pixels, if there are any; another stream than the one that was opened where that is deflated."""
    elements: Any
    """A pydicom data set of ``_TAGS`` alone."""
    syntax: str
    """UID of the transfer syntax."""
    width: int
    height: int
    frames: int
    """As the header says."""
    sop: str
    """SOP instance UID; "" where there is none."""
    parts: Sequence[tuple[Region, tuple[float, float] | None]]
    """Its regions that may hold the anatomy, each with (row, column) millimetres per pixel where it has them."""
    aspect: float | None
    """Height of a pixel over its width, where the file says it in whole numbers."""
    times: Callable[[int], float | None]
    """Number of a frame -> seconds from the first one; None where the file does not say."""


@contextmanager
def open_dicom(stream: BinaryIO) -> Iterator[Dicom]:
    """Give the header of an open file up to its pixels, in any encoding, with or without preamble.

    UnreadableError in one line for what holds no picture and for what is damaged.
    """
    with quiet():
        plain = _inflated(stream)
    try:
        yield _header(plain)
    finally:
        if plain is not stream:
            plain.close()


def _header(stream: BinaryIO) -> Dicom:
    with quiet() as pydicom:
        elements = pydicom.dcmread(stream, stop_before_pixels=True, force=True, specific_tags=list(_TAGS))
        kind = str(elements.get("SOPClassUID") or elements.file_meta.get("MediaStorageSOPClassUID", ""))
        if kind == _DIRECTORY:
            raise UnreadableError("a DICOMDIR, which lists files, with none that can be read")
        if not kind and "Rows" not in elements:
            raise UnreadableError("not a DICOM file, or damaged at its beginning")
        if not elements.get("Rows") or not elements.get("Columns"):
            # Only a name of the dictionary is said: whatever else stands there may be of a patient.
            name = pydicom.uid.UID(kind).name
            raise UnreadableError(f"no picture in it: {name if name != kind else 'no rows and columns'}")
        syntax = str(elements.file_meta.get("TransferSyntaxUID", "")) or _unsaid_syntax(elements)
        frames = max(int(elements.get("NumberOfFrames") or 1), 1)
        width, height = int(elements.Columns), int(elements.Rows)
        parts = parts_of(elements.get("SequenceOfUltrasoundRegions") or (), width, height)
        sop = str(elements.get("SOPInstanceUID", "") or "")
        times = _times(elements, frames)
        return Dicom(stream, elements, syntax, width, height, frames, sop, parts, _aspect(elements), times)


def _inflated(stream: BinaryIO) -> BinaryIO:
    """The same file, or what is in a deflated one, unpacked up to the limit of ``check_unpacked``."""
    place = stream.tell()
    start = stream.read(_START)
    if _DEFLATED not in start or not begins_as_dicom(start):
        stream.seek(place)
        return stream
    # The group of the file's own facts states its length; all behind it is one stream.
    stream.seek(place + _META_LENGTH.stop + int.from_bytes(start[_META_LENGTH], "little"))
    unpacked = tempfile.TemporaryFile()  # noqa: SIM115  # closed by who opened the file
    try:
        _inflate(stream, unpacked)
    except BaseException:
        unpacked.close()
        raise
    return unpacked


def _inflate(stream: BinaryIO, unpacked: BinaryIO) -> None:
    inflate, size, file_bytes = zlib.decompressobj(-zlib.MAX_WBITS), 0, os.fstat(stream.fileno()).st_size
    piece = b""
    while not inflate.eof and (piece := piece or stream.read(_STEP)):
        size += unpacked.write(inflate.decompress(piece, _STEP))
        check_unpacked(size, file_bytes)
        piece = inflate.unconsumed_tail
    if not inflate.eof:
        raise UnreadableError("truncated: its deflated bytes have no end")
    unpacked.seek(0)


def _unsaid_syntax(elements: Any) -> str:
    """The encoding of a file without file meta information, which the library has found out."""
    implicit, little = elements.original_encoding
    if not little:
        return "1.2.840.10008.1.2.2"
    return "1.2.840.10008.1.2" if implicit else "1.2.840.10008.1.2.1"


def parts_of(items: Sequence[Any], width: int, height: int) -> list[tuple[Region, tuple[float, float] | None]]:
    """The regions of a Sequence of Ultrasound Regions that may hold the anatomy: two-dimensional pictures of tissue.

    Each is cut to the picture and stands with (row, column) millimetres per pixel, None unless the item counts both
    axes in centimetres by deltas that a picture can have; their signs say a direction, not a size. Traces, pictures of
    flow, boxes that are none or lie outside, and slivers are left out. Of two items with one box one stays, without
    spacing where they disagree about it.
    """
    found: dict[Region, tuple[float, float] | None] = {}
    for item in items:
        if (item.get("RegionSpatialFormat"), item.get("RegionDataType")) != (_TWO_DIMENSIONS, _TISSUE):
            continue
        region = _box(item, width, height)
        if region is None or min(region.width, region.height) < MIN_SIDE:
            continue
        spacing = _spacing(item)
        found[region] = spacing if found.get(region, spacing) == spacing else None
    return list(found.items())


def _box(item: Any, width: int, height: int) -> Region | None:
    corners = [item.get(f"RegionLocation{name}") for name in ("MinX0", "MinY0", "MaxX1", "MaxY1")]
    if not all(isinstance(corner, int) for corner in corners):
        return None
    left, top, right, bottom = corners
    if right <= left or bottom <= top:
        return None
    # The last row and column belong to it.
    return Region(left, top, right - left + 1, bottom - top + 1, "file").clipped(width, height)


def _spacing(item: Any) -> tuple[float, float] | None:
    sizes = []
    for axis in ("Y", "X"):
        delta = item.get(f"PhysicalDelta{axis}")
        if item.get(f"PhysicalUnits{axis}Direction") != _CENTIMETRES or not isinstance(delta, (int, float)):
            return None
        sizes.append(abs(float(delta)) * 10)
    least, most = _SPACING_MM
    return (sizes[0], sizes[1]) if all(least <= size <= most for size in sizes) else None


def read_dicom(stream: BinaryIO, source: str, sop: str, wanted: Wanted) -> Iterator[Frame]:
    """Yield the wanted frames of an open file in order; one frame at a time is in memory.

    Where one region may hold the anatomy a frame has it and its spacing; where several may, it has a choice for each.
    Without a region there are no millimetres, whatever else the header says of sizes.

    Raises UnreadableError, also after frames have been yielded where a later one is damaged.
    """
    with open_dicom(stream) as file:
        check_size(file.width, file.height, 3)
        parts, times, aspect = file.parts, file.times, file.aspect
        for index, pixels in _pictures(file, lambda index: wanted(index, times(index))):
            frame = Frame(pixels, source=source, index=index, aspect=aspect, time_s=times(index), sop=sop, private=True)
            seen = [attrs.evolve(frame, region=region, spacing=spacing) for region, spacing in parts]
            yield seen[0] if len(seen) == 1 else attrs.evolve(frame, choices=tuple(seen))


def _aspect(elements: Any) -> float | None:
    try:
        vertical, horizontal = (int(value) for value in elements.get("PixelAspectRatio") or ())
    except (TypeError, ValueError):
        return None
    return vertical / horizontal if vertical > 0 and horizontal > 0 else None


def _times(elements: Any, frames: int) -> Callable[[int], float | None]:
    steps = [_number(step) for step in _several(elements.get("FrameTimeVector"))]
    if frames > 1 and len(steps) == frames and all(math.isfinite(step) and step >= 0 for step in steps):
        sums = np.cumsum([0.0, *steps[1:]]) / 1000
        return lambda index: float(sums[index]) if index < len(sums) else None
    step = _number(elements.get("FrameTime")) / 1000
    if not (math.isfinite(step) and step > 0):
        rate = _number(elements.get("CineRate") or elements.get("RecommendedDisplayFrameRate"))
        step = 1 / rate if math.isfinite(rate) and rate > 0 else math.nan
    return lambda index: index * step if frames > 1 and math.isfinite(step) else None


def _several(value: Any) -> Sequence[Any]:
    return () if value is None else value if isinstance(value, Sequence) and not isinstance(value, str) else (value,)


def _number(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        return math.nan


Asked = Callable[[int], "bool | None"]
"""Number of a frame -> whether it is wanted; None = nor is any further one."""


def _pictures(file: Dicom, asked: Asked) -> Iterator[tuple[int, np.ndarray]]:
    """Number and uint8 gray values (H, W) of each wanted frame."""
    with quiet() as pydicom:
        name = _NEW_SYNTAXES.get(file.syntax) or pydicom.uid.UID(file.syntax).name
        # Of what is no name of the dictionary only a number is said.
        name = name if name != file.syntax or re.fullmatch(r"[0-9.]{1,64}", name) else "unknown"
        try:
            decoder = pydicom.pixels.get_decoder(file.syntax)
        except NotImplementedError:
            what = next((words for mark, words in _OTHERWISE.items() if mark in name), _UNCOMPRESSED)
            raise UnreadableError(f"its transfer syntax {name} is not decoded; {what}") from None
        if not decoder.is_available:
            raise UnreadableError(f"its transfer syntax {name} needs a decoder; {INSTALL}")
        stored = (_encoded if decoder.is_encapsulated else _native)(file, decoder, asked)
        shown = _Shown.of(file.elements)
    while True:
        with quiet():
            found = next(stored, None)
            if found is None:
                return
            gray = shown.gray(found[1])
        yield found[0], gray


def _native(file: Dicom, decoder: Any, asked: Asked) -> Iterator[tuple[int, np.ndarray]]:
    """Number and values of each wanted frame of a file whose pixels are stored as they are."""
    stream, (vr, length, options) = file.stream, _begin(file)
    place = stream.tell()
    held = min(length, stream.seek(0, os.SEEK_END) - place)
    bits = file.width * file.height * options["bits_allocated"] * options["samples_per_pixel"]
    if options["photometric_interpretation"] == _SAMPLED:
        # 4 luma and 2 chroma values for every 4 pixels, unless it is stored in full and only said to be sub-sampled.
        full = held >= bits // 8 * file.frames
        options["photometric_interpretation"] = "YBR_FULL" if full else _SAMPLED
        bits = bits if full else bits * 2 // 3
    whole = held // max((bits + 7) // 8, 1)
    for index in range(min(file.frames, whole)):
        answer = asked(index)
        if answer is None:
            return
        if answer:
            stream.seek(place)
            yield index, decoder.as_array(stream, index=index, pixel_vr=vr, **options)[0]
    if whole < file.frames:
        raise UnreadableError(f"truncated: the pixels of {whole} of its {file.frames} frames are there")


def _encoded(file: Dicom, decoder: Any, asked: Asked) -> Iterator[tuple[int, np.ndarray]]:
    """The same of a file whose pixels are compressed, whatever fragments and offsets it has."""
    from pydicom.encaps import encapsulate, generate_frames

    stream, (_, length, options) = file.stream, _begin(file)
    if length != _UNDEFINED:
        raise UnreadableError("damaged: its pixels are not in fragments, as its transfer syntax has them")
    fragments, whole, file_bytes = _fragments(stream)
    number, unpacked = 0, 0
    packed = generate_frames(
        stream,
        # Fewer fragments than frames: the file is cut, and has one a frame.
        number_of_frames=max(min(file.frames, fragments), 1),
        extended_offsets=options.pop("extended_offsets", None),
    )
    options["number_of_frames"] = 1
    frame = next(packed, None)
    while frame is not None and number < file.frames:
        following = next(packed, None)
        if following is None and not whole:
            break
        answer = asked(number)
        if answer is None:
            return
        if answer:
            _check_end(frame, file.syntax)
            unpacked += file.width * file.height * options["samples_per_pixel"]
            check_unpacked(unpacked, file_bytes)
            yield number, decoder.as_array(encapsulate([frame], has_bot=False), index=0, **options)[0]
        frame, number = following, number + 1
    if number < file.frames:
        raise UnreadableError(f"truncated: the pixels of {number} of its {file.frames} frames are there")


def _fragments(stream: BinaryIO) -> tuple[int, bool, int]:
    """Number of fragments from here on, whether the last one is whole, bytes of the file; the position stays."""
    start = stream.tell()
    file_bytes = stream.seek(0, os.SEEK_END)
    place, number = start, -1
    while place + 8 <= file_bytes:
        stream.seek(place)
        head = stream.read(8)
        if head[:4] != _ITEM:
            break
        place += 8 + int.from_bytes(head[4:], "little")
        # The first item is the table of offsets.
        number += 1
    stream.seek(start)
    return max(number, 0), place <= file_bytes, file_bytes


def _check_end(frame: bytes, syntax: str) -> None:
    """UnreadableError for a compressed picture that is cut: decoders paint what is missing gray."""
    if syntax in _JPEG:
        check_jpeg(memoryview(frame))
    elif syntax in _ENDS_WITH_MARKER and _END_MARKER not in frame[-16:]:
        raise UnreadableError("truncated: the compressed picture has no end marker")


def _begin(file: Dicom) -> tuple[str, int, dict[str, Any]]:
    """Value representation and length of the pixels that begin here, and how they are stored."""
    from pydicom.pixels.utils import as_pixel_options
    from pydicom.uid import UID

    stream = file.stream
    syntax = UID(file.syntax)
    order: Literal["little", "big"] = "little" if syntax.is_little_endian else "big"
    head = stream.read(8)
    if len(head) < 8 or (int.from_bytes(head[:2], order), int.from_bytes(head[2:4], order)) != _PIXELS:
        raise UnreadableError("no pixels in it: the header ends without them")
    if syntax.is_implicit_VR:
        vr, length = "OW", int.from_bytes(head[4:], order)
    else:
        vr, length = head[4:6].decode("ascii", "replace"), int.from_bytes(stream.read(4), order)
    options = {**as_pixel_options(file.elements), "transfer_syntax_uid": syntax, "pixel_keyword": "PixelData"}
    if options.get("photometric_interpretation") == _PARTIAL:
        options["photometric_interpretation"] = _SAMPLED
    return vr, length, options


@attrs.frozen(eq=False)
class _Shown:
    """The way from stored values to the gray of the screen: palette, modality, window, polarity."""

    elements: Any
    colours: str
    """Photometric interpretation."""
    high: int
    """Largest entry of a palette."""
    window: tuple[float, float] | None
    """Centre and width, the first of those the file has."""

    @classmethod
    def of(cls, elements: Any) -> _Shown:
        colours, high = str(elements.get("PhotometricInterpretation", "MONOCHROME2")), 0
        if colours == _PALETTE:
            from pydicom.pixels.processing import apply_color_lut

            count, first, _ = elements.RedPaletteColorLookupTableDescriptor
            high = int(apply_color_lut(np.arange(first, first + (count or 1 << 16)), elements).max())
        centre, width = (
            _number(next(iter(_several(elements.get(f"Window{name}"))), None)) for name in ("Center", "Width")
        )
        return cls(elements, colours, high, (centre, width) if math.isfinite(centre) and width > 1 else None)

    def gray(self, values: np.ndarray) -> np.ndarray:
        """uint8 (H, W) of one frame (H, W) or (H, W, 3) as it is stored."""
        if self.colours == _PALETTE:
            from pydicom.pixels.processing import apply_color_lut

            colour = apply_color_lut(values, self.elements)
            # 16 bits that hold 8, as some write them, are what they hold.
            return rgb_to_gray((colour >> 8 if self.high > 255 else colour).astype(np.uint8))
        if values.ndim == 3:
            gray = to_gray8(rgb_to_gray(values))
            return _full_range(gray) if self.colours == _PARTIAL else gray
        gray = self._windowed(values)
        return 255 - gray if self.colours == _WHITE_IS_ZERO else gray

    def _windowed(self, values: np.ndarray) -> np.ndarray:
        from pydicom.pixels.processing import apply_modality_lut, apply_voi

        values = apply_modality_lut(values, self.elements)
        if tables := self.elements.get("VOILUTSequence"):
            shown = apply_voi(values, self.elements).astype(np.float64)
            return np.rint(np.clip(shown / ((1 << int(tables[0].LUTDescriptor[2])) - 1), 0, 1) * 255).astype(np.uint8)
        if self.window is None:
            return to_gray8(values)
        return window(values, *self.window, str(self.elements.get("VOILUTFunction") or "LINEAR"))


def window(values: np.ndarray, centre: float, width: float, function: str = "LINEAR") -> np.ndarray:
    """Values as uint8 of the same shape by PS3.3 C.11.2.1.2 and C.11.2.1.3: LINEAR, LINEAR_EXACT or SIGMOID."""
    distance = values.astype(np.float64) - centre
    if function == "SIGMOID":
        share = 1 / (1 + np.exp(np.clip(-4 * distance / width, -700, 700)))
    elif function == "LINEAR_EXACT":
        share = distance / width + 0.5
    else:
        share = (distance + 0.5) / (width - 1) + 0.5
    return np.rint(np.clip(share, 0, 1) * 255).astype(np.uint8)


def _full_range(gray: np.ndarray) -> np.ndarray:
    """Luma of 16 to 235 as 0 to 255."""
    return np.rint(np.clip((gray.astype(np.float64) - 16) * (255 / 219), 0, 255)).astype(np.uint8)

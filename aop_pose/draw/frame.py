"""Points and numbers drawn on their frame, to be checked by eye."""

from __future__ import annotations

import colorsys
import hashlib
import math
import struct
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path, PurePosixPath

import attrs
import cv2
import numpy as np
from isal import isal_zlib

from aop_pose.core.frame import Frame
from aop_pose.core.region import Region
from aop_pose.core.results import Measurement, Result
from aop_pose.core.schema import Quantity
from aop_pose.draw.marks import (
    GREEN,
    SKY,
    VERMILLION,
    Colour,
    Shape,
    around,
    dot,
    name_point,
    pale,
    polyline,
    put_text,
    text_size,
    worth_of,
    wrap,
)
from aop_pose.geometry import regularise_axes
from aop_pose.io.files import replacing

NOTE = "research use only"

TILE = 360
"""Pixels of the longer side of a picture on a contact sheet."""
_LONGER_SIDE = (512, 1024)
"""Least and most pixels of a drawn frame: marks and texts are readable at these sizes."""
_NARROWEST = 300
"""Pixels; a narrower picture is widened with ground, so that the texts have room."""
_GROUND = 24
"""Gray around pictures."""
_WHITE = (255, 255, 255)
_GRAY = (190, 190, 190)
_YELLOW = (90, 225, 255)
_AMBER = (60, 170, 255)
_NAMED_COLOURS: dict[str, Colour] = {
    "PS1": VERMILLION, "PS2": GREEN, "FH1": SKY, "OFD1": SKY, "OFD2": SKY, "BPD1": GREEN, "BPD2": GREEN,
}  # fmt: skip
_SHAPES: dict[str, Shape] = {"PS2": "square", "FH1": "diamond", "BPD1": "square", "BPD2": "square"}
"""Of marks that are no discs: shapes tell points apart where colours do not."""
_OUTLINES: dict[str, Colour] = {"PS": (120, 180, 120), "FH": (190, 150, 110)}
_TEXT_SCALE = 0.5
_HEADLINE_SCALE = 0.65
_CORNER = 1.0
"""Pixels of an overlay that a drawn outline may be off."""
_MARK = 5
"""Radius of the mark of a point in pixels."""


@attrs.frozen
class Scaling:
    """Frame pixels to overlay pixels and back; centres of pixels are whole numbers on both sides."""

    x: float
    y: float

    def to_overlay(self, points: np.ndarray) -> np.ndarray:
        """Points (..., 2) of the frame, in pixels of the overlay."""
        return (points + 0.5) * (self.x, self.y) - 0.5

    def to_frame(self, points: np.ndarray) -> np.ndarray:
        """The inverse of ``to_overlay``."""
        return (points + 0.5) / (self.x, self.y) - 0.5


def scaling(frame: Frame) -> Scaling:
    """The fit of a frame by ``draw_overlay``: to 512 pixels at least and 1024 at most on the longer side."""
    longer, (least, most) = max(frame.width, frame.height), _LONGER_SIDE
    factor = min(max(longer, least), most) / longer
    return Scaling(
        max(1, round(frame.width * factor)) / frame.width, max(1, round(frame.height * factor)) / frame.height
    )


def draw_overlay(frame: Frame, result: Result) -> np.ndarray:
    """Draw points, lines, angle and texts; returns uint8 BGR (H, W, 3).

    The frame lies in the top left corner, resized by ``scaling``; below it a dark band says what was
    measured, or why nothing was, and that it is for research. A point outside the frame is drawn as a ring at
    the border; the region, where it is not the whole frame, as a thin box.
    """
    scale = scaling(frame)
    width, height = round(frame.width * scale.x), round(frame.height * scale.y)
    texts = _texts(max(width, _NARROWEST), result)
    whole = np.empty((height + _height(texts), max(width, _NARROWEST), 3), dtype=np.uint8)
    whole[height:] = whole[:height, width:] = _GROUND
    # Everything is drawn in its place on one canvas: copies of whole pictures cost as much as their marks.
    picture = whole[:height]
    method = cv2.INTER_AREA if scale.x < 1 else cv2.INTER_CUBIC
    gray = cv2.resize(np.ascontiguousarray(frame.pixels), (width, height), interpolation=method)
    cv2.cvtColor(gray, cv2.COLOR_GRAY2BGR, dst=picture[:, :width])
    if result.region is not None and result.region.how != "whole":
        _draw_region(picture[:, :width], result.region, scale)
    outlines = {name: _simple(scale.to_overlay(contour)) for name, contour in (result.outlines or {}).items()}
    strokes = [(contour, _OUTLINES[name]) for name, contour in outlines.items()]
    places = None if result.keypoints is None else scale.to_overlay(result.keypoints.coords)
    if places is not None:
        strokes += _lines(result, places)
    for path, colour in strokes:
        polyline(picture, path, colour)
    if places is not None:
        worth = worth_of(picture.shape[:2], list(outlines.values()), [path for path, _ in strokes])
        _draw_points(picture, result, places, (width, height), worth)
    _write_texts(whole[height:], texts)
    return whole


def contact_sheet(pictures: Sequence[np.ndarray], columns: int = 4, tile: int = TILE) -> np.ndarray:
    """Lay pictures (uint8 BGR) out in rows, each fitted into a square of ``tile`` pixels; returns uint8 BGR."""
    if not pictures or columns < 1:
        raise ValueError(f"contact sheet: expected pictures and columns, found {len(pictures)} and {columns}")
    columns = min(columns, len(pictures))
    gap = 6
    step = tile + gap
    rows = math.ceil(len(pictures) / columns)
    sheet = np.full((rows * step + gap, columns * step + gap, 3), _GROUND, dtype=np.uint8)
    for number, picture in enumerate(pictures):
        fitted = fitted_into(picture, tile)
        height, width = fitted.shape[:2]
        top = gap + (number // columns) * step + (tile - height) // 2
        left = gap + (number % columns) * step + (tile - width) // 2
        sheet[top : top + height, left : left + width] = fitted
    return sheet


def write_overlay(path: str | Path, picture: np.ndarray) -> None:
    """Write a BGR picture as PNG; folders are made, and the file appears only when it is complete."""
    with replacing(path) as temporary:
        temporary.write_bytes(png(picture))


def png(picture: np.ndarray) -> bytes:
    """The PNG of a picture, uint8 BGR (H, W, 3), lossless, as W3C's PNG (third edition) lays it out.

    The writers at hand (OpenCV, Pillow) take four times as long for the same size: most of an overlay's cost. So the
    chunks are laid out here, every line as its difference to the one above, and ISA-L, which was made for speed,
    deflates them, some lines at a time: these stay in the processor's cache.
    """
    height, width = picture.shape[:2]
    deflate = isal_zlib.compressobj()
    lines = np.empty((_STRIP, 1 + 3 * width), dtype=np.uint8)
    lines[:, 0] = _UP
    differences = np.empty((_STRIP, width, 3), dtype=np.uint8)
    deflated = []
    for top in range(0, height, _STRIP):
        part = picture[top : top + _STRIP]
        count = len(part)
        np.subtract(part[0], picture[top - 1] if top else np.uint8(0), out=differences[0])
        np.subtract(part[1:], part[:-1], out=differences[1:count])
        cv2.cvtColor(differences[:count], cv2.COLOR_BGR2RGB, dst=lines[:count, 1:].reshape(part.shape))
        deflated.append(deflate.compress(lines[:count]))
    deflated.append(deflate.flush())
    header = struct.pack(
        ">IIBBBBB", width, height, 8, 2, 0, 0, 0
    )  # 8 bits, RGB, deflate, filters by line, no interlace
    chunks: list[list[bytes]] = [[b"IHDR", header], [b"IDAT", *deflated], [b"IEND"]]
    parts = [b"\x89PNG\r\n\x1a\n"]
    for chunk in chunks:
        checked = 0
        for piece in chunk:
            checked = isal_zlib.crc32(piece, checked)
        parts += [struct.pack(">I", sum(map(len, chunk[1:]))), *chunk, struct.pack(">I", checked)]
    # Joined once: a picture is hundreds of kilobytes.
    return b"".join(parts)


_UP = 2
"""The filter of a PNG line that is its difference to the one above."""
_STRIP = 64
"""Lines that are deflated at a time."""


@lru_cache
def colours(points: tuple[str, ...]) -> tuple[Colour, ...]:
    """A colour for each point: those of AoP and of the head are fixed, others are spread over the hues."""
    spread = [colorsys.hsv_to_rgb(number / max(len(points), 1), 0.6, 1.0) for number in range(len(points))]
    rest = [(round(255 * blue), round(255 * green), round(255 * red)) for red, green, blue in spread]
    return tuple(_NAMED_COLOURS.get(point, other) for point, other in zip(points, rest, strict=True))


def _simple(contour: np.ndarray) -> np.ndarray:
    """A closed outline without the corners that say nothing: contours go in steps, each one a stroke."""
    corners = np.asarray(cv2.approxPolyDP(contour.astype(np.float32), _CORNER, True)[:, 0])
    return np.vstack([corners, corners[:1]])


def _draw_region(picture: np.ndarray, region: Region, scale: Scaling) -> None:
    """A thin frame on the outermost pixels that were looked at."""
    corners = np.array([[region.x, region.y], [region.x + region.width - 1, region.y + region.height - 1]])
    (left, top), (right, bottom) = np.round(scale.to_overlay(corners)).astype(int).tolist()
    cv2.rectangle(picture, (left, top), (right, bottom), _GRAY, 1)


def _lines(result: Result, places: np.ndarray) -> list[tuple[np.ndarray, Colour]]:
    """Paths (n, 2) in pixels of the overlay: lines between points, and marks of what was measured."""
    assert result.keypoints is not None
    schema = result.keypoints.schema
    paints = dict(zip(schema.points, colours(schema.points), strict=True))
    # A line between points of one colour is an axis, and has it too.
    paths = [
        (places[list(schema.indices(ends))], paints[ends[0]] if paints[ends[0]] == paints[ends[1]] else _WHITE)
        for ends in schema.lines
    ]
    marked = {(one.mark, one.points) for one in schema.quantities if one.mark and one.column in result.measurements}
    paths += [(_MARKS[mark](places[list(schema.indices(points))]), _YELLOW) for mark, points in sorted(marked)]
    return [(path, colour) for path, colour in paths if np.isfinite(path).all()]


def _draw_points(
    picture: np.ndarray, result: Result, places: np.ndarray, size: tuple[int, int], worth: np.ndarray
) -> None:
    assert result.keypoints is not None
    schema = result.keypoints.schema
    paints = dict(zip(schema.points, colours(schema.points), strict=True))
    last = np.array(size) - 1.0
    right, bottom = last.tolist()
    border = np.minimum(_MARK + 1, last / 2)
    found: list[tuple[str, np.ndarray, Colour]] = []
    for name, place in zip(schema.points, places, strict=True):
        colour = paints[name]
        x, y = place.tolist()
        if not (math.isfinite(x) and math.isfinite(y)):
            continue
        outside = not (0 <= x <= right and 0 <= y <= bottom)
        shown = np.clip(place, border, last - border) if outside else place
        width = 2 if outside else cv2.FILLED
        dot(picture, shown, _MARK, colour, width, _SHAPES.get(name, "disc"))
        found.append((f"{name} (outside)" if outside else name, shown, colour))
    # Names keep clear of every mark and of each other, and where they can of lines and anatomy.
    occupied = [around(shown, _MARK) for _, shown, _ in found]
    for name, shown, colour in found:
        name_point(picture, name, shown, pale(colour), occupied, _TEXT_SCALE, worth=worth)


def _ellipse(ends: np.ndarray) -> np.ndarray:
    """The outline whose length the circumference is: the ellipse on the axes nearest to the four points."""
    ofd1, ofd2, bpd1, bpd2 = regularise_axes(ends)
    turn = np.linspace(0, 2 * math.pi, 145)[:, None]
    return (ofd1 + ofd2) / 2 + (ofd2 - ofd1) / 2 * np.cos(turn) + (bpd2 - bpd1) / 2 * np.sin(turn)


def _arc(points: np.ndarray) -> np.ndarray:
    """The arc at the first point from the ray to the second to that to the third, on the side of the smaller angle."""
    corner, rays = points[0], points[1:] - points[0]
    lengths = np.hypot(rays[:, 0], rays[:, 1])
    if not (np.isfinite(lengths).all() and lengths.min() > 0):
        return np.full((1, 2), np.nan)
    begin, end = np.arctan2(rays[:, 1], rays[:, 0])
    turn = (end - begin + math.pi) % (2 * math.pi) - math.pi
    directions = begin + np.linspace(0, turn, 49)
    radius = min(0.35 * float(lengths.min()), 48.0)
    return corner + radius * np.stack([np.cos(directions), np.sin(directions)], axis=1)


_MARKS: dict[str, Callable[[np.ndarray], np.ndarray]] = {"line": np.asarray, "arc": _arc, "ellipse": _ellipse}
"""By ``Quantity.mark``: its path from the points (n, 2) of the quantity; NaN where it cannot be drawn."""


Text = tuple[str, float, Colour]
"""With its scale and colour."""


def _texts(width: int, result: Result) -> list[Text]:
    """The texts of the strip below the picture: what was measured or why not; the last line is the source."""
    room = width - 16
    lines: list[Text] = []
    if result.measurements:
        lines += [(line, _HEADLINE_SCALE, _YELLOW) for line in wrap(headline(result), room, _HEADLINE_SCALE, 3)]
    else:
        lines.append((result.status, _HEADLINE_SCALE, _AMBER))
        lines += [(line, _TEXT_SCALE, _AMBER) for line in wrap(result.reason, room, _TEXT_SCALE, 4)]
    name = result.source if result.index == 0 else f"{result.source} #{result.index}"
    # The end of a long path says more than its beginning.
    while name and text_size(name, _TEXT_SCALE)[0] > room - text_size(NOTE, _TEXT_SCALE)[0] - 12:
        name = name[4:] if len(name) < 8 else "..." + name[7:]
    return [*lines, (name, _TEXT_SCALE, _GRAY)]


def _height(texts: Sequence[Text]) -> int:
    """Of the strip in pixels."""
    return sum(_step(scale) for _, scale, _ in texts) + 12


def _step(scale: float) -> int:
    return round(text_size("", scale)[1] * 2)


def _write_texts(strip: np.ndarray, texts: Sequence[Text]) -> None:
    """The texts below each other, and at the right end of the last one that it is for research."""
    base = 4
    for text, scale, colour in texts:
        base += _step(scale)
        put_text(strip, text, 8, base, scale, colour, halo=None)
    start = strip.shape[1] - 8 - text_size(NOTE, _TEXT_SCALE)[0]
    put_text(strip, NOTE, start, base, _TEXT_SCALE, _WHITE, halo=None)


def headline(result: Result) -> str:
    """Numbers of a result in words, every quantity once: a length in pixels is left out where one in mm is known."""
    assert result.keypoints is not None
    shown: dict[str, Quantity] = {}
    for one in result.keypoints.schema.quantities:
        if one.headline and one.column in result.measurements and (one.unit != "px" or one.name not in shown):
            shown[one.name] = one
    return ", ".join(f"{one.title} {_with_unit(one, result.measurements[one.column])}" for one in shown.values())


def _with_unit(quantity: Quantity, measurement: Measurement) -> str:
    text = f"{measurement.value:.1f}{quantity.sign}"
    if measurement.interval is not None:
        low, high = measurement.interval
        text += f" ({low:.1f} to {high:.1f})"
    return text


def fitted_into(picture: np.ndarray, tile: int) -> np.ndarray:
    """A picture as a contact sheet shows it, its longer side ``tile`` pixels long."""
    height, width = picture.shape[:2]
    factor = tile / max(height, width)
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    if size == (width, height):
        return picture
    # Down to half the size no pixel is lost between the four that are mixed.
    return cv2.resize(picture, size, interpolation=cv2.INTER_AREA if factor < 0.5 else cv2.INTER_LINEAR)


_SAFE = frozenset(" ._-+,=()[]{}!#$&'")
_MAX_BYTES = 150
"""Of one part of a path; file systems take 255 bytes, and a temporary name needs room."""


def overlay_name(source: str, index: int) -> PurePosixPath:
    """Path of an overlay below ``overlays/``: ``sub/x.png`` for a PNG still, ``sub/x@gif-0003.png`` otherwise.

    Different (source, index) never share a name: ``@``, ``%`` and unsafe characters of a source are written
    as ``%NN``, so that an ``@`` is always ours, and a part that is too long is cut and ends in ``@`` and a
    hash of the whole. Upper and lower case are kept: frames whose names differ by case alone, as Linux allows,
    share an overlay on a disk of Windows or macOS.
    """
    *folders, name = source.split("/")
    stem, dot, suffix = name.rpartition(".")
    if not stem:
        stem, dot, suffix = name, "", ""
    if suffix == "png" and index == 0:
        last = _quoted(stem)
        end = ".png"
    else:
        last = _quoted(stem)
        number = f"-{index:04d}" if index else ""
        end = f"@{_quoted(suffix)}{number}.png" if dot else f"@@{number}.png"
    return PurePosixPath(*(_folder(folder) for folder in folders), _cut(last, _MAX_BYTES) + _cut(end, _MAX_BYTES // 2))


def _folder(name: str) -> str:
    quoted = _cut(_quoted(name), _MAX_BYTES)
    # A folder must not take the name of a picture beside it; "", "." and ".." must not lead elsewhere.
    return f"{quoted}@" if quoted.lower().endswith(".png") or quoted.strip(".") == "" else quoted


def _quoted(text: str) -> str:
    kept = "".join(
        character if character.isalnum() or character in _SAFE else "".join(f"%{byte:02X}" for byte in _utf8(character))
        for character in text
    )
    # Windows drops a dot or a space at the end of a name.
    return kept[:-1] + f"%{ord(kept[-1]):02X}" if kept.endswith((".", " ")) and kept.strip(".") else kept


def _utf8(character: str) -> bytes:
    return character.encode("utf-8", "surrogatepass")


def _cut(text: str, limit: int) -> str:
    encoded = text.encode("utf-8")
    if len(encoded) <= limit:
        return text
    digest = hashlib.sha256(encoded).hexdigest()[:16]
    return encoded[: limit - 20].decode("utf-8", "ignore") + f"@{digest}"

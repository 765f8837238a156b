"""Marks on pictures: points, lines, and names beside points that cover neither a mark nor each other."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Literal

import cv2
import numpy as np

Colour = tuple[int, int, int]
"""Blue, green, red."""
Shape = Literal["disc", "square", "diamond"]
ORANGE, SKY, GREEN, VERMILLION = (0, 159, 230), (233, 180, 86), (115, 158, 0), (0, 94, 213)
"""Of the palette of Okabe and Ito, told apart with every kind of colour vision (Wong, Nature Methods 2011; 8: 441)."""

_FONT = cv2.FONT_HERSHEY_SIMPLEX
_DEGREE = "°"


def shares(colour: Colour) -> tuple[float, float, float]:
    """(red, green, blue), each 0 to 1, as matplotlib takes a colour."""
    blue, green, red = (value / 255 for value in colour)
    return red, green, blue


def pale(colour: Colour) -> Colour:
    """Half way to white: letters of a colour that can be read on a dark halo."""
    blue, green, red = ((value + 255) // 2 for value in colour)
    return blue, green, red


@lru_cache(maxsize=256)
def text_size(text: str, scale: float) -> tuple[int, int]:
    """Width of a line as ``put_text`` draws it, and the height of its capitals, in pixels."""
    width = sum(_advance(piece, scale) for piece in _pieces(text))
    return width, _capitals(scale)


def put_text(
    canvas: np.ndarray,
    text: str,
    left: int,
    base: int,
    scale: float,
    colour: Colour,
    halo: Colour | None = (0, 0, 0),
) -> None:
    """Draw a line from ``left`` on the base line ``base``, with a halo that keeps it readable on any ground.

    What lies off the canvas is cut. The halo is grown from the letters: a second text with thicker strokes
    would be wider, and lie beside the first, with the fonts of OpenCV 5. On an even ground ``None`` is faster.
    """
    if halo is None:
        return _write(canvas, text, left, base, scale, colour)
    kept, ink = _inked(text, scale, colour, halo)
    top, start = base - _capitals(scale) - 4, left - 4
    bottom, end = min(top + kept.shape[0], canvas.shape[0]), min(start + kept.shape[1], canvas.shape[1])
    part = slice(max(0, -top), max(0, bottom - top)), slice(max(0, -start), max(0, end - start))
    if kept[part].size:
        ground = canvas[max(0, top) : bottom, max(0, start) : end]
        ground[:] = (ground * kept[part] + ink[part]) >> 8


@lru_cache(maxsize=32)
def _inked(text: str, scale: float, colour: Colour, halo: Colour) -> tuple[np.ndarray, np.ndarray]:
    """A line of text, its base line ``_capitals(scale) + 4`` below the top: what stays of the ground, and what comes.

    Both (height, width, 3) in 256ths, uint16: a pixel becomes (ground * first + second) >> 8. Names and notes stand on
    every picture: they are kept. Nobody may write into them.
    """
    width, height = text_size(text, scale)
    letters = np.zeros((2 * height + 8, width + 12), dtype=np.uint8)
    _write(letters, text, 4, height + 4, scale, (255,))
    around = np.asarray(cv2.dilate(letters, np.ones((5, 5), np.uint8)))
    # Of 255 to 256ths, in integers: every ink counts whole where it is whole.
    wide = (share[..., None].astype(np.int32) for share in (letters, around))
    inner, outer = (share + (share >> 7) for share in wide)
    ink = inner * np.array(colour, np.int32) + ((256 - inner) * outer >> 8) * np.array(halo, np.int32) + 127
    # As wide as the ink: NumPy takes four times as long to spread one value over three colours.
    kept = np.repeat((256 - inner) * (256 - outer) >> 8, 3, axis=2)
    return kept.astype(np.uint16), ink.astype(np.uint16)


def _write(canvas: np.ndarray, text: str, x: int, y: int, scale: float, colour: tuple[int, ...]) -> None:
    """The bare letters of a line."""
    for piece in _pieces(text):
        if piece == _DEGREE:
            radius = _radius(scale)
            middle = (x + radius + 1, y - _capitals(scale) + radius)
            cv2.circle(canvas, middle, radius, colour, 1, cv2.LINE_AA)
        else:
            cv2.putText(canvas, piece, (x, y), _FONT, scale, colour, 1, cv2.LINE_AA)
        x += _advance(piece, scale)


def wrap(text: str, width: int, scale: float, lines: int) -> list[str]:
    """Cut a text into at most ``lines`` lines of at most ``width`` pixels; what does not fit ends in "..."."""
    wrapped: list[str] = []
    rest = text.split()
    while rest and len(wrapped) < lines:
        count = len(rest) if text_size(" ".join(rest), scale)[0] <= width else 1
        while count < len(rest) and text_size(" ".join(rest[: count + 1]), scale)[0] <= width:
            count += 1
        wrapped.append(" ".join(rest[:count]))
        rest = rest[count:]
    if rest:
        wrapped[-1] += " ..."
    return [_cut(line, width, scale) for line in wrapped]


def _cut(line: str, width: int, scale: float) -> str:
    while len(line) > 4 and text_size(line, scale)[0] > width:
        line = line[:-4].rstrip(". ") + "..."
    return line


def _pieces(text: str) -> Iterator[str]:
    """Runs of ASCII and single degree signs; what the fonts cannot draw becomes "?"."""
    for number, run in enumerate(text.split(_DEGREE)):
        if number:
            yield _DEGREE
        if run:
            yield run.encode("ascii", "replace").decode("ascii")


def _advance(piece: str, scale: float) -> int:
    """Distance that a run of letters moves the pen."""
    return 2 * _radius(scale) + 5 if piece == _DEGREE else int(cv2.getTextSize(piece, _FONT, scale, 1)[0][0])


def _radius(scale: float) -> int:
    return max(2, round(4.5 * scale))


@lru_cache
def _capitals(scale: float) -> int:
    """Height of an "X" as it is drawn: what OpenCV tells of heights changed with its version 5."""
    letters = np.zeros((200, 200), dtype=np.uint8)
    cv2.putText(letters, "X", (50, 150), _FONT, scale, 255, 1, cv2.LINE_AA)
    rows = np.flatnonzero(letters.max(axis=1) > 127)
    return int(rows[-1] - rows[0] + 1)


Box = tuple[int, int, int, int]
"""Left, top, right, bottom in pixels."""

_SHIFT = 4
"""Fractional bits of the coordinates that OpenCV draws with."""
CELL = 4
"""Pixels of a side of the squares in which it is known what a name would hide."""
_HALO = 3
"""Pixels that the dark rim of a text and the tails of its letters reach beyond its box."""


def fixed(points: np.ndarray) -> np.ndarray:
    """OpenCV's fixed-point coordinates (..., 2); far away points are cut, since they must fit 32 bits."""
    return np.rint(_cut_off(points) * (1 << _SHIFT)).astype(np.int32)


def _cut_off(points: np.ndarray) -> np.ndarray:
    """``np.clip`` in half of its time, which for so few numbers is a tenth of a drawing."""
    return np.asarray(np.minimum(np.maximum(points, -30000), 30000))


_CORNERS = {
    "square": np.array([[-0.9, -0.9], [0.9, -0.9], [0.9, 0.9], [-0.9, 0.9]]),
    "diamond": np.array([[0, -1.25], [1.25, 0], [0, 1.25], [-1.25, 0]]),
}
"""By shape: corners of a mark of radius 1."""


def dot(
    picture: np.ndarray,
    place: np.ndarray,
    radius: int,
    colour: Colour,
    width: int = cv2.FILLED,
    shape: Shape = "disc",
) -> None:
    """A filled mark, or its outline of some width, with a dark rim."""
    for reach, ink in ((radius + 1, (0, 0, 0)), (radius, colour)):
        if shape == "disc":
            cv2.circle(picture, fixed(place).tolist(), reach << _SHIFT, ink, width, cv2.LINE_AA, _SHIFT)
            continue
        corners = fixed(place + reach * _CORNERS[shape])
        if width == cv2.FILLED:
            cv2.fillConvexPoly(picture, corners, ink, cv2.LINE_AA, _SHIFT)
        else:
            cv2.polylines(picture, [corners], True, ink, width, cv2.LINE_AA, _SHIFT)


def polyline(picture: np.ndarray, points: np.ndarray, colour: Colour, width: int = 1) -> None:
    """Straight lines from point to point (n, 2) with a dark rim."""
    places = fixed(np.asarray(points))[:, None]
    cv2.polylines(picture, [places], False, (0, 0, 0), width + 2, cv2.LINE_AA, _SHIFT)
    cv2.polylines(picture, [places], False, colour, width, cv2.LINE_AA, _SHIFT)


def worth_of(shape: Sequence[int], areas: Sequence[np.ndarray], paths: Sequence[np.ndarray]) -> np.ndarray:
    """Worth of keeping clear in a picture: of each square of ``CELL`` pixels 1 inside a closed contour, 16 on a path.

    Args:
        shape: height and width of the picture.
        areas, paths: (n, 2) in its pixels.

    Returns:
        uint8, a row and a column more than whole squares.
    """
    worth = np.zeros((shape[0] // CELL + 1, shape[1] // CELL + 1), np.uint8)
    cv2.fillPoly(worth, [_squares(area) for area in areas], 1)
    for path in paths:
        cv2.polylines(worth, [_squares(path)], False, 16, 1)
    return worth


def _squares(points: np.ndarray) -> np.ndarray:
    return np.floor(_cut_off((points + 0.5) / CELL)).astype(np.int32)[:, None]


def around(place: np.ndarray, radius: int) -> Box:
    """The box of a mark."""
    x, y = (round(float(value)) for value in place)
    return x - radius, y - radius, x + radius, y + radius


def name_point(
    picture: np.ndarray,
    text: str,
    place: np.ndarray,
    colour: Colour,
    occupied: list[Box],
    scale: float,
    always: bool = True,
    worth: np.ndarray | None = None,
) -> bool:
    """Write a name beside its point where it neither leaves the picture nor covers what is ``occupied``.

    Where no such place is free it covers something, or without ``always`` is left out: then the answer is False. The
    box of what is written joins ``occupied``.

    Args:
        worth: as of ``worth_of``: of the free places, also a little further away, the one that hides least is taken.
    """
    width, height = text_size(text, scale)
    x, y = (round(float(value)) for value in place)
    first: Box | None = None
    chosen: Box | None = None
    least = math.inf
    for left, base in _places(x, y, width, height, far=worth is not None):
        box = _inside(left, base, width, height, picture.shape[1], picture.shape[0])
        first = first or box
        if any(_overlap(box, other) for other in occupied):
            continue
        hidden = 0 if worth is None else _hidden(worth, box)
        if hidden < least:
            chosen, least = box, hidden
        if least == 0:
            break
    if chosen is None and not always:
        return False
    kept = chosen or first
    assert kept is not None
    occupied.append((kept[0] - _HALO, kept[1] - _HALO, kept[2] + _HALO, kept[3] + _HALO))
    put_text(picture, text, kept[0], kept[3], scale, colour)
    return True


def _places(x: int, y: int, width: int, height: int, far: bool) -> Iterator[tuple[int, int]]:
    """Left ends of the base line of a text around a point, the best first; ``far``: more of them."""
    for away in (10, 28) if far else (10,):
        right, left, above, below = x + away, x - away - width, y + 1 - away, y - 1 + away + height
        level, middle = y + height // 2, x - width // 2
        yield from ((right, above), (left, above), (right, below), (left, below), (right, level), (left, level))
        if far:
            yield from ((middle, above - 2), (middle, below + 2))


def _hidden(worth: np.ndarray, box: Box) -> int:
    left, top, right, bottom = (max(0, value) // CELL for value in box)
    return int(worth[top : bottom + 1, left : right + 1].sum())


def _inside(left: int, base: int, width: int, height: int, across: int, down: int) -> Box:
    """Box (left, top, right, base) of a text, pushed into the picture."""
    left = max(2, min(left, across - width - 2))
    base = max(height + 2, min(base, down - 3))
    return left, base - height, left + width, base


def _overlap(one: Box, other: Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]

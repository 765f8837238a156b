"""Short texts on pictures with OpenCV's Hershey fonts, which know no degree sign: a small circle stands for it."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

import cv2
import numpy as np

Colour = tuple[int, int, int]
"""Blue, green, red."""

_FONT = cv2.FONT_HERSHEY_SIMPLEX
_DEGREE = "°"


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
    halo: Colour = (0, 0, 0),
) -> None:
    """Draw a line from ``left`` on the base line ``base``, with a halo that keeps it readable on any ground.

    What lies off the canvas is cut. The halo is grown from the letters: a second text with thicker strokes
    would be wider, and lie beside the first, with the fonts of OpenCV 5.
    """
    width, height = text_size(text, scale)
    letters = np.zeros((2 * height + 8, width + 12), dtype=np.uint8)
    x, y = 4, height + 4
    for piece in _pieces(text):
        if piece == _DEGREE:
            radius = _radius(scale)
            cv2.circle(letters, (x + radius + 1, y - height + radius), radius, 255, 1, cv2.LINE_AA)
        else:
            cv2.putText(letters, piece, (x, y), _FONT, scale, 255, 1, cv2.LINE_AA)
        x += _advance(piece, scale)
    top, start = base - y, left - 4
    bottom, end = min(top + letters.shape[0], canvas.shape[0]), min(start + letters.shape[1], canvas.shape[1])
    cut = letters[max(0, -top) : max(0, bottom - top), max(0, -start) : max(0, end - start)]
    if cut.size:
        ground = canvas[max(0, top) : bottom, max(0, start) : end]
        around = cv2.dilate(cut, np.ones((5, 5), np.uint8))
        for mask, ink in ((around, halo), (cut, colour)):
            share = mask[..., None].astype(np.float32) / 255
            ground[:] = np.rint(ground * (1 - share) + np.array(ink, np.float32) * share).astype(np.uint8)


def wrap(text: str, width: int, scale: float, lines: int) -> list[str]:
    """Cut a text into at most ``lines`` lines of at most ``width`` pixels; what does not fit ends in "..."."""
    wrapped: list[str] = []
    rest = text.split()
    while rest and len(wrapped) < lines:
        count = 1
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
    """How far a run of letters moves the pen."""
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

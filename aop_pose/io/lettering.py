"""Short texts on pictures with OpenCV's Hershey fonts, which know no degree sign: a small circle stands for it."""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np

Colour = tuple[int, int, int]
"""Blue, green, red."""

_FONT = cv2.FONT_HERSHEY_SIMPLEX
_DEGREE = "°"


def text_size(text: str, scale: float) -> tuple[int, int]:
    """Width and height in pixels of a line as ``put_text`` draws it, height without descenders."""
    (_, height), _ = cv2.getTextSize("X", _FONT, scale, 1)
    width = 0
    for piece in _pieces(text):
        width += _ring(scale)[1] if piece == _DEGREE else cv2.getTextSize(piece, _FONT, scale, 1)[0][0]
    return width, height


def put_text(
    canvas: np.ndarray, text: str, left: int, base: int, scale: float, colour: Colour, halo: Colour = (0, 0, 0)
) -> None:
    """Draw a line from ``left`` on the base line ``base``, with a halo that keeps it readable on any ground."""
    for thickness, ink in ((3, halo), (1, colour)):
        x = left
        for piece in _pieces(text):
            if piece == _DEGREE:
                radius, advance = _ring(scale)
                centre = (x + advance // 2, base - text_size("", scale)[1] + radius // 2)
                cv2.circle(canvas, centre, radius, ink, thickness, cv2.LINE_AA)
                x += advance
            else:
                cv2.putText(canvas, piece, (x, base), _FONT, scale, ink, thickness, cv2.LINE_AA)
                x += cv2.getTextSize(piece, _FONT, scale, 1)[0][0]


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


def _ring(scale: float) -> tuple[int, int]:
    """Radius of the degree sign and how far it moves the pen."""
    radius = max(2, round(5 * scale))
    return radius, 2 * radius + 4

"""Marks on pictures: points, lines, and names beside points that cover neither a mark nor each other."""

from __future__ import annotations

import cv2
import numpy as np

from aop_pose.io.lettering import Colour, put_text, text_size

Box = tuple[int, int, int, int]
"""Left, top, right, bottom in pixels."""

_SHIFT = 4
"""Fractional bits of the coordinates that OpenCV draws with."""
_HALO = 3
"""Pixels that the dark rim of a text and the tails of its letters reach beyond its box."""


def fixed(point: np.ndarray) -> tuple[int, int]:
    """OpenCV's fixed-point coordinates; far away points are cut, since they must fit 32 bits."""
    x, y = np.clip(point, -30000, 30000) * (1 << _SHIFT)
    return round(float(x)), round(float(y))


def dot(picture: np.ndarray, place: np.ndarray, radius: int, colour: Colour, width: int = cv2.FILLED) -> None:
    """A disc, or a ring of some width, with a dark rim."""
    cv2.circle(picture, fixed(place), (radius + 1) << _SHIFT, (0, 0, 0), width, cv2.LINE_AA, _SHIFT)
    cv2.circle(picture, fixed(place), radius << _SHIFT, colour, width, cv2.LINE_AA, _SHIFT)


def polyline(picture: np.ndarray, points: np.ndarray, colour: Colour, width: int = 1) -> None:
    """Straight lines from point to point (n, 2) with a dark rim."""
    places = np.array([fixed(point) for point in points], dtype=np.int32)[:, None]
    cv2.polylines(picture, [places], False, (0, 0, 0), width + 2, cv2.LINE_AA, _SHIFT)
    cv2.polylines(picture, [places], False, colour, width, cv2.LINE_AA, _SHIFT)


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
) -> bool:
    """Write a name beside its point where it neither leaves the picture nor covers what is ``occupied``.

    Where no such place is free it covers something, or without ``always`` is left out: then the answer is False. The
    box of what is written joins ``occupied``.
    """
    width, height = text_size(text, scale)
    x, y = (round(float(value)) for value in place)
    right, left, above, below, level = x + 10, x - 10 - width, y - 9, y + 9 + height, y + height // 2
    candidates = [(right, above), (left, above), (right, below), (left, below), (right, level), (left, level)]
    boxes = [_inside(*candidate, width, height, picture.shape[1], picture.shape[0]) for candidate in candidates]
    free = [box for box in boxes if not any(_overlap(box, other) for other in occupied)]
    if not free and not always:
        return False
    box = (free or boxes)[0]
    occupied.append((box[0] - _HALO, box[1] - _HALO, box[2] + _HALO, box[3] + _HALO))
    put_text(picture, text, box[0], box[3], scale, colour)
    return True


def _inside(left: int, base: int, width: int, height: int, across: int, down: int) -> Box:
    """Box (left, top, right, base) of a text, pushed into the picture."""
    left = max(2, min(left, across - width - 2))
    base = max(height + 2, min(base, down - 3))
    return left, base - height, left + width, base


def _overlap(one: Box, other: Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]

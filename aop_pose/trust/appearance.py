"""What the picture looks like where the points say that symphysis and head are.

Numbers that say how bright, how rough and how streaky each place is, on a grid that lies along the points, so that the
same place of the anatomy is the same number in every frame.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Literal

import cv2
import numpy as np

from aop_pose.letterbox import fit

Structure = Literal["symphysis", "head"]
STRUCTURES: tuple[Structure, ...] = ("symphysis", "head")

SIDE = 256
"""Pixels of the square in which every frame is looked at, whatever the network's input is."""
_HALF = SIDE // 2
_GRIDS: dict[str, tuple[int, int, float, float]] = {"symphysis": (8, 6, 1.0, 0.7), "head": (10, 10, 72.0, 72.0)}
"""Columns, rows, half width and half height: in lengths of the symphysis, and in pixels of ``SIDE``."""
_LEAST_LENGTH = 6.0
_DARK = 4.0
"""Gray values; darker places, in the mean over some pixels, hold no ultrasound."""
_ORIENTED = (6, 9)
"""Maps that hold cos 2t of an orientation t; sin 2t is the next one."""


def canvas(pixels: np.ndarray, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Gray (H, W) uint8 and points (n, 2) on it -> both in the square of ``SIDE``."""
    square, box = fit(pixels, SIDE)
    return square, box.forward(points)


def appearances(square: np.ndarray, points: np.ndarray) -> dict[Structure, np.ndarray]:
    """A vector for each structure, from a square picture and PS1, PS2, FH1 (3, 2) on it.

    The symphysis' grid is centred between its ends, along PS1 to PS2, and grows with their distance; the head's is
    centred on FH1, along the tangent, of one size. Eleven numbers a node: brightness against the grid's mean; roughness
    at four scales (1, 2, 4, 8 pixels) against local brightness; strength and direction of streaks at two scales.
    """
    maps = _maps(square)
    ps1, ps2, fh1 = points
    length = max(float(np.linalg.norm(ps2 - ps1)), _LEAST_LENGTH)
    return {
        "symphysis": _sample(maps, (ps1 + ps2) / 2, ps2 - ps1, length, "symphysis"),
        "head": _sample(maps, fh1, fh1 - ps1, 1.0, "head"),
    }


def dark_share(square: np.ndarray, points: np.ndarray) -> float:
    """Share of the symphysis' grid that lies outside the picture or where there is no ultrasound, in [0, 1]."""
    ps1, ps2, _ = points
    length = max(float(np.linalg.norm(ps2 - ps1)), _LEAST_LENGTH)
    places = _places((ps1 + ps2) / 2, _axis(ps2 - ps1), length, "symphysis")
    mean = cv2.GaussianBlur(square.astype(np.float32), (0, 0), 3.0)
    levels = cv2.remap(mean, *_as_maps(places), cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)
    return float((levels < _DARK).mean())


def _maps(square: np.ndarray) -> np.ndarray:
    """Eleven maps (11, H, W) at half size."""
    half = cv2.resize(square, (_HALF, _HALF), interpolation=cv2.INTER_AREA).astype(np.float32)
    blurred = [half, *(_blur(half, scale) for scale in (1, 2, 4, 8))]
    base = blurred[4] + 4
    maps = [np.log(blurred[4] + 2)]
    for fine, coarse in pairwise(blurred):
        maps.append(0.5 * np.log(_blur(((fine - coarse) / base) ** 2, 2.5) + 1e-4))
    for scale, source in ((1.5, blurred[1]), (4.0, blurred[2])):
        along_x = cv2.Sobel(source, cv2.CV_32F, 1, 0) / base
        along_y = cv2.Sobel(source, cv2.CV_32F, 0, 1) / base
        xx, yy, xy = (_blur(product, scale) for product in (along_x**2, along_y**2, along_x * along_y))
        # The structure tensor's double-angle form; the constant keeps flat places at 0.
        energy = xx + yy + 0.003
        maps += [np.sqrt((xx - yy) ** 2 + 4 * xy**2) / energy, (xx - yy) / energy, 2 * xy / energy]
    return np.stack(maps)


def _blur(picture: np.ndarray, scale: float) -> np.ndarray:
    return np.asarray(cv2.GaussianBlur(picture, (0, 0), scale))


def _sample(maps: np.ndarray, origin: np.ndarray, along: np.ndarray, unit: float, structure: Structure) -> np.ndarray:
    axis = _axis(along)
    places = (_places(origin, axis, unit, structure) - 0.5) / 2
    values = np.stack(
        [cv2.remap(one, *_as_maps(places), cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE) for one in maps]
    )
    cosine, sine = axis[0] ** 2 - axis[1] ** 2, 2 * axis[0] * axis[1]
    for k in _ORIENTED:
        values[k], values[k + 1] = (
            cosine * values[k] + sine * values[k + 1],
            cosine * values[k + 1] - sine * values[k],
        )
    values[0] -= values[0].mean()
    return values.ravel().astype(np.float64)


def _axis(along: np.ndarray) -> np.ndarray:
    length = float(np.linalg.norm(along))
    return along / length if length > 0 else np.array([1.0, 0.0])


def _places(origin: np.ndarray, axis: np.ndarray, unit: float, structure: Structure) -> np.ndarray:
    """Nodes of a grid, (rows, columns, 2)."""
    columns, rows, wide, high = _GRIDS[structure]
    u, v = np.meshgrid(np.linspace(-wide, wide, columns), np.linspace(-high, high, rows))
    across = np.array([-axis[1], axis[0]])
    return np.asarray(origin + unit * (u[..., None] * axis + v[..., None] * across))


def _as_maps(places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return places[..., 0].astype(np.float32), places[..., 1].astype(np.float32)

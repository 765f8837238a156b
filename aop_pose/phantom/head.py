"""A made-up plane of a fetal head with its exact axes: a bright elliptic skull in a sector of speckle.

Simple on purpose: it teaches and tests where the axes of a skull end, and imitates no device. The axes are those of the
skull's outer edge, as experts draw it (HC18, van den Heuvel et al. 2018), known as numbers and never read off pixels.
"""

from __future__ import annotations

import math

import attrs
import cv2
import numpy as np

from aop_pose.core.frame import Frame
from aop_pose.core.keypoints import Keypoints
from aop_pose.core.schemas import HEAD
from aop_pose.errors import AopPoseError
from aop_pose.geometry import ramanujan_perimeter
from aop_pose.phantom.anatomy import Ellipse
from aop_pose.phantom.frame import check_request
from aop_pose.phantom.tissue import bump, clouds

HEIGHT = 0.675
"""Of the picture over its width, as in HC18."""
CIRCUMFERENCE_MM = (60.0, 340.0)
CEPHALIC_INDEX = (0.68, 0.92)
"""BPD over OFD."""
LENGTH = (0.3, 0.62)
"""OFD over the width of the picture."""
_DYNAMIC_RANGE_DB = 55.0
_TRIES = 1000


@attrs.frozen(eq=False)
class HeadPhantom:
    """One frame and its exact answer."""

    frame: Frame
    """uint8 (H, W) with the spacing in mm."""
    keypoints: Keypoints
    """OFD1, OFD2 (smaller x first), BPD1, BPD2 (smaller y first) in pixels."""
    circumference_mm: float
    """Perimeter of the ellipse."""


def make_head_phantom(seed: int, index: int = 0, size: int = 256) -> HeadPhantom:
    """The head number ``index`` of a seed, ``size`` pixels wide; the same arguments give the same pixels.

    UsageError for a negative seed or index and for a size that ``make_phantom`` refuses.
    """
    check_request(seed, index, None, size)
    rng = np.random.default_rng([seed, index, len(HEAD.points)])
    width, height = size, round(HEIGHT * size)
    y, x = np.mgrid[:height, :width].astype(np.float32)
    apex = np.array([width * rng.uniform(0.47, 0.53), -height * rng.uniform(0.45, 0.6)])
    beam_x, beam_y = x - apex[0], y - apex[1]
    radius = np.hypot(beam_x, beam_y)
    opening, deepest = math.radians(rng.uniform(36, 44)), height * 0.98 - apex[1]
    sector = (np.abs(np.arctan2(beam_x, beam_y)) <= opening) & (radius <= deepest) & (radius >= height * 0.06 - apex[1])
    skull = _fitting_skull(rng, sector)
    gray = _gray(rng, skull, x, y, beam_x / radius, beam_y / radius) * sector
    points = _ends(skull)
    circumference = rng.uniform(*CIRCUMFERENCE_MM)
    spacing = circumference / float(ramanujan_perimeter(2 * skull.short, 2 * skull.long))
    return HeadPhantom(
        frame=Frame(gray.astype(np.uint8), spacing=(spacing, spacing), source=f"head-{seed}-{index}"),
        keypoints=Keypoints.from_points(HEAD, points),
        circumference_mm=circumference,
    )


def _fitting_skull(rng: np.random.Generator, sector: np.ndarray) -> Ellipse:
    """An ellipse in pixels whose whole outline is seen."""
    height, width = sector.shape
    turn = np.linspace(0, 2 * np.pi, 72)
    for _ in range(_TRIES):
        long = rng.uniform(*LENGTH) * width / 2
        skull = Ellipse(
            x=width * rng.uniform(0.35, 0.65),
            y=height * rng.uniform(0.4, 0.65),
            long=long,
            short=long * rng.uniform(*CEPHALIC_INDEX),
            tilt=rng.normal(0, 0.5),
        )
        c, s = math.cos(skull.tilt), math.sin(skull.tilt)
        u, v = skull.long * np.cos(turn), skull.short * np.sin(turn)
        column, row = np.round(skull.x + c * u - s * v), np.round(skull.y + s * u + c * v)
        within = (column >= 0) & (column < width) & (row >= 0) & (row < height)
        if within.all() and sector[row.astype(int), column.astype(int)].all():
            return skull
    raise AopPoseError(f"phantom: no head fits a picture of {width}x{height} after {_TRIES} tries")


def _ends(skull: Ellipse) -> np.ndarray:
    """OFD1, OFD2, BPD1, BPD2 in the order of HC18, shape (4, 2)."""
    along = np.array([math.cos(skull.tilt), math.sin(skull.tilt)])
    across = np.array([-along[1], along[0]])
    ofd, bpd = along * skull.long, across * skull.short
    ofd, bpd = (ofd if ofd[0] > 0 else -ofd), (bpd if bpd[1] > 0 else -bpd)
    return np.array([skull.x, skull.y]) + np.array([-ofd, ofd, -bpd, bpd])


def _gray(
    rng: np.random.Generator, skull: Ellipse, x: np.ndarray, y: np.ndarray, beam_x: np.ndarray, beam_y: np.ndarray
) -> np.ndarray:
    """Gray values 0 to 255, shape (H, W): tissue, skull and speckle after log compression."""
    shape = (x.shape[0], x.shape[1])
    u, v = skull.local(x, y)
    level = np.maximum(np.hypot(u / skull.long, v / skull.short), 1e-3)
    gu, gv = u / skull.long**2 / level, v / skull.short**2 / level
    slope = np.maximum(np.hypot(gu, gv), 1e-6)
    distance = (level - 1) / slope
    c, s = math.cos(skull.tilt), math.sin(skull.tilt)
    facing = np.abs(beam_x * (c * gu - s * gv) + beam_y * (s * gu + c * gv)) / slope
    inside = np.clip(0.5 - distance, 0, 1)
    db = rng.uniform(-36, -28) + 4 * clouds(rng, shape, (5, 6), 3)
    brain = rng.uniform(-44, -36) + 4 * clouds(rng, shape, (9, 9), 2) + rng.uniform(4, 12) * bump(v / skull.short, 0.03)
    db += inside * (brain - db)
    # Bone ends at the outer edge, and is brightest where the beam meets it squarely.
    thick = max(1.5, 0.05 * skull.short) * rng.uniform(0.8, 1.3)
    bone = bump(distance + thick, thick * 0.8) * (distance <= 0.5)
    ragged = np.clip(0.9 + 0.4 * clouds(rng, shape, (8, 8), 2), 0.2, 1.3)
    db += bone * ragged * (rng.uniform(14, 20) + rng.uniform(12, 20) * facing**1.5)
    waves = [cv2.GaussianBlur(rng.standard_normal(shape, dtype=np.float32), (0, 0), 0.9) for _ in range(2)]
    speckle = np.hypot(*waves)
    db += 20 * np.log10(np.maximum(speckle / np.sqrt(np.mean(speckle**2)), 1e-3))
    shown = np.clip(1 + (db - np.percentile(db, 99.5)) / _DYNAMIC_RANGE_DB, 0, 1)
    return np.round(255 * shown**1.5)

"""``classical``: GrabCut seeded with the strokes; nothing is learned.

Rother, Kolmogorov and Blake, "GrabCut: interactive foreground extraction using iterated graph cuts", SIGGRAPH 2004.
Between the strokes it starts from the shapes that the landmarks suggest. Box IoU on 30 labelled frames, PS and FH:
GrabCut 0.86 and 0.74; from the strokes alone, GrabCut 0.83 and 0.53 (the best of 16 settings for each), a random walker
(Grady 2006) 0.85 and 0.53 (of 6), which would need scikit-image and scipy.
"""

from __future__ import annotations

import attrs
import cv2
import numpy as np

GEOMETRY = "geometry"

# From the masks of the 300 labelled PSFHS frames; tools/box_table.py measures on other frames.
WIDTH_OF_SYMPHYSIS = 0.5
"""Short over long axis of the symphysis: the median of its area over that of the circle on PS1-PS2."""
HEAD_FROM_FH1 = (-0.396, -0.107, 0.041, 0.453)
"""Left, top, right, bottom of the head's box as seen from FH1, in longer sides of the frame: medians."""
HEAD_OF_SYMPHYSIS = 2.0
"""Diameter of the head over the distance PS1-PS2: the best of 1.6, 1.8, 2.0 and 2.2 for a disc at FH1."""


@attrs.frozen
class Geometric:
    """See :class:`interface.Segmenter`: 1 inside an ellipse on PS1-PS2 or in a head's median box, 0 outside."""

    origin: str = "rules, no picture; medians of 300 labelled PSFHS masks"
    name: str = GEOMETRY

    def __call__(
        self,
        picture: np.ndarray,
        positive: np.ndarray,
        negative: np.ndarray,
        *,
        structure: str,
        points: np.ndarray,
    ) -> np.ndarray:
        if structure == "PS":
            level = symphysis_level(points, *picture.shape)
        else:
            level = _median_head_level(points, *picture.shape)
        return (level <= 1).astype(np.float32)


def symphysis_level(points: np.ndarray, height: int, width: int) -> np.ndarray:
    """float64 (height, width): 0 in the middle of the ellipse on PS1-PS2, 1 on it, growing outside."""
    ps1, ps2, _ = points
    along = (ps2 - ps1) / 2
    return ellipse_level((ps1 + ps2) / 2, along, WIDTH_OF_SYMPHYSIS * _turned(along), height, width)


def head_disc_level(points: np.ndarray, positive: np.ndarray) -> np.ndarray:
    """float64 of the shape of ``positive``: 0 in the middle of a disc that touches PS1-FH1 in FH1, 1 on its edge.

    The disc lies on the side of the strokes ``positive`` (H, W) inside the head.
    """
    ps1, ps2, fh1 = points
    tangent = (fh1 - ps1) / np.hypot(*(fh1 - ps1))
    inward = _turned(tangent) * side_of_strokes(points, positive)
    radius = HEAD_OF_SYMPHYSIS * float(np.hypot(*(ps2 - ps1))) / 2
    return ellipse_level(fh1 + radius * inward, radius * tangent, radius * inward, *positive.shape)


def side_of_strokes(points: np.ndarray, positive: np.ndarray) -> float:
    """1 where the strokes lie to the right of the way PS1 -> FH1 (as seen, y down), -1 where to the left."""
    ps1, _, fh1 = points
    across = _turned(fh1 - ps1)
    middle = np.argwhere(positive)[:, ::-1].mean(axis=0)
    return 1.0 if float((middle - ps1) @ across) >= 0 else -1.0


def ellipse_level(centre: np.ndarray, along: np.ndarray, across: np.ndarray, height: int, width: int) -> np.ndarray:
    """float64 (height, width): distance from the centre in half axes; the two half axes stand at right angles."""
    y, x = np.mgrid[:height, :width]
    dx, dy = x - centre[0], y - centre[1]
    parts = ((dx * axis[0] + dy * axis[1]) / max(float(axis @ axis), 1e-9) for axis in (along, across))
    return np.hypot(*parts)


def _median_head_level(points: np.ndarray, height: int, width: int) -> np.ndarray:
    ps1, ps2, fh1 = points
    left, top, right, bottom = np.array(HEAD_FROM_FH1) * max(height, width)
    # In a mirrored frame PS1 is left of PS2 and the head lies right of FH1.
    side = -1.0 if ps1[0] < ps2[0] else 1.0
    centre = fh1 + np.array([side * (left + right) / 2, (top + bottom) / 2])
    return ellipse_level(centre, np.array([(right - left) / 2, 0]), np.array([0, (bottom - top) / 2]), height, width)


def _turned(vector: np.ndarray) -> np.ndarray:
    """By a quarter, from right to down."""
    return np.array([-vector[1], vector[0]])


CLASSICAL = "classical"
SIDE = 128
"""Pixels of a side on which the graph is cut."""
SURELY_INSIDE, SURELY_OUTSIDE = 0.75, 1.25
"""Shares of the suggested shape that GrabCut may not change; chosen out of three pairs on 30 labelled frames."""
SMOOTHING = 2.0
"""Standard deviation in pixels of the second picture it sees: speckle hides what is brighter on the whole."""
ROUNDS = 1
"""More rounds let the colour models drift away from the seeds."""


@attrs.frozen
class Classical:
    """See :class:`interface.Segmenter`: 1 where GrabCut says foreground, 0 elsewhere."""

    origin: str = "GrabCut on gray, smoothed gray and the shape the landmarks suggest; no learning"
    name: str = CLASSICAL

    def __call__(
        self,
        picture: np.ndarray,
        positive: np.ndarray,
        negative: np.ndarray,
        *,
        structure: str,
        points: np.ndarray,
    ) -> np.ndarray:
        symphysis = structure == "PS"
        level = symphysis_level(points, *picture.shape) if symphysis else head_disc_level(points, positive)
        gray, inside, outside = (_small(plane) for plane in (picture, positive, negative))
        shape = cv2.resize(level.astype(np.float32), (SIDE, SIDE), interpolation=cv2.INTER_LINEAR)
        labels = np.where(shape < 1, cv2.GC_PR_FGD, cv2.GC_PR_BGD).astype(np.uint8)
        labels[shape > SURELY_OUTSIDE], labels[shape < SURELY_INSIDE] = cv2.GC_BGD, cv2.GC_FGD
        labels[outside > 0], labels[inside > 0] = cv2.GC_BGD, cv2.GC_FGD
        if not np.isin(labels, (cv2.GC_BGD, cv2.GC_PR_BGD)).any():
            # Nothing is left to tell the structure from, and GrabCut needs both sides.
            return np.ones(picture.shape, np.float32)
        blurred = cv2.GaussianBlur(gray, (0, 0), SMOOTHING)
        seen = np.dstack([gray, blurred, np.clip(128 * shape, 0, 255).astype(np.uint8)])
        # GrabCut draws its first colour clusters from OpenCV's own generator.
        cv2.setRNGSeed(0)
        cv2.grabCut(seen, labels, (0, 0, 0, 0), np.zeros((1, 65)), np.zeros((1, 65)), ROUNDS, cv2.GC_INIT_WITH_MASK)
        found = np.isin(labels, (cv2.GC_FGD, cv2.GC_PR_FGD)).astype(np.float32)
        return cv2.resize(found, picture.shape[::-1], interpolation=cv2.INTER_LINEAR)


def _small(plane: np.ndarray) -> np.ndarray:
    return cv2.resize(plane, (SIDE, SIDE), interpolation=cv2.INTER_AREA)

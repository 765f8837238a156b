"""What speaks for and against a measurement: from a picture and two looks at it to a few numbers."""

from __future__ import annotations

import math

import attrs
import numpy as np

from aop_pose.trust.appearance import SIDE, Structure, appearances, canvas, dark_share

POINTS_OF: dict[Structure, slice] = {"symphysis": slice(0, 2), "head": slice(2, 3)}
"""Where the points of each structure stand among PS1, PS2, FH1."""
SIGNALS = (
    "symphysis", "head",
    "symphysis_score", "head_score", "second_symphysis_score", "second_head_score",
    "symphysis_sharpness", "head_sharpness", "second_symphysis_sharpness", "second_head_sharpness",
    "symphysis_steadiness", "head_steadiness",
    "shape", "dark",
)  # fmt: skip
"""In this order wherever signals stand in an array; of each the higher, the better, but for ``dark``."""
_LEAST_SCORE = 1e-3
_LEAST_SPREAD = 1e-3
_LEAST_MOVE = 0.5
"""Pixels of ``SIDE``; below it two looks agree."""


@attrs.frozen(eq=False)
class Look:
    """Points of one pass in pixels of the frame, shape (n, 2), and how sure it is of each."""

    points: np.ndarray
    scores: np.ndarray
    """(n,), each in [0, 1]."""
    spread: np.ndarray | None = None
    """(n,) how wide the map of each point is (``heatmaps.spreads``); None for a head without maps."""


@attrs.frozen(eq=False)
class Evidence:
    """Of one frame, before anything learned is asked. Lengths are pixels of the square of ``SIDE``."""

    appearance: dict[Structure, np.ndarray]
    shape: np.ndarray
    """(6,): PS2 and FH1 seen from PS1, and the logarithms of their distances."""
    looks: tuple[Look, Look]
    moved: np.ndarray
    """(3,) distance between the two looks' places of each point."""
    dark: float

    def of_passes(self) -> list[float]:
        """The signals ``SIGNALS[2:12]``: of each structure that of its worst point."""
        told: list[float] = []
        for one in self.looks:
            told += [logit(float(one.scores[part].min())) for part in POINTS_OF.values()]
        for one in self.looks:
            told += [sharpness(None if one.spread is None else one.spread[part]) for part in POINTS_OF.values()]
        return told + [steadiness(float(self.moved[part].max())) for part in POINTS_OF.values()]


def gather(pixels: np.ndarray, first: Look, second: Look) -> Evidence:
    """Evidence on a gray picture (H, W) uint8 with PS1, PS2, FH1 found twice; all points finite."""
    square, points = canvas(pixels, first.points)
    _, again = canvas(pixels, second.points)
    rays = points[1:] - points[0]
    lengths = np.maximum(np.linalg.norm(rays, axis=1), 1.0)
    return Evidence(
        appearance=appearances(square, points),
        shape=np.concatenate([rays.ravel() / SIDE, np.log(lengths / SIDE)]),
        looks=(first, second),
        moved=np.linalg.norm(points - again, axis=1),
        dark=dark_share(square, points),
    )


def logit(score: float) -> float:
    """log(score / (1 - score)), the score kept off 0 and 1 by a thousandth."""
    kept = min(max(score, _LEAST_SCORE), 1 - _LEAST_SCORE)
    return math.log(kept / (1 - kept))


def sharpness(spread: np.ndarray | None) -> float:
    """Minus the logarithm of the widest spread; 0 where a head has no maps, so that nothing is learned from it."""
    return 0.0 if spread is None else -math.log(max(float(spread.max()), _LEAST_SPREAD))


def steadiness(moved: float) -> float:
    """Minus the logarithm of how far the points moved."""
    return -math.log(max(moved, _LEAST_MOVE))

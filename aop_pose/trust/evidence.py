"""What speaks for and against a measurement: from a picture and two looks at it to a few numbers."""

from __future__ import annotations

import math

import attrs
import numpy as np

from aop_pose.trust.appearance import SIDE, Structure, appearances, canvas, dark_share

SIGNALS = ("symphysis", "head", "score", "second_score", "steadiness", "shape", "dark")
"""In this order wherever signals stand in an array; of each the higher, the better, but for ``dark``."""
_LEAST_SCORE = 1e-3
_LEAST_MOVE = 0.5
"""Pixels of ``SIDE``; below it two looks agree."""


@attrs.frozen(eq=False)
class Look:
    """Points of one pass in pixels of the frame, shape (n, 2), and its score."""

    points: np.ndarray
    score: float


@attrs.frozen(eq=False)
class Evidence:
    """Of one frame, before anything learned is asked. Lengths are pixels of the square of ``SIDE``."""

    appearance: dict[Structure, np.ndarray]
    shape: np.ndarray
    """(6,): PS2 and FH1 seen from PS1, and the logarithms of their distances."""
    score: float
    second_score: float
    moved: float
    """Mean distance between the points of the two looks."""
    dark: float


def gather(pixels: np.ndarray, first: Look, second: Look) -> Evidence:
    """Evidence on a gray picture (H, W) uint8 with PS1, PS2, FH1 found twice; all points finite."""
    square, points = canvas(pixels, first.points)
    _, again = canvas(pixels, second.points)
    rays = points[1:] - points[0]
    lengths = np.maximum(np.linalg.norm(rays, axis=1), 1.0)
    return Evidence(
        appearance=appearances(square, points),
        shape=np.concatenate([rays.ravel() / SIDE, np.log(lengths / SIDE)]),
        score=first.score,
        second_score=second.score,
        moved=float(np.linalg.norm(points - again, axis=1).mean()),
        dark=dark_share(square, points),
    )


def logit(score: float) -> float:
    """log(score / (1 - score)), the score kept off 0 and 1 by a thousandth."""
    kept = min(max(score, _LEAST_SCORE), 1 - _LEAST_SCORE)
    return math.log(kept / (1 - kept))


def steadiness(moved: float) -> float:
    """Minus the logarithm of how far the points moved."""
    return -math.log(max(moved, _LEAST_MOVE))

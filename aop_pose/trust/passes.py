"""Several passes over one picture, each of which sees it elsewhere, smaller or turned in the network's input.

What a pass says, or two that are compared, is told as numbers of which the higher is the better.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import attrs
import cv2
import numpy as np

from aop_pose.core.keypoints import Keypoints, Prediction
from aop_pose.core.stances import STANCES, UPRIGHT, Stance

MARGINS = (0.02, 0.10, 0.10, 0.02)
"""Black added above, below, to the left and to the right in the second pass, as shares of the longer side.

The picture comes out a ninth smaller and moved: what is really there is found again in the same place.
"""
TURNS = (
    (-5.0, 1.0), (5.0, 1.0), (-6.0, 1.08), (6.0, 1.08), (0.0, 0.9), (0.0, 1.1), (-6.0, 0.9), (6.0, 0.9), (-10.0, 1.0),
    (10.0, 1.0),
)  # fmt: skip
"""Degrees and scale, about the centre of the picture, of each pass after the second."""
MOST_LOOKS = 2 + len(TURNS)


SURE = 0.95
"""Probability from which a picture is taken to be mirrored or turned, and turned back."""
LIKELY = 0.5
"""Probability of standing as it should, below which a picture that is not turned back is doubtful."""


def sure_stance(prediction: Prediction) -> Stance:
    """The way a picture stands where the network tells and is sure; else as it should."""
    if prediction.stances is None:
        return UPRIGHT
    best = int(np.argmax(prediction.stances))
    return STANCES[best] if prediction.stances[best] >= SURE else UPRIGHT


def upright(stances: np.ndarray) -> float:
    """Of the probabilities of a prediction, that of standing as it should."""
    return float(stances[STANCES.index(UPRIGHT)])


@attrs.frozen(eq=False)
class Passes:
    """All predictions on one picture, in its pixels as it should stand."""

    first: Prediction
    second: Prediction | None
    """None where only one was asked for, or where either found nothing."""
    side: float
    """The longer side of the picture in pixels."""
    field: float | None = None
    """The longer side of the picture in millimetres; None = not known."""
    stance: Stance = UPRIGHT
    """The way the picture was given, where the network is sure."""
    measured: Prediction = attrs.field()
    """The prediction that numbers are taken from: the first, or the mean of several looks (``mean_look``)."""

    @measured.default
    def _first(self) -> Prediction:
        return self.first

    @property
    def points(self) -> np.ndarray:
        """(points, 2) of the first pass in shares of the longer side; ValueError where nothing was found."""
        return self.first.found.coords / self.side

    @property
    def doubtful(self) -> bool:
        """True where the network does not think that the picture, turned back, stands as it should."""
        looks = [self.first] if self.stance is UPRIGHT or self.second is None else [self.first, self.second]
        return any(look.stances is not None and upright(look.stances) < LIKELY for look in looks)

    @property
    def points_again(self) -> np.ndarray | None:
        """(points, 2) of the second pass in shares of the longer side."""
        return None if self.second is None else self.second.found.coords / self.side


def widen(pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Gray (H, W) uint8 with its margins, and the place (2,) of its old origin: x, y in pixels."""
    top, bottom, left, right = (round(share * max(pixels.shape)) for share in MARGINS)
    return cv2.copyMakeBorder(pixels, top, bottom, left, right, cv2.BORDER_CONSTANT), np.array([left, top], np.float64)


def turn(pixels: np.ndarray, degrees: float, scale: float) -> tuple[np.ndarray, np.ndarray]:
    """Gray (H, W) uint8 turned and scaled about its centre, black where nothing was, and the map (2, 3) back.

    ``back[:, :2] @ (x, y) + back[:, 2]`` is the place in the picture of a place in the turned one.
    """
    height, width = pixels.shape
    there = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), degrees, scale)
    return cv2.warpAffine(pixels, there, (width, height)), cv2.invertAffineTransform(there)


def mean_look(looks: Sequence[Prediction]) -> Prediction:
    """The first prediction with its points where those of all looks lie in the mean; outlines stay the first's.

    The two ends of an interchangeable pair are taken in the order that is nearer to the first look's. Looks that found
    nothing do not count, nor does a point that a look did not find.
    """
    first = looks[0].found
    others = [_in_order_of(first, look.keypoints) for look in looks[1:] if look.keypoints is not None]
    coords = np.stack([first.coords, *others])
    known = np.isfinite(coords).all(axis=2) & np.isfinite(first.coords).all(axis=1)
    total = np.where(known[..., None], coords, 0).sum(axis=0)
    with np.errstate(invalid="ignore"):
        mean = total / np.where(known.any(axis=0), known.sum(axis=0), np.nan)[:, None]
    return attrs.evolve(looks[0], keypoints=attrs.evolve(first, coords=mean))


def _in_order_of(first: Keypoints, other: Keypoints) -> np.ndarray:
    """Coordinates (points, 2) of ``other``, ends exchanged where that brings them nearer to those of ``first``."""
    coords = other.coords.copy()
    for names in first.schema.interchangeable:
        pair = list(first.schema.indices(names))
        apart = [np.linalg.norm(coords[ends] - first.coords[pair], axis=1).sum() for ends in (pair, pair[::-1])]
        if apart[1] < apart[0]:
            coords[pair] = coords[pair[::-1]]
    return coords


_LEAST_SCORE = 1e-3
_LEAST_SPREAD = 1e-3
_LEAST_MOVE = 0.5
"""Pixels of the square in which a frame is looked at; below it two looks agree."""
_LEAST_EXTENT = 2.0**-12
"""Of that square; an outline of less is none."""


def logit(score: float) -> float:
    """log(score / (1 - score)), the score kept off 0 and 1 by a thousandth."""
    kept = min(max(score, _LEAST_SCORE), 1 - _LEAST_SCORE)
    return math.log(kept / (1 - kept))


def sharpness(spread: np.ndarray | None) -> float:
    """Minus the logarithm of the widest spread; 0 where a head has no maps, so that nothing is learned from it."""
    return 0.0 if spread is None else -math.log(max(float(spread.max()), _LEAST_SPREAD))


def extent(share: float | None) -> float:
    """Logarithm of an outlined share; 0 where there are no outlines, so that nothing is learned from it."""
    return 0.0 if share is None else math.log(max(share, _LEAST_EXTENT))


def steadiness(moved: float) -> float:
    """Minus the logarithm of how far the points moved."""
    return -math.log(max(moved, _LEAST_MOVE))

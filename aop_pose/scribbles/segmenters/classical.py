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

from aop_pose.scribbles.segmenters.geometric import head_disc_level, symphysis_level

NAME = "classical"
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
    name: str = NAME

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

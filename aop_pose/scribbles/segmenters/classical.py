"""``classical``: GrabCut seeded with the strokes; nothing is learned.

Rother, Kolmogorov and Blake, "GrabCut: interactive foreground extraction using iterated graph cuts", SIGGRAPH 2004.
"""

from __future__ import annotations

import attrs
import cv2
import numpy as np

NAME = "classical"
SIDE = 128
ROUNDS = 3


@attrs.frozen
class Classical:
    """See :class:`interface.Segmenter`: 1 where GrabCut says foreground, 0 elsewhere."""

    reach: float = 1.3
    blur: float = 2.0
    origin: str = "GrabCut on gray, smoothed gray and distance to the strokes; no learning"
    name: str = NAME

    def __call__(
        self,
        picture: np.ndarray,
        positive: np.ndarray,
        negative: np.ndarray,
        *,
        structure: str = "",
        points: np.ndarray | None = None,
    ) -> np.ndarray:
        size = (SIDE, SIDE)
        gray = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
        inside, outside = (cv2.resize(mask, size, interpolation=cv2.INTER_AREA) > 0 for mask in (positive, negative))
        away = cv2.distanceTransform((~inside).astype(np.uint8), cv2.DIST_L2, 5)
        extent = max(np.ptp(np.argwhere(inside), axis=0).max(), 4)
        near = np.clip(255 * away / (2 * self.reach * extent), 0, 255)
        features = np.dstack([gray, cv2.GaussianBlur(gray, (0, 0), self.blur), near.astype(np.uint8)])
        labels = np.where(away < self.reach * extent, cv2.GC_PR_BGD, cv2.GC_BGD).astype(np.uint8)
        labels[away < self.reach * extent / 2] = cv2.GC_PR_FGD
        labels[outside], labels[inside] = cv2.GC_BGD, cv2.GC_FGD
        models = np.zeros((1, 65)), np.zeros((1, 65))
        cv2.setRNGSeed(0)
        cv2.grabCut(features, labels, None, *models, ROUNDS, cv2.GC_INIT_WITH_MASK)
        found = (labels == cv2.GC_FGD) | (labels == cv2.GC_PR_FGD)
        return cv2.resize(found.astype(np.float32), picture.shape[::-1], interpolation=cv2.INTER_LINEAR)

"""The box around the points of a frame."""

from __future__ import annotations

import numpy as np


def pose_box(points: np.ndarray, margin: float, width: float, height: float) -> np.ndarray:
    """Box of the points grown by ``margin`` times its longer side on every side, clipped to the frame.

    OKS divides by the area of this box, so arms of a comparison must use the same margin (DESIGN.md, the pose box).

    Args:
        points: (n, 2) in pixels.
        margin: share of the longer side.
        width, height: of the frame, in pixels.

    Returns:
        left, top, right, bottom in pixels.
    """
    low, high = points.min(axis=0), points.max(axis=0)
    grow = margin * float((high - low).max())
    limit = np.array([width - 1, height - 1], dtype=float)
    return np.concatenate([np.clip(low - grow, 0, limit), np.clip(high + grow, 0, limit)])

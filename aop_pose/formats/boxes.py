"""The box around the points of a frame."""

from __future__ import annotations

import numpy as np


def pose_box(points: np.ndarray, margin: float, width: float, height: float) -> np.ndarray:
    """Box of the points grown by ``margin`` times its longer side on every side, clipped to the frame.

    OKS divides by the area of this box, so arms of a comparison must use the same margin.

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


def box_iou(one: np.ndarray, other: np.ndarray) -> float:
    """Shared area over joint area of two boxes left, top, right, bottom; 0 where they do not meet."""
    low, high = np.maximum(one[:2], other[:2]), np.minimum(one[2:], other[2:])
    shared = float(np.clip(high - low, 0, None).prod())
    joint = float((one[2:] - one[:2]).prod() + (other[2:] - other[:2]).prod()) - shared
    return shared / joint if joint > 0 else 0.0

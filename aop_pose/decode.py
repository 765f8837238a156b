"""From the raw output of a pose head to one set of points."""

from __future__ import annotations

import numpy as np

# Set once, before any measurement, and not tuned: about as many candidates as Ultralytics' assigner teaches (10).
VOTERS = 12
VOTER_IOU = 0.6


def decode_pose(output: np.ndarray, rule: str) -> tuple[np.ndarray, float]:
    """Points and score of the one object a frame can show.

    Args:
        output: (5 + 2 n, anchors): box centre x, y, width, height, score, then x, y of each point, in pixels of
            the network's input.
        rule: ``best`` takes the points of the highest score. ``weighted`` takes the mean, weighted by score, over
            the ``VOTERS`` highest-scored candidates whose box overlaps the best one's by IoU >= ``VOTER_IOU``.

    Returns:
        Points (n, 2) and the highest score; the score is 0 and the points NaN where the output is not finite.
    """
    scores = output[4]
    best = int(np.argmax(scores))
    if not np.isfinite(output[:, best]).all():
        return np.full((len(output[5:]) // 2, 2), np.nan), 0.0
    if rule == "best":
        return output[5:, best].reshape(-1, 2).astype(np.float64), float(scores[best])
    chosen, weights = voters(output)
    points = output[5:, chosen].astype(np.float64) @ weights
    return points.reshape(-1, 2), float(scores[best])


def voters(output: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The candidates that speak of the same object as the best one, and their shares.

    Args:
        output: as ``decode_pose`` takes it; finite for the candidate with the highest score.

    Returns:
        Indices (k,) of the ``VOTERS`` highest-scored candidates whose box overlaps the best one's by IoU >=
        ``VOTER_IOU``, and their scores (k,) divided by the sum; the best one is always among them, and where all
        scores are 0 the shares are equal.
    """
    scores = output[4]
    best = int(np.argmax(scores))
    top = np.argpartition(-scores, VOTERS)[:VOTERS] if scores.size > VOTERS else np.arange(scores.size)
    chosen = top[(_iou(output[:4, top], output[:4, best]) >= VOTER_IOU) | (top == best)]
    weights = scores[chosen].astype(np.float64)
    if not weights.sum() > 0:
        weights = np.ones(len(chosen))
    return chosen, weights / weights.sum()


def _iou(boxes: np.ndarray, box: np.ndarray) -> np.ndarray:
    """Overlap of boxes (4, k) with one box (4,), all as centre x, y, width, height."""
    low = np.maximum(boxes[:2] - boxes[2:] / 2, (box[:2] - box[2:] / 2)[:, None])
    high = np.minimum(boxes[:2] + boxes[2:] / 2, (box[:2] + box[2:] / 2)[:, None])
    shared = np.clip(high - low, 0, None).prod(axis=0)
    return shared / (boxes[2:].prod(axis=0) + box[2:].prod() - shared)

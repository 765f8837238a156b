"""How an error falls apart: along and across a ray, noise and the rest, between and within groups."""

from __future__ import annotations

import numpy as np


def axis_errors(found: np.ndarray, truth: np.ndarray, factor: np.ndarray, to: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Errors (n, 3) of each landmark along and across the true ray from PS1 to landmark ``to``, times ``factor`` (n,).

    Along is positive away from PS1, across is positive to the side of the third landmark.
    """
    axis = truth[:, to] - truth[:, 0]
    axis = axis / np.linalg.norm(axis, axis=1, keepdims=True)
    normal = np.stack([-axis[:, 1], axis[:, 0]], axis=1)
    side = np.sign(((truth[:, 3 - to] - truth[:, 0]) * normal).sum(axis=1))
    normal = normal * np.where(side == 0, 1.0, side)[:, None]
    error = (found - truth) * factor[:, None, None]
    return (error * axis[:, None]).sum(axis=2), (error * normal[:, None]).sum(axis=2)


def own_part(error: np.ndarray, noise: np.ndarray) -> np.ndarray:
    """What is left of an error where an independent noise is taken away: sqrt(error^2 - noise^2), 0 at least."""
    return np.sqrt(np.clip(error**2 - noise**2, 0, None))


def share_between(values: np.ndarray, groups: np.ndarray) -> float:
    """Share of the variance that lies between groups: the one-way random-effects ICC of unequal group sizes, >= 0."""
    names, index, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    if len(names) < 2 or len(names) == len(values):
        return float("nan")
    means = np.bincount(index, values) / sizes
    between = (sizes * (means - values.mean()) ** 2).sum() / (len(names) - 1)
    within = ((values - means[index]) ** 2).sum() / (len(values) - len(names))
    typical = (len(values) - (sizes**2).sum() / len(values)) / (len(names) - 1)
    component = max(0.0, (between - within) / typical)
    return float(component / (component + within)) if component + within > 0 else float("nan")

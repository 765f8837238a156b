"""Where points lie in volumes of a kind: a prior of place, by which maps are weighed before they are read.

A network that is trained on volumes in every direction knows nothing of how a scan is made. Where the points of the
training volumes lay around the middle of the grid says something: that a fetus is not in its mother's back.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from aop_pose.volume_turns import Sides

LEAST_MM = 10.0
"""Added to the spread along each axis: few volumes show less than there is."""
Triple = tuple[float, float, float]


class PlacePrior(BaseModel):
    """A normal distribution of place for each point, in mm from the middle of the grid, along its axes.

    Where the network looks twice, from the middle of the first grid.
    """

    model_config = ConfigDict(extra="forbid")

    strength: float = Field(gt=0, le=1)
    """The power to which the density is raised."""
    means: list[Triple]
    covariances: list[tuple[Triple, Triple, Triple]]
    """Of each point, in mm squared."""

    def weigh(self, maps: np.ndarray, voxel_mm: float, middle: np.ndarray) -> np.ndarray:
        """Maps (n, I, J, K) times the densities to the power of ``strength``, whose highest value is 1.

        ``middle``: (3,) the index from which places are counted; it may lie anywhere.
        """
        axes = [(np.arange(count) - start) * voxel_mm for count, start in zip(maps.shape[1:], middle, strict=True)]
        from_middle = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
        weighed = np.empty_like(maps)
        for values, mean, covariance, out in zip(maps, self.means, self.covariances, weighed, strict=True):
            off = from_middle - mean
            squared = np.einsum("...i,ij,...j", off, np.linalg.inv(covariance), off)
            out[:] = values * np.exp(-0.5 * self.strength * (squared - squared.min()))
        return weighed


def place_prior(points_mm: Sequence[np.ndarray], strength: float, unsided: Sides = ()) -> PlacePrior | None:
    """The prior of labelled points; None where some point has fewer than two labels.

    Args:
        points_mm: (n, 3) of each volume, in mm from the middle of the grid; NaN for a point without a label.
        unsided: pairs of sides that have no names; both sides then have one distribution.
    """
    points = np.asarray(points_mm, np.float64)
    pooled = [[index] for index in range(points.shape[1])]
    for left, right in unsided:
        for one, other in zip(left, right, strict=True):
            pooled[one] = pooled[other] = [one, other]
    means: list[Triple] = []
    covariances: list[tuple[Triple, Triple, Triple]] = []
    for together in pooled:
        found = points[:, together].reshape(-1, 3)
        found = found[np.isfinite(found).all(axis=1)]
        if len(found) < 2:
            return None
        means.append(_triple(found.mean(axis=0)))
        first, second, third = np.cov(found.T) + np.eye(3) * LEAST_MM**2
        covariances.append((_triple(first), _triple(second), _triple(third)))
    return PlacePrior(strength=strength, means=means, covariances=covariances)


def _triple(values: np.ndarray) -> Triple:
    first, second, third = (round(float(value), 2) for value in values)
    return first, second, third

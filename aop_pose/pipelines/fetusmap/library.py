"""The pose library: training poses registered to a predicted one, and the labels made of the nearest (section 3.3)."""

from __future__ import annotations

from collections.abc import Sequence

import attrs
import numpy as np
from numpy.typing import ArrayLike

from aop_pose.core.schema import Schema
from aop_pose.core.schemas import FETUS
from aop_pose.errors import UsageError
from aop_pose.geometry import register
from aop_pose.pipelines.fetusmap.config import NEAREST

STABLE = (1, 2, 4, 6, 8)
"""Positions of points 2, 3, 5, 7 and 9, found best of head and trunk: what poses are registered on."""
AMBIGUOUS = (0, 3, 5, 7, 9)
"""Positions of points 1, 4, 6, 8 and 10: those that are refined."""
TRUNK = tuple(sorted(STABLE + AMBIGUOUS))


@attrs.frozen(eq=False)
class Prior:
    """The library's view of one predicted pose.

    Attributes:
        labels: P_p of equation 10 (points, 3) in mm; NaN but for those that are refined.
        nearest: positions (K,) in the library, the nearest first.
        errors: (K,) mean distance in mm of the registered points to the predicted ones.
        refined: positions of the points that are refined.
    """

    labels: np.ndarray
    nearest: np.ndarray
    errors: np.ndarray
    refined: tuple[int, ...]


def has_prior(schema: Schema) -> bool:
    """True where a schema begins with the points 1-10 of FetusMapV2, whatever its other points are."""
    return schema.points[: len(TRUNK)] == FETUS.points[: len(TRUNK)]


def surest(scores: ArrayLike) -> tuple[int, ...]:
    """Positions of as many points of head and trunk as are ``STABLE``, those with the highest scores (points,).

    The first of equals; a point without a score (NaN) comes last.
    """
    order = np.argsort(-np.nan_to_num(np.asarray(scores, np.float64)[list(TRUNK)], nan=-np.inf), kind="stable")
    return tuple(sorted(TRUNK[place] for place in order[: len(STABLE)]))


def check_schema(schema: Schema) -> None:
    """UsageError for a schema without those points."""
    if not has_prior(schema):
        raise UsageError(
            f"refinement: expected a model of schema {FETUS.name}, which has the points of head and trunk it works on, "
            f"found schema {schema.name}; predict without it"
        )


def _floats(value: object) -> np.ndarray:
    return np.array(value, dtype=np.float64)


@attrs.frozen(eq=False)
class PoseLibrary:
    """Poses of the training set (S of section 3.3). UsageError where none can be used."""

    poses: np.ndarray = attrs.field(converter=_floats)
    """(poses, points, 3), x, y, z in right-handed mm; a pose that lacks a point of head or trunk (NaN) is left out."""

    @poses.validator
    def _check_poses(self, attribute: attrs.Attribute, value: np.ndarray) -> None:
        if value.ndim != 3 or value.shape[1] < len(TRUNK) or value.shape[2] != 3:
            raise UsageError(
                f"pose library: expected (poses, points, 3) with the points of schema {FETUS.name}, found {value.shape}"
            )
        if not self.usable.any():
            raise UsageError(
                f"pose library: expected poses with all points of head and trunk, found none among {len(value)}; "
                "train on volumes that have them"
            )

    @property
    def usable(self) -> np.ndarray:
        """(poses,): which have all points of head and trunk."""
        return np.isfinite(self.poses[:, list(TRUNK)]).all(axis=(1, 2))

    def prior(
        self, predicted: ArrayLike, count: int = NEAREST, similarity: bool = True, stable: Sequence[int] = STABLE
    ) -> Prior | None:
        """Labels for a predicted pose; None where it cannot be registered (its stable points miss or lie on a line).

        Equation 9: of all poses, each moved by its own registration, the ``count`` with the least sum of distances on
        the stable points; the first of equals. Fewer where the library has fewer. Equation 10: halfway from the
        predicted point to the mean of theirs.

        Args:
            predicted: (points, 3), x, y, z in right-handed mm.
            similarity: find a scale for each pose too: fetuses of the paper are 10 to 15 weeks old and differ in size.
            stable: points of head and trunk that are registered on; the others are refined.
        """
        pose, stable = np.asarray(predicted, np.float64), list(stable)
        registered = register(self.poses[:, stable], pose[stable], similarity=similarity)(self.poses)
        errors = np.linalg.norm(registered[:, stable] - pose[stable], axis=2).mean(axis=1)
        errors[~self.usable | np.isnan(errors)] = np.inf
        nearest = np.argsort(errors, kind="stable")[:count]
        nearest = nearest[np.isfinite(errors[nearest])]
        if not len(nearest):
            return None
        labels = np.full_like(pose, np.nan)
        ambiguous = [point for point in TRUNK if point not in stable]
        labels[ambiguous] = (pose[ambiguous] + registered[nearest][:, ambiguous].mean(axis=0)) / 2
        return Prior(labels, nearest, errors[nearest], tuple(ambiguous))

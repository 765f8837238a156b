"""Errors of what is measured on points in volumes: lengths in mm, and the midsagittal plane (FetusMapV2, table 8)."""

from __future__ import annotations

from collections.abc import Mapping

import attrs
import numpy as np

from aop_pose import geometry
from aop_pose.keypoints import Keypoints
from aop_pose.measure import measure_volume, midsagittal_plane
from aop_pose.schemas import FETUS, Schema

WORST_ANGLE_DEG = 90.0
"""Between two planes, and what a missing one counts as."""


@attrs.frozen(eq=False)
class MeasurementErrors:
    """Frame by frame; NaN where either side has no value."""

    true_values: Mapping[str, np.ndarray]
    """By name without unit (``crl``, ``femur_left``), (frames,) mm on the true points."""
    differences: Mapping[str, np.ndarray]
    """Predicted minus true, (frames,) mm."""
    plane_distances: np.ndarray | None = None
    """(frames,) mm from the middle of the true points of the midline to the predicted plane; None for a schema without
    a midsagittal plane. The paper does not say which distance it gives."""
    plane_angles: np.ndarray | None = None
    """(frames,) degrees between the two planes, 0 to 90."""
    true_planes: np.ndarray | None = None
    """(frames,), bool: the true points have a plane."""

    def with_missing(self, diagonals: np.ndarray) -> MeasurementErrors:
        """The same where what the truth has and the prediction does not is off by the diagonal, and by 90 degrees."""

        def filled(errors: np.ndarray, known: np.ndarray, lost: np.ndarray) -> np.ndarray:
            return np.where(known & ~np.isfinite(errors), lost, errors)

        differences = {
            name: filled(difference, np.isfinite(self.true_values[name]), diagonals)
            for name, difference in self.differences.items()
        }
        if self.plane_distances is None or self.plane_angles is None or self.true_planes is None:
            return attrs.evolve(self, differences=differences)
        return attrs.evolve(
            self,
            differences=differences,
            plane_distances=filled(self.plane_distances, self.true_planes, diagonals),
            plane_angles=filled(self.plane_angles, self.true_planes, np.full(len(diagonals), WORST_ANGLE_DEG)),
        )


def measurement_errors(predicted: np.ndarray, truth: np.ndarray, schema: Schema) -> MeasurementErrors:
    """Measure both sides as ``predict`` does and compare them.

    Args:
        predicted, truth: (frames, points, 3), x, y, z in mm, NaN for a missing point.
    """
    names = [name.removesuffix("_mm") for name in schema.measurements]
    first, second = (np.array([_lengths(points, schema) for points in side]) for side in (predicted, truth))
    true_values = dict(zip(names, second.T, strict=True))
    differences = dict(zip(names, (first - second).T, strict=True))
    if schema is not FETUS:
        return MeasurementErrors(true_values, differences)
    planes = [(midsagittal_plane(one), midsagittal_plane(other)) for one, other in zip(predicted, truth, strict=True)]
    return MeasurementErrors(
        true_values,
        differences,
        plane_distances=np.array([geometry.plane_distance(one, true, true.point) for one, true in planes]),
        plane_angles=np.array([geometry.plane_angle(one, true) for one, true in planes]),
        true_planes=np.array([bool(np.isfinite(true.normal).all()) for _, true in planes]),
    )


def _lengths(points: np.ndarray, schema: Schema) -> list[float]:
    """The measurements of a schema on points in mm, NaN for one that cannot be taken."""
    found = measure_volume(Keypoints.from_points(schema, points), np.eye(4)).measurements
    return [found[name].value if name in found else np.nan for name in schema.measurements]

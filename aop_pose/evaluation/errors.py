"""Errors of predicted points against true points, and the figures of ``metrics.json``.

Every figure is a mean (median, percentile, share) over measured frames. Its twin ``NAME_with_missing`` counts
a frame without a prediction as well: each of its errors of length is the diagonal of its picture, its angle
error is 180 degrees. A bias has no twin, because a missing frame has no sign.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import attrs
import numpy as np

from aop_pose import geometry
from aop_pose.core.schema import Quantity, Schema
from aop_pose.core.schemas import AOP, FETUS
from aop_pose.core.schemas.fetus import midsagittal_plane
from aop_pose.errors import UsageError
from aop_pose.evaluation.rows import Millimetres

SDR_THRESHOLDS = (5, 10, 15, 20)
"""Pixels; a point is detected where its error is at most the threshold (SDR: successful detection rate)."""

CLOSE_PERCENT = 2.5
UNDER_2_5 = "under_2_5_percent"
"""The share of lengths whose error is below ``CLOSE_PERCENT`` of the true length."""

Figures = dict[str, float | int | str | None]


@attrs.frozen(eq=False)
class FrameErrors:
    """Errors frame by frame; NaN in the rows of frames without a prediction."""

    schema: Schema
    scale: float | None
    measured: np.ndarray
    """Shape (frames,), bool."""
    offsets: np.ndarray
    """|predicted - true| along x and y, shape (frames, points, 2), in pixels of the asked-for scale."""
    distances: np.ndarray
    """Euclidean, shape (frames, points), in pixels of the asked-for scale."""
    diagonals: np.ndarray
    """Of the pictures, shape (frames,), in pixels of the asked-for scale; NaN where the size is unknown."""
    quantities: tuple[Quantity, ...]
    """Those of the schema that are known in their unit on some frame."""
    true_values: Mapping[str, np.ndarray]
    """By ``Quantity.key``: of the true points, or as the truth file states it; shape (frames,)."""
    differences: Mapping[str, np.ndarray]
    """By ``Quantity.key``: predicted minus true, shape (frames,)."""
    losses: Mapping[str, np.ndarray]
    """By ``Quantity.key``: the error that a frame without a prediction counts as, shape (frames,)."""


def frame_errors(
    predicted: np.ndarray,
    truth: np.ndarray,
    sizes: np.ndarray,
    scale: float | None = None,
    schema: Schema = AOP,
    millimetres: Millimetres | None = None,
) -> FrameErrors:
    """Compare points frame by frame.

    ``predicted`` and ``truth`` are (frames, points, 2) in pixels of the original frames, columns x, y; a
    frame with a NaN point in ``predicted`` has no prediction. ``sizes`` is (frames, 2): width, height;
    NaN where unknown.
    ``scale`` multiplies the pixels of each frame by scale / longer side; None leaves them as they are.
    With ``millimetres`` lengths are compared in them too, whatever the scale.
    Interchangeable points of the schema are compared in the better of their two orders. ValueError for other
    shapes, UsageError where a scale is asked for and a measured frame has no size.
    """
    predicted, truth = np.asarray(predicted, dtype=float), np.asarray(truth, dtype=float)
    sizes = np.asarray(sizes, dtype=float)
    frames, points = len(truth), len(schema.points)
    shapes = {"predicted": (predicted, (frames, points, 2)), "truth": (truth, (frames, points, 2))}
    for name, (array, expected) in {**shapes, "sizes": (sizes, (frames, 2))}.items():
        if array.shape != expected:
            raise ValueError(f"{name}: expected shape {expected}, found {array.shape}")
    measured = np.isfinite(predicted).all(axis=(1, 2))
    unsized = int((measured & ~np.isfinite(sizes).all(axis=1)).sum())
    if scale is not None and unsized:
        raise UsageError(
            f"--scale: expected width and height of every measured frame, found none for {unsized}; "
            "add the columns width and height to the results, or give --images"
        )
    predicted = np.where(measured[:, None, None], align_interchangeable(predicted, truth, schema), np.nan)
    factor = np.ones(frames) if scale is None else scale / sizes.max(axis=1, initial=0)
    offsets = np.abs(predicted - truth) * factor[:, None, None]
    diagonals = np.linalg.norm(sizes, axis=-1)
    units = {"deg": np.ones(frames), "px": factor}
    if millimetres is not None:
        units["mm"] = millimetres.per_pixel
    quantities = tuple(
        quantity for quantity in schema.quantities if quantity.unit in units and not quantity.needs_outline
    )
    true_values, differences, losses = {}, {}, {}
    for quantity in quantities:
        unit, key = units[quantity.unit], quantity.key
        true_values[key] = schema.values(quantity, truth) * unit
        if quantity.stated and millimetres is not None and millimetres.circumference is not None:
            # Without the size of a pixel nothing can be compared with it.
            true_values[key] = np.where(np.isfinite(unit), millimetres.circumference, np.nan)
        differences[key] = schema.values(quantity, predicted) * unit - true_values[key]
        losses[key] = diagonals * unit if quantity.missing is None else np.full(frames, quantity.missing)
    return FrameErrors(
        schema=schema,
        scale=scale,
        measured=measured,
        offsets=offsets,
        distances=np.linalg.norm(offsets, axis=-1),
        diagonals=diagonals * factor,
        quantities=quantities,
        true_values=true_values,
        differences=differences,
        losses=losses,
    )


def align_interchangeable(predicted: np.ndarray, truth: np.ndarray, schema: Schema) -> np.ndarray:
    """``predicted`` with each interchangeable pair swapped where that brings it nearer the truth."""
    aligned = predicted.copy()
    for first, second in schema.interchangeable:
        pair = [schema.index(first), schema.index(second)]
        straight = geometry.point_distance(predicted[:, pair], truth[:, pair]).sum(axis=1)
        swapped = geometry.point_distance(predicted[:, pair[::-1]], truth[:, pair]).sum(axis=1)
        nearer = swapped < straight
        aligned[np.ix_(nearer, pair)] = predicted[np.ix_(nearer, pair[::-1])]
    return aligned


def metrics(
    predicted: np.ndarray,
    truth: np.ndarray,
    sizes: np.ndarray,
    scale: float | None = None,
    schema: Schema = AOP,
) -> Figures:
    """The figures of ``metrics.json`` for arrays as :func:`frame_errors` takes them.

    MRE: mean radial error. MAE: mean absolute error of a coordinate. SDR: share of points, in [0, 1]. Angle
    figures are absolute errors in degrees, their bias is predicted minus true. ``UNDER_2_5`` of a length is the
    share of frames whose error is below 2.5 % of the true length. ``scale`` is "original" where
    none is given. A figure over no frames is None.
    """
    return summarise(frame_errors(predicted, truth, sizes, scale, schema))


def summarise(errors: FrameErrors) -> Figures:
    """The figures of :func:`metrics`, from errors already computed."""
    measured, missing = errors.measured, ~errors.measured
    filled_distances, filled_offsets = errors.distances.copy(), errors.offsets.copy()
    filled_distances[missing] = errors.diagonals[missing, None]
    filled_offsets[missing] = errors.diagonals[missing, None, None]
    figures = _point_figures(errors.distances[measured], errors.offsets[measured], errors.schema)
    twins = _point_figures(filled_distances, filled_offsets, errors.schema)
    for quantity in errors.quantities:
        difference, true = errors.differences[quantity.key], errors.true_values[quantity.key]
        known = np.isfinite(difference)
        figures |= _quantity_figures(quantity, np.abs(difference[known]), true[known])
        figures[quantity.figure("bias")] = _mean(difference[known])
        # A frame whose truth has no value (coincident points) cannot be wrong, so it has no twin either.
        scored = np.isfinite(true)
        counted = np.where(known, np.abs(difference), errors.losses[quantity.key])
        twins |= _quantity_figures(quantity, counted[scored], true[scored])
    return {
        **figures,
        **{f"{name}_with_missing": value for name, value in twins.items()},
        "n": len(measured),
        "n_missing": int(missing.sum()),
        "scale": "original" if errors.scale is None else rounded(errors.scale),
    }


def _point_figures(distances: np.ndarray, offsets: np.ndarray, schema: Schema) -> Figures:
    figures: Figures = {"mre_px": _mean(distances)}
    for index, point in enumerate(schema.points):
        figures[f"mre_px_{point.lower()}"] = _mean(distances[:, index])
    figures["mae_px"] = _mean(offsets)
    for threshold in SDR_THRESHOLDS:
        figures[f"sdr_{threshold}"] = _mean(distances <= threshold)
    return figures


def _quantity_figures(quantity: Quantity, errors: np.ndarray, true: np.ndarray) -> Figures:
    figures: Figures = {
        quantity.figure("mae"): _mean(errors),
        quantity.figure("median"): rounded(np.median(errors)) if errors.size else None,
        quantity.figure("p95"): rounded(np.percentile(errors, 95)) if errors.size else None,
    }
    if quantity.unit != "deg":
        figures[f"{quantity.key}_{UNDER_2_5}"] = _mean(is_close(errors, true))
    return figures


def is_close(errors: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Whether absolute errors (n,) of lengths are below ``CLOSE_PERCENT`` of the true lengths (n,), bool."""
    return errors < CLOSE_PERCENT / 100 * true


def _mean(values: np.ndarray) -> float | None:
    return rounded(values.mean()) if values.size else None


def rounded(value: float) -> float | None:
    """As it stands in ``metrics.json``: 6 decimals, null for what is undefined."""
    return round(float(value), 6) if math.isfinite(value) else None


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
    true_values = {quantity.name: schema.values(quantity, truth) for quantity in schema.quantities}
    differences = {
        quantity.name: schema.values(quantity, predicted) - true_values[quantity.name] for quantity in schema.quantities
    }
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


PCK_LIMIT_MM = 20.0
"""Where the curve ends. FetusMapV2 does not state it; its tables 2 and 3 agree with 1 - ED / 20 mm (point 5 of UPatch:
2.03 mm and 89.89 %, point 2 of UNet: 2.46 mm and 87.69 %)."""
PCK_THRESHOLDS_MM = (2, 5, 10, 15, 20)


def pck_curve(distances: np.ndarray, limit: float = PCK_LIMIT_MM, steps: int = 200) -> tuple[np.ndarray, np.ndarray]:
    """Thresholds from 0 to ``limit`` and the share of the finite ``distances`` that are at most each.

    Both of shape (steps + 1,); the shares are NaN where no distance is finite.
    """
    known = np.sort(distances[np.isfinite(distances)])
    thresholds = np.linspace(0, limit, steps + 1)
    if not len(known):
        return thresholds, np.full(len(thresholds), np.nan)
    return thresholds, np.searchsorted(known, thresholds, side="right") / len(known)


def area_shares(distances: np.ndarray, limit: float = PCK_LIMIT_MM) -> np.ndarray:
    """What each distance adds to the area under the PCK curve, in [0, 1]; their mean is the AUC. NaN stays NaN.

    A point of error e is within all thresholds from e to the limit, so its share of the area is 1 - e / limit, or 0
    where e is beyond: the area is exact, whatever thresholds a curve is drawn at.
    """
    return np.clip(1 - np.asarray(distances, np.float64) / limit, 0, 1)


Columns = tuple[int, ...]
Unit = tuple[Columns, Columns]
"""Left and right points that change places together, in matching order."""


@attrs.frozen(eq=False)
class PointErrors:
    """Errors in mm; NaN where a point was not predicted, or the truth does not have it."""

    schema: Schema
    measured: np.ndarray
    """Shape (frames,), bool: some point was predicted."""
    labelled: np.ndarray
    """Shape (frames, points), bool: the truth has the point."""
    distances: np.ndarray
    """Shape (frames, points): as the points are named."""
    exchanged: np.ndarray
    """Shape (frames, points): left points compared with right ones and the other way round; NaN for the others."""
    diagonals: np.ndarray
    """Of the volumes, shape (frames,): the error that a missing point counts as."""

    def up_to_swap(self, units: Sequence[Unit]) -> np.ndarray:
        """Distances (frames, points) with each unit in the better of its two orders, whole units at once."""
        best = self.distances.copy()
        for unit in units:
            columns = [index for side in unit for index in side]
            crossed = self.confused(unit) == 1
            best[np.ix_(crossed, columns)] = self.exchanged[np.ix_(crossed, columns)]
        return best

    def confused(self, unit: Unit) -> np.ndarray:
        """Shape (frames,): 1 where the unit lies nearer the truth exchanged than as named, else 0.

        NaN where no pair of the unit has both points on both sides of the comparison. A tie is not confused.
        """
        columns = np.array(unit)
        straight, crossed = self.distances[:, columns], self.exchanged[:, columns]
        # Only whole pairs are compared: a lone point would count in one order and not in the other. Where both have an
        # error as named, both have one exchanged.
        whole = np.isfinite(straight).all(axis=1)
        as_named, other = (np.where(whole[:, None], side, 0).sum(axis=(1, 2)) for side in (straight, crossed))
        return np.where(whole.any(axis=1), (other < as_named).astype(float), np.nan)


def point_errors(predicted: np.ndarray, truth: np.ndarray, diagonals: np.ndarray, schema: Schema) -> PointErrors:
    """Compare points in millimetres.

    Args:
        predicted: (frames, points, 3), x, y, z in mm, NaN for a point that was not predicted.
        truth: the same shape and space; NaN for a point that is not labelled, which is not scored.
        diagonals: (frames,) in mm.

    Raises:
        ValueError: other shapes.
    """
    predicted, truth = np.asarray(predicted, np.float64), np.asarray(truth, np.float64)
    diagonals = np.asarray(diagonals, np.float64)
    expected = (len(truth), len(schema.points), 3)
    shapes = {"predicted": (predicted, expected), "truth": (truth, expected), "diagonals": (diagonals, expected[:1])}
    for name, (array, shape) in shapes.items():
        if array.shape != shape:
            raise ValueError(f"{name}: expected shape {shape}, found {array.shape}")
    exchanged = np.full(expected[:2], np.nan)
    for left, right in pairs(schema):
        exchanged[:, left] = np.linalg.norm(predicted[:, right] - truth[:, left], axis=-1)
        exchanged[:, right] = np.linalg.norm(predicted[:, left] - truth[:, right], axis=-1)
    return PointErrors(
        schema=schema,
        measured=np.isfinite(predicted).all(axis=2).any(axis=1),
        labelled=np.isfinite(truth).all(axis=2),
        distances=np.linalg.norm(predicted - truth, axis=-1),
        exchanged=exchanged,
        diagonals=diagonals,
    )


def pairs(schema: Schema) -> tuple[tuple[int, int], ...]:
    """Columns of each left point and of its right one."""
    return tuple((schema.index(left), schema.index(right)) for left, right in schema.symmetric)


def whole_body(schema: Schema) -> tuple[Unit, ...]:
    """One unit of all pairs: left and right are decided once."""
    left, right = zip(*pairs(schema), strict=True)
    return ((left, right),)


def each_side(schema: Schema) -> dict[str, Unit]:
    """A unit for each pair of groups, by the name without its side: the arms, the legs (FetusMapV2, section 3.2)."""
    names = [name.removeprefix("left_") for name, _ in schema.groups if name.startswith("left_")]
    return dict(zip(names, schema.sides, strict=True))


def each_pair(schema: Schema) -> tuple[Unit, ...]:
    """A unit for each pair of points."""
    return tuple(((left,), (right,)) for left, right in pairs(schema))


def volume_diagonals(affines: np.ndarray, shapes: np.ndarray) -> np.ndarray:
    """Millimetres (frames,) from corner to corner of volumes of ``shapes`` (frames, 3) with ``affines``."""
    spacings = np.stack([geometry.voxel_spacing(affine) for affine in affines])
    return np.linalg.norm(spacings * shapes, axis=1)

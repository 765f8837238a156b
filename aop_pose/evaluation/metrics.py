"""Errors of predicted points against true points, and the figures of ``metrics.json``.

Every figure is a mean (median, percentile, share) over measured frames. Its twin ``NAME_with_missing`` counts
a frame without a prediction as well: each of its pixel errors is the diagonal of its picture, its angle error
is 180 degrees. A bias has no twin, because a missing frame has no sign.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import attrs
import numpy as np

from aop_pose import geometry
from aop_pose.errors import UsageError
from aop_pose.schemas import AOP, Schema

SDR_THRESHOLDS = (5, 10, 15, 20)
"""Pixels; a point is detected where its error is at most the threshold (SDR: successful detection rate)."""

Figures = dict[str, float | int | str | None]


@attrs.frozen
class Quantity:
    """A number measured on the points of a schema, scored beside the points themselves."""

    name: str
    unit: str
    """``deg``, or ``px`` (then it is put on the scale that is asked for)."""
    of: Callable[[np.ndarray], np.ndarray]
    """Points (frames, points, 2) in pixels -> values (frames,), NaN where undefined."""
    missing: float | None = None
    """Error of a frame without a prediction; None = the diagonal of its picture."""


def _distance(first: int, second: int) -> Callable[[np.ndarray], np.ndarray]:
    return lambda coords: geometry.point_distance(coords[:, first], coords[:, second])


def _angle(coords: np.ndarray) -> np.ndarray:
    return geometry.angle_of_progression(coords[:, 0], coords[:, 1], coords[:, 2])


def _circumference(coords: np.ndarray) -> np.ndarray:
    ofd, bpd = _distance(0, 1)(coords), _distance(2, 3)(coords)
    return geometry.head_circumference(bpd, ofd)


QUANTITIES: dict[str, tuple[Quantity, ...]] = {
    "aop": (Quantity("aop", "deg", _angle, missing=180.0),),
    "head": (
        Quantity("ofd", "px", _distance(0, 1)),
        Quantity("bpd", "px", _distance(2, 3)),
        Quantity("hc", "px", _circumference),
    ),
}


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
    true_values: Mapping[str, np.ndarray]
    """Each quantity on the true points, shape (frames,)."""
    differences: Mapping[str, np.ndarray]
    """Predicted minus true for each quantity, shape (frames,)."""


def frame_errors(
    predicted: np.ndarray,
    truth: np.ndarray,
    sizes: np.ndarray,
    scale: float | None = None,
    schema: Schema = AOP,
) -> FrameErrors:
    """Compare points frame by frame.

    ``predicted`` and ``truth`` are (frames, points, 2) in pixels of the original frames, columns x, y; a
    frame with a NaN point in ``predicted`` has no prediction. ``sizes`` is (frames, 2): width, height;
    NaN where unknown.
    ``scale`` multiplies the pixels of each frame by scale / longer side; None leaves them as they are.
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
    true_values, differences = {}, {}
    for quantity in QUANTITIES[schema.name]:
        unit = factor if quantity.unit == "px" else np.ones(frames)
        true_values[quantity.name] = quantity.of(truth) * unit
        differences[quantity.name] = quantity.of(predicted) * unit - true_values[quantity.name]
    return FrameErrors(
        schema=schema,
        scale=scale,
        measured=measured,
        offsets=offsets,
        distances=np.linalg.norm(offsets, axis=-1),
        diagonals=np.linalg.norm(sizes, axis=-1) * factor,
        true_values=true_values,
        differences=differences,
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
    figures are absolute errors in degrees, their bias is predicted minus true. ``scale`` is "original" where
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
    for quantity in QUANTITIES[errors.schema.name]:
        difference = errors.differences[quantity.name]
        known = np.isfinite(difference)
        figures |= _quantity_figures(quantity, np.abs(difference[known]))
        figures[f"{quantity.name}_bias_{quantity.unit}"] = _mean(difference[known])
        lost = errors.diagonals if quantity.missing is None else np.full(len(difference), quantity.missing)
        # A frame whose truth has no value (coincident points) cannot be wrong, so it has no twin either.
        scored = np.isfinite(errors.true_values[quantity.name])
        twins |= _quantity_figures(quantity, np.where(known, np.abs(difference), lost)[scored])
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


def _quantity_figures(quantity: Quantity, errors: np.ndarray) -> Figures:
    name, unit = quantity.name, quantity.unit
    return {
        f"{name}_mae_{unit}": _mean(errors),
        f"{name}_median_{unit}": rounded(np.median(errors)) if errors.size else None,
        f"{name}_p95_{unit}": rounded(np.percentile(errors, 95)) if errors.size else None,
    }


def _mean(values: np.ndarray) -> float | None:
    return rounded(values.mean()) if values.size else None


def rounded(value: float) -> float | None:
    """As it stands in ``metrics.json``: 6 decimals, null for what is undefined."""
    return round(float(value), 6) if math.isfinite(value) else None

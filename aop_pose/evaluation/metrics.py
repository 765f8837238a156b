"""Errors of predicted points against true points, and the figures of ``metrics.json``.

Every figure is a mean (median, percentile, share) over measured frames. Its twin ``NAME_with_missing`` counts
a frame without a prediction as well: each of its errors of length is the diagonal of its picture, its angle
error is 180 degrees. A bias has no twin, because a missing frame has no sign.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import attrs
import numpy as np

from aop_pose import geometry
from aop_pose.errors import UsageError
from aop_pose.evaluation.biometry import Millimetres
from aop_pose.evaluation.quantities import QUANTITIES, Quantity
from aop_pose.schemas import AOP, Schema

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
    quantities = tuple(quantity for quantity in QUANTITIES[schema.name] if quantity.unit in units)
    true_values, differences, losses = {}, {}, {}
    for quantity in quantities:
        unit, key = units[quantity.unit], quantity.key
        true_values[key] = quantity.of(truth) * unit
        if quantity.stated and millimetres is not None and millimetres.circumference is not None:
            # Without the size of a pixel nothing can be compared with it.
            true_values[key] = np.where(np.isfinite(unit), millimetres.circumference, np.nan)
        differences[key] = quantity.of(predicted) * unit - true_values[key]
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

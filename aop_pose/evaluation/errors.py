"""Errors of predicted points, and of what is measured on them, image by image."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import attrs
import numpy as np

from aop_pose import geometry
from aop_pose.core.schema import Quantity, Schema, main_quantity
from aop_pose.core.schemas import AOP
from aop_pose.errors import UsageError
from aop_pose.evaluation.rows import Millimetres

CLOSE_PERCENT = 2.5
PCK_LIMIT_MM = 20.0
"""The end of the curve. FetusMapV2 does not state it; its tables 2 and 3 agree with 1 - ED / 20 mm (point 5 of UPatch:
2.03 mm and 89.89 %, point 2 of UNet: 2.46 mm and 87.69 %)."""
WORST_ANGLE_DEG = 90.0
"""Between two planes, and what a missing one counts as."""

Columns = tuple[int, ...]
SwapUnit = tuple[Columns, Columns]
"""Left and right points that change places together, in matching order."""


@attrs.frozen(eq=False)
class PlaneErrors:
    """Errors of the midsagittal plane, each of shape (images,), NaN where either side has none."""

    distances: np.ndarray
    """Millimetres from the middle of the true points of the midline to the predicted plane. The paper does not say
    which distance it gives."""
    angles: np.ndarray
    """Degrees between the two planes, 0 to 90."""
    true: np.ndarray
    """Images whose true points have a plane, bool."""


@attrs.frozen(eq=False)
class Errors:
    """Errors of one side against the other, image by image; NaN where a point was not predicted or is not labelled."""

    schema: Schema
    measured: np.ndarray
    """Shape (images,), bool: a picture of which all points were predicted, a volume of which some were."""
    labelled: np.ndarray
    """Shape (images, points), bool: the truth has the point."""
    distances: np.ndarray
    """Euclidean, shape (images, points), as the points are named: in pixels of the asked-for scale, or in mm."""
    diagonals: np.ndarray
    """Of the images, shape (images,), in the unit of ``distances``, NaN where unknown: a missing point counts as it."""
    offsets: np.ndarray | None = None
    """|predicted - true| along each axis, shape (images, points, axes)."""
    exchanged: np.ndarray | None = None
    """Shape (images, points): left points compared with right ones and the other way round; NaN for the others."""
    factor: np.ndarray | None = None
    """Shape (images,): what coordinates were multiplied by to give ``distances``."""
    scale: float | None = None
    """Pixels along the longer side of each picture; None = as many as it has."""
    quantities: tuple[Quantity, ...] = ()
    """Those of the schema that are known in their unit on some image."""
    true_values: Mapping[str, np.ndarray] = attrs.field(factory=dict)
    """By ``Quantity.key``: of the true points, or as the truth file states it; shape (images,). On the scale of
    ``Quantity.unfolded``."""
    differences: Mapping[str, np.ndarray] = attrs.field(factory=dict)
    """By ``Quantity.key``: predicted minus true, shape (images,), on the same scale."""
    losses: Mapping[str, np.ndarray] = attrs.field(factory=dict)
    """By ``Quantity.key``: the error that an image without a prediction counts as, shape (images,)."""
    planes: PlaneErrors | None = None
    """None for a schema without a midsagittal plane."""
    axes: Mapping[str, np.ndarray] = attrs.field(factory=dict)
    """By ``Schema.axis_names``: degrees between predicted and true axis, shape (images,), NaN where either is missing.
    The first is a direction, 0 to 180, the others are lines, 0 to 90."""

    @property
    def main(self) -> Quantity | None:
        """The quantity that is plotted and that the images are cut by; None where none is known."""
        return main_quantity(self.quantities)

    def middles(self, quantity: Quantity) -> np.ndarray:
        """Means of the predicted and the true value, shape (images,)."""
        return self.true_values[quantity.key] + self.differences[quantity.key] / 2

    @property
    def missing_points(self) -> np.ndarray:
        """Shape (images, points), bool: labelled, but not predicted."""
        return self.labelled & ~np.isfinite(self.distances)

    def up_to_swap(self, units: Sequence[SwapUnit]) -> np.ndarray:
        """Distances (images, points) with each unit in the better of its two orders, whole units at once."""
        best, exchanged = self.distances.copy(), self._exchanged
        for unit in units:
            columns = [index for side in unit for index in side]
            crossed = self.confused(unit) == 1
            best[np.ix_(crossed, columns)] = exchanged[np.ix_(crossed, columns)]
        return best

    def confused(self, unit: SwapUnit) -> np.ndarray:
        """Shape (images,): 1 where the unit lies nearer the truth exchanged than as named, else 0.

        NaN where no pair of the unit has both points on both sides of the comparison. A tie is not confused.
        """
        columns = np.array(unit)
        straight, crossed = self.distances[:, columns], self._exchanged[:, columns]
        # Only whole pairs are compared: a lone point would count in one order and not in the other. Where both have an
        # error as named, both have one exchanged.
        whole = np.isfinite(straight).all(axis=1)
        as_named, other = (np.where(whole[:, None], side, 0).sum(axis=(1, 2)) for side in (straight, crossed))
        return np.where(whole.any(axis=1), (other < as_named).astype(float), np.nan)

    @property
    def _exchanged(self) -> np.ndarray:
        return np.full(self.distances.shape, np.nan) if self.exchanged is None else self.exchanged


def frame_errors(
    predicted: np.ndarray,
    truth: np.ndarray,
    sizes: np.ndarray,
    scale: float | None = None,
    schema: Schema = AOP,
    millimetres: Millimetres | None = None,
    read: Mapping[str, np.ndarray] | None = None,
) -> Errors:
    """Compare points in pictures.

    Interchangeable points of the schema are compared in the better of their two orders.

    Args:
        predicted: (frames, points, 2), x and y in pixels of the original frames; a frame with a NaN point has no
            prediction.
        truth: the same shape.
        sizes: (frames, 2), width and height; NaN where unknown.
        scale: multiplies the pixels of each frame by scale / longer side; None leaves them as they are.
        millimetres: with it lengths are compared in mm too, whatever the scale.
        read: by ``Quantity.column``, predicted and true values (frames, 2) of what no points give, in its own unit.

    Raises:
        ValueError: other shapes.
        UsageError: a scale is asked for and a measured frame has no size.
    """
    predicted, truth = np.asarray(predicted, np.float64), np.asarray(truth, np.float64)
    sizes = np.asarray(sizes, np.float64)
    frames = len(truth)
    _check_shapes(schema, predicted=predicted, truth=truth)
    if sizes.shape != (frames, 2):
        raise ValueError(f"sizes: expected shape {(frames, 2)}, found {sizes.shape}")
    measured = np.isfinite(predicted).all(axis=(1, 2))
    unsized = int((measured & ~np.isfinite(sizes).all(axis=1)).sum())
    if scale is not None and unsized:
        raise UsageError(
            f"--scale: expected width and height of every measured frame, found none for {unsized}; "
            "add the columns width and height to the results, or give --images"
        )
    predicted = np.where(measured[:, None, None], predicted, np.nan)
    factor = np.ones(frames) if scale is None else scale / sizes.max(axis=1, initial=0)
    units = {"deg": np.ones(frames), "px": factor}
    if millimetres is not None:
        units["mm"] = millimetres.per_pixel
    stated = {} if millimetres is None else millimetres.stated
    errors = _compared(predicted, truth, np.linalg.norm(sizes, axis=-1), schema, factor, units, stated, measured, scale)
    return _with_read(errors, read or {}, units)


def volume_errors(predicted: np.ndarray, truth: np.ndarray, diagonals: np.ndarray, schema: Schema) -> Errors:
    """Compare points in volumes, in millimetres.

    Args:
        predicted: (volumes, points, 3), x, y, z in mm, NaN for a point that was not predicted.
        truth: the same shape and space; NaN for a point that is not labelled, which is not scored.
        diagonals: (volumes,) in mm.

    Raises:
        ValueError: other shapes.
    """
    predicted, truth = np.asarray(predicted, np.float64), np.asarray(truth, np.float64)
    diagonals = np.asarray(diagonals, np.float64)
    _check_shapes(schema, predicted=predicted, truth=truth)
    if diagonals.shape != truth.shape[:1]:
        raise ValueError(f"diagonals: expected shape {truth.shape[:1]}, found {diagonals.shape}")
    ones = np.ones(len(truth))
    measured = np.isfinite(predicted).all(axis=2).any(axis=1)
    return _compared(predicted, truth, diagonals, schema, ones, {"deg": ones, "mm": ones}, {}, measured, None)


def _check_shapes(schema: Schema, **both: np.ndarray) -> None:
    expected = (len(both["truth"]), len(schema.points), schema.dimensions)
    for name, array in both.items():
        if array.shape != expected:
            raise ValueError(f"{name}: expected shape {expected}, found {array.shape}")


def _compared(
    predicted: np.ndarray,
    truth: np.ndarray,
    diagonals: np.ndarray,
    schema: Schema,
    factor: np.ndarray,
    units: Mapping[str, np.ndarray],
    stated: Mapping[str, np.ndarray],
    measured: np.ndarray,
    scale: float | None,
) -> Errors:
    """``factor`` (images,) is what the unit of the points is multiplied by, ``units`` likewise by ``Quantity.unit``."""
    predicted = align_interchangeable(predicted, truth, schema)
    quantities = tuple(one for one in schema.quantities if one.unit in units and not one.needs_outline)
    true_values, differences, losses = {}, {}, {}
    for quantity in quantities:
        unit, key = units[quantity.unit], quantity.key
        true_values[key] = schema.unfolded(quantity, truth) * unit
        if key in stated:
            # Without the size of a pixel nothing can be compared with it.
            true_values[key] = np.where(np.isfinite(unit), stated[key], np.nan)
        differences[key] = schema.unfolded(quantity, predicted, like=truth) * unit - true_values[key]
        losses[key] = diagonals * unit if quantity.missing is None else np.full(len(truth), quantity.missing)
    offsets = np.abs(predicted - truth) * factor[:, None, None]
    exchanged = np.full(truth.shape[:2], np.nan)
    for left, right in pairs(schema):
        exchanged[:, left] = np.linalg.norm(predicted[:, right] - truth[:, left], axis=-1) * factor
        exchanged[:, right] = np.linalg.norm(predicted[:, left] - truth[:, right], axis=-1) * factor
    return Errors(
        schema=schema,
        measured=measured,
        labelled=np.isfinite(truth).all(axis=2),
        distances=np.linalg.norm(offsets, axis=-1),
        diagonals=diagonals * factor,
        offsets=offsets,
        exchanged=exchanged,
        factor=factor,
        scale=scale,
        quantities=quantities,
        true_values=true_values,
        differences=differences,
        losses=losses,
        planes=_plane_errors(predicted, truth, schema),
        axes=_axis_errors(predicted, truth, schema),
    )


def _with_read(errors: Errors, read: Mapping[str, np.ndarray], units: Mapping[str, np.ndarray]) -> Errors:
    """The same with the quantities that both tables state and that no points give (a distance to an outline)."""
    true_values, differences, losses = dict(errors.true_values), dict(errors.differences), dict(errors.losses)
    for quantity in errors.schema.quantities:
        if not quantity.needs_outline or quantity.column not in read:
            continue
        unit = units["px"] if quantity.unit == "px" else np.ones(len(errors.measured))
        predicted, true = read[quantity.column].T
        true_values[quantity.key] = true * unit
        differences[quantity.key] = np.where(errors.measured, predicted - true, np.nan) * unit
        # As many millimetres as the picture has are known only with the size of its pixels.
        per_pixel = units.get("mm", np.full(len(unit), np.nan)) / units["px"] if quantity.unit == "mm" else 1.0
        losses[quantity.key] = errors.diagonals * per_pixel
    known = tuple(one for one in errors.schema.quantities if one.key in true_values)
    return attrs.evolve(errors, quantities=known, true_values=true_values, differences=differences, losses=losses)


def _plane_errors(predicted: np.ndarray, truth: np.ndarray, schema: Schema) -> PlaneErrors | None:
    if schema.midsagittal is None:
        return None
    plane_of = schema.midsagittal
    planes = [(plane_of(one), plane_of(other)) for one, other in zip(predicted, truth, strict=True)]
    return PlaneErrors(
        distances=np.array([geometry.plane_distance(one, true, true.point) for one, true in planes]),
        angles=np.array([geometry.plane_angle(one, true) for one, true in planes]),
        true=np.array([bool(np.isfinite(true.normal).all()) for _, true in planes]),
    )


def _axis_errors(predicted: np.ndarray, truth: np.ndarray, schema: Schema) -> dict[str, np.ndarray]:
    if schema.axes is None:
        return {}
    found, true = schema.axes(predicted), schema.axes(truth)
    return {
        name: geometry.axis_angle(found[:, place], true[:, place], directed=place == 0)
        for place, name in enumerate(schema.axis_names)
    }


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


def to_blame(
    predicted: np.ndarray, truth: np.ndarray, schema: Schema, quantity: Quantity
) -> tuple[np.ndarray, np.ndarray]:
    """The point of each image that the error of a quantity comes from: the one without whose own error least is left.

    Args:
        predicted, truth: (images, points, axes).

    Returns:
        Positions (images,), -1 where nothing is known, and the error that is left with the true point in its place,
        (images,), in the unit of the points.
    """
    aligned = align_interchangeable(predicted, truth, schema)
    true = schema.unfolded(quantity, truth)
    left = []
    for index in range(len(schema.points)):
        mended = aligned.copy()
        mended[:, index] = truth[:, index]
        left.append(schema.unfolded(quantity, mended, like=truth) - true)
    errors = np.column_stack(left)
    sizes = np.where(np.isfinite(errors), np.abs(errors), np.inf)
    # A point that the quantity does not need mends nothing.
    needed = np.isin(np.arange(len(schema.points)), schema.indices(quantity.points))
    best = np.argmin(np.where(needed, sizes, np.inf), axis=1)
    known = np.isfinite(sizes).all(axis=1)
    return np.where(known, best, -1), np.where(known, errors[np.arange(len(best)), best], np.nan)


def is_close(errors: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Absolute errors (n,) of lengths that are below ``CLOSE_PERCENT`` of the true lengths (n,), bool."""
    return errors < CLOSE_PERCENT / 100 * true


def rounded(value: float) -> float | None:
    """A number as it stands in ``metrics.json``: 6 decimals, null for what is undefined."""
    # + 0.0 makes a zero of a negative one.
    return round(float(value), 6) + 0.0 if math.isfinite(value) else None


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
    """Share of the area under the PCK curve that each distance adds, in [0, 1]; their mean is the AUC. NaN stays NaN.

    A point of error e is within all thresholds from e to the limit, so its share of the area is 1 - e / limit, or 0
    where e is beyond: the area is exact, whatever thresholds a curve is drawn at.
    """
    return np.clip(1 - np.asarray(distances, np.float64) / limit, 0, 1)


def pairs(schema: Schema) -> tuple[tuple[int, int], ...]:
    """Columns of each left point and of its right one."""
    return tuple((schema.index(left), schema.index(right)) for left, right in schema.symmetric)


def whole_body(schema: Schema) -> tuple[SwapUnit, ...]:
    """One unit of all pairs: left and right are decided once."""
    left, right = zip(*pairs(schema), strict=True)
    return ((left, right),)


def each_side(schema: Schema) -> dict[str, SwapUnit]:
    """A unit for each pair of groups, by the name without its side: the arms, the legs (FetusMapV2, section 3.2)."""
    names = [name.removeprefix("left_") for name, _ in schema.groups if name.startswith("left_")]
    return dict(zip(names, schema.sides, strict=True))


def each_pair(schema: Schema) -> tuple[SwapUnit, ...]:
    """A unit for each pair of points."""
    return tuple(((left,), (right,)) for left, right in pairs(schema))


def volume_diagonals(affines: np.ndarray, shapes: np.ndarray) -> np.ndarray:
    """Millimetres (volumes,) from corner to corner of volumes of ``shapes`` (volumes, 3) with ``affines``."""
    spacings = np.stack([geometry.voxel_spacing(affine) for affine in affines])
    return np.linalg.norm(spacings * shapes, axis=1)

"""The points that a model finds, in order, and every number that is measured on them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import attrs
import numpy as np

from aop_pose import geometry

Unit = Literal["deg", "px", "mm"]
SIGNS: dict[Unit, str] = {"deg": "°", "px": " px", "mm": " mm"}
"""Units as they stand behind a number."""


@attrs.frozen
class Readers:
    """The agreement of human readers as somebody published it."""

    what: str
    source: str
    icc: float | None = None
    """Intraclass correlation. It grows with the range of what was measured."""
    limits: tuple[float, float] | None = None
    """Limits of agreement of two of them, in the unit of the quantity."""


@attrs.frozen
class Quantity:
    """A number measured on the points of a schema, and all that tables, overlays, evaluation and reports say of it.

    Two quantities of one name and other units are the same length in pixels and in millimetres.
    """

    name: str
    unit: Unit
    title: str
    """As the field writes it: AoP, HC."""
    formula: Callable[..., np.ndarray | float]
    """The points it needs, each (..., axes), x and y or x, y and z in ``unit`` -> values (...), NaN where undefined.

    Angles are taken on millimetres where they are known. With ``needs_outline`` the outline follows the points.
    """
    points: tuple[str, ...]
    """Points it needs, in the order of the formula's arguments."""
    unfolded: Callable[..., np.ndarray] | None = None
    """The formula without its fold, for a quantity that has one (an angle at 180 degrees): errors and ends of intervals
    are on this scale. ``like``, the needed points (..., points, axes) of another reading of the same image, picks the
    value nearest that reading's own. None = the formula has no fold."""
    needs_outline: bool = False
    """The formula also takes the outline of the head, (m, 2): without one there is no such number."""
    missing: float | None = None
    """Error of an image without a prediction; None = the diagonal of the image."""
    stated: str = ""
    """Whose number a truth file may state (the expert's): then that is the reference, not the true points."""
    label_column: str = ""
    """Column of a label file that states its true value."""
    tolerance: float | None = None
    """A number stated beside points and further than this from theirs is said; None = the two are not compared."""
    interval: str = ""
    """Stem of its interval's columns, ``STEM_low`` and ``STEM_high``; empty = it has no interval."""
    interval_beside: bool = False
    """The interval's columns follow the value's; else they stand behind ``model``."""
    headline: bool = True
    """It stands in the line below an overlay, in millimetres rather than pixels where both are known."""
    mark: Literal["", "line", "arc", "ellipse"] = ""
    """Its mark on an overlay: a line or an arc through its points, or the ellipse on its two axes."""
    reference: str = ""
    """The title of its true value, where that is another one than of the number itself."""
    main: bool = False
    """An evaluation plots it and cuts the images by it; of several that are known, the last."""
    within: tuple[int, ...] = ()
    """Errors of which an evaluation gives the share of images within; none = it gives that under 2.5 % of the truth."""
    thresholds: Mapping[float, str] = attrs.field(factory=dict)
    """Values at which the literature decides, and whose they are: an evaluation gives the agreement at each."""
    readers: tuple[Readers, ...] = ()
    """Human readers, which a report shows beside its own figures."""
    how: str = ""
    """The formula in words, where a report says it."""

    @property
    def column(self) -> str:
        """Of ``results.csv``: ``aop_deg``, ``hc_mm``."""
        return f"{self.name}_{self.unit}"

    @property
    def key(self) -> str:
        """Its name among the figures of an evaluation: a length in millimetres has the unit in it."""
        return f"{self.name}_mm" if self.unit == "mm" else self.name

    @property
    def reference_title(self) -> str:
        """The title of its true value: one expert's circumference is the reference of both formulas of it."""
        return self.reference or self.title

    @property
    def sign(self) -> str:
        """Unit as it stands behind a number."""
        return SIGNS[self.unit]

    @property
    def stem(self) -> str:
        """Columns of an interval that a table states are STEM_low and STEM_high, whether or not ours are calibrated."""
        return self.interval or self.column

    @property
    def fold(self) -> float:
        """The largest value that is measured: on the scale of ``unfolded`` there are larger ones."""
        return math.inf if self.unfolded is None else 180.0

    def folded(self, values: np.ndarray) -> np.ndarray:
        """Values (...) on the scale of ``unfolded`` as they are measured."""
        return values if self.unfolded is None else np.asarray(geometry.angle_of_turn(values))

    @property
    def label(self) -> str:
        """Title and unit, as an axis or the head of a column has it."""
        return f"{self.title}, {self.sign.strip()}"

    @property
    def calibration(self) -> str:
        """Its name in the calibration of an artefact: a length has one in pixels and in millimetres."""
        return self.column if self.unit == "deg" else self.name

    def figure(self, what: str) -> str:
        """Key in ``metrics.json`` of a figure in the unit of the quantity: ``hc_mae_mm``."""
        return f"{self.name}_{what}_{self.unit}"


REGION = ("region_x", "region_y", "region_w", "region_h")
ORIGIN = ("spacing_x_mm", "spacing_y_mm", "time_s", "sop")
"""Columns that a row of a frame may fill, see ``Schema.further``."""


@attrs.frozen
class Schema:
    """Ordered point names and what belongs to them."""

    name: str
    points: tuple[str, ...]
    """Names, in the order of every array."""
    lines: tuple[tuple[str, str], ...]
    """Pairs of point names that an overlay joins."""
    quantities: tuple[Quantity, ...] = attrs.field(default=(), eq=False)
    """In the order of their columns."""
    interchangeable: tuple[tuple[str, str], ...] = ()
    """Pairs whose two names may be swapped without changing what is measured (ends of an axis)."""
    dimensions: int = 2
    """Axes of what the points lie in: 2 for a picture (x, y), 3 for a volume (i, j, k)."""
    symmetric: tuple[tuple[str, str], ...] = ()
    """Pairs (left, right) of the same structure on both sides of the body: they look alike and do not mean the same."""
    groups: tuple[tuple[str, tuple[str, ...]], ...] = ()
    """Points that belong together, as (name of the group, its points); every point stands in one group."""
    implausible: Callable[[np.ndarray], str] | None = attrs.field(default=None, eq=False)
    """Points (points, 2) -> why they cannot be what they are named, or nothing. None = every place is possible."""
    midsagittal: Callable[[np.ndarray], geometry.Plane] | None = attrs.field(default=None, eq=False)
    """Points (points, 3) in mm -> the plane between left and right. None = these points have none."""
    axes: Callable[[np.ndarray], np.ndarray] | None = attrs.field(default=None, eq=False)
    """Points (..., points, 3) in mm -> unit vectors (..., axes, 3) of what they show. None = these have none."""
    axis_names: tuple[str, ...] = ()
    """Of ``axes``; the first has a direction, the others are lines."""
    finds_region: bool = False
    """The region of a frame is found in its pixels where no file states it; else the frame is looked at whole."""
    further: tuple[str, ...] = ()
    """Columns of ``results.csv`` at its end, which say where a row comes from (``core.results``); intervals' columns
    among them stand there."""

    @quantities.validator
    def _check_quantities(self, attribute: attrs.Attribute, value: tuple[Quantity, ...]) -> None:
        columns = [quantity.column for quantity in value]
        if twice := {column for column in columns if columns.count(column) > 1}:
            raise ValueError(f"schema {self.name}: expected each quantity once, found {', '.join(sorted(twice))} twice")
        for quantity in value:
            self.indices(quantity.points)

    def index(self, point: str) -> int:
        """Position of a point; ValueError names the known points."""
        if point not in self.points:
            raise ValueError(f"schema {self.name} has points {', '.join(self.points)}; found {point!r}")
        return self.points.index(point)

    def indices(self, points: Sequence[str]) -> tuple[int, ...]:
        """Positions of several points."""
        return tuple(self.index(point) for point in points)

    def quantity(self, column: str) -> Quantity:
        """The quantity of a column of ``results.csv``; ValueError names the known ones."""
        for quantity in self.quantities:
            if quantity.column == column:
                return quantity
        known = ", ".join(quantity.column for quantity in self.quantities)
        raise ValueError(f"schema {self.name} has quantities {known}; found {column!r}")

    def values(self, quantity: Quantity, points: np.ndarray, outline: np.ndarray | None = None) -> np.ndarray:
        """A quantity on points (..., points, axes) that are in its unit already: values (...), NaN where undefined.

        ``outline``: (m, 2) of the head, in the same unit; a quantity that needs one and gets none is NaN.
        """
        needed = [points[..., index, :] for index in self.indices(quantity.points)]
        if quantity.needs_outline:
            if outline is None:
                return np.full(points.shape[:-2], np.nan)
            return np.asarray(quantity.formula(*needed, outline), np.float64)
        return np.asarray(quantity.formula(*needed), np.float64)

    def unfolded(self, quantity: Quantity, points: np.ndarray, like: np.ndarray | None = None) -> np.ndarray:
        """A quantity as ``values`` has it, without its fold where it has one; ``like`` are the points to be nearest."""
        if quantity.unfolded is None:
            return self.values(quantity, points)
        places = list(self.indices(quantity.points))
        needed = [points[..., index, :] for index in places]
        return np.asarray(quantity.unfolded(*needed, like=None if like is None else like[..., places, :]), np.float64)

    def add(self, quantity: Quantity) -> None:
        """Make a further quantity of this schema known, behind the others; ValueError where its column is taken.

        Columns, overlays, evaluation and reports have it from then on. A schema stands still otherwise.
        """
        object.__setattr__(self, "quantities", attrs.evolve(self, quantities=(*self.quantities, quantity)).quantities)

    @property
    def sides(self) -> tuple[tuple[tuple[int, ...], tuple[int, ...]], ...]:
        """Positions of the left and of the right points of each pair of groups ``left_NAME`` and ``right_NAME``.

        A side moves as a whole: the shoulder, elbow and wrist of one arm stay together (FetusMapV2, section 3.2).
        """
        groups = dict(self.groups)
        return tuple(
            (self.indices(points), self.indices(groups[f"right_{name[5:]}"]))
            for name, points in self.groups
            if name.startswith("left_")
        )

    @property
    def units(self) -> tuple[tuple[str, ...], ...]:
        """The points that one map shows: an interchangeable pair together, every other point alone."""
        pair_of = {point: pair for pair in self.interchangeable for point in pair}
        return tuple(dict.fromkeys(pair_of.get(point, (point,)) for point in self.points))

    @property
    def unpaired(self) -> tuple[int, ...]:
        """Positions of the points that belong to neither side."""
        paired = {index for pair in self.sides for side in pair for index in side}
        return tuple(index for index in range(len(self.points)) if index not in paired)

    @property
    def coordinate_columns(self) -> tuple[str, ...]:
        """``PS1_x, PS1_y, …`` or ``brain_i, brain_j, brain_k, …``: columns of tables, in the order of the points."""
        axes = "xy" if self.dimensions == 2 else "ijk"
        return tuple(f"{point}_{axis}" for point in self.points for axis in axes)

    @property
    def measurement_columns(self) -> tuple[str, ...]:
        """Columns of ``results.csv`` between ``score`` and ``model``."""
        columns: list[str] = []
        for quantity in self.quantities:
            columns += [quantity.column, *(_ends(quantity) if quantity.interval_beside else ())]
        return tuple(columns)

    @property
    def interval_columns(self) -> tuple[str, ...]:
        """Columns of ``results.csv`` between ``model`` and ``further``."""
        ends = [end for one in self.quantities if not one.interval_beside for end in _ends(one)]
        return tuple(end for end in ends if end not in self.further)


def length(end: np.ndarray, other_end: np.ndarray) -> np.ndarray:
    """Distance (...) of two points (..., axes); NaN for two ends in one place: that is nothing of size 0."""
    found = np.asarray(geometry.point_distance(end, other_end))
    return np.where(found > 0, found, np.nan)


def main_quantity(quantities: Sequence[Quantity]) -> Quantity | None:
    """The one that an evaluation plots and cuts by: the last main one, else the first; None where there is none."""
    return next((one for one in reversed(quantities) if one.main), next(iter(quantities), None))


def _ends(quantity: Quantity) -> tuple[str, ...]:
    return tuple(f"{quantity.interval}_{end}" for end in ("low", "high")) if quantity.interval else ()


SCHEMAS: dict[str, Schema] = {}
"""By name; ``register`` adds to it."""


def register(schema: Schema) -> Schema:
    """Make a schema known by its name; ValueError where another one has it."""
    if schema.name in SCHEMAS:
        raise ValueError(f"schema {schema.name}: expected a name that is free, found it registered already")
    SCHEMAS[schema.name] = schema
    return schema


def of_frames() -> dict[str, Schema]:
    """The known schemas whose points lie in a picture, by name."""
    return {name: schema for name, schema in SCHEMAS.items() if schema.dimensions == 2}


def of_volumes() -> dict[str, Schema]:
    """The known schemas whose points lie in a volume, by name."""
    return {name: schema for name, schema in SCHEMAS.items() if schema.dimensions == 3}

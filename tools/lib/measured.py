"""Labelled frames as an artefact measures them, with what their intervals may be scaled with."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path

import attrs
import numpy as np

from aop_pose.core.frame import Frame
from aop_pose.core.results import Result
from aop_pose.core.schema import Quantity, Schema, main_quantity
from aop_pose.errors import UsageError
from aop_pose.evaluation.rows import Millimetres, millimetres_of
from aop_pose.evaluation.sources import read_truth
from aop_pose.formats.label import find_picture, resolve
from aop_pose.formats.masks import with_masks
from aop_pose.formats.pictures import read_gray
from aop_pose.formats.registry import read_labels
from aop_pose.formats.split import groups_by_name, near_duplicate_groups_of, thumbnail
from aop_pose.geometry import FETAL_HEAD, largest_contour
from aop_pose.inference.engine import usable_cores
from aop_pose.inference.predictor import Predictor
from aop_pose.measuring.ahead import in_order
from aop_pose.measuring.measurer import Measurer
from aop_pose.trust.intervals import DIFFICULTIES, NEED_MAPS, OF_AN_ANGLE
from aop_pose.trust.passes import Passes

BATCH = 8


@attrs.frozen(eq=False)
class Measured:
    """Every measured frame of a label file, n of them."""

    names: list[str]
    groups: np.ndarray
    """(n,) patients or near-duplicates."""
    predicted: dict[str, np.ndarray]
    """Column of ``results.csv`` -> (n,), NaN where a frame has no such number."""
    true: dict[str, np.ndarray]
    difficulties: dict[str, np.ndarray]
    """By name, (n,)."""
    sides: np.ndarray
    """(n,) longer side of each picture in pixels."""
    columns: dict[str, list[str]]
    """What the label file says beside the points (device, centre)."""
    withheld: int

    def residuals(self, quantity: Quantity) -> np.ndarray:
        """(n,) errors as an artefact keeps them: in degrees or millimetres, or in shares of the longer side."""
        gap = np.abs(self.predicted[quantity.column] - self.true[quantity.column])
        return gap / self.sides if quantity.unit == "px" else gap

    def of(self, mask: np.ndarray) -> Measured:
        """Some of the frames."""
        return Measured(
            [name for name, kept in zip(self.names, mask, strict=True) if kept],
            self.groups[mask],
            {name: values[mask] for name, values in self.predicted.items()},
            {name: values[mask] for name, values in self.true.items()},
            {name: values[mask] for name, values in self.difficulties.items()},
            self.sides[mask],
            {
                name: [text for text, kept in zip(texts, mask, strict=True) if kept]
                for name, texts in self.columns.items()
            },
            self.withheld,
        )


def calibrated(predictor: Predictor) -> list[Quantity]:
    """Quantities that get intervals; those that need an outline where the network gives one, in pixels alone.

    Their millimetres follow from the pixels: masks say nothing of sizes.
    """
    outlined = bool(predictor.contract.outlines)
    return [
        one for one in predictor.schema.quantities
        if one.interval and (not one.needs_outline or (outlined and one.unit == "px"))
    ]  # fmt: skip


def asked_for(predictor: Predictor) -> Quantity:
    """The main quantity that gets intervals; of a length its millimetres."""
    quantities = calibrated(predictor)
    main = main_quantity(quantities)
    assert main is not None
    return [one for one in quantities if one.name == main.name][-1]


def names_for(points: int, maps: bool) -> tuple[str, ...]:
    """The difficulties that are defined for a schema of that many points, and a head with or without ``maps``."""
    defined = [name for name in DIFFICULTIES if points == 3 or name not in OF_AN_ANGLE]
    return tuple(name for name in defined if maps or name not in NEED_MAPS)


def measure_all(predictor: Predictor, file: Path, data: Path, pattern: str | None, looks: int = 1) -> Measured:
    """Measure every frame of a label file as ``aop-pose predict`` does, its gate included."""
    schema, file = predictor.schema, resolve(file, data)
    truth = read_truth(file, schema)
    sizes = Sizes.of_columns(truth.columns, truth.names, schema)
    bare = attrs.evolve(predictor, contract=predictor.contract.model_copy(update={"calibration": None}))
    measurer = Measurer(bare, looks=looks)

    def several(positions: Sequence[int]) -> list[tuple[Result, Passes, np.ndarray]]:
        pixels = [read_gray(find_picture(data, truth.names[i])) for i in positions]
        frames = [Frame(one, sizes.spacing(i), truth.names[i]) for one, i in zip(pixels, positions, strict=True)]
        seen = measurer.seen(frames)
        return [(*one, thumbnail(each)) for one, each in zip(seen, pixels, strict=True)]

    numbers = range(len(truth.names))
    batches = [numbers[start : start + BATCH] for start in range(0, len(numbers), BATCH)]
    done = list(itertools.chain.from_iterable(in_order(several, batches, usable_cores())))
    if pattern is None:
        groups = near_duplicate_groups_of([small for _, _, small in done])
    else:
        groups = groups_by_name(truth.names, pattern)
    kept = [i for i, (result, _, _) in enumerate(done) if result.status == "ok"]
    if not kept:
        raise UsageError(f"{file}: expected frames that the artefact measures, found none of {len(done)}")
    quantities, true_points = calibrated(predictor), np.array(truth.coords)
    of_points = [one for one in quantities if not one.needs_outline]
    of_outlines = [one for one in quantities if one.needs_outline]
    heads = heads_of(file, data, predictor) if of_outlines else {}
    # A row that is measured has all its points.
    found = np.array([done[i][0].keypoints.coords for i in kept])  # type: ignore[union-attr]
    return Measured(
        [truth.names[i] for i in kept],
        groups[kept],
        {one.column: schema.unfolded(one, found) * sizes.of(one)[kept] for one in of_points}
        | {one.column: np.array([_value(done[i][0], one) for i in kept]) for one in of_outlines},
        {one.column: sizes.stated(one, schema.unfolded(one, true_points))[kept] for one in of_points}
        | {
            one.column: np.array([float(schema.values(one, true_points[i], heads[truth.names[i]])) for i in kept])
            for one in of_outlines
        },
        {
            name: np.array([DIFFICULTIES[name](done[i][1]) for i in kept])
            for name in names_for(len(schema.points), predictor.contract.head == "heatmap")
        },
        np.array([done[i][1].side for i in kept], np.float64),
        {name: [texts[i] for i in kept] for name, texts in truth.columns.items()},
        len(done) - len(kept),
    )


def heads_of(file: Path, data: Path, predictor: Predictor) -> dict[str, np.ndarray]:
    """Contour of the head in the mask of each frame of a label file, by name."""
    labels = with_masks(read_labels(file, data, predictor.schema), data)
    return {one.name: largest_contour(one.mask.read() == FETAL_HEAD) for one in labels if one.mask is not None}


def _value(result: Result, quantity: Quantity) -> float:
    return result.measurements[quantity.column].value if quantity.column in result.measurements else np.nan


@attrs.frozen(eq=False)
class Sizes:
    """Pixel sizes and the expert's lengths of a label file."""

    millimetres: Millimetres

    @classmethod
    def of_columns(cls, columns: Mapping[str, Sequence[str]], names: Sequence[str], schema: Schema) -> Sizes:
        """NaN where a file has none; the columns are those beside its points."""
        nothing = np.full(len(names), np.nan)
        return cls(millimetres_of(columns, nothing, names, [], schema) or Millimetres(nothing))

    def of(self, quantity: Quantity) -> np.ndarray:
        """(frames,) units of the quantity in a pixel; 1 for an angle."""
        sizes = self.millimetres.per_pixel
        return sizes if quantity.unit == "mm" else np.ones(len(sizes))

    def spacing(self, frame: int) -> tuple[float, float] | None:
        size = float(self.millimetres.per_pixel[frame])
        return None if np.isnan(size) else (size, size)

    def stated(self, quantity: Quantity, values: np.ndarray) -> np.ndarray:
        """True values (frames,) as ``aop-pose evaluate`` takes them: the expert's, else those on the true points."""
        return self.millimetres.stated.get(quantity.key, values * self.of(quantity))

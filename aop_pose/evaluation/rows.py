"""Statements of rows and label files beside their points: the size of a pixel, and the expert's own numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import attrs
import numpy as np

from aop_pose.core.results import Row, number
from aop_pose.core.schema import Schema

PIXEL_SIZE = "pixel_size_mm"
"""Column of a head-csv."""
PIXEL_SIZE_TOLERANCE = 0.01
"""Share by which two statements of one pixel size may differ before it is said."""


@attrs.frozen(eq=False)
class Millimetres:
    """Sizes of pixels and stated lengths, one entry per true frame, NaN where unknown."""

    per_pixel: np.ndarray
    """Shape (frames,), millimetres along a side of a square pixel."""
    stated: Mapping[str, np.ndarray] = attrs.field(factory=dict)
    """By ``Quantity.key``, lengths that an expert states in the place of the true points, shape (frames,)."""


def pixel_size_of(row: Row, schema: Schema, where: str) -> float:
    """Millimetres per pixel that a row states, or that a length in both units implies; NaN where neither does."""
    stated = number(row, PIXEL_SIZE, where)
    if math.isfinite(stated):
        return stated
    lengths = {(quantity.name, quantity.unit): quantity for quantity in schema.quantities}
    # A later quantity is made of the earlier ones: a circumference has more digits than an axis.
    for name, unit in reversed(lengths):
        if unit != "mm" or (name, "px") not in lengths:
            continue
        pixels, millimetres = (number(row, lengths[name, unit].column, where) for unit in ("px", "mm"))
        if pixels > 0 and math.isfinite(millimetres):
            return millimetres / pixels
    return math.nan


def millimetres_of(
    columns: Mapping[str, Sequence[str]], of_results: np.ndarray, names: Sequence[str], notes: list[str], schema: Schema
) -> Millimetres | None:
    """Pixel sizes and stated lengths of a truth file and the results; None without a pixel size or need of it.

    Args:
        columns: those of the truth file beside its points, one text a frame.
        of_results: (frames,) pixel size by the row that answers, NaN where unknown. The truth file goes before it.
        names: of the true frames.
        notes: doubts are added, one line each.
        schema: whose lengths are compared.
    """
    if schema.dimensions != 2 or not any(one.unit == "mm" and not one.needs_outline for one in schema.quantities):
        return None
    rows = [{name: texts[position] for name, texts in columns.items()} for position in range(len(names))]
    stated = np.array([pixel_size_of(row, schema, f"truth, {name}") for row, name in zip(rows, names, strict=True)])
    per_pixel = np.where(np.isfinite(stated), stated, of_results)
    if not np.isfinite(per_pixel).any():
        return None
    apart = int((np.abs(of_results / stated - 1) > PIXEL_SIZE_TOLERANCE).sum())
    if apart:
        notes.append(
            f"results: millimetres are of another pixel size (more than {PIXEL_SIZE_TOLERANCE:.0%} off) than the "
            f"truth file says, which is the one used: {apart}"
        )
    unknown = int((~np.isfinite(per_pixel)).sum())
    if unknown:
        notes.append(f"frames of unknown pixel size, in no figure in millimetres: {unknown}")
    by_column: dict[str, np.ndarray] = {}
    for quantity in schema.quantities:
        column = quantity.label_column
        if quantity.stated and column in columns and column not in by_column:
            expert = [number(row, column, f"truth, {name}") for row, name in zip(rows, names, strict=True)]
            by_column[column] = np.array(expert)
            silent = int((~np.isfinite(by_column[column])).sum())
            if silent:
                words = column.removesuffix(f"_{quantity.unit}").replace("_", " ")
                notes.append(f"frames without the expert's {words}, in no figure of it: {silent}")
    asked = [one for one in schema.quantities if one.stated and one.label_column in by_column]
    return Millimetres(per_pixel, {one.key: by_column[one.label_column] for one in asked})

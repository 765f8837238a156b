"""What is known of the head in millimetres: how large a pixel is, and the expert's circumference."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import attrs
import numpy as np

from aop_pose.core.results import Row, number

PIXEL_SIZE, CIRCUMFERENCE = "pixel_size_mm", "head_circumference_mm"
"""Columns of a head-csv."""
PIXEL_SIZE_TOLERANCE = 0.01
"""Share by which two statements of one pixel size may differ before it is said."""


@attrs.frozen(eq=False)
class Millimetres:
    """One entry per true frame, NaN where unknown."""

    per_pixel: np.ndarray
    """Shape (frames,), millimetres along a side of a square pixel."""
    circumference: np.ndarray | None = None
    """The expert's head circumference, shape (frames,); None where the truth file has no such column."""


def pixel_size_of(row: Row, where: str) -> float:
    """Millimetres per pixel that a row states, or that its lengths in both units imply; NaN where neither does."""
    stated = number(row, PIXEL_SIZE, where)
    if math.isfinite(stated):
        return stated
    pixels, millimetres = number(row, "hc_px", where), number(row, "hc_mm", where)
    return millimetres / pixels if pixels > 0 else math.nan


def millimetres_of(
    columns: Mapping[str, Sequence[str]], of_results: np.ndarray, names: Sequence[str], notes: list[str]
) -> Millimetres | None:
    """What a truth file and the results say in millimetres; None where no pixel size is known.

    Args:
        columns: those of the truth file beside its points, one text a frame.
        of_results: (frames,) pixel size by the row that answers, NaN where unknown. The truth file goes before it.
        notes: doubts are added, one line each.
    """
    rows = [{name: texts[position] for name, texts in columns.items()} for position in range(len(names))]
    stated = np.array([pixel_size_of(row, f"truth, {name}") for row, name in zip(rows, names, strict=True)])
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
    if CIRCUMFERENCE not in columns:
        return Millimetres(per_pixel)
    expert = [number(row, CIRCUMFERENCE, f"truth, {name}") for row, name in zip(rows, names, strict=True)]
    silent = int((~np.isfinite(expert)).sum())
    if silent:
        notes.append(f"frames without the expert's head circumference, in no figure of it: {silent}")
    return Millimetres(per_pixel, np.array(expert))

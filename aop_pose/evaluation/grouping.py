"""Groups of frames that are drawn together for intervals, and the columns that cut a table into rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import attrs
import cv2
import numpy as np

from aop_pose.errors import UsageError

AUTO = "auto"
SUBSET_COLUMNS = ("device", "scanner", "machine", "vendor", "centre", "center", "hospital", "site")
"""Columns of the truth file whose values each get a row of their own, in any case."""

MOST_SUBSETS = 12
"""A column with more values than this names no devices or centres, but frames."""


@attrs.frozen(eq=False)
class Grouping:
    """Group of each true frame, and the words for what a group is."""

    ids: np.ndarray
    """Shape (frames,), any values; equal = one group."""
    words: str
    note: str = ""
    """A doubt that a reader should know of, "" where there is none."""
    examinations: np.ndarray | None = None
    """Shape (frames,): what somebody named as one patient or examination; None where nobody did. A group may hold
    several, where their pictures are nearly the same."""


def every_frame_alone(count: int, asked: str = "neither --images nor --group says") -> Grouping:
    """No grouping is known: intervals are too narrow where several frames are of one patient."""
    return Grouping(
        np.arange(count),
        f"every frame its own group ({asked} which belong together), so intervals are too "
        "narrow where several frames are of one patient",
    )


def grouped_by_file(files: Sequence[str]) -> Grouping:
    """Volumes of one 4-D file share a group."""
    return Grouping(np.unique(np.array(files), return_inverse=True)[1], "time points of one file")


def grouped_by(columns: Mapping[str, Sequence[str]], name: str) -> Grouping:
    """Frames with the same text in a column share a group; UsageError where the column is not there.

    A frame with an empty cell is a group of its own.
    """
    if name not in columns:
        known = ", ".join(columns) if columns else "none beside the points"
        raise UsageError(f"--group: expected a column of the truth file ({known}) or {AUTO}, found {name!r}")
    texts = columns[name]
    empty = sum(not text for text in texts)
    note = f"frames without a value of {name}, each its own group: {empty}" if empty else ""
    ids = [(text, -1) if text else ("", position) for position, text in enumerate(texts)]
    numbers = {pair: number for number, pair in enumerate(dict.fromkeys(ids))}
    found = np.array([numbers[pair] for pair in ids])
    return Grouping(found, f"frames with the same {name}", note, examinations=found)


def subset_columns(columns: Mapping[str, Sequence[str]]) -> dict[str, Sequence[str]]:
    """The columns that name a device or a centre, with 2 to ``MOST_SUBSETS`` values."""
    return {
        name: texts
        for name, texts in columns.items()
        if name.lower() in SUBSET_COLUMNS and 2 <= len(set(texts)) <= MOST_SUBSETS
    }


QUALITY_WORDS = "contrast: standard deviation of the gray values (0-255) of all pixels brighter than 8"
_BLACK = 8
"""Gray values up to this are the background around the sector, also after JPEG compression."""


def contrast(pixels: np.ndarray) -> float:
    """The score in ``QUALITY_WORDS`` of uint8 (H, W); 0 for a picture without a bright pixel."""
    shown = (pixels > _BLACK).astype(np.uint8)
    # Not ndarray.std, which takes eight bytes a pixel.
    return float(cv2.meanStdDev(pixels, mask=shown)[1][0, 0])

"""Groups of frames that are drawn together for intervals, and the subsets that a table has a row for.

Subsets are by device or centre, and by thirds of a number. Frames of one examination are taken together as well: a
frame-wise figure counts a patient as often as she has frames, and mixes two questions: how well a mean agrees, and how
well frames repeat. Sources: Bland and Altman, BMJ 313 (1996) 744 (within-subject standard deviation, repeatability
coefficient), and Statistical Methods in Medical Research 8 (1999) 135-160, section 3.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import attrs
import cv2
import numpy as np

from aop_pose.core.schema import Quantity
from aop_pose.errors import UsageError
from aop_pose.evaluation.errors import Errors
from aop_pose.evaluation.figures import SPREAD, Figure, agreement_of, estimates_of, stated_intervals
from aop_pose.evaluation.match import Matched
from aop_pose.stats.agreement import LIMIT_SDS
from aop_pose.stats.bootstrap import Estimate, Statistic

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


_LEAST_FOR_THIRDS = 9


@attrs.frozen(eq=False)
class Subset:
    """Some of the images, and the errors on them."""

    by: str
    """The column, or the number in thirds, that the images were cut by."""
    label: str
    n: int
    n_missing: int
    n_groups: int
    estimates: Mapping[str, Estimate]


def subsets_of(
    matched: Matched, errors: Errors, computed: Sequence[Figure], grouping: Grouping, quality: np.ndarray | None
) -> Iterator[Subset]:
    """A row for each device or centre, and for each third of the main quantity, the contrast and the stated width."""
    if errors.schema.dimensions == 3:
        return
    asked = {"mre_px"}
    if errors.main is not None:
        asked |= {errors.main.figure("mae"), errors.main.figure("bias")}
    asked |= {one.name for one in computed if "_interval_" in one.name}
    figures = [one for one in computed if one.name in asked]
    for by, label, mask in _cuts(matched, errors, quality):
        yield Subset(
            by=by,
            label=label,
            n=int(mask.sum()),
            n_missing=int((mask & ~errors.measured).sum()),
            n_groups=len(np.unique(grouping.ids[mask & errors.measured])),
            estimates=estimates_of(figures, grouping.ids, mask),
        )


def _cuts(matched: Matched, errors: Errors, quality: np.ndarray | None) -> Iterator[tuple[str, str, np.ndarray]]:
    """Column or number, label and mask of each subset."""
    for column, texts in subset_columns(matched.columns).items():
        for text in sorted(set(texts)):
            yield column, text or "(empty)", np.array([other == text for other in texts])
    main = errors.main
    if main is not None:
        yield from _thirds(reference_words(main), errors.true_values[main.key], main.sign)
    if quality is not None:
        yield from _thirds("contrast", quality, "")
    if main is not None and main.key in (stated := stated_intervals(errors, matched.intervals)):
        yield from _thirds("stated interval, width", stated[main.key].width, main.sign)


def reference_words(quantity: Quantity) -> str:
    """The words for a cut by the true value of a quantity."""
    return f"{quantity.reference_title} (reference)"


def _thirds(by: str, values: np.ndarray, sign: str) -> Iterator[tuple[str, str, np.ndarray]]:
    known = values[np.isfinite(values)]
    if len(known) < _LEAST_FOR_THIRDS:
        return
    first, second = np.quantile(known, [1 / 3, 2 / 3])
    # Equal values cannot be cut (intervals of one width).
    if not known.min() < first < second:
        return
    yield by, f"below {first:.1f}{sign}", values < first
    yield by, f"{first:.1f} to {second:.1f}{sign}", (first <= values) & (values < second)
    yield by, f"{second:.1f}{sign} and above", values >= second


REPEATABILITY = LIMIT_SDS * 2**0.5
"""Within-subject standard deviations that 95 % of the differences of two repeated values stay below: 2.77."""


@attrs.frozen(eq=False)
class Examinations:
    """Figures over examinations, one quantity after the other."""

    n: int
    """Examinations with a measured image."""
    n_repeated: int
    """Those with several."""
    most: int
    """Measured images of the largest."""
    estimates: Mapping[str, Estimate]
    """By name: agreement of means as the figures of images are named (``aop_bias_deg``), and of repeated images
    ``within_sd`` and ``repeatability`` of the results, ``reference_within_sd``, ``reference_repeatability``."""


def examinations_of(errors: Errors, grouping: Grouping) -> Examinations | None:
    """The figures where examinations are named and one of them has several measured images; else None."""
    if grouping.examinations is None:
        return None
    _, first, index = np.unique(grouping.examinations, return_index=True, return_inverse=True)
    sizes = np.bincount(index[errors.measured], minlength=index.max() + 1)
    if sizes.max() < 2:
        return None
    figures = [figure for quantity in errors.quantities for figure in _of(errors, quantity, index)]
    # Examinations whose pictures are nearly the same are drawn together.
    estimates = estimates_of(figures, grouping.ids[first])
    return Examinations(int((sizes > 0).sum()), int((sizes > 1).sum()), int(sizes.max()), estimates)


def _of(errors: Errors, quantity: Quantity, index: np.ndarray) -> Iterator[Figure]:
    difference, true = errors.differences[quantity.key], errors.true_values[quantity.key]
    known = np.isfinite(difference)
    first, second = _by_group((true + difference)[known], index, known), _by_group(true[known], index, known)
    means = attrs.evolve(
        errors,
        measured=np.isfinite(first.means),
        true_values={quantity.key: second.means},
        differences={quantity.key: first.means - second.means},
        losses={quantity.key: np.full(len(first.means), np.nan)},
    )
    yield from agreement_of(means, quantity)
    for end, side in (("", first), ("reference_", second)):
        for name, times in (("within_sd", 1.0), ("repeatability", REPEATABILITY)):
            how = attrs.evolve(SPREAD, statistic=_pooled(times))
            yield Figure(quantity.figure(f"{end}{name}"), side.within, how)


@attrs.frozen(eq=False)
class _Groups:
    means: np.ndarray
    """(groups,), NaN where a group has no value."""
    within: np.ndarray
    """(groups, 2): squares about the mean, and how many of them are free; NaN where there is no second value."""


def _by_group(values: np.ndarray, index: np.ndarray, known: np.ndarray) -> _Groups:
    groups, count = index[known], int(index.max()) + 1
    n = np.bincount(groups, minlength=count)
    with np.errstate(invalid="ignore"):
        means = np.bincount(groups, values, count) / n
    squares = np.bincount(groups, (values - means[groups]) ** 2, count)
    within = np.where((n > 1)[:, None], np.column_stack([squares, n - 1]), np.nan)
    return _Groups(np.where(n > 0, means, np.nan), within)


def _pooled(times: float) -> Statistic:
    return lambda sums: times * np.sqrt(sums[..., 0] / sums[..., 1])

"""The images cut into subsets, and the errors on each: by device or centre, and by thirds of a number."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import attrs
import numpy as np

from aop_pose.core.schema import Quantity
from aop_pose.evaluation.errors import Errors
from aop_pose.evaluation.figures import Figure, estimates_of, stated_intervals
from aop_pose.evaluation.grouping import Grouping, subset_columns
from aop_pose.evaluation.match import Matched
from aop_pose.stats.bootstrap import Estimate

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

"""Groups drawn with replacement, and paired tests over them: frames of one patient, or near-duplicates, go together.

The interval of a figure that is a function of sums is a bootstrap-t interval (Efron and Tibshirani, An Introduction to
the Bootstrap, 1993, section 12.5): each draw gives (figure - observed) / standard error, and the quantiles of that take
the place of those of the t distribution. The standard error of a draw is the linear one over groups; that of the data
is the jackknife's over groups, which is no smaller and is what keeps small samples honest. Both are taken on a scale on
which the figure's error depends little on its value (a logarithm, Fisher's z).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache

import attrs
import numpy as np

from aop_pose.stats.distributions import t_quantile

DRAWS, FLIPS = 2000, 10000
"""Of bootstraps, and of tests that flip signs."""
LEAST_GROUPS = 20
"""Fewer groups than this say too little of how groups differ: no interval over them is given."""
COVERAGE = 0.95
"""Of the intervals of figures."""

Statistic = Callable[[np.ndarray], np.ndarray]
"""Sums (..., k) of k columns over frames -> a number for each (...); NaN where it is undefined."""
Ends = tuple[float, float]
"""Lower and upper end of an interval."""
Tails = tuple[float, float]
"""Of what an interval states to leave outside on either side, the share that it leaves below and above."""
EVEN: Tails = (1.0, 1.0)

_BLOCK_CELLS = 4_000_000
_LEAST_DEFINED = 0.95
_LEAST_IN_A_TAIL = 10
"""Draws beyond an end of the interval."""
_STEP = 1e-6
ROUNDING = 1e-9
"""Spreads below this share of a figure are rounding."""


class Withheld(Exception):
    """No interval is given; the message says why, and ``bound`` is what can be said instead (``Estimate.bound``)."""

    def __init__(self, why: str, bound: float | None = None) -> None:
        super().__init__(why)
        self.bound = bound


@attrs.frozen
class Estimate:
    """A figure over frames, with its interval where there is one to give."""

    value: float
    """NaN where it is undefined."""
    interval: Ends | None = None
    n: int | None = None
    """Frames that it is over; None where nobody counted them."""
    withheld: str = ""
    """Why there is no interval, "" where there is one or nobody asked."""
    bound: float | None = None
    """In place of an interval of a share near 0 or 1: it is at most, or at least, this one."""

    @property
    def bounded(self) -> str:
        """``at least`` or ``at most``, where there is a bound, else ""."""
        if self.bound is None:
            return ""
        return "at least" if self.bound < self.value else "at most"


@attrs.frozen
class Scale:
    """A scale on which the error of a figure depends little on its value."""

    to: Callable[[np.ndarray], np.ndarray]
    back: Callable[[np.ndarray], np.ndarray]
    falls: bool = False
    """A larger figure lies lower on it."""


PLAIN = Scale(lambda values: values, lambda values: values)
LOG = Scale(np.log, np.exp)
"""For what is above 0: an error, a standard deviation."""
LOG_LEFT = Scale(lambda values: np.log(1 - values), lambda values: 1 - np.exp(values), falls=True)
"""For what is below 1 and near it: the area under a curve of shares."""
FISHER_Z = Scale(np.arctanh, np.tanh)
"""For correlations."""


@attrs.frozen(eq=False)
class Sums:
    """Sums of k columns over the frames of each group, and over those of each draw."""

    by_group: np.ndarray
    """Shape (groups, k)."""
    drawn: np.ndarray
    """Shape (draws, k)."""
    products: np.ndarray
    """Sums over the drawn groups of products of two sums, each pair of columns once: (draws, k (k + 1) / 2)."""


class Resampling:
    """Whole groups drawn with replacement, the same draws for every figure of these frames.

    Args:
        groups: (n,) group id of each frame.
        coverage: of the intervals.
        least_groups: with fewer, intervals are withheld and ``withheld`` says why.
    """

    def __init__(
        self,
        groups: np.ndarray,
        *,
        coverage: float = COVERAGE,
        draws: int = DRAWS,
        seed: int = 0,
        least_groups: int = LEAST_GROUPS,
    ) -> None:
        names, self.index = np.unique(np.asarray(groups), return_inverse=True)
        self.n_groups = len(names)
        self.coverage, self.draws, self.seed = coverage, draws, seed
        sizes = np.bincount(self.index)
        self.effective = float(sizes.sum() ** 2 / (sizes**2).sum()) if len(sizes) else 0.0
        """Groups of one size that say as much (Kish): a few large groups among small ones count for less."""
        self.withheld = too_few(self.n_groups, least_groups)

    def counts(self) -> Iterator[np.ndarray]:
        """The number of times each group is drawn, in blocks (some draws, groups); the same numbers at every call."""
        if self.draws * self.n_groups <= _BLOCK_CELLS:
            yield _kept_draws(self.n_groups, self.draws, self.seed)
        else:
            yield from _draws(self.n_groups, self.draws, self.seed)

    def by_group(self, columns: np.ndarray) -> np.ndarray:
        """Sums (groups, k) of ``columns`` (n, k), finite, over the frames of each group."""
        columns = np.asarray(columns, dtype=np.float64)
        if columns.ndim != 2 or len(columns) != len(self.index):
            raise ValueError(f"expected as many values as groups, found {columns.shape} and {self.index.shape}")
        if not np.isfinite(columns).all():
            raise ValueError("expected finite values, found NaN or infinity")
        return np.stack([np.bincount(self.index, column, self.n_groups) for column in columns.T], axis=1)

    def sums(self, parts: Sequence[np.ndarray]) -> list[Sums]:
        """Sums of several sets of columns (n, k) at once: it is the product with the draws that takes the time."""
        by_group = [self.by_group(columns) for columns in parts]
        wide = [np.column_stack([sums, _products(sums)]) for sums in by_group]
        drawn = np.concatenate([block @ np.column_stack(wide) for block in self.counts()])
        ends = np.cumsum([0, *(columns.shape[1] for columns in wide)])
        return [
            Sums(sums, drawn[:, start : start + sums.shape[1]], drawn[:, start + sums.shape[1] : end])
            for sums, start, end in zip(by_group, ends[:-1], ends[1:], strict=True)
        ]

    def bootstrap_t(
        self, sums: Sums, statistic: Statistic, scale: Scale = PLAIN, *, at_least_t: bool = False, tails: Tails = EVEN
    ) -> Ends:
        """The interval of a statistic of the sums; ``Withheld`` where there is none to give.

        ``at_least_t``: neither end nearer than that of the t distribution. ``tails``: as ``Summed`` has them.
        """
        groups, observed = self.n_groups, sums.by_group.sum(axis=0)
        below, above = ((1 - self.coverage) / 2 * share for share in (tails[::-1] if scale.falls else tails))
        if min(below, above) * self.draws < _LEAST_IN_A_TAIL:
            raise Withheld(f"{self.draws} draws say too little of a coverage of {self.coverage:g}")

        def figure(of: np.ndarray) -> np.ndarray:
            return scale.to(statistic(of))

        with np.errstate(all="ignore"):
            value = float(figure(observed))
            left_out = figure(observed - sums.by_group)
            if not (np.isfinite(value) and np.isfinite(left_out).all()):
                raise Withheld("it is at the end of its scale, or one group decides it")
            error = float(np.sqrt((groups - 1) / groups * ((left_out - left_out.mean()) ** 2).sum()))
            if error <= ROUNDING * max(1.0, abs(value)):
                raise Withheld("all groups say the same, so their spread says nothing of others")
            t = (figure(sums.drawn) - value) / self._linear_errors(figure, sums)
        t = t[np.isfinite(t)]
        if len(t) < _LEAST_DEFINED * self.draws:
            raise Withheld("it is undefined in too many draws of the groups")
        low, high = np.quantile(t, [above, 1 - below])
        if at_least_t:
            low, high = min(low, -t_quantile(1 - above, groups - 1)), max(high, t_quantile(1 - below, groups - 1))
        ends = scale.back(np.array([value - high * error, value - low * error]))
        return float(ends.min()), float(ends.max())

    def _linear_errors(self, figure: Statistic, sums: Sums) -> np.ndarray:
        """Standard error of the figure in each draw: of the drawn groups' sums along its gradient."""
        size = np.sqrt((sums.by_group**2).mean(axis=0))
        steps = _STEP * np.where(size > 0, size, 1.0) * self.n_groups
        gradient = [
            (figure(sums.drawn + step) - figure(sums.drawn - step)) / (2 * step.sum()) for step in np.diag(steps)
        ]
        squares, along = np.zeros(self.draws), np.zeros(self.draws)
        pairs = zip(*np.triu_indices(len(gradient)), strict=True)
        for (i, j), product in zip(pairs, sums.products.T, strict=True):
            squares += (1 if i == j else 2) * gradient[i] * gradient[j] * product
        for slope, total in zip(gradient, sums.drawn.T, strict=True):
            along += slope * total
        centred = squares - along**2 / self.n_groups
        return np.sqrt(np.maximum(centred, 0) * self.n_groups / (self.n_groups - 1))


def _draws(groups: int, draws: int, seed: int) -> Iterator[np.ndarray]:
    rng = np.random.default_rng(seed)
    rows = max(1, _BLOCK_CELLS // max(1, groups))
    for start in range(0, draws, rows):
        block = min(rows, draws - start)
        drawn = rng.integers(0, groups, (block, groups))
        drawn += np.arange(block)[:, None] * groups
        counts = np.bincount(drawn.ravel(), minlength=block * groups).reshape(block, groups)
        # Floating point, because products of integer matrices do without BLAS and take ten times as long.
        yield counts.astype(np.float64)


@lru_cache(maxsize=4)
def _kept_draws(groups: int, draws: int, seed: int) -> np.ndarray:
    """Draws that fit one block; the figures of a comparison are over few numbers of groups."""
    (block,) = _draws(groups, draws, seed)
    block.flags.writeable = False
    return block


def too_few(groups: float, least: int) -> str:
    """The reason to give no interval over so many groups, "" where they are enough."""
    if groups >= least:
        return ""
    return (
        f"fewer than {least} groups ({groups:.0f}): too few to say how groups differ, "
        "so an interval over them is not to be relied on"
    )


def sign_flip_test(differences: np.ndarray, groups: np.ndarray, *, draws: int = FLIPS, seed: int = 0) -> float:
    """Two-sided p-value that the mean paired difference is zero, by flipping the sign of whole groups.

    Under the null hypothesis the two arms are exchangeable within a group. The observed arrangement counts as one of
    the draws, so the least value is 1 / (draws + 1). Sums that differ by rounding alone are equal, in whatever unit.
    """
    values = _checked(differences, groups)
    _, index = np.unique(groups, return_inverse=True)
    sums = np.bincount(index, weights=values)
    rng, least = np.random.default_rng(seed), abs(sums.sum()) - ROUNDING * np.abs(sums).sum()
    rows, reached = max(1, _BLOCK_CELLS // len(sums)), 0
    for start in range(0, draws, rows):
        signs = rng.choice([-1.0, 1.0], (min(rows, draws - start), len(sums)))
        reached += int((np.abs(signs @ sums) >= least).sum())
    return (1 + reached) / (draws + 1)


def _checked(values: np.ndarray, groups: np.ndarray) -> np.ndarray:
    values, groups = np.asarray(values, dtype=np.float64), np.asarray(groups)
    if values.shape != groups.shape or values.ndim != 1 or not len(values):
        raise ValueError(f"expected as many values as groups, found {values.shape} and {groups.shape}")
    if not np.isfinite(values).all():
        raise ValueError("expected finite values, found NaN or infinity")
    return values


def _products(sums: np.ndarray) -> np.ndarray:
    """Products of each pair of columns (groups, k), once: (groups, k (k + 1) / 2)."""
    first, second = np.triu_indices(sums.shape[1])
    return sums[:, first] * sums[:, second]

"""Intervals and paired tests over groups: frames of one patient, or near-duplicates, are drawn together."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import attrs
import numpy as np

DRAWS = 2000
LEAST_GROUPS = 20
"""Fewer groups than this say too little of how groups differ: an interval over them is withheld."""

Statistic = Callable[[np.ndarray], np.ndarray]
"""Sums (..., k) of k columns over frames -> a number for each (...); NaN where it is undefined."""

_BLOCK_CELLS = 4_000_000
_LEAST_DEFINED = 0.95


@attrs.frozen
class Estimate:
    """A figure over frames, with its interval where there is one to give."""

    value: float
    """NaN where it is undefined."""
    interval: tuple[float, float] | None = None
    n: int | None = None
    """Frames that it is over; None where nobody counted them."""


@attrs.frozen(eq=False)
class Sums:
    """Sums of k columns over the frames, and over the frames of each draw."""

    observed: np.ndarray
    """Shape (k,)."""
    drawn: np.ndarray | None
    """Shape (draws, k); None where intervals are withheld."""


class Resampling:
    """Whole groups drawn with replacement, the same draws for every figure of these frames.

    Args:
        groups: (n,) group id of each frame.
        coverage: of the percentile intervals.
        least_groups: with fewer, intervals are withheld and ``withheld`` says why.
    """

    def __init__(
        self,
        groups: np.ndarray,
        *,
        coverage: float = 0.95,
        draws: int = DRAWS,
        seed: int = 0,
        least_groups: int = LEAST_GROUPS,
    ) -> None:
        names, self._index = np.unique(np.asarray(groups), return_inverse=True)
        self.n_groups = len(names)
        self.coverage, self.draws, self.seed = coverage, draws, seed
        self._only_block: np.ndarray | None = None
        self.withheld = ""
        if self.n_groups < least_groups:
            self.withheld = (
                f"fewer than {least_groups} groups ({self.n_groups}): too few to say how groups differ, "
                "so an interval over them is not to be relied on"
            )

    def counts(self) -> Iterator[np.ndarray]:
        """The number of times each group is drawn, in blocks (some draws, groups); the same numbers at every call."""
        if self._only_block is not None:
            yield self._only_block
            return
        rng = np.random.default_rng(self.seed)
        rows = max(1, _BLOCK_CELLS // max(1, self.n_groups))
        for start in range(0, self.draws, rows):
            block = min(rows, self.draws - start)
            drawn = rng.integers(0, self.n_groups, (block, self.n_groups))
            drawn += np.arange(block)[:, None] * self.n_groups
            counts = np.bincount(drawn.ravel(), minlength=block * self.n_groups).reshape(block, self.n_groups)
            # Floating point, because products of integer matrices do without BLAS and take ten times as long.
            counts = counts.astype(np.float64)
            if block == self.draws:
                self._only_block = counts
            yield counts

    def sums(self, columns: np.ndarray) -> Sums:
        """Sums of ``columns`` (n, k), finite."""
        columns = np.asarray(columns, dtype=np.float64)
        if columns.ndim != 2 or len(columns) != len(self._index):
            raise ValueError(f"expected as many values as groups, found {columns.shape} and {self._index.shape}")
        if not np.isfinite(columns).all():
            raise ValueError("expected finite values, found NaN or infinity")
        by_group = np.stack([np.bincount(self._index, column, self.n_groups) for column in columns.T], axis=1)
        drawn = None if self.withheld else np.concatenate([block @ by_group for block in self.counts()])
        return Sums(columns.sum(axis=0), drawn)

    def estimate(self, sums: Sums, statistic: Statistic) -> Estimate:
        """A statistic of the sums with its interval."""
        with np.errstate(divide="ignore", invalid="ignore"):
            value = float(statistic(sums.observed))
            drawn = None if sums.drawn is None else statistic(sums.drawn)
        return Estimate(value, self._interval(value, drawn), len(self._index))

    def means(self, values: np.ndarray) -> list[Estimate]:
        """Mean of each column of ``values`` (n, k) over the frames, with its interval."""
        sums = self.sums(np.column_stack([np.ones(len(values)), values]))
        return [self.estimate(sums, _mean_of(column)) for column in range(1, values.shape[1] + 1)]

    def quantile(self, values: np.ndarray, share: float) -> Estimate:
        """The quantile of ``values`` (n,), as ``np.quantile`` interpolates it, with its interval."""
        values = np.asarray(values, dtype=np.float64)
        if not len(values):
            return Estimate(np.nan)
        order = np.argsort(values)
        drawn = None
        if not self.withheld:
            blocks = (np.cumsum(block[:, self._index[order]], axis=1) for block in self.counts())
            drawn = np.concatenate([_repeated_quantile(values[order], reached, share) for reached in blocks])
        value = float(np.quantile(values, share))
        return Estimate(value, self._interval(value, drawn), len(self._index))

    def _interval(self, value: float, drawn: np.ndarray | None) -> tuple[float, float] | None:
        """None where withheld, and where the figure is undefined in more than a few draws."""
        if drawn is None or not np.isfinite(value):
            return None
        defined = drawn[np.isfinite(drawn)]
        if len(defined) < _LEAST_DEFINED * len(drawn):
            return None
        tail = (1 - self.coverage) / 2
        low, high = np.quantile(defined, [tail, 1 - tail])
        return float(low), float(high)


def _mean_of(column: int) -> Statistic:
    return lambda sums: sums[..., column] / sums[..., 0]


def _repeated_quantile(ordered: np.ndarray, reached: np.ndarray, share: float) -> np.ndarray:
    """Quantile of sorted values that each stand several times; ``reached`` (draws, n) counts up to each."""
    place = share * (reached[:, -1] - 1)
    below = np.floor(place)
    first = np.argmax(reached > below[:, None], axis=1)
    second = np.argmax(reached > np.minimum(below + 1, reached[:, -1] - 1)[:, None], axis=1)
    return ordered[first] + (place - below) * (ordered[second] - ordered[first])


def sign_flip_test(differences: np.ndarray, groups: np.ndarray, *, draws: int = 10000, seed: int = 0) -> float:
    """Two-sided p-value that the mean paired difference is zero, by flipping the sign of whole groups.

    Under the null hypothesis the two arms are exchangeable within a group. The observed arrangement counts as one of
    the draws, so the least value is 1 / (draws + 1).
    """
    values = _checked(differences, groups)
    _, index = np.unique(groups, return_inverse=True)
    sums = np.bincount(index, weights=values)
    rng = np.random.default_rng(seed)
    signs = rng.choice([-1.0, 1.0], (draws, len(sums)))
    reached = np.abs(signs @ sums) >= abs(sums.sum()) - 1e-12
    return float((1 + reached.sum()) / (draws + 1))


def _checked(values: np.ndarray, groups: np.ndarray) -> np.ndarray:
    values, groups = np.asarray(values, dtype=np.float64), np.asarray(groups)
    if values.shape != groups.shape or values.ndim != 1 or not len(values):
        raise ValueError(f"expected as many values as groups, found {values.shape} and {groups.shape}")
    if not np.isfinite(values).all():
        raise ValueError("expected finite values, found NaN or infinity")
    return values

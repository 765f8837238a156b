"""Ways to sum a figure over frames, each with the interval that holds what it says (docs/intervals.md has the measure).

Shares: Wilson, Journal of the American Statistical Association 22 (1927) 209-212, at the effective number of frames:
frames over their design effect, no fewer than the groups count for, with the degrees of freedom of Korn and Graubard,
Survey Methodology 24 (1998) 193-201. Near 0 and 1 the binomial distribution itself, after Clopper and Pearson,
Biometrika 26 (1934) 404-413, with the mid-P of Lancaster, Journal of the American Statistical Association 56 (1961)
223-234, given that an interval is stated; and at last, instead of one, their bound on one side. Ratios of shares: Zou
and Donner, Statistics in Medicine 27 (2008) 1693-1702, with near ends of Brown, Cai and DasGupta, Statistical Science
16 (2001) 101-133.
Quantiles: fractional order statistics, Hutson, Statistics and Probability Letters 44 (1999) 43-51, at the effective
number of frames likewise.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import lru_cache

import attrs
import numpy as np

from aop_pose.stats.bootstrap import (
    COVERAGE,
    EVEN,
    LEAST_GROUPS,
    PLAIN,
    ROUNDING,
    Ends,
    Estimate,
    Resampling,
    Scale,
    Statistic,
    Sums,
    Tails,
    Withheld,
    too_few,
)
from aop_pose.stats.distributions import beta_cdf, beta_quantile, normal_quantile, root, t_quantile

LEAST_OF_A_SHARE = 40
"""Groups with a frame that a share is over (sensitivity: one above the threshold). Counts of fewer are so coarse that
intervals of them hold now too seldom, now too often, by whichever method (docs/intervals.md)."""
_TAIL = (1 - COVERAGE) / 2
_NEAR_IN_RATIOS = 3
"""Effective frames from 0 or all, up to which Wilson's end is too near."""
_LEAST_OF_EACH = 4
"""Effective frames with and without: nearer to 0 or 1 every interval holds too often, whatever the method."""
_FEW_OF_A_KIND = 20
"""Effective frames with or without, up to which what is withheld below ``_LEAST_OF_EACH`` changes how often the
intervals of the others hold."""
_WIDEST = 0.2
"""Of a tail: no interval is wider than that of Clopper and Pearson with so much of it outside."""
_BOUND_OF_FEW, _LEAST_OF_A_BOUND = 0.15, 11
"""A share of few groups has a bound where it lies no further from 0 or 1, and over so many effective frames: so no more
than 5 % of studies state a wrong one, although the data choose the side."""

Columns = Callable[[np.ndarray], np.ndarray]
"""Values (n, k) of the frames that have any -> columns (n, m) to sum, finite."""
Cells = tuple[int, ...]
"""Columns that are added up."""


@attrs.frozen
class Summed:
    """A statistic of sums over frames, with a bootstrap-t interval."""

    columns: Columns
    statistic: Statistic
    scale: Scale = PLAIN
    least_groups: int = LEAST_GROUPS
    """Effective groups from which its interval holds."""
    at_least_t: bool = False
    tails: Tails = EVEN
    """Below 1 on the side where tails of errors, which are seldom in the data, would move it."""
    grain: float = 0.0
    """Values that all lie closer together than this differ by the rounding of tables alone."""


@attrs.frozen
class Counted:
    """A statistic of counts of frames, with an interval made from those of shares."""

    columns: Columns
    statistic: Statistic
    interval: Callable[[np.ndarray, float], Ends]
    """Sums (groups, m) over the frames of each group, and coverage -> ends, or ``Withheld``."""


@attrs.frozen
class Quantile:
    """The value (n, 1) below which a share of the frames lies, as ``np.quantile`` interpolates it."""

    share: float
    grain: float = 0.0
    """As of ``Summed``."""


How = Summed | Counted | Quantile


def estimates(parts: Sequence[tuple[np.ndarray, How]], resampling: Resampling) -> list[Estimate]:
    """Figures over the same frames, each from its values (n, k), in the order given."""
    columns = [values if isinstance(how, Quantile) else how.columns(values) for values, how in parts]
    drawing = [] if resampling.withheld else [place for place, (_, how) in enumerate(parts) if isinstance(how, Summed)]
    drawn = dict(zip(drawing, resampling.sums([columns[place] for place in drawing]), strict=True)) if drawing else {}
    found = []
    for place, (values, how) in enumerate(parts):
        value, interval, withheld, bound = value_of(values, how), None, "", None
        if np.isfinite(value):
            try:
                low, high = _interval(values, columns[place], how, resampling, drawn.get(place))
                if high - low <= ROUNDING * max(1.0, abs(value)):
                    raise Withheld("all values about it are equal but for rounding")
                interval = low, high
            except Withheld as reason:
                withheld, bound = str(reason), reason.bound
        found.append(Estimate(value, interval, len(values), withheld, bound))
    return found


def _interval(values: np.ndarray, columns: np.ndarray, how: How, resampling: Resampling, sums: Sums | None) -> Ends:
    if resampling.withheld and not isinstance(how, Counted):
        raise Withheld(resampling.withheld)
    few = too_few(resampling.effective, how.least_groups) if isinstance(how, Summed) else ""
    if not few and not isinstance(how, Counted) and np.nanmax(values) - np.nanmin(values) < how.grain:
        raise Withheld("all values are equal but for the rounding of tables")
    if isinstance(how, Quantile):
        low, high = quantile_interval(columns[:, 0], how.share, resampling)
        if high - low < how.grain:
            raise Withheld(f"all values about it are equal ({low:g} to {high:g}) but for the rounding of tables")
        return low, high
    if isinstance(how, Counted):
        try:
            return how.interval(resampling.by_group(columns), resampling.coverage)
        except Withheld as why:
            # The reason that holds for all figures stands once.
            raise Withheld(resampling.withheld or str(why), why.bound) from None
    if few:
        raise Withheld(few)
    assert sums is not None  # drawn for all that are summed
    return resampling.bootstrap_t(sums, how.statistic, how.scale, at_least_t=how.at_least_t, tails=how.tails)


def value_of(values: np.ndarray, how: How) -> float:
    """The figure of values (n, k) alone."""
    if isinstance(how, Quantile):
        return float(np.quantile(values, how.share))
    with np.errstate(divide="ignore", invalid="ignore"):
        return float(how.statistic(how.columns(values).sum(axis=0)))


def share_interval(hits: np.ndarray, trials: np.ndarray, coverage: float) -> Ends:
    """The interval of sum(hits) / sum(trials), from the counts (groups,) of each group; never of zero width.

    Raises:
        Withheld: over few groups, or so near 0 or 1 that no interval would hold as often as it says; with the bound.
    """
    share, n, few = _counted(hits, trials, coverage)
    rarer, least = min(share, 1 - share), _effective_groups(trials)
    if few:
        bounded = rarer <= _BOUND_OF_FEW + ROUNDING and least >= _LEAST_OF_A_BOUND - ROUNDING
        raise Withheld(few, share_bound(share, least, coverage) if bounded else None)
    if rarer * n < _LEAST_OF_EACH - ROUNDING * n:
        kind, end = ("with", 0) if share < 0.5 else ("without", 100)
        why = f"fewer than {_LEAST_OF_EACH} effective frames {kind}: so near {end} % an interval would hold too often"
        # So few say nothing of how alike the frames of a group are: the bound is over groups.
        raise Withheld(why, share_bound(share, least, coverage))
    if rarer * n > _FEW_OF_A_KIND + ROUNDING * n:
        return wilson(share, n, coverage)
    low, high = few_interval(rarer * n, n, coverage)
    return (low, high) if share <= 0.5 else (1 - high, 1 - low)


@lru_cache(maxsize=4096)
def few_interval(hits: float, n: float, coverage: float) -> Ends:
    """The interval of a share of ``hits``, ``_LEAST_OF_EACH`` to a half, of ``n`` trials; neither need be whole.

    By the mid-P of the binomial distribution, given that there are ``_LEAST_OF_EACH`` of each kind, since no other
    study states an interval. Where a share is so small that not even the fewest are too few for it, what both tails
    may leave outside is all on the side of too many.
    """
    tail = (1 - coverage) / 2

    def exactly(share: float, count: float) -> float:
        ways = math.lgamma(n + 1) - math.lgamma(count + 1) - math.lgamma(n - count + 1)
        return math.exp(ways + count * math.log(share) + (n - count) * math.log1p(-share))

    def reached(share: float, count: float) -> float:
        return beta_cdf(share, count, n - count + 1)

    def beyond(share: float) -> tuple[float, float]:
        """Of the studies that state an interval: those with more hits and half of those with as many; half of those
        with the fewest."""
        unstated = reached(share, n - _LEAST_OF_EACH + 1)
        stated = reached(share, _LEAST_OF_EACH) - unstated
        more = reached(share, hits) - exactly(share, hits) / 2 - unstated
        return more / stated, exactly(share, _LEAST_OF_EACH) / 2 / stated

    def by_more(share: float) -> float:
        more, fewest = beyond(share)
        return more - (tail if fewest < tail else 2 * tail)

    def by_fewer(share: float) -> float:
        return beyond(share)[0] - (1 - tail)

    low = beta_quantile(_WIDEST * tail, hits, n - hits + 1)
    high = beta_quantile(1 - _WIDEST * tail, hits + 1, n - hits)
    found = hits / n
    return (
        low if by_more(low) >= 0 else root(by_more, low, found),
        high if by_fewer(high) <= 0 else root(by_fewer, found, high),
    )


def _counted(hits: np.ndarray, trials: np.ndarray, coverage: float) -> tuple[float, float, str]:
    """A share of counts (groups,), its effective frames, and why they are too few, if they are."""
    some = trials > 0
    share = float(hits.sum() / trials.sum())
    groups = int(some.sum())
    n = _effective(hits[some], trials[some], share, coverage) if groups > 1 else 1.0
    return share, n, too_few(groups, LEAST_OF_A_SHARE)


def share_bound(share: float, n: float, coverage: float) -> float:
    """The most that a share below a half of ``n`` independent trials is, or the least of one above; wrong no more often
    than 1 - ``coverage``."""
    if share > 0.5:
        return 1 - share_bound(1 - share, n, coverage)
    return beta_quantile(coverage, share * n + 1, n - share * n) if share < 1 else 1.0


def side_of(share: Estimate, target: float, groups: int) -> int:
    """-1 for a share that is below ``target`` by more than chance, 1 for one above it, else 0.

    By its interval; where none is stated, by the binomial distribution of as many trials as there are groups.
    """
    if not (math.isfinite(share.value) and groups > 0):
        return 0
    if share.interval is not None:
        return int(share.interval[0] > target) - int(share.interval[1] < target)
    hits = share.value * groups
    so_few = 1 - beta_cdf(target, hits + 1, groups - hits) if hits < groups else 1.0
    so_many = beta_cdf(target, hits, groups - hits + 1) if hits > 0 else 1.0
    return int(so_many < _TAIL) - int(so_few < _TAIL)


def wilson(share: float, n: float, coverage: float) -> Ends:
    """The interval of a share of ``n`` independent trials; ``n`` need not be a whole number."""
    if share > 0.5:
        low, high = wilson(1 - share, n, coverage)
        return 1 - high, 1 - low
    z = normal_quantile((1 + coverage) / 2)
    middle, half = share + z**2 / (2 * n), z * math.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    low, high = (middle - half) / (1 + z**2 / n), (middle + half) / (1 + z**2 / n)
    hits = share * n
    if 0 < hits <= _NEAR_IN_RATIOS:
        low = min(low, beta_quantile(1 - coverage, hits, n - hits + 1))
    return max(low, 0.0), min(high, 1.0)


def _effective_groups(trials: np.ndarray) -> float:
    return float(trials.sum()) ** 2 / float((trials**2).sum())


def _effective(hits: np.ndarray, trials: np.ndarray, share: float, coverage: float) -> float:
    """Independent frames that say as much as these: no fewer than the groups count for, no more than there are."""
    groups, n = len(trials), float(trials.sum())
    if groups == n:
        return n
    least = _effective_groups(trials)
    variance = groups / (groups - 1) * float(((hits - share * trials) ** 2).sum()) / n**2
    found = share * (1 - share) / variance if variance > 0 else least
    freedom = t_quantile((1 + coverage) / 2, n - 1) / t_quantile((1 + coverage) / 2, groups - 1)
    return min(max(found, least), n) * freedom**2


def quantile_interval(values: np.ndarray, share: float, resampling: Resampling) -> Ends:
    """The interval of a quantile of ``values`` (n,): between two order statistics, interpolated."""
    below = values <= np.quantile(values, share)
    sizes = np.bincount(resampling.index).astype(float)
    hits = np.bincount(resampling.index, below, resampling.n_groups)
    n = _effective(hits, sizes, share, resampling.coverage)
    tail = (1 - resampling.coverage) / 2
    # Whether the ends exist depends on the groups alone, not on what was found in them.
    if max(share, 1 - share) ** resampling.effective > tail / 2:
        needed = math.ceil(math.log(tail / 2) / math.log(max(share, 1 - share)))
        raise Withheld(too_few(resampling.effective, needed))
    places = [_rank(share, n, one) / (n + 1) for one in (1 - tail, tail)]
    ordered = np.sort(values)
    low, high = np.interp(np.array(places) * (len(values) + 1), np.arange(1, len(values) + 1), ordered)
    if low == high:
        raise Withheld(f"all values about it are equal ({low:g})")
    return float(low), float(high)


def _rank(share: float, n: float, chance: float) -> float:
    """The order, between 0 and n + 1, of a value of n that lies below the quantile with this probability."""
    near, spread = share * (n + 1), math.sqrt(n * share * (1 - share)) + 1
    low, high = max(1e-6, near - 8 * spread), min(n + 1 - 1e-6, near + 8 * spread)
    return root(lambda rank: beta_cdf(share, rank, n + 1 - rank) - chance, low, high)


def share_of(hits: Cells, trials: Cells) -> Callable[[np.ndarray, float], Ends]:
    """The interval of a share of counts: those in ``hits`` of those in ``trials``."""

    def interval(sums: np.ndarray, coverage: float) -> Ends:
        return share_interval(_added(sums, hits), _added(sums, trials), coverage)

    return interval


def ratio_of(above: tuple[Cells, Cells], below: tuple[Cells, Cells]) -> Callable[[np.ndarray, float], Ends]:
    """The interval of a ratio of two shares of different frames, each (hits, trials)."""

    def interval(sums: np.ndarray, coverage: float) -> Ends:
        (one, low_one, high_one), (other, low_other, high_other) = (
            _share_and_ends(sums, hits, trials, coverage) for hits, trials in (above, below)
        )
        if not (one > 0 and other > 0):
            raise Withheld("one of its two shares is 0, and a ratio to it has no scale")
        down = math.hypot(math.log(one / low_one), math.log(high_other / other))
        up = math.hypot(math.log(high_one / one), math.log(other / low_other))
        return one / other * math.exp(-down), one / other * math.exp(up)

    return interval


def _share_and_ends(sums: np.ndarray, hits: Cells, trials: Cells, coverage: float) -> tuple[float, float, float]:
    share, n, few = _counted(_added(sums, hits), _added(sums, trials), coverage)
    if few:
        raise Withheld(few)
    return share, *wilson(share, n, coverage)


def beyond_chance(sums: np.ndarray, coverage: float) -> Ends:
    """The interval of kappa: that of accuracy, with the chance agreement of the observed margins (Cohen 1960)."""
    both, first, second, neither = sums.sum(axis=0)
    chance = ((both + first) * (both + second) + (neither + first) * (neither + second)) / sums.sum() ** 2
    try:
        low, high = share_interval(_added(sums, (0, 3)), sums.sum(axis=1), coverage)
    except Withheld as why:
        raise Withheld(str(why)) from None  # a bound of accuracy is none of kappa
    return (low - chance) / (1 - chance), (high - chance) / (1 - chance)


def _added(sums: np.ndarray, cells: Cells) -> np.ndarray:
    return sums[:, list(cells)].sum(axis=1)

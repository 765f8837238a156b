"""Intervals of shares, ratios and quantiles: numbers of others, worked out by hand, and what is withheld."""

from itertools import pairwise

import numpy as np
import pytest

from aop_pose.stats import agreement
from aop_pose.stats.bootstrap import LOG, Estimate, Resampling, Withheld
from aop_pose.stats.intervals import (
    Counted,
    Quantile,
    Summed,
    estimates,
    few_interval,
    quantile_interval,
    ratio_of,
    share_interval,
    share_of,
    side_of,
    wilson,
)

ALONE = np.ones(40)


def ones(count, of):
    return np.r_[np.ones(count), np.zeros(of - count)]


def test_wilson_is_that_of_statsmodels():
    """proportion_confint(method="wilson") of statsmodels 0.15.0."""
    assert wilson(8 / 20, 20, 0.95) == pytest.approx((0.21880653237281705, 0.6134184992377469), abs=1e-12)
    assert wilson(45 / 50, 50, 0.9) == pytest.approx((0.8084624858484291, 0.950470965522555), abs=1e-12)


def test_near_the_end_wilson_is_made_wider_as_brown_cai_and_dasgupta_do():
    """1 of 20 at 95 %: 1 - 0.95^(1/20) = 0.002561 lies below Wilson's 0.00888."""
    low, high = wilson(1 / 20, 20, 0.95)
    assert low == pytest.approx(1 - 0.95 ** (1 / 20), abs=1e-9)
    assert (1 - high, 1 - low) == pytest.approx(wilson(19 / 20, 20, 0.95))


@pytest.mark.parametrize(("hits", "n", "low", "high"), [
    (10, 50, 0.11595947490014497, 0.32759115202343697),  # 5 % beyond the one end: the fewest are not too few there
    (18, 60, 0.19443529281818622, 0.4244320766232939),  # 2.5 % beyond either
    (4, 50, 0.013768444840126475, 0.16076987369333112),  # no lower than the 99 % interval of Clopper and Pearson
])  # fmt: skip
def test_with_few_of_a_kind_it_is_the_mid_p_of_the_binomial_given_that_it_is_stated(hits, n, low, high):
    """Roots over sums of scipy.stats.binom (SciPy 1.17), and binomtest(4, 50).proportion_ci(0.99, method="exact")."""
    assert share_interval(ones(hits, n), np.ones(n), 0.95) == pytest.approx((low, high), abs=1e-10)
    assert share_interval(ones(n - hits, n), np.ones(n), 0.95) == pytest.approx((1 - high, 1 - low), abs=1e-10)


@pytest.mark.parametrize("n", [8, 9.5, 12, 30.25, 400])
def test_ends_of_few_never_fall_with_what_was_found(n):
    """Also with so few that no end of theirs is ever passed, and where numbers are not whole."""
    found = np.array([few_interval(hits, n, 0.95) for hits in np.arange(4, min(n / 2, 20) + 0.1, 0.25)])
    assert (np.diff(found, axis=0) > -1e-9).all()
    assert ((found[:, 0] > 0) & (found[:, 0] * n < 20) & (found[:, 1] < 1)).all()


@pytest.mark.parametrize(("hits", "groups", "bound"), [
    (12, 12, 0.779077808), (0, 12, 0.220922192), (38, 40, 0.850848039), (2, 40, 0.149151961), (8, 12, None),
    (10, 10, None),
])  # fmt: skip
def test_a_share_near_the_end_has_a_bound_instead_of_an_interval(hits, groups, bound):
    """One end of binomtest(...).proportion_ci(0.9, method="exact") of SciPy; 0.05^(1/12) = 0.7791."""
    with pytest.raises(Withheld, match=r"fewer than (4 effective frames|40 groups)") as found:
        share_interval(ones(hits, groups), np.ones(groups), 0.95)
    assert found.value.bound == (bound if bound is None else pytest.approx(bound, abs=1e-8))


def test_two_frames_that_always_agree_say_as_much_as_one():
    """80 frames of 40 groups, alike within each: 40 frames, with the freedom of 40 groups in place of 80 frames."""
    hits = ones(20, 40)
    freedom = (1.9904502 / 2.0226909) ** 2  # t quantiles of 79 and 39 degrees of freedom
    # The variance of clusters has 40 / 39 in it, and there are no fewer than 40 effective ones.
    wanted = few_interval(20 * freedom, 40 * freedom, 0.95)
    assert share_interval(2 * hits, 2 * ALONE, 0.95) == pytest.approx(wanted, abs=1e-6)
    assert share_interval(ALONE, 2 * ALONE, 0.95) == pytest.approx(wanted, abs=1e-6)
    assert share_interval(np.tile(hits, 2), np.ones(80), 0.95) == wilson(0.5, 80, 0.95)


def test_a_share_over_fewer_than_forty_groups_is_withheld():
    trials = ones(39, 60)
    with pytest.raises(Withheld, match=r"fewer than 40 groups \(39\)"):
        share_interval(trials, trials, 0.95)


@pytest.mark.parametrize(("value", "groups", "side"), [
    (0.9, 30, 0), (0.8, 30, 0), (0.7, 30, -1), (1.0, 30, 0), (1.0, 60, 1), (0.4, 5, -1), (0.6, 5, 0), (0.0, 2, -1),
    (np.nan, 30, 0), (0.5, 0, 0),
])  # fmt: skip
def test_a_share_without_an_interval_is_judged_by_the_binomial_distribution(value, groups, side):
    """Of 30 at 90 %: P(at most 24) = 0.073, P(at most 21) = 0.0020; of 5, P(at most 2) = 0.0086, P(at most 3) = 0.081.

    Of 60, all: 0.9^60 = 0.0018.
    """
    assert side_of(Estimate(value), 0.9, groups) == side


def test_a_share_with_an_interval_is_judged_by_it():
    found = [side_of(Estimate(0.8, ends), 0.9, 3) for ends in ((0.7, 0.89), (0.7, 0.91), (0.91, 0.95))]
    assert found == [-1, 0, 1]


def test_a_likelihood_ratio_by_hand():
    """Sensitivity 36 of 40, false alarms 8 of 40: each end from the logarithms of both intervals."""
    sums = np.column_stack([np.r_[ones(36, 40), 0 * ALONE], np.r_[0 * ALONE, ones(8, 40)]])
    sums = np.column_stack(
        [sums[:, 0], sums[:, 1], np.r_[1 - ones(36, 40), 0 * ALONE], np.r_[0 * ALONE, 1 - ones(8, 40)]]
    )
    (low_one, high_one), (low_two, high_two) = wilson(0.9, 40, 0.95), wilson(0.2, 40, 0.95)
    down = np.hypot(np.log(0.9 / low_one), np.log(high_two / 0.2))
    up = np.hypot(np.log(high_one / 0.9), np.log(0.2 / low_two))
    found = ratio_of(((0,), (0, 2)), ((1,), (1, 3)))(sums, 0.95)
    assert found == pytest.approx((4.5 * np.exp(-down), 4.5 * np.exp(up)))
    no_alarm = np.column_stack([sums[:, 0], 0 * sums[:, 1], sums[:, 2], sums[:, 1] + sums[:, 3]])
    with pytest.raises(Withheld, match="one of its two shares is 0"):
        ratio_of(((0,), (0, 2)), ((1,), (1, 3)))(no_alarm, 0.95)


def test_kappa_is_the_interval_of_accuracy_beyond_chance():
    """20 both, 5 first only, 10 second only, 15 neither (kappa 0.4): accuracy 0.7, chance 0.5."""
    first = np.repeat([130, 130, 100, 100], [20, 5, 10, 15])
    second = np.repeat([130, 100, 130, 100], [20, 5, 10, 15])
    statistic, interval = agreement.TABLE_STATISTICS["kappa"]
    how = Counted(lambda values: agreement.table_columns(values[:, 0], values[:, 1], 120), statistic, interval)
    (kappa,) = estimates([(np.column_stack([first, second]), how)], Resampling(np.arange(50)))
    assert kappa.value == pytest.approx(0.4)
    assert kappa.interval == pytest.approx([2 * end - 1 for end in share_interval(ones(35, 50), np.ones(50), 0.95)])


def test_the_median_lies_between_the_order_statistics_of_the_textbook():
    """Of 20 values the 6th and the 15th hold the median at 95.9 %; interpolated, 95 % is a little inside."""
    low, high = quantile_interval(np.arange(1.0, 21), 0.5, Resampling(np.arange(20)))
    assert 6 < low < 6.3
    assert low + high == pytest.approx(21)


def test_an_interval_of_a_quantile_needs_values_on_both_sides_of_it():
    """0.95^86 is the first power below half a tail, 0.0125."""
    values = np.random.default_rng(0).normal(0, 1, 86)
    with pytest.raises(Withheld, match=r"fewer than 86 groups \(85\)"):
        quantile_interval(values[:85], 0.95, Resampling(np.arange(85)))
    low, high = quantile_interval(values, 0.95, Resampling(np.arange(86)))
    assert low < np.quantile(values, 0.95) < high <= values.max()


def test_two_thousand_ties_have_no_interval():
    with pytest.raises(Withheld, match=r"all values about it are equal \(5\)"):
        quantile_interval(np.full(2000, 5.0), 0.5, Resampling(np.arange(2000)))


def test_larger_samples_and_lower_coverage_give_narrower_intervals():
    values = np.random.default_rng(0).gamma(2, 1, 1600)
    widths = []
    for n in (100, 400, 1600):
        low, high = quantile_interval(values[:n], 0.9, Resampling(np.arange(n)))
        widths.append(high - low)
    assert all(one > 1.5 * other for one, other in pairwise(widths))
    low, high = quantile_interval(values, 0.9, Resampling(np.arange(1600), coverage=0.5))
    assert high - low < widths[-1] / 2


MEAN = Summed(
    lambda values: np.column_stack([values[:, 0], np.ones(len(values))]), lambda s: s[..., 0] / s[..., 1], LOG
)


def test_estimates_say_why_an_interval_is_missing():
    values = np.random.default_rng(0).gamma(2, 1, (40, 1))
    few = MEAN.__class__(MEAN.columns, MEAN.statistic, least_groups=50)
    share = Counted(lambda v: np.column_stack([v[:, 0] > 1, np.ones(len(v))]), MEAN.statistic, share_of((0,), (1,)))
    parts = [(values, MEAN), (values, few), (np.ones((40, 1)), MEAN), (values, share), (values, Quantile(0.5))]
    mean, withheld, alike, counted, median = estimates(parts, Resampling(np.arange(40)))
    assert mean.value == pytest.approx(values.mean())
    assert mean.interval[0] < mean.value < mean.interval[1]
    assert (withheld.value, withheld.interval) == (mean.value, None)
    assert "fewer than 50 groups (40)" in withheld.withheld
    assert (alike.interval, alike.withheld) == (None, "all groups say the same, so their spread says nothing of others")
    assert counted.interval[0] < (values > 1).mean() < counted.interval[1]
    assert median.interval[0] < np.median(values) < median.interval[1]


@pytest.mark.parametrize("groups", [np.zeros(40), np.arange(40) % 19])
def test_too_few_groups_give_values_and_no_intervals(groups):
    values = np.random.default_rng(0).gamma(2, 1, (40, 1))
    for found in estimates([(values, MEAN), (values, Quantile(0.5))], Resampling(groups)):
        assert np.isfinite(found.value)
        assert found.interval is None
        assert "fewer than 20 groups" in found.withheld

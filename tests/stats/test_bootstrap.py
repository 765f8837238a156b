"""Intervals over groups."""

import itertools

import numpy as np
import pytest

from aop_pose.stats import agreement
from aop_pose.stats.bootstrap import FISHER_Z, LOG, PLAIN, Resampling, Withheld, sign_flip_test


def test_sign_flips_against_all_arrangements():
    differences, groups = np.array([1.0, 2.0, 0.5, -0.2, 3.0]), np.array([0, 0, 1, 1, 2])
    sums = np.array([3.0, 0.3, 3.0])
    flips = [abs(np.dot(signs, sums)) >= sums.sum() - 1e-12 for signs in itertools.product([-1, 1], repeat=3)]
    assert sign_flip_test(differences, groups, draws=40000) == pytest.approx(np.mean(flips), abs=0.01)


def test_no_difference_is_not_significant_and_a_clear_one_is():
    rng = np.random.default_rng(3)
    groups = np.repeat(np.arange(40), 3)
    assert sign_flip_test(np.zeros(120), groups) == 1
    assert sign_flip_test(rng.normal(0, 1, 120), groups) > 0.05
    assert sign_flip_test(rng.normal(1, 1, 120), groups) < 0.001


def test_sign_flips_do_not_depend_on_the_unit():
    """Ties of sums of thirds, in degrees, in nanometres and in light years: equal, whatever rounding says."""
    differences = np.tile([1 / 3, -1 / 3, 2 / 3], 8)
    p = sign_flip_test(differences, np.arange(24))
    assert sign_flip_test(differences * 1e9, np.arange(24)) == p
    assert sign_flip_test(differences * 1e-15, np.arange(24)) == p


STATISTICS = [
    (lambda v: np.column_stack([v[:, 0], np.ones(len(v))]), lambda s: s[..., 0] / s[..., 1], LOG,
     lambda v, w: np.average(v[:, 0], weights=w)),
    (lambda v: agreement.difference_columns(v[:, 0] - v[:, 1]), agreement.limit(+1), PLAIN,
     lambda v, w: np.average(v[:, 0] - v[:, 1], weights=w) + 1.96 * weighted_sd(v[:, 0] - v[:, 1], w)),
    (lambda v: agreement.moment_columns(v[:, 0], v[:, 1]), agreement.pearson, FISHER_Z,
     lambda v, w: slow_pearson(v, w)),
    (agreement.rating_columns, agreement.icc_3_1, FISHER_Z, lambda v, w: slow_icc_3_1(v, w)),
]  # fmt: skip


def weighted_sd(values, weights):
    mean = np.average(values, weights=weights)
    return np.sqrt((weights * (values - mean) ** 2).sum() / (weights.sum() - 1))


def slow_pearson(v, w):
    x, y = (v - np.average(v, axis=0, weights=w)).T
    return (w * x * y).sum() / np.sqrt((w * x * x).sum() * (w * y * y).sum())


def slow_icc_3_1(v, w):
    """Of frames that stand several times: Shrout and Fleiss, mean square by mean square."""
    n, columns = w.sum(), np.average(v, axis=0, weights=w)
    grand, rows = columns.mean(), v.mean(axis=1)
    between = 2 * (w * (rows - grand) ** 2).sum() / (n - 1)
    rest = (w[:, None] * (v - rows[:, None] - columns + grand) ** 2).sum() / (n - 1)
    return (between - rest) / (between + rest)


@pytest.mark.parametrize(("columns", "statistic", "scale", "slow"), STATISTICS)
def test_bootstrap_t_against_draws_spelt_out(columns, statistic, scale, slow):
    """Each draw's figure from frames that stand several times, its error from what each group's weight changes."""
    rng = np.random.default_rng(5)
    groups = np.repeat(np.arange(25), rng.integers(1, 5, 25))
    first = rng.normal(120, 20, len(groups))
    values = np.column_stack([first, first + rng.normal(1, 6, len(groups))])
    resampling = Resampling(groups, draws=400)

    def figure(counts):
        return float(scale.to(slow(values, counts[groups])))

    def linear_error(counts):
        slopes = np.array([(figure(counts + step) - figure(counts - step)) / 2e-4 for step in 1e-4 * np.eye(25)])
        return np.sqrt(25 / 24 * ((counts * slopes**2).sum() - (counts * slopes).sum() ** 2 / 25))

    value = figure(np.ones(25))
    left_out = np.array([figure(1 - one) for one in np.eye(25)])
    jackknife = np.sqrt(24 / 25 * ((left_out - left_out.mean()) ** 2).sum())
    t = [(figure(counts) - value) / linear_error(counts) for counts in np.concatenate(list(resampling.counts()))]
    low, high = np.quantile(t, [0.025, 0.975])
    expected = scale.back(np.array([value - high * jackknife, value - low * jackknife]))

    (sums,) = resampling.sums([columns(values)])
    assert resampling.bootstrap_t(sums, statistic, scale) == pytest.approx(tuple(expected), rel=1e-5)


def test_the_blocks_of_a_large_study_are_the_same_draws(monkeypatch):
    whole = np.concatenate(list(Resampling(np.arange(50), draws=40).counts()))
    monkeypatch.setattr("aop_pose.stats.bootstrap._BLOCK_CELLS", 300)
    blocks = list(Resampling(np.arange(50), draws=40).counts())
    assert len(blocks) == 7
    assert (np.concatenate(blocks) == whole).all()
    assert (whole.sum(axis=1) == 50).all()


def test_no_end_is_nearer_than_that_of_the_t_distribution():
    values = np.random.default_rng(1).exponential(1, 30)
    resampling = Resampling(np.arange(30))
    (sums,) = resampling.sums([np.column_stack([values, np.ones(30)])])
    mean = lambda sums: sums[..., 0] / sums[..., 1]  # noqa: E731
    (low, high), (alone_low, alone_high) = (resampling.bootstrap_t(sums, mean, at_least_t=one) for one in (True, False))
    # Student's interval of 30 values: quantile 2.04523 of t with 29 degrees of freedom.
    half = 2.04523 * values.std(ddof=1) / np.sqrt(30)
    assert low == pytest.approx(min(alone_low, values.mean() - half), abs=1e-5)
    assert high == pytest.approx(max(alone_high, values.mean() + half), abs=1e-5)


def test_the_interval_of_a_limit_of_agreement_has_the_textbook_width():
    """Bland and Altman: standard error of a limit is about sqrt(3 s² / n)."""
    differences = np.random.default_rng(6).normal(0, 5, 2000)
    resampling = Resampling(np.arange(2000))
    (sums,) = resampling.sums([agreement.difference_columns(differences)])
    low, high = resampling.bootstrap_t(sums, agreement.limit(+1))
    assert high - low == pytest.approx(2 * 1.96 * np.sqrt(3 * 25 / 2000), rel=0.08)


def interval_of(differences, statistic=agreement.deviation, **options):
    resampling = Resampling(np.arange(len(differences)), **options)
    (sums,) = resampling.sums([agreement.difference_columns(differences)])
    return resampling.bootstrap_t(sums, statistic, LOG)


@pytest.mark.parametrize(
    ("differences", "options", "reason"),
    [
        (np.full(30, 6.1), {}, "the end of its scale"),
        (np.r_[7.0, np.full(29, 6.1)], {}, "one group decides it"),
        (np.random.default_rng(0).normal(0, 1, 30), {"coverage": 0.999}, "2000 draws say too little of a coverage"),
        # Two of 30 differ: (28/30)^30 = 13 % of the draws have neither.
        (np.r_[4.0, 5.0, np.zeros(28)], {}, "too many draws"),
    ],
)
def test_what_cannot_be_said_is_withheld_with_its_reason(differences, options, reason):
    with pytest.raises(Withheld, match=reason):
        interval_of(differences, **options)


def test_equal_groups_say_nothing_of_others():
    with pytest.raises(Withheld, match="all groups say the same"):
        interval_of(np.full(30, 6.1), lambda sums: sums[..., 1] / sums[..., 0])


def test_fewer_than_twenty_groups_are_too_few():
    assert "fewer than 20 groups (19)" in Resampling(np.arange(19)).withheld
    assert Resampling(np.arange(20)).withheld == ""


def test_a_few_large_groups_count_as_the_equal_ones_that_say_as_much():
    assert Resampling(np.repeat(np.arange(10), 3)).effective == 10
    # 9 groups of 1 and one of 91: 100² / (9 + 91²).
    assert Resampling(np.repeat(np.arange(10), [1] * 9 + [91])).effective == pytest.approx(10000 / 8290)

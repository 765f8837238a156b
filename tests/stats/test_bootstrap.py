"""Intervals over groups."""

import itertools

import numpy as np
import pytest

from aop_pose.stats import agreement
from aop_pose.stats.bootstrap import Resampling, sign_flip_test
from tests.stats.test_agreement import slow_iccs


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


def drawn_frames(resampling, groups):
    """Every draw spelt out: which frames it holds, each as often as its group was drawn."""
    names = np.unique(groups)
    for counts in np.concatenate(list(resampling.counts())):
        yield np.concatenate(
            [np.flatnonzero(groups == name).repeat(times) for name, times in zip(names, counts, strict=True)]
        )


def percentiles(values):
    return pytest.approx(tuple(np.quantile(values, [0.025, 0.975])), abs=1e-9)


def test_every_interval_against_draws_spelt_out():
    rng = np.random.default_rng(5)
    groups = np.repeat(np.arange(25), rng.integers(1, 5, 25))
    first = rng.normal(120, 20, len(groups))
    second = first + rng.normal(1, 6, len(groups))
    ratings = np.column_stack([first, second])
    resampling = Resampling(groups, draws=200)
    draws = [ratings[frames] for frames in drawn_frames(resampling, groups)]
    assert len(draws) == 200

    (mean,) = resampling.means(np.abs(first - second)[:, None])
    assert mean.interval == percentiles([np.abs(d[:, 0] - d[:, 1]).mean() for d in draws])
    for share in (0.5, 0.95):
        assert resampling.quantile(second, share).value == np.quantile(second, share)
        assert resampling.quantile(second, share).interval == percentiles([np.quantile(d[:, 1], share) for d in draws])
    sums = resampling.sums(agreement.moment_columns(first, second))
    assert resampling.estimate(sums, agreement.pearson).interval == percentiles([np.corrcoef(d.T)[0, 1] for d in draws])
    sums = resampling.sums(agreement.difference_columns(first - second))
    limits = [(d[:, 0] - d[:, 1]).mean() + 1.96 * np.std(d[:, 0] - d[:, 1], ddof=1) for d in draws]
    assert resampling.estimate(sums, agreement.limit(+1)).interval == percentiles(limits)
    sums = resampling.sums(agreement.rating_columns(ratings))
    assert resampling.estimate(sums, agreement.icc_2_1).interval == percentiles([slow_iccs(d)[0] for d in draws])
    assert resampling.estimate(sums, agreement.icc_3_1).interval == percentiles([slow_iccs(d)[1] for d in draws])


def test_the_blocks_of_a_large_study_are_the_same_draws(monkeypatch):
    whole = np.concatenate(list(Resampling(np.arange(50), draws=40).counts()))
    monkeypatch.setattr("aop_pose.stats.bootstrap._BLOCK_CELLS", 300)
    blocks = list(Resampling(np.arange(50), draws=40).counts())
    assert len(blocks) == 7
    assert (np.concatenate(blocks) == whole).all()
    assert (whole.sum(axis=1) == 50).all()


def test_the_interval_of_a_limit_of_agreement_has_the_textbook_width():
    """Bland and Altman: standard error of a limit is about sqrt(3 s² / n)."""
    differences = np.random.default_rng(6).normal(0, 5, 2000)
    resampling = Resampling(np.arange(2000))
    low, high = resampling.estimate(
        resampling.sums(agreement.difference_columns(differences)), agreement.limit(+1)
    ).interval
    assert high - low == pytest.approx(2 * 1.96 * np.sqrt(3 * 25 / 2000), rel=0.08)


def test_fewer_than_twenty_groups_give_a_value_without_an_interval():
    values = np.arange(19.0)[:, None]
    few, enough = Resampling(np.arange(19)), Resampling(np.arange(20))
    assert few.means(values)[0].value == 9
    assert few.means(values)[0].interval is few.quantile(values[:, 0], 0.5).interval is None
    assert "fewer than 20 groups (19)" in few.withheld
    assert enough.withheld == ""
    assert enough.means(np.arange(20.0)[:, None])[0].interval is not None


def test_a_figure_that_most_draws_do_not_define_has_no_interval():
    """One frame of 30 is positive: a third of the draws have none, so sensitivity is 0 / 0 there."""
    first = np.r_[130.0, np.full(29, 100.0)]
    resampling = Resampling(np.arange(30))
    estimate = resampling.estimate(resampling.sums(agreement.table_columns(first, first, 120)), agreement.sensitivity)
    assert (estimate.value, estimate.interval) == (1, None)

"""Agreement formulas against a published table, slow definitions and, where it is installed, another library."""

from importlib.util import find_spec

import numpy as np
import pytest

from aop_pose.stats import agreement

SHROUT_FLEISS = np.array([[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]], float)
"""Table 2 of Shrout and Fleiss 1979: 6 targets, 4 judges; table 4 gives ICC(2,1) = .29, ICC(3,1) = .71."""


def iccs(ratings):
    sums = agreement.rating_columns(ratings).sum(axis=0)
    return float(agreement.icc_2_1(sums)), float(agreement.icc_3_1(sums))


def slow_iccs(ratings):
    """Two-way analysis of variance, mean square by mean square, cell by cell."""
    n, k = ratings.shape
    grand = sum(map(sum, ratings)) / (n * k)
    rows = [sum(row) / k for row in ratings]
    columns = [sum(column) / n for column in ratings.T]
    bms = k * sum((row - grand) ** 2 for row in rows) / (n - 1)
    jms = n * sum((column - grand) ** 2 for column in columns) / (k - 1)
    rest = [(ratings[i, j] - rows[i] - columns[j] + grand) ** 2 for i in range(n) for j in range(k)]
    ems = sum(rest) / ((n - 1) * (k - 1))
    return (bms - ems) / (bms + (k - 1) * ems + k * (jms - ems) / n), (bms - ems) / (bms + (k - 1) * ems)


def two_raters(seed, n=60, offset=2.0):
    rng = np.random.default_rng(seed)
    true = rng.normal(120, 20, n)
    return np.column_stack([true + rng.normal(offset, 5, n), true + rng.normal(0, 4, n)])


def test_the_published_example():
    absolute, consistent = iccs(SHROUT_FLEISS)
    assert (round(absolute, 2), round(consistent, 2)) == (0.29, 0.71)


@pytest.mark.parametrize("seed", range(5))
def test_mean_squares_against_the_definition(seed):
    ratings = two_raters(seed)
    assert iccs(ratings) == pytest.approx(slow_iccs(ratings), abs=1e-10)
    assert iccs(SHROUT_FLEISS) == pytest.approx(slow_iccs(SHROUT_FLEISS), abs=1e-12)


@pytest.mark.skipif(find_spec("pingouin") is None, reason="pingouin is not installed")
@pytest.mark.parametrize("ratings", [SHROUT_FLEISS, two_raters(1)])
def test_against_another_library(ratings):
    import pandas
    import pingouin

    targets, raters = np.indices(ratings.shape)
    frame = pandas.DataFrame({"t": targets.ravel(), "r": raters.ravel(), "x": ratings.ravel()})
    table = pingouin.intraclass_corr(frame, targets="t", raters="r", ratings="x")
    assert iccs(ratings) == pytest.approx(tuple(table["ICC"].iloc[[1, 2]]), abs=1e-9)


def test_an_offset_counts_in_absolute_agreement_only():
    ratings = two_raters(3, offset=0)
    apart = np.add(ratings, [10, 0])
    assert iccs(apart)[0] < iccs(ratings)[0] - 0.05
    assert iccs(apart)[1] == pytest.approx(iccs(ratings)[1])


def test_perfect_agreement_is_one_and_no_spread_is_undefined():
    column = np.random.default_rng(0).normal(120, 20, 50)
    assert iccs(np.column_stack([column, column])) == pytest.approx((1, 1))
    with np.errstate(invalid="ignore"):
        assert np.isnan(iccs(np.full((5, 2), 3.0))).all()


def test_pearson_against_numpy():
    first, second = two_raters(4).T
    sums = agreement.moment_columns(first, second).sum(axis=0)
    assert agreement.pearson(sums) == pytest.approx(np.corrcoef(first, second)[0, 1], abs=1e-12)
    with np.errstate(invalid="ignore"):
        assert np.isnan(agreement.pearson(agreement.moment_columns(first, np.ones(60)).sum(axis=0)))


def test_limits_worked_out_by_hand():
    """Differences 1, 2, 3, 6: mean 3, squares about it 4 + 1 + 0 + 9, deviation sqrt(14 / 3)."""
    sums = agreement.difference_columns(np.array([1.0, 2, 3, 6])).sum(axis=0)
    assert agreement.deviation(sums) == pytest.approx((14 / 3) ** 0.5)
    assert agreement.limit(-1)(sums) == pytest.approx(3 - 1.96 * (14 / 3) ** 0.5)
    assert agreement.limit(+1)(sums) == pytest.approx(3 + 1.96 * (14 / 3) ** 0.5)


def test_a_two_by_two_table_worked_out_by_hand():
    """20 both, 5 first only, 10 second only, 15 neither of 50 (the textbook example of kappa = 0.4)."""
    first = np.repeat([130, 130, 100, 100], [20, 5, 10, 15])
    second = np.repeat([130, 100, 130, 100], [20, 5, 10, 15])
    sums = agreement.table_columns(first, second, 120).sum(axis=0)
    assert sums.tolist() == [20, 5, 10, 15]
    assert agreement.accuracy(sums) == pytest.approx(0.7)
    assert agreement.sensitivity(sums) == pytest.approx(20 / 30)
    assert agreement.specificity(sums) == pytest.approx(15 / 20)
    assert agreement.kappa(sums) == pytest.approx(0.4)


def test_the_threshold_itself_is_above_and_one_sided_tables_are_undefined():
    assert agreement.table_columns(np.array([120.0]), np.array([119.999]), 120).tolist() == [[0, 1, 0, 0]]
    everything = np.array([7.0, 0, 0, 0])
    with np.errstate(invalid="ignore", divide="ignore"):
        assert np.isnan(agreement.specificity(everything))
        assert np.isnan(agreement.kappa(everything))

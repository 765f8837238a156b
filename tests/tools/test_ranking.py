"""Rank correlation and risk over coverage, against hand-made cases and a slow reference."""

import numpy as np
import pytest

from lib.ranking import ranks, risk_coverage, spearman, spearman_over_groups


def test_ranks_share_ties():
    np.testing.assert_array_equal(ranks(np.array([10, 20, 10, 5])), [2.5, 4, 2.5, 1])


def test_spearman_by_hand():
    assert spearman(np.array([1, 2, 3]), np.array([1, 10, 100])) == pytest.approx(1)
    assert spearman(np.array([1, 2, 3]), np.array([3, 2, 1])) == pytest.approx(-1)
    # Without ties: 1 - 6 sum(d^2) / (n (n^2 - 1)) with d = 1, -1, 1, -1.
    assert spearman(np.array([1, 2, 3, 4]), np.array([2, 1, 4, 3])) == pytest.approx(1 - 6 * 4 / 60)
    assert np.isnan(spearman(np.ones(4), np.arange(4)))


def test_interval_knows_that_copies_of_a_frame_say_nothing_new():
    rng = np.random.default_rng(0)
    x = rng.normal(size=60)
    y = x + rng.normal(size=60) * 2
    alone = spearman_over_groups(x, y, np.arange(60))
    copied = spearman_over_groups(np.tile(x, 4), np.tile(y, 4), np.tile(np.arange(60), 4))
    assert copied.value == pytest.approx(alone.value)
    assert alone.interval is not None
    assert alone.interval[0] < alone.value < alone.interval[1]
    np.testing.assert_allclose(copied.interval, alone.interval, atol=0.01)
    assert spearman_over_groups(x[:10], y[:10], np.arange(10)).interval is None


def test_risk_over_coverage_by_hand():
    curve = risk_coverage(np.array([0.1, 0.9, 0.5, 0.7]), np.array([8.0, 1, 3, 2]))
    np.testing.assert_allclose(curve.coverage, [0.25, 0.5, 0.75, 1])
    np.testing.assert_allclose(curve.risk, [1, 1.5, 2, 3.5])
    assert curve.area == pytest.approx(2)
    assert (curve.at(0.5), curve.at(0.51), curve.at(1)) == (1.5, 2, 3.5)


def test_equal_confidences_have_no_order():
    errors = np.array([4.0, 0, 2])
    np.testing.assert_allclose(risk_coverage(np.ones(3), errors).risk, [2, 2, 2])
    assert risk_coverage(np.ones(3), errors[::-1]).area == risk_coverage(np.ones(3), errors).area

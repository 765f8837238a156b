"""Slopes, their test, and the smooth line, against slow references and by simulation."""

import numpy as np
import pytest

from aop_pose.stats.agreement import slope, slope_columns, slope_test, smooth, smooth_band


def test_the_slope_is_that_of_least_squares():
    rng = np.random.default_rng(0)
    x, y = rng.normal(100, 20, 50), rng.normal(0, 5, 50)
    assert slope(slope_columns(x, y).sum(axis=0)) == pytest.approx(np.polyfit(x, y, 1)[0])
    assert np.isnan(slope(slope_columns(np.full(5, 100.3), np.arange(5.0)).sum(axis=0)))


def test_the_test_holds_its_level_and_finds_a_slope():
    rng = np.random.default_rng(1)
    groups = np.repeat(np.arange(40), 2)
    values = []
    for _ in range(200):
        x = np.repeat(rng.normal(0, 1, 40), 2) + rng.normal(0, 0.3, 80)
        y = np.repeat(rng.normal(0, 1, 40), 2) + rng.normal(0, 0.5, 80)
        values.append(slope_test(x, y, groups))
    assert 0.01 <= np.mean(np.array(values) < 0.05) <= 0.1
    assert slope_test(x, y + 2 * x, groups) < 0.001
    assert np.isnan(slope_test(x, np.ones(80), groups))


def test_the_smooth_line_is_that_of_a_slow_reference():
    rng = np.random.default_rng(2)
    x, y = np.sort(rng.uniform(0, 10, 40)), rng.normal(0, 1, 40)
    at = np.array([1.0, 5.0, 9.5])
    for place, value in zip(at, smooth(x, y, at), strict=True):
        away = np.abs(x - place)
        weights = np.clip(1 - (away / (np.sort(away)[29] * 1.0001 + 1e-12)) ** 3, 0, None) ** 3
        line = np.polynomial.polynomial.polyfit(x, y, 1, w=np.sqrt(weights))
        assert value == pytest.approx(np.polynomial.polynomial.polyval(place, line))


def test_a_straight_line_stays_one_and_few_images_have_none():
    x = np.linspace(0, 10, 80)
    line, low, high = smooth_band(x, 2 * x + 1, np.array([0.0, 4.0, 10.0]), np.arange(80))
    assert line == pytest.approx([1, 9, 21])
    assert low == pytest.approx(line)
    assert high == pytest.approx(line)
    assert smooth_band(x[:59], x[:59], x[:3], np.arange(59)) is None
    assert smooth_band(x, x, x[:3], np.arange(80) // 4) is None

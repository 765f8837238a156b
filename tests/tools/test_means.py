"""The mean over frames with its interval over groups."""

import numpy as np
import pytest

from lib.means import group_bootstrap


def test_the_estimate_is_the_plain_mean():
    assert group_bootstrap(np.array([1.0, 2, 6]), np.array([0, 0, 1])).value == 3


def test_one_frame_a_group_gives_the_textbook_interval():
    """Mean of n normal draws: half-width 1.96 s / sqrt(n)."""
    values = np.random.default_rng(1).normal(5, 2, 400)
    interval = group_bootstrap(values, np.arange(400))
    half = 1.96 * values.std() / 20
    assert interval.low == pytest.approx(values.mean() - half, abs=0.03)
    assert interval.high == pytest.approx(values.mean() + half, abs=0.03)


def test_copies_of_a_frame_do_not_narrow_the_interval():
    values = np.random.default_rng(2).normal(0, 1, 50)
    once = group_bootstrap(values, np.arange(50))
    tenfold = group_bootstrap(np.repeat(values, 10), np.repeat(np.arange(50), 10))
    assert (tenfold.low, tenfold.high) == pytest.approx((once.low, once.high))
    fooled = group_bootstrap(np.repeat(values, 10), np.arange(500))
    assert fooled.high - fooled.low < 0.5 * (once.high - once.low)


@pytest.mark.parametrize("values", [[], [1.0, np.nan], [1.0]])
def test_what_cannot_be_drawn_from_is_refused(values):
    with pytest.raises(ValueError, match="expected"):
        group_bootstrap(np.array(values), np.zeros(2 if len(values) != 0 else 0))

"""Sizes of studies: by hand, against tables of others, and by simulation."""

import numpy as np
import pytest

from aop_pose.errors import UsageError
from aop_pose.stats.planning import exact_half_width, plan


def test_the_published_formula_by_hand():
    """3 (1.96 x 7.4 / 2)² = 157.8."""
    found = plan(7.4, 2)
    assert (found.published, found.exact) == (158, 158)
    assert found.simulated == pytest.approx(156, abs=4)
    assert found.narrow_enough == pytest.approx(0.5, abs=0.05)
    assert found.nearly_sure > found.exact


def test_the_exact_interval_is_that_of_the_noncentral_t_distribution():
    """SciPy 1.17.1: (nct.ppf(.975, 99, 19.6) - nct.ppf(.025, 99, 19.6)) / 20."""
    assert exact_half_width(100) == pytest.approx(0.3414079458887908, rel=1e-8)
    assert exact_half_width(30) == pytest.approx(0.6531299478910925, rel=1e-8)


def test_the_exact_interval_holds_the_limit():
    rng = np.random.default_rng(0)
    half = exact_half_width(30)
    # Carkeet's ends for 30: 1.45038 and 2.75664 standard deviations from the mean.
    studies = rng.normal(0, 1, (20000, 30))
    means, spreads = studies.mean(axis=1), studies.std(axis=1, ddof=1)
    held = (means + 1.4503765758937877 * spreads <= 1.96) & (means + 2.756636471675873 * spreads >= 1.96)
    assert held.mean() == pytest.approx(0.95, abs=0.006)
    assert half == pytest.approx((2.756636471675873 - 1.4503765758937877) / 2)


@pytest.mark.parametrize(("sd", "half"), [(0, 1), (5, -1), (float("nan"), 1), (5, 30), (5, 1e-3)])
def test_what_is_no_plan_is_refused(sd, half):
    with pytest.raises(UsageError, match=r"--(sd|half-width): expected"):
        plan(sd, half)

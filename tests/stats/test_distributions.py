"""Quantiles against those of SciPy 1.17.1, recorded, and where it is installed against more of them."""

from importlib.util import find_spec
from itertools import product

import pytest

from aop_pose.stats.distributions import (
    beta_cdf,
    beta_quantile,
    noncentral_t_quantile,
    normal_quantile,
    root,
    t_quantile,
)


def test_recorded_values():
    assert beta_cdf(0.3, 2.5, 7) == pytest.approx(0.6412224629717214, rel=1e-11)
    assert beta_quantile(0.025, 12, 1) == pytest.approx(0.025 ** (1 / 12), rel=1e-11)
    assert t_quantile(0.975, 19) == pytest.approx(2.0930240544082634, rel=1e-11)
    assert t_quantile(0.025, 2.5) == -t_quantile(0.975, 2.5)
    assert normal_quantile(0.975) == pytest.approx(1.959963984540054, rel=1e-14)
    assert noncentral_t_quantile(0.975, 19, 8.765386471799175) == pytest.approx(13.479256800734277, rel=1e-9)


@pytest.mark.skipif(find_spec("scipy") is None, reason="SciPy is not installed")
@pytest.mark.filterwarnings("ignore")
def test_against_scipy():
    from scipy import stats

    for a, b, share in product((0.5, 1, 20.5, 3000), (0.5, 1, 20.5, 3000), (0.001, 0.025, 0.5, 0.975)):
        assert beta_quantile(share, a, b) == pytest.approx(stats.beta.ppf(share, a, b), rel=1e-9)
    for freedom, share in product((1, 2, 19, 1e5), (0.6, 0.975, 0.9995)):
        assert t_quantile(share, freedom) == pytest.approx(stats.t.ppf(share, freedom), rel=1e-9)
    for freedom, share in product((9, 50, 400), (0.025, 0.975)):
        shift = 1.96 * (freedom + 1) ** 0.5
        assert noncentral_t_quantile(share, freedom, shift) == pytest.approx(
            stats.nct.ppf(share, freedom, shift), rel=1e-8
        )


def test_the_ends_of_the_beta_distribution():
    assert (beta_cdf(0, 2, 3), beta_cdf(1, 2, 3), beta_cdf(-1, 2, 3), beta_cdf(2, 2, 3)) == (0, 1, 0, 1)
    assert beta_cdf(0.4, 1, 1) == pytest.approx(0.4)


def test_a_root_is_found_where_the_function_is_flat():
    assert root(lambda x: x**9 - 1e-18, 0, 1) == pytest.approx(0.01, rel=1e-9)

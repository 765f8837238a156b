"""The quantile of split conformal prediction, worked out by hand; the shares that can be asked for."""

import numpy as np
import pytest

from aop_pose.errors import UsageError
from aop_pose.trust.intervals import check_coverage, weighted_quantile


def test_one_frame_a_group_is_the_textbook_rule():
    """19 scores 1..19 at 90 %: the ceil(0.9 * 20) = 18th smallest; at 95 % the 19th; beyond it nothing is known."""
    scores, weights = np.arange(19.0, 0.0, -1.0), np.ones(19)
    assert weighted_quantile(scores, weights, 0.9) == 18
    assert weighted_quantile(scores, weights, 0.95) == 19
    assert weighted_quantile(scores, weights, 0.96) == np.inf


@pytest.mark.parametrize(("coverage", "groups"), [(0.0, None), (1.0, None), (float("nan"), None), (0.96, 19)])
def test_a_share_that_cannot_be_promised_is_refused(coverage, groups):
    check_coverage(0.95, 19)
    with pytest.raises(UsageError, match="--coverage: expected"):
        check_coverage(coverage, groups)

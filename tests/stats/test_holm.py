"""Holm's correction against numbers worked out by hand."""

import numpy as np
import pytest

from aop_pose.stats.agreement import holm


def test_worked_out_by_hand():
    """Sorted .005 .01 .03 .04 times 4 3 2 1 = .02 .03 .06 .04; the last must not fall below the one before."""
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


def test_nothing_exceeds_one_and_one_test_is_left_alone():
    assert holm([0.5, 0.6, 0.02]) == pytest.approx([1, 1, 0.06])
    assert holm([0.03]) == [0.03]
    assert holm([]) == []


def test_rejects_what_the_step_down_procedure_rejects():
    rng = np.random.default_rng(0)
    for _ in range(50):
        p = rng.uniform(0, 0.1, 6)
        rejected = np.zeros(6, bool)
        for step, place in enumerate(np.argsort(p)):
            if p[place] > 0.05 / (6 - step):
                break
            rejected[place] = True
        assert (np.array(holm(p)) <= 0.05).tolist() == rejected.tolist()


def test_a_value_that_is_no_probability_is_an_error():
    with pytest.raises(ValueError, match=r"in \[0, 1\]"):
        holm([0.5, np.nan])

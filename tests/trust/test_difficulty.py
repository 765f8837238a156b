"""What an interval may be scaled with: hand-worked numbers, and where each is defined."""

import numpy as np
import pytest

from aop_pose.geometry import aop_sensitivity
from aop_pose.trust.intervals import DIFFICULTIES
from aop_pose.trust.passes import Passes
from tests.fakes import prediction

POINTS = np.array([[0.5, 0.2], [0.3, 0.3], [0.6, 0.4]])


def test_each_difficulty_by_hand():
    case = Passes(
        prediction(POINTS, 0.8, np.array([0.02, 0.03, 0.07])), prediction(POINTS + np.array([0.03, 0.04]), 0.8), side=1
    )
    values = {name: difficulty(case) for name, difficulty in DIFFICULTIES.items()}
    assert values["plain"] == 1
    assert values["score"] == pytest.approx(0.25)
    assert values["looks"] == pytest.approx(0.06)
    assert values["spread"] == pytest.approx(0.05)
    assert values["geometry-spread"] == pytest.approx(0.05 * values["geometry"])
    assert values["geometry-looks"] == pytest.approx(0.06 * values["geometry"])
    sides = aop_sensitivity(*POINTS)
    widths = np.array([0.03, 0.04, 0.08])
    assert values["propagated-spread"] == pytest.approx(np.sqrt((sides**2 * widths**2 / 2).sum()))
    assert np.isnan(values["field"])


def test_a_difficulty_that_a_head_cannot_give_is_no_number():
    assert np.isnan(DIFFICULTIES["spread"](Passes(prediction(POINTS, 0.8), None, side=1)))

"""Intervals as an artefact stores them."""

import numpy as np
import pytest
from pydantic import ValidationError

from aop_pose.core.results import Measurement
from aop_pose.errors import UsageError
from aop_pose.trust.intervals import Calibration
from aop_pose.trust.passes import Passes
from tests.fakes import prediction

CASE = Passes(prediction(np.array([[0.5, 0.2], [0.3, 0.3], [0.6, 0.4]]), 0.8), None, side=1)


def calibration(quantity="aop_deg", **changes):
    scores = {"difficulty": "plain", "relative": False, "scores": [float(i) for i in range(1, 40)], "weights": [1] * 39}
    quantities = {quantity: {**scores, **changes}}
    return Calibration.model_validate({"data": "x", "frames": 39, "groups": 39, "quantities": quantities})


def interval(made, coverage, name, value, unit):
    return made.at(coverage).add_to({name: Measurement(name, value, unit)}, CASE)[name].interval


def test_the_radius_is_the_quantile_and_stays_above_zero():
    """39 scores at 90 %: the 36th; at 80 % the 32nd."""
    assert interval(calibration(), 0.9, "aop_deg", 100.0, "deg") == (64, 136)
    assert interval(calibration(), 0.8, "aop_deg", 100.0, "deg") == (68, 132)
    assert interval(calibration(), 0.9, "aop_deg", 20.0, "deg") == (0, 56)


def test_an_interval_goes_on_beyond_180_degrees_and_lies_about_the_turn_of_a_very_low_head():
    assert interval(calibration(), 0.9, "aop_deg", 170.0, "deg") == (134, 206)
    low = Passes(prediction(np.array([[0.5, 0.2], [0.3, 0.2], [0.6, 0.15]]), 0.8), None, side=1)
    made = {"aop_deg": Measurement("aop_deg", 170.0, "deg")}
    assert calibration().at(0.9).add_to(made, low)["aop_deg"].interval == (154, 226)


def test_a_difficulty_scales_the_radius():
    assert interval(calibration(difficulty="score"), 0.9, "aop_deg", 100.0, "deg") == pytest.approx((91, 109))


def test_lengths_are_relative_so_that_pixels_and_millimetres_share_a_calibration():
    made = calibration("hc", relative=True, scores=[i / 1000 for i in range(1, 40)])
    assert interval(made, 0.9, "hc_px", 1000.0, "px") == pytest.approx((964, 1036))
    assert interval(made, 0.9, "hc_mm", 100.0, "mm") == pytest.approx((96.4, 103.6))
    assert interval(made, 0.9, "bpd_mm", 100.0, "mm") is None


@pytest.mark.parametrize("coverage", [0.0, 1.0, 0.99, float("nan")])
def test_a_coverage_that_cannot_be_promised_is_refused(coverage):
    with pytest.raises(UsageError, match="--coverage"):
        calibration().at(coverage)


@pytest.mark.parametrize("changes", [{"difficulty": "none"}, {"weights": [1]}, {"colour": 1}])
def test_a_damaged_calibration_is_refused(changes):
    with pytest.raises(ValidationError):
        calibration(**changes)

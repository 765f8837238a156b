"""Intervals as an artefact stores them."""

import numpy as np
import pytest
from pydantic import ValidationError

from aop_pose.core.results import Measurement
from aop_pose.errors import UsageError
from aop_pose.trust.intervals import HARDER, Calibration
from aop_pose.trust.passes import Passes
from tests.fakes import prediction

POINTS = np.array([[0.5, 0.2], [0.3, 0.3], [0.6, 0.4]])
CASE = Passes(prediction(POINTS, 0.8), None, side=1)


def scores(**changes):
    return {"difficulty": "plain", "scores": [float(i) for i in range(1, 40)], "weights": [1] * 39, **changes}


def calibration(quantity="aop_deg", **changes):
    quantities = {quantity: scores(**changes)}
    return Calibration.model_validate({"data": "x", "frames": 39, "groups": 39, "quantities": quantities})


def interval(made, coverage, name, value, unit, case=CASE, looks=1):
    return made.at(coverage, looks).add_to({name: Measurement(name, value, unit)}, case)[name].interval


def test_the_radius_is_the_quantile_and_stays_above_zero():
    """39 scores at 90 %: the 36th; at 80 % the 32nd."""
    assert interval(calibration(), 0.9, "aop_deg", 100.0, "deg") == (64, 136)
    assert interval(calibration(), 0.8, "aop_deg", 100.0, "deg") == (68, 132)
    assert interval(calibration(), 0.9, "aop_deg", 20.0, "deg") == (0, 56)


def test_an_interval_goes_on_beyond_180_degrees_and_lies_about_the_turn_of_a_very_low_head():
    assert interval(calibration(), 0.9, "aop_deg", 170.0, "deg") == (134, 206)
    low = Passes(prediction(np.array([[0.5, 0.2], [0.3, 0.2], [0.6, 0.15]]), 0.8), None, side=1)
    assert interval(calibration(), 0.9, "aop_deg", 170.0, "deg", low) == (154, 226)


def test_an_interval_never_says_more_than_there_can_be():
    wide = calibration(scores=[float(10 * i) for i in range(1, 40)])
    assert interval(wide, 0.9, "aop_deg", 100.0, "deg") == (0, 360)


def test_a_difficulty_scales_the_radius():
    assert interval(calibration(difficulty="score"), 0.9, "aop_deg", 100.0, "deg") == pytest.approx((91, 109))


def test_an_easy_frame_keeps_the_floor_and_a_hard_one_stops_at_the_ceiling_and_says_so():
    """Difficulty is 1.05 - score; the radius is 36 of it, between 0.2 and 0.5."""
    made = calibration(difficulty="score", easiest=0.2, hardest=0.5)
    angle = {"aop_deg": Measurement("aop_deg", 100.0, "deg")}
    for score, radius, doubt in ((0.95, 7.2, ""), (0.75, 10.8, ""), (0.35, 18, HARDER)):
        case = Passes(prediction(POINTS, score), None, side=1)
        assert interval(made, 0.9, "aop_deg", 100.0, "deg", case) == pytest.approx((100 - radius, 100 + radius))
        assert made.at(0.9).doubt(angle, case) == doubt
    assert made.at(0.9).doubt({}, case) == ""


def test_a_frame_without_the_difficulty_has_no_interval():
    assert interval(calibration(difficulty="spread", easiest=0.2, hardest=0.5), 0.9, "aop_deg", 100.0, "deg") is None


def test_millimetres_are_absolute_and_pixels_shares_of_the_longer_side():
    in_mm = calibration("hc_mm")
    assert interval(in_mm, 0.9, "hc_mm", 180.0, "mm") == (144, 216)
    assert interval(in_mm, 0.9, "hc_mm", 90.0, "mm") == (54, 126)
    in_px = calibration("hc_px", share_of="side", scores=[i / 1000 for i in range(1, 40)])
    assert interval(in_px, 0.9, "hc_px", 300.0, "px", Passes(CASE.first, None, side=500)) == pytest.approx((282, 318))


def test_a_length_has_one_interval_in_both_units():
    """Half a millimetre a pixel: 36 mm are 72 pixels, whatever was calibrated on pixels."""
    quantities = {"hc_mm": scores(), "hc_px": scores(share_of="side")}
    made = Calibration.model_validate({"data": "x", "frames": 39, "groups": 39, "quantities": quantities})
    both = {"hc_px": Measurement("hc_px", 300.0, "px"), "hc_mm": Measurement("hc_mm", 150.0, "mm")}
    found = made.at(0.9).add_to(both, CASE)
    assert found["hc_mm"].interval == (114, 186)
    assert found["hc_px"].interval == pytest.approx((228, 372))
    assert made.at(0.9).add_to({"hc_px": both["hc_px"]}, CASE)["hc_px"].interval == (264, 336)


def test_the_field_of_view_widens_an_interval_by_its_root():
    made = calibration("hc_mm", difficulty="field")
    assert interval(made, 0.9, "hc_mm", 180.0, "mm", Passes(CASE.first, None, 1, field=400.0)) == (108, 252)
    assert interval(made, 0.9, "hc_mm", 180.0, "mm") is None


def test_an_artefact_of_the_former_calibration_gives_what_it_gave():
    """Stored as shares of a length or not, under a name that pixels and millimetres share, with one radius for all."""
    made = calibration("hc", relative=True, scores=[i / 1000 for i in range(1, 40)])
    made = made.model_validate({**made.model_dump(), "method": "split-conformal over groups"})
    assert interval(made, 0.9, "hc_px", 1000.0, "px") == pytest.approx((964, 1036))
    assert interval(made, 0.9, "hc_mm", 100.0, "mm") == pytest.approx((96.4, 103.6))
    assert interval(made, 0.9, "bpd_mm", 100.0, "mm") is None
    assert interval(calibration(relative=False), 0.9, "aop_deg", 100.0, "deg") == (64, 136)


def test_intervals_hold_for_as_many_looks_as_they_are_calibrated_for():
    several = {"data": "x", "frames": 39, "groups": 39, "quantities": {"aop_deg": scores()}}
    of_looks = {8: {"aop_deg": scores(scores=[i / 2 for i in range(1, 40)])}}
    made = Calibration.model_validate({**several, "of_looks": of_looks})
    made = Calibration.model_validate_json(made.model_dump_json())
    assert interval(made, 0.9, "aop_deg", 100.0, "deg", looks=8) == (82, 118)
    assert interval(made, 0.9, "aop_deg", 100.0, "deg") == (64, 136)
    assert made.looks == (1, 8)
    assert set(made.facts) == {"method", "data", "frames", "groups", "aop_deg", "8 looks"}
    with pytest.raises(UsageError, match="--looks: expected 1 or 8, which the intervals are calibrated for, found 4"):
        made.at(0.9, 4)


@pytest.mark.parametrize("coverage", [0.0, 1.0, 0.99, float("nan")])
def test_a_coverage_that_cannot_be_promised_is_refused(coverage):
    with pytest.raises(UsageError, match="--coverage"):
        calibration().at(coverage)


def test_twenty_groups_cannot_say_a_thousandth():
    twenty = calibration(scores=list(range(1, 41)), weights=[0.5] * 40)
    assert twenty.at(0.95).radii == {"aop_deg": 40}
    with pytest.raises(
        UsageError, match=r"at most 0\.952, which is what 20 groups of calibration can say, found 0\.999"
    ):
        twenty.at(0.999)


@pytest.mark.parametrize(
    "changes",
    [
        {"difficulty": "none"},
        {"weights": [1]},
        {"colour": 1},
        {"scores": [float(-i) for i in range(39)]},
        {"scores": [float(39 - i) for i in range(39)]},
        {"scores": [float("nan")] * 39},
        {"weights": [-1] * 39},
        {"easiest": 2.0, "hardest": 1.0},
        {"share_of": "head"},
    ],
)
def test_a_damaged_calibration_is_refused(changes):
    with pytest.raises(ValidationError):
        calibration(**changes)

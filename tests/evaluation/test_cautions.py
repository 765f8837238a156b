"""What is said before any figure."""

import numpy as np
import pytest

from aop_pose.core.schemas import HEAD
from aop_pose.evaluation.comparison import Comparison
from aop_pose.evaluation.grouping import every_frame_alone
from aop_pose.evaluation.report.cautions import cautions, inside
from aop_pose.evaluation.rows import Millimetres
from tests.evaluation.comparisons import comparison, comparison_of_angles, matched_of, reading


def test_few_predicted_frames_are_said_first():
    points = reading(np.linspace(90, 120, 10))
    for measured, words in ((4, "Only 4 of 10 true frames (40%)"), (0, "None of the 10 true frames"), (5, "")):
        predicted = points.copy()
        predicted[measured:] = np.nan
        compared = Comparison.of(matched_of(predicted, points, np.full((10, 2), 256.0)), every_frame_alone(10))
        first = [*cautions(compared), ""][0]
        assert first.startswith(words) if words else "true frames" not in first


@pytest.mark.parametrize(
    ("found", "true", "words"),
    [
        ([99, 104, 98], [100, 100, 100], "The true AoP is 100.0° in every image"),
        ([100, 100, 100], [99, 104, 98], "The measured AoP is 100.0° in every image"),
        ([190, 190, 190], [189, 191, 188], "The measured AoP is 170.0° in every image"),
        ([103, 113, 93], [100, 110, 90], "Every error of AoP is the same (+3.0°)"),
        ([100, 110, 90], [100, 110, 90], "Every error of AoP is 0"),
    ],
)
def test_numbers_that_are_all_alike_are_said(found, true, words):
    assert words in " ".join(cautions(comparison_of_angles(found, true)))


def test_intervals_that_do_not_hold_are_said_in_counts():
    (said,) = cautions(comparison(n=300, half_width=5.0, shuffled=True))
    assert said.startswith("Stated intervals hold too rarely, fewer than the 90 % that calibration aims at")
    assert "True value inside: AoP " in said
    assert "of 300" in said
    assert cautions(comparison(n=300, half_width=5.0, shuffled=True, second_is_a_result=True)) == []


def test_intervals_of_few_frames_are_judged_too():
    """9 of 30 hold, of which no interval is given: 0.3 of 30 is far from 0.9."""
    true = np.linspace(90, 120, 30)
    ends = np.column_stack([true - 5, true + 5])
    ends[9:] += 20
    (said,) = cautions(comparison_of_angles(true + np.tile([1, -2, 0.5], 10), true, ends))
    assert said.endswith("True value inside: AoP 9 of 30 (30 %).")


def test_the_count_is_over_stated_intervals():
    compared = comparison_of_angles([100, 110, 90], [101, 130, 90], [[99, 102], [105, 115], [np.nan, np.nan]])
    assert inside(compared, "aop") == "1 of 2"
    assert inside(compared, "hsd") == ""


@pytest.mark.parametrize(("times", "said"), [(0.26, True), (2.0, True), (1.3, False), (1.0, False)])
def test_a_truth_in_another_unit_is_said(times, said):
    points = reading(np.linspace(90, 120, 10))
    predicted = points.copy()
    predicted[0] = np.nan
    matched = matched_of(predicted, points * times, np.full((10, 2), 256.0))
    found = " ".join(cautions(Comparison.of(matched, every_frame_alone(10))))
    assert (f"{times:.2g} times as far apart" in found) == said


def test_an_expert_in_centimetres_is_said():
    points = np.array([[[10.0, 50], [90, 50], [50, 20], [50, 80]]] * 3)
    hc = np.pi * (80 + 60) / 2 * 0.5
    for stated, said in ((hc / 10, True), (hc * 1.05, False)):
        expert = Millimetres(np.full(3, 0.5), {key: np.full(3, stated) for key in ("hc_mm", "hc_ramanujan_mm")})
        matched = matched_of(points + 0.1, points, np.full((3, 2), 100.0), HEAD, millimetres=expert)
        found = " ".join(cautions(Comparison.of(matched, every_frame_alone(3))))
        assert ("The expert's circumference is 0.1 times" in found) == said


def test_equal_errors_are_equal_in_tables_of_three_decimals():
    """5 degrees each, off by what rounding the points makes of it: said, and no interval about a spread of rounding."""
    true, off = np.linspace(90, 120, 40), np.random.default_rng(0).uniform(-0.003, 0.003, 40)
    compared = comparison_of_angles(true + 5 + off, true)
    assert "Every error of AoP is the same (+5.0°)" in " ".join(cautions(compared))
    for name in ("aop_mae_deg", "aop_median_deg", "aop_bias_deg"):
        assert compared.estimates[name].interval is None
        assert compared.estimates[name].withheld == "all values are equal but for the rounding of tables"
    assert "Every error of AoP is 0" in " ".join(cautions(comparison_of_angles(true + off, true)))

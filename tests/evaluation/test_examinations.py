"""Frames of one patient taken together, against numbers worked out by hand and a slow reference."""

import attrs
import numpy as np
import pytest

from aop_pose.evaluation.comparison import Comparison
from aop_pose.evaluation.grouping import REPEATABILITY, Grouping
from tests.evaluation.comparisons import comparison_of_angles, matched_of, reading


def by_patient(found, true, patients, **settings):
    compared = comparison_of_angles(found, true)
    ids = np.array(list(patients))
    grouping = Grouping(ids, "frames with the same patient", examinations=ids)
    matched = attrs.evolve(compared.matched, **settings)
    return Comparison.of(matched, grouping)


def test_means_and_repeatability_worked_out_by_hand():
    compared = by_patient([100, 104, 120, 130], [101, 101, 119, 121], "aabb")
    found = compared.figures["examinations"]
    assert (found["n"], found["n_repeated"], found["most_images"]) == (2, 2, 2)
    # Means 102 and 125 against 101 and 120.
    assert (found["aop_mae_deg"], found["aop_bias_deg"]) == pytest.approx((3, 3), abs=1e-6)
    assert found["aop_sd_deg"] == pytest.approx(np.sqrt(8), abs=1e-6)
    # Squares about the means: 8 and 50 of the results, 0 and 2 of the reference, one free deviation each.
    assert found["aop_within_sd_deg"] == pytest.approx(np.sqrt(29), abs=1e-6)
    assert found["aop_reference_within_sd_deg"] == pytest.approx(1, abs=1e-6)
    assert found["aop_repeatability_deg"] == pytest.approx(REPEATABILITY * np.sqrt(29), abs=1e-6)
    assert pytest.approx(2.7719, abs=1e-4) == REPEATABILITY


def test_a_missing_frame_is_in_no_mean_and_a_lone_one_in_no_spread():
    points = reading([100, 104, 120, 90])
    points[1] = np.nan
    matched = matched_of(points, reading([100, 100, 110, 100]), np.full((4, 2), 256.0))
    ids = np.array([0, 0, 1, 1])
    found = Comparison.of(matched, Grouping(ids, "g", examinations=ids)).figures["examinations"]
    assert (found["n"], found["n_repeated"]) == (2, 1)
    assert found["aop_within_sd_deg"] == pytest.approx(np.std([120, 90], ddof=1), abs=1e-6)
    assert found["aop_bias_deg"] == pytest.approx(0, abs=1e-6)


def test_figures_are_those_of_a_slow_reference_and_have_intervals():
    rng = np.random.default_rng(0)
    patients = rng.integers(0, 130, 450)
    true = rng.uniform(80, 150, 130)[patients] + rng.normal(0, 2, 450)
    found = true + rng.normal(1, 4, 450)
    figures = by_patient(found, true, patients).figures["examinations"]
    each = [patients == one for one in np.unique(patients)]
    apart = [found[one].mean() - true[one].mean() for one in each]
    assert figures["aop_mae_deg"] == pytest.approx(np.mean(np.abs(apart)), abs=1e-5)
    assert figures["aop_loa_high_deg"] == pytest.approx(np.mean(apart) + 1.96 * np.std(apart, ddof=1), abs=1e-5)
    squares = sum(((found[one] - found[one].mean()) ** 2).sum() for one in each)
    assert figures["aop_within_sd_deg"] == pytest.approx(np.sqrt(squares / (450 - len(each))), abs=1e-5)
    low, high = figures["aop_within_sd_deg_ci"]
    assert low < figures["aop_within_sd_deg"] < high


def test_examinations_are_those_that_were_named_where_a_group_holds_several():
    ids = np.array([0, 0, 1, 1])
    matched = comparison_of_angles([100, 104, 120, 130], [101, 101, 119, 121]).matched
    found = Comparison.of(matched, Grouping(np.zeros(4, int), "alike", examinations=ids)).figures["examinations"]
    assert (found["n"], found["aop_within_sd_deg"]) == (2, pytest.approx(np.sqrt(29), abs=1e-6))


def test_groups_that_nobody_named_are_no_examinations():
    assert comparison_of_angles([100, 104], [100, 100]).examinations is None
    assert by_patient([100, 104], [100, 100], "ab").examinations is None

"""Errors in volumes against numbers worked out by hand and against slow, obviously right references."""

import itertools

import attrs
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aop_pose.core.schemas import FETAL_FACE, FETUS
from aop_pose.evaluation.comparison import Comparison
from aop_pose.evaluation.errors import (
    PCK_LIMIT_MM,
    area_shares,
    each_pair,
    each_side,
    pck_curve,
    volume_diagonals,
    volume_errors,
    whole_body,
)
from aop_pose.evaluation.figures import confusions, swapped
from aop_pose.evaluation.grouping import Grouping
from aop_pose.evaluation.match import Matched
from aop_pose.evaluation.report.files import per_frame
from tests.evaluation.comparisons import comparison_of_angles
from tests.fakes import SIDED_FACE

FACE = np.array([[[0.0, 0, 0], [30, 0, 0], [30, 40, 0]]])
"""Brain, left eye and right eye of one volume; the eyes are 40 mm apart."""
DIAGONAL = np.array([500.0])
EXCHANGED = [0, 2, 1]


def poses(count, seed=0, noise=0.0):
    """Spread-out points of the 22, and the same with noise."""
    rng = np.random.default_rng(seed)
    truth = rng.uniform(0, 100, (count, 22, 3))
    return truth + rng.normal(0, noise, truth.shape), truth


def figures(predicted, truth, schema=FETUS, diagonals=None, groups=None):
    diagonals = np.full(len(truth), 500.0) if diagonals is None else diagonals
    groups = np.arange(len(truth)) if groups is None else groups
    names = tuple(f"{number}.mha" for number in range(len(truth)))
    matched = Matched(schema, names, ("ok",) * len(truth), predicted, truth, np.full(truth.shape[::2], 9), diagonals)
    return Comparison.of(matched, Grouping(groups, "made-up groups")).figures


def exchanged_order(units):
    order = list(range(22))
    for left, right in units:
        for one, other in zip(left, right, strict=True):
            order[one], order[other] = other, one
    return order


def test_one_volume_by_hand():
    # Brain off by (2, 3, 6) = 7 mm, left eye by 0, right eye by 20 along y: the eyes are 60 mm apart instead of 40.
    predicted = FACE + np.array([[[2.0, 3, 6], [0, 0, 0], [0, 20, 0]]])
    found = figures(predicted, FACE, SIDED_FACE)
    assert (found["mre_mm"], found["mre_mm_brain"], found["mre_mm_left_eye"], found["mre_mm_right_eye"]) == (
        9,
        7,
        0,
        20,
    )
    assert (found["pck_5_mm"], found["pck_10_mm"]) == (pytest.approx(1 / 3, abs=1e-6), pytest.approx(2 / 3, abs=1e-6))
    # A point exactly 20 mm away is within 20 mm, and adds nothing to the area below them.
    assert (found["pck_20_mm"], found["pck_auc"]) == (1, pytest.approx((13 / 20 + 1 + 0) / 3, abs=1e-6))
    assert (found["eye_distance_mae_mm"], found["eye_distance_bias_mm"]) == (20, 20)
    # Exchanged, the left eye would be 60 mm away and the right one 40.
    assert (found["mre_mm_swap"], found["lr_confusion"]) == (9, 0)
    assert (found["n"], found["n_missing"], found["n_points"], found["n_points_missing"]) == (1, 0, 3, 0)


def test_exchanged_eyes_are_confused_and_scored_up_to_the_swap():
    found = figures(FACE[:, EXCHANGED], FACE, SIDED_FACE)
    assert (found["lr_confusion"], found["mre_mm"], found["mre_mm_swap"]) == (1, pytest.approx(80 / 3, abs=1e-6), 0)
    assert (found["mre_mm_swap_left_eye"], found["pck_auc_swap"], found["eye_distance_mae_mm"]) == (0, 1, 0)
    # One pair: side by side and pair by pair would say the same again.
    assert "mre_mm_swap_sides" not in found


def test_eyes_that_are_not_told_apart_are_scored_in_the_nearer_order_and_the_head_has_axes():
    """The eyes named the other way round, and the head turned by 30 degrees about the line between them."""
    turn = np.array([[np.cos(np.pi / 6), 0, np.sin(np.pi / 6)], [0, 1, 0], [-np.sin(np.pi / 6), 0, np.cos(np.pi / 6)]])
    predicted = FACE[:, EXCHANGED] @ turn.T
    found = figures(predicted, FACE, FETAL_FACE)
    moved = 2 * 30 * np.sin(np.pi / 12)
    assert (found["mre_mm_brain"], found["mre_mm_eyes"]) == (0, pytest.approx(moved, abs=1e-5))
    assert (found["mre_mm_left_eye"], found["mre_mm_right_eye"]) == (pytest.approx(moved, abs=1e-5),) * 2
    assert (found["axis_look_deg"], found["axis_eyes_deg"], found["axis_crown_deg"]) == (
        pytest.approx(30, abs=1e-4), pytest.approx(0, abs=1e-4), pytest.approx(30, abs=1e-4),
    )  # fmt: skip
    assert found["eye_distance_mae_mm"] == pytest.approx(0, abs=1e-6)
    # Looking the other way is half a turn of the direction, and none of the two lines.
    backwards = figures(FACE * (-1, 1, 1), FACE, FETAL_FACE)
    assert (backwards["axis_look_deg"], backwards["axis_crown_deg"]) == (180, 0)
    missing = figures(np.full((1, 3, 3), np.nan), FACE, FETAL_FACE)
    assert (missing["axis_look_deg_with_missing"], missing["axis_eyes_deg_with_missing"]) == (180, 90)
    assert not {"mre_mm_swap", "lr_confusion"} & set(found)


def test_a_tie_is_not_confused():
    middle = FACE.copy()
    middle[0, 1:] = middle[0, 1:].mean(axis=0)
    assert figures(middle, FACE, SIDED_FACE)["lr_confusion"] == 0


def test_missing_points_and_volumes_cost_the_diagonal():
    truth = np.repeat(FACE, 3, axis=0)
    predicted = truth.copy()
    predicted[1, 0] = np.nan
    predicted[2] = np.nan
    found = figures(predicted, truth, SIDED_FACE, diagonals=np.array([100.0, 200, 300]))
    assert (found["n"], found["n_missing"], found["n_points"], found["n_points_missing"]) == (3, 1, 9, 4)
    assert (found["mre_mm"], found["pck_auc"], found["pck_2_mm"]) == (0, 1, 1)
    assert found["mre_mm_with_missing"] == pytest.approx((200 + 3 * 300) / 9, abs=1e-6)
    assert found["mre_mm_brain_with_missing"] == pytest.approx((0 + 200 + 300) / 3, abs=1e-6)
    assert found["mre_mm_swap_with_missing"] == found["mre_mm_with_missing"]
    assert found["pck_20_mm_with_missing"] == pytest.approx(5 / 9, abs=1e-6)
    assert found["pck_auc_with_missing"] == pytest.approx(5 / 9, abs=1e-6)
    assert (found["eye_distance_mae_mm"], found["eye_distance_mae_mm_with_missing"]) == (0, 100)
    assert "eye_distance_bias_mm_with_missing" not in found


def test_what_is_not_labelled_is_not_scored():
    truth = np.repeat(FACE, 2, axis=0)
    truth[1, 2] = np.nan
    found = figures(np.repeat(FACE + np.array([0.0, 0, 3]), 2, axis=0), truth, SIDED_FACE)
    assert (found["n_points"], found["n_points_missing"], found["mre_mm"], found["mre_mm_with_missing"]) == (5, 0, 3, 3)
    # The second volume has no whole pair, so nothing can be said of its sides.
    assert found["lr_confusion"] == 0
    alone = volume_errors(truth[1:, EXCHANGED], truth[1:], DIAGONAL, SIDED_FACE)
    assert np.isnan(alone.confused(((1,), (2,)))).all()


def test_a_planeless_prediction_costs_the_diagonal_and_a_right_angle():
    _, truth = poses(2)
    truth[:, FETUS.index("cranial_crest")] += 300
    predicted = truth.copy()
    predicted[1] = np.nan
    found = figures(predicted, truth)
    assert (found["plane_distance_mm"], found["plane_angle_deg"]) == (pytest.approx(0, abs=1e-6), 0)
    assert found["plane_distance_mm_with_missing"] == pytest.approx(250, abs=1e-6)
    assert found["plane_angle_deg_with_missing"] == pytest.approx(45, abs=1e-6)


def test_lengths_and_plane_by_hand():
    # Head and trunk in the plane x = 0, the prediction in x = 4; both are turned by nothing.
    rng = np.random.default_rng(3)
    truth = rng.uniform(0, 100, (1, 22, 3))
    truth[0, :10, 0] = 0
    predicted = truth.copy()
    predicted[0, :, 0] += 4
    predicted[0, FETUS.index("left_knee")] = predicted[0, FETUS.index("left_hip")] + [0, 0, 9]
    true_femur = np.linalg.norm(truth[0, FETUS.index("left_hip")] - truth[0, FETUS.index("left_knee")])
    found = figures(predicted, truth)
    assert (found["plane_distance_mm"], found["plane_angle_deg"]) == (pytest.approx(4, abs=1e-6), 0)
    assert (found["crl_mae_mm"], found["humerus_left_mae_mm"]) == (pytest.approx(0, abs=1e-6),) * 2
    assert found["femur_left_bias_mm"] == pytest.approx(9 - true_femur, abs=1e-5)


def test_a_turned_plane_is_off_by_its_angle():
    rng = np.random.default_rng(4)
    truth = rng.uniform(-50, 50, (1, 22, 3))
    truth[0, :10, 0] = 0
    turn = np.radians(10)
    rotation = np.array([[np.cos(turn), -np.sin(turn), 0], [np.sin(turn), np.cos(turn), 0], [0, 0, 1]])
    middle = truth[0, :10].mean(axis=0)
    found = figures((truth - middle) @ rotation.T + middle, truth)
    assert found["plane_angle_deg"] == pytest.approx(10, abs=1e-5)
    assert found["plane_distance_mm"] == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("kind", ["swap", "swap_sides", "swap_pairs"])
def test_up_to_a_swap_is_the_best_of_all_orders(kind):
    """Every combination of exchanged units tried out, points relabelled and measured anew."""
    units = {
        "swap": whole_body(FETUS),
        "swap_sides": tuple(each_side(FETUS).values()),
        "swap_pairs": each_pair(FETUS),
    }[kind]
    predicted, truth = poses(12, noise=40)
    found = swapped(volume_errors(predicted, truth, np.full(12, 500.0), FETUS))[kind]
    for frame in range(12):
        best = np.inf
        for chosen in itertools.product((False, True), repeat=len(units)):
            order = exchanged_order([unit for unit, cross in zip(units, chosen, strict=True) if cross])
            best = min(best, np.linalg.norm(predicted[frame][order] - truth[frame], axis=1).mean())
        assert found[frame].mean() == pytest.approx(best)


def test_sides_are_told_apart_arm_by_arm():
    _, truth = poses(1)
    arms = exchanged_order([each_side(FETUS)["arm"]])
    errors = volume_errors(truth[:, arms], truth, DIAGONAL, FETUS)
    assert (confusions(errors)["lr_confusion_arm"], confusions(errors)["lr_confusion_leg"]) == (1, 0)
    found = figures(truth[:, arms], truth)
    assert (found["mre_mm_swap_sides"], found["mre_mm_swap_pairs"]) == (0, 0)
    assert found["mre_mm"] > 0


@given(st.integers(0, 1000))
def test_exchanging_all_pairs_changes_nothing_that_is_up_to_a_swap(seed):
    predicted, truth = poses(5, seed, noise=20)
    whole = exchanged_order(whole_body(FETUS))
    one, other = figures(predicted, truth), figures(predicted[:, whole], truth)
    for name in ("mre_mm_swap", "mre_mm_swap_sides", "mre_mm_swap_pairs", "pck_auc_swap", "crl_mae_mm"):
        assert one[name] == pytest.approx(other[name], abs=1e-5)
    assert one["mre_mm_swap_left_arm"] + one["mre_mm_swap_right_arm"] == pytest.approx(
        other["mre_mm_swap_left_arm"] + other["mre_mm_swap_right_arm"], abs=1e-5
    )
    assert one["lr_confusion"] == pytest.approx(1 - other["lr_confusion"], abs=1e-6)
    assert one["mre_mm_swap_pairs"] <= one["mre_mm_swap_sides"] <= one["mre_mm_swap"] <= one["mre_mm"]


def test_the_plane_is_off_where_the_true_points_are():
    """Turned about an axis 20 mm from the middle of the true points, and slid along itself: 20 mm times the sine."""
    rng = np.random.default_rng(5)
    truth = rng.uniform(-50, 50, (1, 22, 3))
    truth[0, :10, 0] = 0
    truth[0, :10, 1] += 20 - truth[0, :10, 1].mean()
    turn = np.radians(10)
    rotation = np.array([[np.cos(turn), -np.sin(turn), 0], [np.sin(turn), np.cos(turn), 0], [0, 0, 1]])
    predicted = truth @ rotation.T + 30 * rotation[:, 1]
    assert figures(predicted, truth)["plane_distance_mm"] == pytest.approx(20 * np.sin(turn), abs=1e-5)


def test_figures_do_not_depend_on_where_and_how_the_volume_lies():
    predicted, truth = poses(6, noise=5)
    rotation = np.linalg.qr(np.random.default_rng(9).normal(size=(3, 3)))[0]
    moved = figures(predicted @ rotation.T + 70, truth @ rotation.T + 70)
    for name, value in figures(predicted, truth).items():
        assert moved[name] == pytest.approx(value, abs=1e-4), name


def test_millimetres_grow_with_the_spacing():
    predicted, truth = poses(6, noise=2)
    one, twice = figures(predicted, truth), figures(2 * predicted, 2 * truth)
    for name in ("mre_mm", "mre_mm_left_arm", "mre_mm_swap", "crl_mae_mm", "crl_bias_mm", "plane_distance_mm"):
        assert twice[name] == pytest.approx(2 * one[name], abs=1e-4)
    assert twice["plane_angle_deg"] == pytest.approx(one["plane_angle_deg"], abs=1e-4)
    assert twice["lr_confusion"] == one["lr_confusion"]
    assert twice["pck_10_mm"] == one["pck_5_mm"]


def test_intervals_draw_whole_groups():
    """Thirty patients of two volumes: the interval is that of thirty means, not of sixty."""
    errors = np.repeat(np.random.default_rng(0).uniform(0, 10, 30), 2)
    truth = np.repeat(FACE, 60, axis=0)
    predicted = truth + errors[:, None, None] * [[[1.0, 0, 0]]]
    grouped = figures(predicted, truth, SIDED_FACE, np.full(60, 500.0), np.repeat(np.arange(30), 2))
    alone = figures(predicted, truth, SIDED_FACE, np.full(60, 500.0))
    width = [entries["mre_mm_ci"][1] - entries["mre_mm_ci"][0] for entries in (grouped, alone)]
    assert grouped["mre_mm"] == alone["mre_mm"] == pytest.approx(errors.mean(), abs=1e-6)
    assert width[0] == pytest.approx(2 * 1.96 * errors.std() / np.sqrt(30), rel=0.1)
    assert width[0] / width[1] == pytest.approx(np.sqrt(2), rel=0.1)
    assert grouped["n_groups"] == 30


def test_too_few_groups_have_no_interval():
    truth = np.repeat(FACE, 5, axis=0)
    found = figures(truth, truth, SIDED_FACE)
    assert found["mre_mm_ci"] is None
    assert "fewer than 20 groups (5)" in found["ci_withheld"]


@given(st.lists(st.floats(0, 60), min_size=1, max_size=30))
def test_the_area_is_that_below_the_curve(values):
    distances = np.array(values)
    thresholds = np.linspace(0, PCK_LIMIT_MM, 20001)
    slow = (distances[:, None] <= thresholds).mean()
    assert area_shares(distances).mean() == pytest.approx(slow, abs=1e-3)


def test_the_curve_by_hand():
    thresholds, shares = pck_curve(np.array([[1.0, 5.0], [np.nan, 30.0]]), limit=10, steps=2)
    assert thresholds.tolist() == [0, 5, 10]
    assert shares == pytest.approx([0, 2 / 3, 2 / 3])
    assert np.isnan(pck_curve(np.array([np.nan]))[1]).all()


@pytest.mark.parametrize(
    ("ed", "auc", "tolerance"), [(2.03, 89.89, 0.2), (2.16, 89.20, 0.1), (2.30, 88.77, 0.3), (2.46, 87.69, 0.1)]
)
def test_the_limit_is_that_of_the_papers_tables(ed, auc, tolerance):
    """Tables 2 and 3: the best points of UPatch and UNet, of which next to none is beyond 20 mm."""
    assert 100 * area_shares(np.array([ed]))[0] == pytest.approx(auc, abs=tolerance)


def test_the_diagonal_is_in_millimetres():
    affine = np.diag([-3.0, 4, 12, 1])
    assert volume_diagonals(affine[None], np.array([[1, 1, 1]])) == pytest.approx([13])


def test_other_shapes_are_refused():
    with pytest.raises(ValueError, match=r"predicted: expected shape \(1, 3, 3\), found \(1, 2, 3\)"):
        volume_errors(FACE[:, :2], FACE, DIAGONAL, SIDED_FACE)


def test_a_table_at_a_threshold_is_worked_out_by_hand():
    """Results 100, 115, 125, 130 against 110, 112, 121, 119 at 120: one right above, one wrongly, two right below."""
    compared = comparison_of_angles([100, 115, 125, 130], [110, 112, 121, 119], at=(117.5,))
    assert attrs.astuple(compared.tables["aop"][120]) == (1, 1, 0, 2, None)
    figures = compared.figures
    assert figures["aop_at_120_counts"]["only_results"] == 1
    assert (figures["aop_at_120_ppv"], figures["aop_at_120_npv"]) == (0.5, 1)
    assert (figures["aop_at_120_sensitivity"], figures["aop_at_120_specificity"]) == (1, pytest.approx(2 / 3))
    assert (figures["aop_at_120_lr_positive"], figures["aop_at_120_lr_negative"]) == (pytest.approx(3), 0)
    assert figures["aop_at_117.5_counts"]["both"] == 2
    assert figures["aop_at_140_lr_positive"] is None


def test_an_interval_straddles_a_threshold_where_it_lies_on_both_sides_of_it():
    compared = comparison_of_angles([100, 115, 125], [110, 112, 121], intervals=[[90, 110], [105, 120], [120, 130]])
    assert [compared.tables["aop"][limit].straddled for limit in (110, 120, 140)] == [2, 1, 0]


def test_errors_and_intervals_unfold_at_180_degrees():
    compared = comparison_of_angles([170, 190], [190, 175], intervals=[[165, 180], [172, 195]])
    assert compared.errors.differences["aop"] == pytest.approx([-20, 15])
    assert compared.figures["aop_interval_coverage"] == 0.5
    first, second = per_frame(compared)
    assert (first["aop_predicted_deg"], first["aop_true_deg"]) == pytest.approx((170, 170))
    assert (second["aop_predicted_deg"], second["aop_error_deg"]) == pytest.approx((170, 15))
    assert (first["aop_covered"], second["aop_covered"], second["aop_high_deg"]) == (0, 1, 195)

"""Figures against numbers worked out by hand and against a slow, obviously right reference."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from aop_pose.core.schemas import HEAD
from aop_pose.evaluation.errors import align_interchangeable, frame_errors
from aop_pose.evaluation.figures import metrics

# A right angle at PS1 on a 300 x 400 picture, whose diagonal is 500.
RIGHT_ANGLE = [[100.0, 100.0], [0.0, 100.0], [100.0, 200.0]]
SIZE = [300.0, 400.0]


def test_one_frame_by_hand():
    # PS1 off by 3 and 4 (5 px), PS2 by 0, FH1 by 12 along x.
    predicted = [[103.0, 104.0], [0.0, 100.0], [112.0, 200.0]]
    figures = metrics([predicted], [RIGHT_ANGLE], [SIZE])
    assert figures["mre_px"] == pytest.approx(17 / 3, abs=1e-6)
    assert (figures["mre_px_ps1"], figures["mre_px_ps2"], figures["mre_px_fh1"]) == (5, 0, 12)
    assert figures["mae_px"] == pytest.approx(19 / 6, abs=1e-6)
    # A point exactly 5 px away is within 5 px.
    assert figures["sdr_5"] == pytest.approx(2 / 3, abs=1e-6)
    assert figures["sdr_10"] == pytest.approx(2 / 3, abs=1e-6)
    assert figures["sdr_15"] == figures["sdr_20"] == 1
    # Rays (-103, -4) and (9, 96): both leave the angle of the axes outward.
    angle = 180 - math.degrees(math.atan2(96, 9)) + math.degrees(math.atan2(4, 103))
    assert figures["aop_mae_deg"] == pytest.approx(angle - 90, abs=1e-6)
    assert figures["aop_bias_deg"] == pytest.approx(angle - 90, abs=1e-6)
    assert (figures["n"], figures["n_missing"], figures["scale"]) == (1, 0, "original")


def test_a_missing_frame_costs_the_diagonal_and_half_a_turn():
    lost = np.full((3, 2), np.nan)
    figures = metrics([RIGHT_ANGLE, lost], [RIGHT_ANGLE, RIGHT_ANGLE], [SIZE, SIZE])
    assert (figures["n"], figures["n_missing"]) == (2, 1)
    assert figures["mre_px"] == figures["mae_px"] == figures["aop_mae_deg"] == figures["aop_bias_deg"] == 0
    assert figures["sdr_20"] == 1
    for name in ("mre_px", "mre_px_ps1", "mre_px_ps2", "mre_px_fh1", "mae_px"):
        assert figures[f"{name}_with_missing"] == 250
    assert figures["sdr_20_with_missing"] == 0.5
    assert figures["aop_mae_deg_with_missing"] == figures["aop_median_deg_with_missing"] == 90
    assert figures["aop_p95_deg_with_missing"] == pytest.approx(171)
    assert "aop_bias_deg_with_missing" not in figures


def test_a_frame_that_lacks_one_point_is_missing():
    predicted = np.array(RIGHT_ANGLE)
    predicted[2, 0] = np.nan
    assert metrics([predicted], [RIGHT_ANGLE], [SIZE])["n_missing"] == 1


def test_scale_multiplies_by_512_over_the_longer_side_of_each_frame():
    truth = [RIGHT_ANGLE, RIGHT_ANGLE]
    predicted = np.add(truth, [1.0, 0.0])
    figures = metrics(predicted, truth, [[256, 200], [300, 1024]], scale=512)
    assert figures["mre_px"] == pytest.approx((2 + 0.5) / 2)
    assert figures["aop_mae_deg"] == 0
    assert figures["scale"] == 512
    lost = np.full((2, 3, 2), np.nan)
    diagonal = 2 * math.hypot(256, 200) + math.hypot(300, 1024) / 2
    assert metrics(lost, truth, [[256, 200], [300, 1024]], scale=512)["mre_px_with_missing"] == pytest.approx(
        diagonal / 2
    )


def test_nothing_measured_gives_none_and_not_nan():
    figures = metrics(np.full((2, 3, 2), np.nan), [RIGHT_ANGLE] * 2, [SIZE] * 2)
    assert figures["n_missing"] == 2
    assert figures["mre_px"] is figures["sdr_5"] is figures["aop_mae_deg"] is figures["aop_bias_deg"] is None
    assert figures["mre_px_with_missing"] == 500
    assert not any(isinstance(value, float) and math.isnan(value) for value in figures.values())


def test_a_true_frame_without_an_angle_is_left_out_of_the_angle_only():
    collapsed = [[5.0, 5.0], [5.0, 5.0], [9.0, 9.0]]
    figures = metrics([RIGHT_ANGLE, RIGHT_ANGLE], [RIGHT_ANGLE, collapsed], [SIZE, SIZE])
    assert figures["aop_mae_deg"] == figures["aop_mae_deg_with_missing"] == 0
    assert figures["mre_px"] > 0


def test_a_predicted_frame_without_an_angle_counts_as_180_degrees_with_missing():
    collapsed = [[100.0, 100.0], [100.0, 100.0], [100.0, 200.0]]
    figures = metrics([collapsed], [RIGHT_ANGLE], [SIZE])
    assert figures["n_missing"] == 0
    assert figures["aop_mae_deg"] is None
    assert figures["aop_mae_deg_with_missing"] == 180


def test_ends_of_a_head_axis_may_be_swapped_and_each_axis_by_itself():
    truth = np.array([[[0.0, 0.0], [100.0, 0.0], [50.0, -40.0], [50.0, 40.0]]])
    predicted = truth[:, [1, 0, 2, 3]] + [0.0, 3.0]
    figures = metrics(predicted, truth, [[200, 200]], schema=HEAD)
    assert figures["mre_px"] == figures["mre_px_ofd1"] == figures["mre_px_bpd2"] == 3
    assert figures["ofd_mae_px"] == figures["bpd_mae_px"] == figures["hc_mae_px"] == 0
    assert align_interchangeable(predicted, truth, HEAD)[0, 0].tolist() == [0, 3]


def test_head_lengths_by_hand():
    truth = np.array([[[0.0, 0.0], [100.0, 0.0], [50.0, -40.0], [50.0, 40.0]]])
    predicted = truth.copy()
    predicted[0, 1, 0] = 110
    figures = metrics(predicted, truth, [[200, 100]], scale=400, schema=HEAD)
    assert figures["ofd_mae_px"] == figures["ofd_bias_px"] == 20
    assert figures["hc_mae_px"] == pytest.approx(math.pi * 20 / 2, abs=1e-6)


@pytest.mark.parametrize("wrong", ["predicted", "truth", "sizes"])
def test_a_wrong_shape_names_the_argument(wrong):
    given_arrays = {"predicted": [RIGHT_ANGLE], "truth": [RIGHT_ANGLE], "sizes": [SIZE]}
    given_arrays[wrong] = [[[1.0, 2.0, 3.0]]]
    with pytest.raises(ValueError, match="expected shape"):
        metrics(**given_arrays)


pixels = st.floats(0, 400, allow_nan=False, width=32)


@settings(max_examples=60, deadline=None)
@given(
    predicted=arrays(float, (4, 3, 2), elements=pixels),
    truth=arrays(float, (4, 3, 2), elements=pixels),
    lost=arrays(bool, 4),
    scale=st.sampled_from([None, 512.0]),
)
def test_figures_equal_a_slow_reference(predicted, truth, lost, scale):
    sizes = np.array([[300, 400], [640, 480], [256, 256], [1024, 768]], dtype=float)
    predicted[lost] = np.nan
    figures = metrics(predicted, truth, sizes, scale)
    for suffix, counted in (("", ~lost), ("_with_missing", np.ones(4, dtype=bool))):
        distances, offsets = [], []
        for frame in range(4):
            width, height = sizes[frame]
            factor = 1 if scale is None else scale / max(width, height)
            for point in range(3):
                for_point = []
                for axis in range(2):
                    if lost[frame]:
                        for_point.append(math.sqrt(width**2 + height**2) * factor)
                    else:
                        for_point.append(abs(predicted[frame][point][axis] - truth[frame][point][axis]) * factor)
                if counted[frame]:
                    offsets.extend(for_point)
                    distances.append(for_point[0] if lost[frame] else math.hypot(*for_point))
        if not distances:
            assert figures[f"mre_px{suffix}"] is None
            continue
        assert figures[f"mre_px{suffix}"] == pytest.approx(sum(distances) / len(distances), abs=2e-6)
        assert figures[f"mae_px{suffix}"] == pytest.approx(sum(offsets) / len(offsets), abs=2e-6)
        for limit in (5, 10, 15, 20):
            share = len([d for d in distances if d <= limit]) / len(distances)
            assert figures[f"sdr_{limit}{suffix}"] == pytest.approx(share, abs=2e-6)


def test_angle_figures_equal_a_slow_reference():
    generator = np.random.default_rng(3)
    truth = generator.uniform(0, 256, (41, 3, 2))
    predicted = truth + generator.normal(0, 6, truth.shape)

    def angle(points):
        (ax, ay), (bx, by), (cx, cy) = points
        return math.degrees(math.atan2(cy - ay, cx - ax) - math.atan2(by - ay, bx - ax)) % 360

    def signed_error(found, true):
        # The turn that is measured grows in the sense of the angle, or against it; beyond 225 degrees it is no head's.
        sense = 1 if true[1][0] > true[0][0] else -1
        sense = -sense if (sense * angle(true)) % 360 > 225 else sense
        return (sense * (angle(found) - angle(true)) + 180) % 360 - 180

    signed = [signed_error(p, t) for p, t in zip(predicted, truth, strict=True)]
    ranked = sorted(map(abs, signed))
    figures = metrics(predicted, truth, np.full((41, 2), 256))
    assert figures["aop_mae_deg"] == pytest.approx(sum(ranked) / 41, abs=1e-5)
    assert figures["aop_median_deg"] == pytest.approx(ranked[20], abs=1e-5)
    assert figures["aop_p95_deg"] == pytest.approx(ranked[38], abs=1e-5)
    assert figures["aop_bias_deg"] == pytest.approx(sum(signed) / 41, abs=1e-5)


def test_errors_of_a_missing_frame_are_nan_row_by_row():
    errors = frame_errors([np.full((3, 2), np.nan), RIGHT_ANGLE], [RIGHT_ANGLE] * 2, [SIZE] * 2)
    assert errors.measured.tolist() == [False, True]
    assert np.isnan(errors.distances[0]).all()
    assert errors.true_values["aop"].tolist() == [90, 90]

"""The noise of labels: what a perfect reader shows, and what is left of an error, by formula and by simulation."""

import numpy as np
import pytest

from aop_pose import evaluate
from aop_pose.core.schemas import AOP, FETAL_FACE, HEAD
from aop_pose.errors import UsageError
from aop_pose.evaluation.errors import frame_errors, volume_errors
from aop_pose.evaluation.noise import Noise, Spread, perfect_points, readings_of, stated_spread
from aop_pose.evaluation.report.cautions import cautions
from tests.evaluation.comparisons import comparison_of_angles, reading

ANGLE = AOP.quantity("aop_deg")


def test_one_reader_of_five_degrees_by_hand():
    noise = Noise.stated(ANGLE, 5.0, np.ones(2))
    figures = comparison_of_angles([106, 92], [100, 100], noise=noise).figures
    assert figures["aop_perfect_mae_deg"] == pytest.approx(5 * np.sqrt(2 / np.pi), abs=1e-6)
    assert figures["aop_perfect_loa_deg"] == pytest.approx(9.8)
    assert (
        figures["aop_reader_loa_deg"] == figures["aop_two_readers_loa_deg"] == pytest.approx(9.8 * np.sqrt(2), abs=1e-6)
    )
    # The squares: 36 and 64, of which 25 are the labels'.
    assert figures["aop_rms_deg"] == pytest.approx(np.sqrt(50), abs=1e-6)
    assert figures["aop_own_rms_deg"] == pytest.approx(5)
    assert figures["aop_own_share"] == pytest.approx(0.5)


def test_a_mean_of_four_readers_has_half_the_noise():
    noise = Noise.stated(ANGLE, 6.0, np.full(2, 4))
    figures = comparison_of_angles([104, 96], [100, 100], noise=noise).figures
    assert figures["aop_perfect_loa_deg"] == pytest.approx(1.96 * 3)
    assert figures["aop_reader_loa_deg"] == pytest.approx(1.96 * 6 * np.sqrt(1.25), abs=1e-6)


def test_what_is_left_is_the_results_own_error():
    """20 000 frames, labels of 4 degrees by two readers, results of 3 degrees about the truth."""
    rng = np.random.default_rng(0)
    true = rng.uniform(90, 130, 20_000)
    readers = true[:, None] + rng.normal(0, 4, (len(true), 2))
    spread = Spread({"aop_deg": readers.std(axis=1, ddof=1)}, np.full(len(true), 2), "made up")
    noise = Noise.of(ANGLE, spread, np.ones(len(true)))
    compared = comparison_of_angles(true + rng.normal(0, 3, len(true)), readers.mean(axis=1), noise=noise)
    assert noise.single == pytest.approx(4, rel=0.02)
    assert compared.figures["aop_own_rms_deg"] == pytest.approx(3, rel=0.02)
    assert compared.figures["aop_perfect_mae_deg"] == pytest.approx(2 / np.sqrt(2) * 2 * 0.798 * 0.8, rel=0.02)


def test_labels_noisier_than_the_error_are_said():
    compared = comparison_of_angles([101, 99], [100, 100], noise=Noise.stated(ANGLE, 5.0, np.ones(2)))
    assert compared.figures["aop_own_rms_deg"] == 0
    assert "is larger than the whole error" in " ".join(cautions(compared))


@pytest.mark.parametrize("deviation", [0, -1, np.nan, np.inf])
def test_a_deviation_that_is_none_is_refused(deviation):
    with pytest.raises(UsageError, match="--label-sd"):
        Noise.stated(ANGLE, deviation, np.ones(1))


def test_the_columns_of_a_consensus_are_read_in_any_case():
    spread = stated_spread({"aop_SD": ("4", "", "2"), "readers": ("2", "1", "3")}, AOP)
    np.testing.assert_equal(spread.single["aop_deg"], [4, np.nan, 2])
    assert spread.readers.tolist() == [2, 1, 3]
    # One and two free deviations: (16 + 2 * 4) / 3.
    noise = Noise.of(ANGLE, spread, np.ones(3))
    assert noise.single == pytest.approx(np.sqrt(8))
    assert noise.variances == pytest.approx([8, 8, 4 / 3])
    assert stated_spread({"patient": ("a",)}, AOP) is None


@pytest.mark.parametrize(
    ("column", "text"), [("AoP_sd", "-1"), ("AoP_sd", "four"), ("readers", "0"), ("readers", "inf")]
)
def test_a_consensus_that_says_something_impossible_is_one_line(column, text):
    with pytest.raises(UsageError, match=f"truth, {column}: expected numbers"):
        stated_spread({"AoP_sd": ("1",), "readers": ("2",), column: (text,)}, AOP)


@pytest.mark.parametrize("schema", [AOP, FETAL_FACE])
def test_a_perfect_readers_distance_by_simulation(schema):
    """4000 images, three readings of each, off by 4 along every axis: the true points lie as far from the means."""
    rng = np.random.default_rng(0)
    axes, true = schema.dimensions, rng.uniform(50, 100, (4000, 3, schema.dimensions))
    readings = true[:, None] + rng.normal(0, 4, (4000, 3, 3, axes))
    spread = Spread.of_readings(list(readings), schema)
    assert np.sqrt((spread.points**2).mean()) == pytest.approx(4 * np.sqrt(axes), rel=0.02)
    if axes == 2:
        errors = frame_errors(true, readings.mean(axis=1), np.full((4000, 2), 200.0), schema=schema)
    else:
        errors = volume_errors(true, readings.mean(axis=1), np.full(4000, 200.0), schema)
    (found,) = perfect_points(spread, errors).values()
    assert found.n == 4000
    # Three readings tell a spread with a bias of 11 % downwards; pooled it would have none, and one reader has that.
    assert found.value == pytest.approx(errors.distances.mean(), rel=0.12)


def test_the_spread_of_points_in_a_consensus_by_hand():
    columns = {"PS1_sd_px": ("3", ""), "ps2_sd_px": ("0", "4"), "readers": ("2", "1")}
    spread = stated_spread(columns, AOP)
    np.testing.assert_equal(spread.points, [[3, 0, np.nan], [np.nan, 4, np.nan]])
    points = reading([100, 100])
    errors = frame_errors(points, points, np.full((2, 2), 256.0), scale=512)
    # PS1: 3 in both images (the second is pooled), PS2: 0 and 4; nothing is known of FH1. Twice as many pixels.
    means = np.sqrt(np.pi) / 2 * np.array([3 / np.sqrt(2), 0, 3, 4])
    assert perfect_points(spread, errors)["perfect_mre_px"].value == pytest.approx(2 * means.mean())
    assert perfect_points(stated_spread({"AoP_sd": ("1", "1")}, AOP), errors) == {}


def test_readings_of_volumes_scatter_in_millimetres():
    readings = np.array([[[5, 5, 5], [1, 1, 1], [1, 3, 1]], [[5, 5, 7], [1, 1, 1], [1, 5, 1]]], float)
    spread = Spread.of_readings([readings], FETAL_FACE).in_millimetres(np.diag([2.0, 3, 6, 1])[None], FETAL_FACE)
    assert spread.single["eye_distance_mm"] == pytest.approx([np.std([6, 12], ddof=1)])
    assert spread.points[0] == pytest.approx([12 / np.sqrt(2), 0, 6 / np.sqrt(2)])
    assert Noise.of(FETAL_FACE.quantities[0], spread, np.ones(1)).single == pytest.approx(6 / np.sqrt(2))


def test_readings_of_heads_scatter_in_millimetres_where_the_size_of_a_pixel_is_known(tmp_path):
    axes = ",".join(f"{axis}_{end}_{along}" for axis in ("ofd", "bpd") for end in (1, 2) for along in "xy")
    truth = [f"Filename,{axes},reader,pixel_size_mm"]
    for reader, end in (("x", 100), ("y", 110)):
        truth.append(f"a.png,10,50,{end},50,55,10,55,90,{reader},0.5")
    (tmp_path / "truth.csv").write_text("\n".join(truth) + "\n")
    ends = ",".join(f"{end}_{axis}" for end in HEAD.points for axis in "xy")
    (tmp_path / "one.csv").write_text(f"source,width,height,{ends}\na.png,200,200,{truth[1][6:30]}\n")
    figures = evaluate(tmp_path / "one.csv", tmp_path / "truth.csv").figures
    # OFD of 90 and 100 px.
    ellipses = [HEAD.quantity("hc_ramanujan_mm").formula(*(np.array(p) * 0.5 for p in points)) for points in (
        ([10, 50], [100, 50], [55, 10], [55, 90]), ([10, 50], [110, 50], [55, 10], [55, 90]),
    )]  # fmt: skip
    assert figures["hc_ramanujan_label_sd_mm"] == pytest.approx(np.std(ellipses, ddof=1), abs=1e-5)


def test_readings_of_one_frame_become_their_mean_with_its_spread():
    rows = readings_of(["a", "b", "a"], reading([100, 120, 104]), {}, AOP)
    assert rows.rows == (0, 1)
    assert rows.coords[0] == pytest.approx(reading([100, 104]).mean(axis=0))
    assert rows.spread.single["aop_deg"] == pytest.approx([np.std([100, 104], ddof=1), np.nan], nan_ok=True)
    assert rows.spread.readers.tolist() == [2, 1]
    assert rows.note == (
        "images with several readings in the truth file, whose mean is the reference: 1 of 2 (2 readings each)"
    )


def test_a_row_that_is_there_twice_is_no_second_reader():
    with pytest.raises(UsageError, match="found the same row of a twice"):
        readings_of(["a", "a"], reading([100, 100]), {}, AOP)
    same = readings_of(["a", "a"], reading([100, 100]), {"Reader": ("x", "y")}, AOP)
    assert same.spread.single["aop_deg"] == pytest.approx([0], abs=1e-9)
    with pytest.raises(UsageError, match="several of a by one reader"):
        readings_of(["a", "a"], reading([100, 101]), {"reader": ("x", "x")}, AOP)


def test_a_truth_file_with_several_readers_is_a_consensus(tmp_path):
    lines = ["Filename,PS1,PS2,FH1,AoP,reader,patient"]
    for name, turns in {"a.png": (100, 104), "b.png": (120, 118), "c.png": (90, 96)}.items():
        for reader, points in zip("xy", reading(turns), strict=True):
            cells = ",".join(f'"({x:.4f}, {y:.4f})"' for x, y in points)
            lines.append(f"{name},{cells},,{reader},p{name}")
    (tmp_path / "truth.csv").write_text("\n".join(lines) + "\n")
    (tmp_path / "mine.csv").write_text("\n".join([lines[0], *lines[1::2]]) + "\n")
    compared = evaluate(tmp_path / "mine.csv", tmp_path / "truth.csv", group="patient")
    assert compared.figures["n"] == 3
    assert compared.figures["aop_label_sd_deg"] == pytest.approx(np.sqrt((8 + 2 + 18) / 3), abs=1e-3)
    assert compared.figures["aop_bias_deg"] == pytest.approx((-2 + 1 - 3) / 3, abs=0.01)
    assert "3 of 3 (2 readings each)" in compared.notes[0]
    assert evaluate(tmp_path / "mine.csv", tmp_path / "truth.csv", label_sd=7).figures["aop_label_sd_deg"] == 7

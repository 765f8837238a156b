"""Volumes that go wrong, on the command line: each gets a row that says so, and none of them a number."""

import csv

import attrs
import numpy as np
import pytest

from aop_pose.cli import main
from aop_pose.core.frame import Volume
from aop_pose.core.keypoints import Keypoints, Prediction
from aop_pose.core.schemas import FETAL_FACE
from aop_pose.formats.registry import read_labels
from aop_pose.geometry import opposite
from aop_pose.inference.volume_predictor import VolumePredictor
from aop_pose.inference.weights import load
from aop_pose.io.volumes import write_volume
from aop_pose.measuring.measurer import Measurer, measure_array
from aop_pose.trust.gate import VolumeGate
from tests.inference.test_stages import FACE, SHAPE, SPACING, contract_of, scan, seeing

GATE = VolumeGate(
    least={"brain": 0.3, "left_eye": 0.15, "right_eye": 0.15},
    within_mm=[("left_eye", "right_eye", 30, 60), ("brain", "left_eye", 15, 60), ("brain", "right_eye", 15, 60)],
    rival=0.8, risk=0.01, fitted={},
)  # fmt: skip


@pytest.fixture
def predict(monkeypatch, tmp_path, capsys):
    """Rows of ``aop-pose predict`` on volumes, measured by networks made up by hand behind a gate."""
    contract = contract_of(size=(48, 48, 48), gate=GATE)
    predictor = VolumePredictor(contract, seeing([]), "made-up@0")
    monkeypatch.setattr("aop_pose.inference.weights.load_as", lambda *given, **named: predictor)

    def run(*volumes, code=0):
        for number, volume in enumerate(volumes):
            write_volume(volume, tmp_path / "volumes" / f"{number}.nii.gz")
        given = ["predict", str(tmp_path / "volumes"), "--schema", "fetal_face", "--no-overlay"]
        assert main.run([*given, "--out", str(tmp_path / "out")]) == code, capsys.readouterr().err
        with open(tmp_path / "out" / "results.csv", newline="") as stream:
            return list(csv.DictReader(stream))

    (tmp_path / "volumes").mkdir()
    return run


def brain_mm(row, spacing=SPACING):
    return np.array([float(row[f"brain_{axis}"]) for axis in "ijk"]) * spacing


def test_a_head_is_measured_and_a_volume_without_one_abstains(predict):
    with_head, without = predict(scan(FACE), scan())
    assert with_head["status"] == "ok"
    np.testing.assert_allclose(brain_mm(with_head), FACE[0], atol=3)
    assert float(with_head["eye_distance_mm"]) == pytest.approx(np.linalg.norm(FACE[1] - FACE[2]), abs=2)
    assert (without["status"], without["eye_distance_mm"]) == ("abstained", "")
    assert "no anatomy found" in without["reason"]


def test_two_heads_are_not_measured_as_one(predict):
    (row,) = predict(scan(FACE, FACE + np.array([0, 0, 150.0]), shape=(60, 56, 70)))
    assert (row["status"], row["eye_distance_mm"]) == ("abstained", "")
    assert "two places look alike" in row["reason"]
    assert "cut the volume to one" in row["reason"]


def test_a_head_at_the_edge_is_not_measured_even_if_it_is_found():
    volume, points = scan(FACE), FACE / SPACING
    found = Prediction(Keypoints(FETAL_FACE, points, np.ones(3)), 1.0)
    cut = attrs.evolve(volume, voxels=np.ascontiguousarray(volume.voxels[20:]))
    moved = Prediction(Keypoints(FETAL_FACE, points - [20, 0, 0], np.ones(3)), 1.0)
    gate = GATE.model_copy(update={"clear_mm": {"brain": 25.0}})
    assert gate.judge(found, volume) == ""
    assert gate.judge(moved, cut).startswith("withheld: brain lies 21 mm from the edge of the volume, 25 are needed")
    # The trunk is taken for the brain, which lies beyond the edge on the other side of the eyes.
    trunk = Prediction(Keypoints(FETAL_FACE, np.vstack([opposite(points, 0), points[1:]]), np.ones(3)), 1.0)
    assert gate.judge(trunk, volume) == ""
    moved = attrs.evolve(trunk, keypoints=attrs.evolve(trunk.found, coords=trunk.found.coords - [20, 0, 0]))
    assert gate.judge(moved, cut).startswith("withheld: brain or what may be it lies 21 mm from the edge")


@pytest.mark.parametrize("cut", [76.0, 84.0])
def test_half_a_head_at_the_border_is_not_measured(predict, cut):
    (row,) = predict(scan(FACE - np.array([cut, 0, 0])))
    assert (row["status"], row["eye_distance_mm"]) == ("abstained", ""), row
    assert row["reason"]


@pytest.mark.parametrize(
    ("factor", "said"),
    [
        (10.0, "voxels of 30 x 30 x 45 mm are coarser than the distance of two points may be (15 mm)"),
        (0.1, "the whole volume is 18 x 16.8 x 18 mm, smaller than the distance of two points may be (60 mm)"),
    ],
)
def test_a_spacing_that_is_wrong_by_ten_is_said_before_the_network_looks(predict, factor, said):
    (row,) = predict(Volume(scan(FACE).voxels, np.diag([*SPACING * factor, 1.0])))
    assert (row["status"], row["eye_distance_mm"], row["brain_i"]) == ("abstained", "", ""), row
    assert row["reason"] == f"withheld: {said}; check the spacing that its file states"


def test_a_fine_scan_whose_spacing_is_ten_times_too_large_is_larger_than_any_scan():
    fine = Volume(np.zeros((200, 4, 4), np.float32), np.diag([9.0, 9.0, 9.0, 1.0]))
    assert GATE.unfit(fine).startswith("withheld: the whole volume is 1800 x 36 x 36 mm, larger than any scan")
    assert GATE.unfit(scan()) == ""


def test_slices_five_times_as_thick_as_voxels_are_wide_are_measured_in_millimetres(predict):
    spacing = np.array([2.0, 2.0, 10.0])
    (row,) = predict(scan(FACE, shape=(90, 84, 18), spacing=spacing))
    assert row["status"] == "ok", row["reason"]
    np.testing.assert_allclose(brain_mm(row, spacing), FACE[0], atol=5)
    assert float(row["eye_distance_mm"]) == pytest.approx(np.linalg.norm(FACE[1] - FACE[2]), abs=6)


def test_a_series_with_a_broken_time_point_has_its_other_rows(predict, tmp_path):
    good = scan(FACE).voxels
    series = np.stack([good, np.where(np.arange(SHAPE[0])[:, None, None] == 3, np.nan, good), good], axis=-1)
    np.savez(tmp_path / "volumes" / "series.npz", voxels=series, affine=np.diag([*SPACING, 1.0]))
    rows = predict(code=3)
    assert [(row["index"], row["status"]) for row in rows] == [("0", "ok"), ("1", "unreadable"), ("2", "ok")]
    assert "NaN" in rows[1]["reason"]
    assert rows[0]["eye_distance_mm"] == rows[2]["eye_distance_mm"]


@pytest.fixture(scope="module")
def shipped():
    """The shipped network, which looks at one place in place of ten, in one turn: a fortieth of the work."""
    model = load(schema="fetal_face", threads=1)
    less = {"search_mm": None, "turns": 1, "candidates": 1}
    return attrs.evolve(model, contract=model.contract.model_copy(update=less))


def test_the_shipped_network_measures_no_noise(shipped):
    noise = np.random.default_rng(0).random((40, 40, 30), dtype=np.float32)
    result = measure_array(shipped, noise, (3.0, 3.0, 3.0))
    assert (result.status, result.measurements) == ("abstained", {})


def test_the_shipped_network_measures_a_scan(shipped, shared_data):
    folder = shared_data / "fetal_mri"
    one = next(label for label in read_labels(folder / "labelled.csv", folder, None) if "ep2d_31" in label.name)
    volume, truth = one.volume(), one.points_of(shipped.schema)
    (result,) = Measurer(shipped).results([volume])
    assert result.status == "ok"
    points = result.keypoints.coords
    eyes = min((points[1:], points[:0:-1]), key=lambda some: np.linalg.norm(some - truth[1:]))
    off = np.linalg.norm((np.vstack([points[:1], eyes]) - truth) * volume.spacing, axis=1)
    assert (off < 10).all(), off
    low, high = result.measurements["eye_distance_mm"].interval
    assert low < np.linalg.norm((truth[1] - truth[2]) * volume.spacing) < high
